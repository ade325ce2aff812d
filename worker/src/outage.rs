//! Something that many wait for is away: worth a line when the first of them misses it, and one when the last of them
//! has it again; not one for each of them and each try.

use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub struct Outage {
    missing: AtomicUsize,
}

/// Somebody who misses it. Dropped, he has given up waiting.
#[derive(Debug)]
pub struct Missing<'a>(&'a Outage);

impl Outage {
    /// It could not be had. True: nobody else misses it, so it is news.
    pub fn missed<'a>(&'a self, missing: &mut Option<Missing<'a>>) -> bool {
        if missing.is_some() {
            return false;
        }
        *missing = Some(Missing(self));
        self.missing.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// It was had. True: everybody has it again, who missed it.
    pub fn had(&self, missing: &mut Option<Missing<'_>>) -> bool {
        missing.take().is_some() && self.missing.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Missing<'_> {
    fn drop(&mut self) {
        self.0.missing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_of_many_are_news() {
        let bus = Outage::default();
        let (mut one, mut two) = (None, None);
        assert!(!bus.had(&mut one), "nobody missed it");
        assert!(bus.missed(&mut one));
        assert!(!bus.missed(&mut one) && !bus.missed(&mut two));
        assert!(!bus.had(&mut one));
        assert!(bus.had(&mut two));
        assert!(bus.missed(&mut one));
        drop(one.take());
        assert!(bus.missed(&mut two), "who gave up misses nothing any more");
    }
}
