//! What each command other than a send does, inside its own transaction and under the conversation's lock. A copy of a
//! command that was applied gets the reply it got; a command that panics or that the database refuses is refused alone.

mod conversations;
mod members;
mod messages;

use crate::Shared;
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Value, value::RawValue};
use shared::{
    command::{Command, Envelope},
    domain::{ConversationId, Permission, Role, UserId, may},
    event::{DurableEvent, Event, EventName, Position},
    fanout::To,
    reply::{Code, Refusal},
    store::{
        StoreError,
        apply::{Applier, ApplyTx, Changed, ConversationRow, StoredReply},
    },
};
use std::panic::AssertUnwindSafe;
use uuid::Uuid;

/// What came of a command.
pub struct Applied {
    pub reply: Result<(bool, Bytes), Refusal>,
    pub groups: Vec<(To, Vec<Event>)>,
    pub outbox: Option<(Uuid, Vec<DurableEvent>)>,
    /// The conversation whose list of members has changed.
    pub forget: Option<ConversationId>,
}

impl Applied {
    fn answer(reply: Result<(bool, Bytes), Refusal>) -> Self {
        Self { reply, groups: vec![], outbox: None, forget: None }
    }
}

/// Why an effect did not happen: a refusal is an answer, anything else is tried again.
enum Stop {
    Refused(Refusal),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What an effect has to say, in the order of its events.
#[derive(Default)]
struct Effect {
    created: bool,
    json: Bytes,
    groups: Vec<(To, Vec<Event>)>,
    durable: Vec<DurableEvent>,
    members_changed: bool,
    /// The message that the answer shows, by `seq`.
    message: Option<i64>,
}

/// Applies one command. `Err` means that PostgreSQL is away: nothing is decided.
pub async fn run(shared: &Shared, applier: &mut Applier, envelope: &Envelope) -> Result<Applied, StoreError> {
    let mut tries = 0;
    loop {
        let attempt = AssertUnwindSafe(attempt(shared, applier, envelope)).catch_unwind().await;
        let error = match attempt {
            Ok(Ok(applied)) => return Ok(applied),
            Ok(Err(error)) => error,
            Err(_) => {
                metrics::counter!("rookery_apply_panics_total").increment(1);
                tracing::error!(request.id = &*envelope.request_id, command.id = %envelope.id, command = envelope.command.name(), "a command made its worker panic");
                return Ok(Applied::answer(Err(Refusal::new(Code::Internal, "this command cannot be carried out"))));
            }
        };
        match error {
            // A copy was applied meanwhile, or a lock was lost to another: again, from the start.
            StoreError::Conflict(_) if tries < 2 => tries += 1,
            StoreError::Data(why) | StoreError::Conflict(why) => {
                metrics::counter!("rookery_sequencer_poison_total").increment(1);
                tracing::error!(request.id = &*envelope.request_id, command.id = %envelope.id, command = envelope.command.name(), why, "a command is refused for good");
                return Ok(Applied::answer(Err(Refusal::new(
                    Code::Invalid,
                    "the database refuses what this command says",
                ))));
            }
            error => return Err(error),
        }
    }
}

async fn attempt(shared: &Shared, applier: &mut Applier, envelope: &Envelope) -> Result<Applied, StoreError> {
    let tx = applier.begin().await?;
    let conversation = tx.lock_conversation(envelope.command.conversation()).await?;
    let digest = envelope.command.digest();
    if let Some(executed) = tx.get_executed(envelope.id).await? {
        let copy = executed.actor == envelope.actor && executed.digest == digest;
        let taken = || Refusal::new(Code::IdConflict, "this id was used for another command");
        let reply = if copy { repeat(&tx, envelope, executed.reply).await? } else { Err(taken()) };
        return Ok(Applied::answer(reply));
    }
    let (reply, effect) = match effect(&tx, envelope, conversation).await {
        Ok(effect) => (Ok((effect.created, effect.json.clone())), effect),
        Err(Stop::Refused(refusal)) => (Err(refusal), Effect::default()),
        Err(Stop::Failed(error)) => return Err(error),
    };
    // A refusal leaves nothing but itself: whatever the effect wrote before it refused is rolled back with the transaction.
    let tx = if reply.is_err() {
        drop(tx);
        applier.begin().await?
    } else {
        tx
    };
    let outbox = (!effect.durable.is_empty()).then(|| (Uuid::now_v7(), effect.durable));
    let stored = match effect.message {
        Some(seq) => StoredReply::Message { conversation_id: envelope.command.conversation(), seq },
        None => stored(&reply),
    };
    tx.insert_executed(envelope.id, envelope.actor, &digest, &stored).await?;
    if let Some((id, events)) = &outbox {
        tx.insert_outbox(*id, i64::from(shared.life.key()), events).await?;
    }
    crate::failpoint::pass("before_commit");
    tx.commit().await?;
    let forget = effect.members_changed.then(|| envelope.command.conversation());
    Ok(Applied { reply, groups: effect.groups, outbox, forget })
}

fn stored(reply: &Result<(bool, Bytes), Refusal>) -> StoredReply {
    match reply {
        Ok((created, json)) => {
            let text = String::from_utf8_lossy(json).into_owned();
            let json = RawValue::from_string(text).unwrap_or_default();
            StoredReply::Ok { created: *created, json }
        }
        Err(refusal) => StoredReply::Refused(refusal.clone()),
    }
}

/// What the first copy was answered; of a message, what it is now, if he may still see it.
async fn repeat(
    tx: &ApplyTx<'_>,
    envelope: &Envelope,
    reply: StoredReply,
) -> Result<Result<(bool, Bytes), Refusal>, StoreError> {
    metrics::counter!("rookery_commands_repeated_total").increment(1);
    Ok(match reply {
        StoredReply::Ok { json, .. } => Ok((false, Bytes::from(json.get().to_owned()))),
        StoredReply::Message { conversation_id, .. }
            if tx.get_member(conversation_id, envelope.actor).await?.is_none() =>
        {
            Err(Refusal::not_found())
        }
        StoredReply::Message { conversation_id, seq } => {
            Ok((false, messages::answer(&tx.get_message_view(conversation_id, seq).await?)))
        }
        StoredReply::Refused(refusal) => Err(refusal),
    })
}

async fn effect(tx: &ApplyTx<'_>, envelope: &Envelope, conversation: Option<ConversationRow>) -> Result<Effect, Stop> {
    let actor = envelope.actor;
    if let Command::CreateConversation { id, kind, members, title, description } = &envelope.command {
        let new = conversations::New {
            id: *id,
            kind: *kind,
            members,
            title: title.as_deref(),
            description: description.as_deref(),
        };
        return conversations::create(tx, actor, conversation, new).await;
    }
    // One place that decides: who is not a member hears that there is no such thing.
    let conversation = conversation.ok_or_else(Refusal::not_found)?;
    let member = tx.get_member(conversation.id, actor).await?.ok_or_else(Refusal::not_found)?;
    if conversation.closed {
        return Err(Refusal::new(Code::Closed, "the conversation is closed").into());
    }
    let act = Act { tx, conversation, actor, role: member.role, from_seq: member.from_seq };
    match &envelope.command {
        Command::Edit { message_id, body, .. } => messages::edit(&act, *message_id, body).await,
        Command::Delete { message_id, .. } => messages::delete(&act, *message_id).await,
        Command::UpdateConversation { title, description, .. } => {
            conversations::update(&act, title.as_deref(), description.as_deref()).await
        }
        Command::CloseConversation { .. } => conversations::close(&act).await,
        Command::AddMembers { users, .. } => members::add(&act, users).await,
        Command::RemoveMember { user, .. } => members::remove(&act, *user).await,
        Command::SetRole { user, role, .. } => members::set_role(&act, *user, *role).await,
        Command::Send(_) | Command::Mark { .. } | Command::CreateConversation { .. } | Command::Unknown => {
            Err(Refusal::new(Code::Unsupported, "this command is not applied alone").into())
        }
    }
}

/// A member acting in a conversation that is locked.
struct Act<'a, 'tx> {
    tx: &'a ApplyTx<'tx>,
    conversation: ConversationRow,
    actor: UserId,
    role: Role,
    from_seq: i64,
}

impl Act<'_, '_> {
    fn demand(&self, permission: Permission, detail: &'static str) -> Result<(), Refusal> {
        if may(self.conversation.kind, self.role, permission) { Ok(()) } else { Err(Refusal::forbidden(detail)) }
    }

