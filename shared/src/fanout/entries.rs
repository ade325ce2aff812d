//! Collects what each gateway is told and cuts it into inbox entries of bounded size.

use crate::{
    command::GatewayRef,
    domain::{INBOX_ENTRY_MAX, UserId},
    event::{Event, InboxEntry, InboxItem},
    reply::Reply,
    routing::Routes,
};
use std::sync::Arc;

/// Per gateway, in the order collected. Few gateways: a list is found faster than a map.
#[derive(Default)]
pub(super) struct Entries {
    gateways: Vec<(GatewayRef, Vec<InboxItem>)>,
}

impl Entries {
    pub fn item(&mut self, gateway: GatewayRef, item: InboxItem) {
        match self.gateways.iter_mut().find(|(known, _)| *known == gateway) {
            Some((_, items)) => items.push(item),
            None => self.gateways.push((gateway, vec![item])),
        }
    }

    /// `make` for each gateway with those of `users` that are routed to it.
    pub fn each_gateway(&mut self, users: &[UserId], routes: &[Routes], make: impl Fn(Arc<[UserId]>) -> InboxItem) {
        let mut local: Vec<(GatewayRef, Vec<UserId>)> = Vec::with_capacity(2);
        for (user, gateways) in users.iter().zip(routes) {
            for gateway in gateways {
                match local.iter_mut().find(|(known, _)| known == gateway) {
                    Some((_, to)) => to.push(*user),
                    None => local.push((*gateway, vec![*user])),
                }
            }
        }
        for (gateway, to) in local {
            self.item(gateway, make(to.into()));
        }
    }

    pub fn events(&mut self, events: &Arc<[Event]>, users: &[UserId], routes: &[Routes]) {
        if !events.is_empty() {
            self.each_gateway(users, routes, |to| InboxItem::Events { events: events.clone(), to });
        }
    }

    pub fn reply(&mut self, gateway: GatewayRef, reply: Reply) {
        if let Some((_, items)) = self.gateways.iter_mut().find(|(known, _)| *known == gateway)
            && let Some(InboxItem::Replies(replies)) = items.last_mut()
        {
            replies.push(reply);
            return;
        }
        self.item(gateway, InboxItem::Replies(vec![reply]));
    }

    /// Entries of at most [`INBOX_ENTRY_MAX`], as far as single items allow it.
    pub fn finish(self) -> Vec<(GatewayRef, InboxEntry)> {
        let mut entries = Vec::with_capacity(self.gateways.len());
        for (gateway, items) in self.gateways {
            let mut entry = InboxEntry::default();
            let mut weight = 0;
            for item in items {
                let more = item.weight();
                if weight + more > INBOX_ENTRY_MAX && !entry.items.is_empty() {
                    entries.push((gateway, std::mem::take(&mut entry)));
                    weight = 0;
                }
                weight += more;
                entry.items.push(item);
            }
            entries.push((gateway, entry));
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::GatewayId,
        event::{EventName, Position},
        reply::Outcome,
    };
    use bytes::Bytes;

    fn gateway() -> GatewayRef {
        GatewayRef { id: GatewayId::new(), epoch: 1 }
    }

    fn event(bytes: usize) -> Arc<[Event]> {
        let position = Position::Ephemeral { conversation: None };
        Arc::from([Event { name: EventName::Typing, position, data: Bytes::from(vec![b'x'; bytes]) }])
    }

    #[test]
    fn each_gateway_gets_its_own_people_events_before_replies() {
        let (a, b) = (gateway(), gateway());
        let users: Vec<UserId> = (0..3).map(|_| UserId::new()).collect();
        let mut entries = Entries::default();
        entries.events(&event(1), &users, &[vec![a], vec![a, b], vec![]]);
        entries.reply(b, Reply { ticket: 1, outcome: Outcome::Ok { created: true, json: Bytes::new() } });
        let entries = entries.finish();
        assert_eq!(entries.len(), 2);
        let (_, to_b) = entries.iter().find(|(gateway, _)| *gateway == b).unwrap();
        assert!(matches!(&to_b.items[0], InboxItem::Events { to, .. } if to[..] == users[1..2]));
        assert!(matches!(&to_b.items[1], InboxItem::Replies(replies) if replies.len() == 1));
    }

    #[test]
    fn entries_are_cut_by_size_and_keep_their_order() {
        let a = gateway();
        let mut entries = Entries::default();
        for _ in 0..5 {
            entries.events(&event(INBOX_ENTRY_MAX / 2), &[UserId::new()], &[vec![a]]);
        }
        let entries = entries.finish();
        assert_eq!(entries.iter().map(|(_, entry)| entry.items.len()).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
    }
}
