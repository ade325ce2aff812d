//! The names of keys and the bytes of what they hold. Every key begins with the cluster's name and a colon, then:
//!
//! | key | holds |
//! | --- | --- |
//! | `gw:<id>` | lease: the epoch it was given to; ends by itself |
//! | `gateways` | hash: the id of each gateway that has joined and not left, its epoch |
//! | `inbox:<id>:<epoch>` | stream of entries, ids 1-0, 1-1, …; expires [`INBOX_LIFE`] after the last renewal |
//! | `route:<user>`, `watch:<user>` | refs of the gateways that hold sessions of, or watch, this person |
//! | `routes:<id>:<epoch>`, `watches:<id>:<epoch>` | set: the people whose list names this gateway |
//! | `buried` | set: refs whose epoch is over and whose routes may still be there |
//! | `claim:<id>:<epoch>` | somebody sees to this death |
//! | `limit:<rule>:<subject>` | when this subject would be served if it queued, in µs; gone when that is past |
//! | `once:<key>` | used; gone when that does not matter any more |
//!
//! Ids of gateways and epochs are text, as in logs; ids of people are 16 bytes, because there are so many. A *ref* is 24
//! bytes: a gateway's id and its epoch, most significant byte first. A list of them is refs in a row, so that one MGET
//! reads the routes of a whole batch.

use crate::{
    command::GatewayRef,
    domain::{GatewayId, UserId},
    routing::Routes,
};
use std::time::Duration;
use uuid::Uuid;

/// How long an inbox is kept after its gateway's last renewal: somebody may take its sessions over.
pub(super) const INBOX_LIFE: Duration = Duration::from_secs(120);
pub(super) const REF: usize = 24;
const USER: usize = 16;

/// What is kept of a person: the list, and for each gateway the set of people in whose list it is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub list: &'static str,
    pub set: &'static str,
}

pub(super) const ROUTE: Kind = Kind { list: "route:", set: "routes:" };
pub(super) const WATCH: Kind = Kind { list: "watch:", set: "watches:" };

pub(super) struct Keys {
    pub prefix: String,
}

impl Keys {
    pub fn new(cluster: &str) -> Self {
        Self { prefix: format!("{cluster}:") }
    }

    pub fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn lease(&self, gateway: GatewayId) -> String {
        format!("{}gw:{gateway}", self.prefix)
    }

    pub fn inbox(&self, me: GatewayRef) -> String {
        format!("{}inbox:{}:{}", self.prefix, me.id, me.epoch)
    }

    pub fn users_of(&self, kind: Kind, me: GatewayRef) -> String {
        format!("{}{}{}:{}", self.prefix, kind.set, me.id, me.epoch)
    }

    pub fn once(&self, key: [u8; 16]) -> Vec<u8> {
        [self.prefix.as_bytes(), b"once:", &key].concat()
    }

    /// Writes the key of each person's list into `key` in turn.
    pub fn lists(&self, kind: Kind, users: impl Iterator<Item = UserId>, mut each: impl FnMut(&[u8])) {
        let mut key = [self.prefix.as_bytes(), kind.list.as_bytes()].concat();
        let start = key.len();
        for user in users {
            key.truncate(start);
            key.extend_from_slice(user.0.as_bytes());
            each(&key);
        }
    }
}

pub(super) fn ref_of(gateway: GatewayRef) -> [u8; REF] {
    let mut bytes = [0; REF];
    bytes[..16].copy_from_slice(gateway.id.0.as_bytes());
    bytes[16..].copy_from_slice(&gateway.epoch.to_be_bytes());
    bytes
}

/// The gateways of a list. What is not a whole ref was not written by us.
pub(super) fn refs(list: &[u8]) -> Routes {
    let (refs, _rest) = list.as_chunks::<REF>();
    refs.iter().map(gateway_of).collect()
}

fn gateway_of(bytes: &[u8; REF]) -> GatewayRef {
    let number = u128::from_be_bytes(bytes[..16].try_into().expect("cannot fail because these are 16 bytes"));
    let epoch = u64::from_be_bytes(bytes[16..].try_into().expect("cannot fail because these are 8 bytes"));
    GatewayRef { id: GatewayId(Uuid::from_u128(number)), epoch }
}

/// People as a script takes them: their ids in a row.
pub(super) fn users_in_a_row(users: &[UserId]) -> Vec<u8> {
    let mut row = Vec::with_capacity(users.len() * USER);
    users.iter().for_each(|user| row.extend_from_slice(user.0.as_bytes()));
    row
}

/// People as a script answers them.
pub(super) fn users_of(row: &[u8]) -> impl Iterator<Item = UserId> {
    let (users, _rest) = row.as_chunks::<USER>();
    users.iter().map(|bytes| UserId(Uuid::from_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_read_as_they_were_written() {
        let gateways: Routes =
            (0..3).map(|epoch| GatewayRef { id: GatewayId::new(), epoch: u64::MAX - epoch }).collect();
        let list: Vec<u8> = gateways.iter().flat_map(|gateway| ref_of(*gateway)).collect();
        assert_eq!(refs(&list), gateways);
        assert_eq!(refs(&list[..list.len() - 1]), gateways[..2], "half a ref names nobody");
        assert_eq!(refs(b""), []);
    }

    #[test]
    fn people_are_read_as_they_were_written() {
        let users: Vec<UserId> = (0..3).map(|_| UserId::new()).collect();
        assert_eq!(users_of(&users_in_a_row(&users)).collect::<Vec<_>>(), users);
    }

    #[test]
    fn the_key_of_a_list_ends_with_the_persons_id() {
        let users = [UserId::new(), UserId::new()];
        let mut keys = vec![];
        Keys::new("a-cluster").lists(ROUTE, users.into_iter(), |key| keys.push(key.to_vec()));
        let expected: Vec<Vec<u8>> =
            users.iter().map(|user| [&b"a-cluster:route:"[..], user.0.as_bytes()].concat()).collect();
        assert_eq!(keys, expected);
    }
}
