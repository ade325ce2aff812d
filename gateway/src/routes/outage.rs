//! How long the routing has been away: worth one line when it is missed and one when it is back, not one for each try.

use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// It could not be reached. True: that is news.
    pub fn missed(&mut self, now: Instant) -> bool {
        let is_news = self.since.is_none();
        self.since.get_or_insert(now);
        is_news
    }

    /// It was reached. For how long it was away, if it was.
    pub fn over(&mut self, now: Instant) -> Option<Duration> {
        self.since.take().map(|since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_once_and_ends_once() {
        let (mut outage, begun) = (Outage::default(), shared::clock::monotonic());
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(outage.over(begun), None, "nobody missed it");
        assert!(outage.missed(begun));
        assert!(!outage.missed(after(1)) && !outage.missed(after(2)), "only tried again");
        assert_eq!(outage.over(after(3)), Some(Duration::from_secs(3)));
        assert_eq!(outage.over(after(4)), None);
        assert!(outage.missed(after(5)), "another one");
    }
}
