//! The table and the final views against what was sent and answered: D, P, X, O, R.

use super::record::{Attempt, History, Message, Outcome, Row, Time};
use super::{Kind, Violation};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// An id and where it was sent to: the same id elsewhere is another message, and only one of the two may be stored.
type Name = (Uuid, Uuid);

fn name(message: &Message) -> Name {
    (message.id, message.conversation)
}

/// All attempts under one name.
struct Sent<'a> {
    attempts: Vec<&'a Attempt>,
}

impl Sent<'_> {
    fn first_invoked(&self) -> Time {
        self.attempts.iter().map(|attempt| attempt.invoked).min().unwrap_or(0)
    }

    fn first_answered(&self) -> Option<Time> {
        self.oks().filter_map(|(attempt, _)| attempt.completed).min()
    }

    fn oks(&self) -> impl Iterator<Item = (&Attempt, i64)> {
        self.attempts.iter().filter_map(|attempt| match attempt.outcome {
            Outcome::Ok { seq } => Some((*attempt, seq)),
            _ => None,
        })
    }

    fn is_refused(&self) -> bool {
        self.attempts.iter().all(|attempt| matches!(attempt.outcome, Outcome::Refused { .. }))
    }
}

fn sent(history: &History) -> HashMap<Name, Sent<'_>> {
    let mut sent: HashMap<Name, Sent<'_>> = HashMap::new();
    for attempt in &history.attempts {
        sent.entry(name(&attempt.message)).or_insert(Sent { attempts: vec![] }).attempts.push(attempt);
    }
    sent
}

/// The table by conversation and number; of doubled numbers the first.
fn by_conversation(rows: &[Row]) -> BTreeMap<Uuid, Vec<&Row>> {
    let mut table: BTreeMap<Uuid, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        table.entry(row.message.conversation).or_default().push(row);
    }
    table.values_mut().for_each(|rows| rows.sort_by_key(|row| row.seq));
    table
}

pub fn check(history: &History) -> Vec<Violation> {
    let sent = sent(history);
    let table = by_conversation(&history.rows);
    let mut wrong = vec![];
    answered_is_stored(history, &sent, &mut wrong);
    stored_was_sent(history, &sent, &mut wrong);
    numbers_are_dense(history, &table, &mut wrong);
    for (conversation, rows) in &table {
        real_time(*conversation, rows, &sent, &mut wrong);
        send_order(history, *conversation, rows, &sent, &mut wrong);
    }
    views_are_the_table(history, &table, &mut wrong);
    wrong
}

/// D: every answered send is a row, at the place that was answered, each time it was answered.
fn answered_is_stored(history: &History, sent: &HashMap<Name, Sent<'_>>, wrong: &mut Vec<Violation>) {
    let stored: HashMap<Name, &Row> = history.rows.iter().map(|row| (name(&row.message), row)).collect();
    for ((id, conversation), sent) in sent {
        let mut answers: Vec<i64> = sent.oks().map(|(_, seq)| seq).collect();
        answers.sort_unstable();
        answers.dedup();
        let Some(answer) = answers.first() else { continue };
        match stored.get(&(*id, *conversation)) {
            None => wrong.push(Violation::new(Kind::Lost, *conversation, format!("{id}, answered as {answer}"))),
            Some(row) if answers != [row.seq] => {
                let what = format!("{id}, answered as {answers:?}, stored as {}", row.seq);
                wrong.push(Violation::new(Kind::WrongAnswer, *conversation, what));
            }
            Some(_) => {}
        }
    }
}

/// P and X: every row was sent as it is, was not refused, and is there once.
fn stored_was_sent(history: &History, sent: &HashMap<Name, Sent<'_>>, wrong: &mut Vec<Violation>) {
    let mut times: HashMap<Uuid, u32> = HashMap::new();
    for Row { seq, message } in &history.rows {
        let mut found = |kind| {
            wrong.push(Violation::new(kind, message.conversation, format!("{} at {seq}", message.id)));
        };
        let count = times.entry(message.id).or_default();
        *count += 1;
        if *count == 2 {
            found(Kind::Doubled);
        }
        match sent.get(&name(message)) {
            None => found(Kind::Phantom),
            Some(sent) if sent.is_refused() => found(Kind::RefusedButStored),
            Some(sent) if sent.attempts.iter().all(|attempt| attempt.message.body != message.body) => {
                found(Kind::ChangedBody)
            }
            Some(_) => {}
        }
    }
}

