//! Where a shard keeps its connections: slots with generations, in pages, so that growing never moves or copies what
//! is there and a thousand idle connections cost a thousand slots and no more.

use super::{ConnId, SLOT_BITS};

const PAGE: usize = 128;

pub(super) struct Slab<T> {
    shard: usize,
    pages: Vec<Box<[Slot<T>]>>,
    free: Vec<u32>,
    len: usize,
}

// The generation beside the value's first fields: one cache line for both.
#[repr(C)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) fn new(shard: usize) -> Self {
        Slab { shard, pages: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The id that the next `insert` will use. `None`: all 16 million slots are taken.
    pub(super) fn next_id(&mut self) -> Option<ConnId> {
        if self.free.is_empty() {
            let first = self.pages.len() * PAGE;
            if first + PAGE > 1 << SLOT_BITS {
                return None;
            }
            self.pages.push((0..PAGE).map(|_| Slot { generation: 0, value: None }).collect());
            // Taken from the end: the lowest first.
            self.free.extend((first as u32..(first + PAGE) as u32).rev());
        }
        let slot = *self.free.last()?;
        Some(ConnId::new(self.shard, self.slot(slot).generation, slot))
    }

    /// Puts the value into the slot that `next_id` named.
    pub(super) fn insert(&mut self, id: ConnId, value: T) {
        let taken = self.free.pop();
        debug_assert_eq!(taken, Some(id.slot()));
        self.slot_mut(id.slot()).value = Some(value);
        self.len += 1;
    }

    /// Empties the slot; ids of its old connection name nobody from now on.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.slot_mut(slot);
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// By an id from outside, which may be stale or of another shard.
    #[inline]
    pub(super) fn get(&mut self, id: ConnId) -> Option<&mut T> {
        let page = self.pages.get_mut(id.slot() as usize / PAGE)?;
        let entry = &mut page[id.slot() as usize % PAGE];
        if entry.generation == id.generation() && id.shard() == self.shard { entry.value.as_mut() } else { None }
    }

    /// By a slot of the shard's own lists.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut T> {
        self.slot_mut(slot).value.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        let slots = self.pages.iter_mut().flatten().zip(0..);
        slots.filter_map(|(entry, slot)| entry.value.as_mut().map(|value| (slot, value)))
    }

    fn slot(&self, slot: u32) -> &Slot<T> {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot<T> {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_names_nobody() {
        let mut slab = Slab::new(3);
        let first = slab.next_id().unwrap();
        slab.insert(first, "first");
        assert_eq!(slab.get(first), Some(&mut "first"));
        assert_eq!(slab.remove(first.slot()), Some("first"));
        let second = slab.next_id().unwrap();
        slab.insert(second, "second");
        assert_eq!(second.slot(), first.slot());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get(second), Some(&mut "second"));
        assert_eq!((second.shard(), slab.len()), (3, 1));
    }

    #[test]
    fn foreign_and_future_ids_name_nobody() {
        let mut slab = Slab::new(0);
        let id = slab.next_id().unwrap();
        slab.insert(id, ());
        assert_eq!(slab.get(ConnId::new(1, 0, id.slot())), None);
        assert_eq!(slab.get(ConnId::new(0, 0, 100_000)), None);
        assert_eq!(slab.get(ConnId::new(0, 0, id.slot() + 1)), None);
    }

    #[test]
    fn pages_fill_from_the_lowest_slot() {
        let mut slab = Slab::new(0);
        for expected in 0..1_000 {
            let id = slab.next_id().unwrap();
            assert_eq!(id.slot(), expected);
            slab.insert(id, expected);
        }
        assert!(slab.iter_mut().map(|(slot, value)| (slot, *value)).eq((0..1_000).map(|n| (n, n))));
    }
}
