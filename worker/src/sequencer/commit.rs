//! Stores one gathered batch: each round's append in one transaction, then its other commands one by one. Says what
//! there is to hand over, in order. An error means that PostgreSQL is away: of what was not committed before, nothing is
//! decided.

use super::{
    Connections, answers,
    plan::{Item, Round, Sending, next_round},
};
use crate::{Shared, apply, consume::Taken, failpoint, handover::Committed, in_time};
use shared::{
    command::Command,
    domain::{ConversationId, UserId},
    fanout::To,
    reply::{Code, Outcome, Refusal},
    store::{
        StoreError,
        append::{Appended, Bookkeeping, Marked, NewMarks, NewMessage},
    },
};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// A transaction without an answer by then has no PostgreSQL at its other end, whatever the network says: a server that is
/// there has given up before, by its own `statement_timeout`.
const ANSWER_MAX: Duration = Duration::from_secs(6);

/// Adds to `committed` part by part, also before an error.
pub async fn store(
    shared: &Shared,
    connections: &mut Connections,
    taken: &[Taken],
    committed: &mut Vec<Committed>,
) -> Result<(), StoreError> {
    let mut remaining: Vec<Item<'_>> = vec![];
    for batch in taken {
        let batch = &batch.delivery.batch;
        remaining.extend(batch.commands.iter().map(|envelope| Item { from: batch.from, envelope }));
    }
    for Item { envelope, .. } in &remaining {
        tracing::debug!(request.id = &*envelope.request_id, command.id = %envelope.id, command = envelope.command.name(),
            user.id = %envelope.actor, conversation.id = %envelope.command.conversation(), "taken");
    }
    while !remaining.is_empty() {
        let round = next_round(&mut remaining);
        if !round.sends.is_empty() || !round.marks.is_empty() {
            append(shared, connections, &round, committed).await?;
        }
        for item in &round.others {
            if matches!(item.envelope.command, Command::Unknown) {
                committed.push(answers::of_unknown(*item));
                continue;
            }
            let applied = in_time(ANSWER_MAX, apply::run(shared, &mut connections.applier, item.envelope)).await?;
            committed.push(answers::of_applied(*item, applied));
        }
    }
    Ok(())
}

/// What the append said of a round.
pub(super) type Verdicts = (Vec<Result<Appended, Refusal>>, Vec<Result<Option<Marked>, Refusal>>);

async fn append(
    shared: &Shared,
    connections: &mut Connections,
    round: &Round<'_>,
    committed: &mut Vec<Committed>,
) -> Result<(), StoreError> {
    let outbox = Uuid::now_v7();
    if failpoint::is_mutant("answer_before_commit") {
        answer_first(shared, connections, round).await;
    }
    let (sends, marks) = match together(shared, connections, round, outbox).await {
        Ok((sends, marks)) => (sends.into_iter().map(Ok).collect(), marks.into_iter().map(Ok).collect()),
        // Some row of it is refused for what it is: found by running the batch's commands alone.
        Err(StoreError::Data(_) | StoreError::Conflict(_)) => {
            metrics::counter!("rookery_sequencer_batches_split_total").increment(1);
            return one_by_one(shared, connections, round, committed).await;
        }
        Err(error) => return Err(error),
    };
    committed.push(answers::of_round(shared, round, &(sends, marks), outbox).await?);
    Ok(())
}

async fn together(
    shared: &Shared,
    connections: &mut Connections,
    round: &Round<'_>,
    outbox: Uuid,
) -> Result<(Vec<Appended>, Vec<Option<Marked>>), StoreError> {
    let messages = messages(round);
    let (marks, of_item) = merged(&round.marks);
    // Marks alone have no statement that deletes rows: taken for them, the rows would lie there until they are overdue, and
    // be relayed as if nobody had handed them on.
    let handed_on = if messages.is_empty() { vec![] } else { shared.handed_on.take() };
    let mut tries = 0;
    loop {
        let book = Bookkeeping { outbox, worker: i64::from(shared.life.key()), handed_on: &handed_on };
        failpoint::pass("before_commit");
        match in_time(ANSWER_MAX, connections.appender.append(&messages, &marks, book)).await {
            // Another transaction stored one of these ids meanwhile: the same batch again finds a duplicate.
            Err(StoreError::Conflict(_)) if tries < 2 => tries += 1,
            Ok((stored, marked)) => return Ok((stored, of_item.iter().map(|at| marked[*at]).collect())),
            Err(error) => {
                shared.handed_on.give_back(handed_on);
                return Err(error);
            }
        }
    }
}

