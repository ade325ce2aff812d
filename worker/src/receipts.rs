//! Receipts: who has read and got how far, told to the others as ephemeral events. Coalesced for half a second per
//! conversation and person, and only in conversations of at most a hundred members: in a larger one they are looked up.

use crate::Shared;
use serde::Serialize;
use shared::{
    domain::{ConversationId, EPHEMERAL_MEMBERS_MAX, UserId},
    event::{Event, EventName, Position},
    fanout::{Group, To},
    lifecycle::Stop,
    view::json,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const EVERY: Duration = Duration::from_millis(500);
/// Marks that wait for the next turn; beyond it the newest are not told (they are stored, and `sync` shows them).
const WAITING_MAX: usize = 50_000;

#[derive(Clone, Copy, Serialize)]
struct Receipt {
    user_id: UserId,
    read_seq: i64,
    delivered_seq: i64,
}

#[derive(Default)]
pub struct Receipts {
    waiting: Mutex<HashMap<(ConversationId, UserId), Receipt>>,
}

impl Receipts {
    pub fn note(&self, conversation: ConversationId, user: UserId, read_seq: i64, delivered_seq: i64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX || waiting.contains_key(&(conversation, user)) {
            waiting.insert((conversation, user), Receipt { user_id: user, read_seq, delivered_seq });
        }
    }

    fn take(&self) -> HashMap<(ConversationId, UserId), Receipt> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Serialize)]
struct ReceiptData {
    receipts: Vec<Receipt>,
}

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    while !stop.is_stopped() {
        stop.sleep(EVERY).await;
        let mut conversations: HashMap<ConversationId, Vec<Receipt>> = HashMap::new();
        for ((conversation, _), receipt) in shared.receipts.take() {
            conversations.entry(conversation).or_default().push(receipt);
        }
        let mut groups = Vec::with_capacity(conversations.len());
        for (conversation, receipts) in conversations {
            let Ok(Some(audience)) = shared.fanout.audiences().recent(conversation).await else { continue };
            if audience.members.len() > EPHEMERAL_MEMBERS_MAX {
                continue;
            }
            let event = Event {
                name: EventName::ReceiptUpdated,
                position: Position::Ephemeral { conversation: Some(conversation) },
                data: json(&ReceiptData { receipts }),
            };
            groups.push(Group {
                to: To::Members { conversation, version: audience.version },
                events: [event].into(),
                replies: vec![],
            });
        }
        if let Err(error) = shared.fanout.hand_on(&groups).await {
            tracing::debug!(%error, "receipts were not told; `sync` shows them");
        }
    }
}
