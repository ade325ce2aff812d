//! The crowd: who its people are and which conversations each is in. Everything follows from a person's number, so that the
//! processes of a run agree without telling each other, and nothing is stored.

use crate::rooms::plan::mix;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

/// Each person is in `rounds` conversations of up to `room` members: in each round the crowd is shuffled and cut into rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Population {
    pub people: u32,
    pub rounds: u32,
    pub room: u32,
    /// Wall clock at which it was made up, for the ids.
    pub unix_ms: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    User = 1,
    Session = 2,
    Conversation = 3,
}

impl Population {
    pub fn user(&self, person: u32) -> Uuid {
        self.id(Kind::User, person)
    }

    pub fn session(&self, person: u32) -> Uuid {
        self.id(Kind::Session, person)
    }

    pub fn conversation(&self, number: u32) -> Uuid {
        self.id(Kind::Conversation, number)
    }

    pub fn conversations(&self) -> u32 {
        self.rounds * self.rooms_a_round()
    }

    /// The numbers of a person's conversations, ascending.
    pub fn conversations_of(&self, person: u32) -> impl Iterator<Item = u32> + '_ {
        (0..self.rounds).map(move |round| round * self.rooms_a_round() + self.seat(round, person) / self.room)
    }

    /// How many are in a conversation: all rooms of a round but its last are full.
    pub fn members(&self, number: u32) -> u32 {
        let first = (number % self.rooms_a_round()) * self.room;
        self.room.min(self.people - first)
    }

    fn rooms_a_round(&self) -> u32 {
        self.people.div_ceil(self.room)
    }

    /// Where the person sits in a round's row: multiplied by a number that has no divisor in common with the crowd's.
    fn seat(&self, round: u32, person: u32) -> u32 {
        let people = u64::from(self.people);
        let step = (1..).map(|n| 2 * (u64::from(round) * 7_919 + n) - 1).find(|step| gcd(*step, people) == 1);
        let step = step.expect("cannot fail because a prime larger than the crowd comes sooner or later");
        (u64::from(person) * step % people) as u32
    }

    /// A version 7 id like any other, telling the kinds apart by its random part.
    fn id(&self, kind: Kind, number: u32) -> Uuid {
        let drawn = mix(u64::from(number) << 8 | kind as u64);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&drawn.to_be_bytes());
        random[8..].copy_from_slice(&mix(drawn ^ self.unix_ms).to_be_bytes()[..2]);
        Builder::from_unix_timestamp_millis(self.unix_ms, &random).into_uuid()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rooms_are_full_and_everybody_is_in_one_of_each_round() {
        let crowd = Population { people: 450, rounds: 6, room: 100, unix_ms: 1_700_000_000_000 };
        let mut members = vec![HashSet::new(); crowd.conversations() as usize];
        for person in 0..crowd.people {
            let rooms: Vec<u32> = crowd.conversations_of(person).collect();
            assert!(rooms.len() == 6 && rooms.is_sorted(), "{rooms:?}");
            rooms.iter().for_each(|room| assert!(members[*room as usize].insert(person)));
        }
        assert_eq!(crowd.conversations(), 30);
        for (number, members) in members.iter().enumerate() {
            assert_eq!(members.len() as u32, crowd.members(number as u32), "room {number}");
        }
        assert_ne!(members[0], members[5], "rounds are shuffled differently");
    }

    #[test]
    fn ids_are_distinct_and_the_same_for_whoever_asks() {
        let crowd = Population { people: 5_000, rounds: 3, room: 100, unix_ms: 1_700_000_000_000 };
        let mut ids: HashSet<Uuid> = (0..5_000).flat_map(|n| [crowd.user(n), crowd.session(n)]).collect();
        ids.extend((0..crowd.conversations()).map(|n| crowd.conversation(n)));
        assert_eq!(ids.len(), 10_150);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.contains(&Population { ..crowd }.user(77)));
    }
}