fn messages<'a>(round: &'a Round<'_>) -> Vec<NewMessage<'a>> {
    let message = |sending: &'a Sending<'_>| NewMessage {
        id: sending.id,
        conversation: sending.send.conversation_id,
        sender: sending.sender,
        kind: sending.send.kind,
        body: &sending.send.body,
        extra: sending.send.extra.as_deref(),
        reply_to: sending.send.reply_to,
        digest: sending.digest,
    };
    round.sends.iter().map(message).collect()
}

/// For a mutant: says that messages are stored before they are. A moment in between, so that a fault finds it there.
async fn answer_first(shared: &Shared, connections: &mut Connections, round: &Round<'_>) {
    let outbox = Uuid::now_v7();
    let book = Bookkeeping { outbox, worker: i64::from(shared.life.key()), handed_on: &[] };
    let Ok((sends, _)) = connections.appender.rehearse(&messages(round), &[], book).await else { return };
    let verdicts = (sends.into_iter().map(Ok).collect(), vec![]);
    let Ok(mut early) = answers::of_round(shared, round, &verdicts, outbox).await else { return };
    for group in &mut early.groups {
        (group.to, group.events) = (To::Users([].into()), [].into());
    }
    let _ = shared.fanout.hand_on(&early.groups).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// The marks of a round, each person once per conversation as the statement wants them, and for each item which of them
/// has its answer.
fn merged(items: &[Item<'_>]) -> (Vec<NewMarks>, Vec<usize>) {
    let (mut merged, mut places): (Vec<NewMarks>, HashMap<(ConversationId, UserId), usize>) = Default::default();
    let mut of_item = Vec::with_capacity(items.len());
    for item in items {
        let Command::Mark { conversation_id, marks } = item.envelope.command else { continue };
        let user = item.envelope.actor;
        let place = *places.entry((conversation_id, user)).or_insert(merged.len());
        if place == merged.len() {
            merged.push(NewMarks { conversation: conversation_id, user, read_seq: None, delivered_seq: None });
        }
        let mark = &mut merged[place];
        mark.read_seq = mark.read_seq.max(marks.read_seq);
        mark.delivered_seq = mark.delivered_seq.max(marks.delivered_seq);
        of_item.push(place);
    }
    (merged, of_item)
}

/// Each command in a transaction of its own; the guilty ones are refused, their neighbours stored.
async fn one_by_one(
    shared: &Shared,
    connections: &mut Connections,
    round: &Round<'_>,
    committed: &mut Vec<Committed>,
) -> Result<(), StoreError> {
    for sending in &round.sends {
        let alone = Round { sends: vec![sending.clone()], ..Round::default() };
        let outbox = Uuid::now_v7();
        let verdicts: Verdicts = match together(shared, connections, &alone, outbox).await {
            Ok((sends, _)) => (sends.into_iter().map(Ok).collect(), vec![]),
            Err(error) => (vec![Err(poison(error, sending.items[0])?)], vec![]),
        };
        committed.push(answers::of_round(shared, &alone, &verdicts, outbox).await?);
    }
    for item in &round.marks {
        let alone = Round { marks: vec![*item], ..Round::default() };
        let outbox = Uuid::now_v7();
        let verdicts: Verdicts = match together(shared, connections, &alone, outbox).await {
            Ok((_, marks)) => (vec![], marks.into_iter().map(Ok).collect()),
            Err(error) => (vec![], vec![Err(poison(error, *item)?)]),
        };
        committed.push(answers::of_round(shared, &alone, &verdicts, outbox).await?);
    }
    Ok(())
}

/// The refusal of a command that PostgreSQL refuses for what it says; any other failure is none.
pub(crate) fn poison(error: StoreError, item: Item<'_>) -> Result<Refusal, StoreError> {
    match error {
        StoreError::Data(why) | StoreError::Conflict(why) => {
            metrics::counter!("rookery_sequencer_poison_total").increment(1);
            tracing::error!(command.id = %item.envelope.id, command = item.envelope.command.name(), request.id = &*item.envelope.request_id,
                user.id = %item.envelope.actor, why, "a command is refused for good");
            Ok(Refusal::new(Code::Invalid, "the database refuses what this command says"))
        }
        error => Err(error),
    }
}

pub(crate) fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}
