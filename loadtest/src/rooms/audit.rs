//! The check of promises: every acknowledged message reaches every socket of its room once and in order.
//!
//! A socket follows each of its rooms by `seq`, which has no gaps. What is passed over is *lost*, unless the socket was
//! told so before (`resync`, or it was closed): then it is *told*, for the client would fetch it. A seq that comes later
//! than its successors is an *order break*, one that comes again a *double*, as is a message under two seqs or two
//! messages under one.

use super::plan::Seats;
use serde::Serialize;
use std::collections::HashMap;

/// Holes remembered per socket and room, to tell a late message from a doubled one.
const HOLES: usize = 64;

/// What was found wrong, and what the server said itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Deliveries that acknowledged messages (or later ones) prove to be missing, and nobody said so.
    pub lost: u64,
    /// Deliveries missing on sockets that were told to fetch them.
    pub told: u64,
    pub doubled: u64,
    pub order_breaks: u64,
    pub resyncs: u64,
}

impl Findings {
    /// Whether a promise was broken; `told` and `resyncs` are within them.
    pub fn broken(&self) -> bool {
        self.lost + self.doubled + self.order_breaks > 0
    }
}

#[derive(Clone, Debug, Default)]
struct Follow {
    room: usize,
    /// The first and the last seq seen; 0 before any. From the second step on `first` is 1: what came before is known.
    first: u64,
    last: u64,
    /// Told to fetch, since the last message seen; and before the first.
    told: bool,
    head_told: bool,
    holes: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Room {
    /// The lowest and highest seq known to be stored in this step; 0 before any.
    lowest: u64,
    highest: u64,
}

/// Follows all sockets of a run. Positions live as long as the run, findings as long as a step.
pub struct Audit {
    names: HashMap<Vec<u8>, usize>,
    rooms: Vec<Room>,
    /// Per socket its rooms, in order of room.
    follows: Vec<Vec<Follow>>,
    /// Per message number of the step the seq it was seen or acknowledged under; 0 before.
    seqs: Vec<u32>,
    found: Findings,
}

impl Audit {
    /// `names` are the rooms' ids, in the order of the seats.
    pub fn new(seats: &Seats, names: &[String]) -> Self {
        let users = seats.rooms.iter().flatten().max().map_or(0, |user| user + 1);
        let mut follows = vec![Vec::new(); users * seats.sockets_per_user];
        for (room, members) in seats.rooms.iter().enumerate() {
            for user in members {
                let first = user * seats.sockets_per_user;
                for socket in &mut follows[first..first + seats.sockets_per_user] {
                    socket.push(Follow { room, ..Follow::default() });
                }
            }
        }
        let names = names.iter().enumerate().map(|(room, name)| (name.clone().into_bytes(), room)).collect();
        Self {
            names,
            rooms: vec![Room::default(); seats.rooms.len()],
            follows,
            seqs: Vec::new(),
            found: Findings::default(),
        }
    }

    /// Begins a step of so many messages.
    pub fn begin(&mut self, total: u64) {
        self.seqs = vec![0; total as usize];
        self.found = Findings::default();
        for follow in self.follows.iter_mut().flatten() {
            follow.holes.clear();
        }
    }

    /// A socket was opened anew: what passed in between is not its business.
    pub fn reopened(&mut self, socket: usize) {
        for follow in &mut self.follows[socket] {
            *follow = Follow { room: follow.room, ..Follow::default() };
        }
    }

    /// Message `number` of the step was acknowledged as stored under `seq`.
    pub fn acknowledged(&mut self, number: u64, room: usize, seq: u64) {
        self.stored(room, seq);
        self.named(number, seq);
    }

    /// An event reached a socket; `number` if the message belongs to this step.
    pub fn delivered(&mut self, socket: usize, conversation: &[u8], number: Option<(u64, usize)>, seq: u64) {
        let room = match number {
            Some((_, room)) => room,
            None => match self.names.get(conversation) {
                Some(room) => *room,
                None => return,
            },
        };
        if let Some((number, _)) = number {
            self.stored(room, seq);
            self.named(number, seq);
        }
        let follows = &mut self.follows[socket];
        if let Ok(at) = follows.binary_search_by_key(&room, |follow| follow.room) {
            follows[at].advance(seq, &mut self.found);
        }
    }

