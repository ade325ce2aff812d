//! Every n-th batch delivered again at once, and once more ten seconds later.

use futures_util::future::BoxFuture;
use shared::{
    bus::{Acks, BusLost, CommandConsumer, Delivery},
    clock,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

const LATER: Duration = Duration::from_secs(10);

pub struct Copies {
    consumer: Box<dyn CommandConsumer>,
    every: u32,
    taken: u32,
    at_once: Option<Delivery>,
    later: VecDeque<(Instant, Delivery)>,
    last_tag: u64,
}

impl Copies {
    pub fn new(consumer: Box<dyn CommandConsumer>, every: u32) -> Self {
        Self { consumer, every, taken: 0, at_once: None, later: VecDeque::new(), last_tag: 0 }
    }

    fn take(&mut self, delivery: Delivery) -> Delivery {
        self.taken = self.taken.wrapping_add(1);
        self.last_tag = delivery.tag;
        if self.taken.is_multiple_of(self.every) {
            let copy = Delivery { redelivered: true, ..delivery.clone() };
            self.at_once = Some(copy.clone());
            self.later.push_back((clock::monotonic() + LATER, copy));
        }
        delivery
    }
}

impl CommandConsumer for Copies {
    fn recv(&mut self) -> BoxFuture<'_, Result<Delivery, BusLost>> {
        Box::pin(async move {
            if let Some(copy) = self.at_once.take() {
                return Ok(copy);
            }
            let due = self.later.front().map(|(due, _)| *due);
            tokio::select! {
                delivery = self.consumer.recv() => Ok(self.take(delivery?)),
                () = until(due) => {
                    let (_, copy) = self.later.pop_front().expect("cannot fail because the first one was due");
                    // Its own tag is long done; with the last one it tells nobody that anything before it is not.
                    Ok(Delivery { tag: self.last_tag, ..copy })
                }
            }
        })
    }

    fn acks(&self) -> Arc<dyn Acks> {
        self.consumer.acks()
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