    fn to_members(&self, changed: &Changed) -> To {
        To::Members { conversation: self.conversation.id, version: changed.member_version }
    }

    fn event(&self, name: EventName, changed: &Changed, data: Bytes) -> Event {
        Event {
            name,
            position: Position::Conversation { id: self.conversation.id, seq: changed.seq, rev: changed.rev },
            data,
        }
    }

    fn pointer(&self, changed: &Changed) -> DurableEvent {
        pointer(self.conversation.id, changed)
    }
}

fn pointer(id: ConversationId, changed: &Changed) -> DurableEvent {
    let place = shared::domain::Place::of(changed.seq, changed.rev);
    DurableEvent::Conversation { id, from: shared::domain::Place(place.0 - 1), to: place }
}

/// Logs the same private change for each of these people, and makes each one's own event of it.
async fn user_events(
    tx: &ApplyTx<'_>,
    users: &[UserId],
    name: EventName,
    conversation: ConversationId,
    data: &Bytes,
) -> Result<(Vec<(To, Vec<Event>)>, Vec<DurableEvent>), StoreError> {
    let moved = tx
        .append_user_changes(users, name.as_str(), Some(conversation), &Value::Object(serde_json::Map::new()))
        .await?;
    let group = |(user, urev): &(UserId, i64)| {
        let event = Event { name, position: Position::User { urev: *urev }, data: data.clone() };
        (To::Users([*user].into()), vec![event])
    };
    let durable = |(id, urev): &(UserId, i64)| DurableEvent::User { id: *id, urev: *urev };
    Ok((moved.iter().map(group).collect(), moved.iter().map(durable).collect()))
}
