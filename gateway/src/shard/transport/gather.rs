//! What one turn of the loop has for its connections: each parcel of frames once, and for each connection the list of
//! parcels it is to get, in order. At the end of the turn a connection's list leaves in one write, and all of this is
//! empty again. Handing a parcel to a thousand receivers costs a thousand list nodes, and no allocation, no reference
//! count and no copy until it is written.

use super::super::Class;
use bytes::Bytes;

pub(in crate::shard) struct Parcel {
    /// Whole frames.
    pub(in crate::shard) bytes: Bytes,
    pub(in crate::shard) events: u32,
    pub(in crate::shard) class: Class,
}

const NONE: u32 = u32::MAX;

struct Node {
    parcel: u32,
    next: u32,
}

#[derive(Default)]
pub(in crate::shard) struct Gather {
    parcels: Vec<Parcel>,
    nodes: Vec<Node>,
    /// Connections to look at when the turn ends.
    dirty: Vec<u32>,
}

/// A connection's list; lives in the connection.
#[derive(Clone, Copy)]
pub(in crate::shard) struct List {
    head: u32,
    tail: u32,
    pub(in crate::shard) len: u32,
    pub(in crate::shard) bytes: u32,
}

impl List {
    pub(in crate::shard) const EMPTY: List = List { head: NONE, tail: NONE, len: 0, bytes: 0 };
}

impl Gather {
    pub(in crate::shard) fn parcel(&mut self, parcel: Parcel) -> u32 {
        self.parcels.push(parcel);
        (self.parcels.len() - 1) as u32
    }

    pub(in crate::shard) fn get(&self, parcel: u32) -> &Parcel {
        &self.parcels[parcel as usize]
    }

    #[inline]
    pub(in crate::shard) fn append(&mut self, list: &mut List, parcel: u32) {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node { parcel, next: NONE });
        match list.tail {
            NONE => list.head = node,
            tail => self.nodes[tail as usize].next = node,
        }
        list.tail = node;
        list.len += 1;
        list.bytes += self.parcels[parcel as usize].bytes.len() as u32;
    }

    /// The parcel made last.
    pub(in crate::shard) fn last(&self) -> u32 {
        self.parcels.len() as u32 - 1
    }

    /// Puts other bytes in the place of a parcel that only this list has.
    pub(in crate::shard) fn replace(&mut self, list: &mut List, parcel: u32, bytes: Bytes) {
        let old = std::mem::replace(&mut self.parcels[parcel as usize].bytes, bytes);
        list.bytes += self.parcels[parcel as usize].bytes.len() as u32;
        list.bytes -= old.len() as u32;
    }

    pub(in crate::shard) fn walk(&self, list: List) -> impl Iterator<Item = &Parcel> {
        let node = |at: u32| self.nodes.get(at as usize);
        std::iter::successors(node(list.head), move |last| node(last.next)).map(|node| self.get(node.parcel))
    }

    pub(in crate::shard) fn mark(&mut self, slot: u32) {
        self.dirty.push(slot);
    }

    pub(in crate::shard) fn take_dirty(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty)
    }

    /// The turn is over and every list is empty. Keeps the memory of ordinary turns.
    pub(in crate::shard) fn end_turn(&mut self, mut dirty: Vec<u32>) {
        self.parcels.clear();
        self.nodes.clear();
        dirty.clear();
        self.parcels.shrink_to(4_096);
        self.nodes.shrink_to(65_536);
        dirty.shrink_to(65_536);
        self.dirty = dirty;
    }
}
