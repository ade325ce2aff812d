//! One page of an answer: what was read, in order of place, cut where it would not fit an outbox any more. Everything in
//! it is JSON already when it is weighed, so what is promised in bytes is what is sent.

use super::{
    heads::Standing,
    merge::{Merge, raw},
    reading::{Found, Mark, UserChange, Wanted},
};
use crate::{clock, domain::ConversationId, view::ConversationView};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Epoch, counters and brackets of a page, and of one conversation in it.
const PAGE_OVERHEAD: usize = 256;
const ENTRY_OVERHEAD: usize = 192;

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum SyncAnswer {
    /// These positions are not of this database, or too old to be continued: begin anew, from this `urev`.
    Reset {
        reset: bool,
        epoch: String,
        urev: i64,
    },
    Page(SyncPage),
}

impl SyncAnswer {
    pub(super) fn reset(epoch: String, urev: i64) -> Self {
        Self::Reset { reset: true, epoch, urev }
    }
}

#[derive(Debug, Serialize)]
pub struct SyncPage {
    pub epoch: String,
    /// Up to where the reader's own stream is in this page.
    pub urev: i64,
    pub user_changes: Vec<Box<RawValue>>,
    /// Each conversation at most once; those that have not moved are not in it.
    pub conversations: Vec<Box<RawValue>>,
    /// There is more: ask again from the positions that this page names.
    pub more: bool,
}

impl SyncPage {
    pub(super) fn unmoved(epoch: String, urev: i64) -> Self {
        Self { epoch, urev, user_changes: vec![], conversations: vec![], more: false }
    }
}

#[derive(Serialize)]
struct UserChangeView<'a> {
    urev: i64,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
    data: &'a RawValue,
    #[serde(with = "clock::json")]
    at: DateTime<Utc>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EntryView<'a> {
    New { id: ConversationId, new: &'a ConversationView },
    Left { id: ConversationId, left: bool },
    Reset { id: ConversationId, reset: PositionView },
    Moved(Box<MovedView<'a>>),
}

#[derive(Serialize)]
struct PositionView {
    seq: i64,
    rev: i64,
}

#[derive(Serialize)]
struct MovedView<'a> {
    id: Uuid,
    seq: i64,
    rev: i64,
    messages: Vec<Box<RawValue>>,
    changes: Vec<Box<RawValue>>,
    marks: &'a [Mark],
    unread: i64,
    more: bool,
}

pub(super) struct Builder {
    urev: i64,
    user_changes: Vec<Box<RawValue>>,
    conversations: Vec<Box<RawValue>>,
    /// Bytes still free.
    left: usize,
    more: bool,
    /// Something that moves a position is in the page: the next request gets further.
    progress: bool,
}

impl Builder {
    pub fn new(urev: i64, bytes: usize) -> Self {
        let left = bytes.saturating_sub(PAGE_OVERHEAD);
        Self { urev, user_changes: vec![], conversations: vec![], left, more: false, progress: false }
    }

    pub fn finish(self, epoch: String, left_over: bool) -> SyncAnswer {
        let Self { urev, user_changes, conversations, more, .. } = self;
        SyncAnswer::Page(SyncPage { epoch, urev, user_changes, conversations, more: more || left_over })
    }

    /// Takes what it costs from what is free. The first thing of a page that gets somewhere is let through at any size:
    /// a page without it would be asked for again for ever.
    fn pay(&mut self, bytes: usize) -> bool {
        if bytes > self.left && self.progress {
            self.more = true;
            return false;
        }
        self.left = self.left.saturating_sub(bytes);
        true
    }

    fn add_entry(&mut self, entry: &EntryView<'_>) {
        let json = raw(entry);
        self.left = self.left.saturating_sub(json.get().len() + 1);
        self.conversations.push(json);
    }

    /// What is said in a line, of at most two hundred conversations: always in the page.
    pub fn add_standings(&mut self, standings: &[Standing], began: &HashSet<Uuid>) {
        for standing in standings {
            match *standing {
                Standing::Left { id } if !began.contains(&id.0) => self.add_entry(&EntryView::Left { id, left: true }),
                Standing::Reset { id, seq, rev } if !began.contains(&id.0) => {
                    self.add_entry(&EntryView::Reset { id, reset: PositionView { seq, rev } });
                }
                _ => {}
            }
        }
    }

    /// The reader's own stream; with a change that brought him to or from a conversation, where he stands there now.
    pub fn add_user_changes(&mut self, changes: &[UserChange], head: i64, views: Vec<ConversationView>) {
        let mut views: HashMap<Uuid, ConversationView> = views.into_iter().map(|view| (view.id.0, view)).collect();
        let mut told = HashSet::new();
        for change in changes {
            let json = raw(&UserChangeView {
                urev: change.urev,
                event: &change.kind,
                conversation_id: change.conversation.map(ConversationId),
                data: &change.data,
                at: change.at,
            });
            let entry = change.membership().filter(|id| told.insert(*id)).map(|id| match views.remove(&id) {
                Some(view) => raw(&EntryView::New { id: view.id, new: &view }),
                None => raw(&EntryView::Left { id: ConversationId(id), left: true }),
            });
            if !self.pay(json.get().len() + entry.as_ref().map_or(0, |entry| entry.get().len()) + 2) {
                return;
            }
            self.progress = true;
            self.urev = change.urev;
            self.user_changes.push(json);
            self.conversations.extend(entry);
        }
        self.more |= self.urev < head;
    }

    /// Conversations in the order asked for, as far as they go; the last one may be cut.
    pub fn add_moved(&mut self, wanted: &[Wanted], mut found: HashMap<Uuid, Found>) {
        for wanted in wanted {
            let found = found.remove(&wanted.id).unwrap_or_default();
            let marks_size = raw(&found.marks).get().len();
            if !self.pay(ENTRY_OVERHEAD + marks_size) {
                return;
            }
            let Found { messages, changes, marks, unread } = found;
            let mut merge = Merge::new(wanted, messages, changes);
            while let Some(size) = merge.next_size() {
                if !self.pay(size + 1) {
                    break;
                }
                merge.take_next();
                self.progress = true;
            }
            let (seq, rev) = merge.position;
            let more = (seq, rev) != (wanted.head.seq, wanted.head.rev);
            self.more |= more;
            if more && (seq, rev) == (wanted.known.seq, wanted.known.rev) {
                return;
            }
            self.progress = true;
            let Merge { taken_messages: messages, taken_changes: changes, .. } = merge;
            let view = MovedView { id: wanted.id, seq, rev, messages, changes, marks: &marks, unread, more };
            self.conversations.push(raw(&EntryView::Moved(Box::new(view))));
        }
    }
}
