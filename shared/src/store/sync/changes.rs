//! The log of changes as a client hears it. The log points to what it is about and never holds a text; here each change
//! gets the data its event had when it was live, made from what is there now. What is told once in a page, or what the
//! reader may not see, has a place only.

use super::{merge::raw, reading::Wanted};
use crate::{
    domain::UserId,
    event::EventName,
    store::{
        Result, StoreError,
        members::{MEMBER_COLUMNS, member_view},
        rows::{CONVERSATION_COLUMNS, MESSAGE_COLUMNS, USER_COLUMNS, conversation_view, message_view},
    },
    view::{ConversationView, MemberView, MessageView},
};
use deadpool_postgres::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use tokio_postgres::Row;
use uuid::Uuid;

/// A change on its way into a page. Without `data` it is only a place.
pub(super) struct Change {
    pub rev: i64,
    pub after_seq: i64,
    pub kind: String,
    pub data: Option<Box<RawValue>>,
}

/// A row of the log, with the message it is about where the client has that one and hears of it only by this.
struct Logged {
    conversation: Uuid,
    rev: i64,
    after_seq: i64,
    kind: String,
    name: Option<EventName>,
    actor_id: UserId,
    about: Option<i64>,
    data: Box<RawValue>,
    message: Option<MessageView>,
}

/// What changes point to, as it is now.
#[derive(Default)]
struct Present {
    conversations: HashMap<Uuid, ConversationView>,
    members: HashMap<(Uuid, UserId), MemberView>,
}

#[derive(Deserialize)]
struct Added {
    user_ids: Vec<UserId>,
}

#[derive(Serialize)]
struct MessageData<'a> {
    message: &'a MessageView,
}

#[derive(Serialize)]
struct ConversationData<'a> {
    actor_id: UserId,
    conversation: &'a ConversationView,
}

#[derive(Serialize)]
struct MembersData<'a> {
    actor_id: UserId,
    members: Vec<&'a MemberView>,
    member_count: i32,
}

/// $1 ids, $2 after this `rev`, $3 up to this one; $4 and $5: of messages after the one and up to the other the client
/// is told how they are now.
pub fn changes_sql() -> String {
    format!(
        "SELECT l.conversation_id AS l_conversation, l.rev AS l_rev, l.after_seq, l.kind AS l_kind, l.actor_id, l.seq AS about,
            l.data::text AS data, {MESSAGE_COLUMNS}
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS p(id, lo, hi, from_seq, known_seq)
         CROSS JOIN LATERAL (SELECT * FROM changes l
            WHERE l.conversation_id = p.id AND l.rev > p.lo AND l.rev <= p.hi OFFSET 0) l
         LEFT JOIN LATERAL (SELECT * FROM messages m WHERE m.conversation_id = l.conversation_id AND m.seq = l.seq
            AND l.kind IN ('{}', '{}') AND l.seq > p.from_seq AND l.seq <= p.known_seq OFFSET 0) m ON true
         ORDER BY l.conversation_id, l.rev",
        EventName::MessageEdited.as_str(),
        EventName::MessageDeleted.as_str()
    )
}

pub(super) async fn read(tx: &Transaction<'_>, wanted: &[Wanted]) -> Result<HashMap<Uuid, Vec<Change>>> {
    let ids: Vec<Uuid> = wanted.iter().map(|w| w.id).collect();
    let each = |value: fn(&Wanted) -> i64| wanted.iter().map(value).collect::<Vec<i64>>();
    let (low, high) = (each(|w| w.known.rev), each(Wanted::last_rev));
    let (from_seq, known_seq) = (each(|w| w.head.from_seq), each(|w| w.known.seq));
    let statement = tx.prepare_cached(&changes_sql()).await?;
    let rows = tx.query(&statement, &[&ids, &low, &high, &from_seq, &known_seq]).await?;
    let logged = rows.iter().map(Logged::of).collect::<Result<Vec<_>>>()?;
    let present = Present::read(tx, &logged).await?;
    let wanted: HashMap<Uuid, &Wanted> = wanted.iter().map(|w| (w.id, w)).collect();
    let (mut changes, mut told): (HashMap<Uuid, Vec<Change>>, _) = (HashMap::new(), HashSet::new());
    for logged in logged {
        let data = wanted.get(&logged.conversation).and_then(|wanted| logged.tell(wanted, &present, &mut told));
        let Logged { conversation, rev, after_seq, kind, .. } = logged;
        changes.entry(conversation).or_default().push(Change { rev, after_seq, kind, data });
    }
    Ok(changes)
}