    /// The socket was told to fetch: of the conversations named in the text, or of all where it says null.
    pub fn resync(&mut self, socket: usize, text: &[u8]) {
        self.found.resyncs += 1;
        let all = memchr::memmem::find(text, b"\"conversation_ids\":null").is_some();
        let named: Vec<usize> = memchr::memchr_iter(b'"', text)
            .filter_map(|quote| self.names.get(text.get(quote + 1..quote + 37)?).copied())
            .collect();
        for follow in &mut self.follows[socket] {
            follow.told |= all || named.contains(&follow.room);
        }
    }

    /// Ends the step: whoever is behind what his rooms are known to hold has lost it, or was told. `open` says which
    /// sockets still live.
    pub fn finish(&mut self, open: &dyn Fn(usize) -> bool, rooms_of: &dyn Fn(u64) -> usize) -> Findings {
        self.count_shared_seqs(rooms_of);
        for (socket, follows) in self.follows.iter_mut().enumerate() {
            for follow in follows {
                let room = &self.rooms[follow.room];
                let (head, tail) = follow.missing_at_ends(room);
                for (missing, told) in [(head, follow.head_told), (tail, follow.told || !open(socket))] {
                    *if told { &mut self.found.told } else { &mut self.found.lost } += missing;
                }
                (follow.told, follow.head_told) = (false, false);
                if follow.first != 0 || room.highest != 0 {
                    (follow.first, follow.last) = (1, follow.last.max(room.highest));
                }
            }
        }
        for room in &mut self.rooms {
            *room = Room::default();
        }
        self.found.clone()
    }

    fn stored(&mut self, room: usize, seq: u64) {
        let room = &mut self.rooms[room];
        room.highest = room.highest.max(seq);
        room.lowest = if room.lowest == 0 { seq } else { room.lowest.min(seq) };
    }

    /// A message has one seq, whoever tells it.
    fn named(&mut self, number: u64, seq: u64) {
        let Some(known) = self.seqs.get_mut(number as usize) else { return };
        let seq = u32::try_from(seq).unwrap_or(u32::MAX);
        if *known == 0 {
            *known = seq;
        } else if *known != seq {
            self.found.doubled += 1;
        }
    }

    /// Two messages of one room under one seq.
    fn count_shared_seqs(&mut self, rooms_of: &dyn Fn(u64) -> usize) {
        let known = self.seqs.iter().enumerate().filter(|(_, seq)| **seq != 0);
        let mut places: Vec<(usize, u32)> = known.map(|(number, seq)| (rooms_of(number as u64), *seq)).collect();
        places.sort_unstable();
        self.found.doubled += places.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    }
}

impl Follow {
    fn advance(&mut self, seq: u64, found: &mut Findings) {
        if self.first == 0 {
            (self.first, self.last, self.head_told) = (seq, seq, self.told);
        } else if seq == self.last + 1 {
            self.last = seq;
        } else if seq > self.last {
            let missing = seq - self.last - 1;
            if self.told {
                found.told += missing;
            } else {
                found.lost += missing;
                if self.holes.len() < HOLES {
                    self.holes.push((self.last + 1, seq - 1));
                }
            }
            self.last = seq;
        } else if seq < self.first {
            // It belonged before the first one seen.
            let missing = self.first - seq - 1;
            found.order_breaks += 1;
            found.lost += missing;
            if missing > 0 && self.holes.len() < HOLES {
                self.holes.push((seq + 1, self.first - 1));
            }
            self.first = seq;
        } else if let Some(at) = self.holes.iter().position(|(from, to)| (*from..=*to).contains(&seq)) {
            let (from, to) = self.holes.swap_remove(at);
            self.holes.extend([(from, seq - 1), (seq + 1, to)].into_iter().filter(|(from, to)| from <= to));
            found.lost -= 1;
            found.order_breaks += 1;
        } else {
            found.doubled += 1;
        }
        // At a hole `resync` goes first, then the event: from here on it is whole again.
        self.told = false;
    }

    /// How many are missing before the first and after the last message seen.
    fn missing_at_ends(&self, room: &Room) -> (u64, u64) {
        if room.highest == 0 {
            return (0, 0);
        }
        if self.first == 0 {
            return (0, room.highest - room.lowest + 1);
        }
        (self.first.saturating_sub(room.lowest), room.highest.saturating_sub(self.last))
    }
}

#[cfg(test)]
mod tests;
