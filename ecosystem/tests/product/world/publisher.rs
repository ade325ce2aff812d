//! A gateway that the test plays itself: it puts on the bus exactly what it is told, batch by batch, and hears the
//! answers in an inbox of its own. For commands that no gateway would let pass, and for copies at a chosen moment.

use super::{PATIENCE, Person, World};
use shared::{
    bus::Bus,
    command::{Command, CommandBatch, Envelope, GatewayRef, SendMessage, partition},
    domain::{CommandId, ConversationId, GatewayId, MessageKind},
    event::InboxItem,
    reply::{Outcome, Reply},
    routing::{Inbox, Routing},
};
use std::{sync::Arc, time::Duration};

pub struct Publisher {
    me: GatewayRef,
    inbox: Box<dyn Inbox>,
    bus: Arc<dyn Bus>,
    tickets: u64,
}

impl Publisher {
    pub async fn join(world: &World) -> Self {
        let (me, inbox) = world.routing.join(GatewayId::new()).await.expect("routing is there");
        Self { me, inbox, bus: world.bus.clone(), tickets: 0 }
    }

    /// Publishes these as one batch, to the partition of the first one's conversation; returns their tickets.
    pub async fn publish(&mut self, commands: Vec<(&Person, CommandId, Command)>) -> Vec<u64> {
        let number = partition(commands[0].2.conversation(), self.bus.partitions());
        let first = self.tickets + 1;
        let envelope = |(person, id, command): (&Person, CommandId, Command)| {
            self.tickets += 1;
            let (actor, session) = (person.user(), person.session);
            Envelope { ticket: self.tickets, id, actor, session, request_id: "test".into(), command }
        };
        let commands: Vec<Envelope> = commands.into_iter().map(envelope).collect();
        let batch = Arc::new(CommandBatch { from: self.me, commands });
        self.bus.publish(number, batch, Duration::from_secs(15)).await.expect("room on the bus");
        (first..=self.tickets).collect()
    }

    /// The answers to these tickets, in that order; whatever came for them more than once is dropped.
    pub async fn answers(&mut self, tickets: &[u64]) -> Vec<Outcome> {
        let mut found: Vec<Option<Outcome>> = tickets.iter().map(|_| None).collect();
        while found.iter().any(Option::is_none) {
            let entry = tokio::time::timeout(PATIENCE, self.inbox.recv()).await.expect("answers in time");
            for item in entry.expect("an inbox").items {
                let InboxItem::Replies(replies) = item else { continue };
                for Reply { ticket, outcome } in replies {
                    if let Some(at) = tickets.iter().position(|wanted| *wanted == ticket) {
                        found[at] = Some(outcome);
                    }
                }
            }
        }
        found.into_iter().flatten().collect()
    }

    pub async fn ask(&mut self, commands: Vec<(&Person, CommandId, Command)>) -> Vec<Outcome> {
        let tickets = self.publish(commands).await;
        self.answers(&tickets).await
    }
}

pub fn conversation(text: &str) -> ConversationId {
    ConversationId(super::id(text))
}

/// A text message.
pub fn send(to: &str, body: &str) -> Command {
    let conversation_id = conversation(to);
    Command::Send(SendMessage {
        conversation_id,
        kind: MessageKind::Text,
        body: body.into(),
        extra: None,
        reply_to: None,
    })
}

/// `ok`, or the code of the refusal.
pub fn code(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok { .. } => "ok",
        Outcome::Refused(refusal) => refusal.code.as_str(),
    }
}

/// The object of an answer that is ok.
pub fn json(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Ok { json, .. } => serde_json::from_slice(json).expect("JSON"),
        Outcome::Refused(refusal) => panic!("{refusal}"),
    }
}
