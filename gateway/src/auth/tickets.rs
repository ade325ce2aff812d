//! Tickets: for browsers, which cannot put a header on a socket's handshake. A ticket stands in the URL instead, so it is
//! worth little to whoever reads it in a log: thirty seconds, one use. It carries its caller under a MAC; what has been
//! used is remembered by the routing, for all gateways together. While that is away no ticket can be used.

use super::{Caller, derived_key, random};
use crate::ended::Ended;
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use shared::{
    clock,
    domain::{SessionId, TICKET_LIFE, UserId},
    reply::{Code, Refusal},
    routing::Routing,
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

const BODY: usize = 16 + 16 + 8 + 8 + 16;
const TICKET: usize = BODY + 32;
const TICKET_CHARS: usize = (TICKET * 4).div_ceil(3);

pub struct Tickets {
    key: hmac::Key,
    ended: Arc<Ended>,
    routing: Arc<dyn Routing>,
}

impl Tickets {
    pub fn new(secret: &[u8], ended: Arc<Ended>, routing: Arc<dyn Routing>) -> Self {
        Self { key: derived_key(secret, b"ticket"), ended, routing }
    }

    pub fn issue(&self, caller: Caller) -> String {
        self.issue_at(caller, clock::unix_seconds())
    }

    fn issue_at(&self, caller: Caller, now: u64) -> String {
        let mut ticket = Vec::with_capacity(TICKET);
        ticket.extend(caller.user.0.as_bytes());
        ticket.extend(caller.session.0.as_bytes());
        ticket.extend(caller.expires.to_be_bytes());
        ticket.extend((now + TICKET_LIFE.as_secs()).to_be_bytes());
        ticket.extend(random::<16>());
        let mac = hmac::sign(&self.key, &ticket);
        ticket.extend(mac.as_ref());
        URL_SAFE_NO_PAD.encode(ticket)
    }

    /// Takes a ticket: the second time it is refused, as is any that is not ours, over, or of an ended session.
    pub async fn redeem(&self, ticket: &str) -> Result<Caller, Refusal> {
        self.redeem_at(ticket, clock::unix_seconds()).await
    }

    async fn redeem_at(&self, ticket: &str, now: u64) -> Result<Caller, Refusal> {
        let refused = || Refusal::new(Code::Unauthorized, "the ticket is not valid, or was used");
        if ticket.len() != TICKET_CHARS {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| refused())?;
        let (body, mac) = bytes.split_at(BODY);
        hmac::verify(&self.key, body, mac).map_err(|_| refused())?;
        let number =
            |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("cannot fail because it is eight bytes"));
        let id = |at: usize| Uuid::from_slice(&body[at..at + 16]).expect("cannot fail because it is sixteen bytes");
        let caller = Caller { user: UserId(id(0)), session: SessionId(id(16)), expires: number(32) };
        let over = number(40);
        if over <= now || self.ended.contains(caller.session) {
            return Err(refused());
        }
        let first = self.routing.use_once(*id(48).as_bytes(), Duration::from_secs(over - now)).await;
        match first {
            Ok(first) => first.then_some(caller).ok_or_else(refused),
            Err(away) => {
                tracing::debug!(%away, "a ticket cannot be checked");
                Err(Refusal::new(Code::Unavailable, "tickets cannot be checked just now").retry_after(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::routing::local::LocalRouting;

    const SECRET: &[u8] = b"a secret that only tests use, of more than 32 bytes";

    fn tickets() -> Tickets {
        tickets_of(&LocalRouting::new())
    }

    fn tickets_of(routing: &LocalRouting) -> Tickets {
        Tickets::new(SECRET, Arc::new(Ended::new(Duration::from_secs(60))), Arc::new(routing.clone()))
    }

    fn caller() -> Caller {
        Caller { user: UserId::new(), session: SessionId::new(), expires: 5000 }
    }

    #[tokio::test]
    async fn a_ticket_is_used_once() {
        let (tickets, caller) = (tickets(), caller());
        let ticket = tickets.issue_at(caller, 1000);
        assert_eq!(tickets.redeem_at(&ticket, 1029).await.unwrap(), caller);
        assert_eq!(tickets.redeem_at(&ticket, 1029).await.unwrap_err().code, Code::Unauthorized);
    }

    #[tokio::test]
    async fn a_ticket_is_over_after_thirty_seconds_and_with_its_session() {
        let (tickets, caller) = (tickets(), caller());
        let ticket = tickets.issue_at(caller, 1000);
        assert!(tickets.redeem_at(&ticket, 1030).await.is_err());
        tickets.ended.insert(&[caller.session]);
        assert!(tickets.redeem_at(&ticket, 1001).await.is_err());
    }

    #[tokio::test]
    async fn a_ticket_cannot_be_changed_or_made() {
        let (tickets, caller) = (tickets(), caller());
        let ticket = tickets.issue_at(caller, 1000);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(tickets.redeem_at(&changed, 1001).await.is_err(), "changed at {at}");
        }
        for bad in ["", "A", &ticket[1..], &format!("{ticket}A"), &"A".repeat(10_000), "ä"] {
            assert!(tickets.redeem_at(bad, 1001).await.is_err());
        }
        let other = Tickets::new(
            b"another secret of at least thirty-two bytes",
            tickets.ended.clone(),
            tickets.routing.clone(),
        );
        assert!(other.redeem_at(&ticket, 1001).await.is_err());
        assert!(tickets.redeem_at(&ticket, 1001).await.is_ok());
    }

    #[tokio::test]
    async fn a_ticket_is_used_once_at_all_gateways_together() {
        let routing = LocalRouting::new();
        let (one, two) = (tickets_of(&routing), tickets_of(&routing));
        let ticket = one.issue_at(caller(), 1000);
        routing.set_away(true);
        assert_eq!(two.redeem_at(&ticket, 1001).await.unwrap_err().code, Code::Unavailable);
        routing.set_away(false);
        two.redeem_at(&ticket, 1001).await.unwrap();
        assert_eq!(one.redeem_at(&ticket, 1001).await.unwrap_err().code, Code::Unauthorized);
    }
}
