//! One connection's worth of conversations, appended to in both ways in turn: it counts their messages itself, so that the
//! bare statement can be told the numbers, and the append's can be checked.

use super::bare::Bare;
use crate::process;
use anyhow::{Context, Result, ensure};
use shared::clock;
use shared::domain::{ConversationId, MessageId, MessageKind, UserId};
use shared::store::Store;
use shared::store::append::{Appender, Bookkeeping, NewMessage, Verdict};
use std::time::Duration;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Bare,
    Append,
}

/// A message as both ways store it.
pub struct Row {
    pub conversation: Uuid,
    pub seq: i64,
    pub id: Uuid,
    pub digest: [u8; 16],
}

pub struct Lane {
    bare: Bare,
    appender: Appender,
    appender_pid: u32,
    conversations: Vec<(Uuid, i64)>,
    sender: Uuid,
    /// Where in the circle of conversations the next row goes.
    next: usize,
    body: String,
    /// Of the last append: its outbox row goes with the next one, as in the worker.
    handed_on: Vec<Uuid>,
}

impl Lane {
    pub async fn open(url: &str, store: &Store, conversations: usize, body_bytes: usize) -> Result<Self> {
        let ids: Vec<Uuid> = (0..conversations).map(|_| Uuid::now_v7()).collect();
        let sender = Uuid::now_v7();
        let bare = Bare::open(url, &ids, sender).await?;
        let appender = Appender::connect(store).await.context("opening the append's connection")?;
        let appender_pid = bare.youngest_appender().await?;
        let conversations = ids.into_iter().map(|id| (id, 0)).collect();
        let body = "x".repeat(body_bytes);
        Ok(Self { bare, appender, appender_pid, conversations, sender, next: 0, body, handed_on: Vec::new() })
    }

    /// Processor time so far of the server's process behind that way; none where it is not of this machine.
    pub fn server_cpu(&self, way: Way) -> Option<Duration> {
        let pid = if way == Way::Bare { self.bare.pid } else { self.appender_pid };
        process::cpu_of_program(pid, "postgres")
    }

    /// One batch; how long it took.
    pub async fn batch(&mut self, way: Way, count: usize) -> Result<Duration> {
        let rows: Vec<Row> = (0..count).map(|_| self.row()).collect();
        let mut heads: Vec<(Uuid, i64)> = rows.iter().map(|row| (row.conversation, row.seq)).collect();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        heads.dedup_by_key(|(id, _)| *id);
        match way {
            Way::Bare => {
                let begun = clock::monotonic();
                self.bare.insert(self.sender, &self.body, &rows, &heads).await?;
                Ok(begun.elapsed())
            }
            Way::Append => self.append(&rows).await,
        }
    }

    fn row(&mut self) -> Row {
        // A step of 7 spreads a batch that is smaller than the circle.
        self.next = (self.next + 7) % self.conversations.len();
        let (conversation, seq) = &mut self.conversations[self.next];
        *seq += 1;
        let id = Uuid::now_v7();
        Row { conversation: *conversation, seq: *seq, id, digest: *id.as_bytes() }
    }

    async fn append(&mut self, rows: &[Row]) -> Result<Duration> {
        let begun = clock::monotonic();
        let messages: Vec<NewMessage<'_>> = rows
            .iter()
            .map(|row| NewMessage {
                id: MessageId(row.id),
                conversation: ConversationId(row.conversation),
                sender: UserId(self.sender),
                kind: MessageKind::Text,
                body: &self.body,
                extra: None,
                reply_to: None,
                digest: row.digest,
            })
            .collect();
        let outbox = Uuid::now_v7();
        let book = Bookkeeping { outbox, worker: 0, handed_on: &self.handed_on };
        let (appended, _) = self.appender.append(&messages, &[], book).await.context("appending a batch")?;
        let took = begun.elapsed();
        let right = |(row, appended): (&Row, &shared::store::append::Appended)| {
            appended.verdict == Verdict::New && appended.seq == row.seq
        };
        ensure!(appended.len() == rows.len() && rows.iter().zip(&appended).all(right), "the append numbered wrongly");
        self.handed_on = vec![outbox];
        Ok(took)
    }
}
