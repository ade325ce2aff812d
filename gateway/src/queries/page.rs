//! Pages that fit: of a list whose items are large, only as many as a page may weigh.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::{
    domain::SYNC_PAGE_MAX,
    store::messages::{HistoryPage, Window},
    view::MessageView,
};
use std::ops::Range;

/// What is around the items.
const OVERHEAD: usize = 512;

pub fn raws<T: Serialize>(items: &[T]) -> Vec<Box<RawValue>> {
    let raw = |item| to_raw_value(item).expect("cannot fail because our views serialize without errors");
    items.iter().map(raw).collect()
}

/// Which of the items fit: the one at `anchor` in any case, then those nearest to it on both sides.
pub fn kept(items: &[Box<RawValue>], anchor: usize) -> Range<usize> {
    fitting(&items.iter().map(|item| item.get().len() + 1).collect::<Vec<_>>(), anchor, SYNC_PAGE_MAX - OVERHEAD)
}

fn fitting(sizes: &[usize], anchor: usize, budget: usize) -> Range<usize> {
    if sizes.is_empty() {
        return 0..0;
    }
    let anchor = anchor.min(sizes.len() - 1);
    let (mut low, mut high, mut left) = (anchor, anchor + 1, budget.saturating_sub(sizes[anchor]));
    let mut pay = |size: Option<&usize>| match size {
        Some(size) if *size <= left => {
            left -= size;
            true
        }
        _ => false,
    };
    let (mut down, mut up) = (true, true);
    while down || up {
        down = down && pay(low.checked_sub(1).map(|below| &sizes[below]));
        low -= usize::from(down);
        up = up && pay(sizes.get(high));
        high += usize::from(up);
    }
    low..high
}

/// A page of history as a client gets it.
#[derive(Serialize)]
pub struct History {
    items: Vec<Box<RawValue>>,
    first_seq: Option<i64>,
    last_seq: Option<i64>,
    more_before: bool,
    more_after: bool,
}

impl History {
    /// Where it has to be cut, it keeps what is nearest to what was asked for.
    pub fn of(page: HistoryPage, window: Window) -> Self {
        let HistoryPage { items: messages, first_seq, last_seq, more_before, more_after } = page;
        let anchor = match window {
            Window::Newest | Window::Before(_) => messages.len().saturating_sub(1),
            Window::After(_) => 0,
            Window::Around(seq) => messages.partition_point(|message| message.seq < seq),
        };
        let mut items = raws(&messages);
        let kept = kept(&items, anchor);
        let seq = |message: Option<&MessageView>| message.map(|message| message.seq);
        let whole = kept.len() == items.len();
        items.truncate(kept.end);
        items.drain(..kept.start);
        Self {
            items,
            first_seq: if whole { first_seq } else { seq(messages.get(kept.start)) },
            last_seq: if whole { last_seq } else { seq(messages.get(kept.end - 1)) },
            more_before: more_before || kept.start > 0,
            more_after: more_after || kept.end < messages.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_nearest_is_kept() {
        assert_eq!(fitting(&[10; 10], 0, 35), 0..3);
        assert_eq!(fitting(&[10; 10], 9, 35), 7..10);
        assert_eq!(fitting(&[10; 10], 5, 50), 3..8);
        assert_eq!(fitting(&[10; 3], 7, 100), 0..3, "an anchor beyond the end is the end");
        assert_eq!(fitting(&[], 0, 100), 0..0);
    }

    #[test]
    fn one_item_is_always_kept() {
        assert_eq!(fitting(&[1000, 1, 1000], 1, 10), 1..2);
        assert_eq!(fitting(&[1, 1000, 1], 1, 10), 1..2);
    }

    proptest! {
        #[test]
        fn it_fits_and_it_is_as_much_as_fits(sizes in proptest::collection::vec(1usize..50, 1..30), anchor in 0usize..30, budget in 50usize..400) {
            let range = fitting(&sizes, anchor, budget);
            let weight: usize = sizes[range.clone()].iter().sum();
            prop_assert!(range.contains(&anchor.min(sizes.len() - 1)));
            prop_assert!(weight <= budget);
            let below = range.start.checked_sub(1).map(|at| sizes[at]);
            let above = sizes.get(range.end).copied();
            prop_assert!(below.is_none_or(|size| weight + size > budget) && above.is_none_or(|size| weight + size > budget));
        }
    }
}
