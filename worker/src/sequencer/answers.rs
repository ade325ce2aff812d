//! From what was stored to what is said: the events, made once for everybody, and the answers to those who asked.

use super::{
    commit::{Verdicts, refused},
    plan::{Item, Round, Sending},
};
use crate::{Shared, apply::Applied, handover::Committed};
use bytes::Bytes;
use serde::Serialize;
use shared::{
    command::{Command, GatewayRef},
    domain::{ConversationId, MessageId, Place},
    event::{DurableEvent, Event, EventName, Position},
    fanout::{Group, To},
    reply::{Code, Outcome, Refusal, Reply},
    store::{
        StoreError,
        append::{Appended, Marked, Verdict},
    },
    view::{Empty, Extra, MessageView, json},
};
use std::collections::HashMap;
use uuid::Uuid;

#[derive(Serialize)]
struct MessageData<'a> {
    message: &'a MessageView,
}

/// What one round has to say about one conversation.
struct Speech {
    conversation: ConversationId,
    version: i64,
    events: Vec<Event>,
    replies: Vec<(GatewayRef, Reply)>,
}

/// One for each conversation of the round, in the order of their first command.
#[derive(Default)]
struct Groups {
    by_conversation: HashMap<ConversationId, usize>,
    speeches: Vec<Speech>,
}

impl Groups {
    fn of(&mut self, conversation: ConversationId, version: i64) -> &mut Speech {
        let next = self.speeches.len();
        let index = *self.by_conversation.entry(conversation).or_insert(next);
        if index == next {
            self.speeches.push(Speech { conversation, version, events: vec![], replies: vec![] });
        }
        let speech = &mut self.speeches[index];
        speech.version = speech.version.max(version);
        speech
    }

    fn finish(self) -> Vec<Group> {
        let group = |Speech { conversation, version, events, replies }: Speech| {
            // Nobody but those who asked is concerned: no members to look up.
            let to = if events.is_empty() { To::Users([].into()) } else { To::Members { conversation, version } };
            Group { to, events: events.into(), replies }
        };
        self.speeches.into_iter().map(group).collect()
    }
}

pub async fn of_round(
    shared: &Shared,
    round: &Round<'_>,
    (sends, marks): &Verdicts,
    outbox: Uuid,
) -> Result<Committed, StoreError> {
    let mut groups = Groups::default();
    let mut spans: Vec<DurableEvent> = vec![];
    let repeated = repeated(shared, round, sends).await?;
    let mut stored = 0;
    for (sending, appended) in round.sends.iter().zip(sends) {
        let version = appended.as_ref().map_or(0, |appended| appended.member_version);
        let speech = groups.of(sending.send.conversation_id, version);
        let outcome = match appended {
            Err(refusal) => refused(refusal.clone()),
            Ok(appended) => match appended.verdict {
                Verdict::New => {
                    stored += 1;
                    let data = json(&MessageData { message: &view(sending, appended) });
                    speech.events.push(event(sending.send.conversation_id, appended, data.clone()));
                    Outcome::Ok { created: true, json: data }
                }
                Verdict::Same => match repeated.get(&sending.id) {
                    Some(data) => Outcome::Ok { created: false, json: data.clone() },
                    None => refused(Refusal::new(Code::Internal, "the message was stored and is not found")),
                },
                verdict => refused(refusal(verdict)),
            },
        };
        answer(&mut speech.replies, &sending.items, outcome);
    }
    for speech in &groups.speeches {
        spans.extend(span(speech.conversation, &speech.events));
    }
    for (item, marked) in round.marks.iter().zip(marks) {
        mark_answer(shared, &mut groups, *item, marked);
    }
    metrics::counter!("rookery_messages_stored_total").increment(stored);
    Ok(Committed {
        groups: groups.finish(),
        outbox: (!spans.is_empty()).then_some((outbox, spans)),
        acks: vec![],
        forget: None,
    })
}