impl Logged {
    fn of(row: &Row) -> Result<Self> {
        let data = RawValue::from_string(row.get("data"))
            .map_err(|error| StoreError::Broken(format!("a logged change's data: {error}")))?;
        let kind: String = row.get("l_kind");
        Ok(Self {
            conversation: row.get("l_conversation"),
            rev: row.get("l_rev"),
            after_seq: row.get("after_seq"),
            name: EventName::parse(&kind),
            kind,
            actor_id: UserId(row.get("actor_id")),
            about: row.get("about"),
            data,
            message: row.get::<_, Option<Uuid>>("m_id").map(|_| message_view(row)).transpose()?,
        })
    }

    /// The data of the event. `told` remembers, over one page, what was shown in its present state already: the first
    /// change to a thing brings that, and the later ones are contained in it.
    fn tell(&self, wanted: &Wanted, present: &Present, told: &mut HashSet<(Uuid, i64)>) -> Option<Box<RawValue>> {
        let head = &wanted.head;
        let before_his_time = head.from_seq > 0
            && (self.about.is_some_and(|seq| seq <= head.from_seq) || self.rev + self.after_seq < head.joined_place);
        if before_his_time {
            return None;
        }
        match self.name {
            // A message that the client does not have yet comes as it is now, in this page before the change.
            Some(EventName::MessageEdited | EventName::MessageDeleted) => {
                let message = self.message.as_ref().filter(|message| told.insert((self.conversation, message.seq)))?;
                Some(raw(&MessageData { message }))
            }
            Some(EventName::ConversationUpdated) => {
                let conversation = present.conversations.get(&self.conversation)?;
                let first = told.insert((self.conversation, 0));
                first.then(|| raw(&ConversationData { actor_id: self.actor_id, conversation }))
            }
            Some(EventName::MemberAdded) => Some(raw(&self.added(present)?)),
            _ => Some(self.data.clone()),
        }
    }

    /// Those of the added who are still there.
    fn added<'a>(&self, present: &'a Present) -> Option<MembersData<'a>> {
        let user_ids = self.user_ids();
        let members = user_ids.iter().filter_map(|user| present.members.get(&(self.conversation, *user))).collect();
        let member_count = present.conversations.get(&self.conversation)?.member_count;
        Some(MembersData { actor_id: self.actor_id, members, member_count })
    }

    fn user_ids(&self) -> Vec<UserId> {
        serde_json::from_str::<Added>(self.data.get()).map_or_else(|_| vec![], |added| added.user_ids)
    }
}

impl Present {
    /// Asks only for what one of the changes needs.
    async fn read(tx: &Transaction<'_>, logged: &[Logged]) -> Result<Self> {
        let mut present = Self::default();
        let points =
            |logged: &&Logged| matches!(logged.name, Some(EventName::ConversationUpdated | EventName::MemberAdded));
        let mut ids: Vec<Uuid> = logged.iter().filter(points).map(|logged| logged.conversation).collect();
        ids.dedup();
        if !ids.is_empty() {
            let sql = format!("SELECT {CONVERSATION_COLUMNS} FROM conversations c WHERE c.id = ANY($1)");
            let statement = tx.prepare_cached(&sql).await?;
            for row in tx.query(&statement, &[&ids]).await? {
                present.conversations.insert(row.get("c_id"), conversation_view(&row)?);
            }
        }
        let added = logged.iter().filter(|logged| logged.name == Some(EventName::MemberAdded));
        let pairs: HashSet<(Uuid, UserId)> =
            added.flat_map(|logged| logged.user_ids().into_iter().map(|user| (logged.conversation, user))).collect();
        if !pairs.is_empty() {
            let (ids, users): (Vec<Uuid>, Vec<Uuid>) = pairs.into_iter().map(|(id, user)| (id, user.0)).unzip();
            let sql = format!(
                "SELECT o.conversation_id, {MEMBER_COLUMNS}, {USER_COLUMNS} FROM unnest($1::uuid[], $2::uuid[]) AS p(id, usr)
                 JOIN members o ON o.conversation_id = p.id AND o.user_id = p.usr JOIN users u ON u.id = o.user_id"
            );
            let statement = tx.prepare_cached(&sql).await?;
            for row in tx.query(&statement, &[&ids, &users]).await? {
                let view = member_view(&row);
                present.members.insert((row.get("conversation_id"), view.user.id), view);
            }
        }
        Ok(present)
    }
}
