//! Whoever is here goes before whoever comes. After the loss of a gateway thousands connect and catch up at once, and what
//! the others say meanwhile must not wait behind all of them: accepting and catching up go step by step, and where the
//! process or the machine is busy, with pauses.

use shared::clock;
use std::time::Duration;

/// A turn of everything that is ready takes less where there is time to spare.
const BUSY: Duration = Duration::from_millis(1);
/// A pause is so many times the turn that was too long; up to the longest, so that who is always busy gets on, too.
const SHARE: u32 = 4;
const LONGEST: Duration = Duration::from_millis(8);

/// Lets everything that is ready have its turn, and waits on if that took long.
pub async fn give_way() {
    let began = clock::monotonic();
    tokio::task::yield_now().await;
    let busy = began.elapsed();
    if busy >= BUSY {
        metrics::counter!("rookery_gateway_pauses_total").increment(1);
        tokio::time::sleep((busy * SHARE).min(LONGEST)).await;
    }
}
