//! A gateway's inbox: a task reads the stream on a connection of its own, a little ahead of whoever takes the entries.

use super::{
    dial::{Connection, Failure},
    link::Link,
};
use crate::{
    clock,
    command::GatewayRef,
    event::InboxEntry,
    lifecycle::Backoff,
    routing::{Inbox, InboxLost, LEASE},
    wire,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use redis::Value;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};

/// Entries read at once, and as many read before somebody takes them: 8 MiB.
const READ_AT_ONCE: usize = 64;
/// How long Redis keeps a read that has nothing to answer; then is seen whether the inbox is still there.
const BLOCK: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What was read stays so long: whoever takes over a session of this gateway reads it once more.
const KEPT_FOR: Duration = Duration::from_secs(120);
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// How many entries the gateway has taken.
#[derive(Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) struct RedisInbox {
    entries: mpsc::Receiver<Result<InboxEntry, InboxLost>>,
    lost: Option<InboxLost>,
    progress: Arc<Progress>,
    reader: AbortHandle,
}

impl RedisInbox {
    pub fn open(link: Arc<Link>, me: GatewayRef, key: String, run_id: Arc<str>, progress: Arc<Progress>) -> Self {
        let (sender, entries) = mpsc::channel(READ_AT_ONCE);
        let reader = Reader { link, me, key, run_id, connection: None, dials: 0, read: 0, trim: Trim::new(), sender };
        Self { entries, lost: None, progress, reader: tokio::spawn(reader.run()).abort_handle() }
    }
}

impl Drop for RedisInbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Inbox for RedisInbox {
    fn recv(&mut self) -> BoxFuture<'_, Result<InboxEntry, InboxLost>> {
        Box::pin(async move {
            if let Some(lost) = &self.lost {
                return Err(lost.clone());
            }
            match self.entries.recv().await {
                Some(Ok(entry)) => {
                    self.progress.0.fetch_add(1, Ordering::Relaxed);
                    Ok(entry)
                }
                over => {
                    let lost = over.and_then(Result::err).unwrap_or_else(|| InboxLost("its reader has ended".into()));
                    Err(self.lost.insert(lost).clone())
                }
            }
        })
    }
}

enum Trouble {
    Away(Failure),
    Lost(InboxLost),
    /// Nobody takes entries any more.
    Dropped,
}

impl From<redis::RedisError> for Trouble {
    fn from(error: redis::RedisError) -> Self {
        Self::Away(error.into())
    }
}

impl Trouble {
    fn lost(why: impl Into<String>) -> Self {
        Self::Lost(InboxLost(why.into()))
    }

    fn silent() -> Self {
        Self::Away(Failure::Away("Redis does not answer".to_owned()))
    }
}

struct Reader {
    link: Arc<Link>,
    me: GatewayRef,
    key: String,
    run_id: Arc<str>,
    connection: Option<Connection>,
    dials: u64,
    /// Entries read: the next has the id `1-read`.
    read: u64,
    trim: Trim,
    sender: mpsc::Sender<Result<InboxEntry, InboxLost>>,
}

impl Reader {
    async fn run(mut self) {
        let mut away_since = None;
        let mut backoff = Backoff::default();
        loop {
            let began = clock::monotonic();
            match self.turn().await {
                Ok(()) => {
                    away_since = None;
                    backoff.reset();
                }
                Err(Trouble::Dropped) => return,
                Err(Trouble::Lost(lost)) => {
                    // It may be that nobody takes it.
                    let _ = self.sender.send(Err(lost)).await;
                    return;
                }
                Err(Trouble::Away(failure)) => {
                    self.connection = None;
                    tracing::debug!(gateway.id = %self.me.id, error = %failure, "the inbox cannot be read");
                    let since = *away_since.get_or_insert(began);
                    if clock::monotonic().duration_since(since) >= LEASE {
                        let lost =
                            InboxLost(format!("Redis was away for {} s: the lease may have ended", LEASE.as_secs()));
                        let _ = self.sender.send(Err(lost)).await;
                        return;
                    }
                    tokio::time::sleep(backoff.next().min(LONGEST_PAUSE)).await;
                }
            }
        }
    }

    /// Reads what there is, or waits for it for a while.
    async fn turn(&mut self) -> Result<(), Trouble> {
        let patience = self.link.patience;
        let mut connection = self.connected().await?;
        if let Some(first) = self.trim.due(self.read, clock::monotonic()) {
            let mut trim = redis::cmd("XTRIM");
            trim.arg(&self.key).arg("MINID").arg("~").arg(format!("1-{first}"));
            asked::<Value>(&mut connection, &trim, patience).await?;
        }
        let after = self.read.checked_sub(1).map_or("0-0".to_owned(), |last| format!("1-{last}"));
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(READ_AT_ONCE).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(&self.key).arg(after);
        match asked(&mut connection, &read, BLOCK + patience).await? {
            Value::Nil => {
                let mut exists = redis::cmd("EXISTS");
                exists.arg(&self.key);
                match asked(&mut connection, &exists, patience).await? {
                    true => Ok(()),
                    false => Err(Trouble::lost("it is not there any more")),
                }
            }
            entries => self.pass_on(entries).await,
        }
    }