/// Everybody who sent the same; only the first has created it.
fn answer(replies: &mut Vec<(GatewayRef, Reply)>, items: &[Item<'_>], outcome: Outcome) {
    for (copy, item) in items.iter().enumerate() {
        let outcome = match &outcome {
            Outcome::Ok { json, created } => Outcome::Ok { json: json.clone(), created: *created && copy == 0 },
            refused => refused.clone(),
        };
        replies.push((item.from, Reply { ticket: item.envelope.ticket, outcome }));
    }
}

fn event(conversation: ConversationId, appended: &Appended, data: Bytes) -> Event {
    let position = Position::Conversation { id: conversation, seq: appended.seq, rev: appended.rev };
    Event { name: EventName::MessageCreated, position, data }
}

fn span(conversation: ConversationId, events: &[Event]) -> Option<DurableEvent> {
    let (_, first) = events.first()?.position.place()?;
    let (_, last) = events.last()?.position.place()?;
    Some(DurableEvent::Conversation { id: conversation, from: Place(first.0 - 1), to: last })
}

/// Messages that were stored before, as they are now.
async fn repeated(
    shared: &Shared,
    round: &Round<'_>,
    sends: &[Result<Appended, Refusal>],
) -> Result<HashMap<MessageId, Bytes>, StoreError> {
    let places: Vec<(ConversationId, i64)> = round
        .sends
        .iter()
        .zip(sends)
        .filter_map(|(sending, appended)| match appended {
            Ok(appended) if appended.verdict == Verdict::Same => Some((sending.send.conversation_id, appended.seq)),
            _ => None,
        })
        .collect();
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    metrics::counter!("rookery_messages_repeated_total").increment(places.len() as u64);
    let views = shared.store.list_messages_at(&places).await?;
    Ok(views.iter().map(|message| (message.id, json(&MessageData { message }))).collect())
}

fn view(sending: &Sending<'_>, appended: &Appended) -> MessageView {
    // It was made from an `Extra` by the gateway; one that does not read is stored, and shown without it.
    let extra: Extra =
        sending.send.extra.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    MessageView {
        id: sending.id,
        conversation_id: sending.send.conversation_id,
        seq: appended.seq,
        sender_id: sending.sender,
        kind: sending.send.kind,
        body: sending.send.body.clone(),
        payload: extra.payload,
        attachments: extra.attachments,
        rev: appended.rev,
        reply_to: sending.send.reply_to,
        thread_root: None,
        forwarded_from: extra.forwarded_from,
        mentions: extra.mentions,
        reactions: Empty {},
        pinned: false,
        edited_at: None,
        deleted_at: None,
        created_at: appended.at,
        status: None,
    }
}

fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::IdConflict => Refusal::new(Code::IdConflict, "this id was used for another message"),
        Verdict::Closed => Refusal::new(Code::Closed, "the conversation is closed"),
        Verdict::BadReply => Refusal::field("reply_to", "is not a message of this conversation"),
        Verdict::NotFound | Verdict::New | Verdict::Same => Refusal::not_found(),
    }
}

#[derive(Serialize)]
struct MarksData {
    conversation_id: ConversationId,
    read_seq: i64,
    delivered_seq: i64,
}

fn mark_answer(shared: &Shared, groups: &mut Groups, item: Item<'_>, marked: &Result<Option<Marked>, Refusal>) {
    let Command::Mark { conversation_id, .. } = item.envelope.command else { return };
    let outcome = match marked {
        Err(refusal) => refused(refusal.clone()),
        Ok(None) => refused(Refusal::not_found()),
        Ok(Some(marked)) => {
            if marked.changed {
                shared.receipts.note(conversation_id, item.envelope.actor, marked.read_seq, marked.delivered_seq);
            }
            let data = MarksData { conversation_id, read_seq: marked.read_seq, delivered_seq: marked.delivered_seq };
            Outcome::Ok { created: false, json: json(&data) }
        }
    };
    groups.of(conversation_id, 0).replies.push((item.from, Reply { ticket: item.envelope.ticket, outcome }));
}

/// What one applied command says.
pub fn of_applied(item: Item<'_>, applied: Applied) -> Committed {
    let outcome = match applied.reply {
        Ok((created, json)) => Outcome::Ok { created, json },
        Err(refusal) => refused(refusal),
    };
    let mut groups: Vec<Group> =
        applied.groups.into_iter().map(|(to, events)| Group { to, events: events.into(), replies: vec![] }).collect();
    groups.push(answer_alone(item, outcome));
    Committed { groups, outbox: applied.outbox, acks: vec![], forget: applied.forget }
}

/// A command that only a newer gateway knows. Nothing is kept of it: a newer worker may still carry out a copy.
pub fn of_unknown(item: Item<'_>) -> Committed {
    let envelope = item.envelope;
    tracing::warn!(command.id = %envelope.id, request.id = &*envelope.request_id, user.id = %envelope.actor,
        "a command of a newer version is refused; workers are upgraded first");
    metrics::counter!("rookery_commands_unknown_total").increment(1);
    let refusal = Refusal::new(Code::Unsupported, "this server does not know this command yet");
    Committed { groups: vec![answer_alone(item, refused(refusal))], ..Committed::default() }
}

/// To the gateway that asked, and to nobody else.
fn answer_alone(item: Item<'_>, outcome: Outcome) -> Group {
    let reply = (item.from, Reply { ticket: item.envelope.ticket, outcome });
    Group { to: To::Users([].into()), events: [].into(), replies: vec![reply] }
}
