//! Identifiers and positions. Ids are UUIDs, opaque to clients; a position is what a client names to get what came after.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, version 7: increasing in time within this process.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A person's account.
    UserId
);
id!(
    /// A login on one device: a family of refresh tokens. A socket lives as long as its session.
    SessionId
);
id!(
    /// A direct conversation or a group.
    ConversationId
);
id!(
    /// A message; chosen by the client, and at the same time the id of the command that sends it.
    MessageId
);
id!(
    /// A command. The same id again is the same command (ARCHITECTURE.md, "What is always true", 2).
    CommandId
);
id!(
    /// A gateway process, for as long as it runs.
    GatewayId
);

impl ConversationId {
    /// The direct conversation of two people: derived from the sorted pair, so that both sides, asking at the same
    /// moment on different gateways, meet on one row. UUIDv8 over SHA-256.
    pub fn direct(a: UserId, b: UserId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let mut hasher = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        hasher.update(b"rookery direct\0");
        hasher.update(low.0.as_bytes());
        hasher.update(high.0.as_bytes());
        let digest = hasher.finish();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_ref()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// Where an event stands in its conversation: `seq + rev`. Each event raises it by exactly one, so a receiver that
/// remembers the last place knows what comes next, what it has already had, and when something is missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(pub i64);

impl Place {
    pub fn of(seq: i64, rev: i64) -> Self {
        Self(seq + rev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_conversation_has_one_id_whoever_asks() {
        let (a, b) = (UserId::new(), UserId::new());
        assert_eq!(ConversationId::direct(a, b), ConversationId::direct(b, a));
        assert_ne!(ConversationId::direct(a, b), ConversationId::direct(a, UserId::new()));
    }

    #[test]
    fn the_direct_id_never_changes() {
        let a = UserId(Uuid::from_u128(1));
        let b = UserId(Uuid::from_u128(2));
        let id = ConversationId::direct(a, b).0;
        assert_eq!(id.get_version_num(), 8);
        assert_eq!(id.to_string(), "e9e5e8c1-4038-8f19-8134-fe986d01cb1d");
    }
}