    /// Another life of Redis may have come back with an inbox that lacks what was written last.
    async fn connected(&mut self) -> Result<Connection, Trouble> {
        if let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let dialed = timeout(self.link.patience, self.link.dial.connect(self.dials)).await;
        let connection = match dialed.unwrap_or_else(|_| Err(Failure::Away("Redis does not answer".to_owned()))) {
            Ok(connection) => connection,
            Err(failure) => {
                self.link.health.failed(&failure);
                return Err(Trouble::Away(failure));
            }
        };
        self.link.health.connected(self.dials > 0);
        self.dials += 1;
        if connection.run_id != self.run_id {
            return Err(Trouble::lost("Redis was restarted"));
        }
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn pass_on(&mut self, answer: Value) -> Result<(), Trouble> {
        let entries = entries_of(answer).ok_or_else(|| Trouble::lost("it is no inbox"))?;
        for (id, message) in entries {
            if id != format!("1-{}", self.read) {
                return Err(Trouble::lost(format!("entries are missing between 1-{} and {id}", self.read)));
            }
            let entry = wire::decode_entry(message)
                .map_err(|error| Trouble::lost(format!("entry {id} cannot be read: {error}")))?;
            self.read += 1;
            self.sender.send(Ok(entry)).await.map_err(|_| Trouble::Dropped)?;
        }
        Ok(())
    }
}

async fn asked<T: redis::FromRedisValue>(
    connection: &mut Connection,
    question: &redis::Cmd,
    patience: Duration,
) -> Result<T, Trouble> {
    let answer = timeout(patience, question.query_async(&mut connection.commands)).await;
    Ok(answer.map_err(|_| Trouble::silent())??)
}

/// Ids and messages of XREAD's answer for one stream: `{key: [[id, [field, message]], …]}`.
fn entries_of(answer: Value) -> Option<Vec<(String, Bytes)>> {
    let Value::Map(streams) = answer else { return None };
    let Some((_, Value::Array(entries))) = streams.into_iter().next() else { return None };
    entries
        .into_iter()
        .map(|entry| {
            let Value::Array(entry) = entry else { return None };
            let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(entry).ok()? else {
                return None;
            };
            let [_, Value::BulkString(message)] = <[Value; 2]>::try_from(fields).ok()? else { return None };
            Some((String::from_utf8(id).ok()?, Bytes::from(message)))
        })
        .collect()
}

/// When what was read long ago is deleted: an inbox that is read need not hold 8,192 entries.
struct Trim {
    /// Every so often, how many were read then.
    marks: VecDeque<(Instant, u64)>,
}

impl Trim {
    fn new() -> Self {
        Self { marks: VecDeque::new() }
    }

    /// The first entry to keep, where there is something before it to delete.
    fn due(&mut self, read: u64, now: Instant) -> Option<u64> {
        let last = self.marks.back();
        if last.is_none_or(|(at, _)| now.duration_since(*at) >= TRIM_EVERY) {
            self.marks.push_back((now, read));
        }
        let mut first = None;
        while let Some((at, read)) = self.marks.front().copied()
            && now.duration_since(at) >= KEPT_FOR
        {
            self.marks.pop_front();
            first = Some(read).filter(|read| *read > 0);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_two_minutes_ago_is_deleted() {
        let mut trim = Trim::new();
        let start = clock::monotonic();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(trim.due(0, at(0)), None);
        for second in 1..120 {
            assert_eq!(trim.due(second, at(second)), None);
        }
        assert_eq!(trim.due(120, at(120)), None, "nothing had been read then");
        assert_eq!(trim.due(129, at(129)), None);
        assert_eq!(trim.due(130, at(130)), Some(10));
        assert_eq!(trim.due(1000, at(1000)), Some(130), "after a silence all of it");
        assert!(trim.marks.len() <= 2);
    }

    #[test]
    fn an_answer_that_is_no_inbox_is_none() {
        let text = |text: &str| Value::BulkString(text.into());
        let entry = |fields| Value::Array(vec![text("1-0"), Value::Array(fields)]);
        let stream = |entry| Value::Map(vec![(text("key"), Value::Array(vec![entry]))]);
        let good = stream(entry(vec![text("e"), text("message")]));
        assert_eq!(entries_of(good), Some(vec![("1-0".to_owned(), Bytes::from("message"))]));
        for bad in [Value::Okay, stream(Value::Nil), stream(entry(vec![text("e")])), stream(entry(vec![]))] {
            assert_eq!(entries_of(bad), None);
        }
    }
}
