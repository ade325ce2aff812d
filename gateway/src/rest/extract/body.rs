//! Reads a request's body, for [`Input`](super::Input). Anybody may send one before he has said who he is, slowly, and
//! over as many connections as he likes: what lies here unfinished is bounded for the process.

use axum::{RequestExt, body::Bytes, extract::Request};
use bytes::BytesMut;
use futures_util::StreamExt;
use http_body_util::LengthLimitError;
use shared::reply::{Code, Refusal};
use std::{
    error::Error,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// How long a body may take to arrive.
const TIME: Duration = Duration::from_secs(20);
/// A body up to here is not counted: what people write passes, however much of the rest is taken.
const SMALL: usize = 16 << 10;
/// Of all bodies together, what is beyond [`SMALL`]. More is refused `overloaded`.
const LARGE_MAX: usize = 64 << 20;

/// Bytes of bodies that are being read, beyond [`SMALL`] of each.
static LARGE: AtomicUsize = AtomicUsize::new(0);

/// A body's part of a count; given back when it is dropped.
struct Share<'a> {
    all: &'a AtomicUsize,
    mine: usize,
}

impl Share<'_> {
    /// False: there is no room for a body of this size so far.
    fn grow(&mut self, size: usize, max: usize) -> bool {
        let more = size.saturating_sub(SMALL) - self.mine;
        self.mine += more;
        more == 0 || self.all.fetch_add(more, Ordering::Relaxed) + more <= max
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

pub async fn read(request: Request) -> Result<Bytes, Refusal> {
    let reading = tokio::time::timeout(TIME, collect(request)).await;
    reading.unwrap_or_else(|_| Err(Refusal::new(Code::Malformed, "the body took too long")))
}

async fn collect(request: Request) -> Result<Bytes, Refusal> {
    let mut chunks = request.with_limited_body().into_body().into_data_stream();
    let mut share = Share { all: &LARGE, mine: 0 };
    let mut body = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if !share.grow(body.len() + chunk.len(), LARGE_MAX) {
            metrics::counter!("rookery_http_bodies_refused_total").increment(1);
            return Err(Refusal::new(Code::Overloaded, "too many large requests at once").retry_after(1));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn broken(error: &axum::Error) -> Refusal {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Refusal::new(Code::TooLarge, "a request's body has at most 1 MiB");
        }
        cause = error.source();
    }
    Refusal::new(Code::Malformed, "the body broke off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_large_is_counted_and_all_of_it_is_given_back() {
        let all = AtomicUsize::new(0);
        let max = 2 * SMALL;
        let mut shares: Vec<Share<'_>> = (0..4).map(|_| Share { all: &all, mine: 0 }).collect();
        assert!(shares[0].grow(2 * SMALL, max) && shares[0].grow(3 * SMALL, max));
        assert!(shares[1].grow(SMALL, max), "a small one passes although the room is taken");
        assert!(!shares[2].grow(SMALL + 1, max));
        assert_eq!(all.load(Ordering::Relaxed), max + 1);
        shares.remove(0);
        assert!(shares[2].grow(2 * SMALL, max));
        drop(shares);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
