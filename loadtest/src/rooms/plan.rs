//! The plan of an open-loop step: when each message is due, in which room and from whom. Everything follows from the
//! message's number, so nothing is stored, and what the server does cannot shift it (coordinated omission).

use std::time::Duration;
use uuid::{Builder, Uuid};

/// Who sits where: the part of the set-up that planning needs.
#[derive(Clone, Debug)]
pub struct Seats {
    /// Per room its members, as indexes of users.
    pub rooms: Vec<Vec<usize>>,
    /// Sockets of each user; user u has the sockets u·n to u·n + n − 1.
    pub sockets_per_user: usize,
}

/// One step at one rate.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rate_per_s: f64,
    pub total: u64,
    /// Messages planned before this are sent and checked, not timed.
    pub warmup: Duration,
    pub length: Duration,
    pub tag: u32,
    /// Wall clock at the step's start, for the ids.
    pub unix_ms: u64,
}

/// One message of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Duration,
    pub room: usize,
    /// The sender's place in the swarm.
    pub socket: usize,
    pub id: Uuid,
}

impl Plan {
    pub fn new(rate_per_s: f64, warmup: Duration, measured: Duration, tag: u32, unix_ms: u64) -> Self {
        let length = warmup + measured;
        let total = (rate_per_s * length.as_secs_f64()).floor() as u64;
        Self { rate_per_s, total, warmup, length, tag, unix_ms }
    }

    /// Message n is due at n / rate after the origin.
    pub fn due_at(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate_per_s)
    }

    /// Rooms and senders are drawn evenly, by a generator seeded with the number.
    pub fn due(&self, number: u64, seats: &Seats) -> Due {
        let at = self.due_at(number);
        let drawn = mix(number ^ (u64::from(self.tag) << 32));
        let room = (drawn % seats.rooms.len() as u64) as usize;
        let members = &seats.rooms[room];
        let sender = members[((drawn >> 24) % members.len() as u64) as usize];
        let device = ((drawn >> 48) % seats.sockets_per_user as u64) as usize;
        let again = mix(drawn);
        let mut random = [0; 10];
        random[..2].copy_from_slice(&drawn.to_be_bytes()[..2]);
        random[2..].copy_from_slice(&again.to_be_bytes());
        let id = Builder::from_unix_timestamp_millis(self.unix_ms + at.as_millis() as u64, &random).into_uuid();
        Due { at, room, socket: sender * seats.sockets_per_user + device, id }
    }
}

/// splitmix64: every number gives another, evenly spread.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_plan_is_even_and_its_ids_are_distinct() {
        let seats =
            Seats { rooms: (0..10).map(|room| (room * 5..room * 5 + 5).collect()).collect(), sockets_per_user: 2 };
        let plan = Plan::new(1000.0, Duration::from_secs(1), Duration::from_secs(9), 3, 1_700_000_000_000);
        assert_eq!(plan.total, 10_000);
        assert_eq!(plan.due_at(5_000), Duration::from_secs(5));
        let mut per_room = [0; 10];
        let mut ids = HashSet::new();
        let mut senders = HashSet::new();
        for number in 0..plan.total {
            let due = plan.due(number, &seats);
            per_room[due.room] += 1;
            assert_eq!(due.id.get_version_num(), 7);
            assert!(seats.rooms[due.room].contains(&(due.socket / 2)));
            ids.insert(due.id);
            senders.insert(due.socket);
        }
        assert_eq!((ids.len(), senders.len()), (10_000, 100));
        assert!(per_room.iter().all(|count| (850..1150).contains(count)), "{per_room:?}");
    }
}