/// O: 1, 2, 3 … n, and n is what the conversation says.
fn numbers_are_dense(history: &History, table: &BTreeMap<Uuid, Vec<&Row>>, wrong: &mut Vec<Violation>) {
    for (conversation, head) in &history.heads {
        let numbers: Vec<i64> = table.get(conversation).into_iter().flatten().map(|row| row.seq).collect();
        let first = numbers.iter().zip(1..).find(|(number, expected)| *number != expected);
        if let Some((number, expected)) = first {
            wrong.push(Violation::new(Kind::Hole, *conversation, format!("{number} where {expected} belongs")));
        } else if numbers.len() as i64 != *head {
            wrong.push(Violation::new(Kind::Hole, *conversation, format!("{} rows, head {head}", numbers.len())));
        }
    }
}

/// R: whatever was answered before another was sent stands before it. From the end: the earliest answer among all that
/// stand later must not be earlier than the sending of this one.
fn real_time(conversation: Uuid, rows: &[&Row], sent: &HashMap<Name, Sent<'_>>, wrong: &mut Vec<Violation>) {
    let mut earliest: Option<(Time, &Row)> = None;
    for row in rows.iter().rev() {
        let Some(sent) = sent.get(&name(&row.message)) else { continue };
        if let Some((answered, later)) = earliest
            && answered < sent.first_invoked()
        {
            let what = format!("{} stands before {}, which was answered before the first was sent", row.seq, later.seq);
            wrong.push(Violation::new(Kind::RealTime, conversation, what));
        }
        if let Some(answered) = sent.first_answered()
            && earliest.is_none_or(|(time, _)| answered < time)
        {
            earliest = Some((answered, row));
        }
    }
}

/// O: of one session's sends, those that were sent once and answered are stored in the order sent; but not across a resend,
/// and what was on its way when it could be lost may have been sent again by a gateway.
fn send_order(
    history: &History,
    conversation: Uuid,
    rows: &[&Row],
    sent: &HashMap<Name, Sent<'_>>,
    wrong: &mut Vec<Violation>,
) {
    let mut last: HashMap<(usize, u32), (Time, i64)> = HashMap::new();
    for row in rows {
        let Some(Sent { attempts }) = sent.get(&name(&row.message)) else { continue };
        let [attempt @ Attempt { client, session, invoked, outcome: Outcome::Ok { .. }, .. }] = attempts[..] else {
            continue;
        };
        if may_have_been_resent(history, attempt) {
            continue;
        }
        let before = last.insert((*client, *session), (*invoked, row.seq));
        if let Some((earlier, seq)) = before
            && earlier > *invoked
        {
            let what = format!("client {client}, session {session}: {} was sent before {seq}", row.seq);
            wrong.push(Violation::new(Kind::SendOrder, conversation, what));
        }
    }
}

fn may_have_been_resent(history: &History, attempt: &Attempt) -> bool {
    let completed = attempt.completed.unwrap_or(Time::MAX);
    let mut lossy = history.troubles.iter().filter(|trouble| trouble.lossy);
    lossy.any(|trouble| attempt.invoked <= trouble.until && completed >= trouble.from)
}

/// O: everybody ends with the table.
fn views_are_the_table(history: &History, table: &BTreeMap<Uuid, Vec<&Row>>, wrong: &mut Vec<Violation>) {
    for view in &history.views {
        let rows = table.get(&view.conversation).map(Vec::as_slice).unwrap_or_default();
        let differs = rows.iter().zip(&view.rows).find(|(row, seen)| **row != *seen);
        let what = match differs {
            Some((row, seen)) => format!("at {}: {} in the table, {} here", row.seq, row.message.id, seen.message.id),
            None if rows.len() != view.rows.len() => {
                format!("{} rows in the table, {} here", rows.len(), view.rows.len())
            }
            None => continue,
        };
        wrong.push(Violation::new(Kind::View, view.conversation, format!("client {}: {what}", view.client)));
    }
}
