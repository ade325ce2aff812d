//! Heads first: one statement for all positions of a request says where each conversation stands, and whether the
//! reader is still in it. Most have not moved, and then nothing else is asked.

use super::Known;
use crate::{
    domain::{ConversationId, EPHEMERAL_MEMBERS_MAX, UserId},
    store::{Result, StoreError, meta::EPOCH},
};
use deadpool_postgres::Transaction;
use std::collections::HashSet;
use tokio_postgres::Row;
use uuid::Uuid;

/// Each position is looked up by itself (`OFFSET 0` keeps it so): two hundred of them must cost the same however many
/// conversations there are, and however many the reader is in. Marks are added up only where the client asks for it.
pub fn heads_sql() -> String {
    format!(
        "SELECT {EPOCH} AS epoch, coalesce(s.last_urev, 0) AS urev, p.id, h.*,
            CASE WHEN NOT p.with_marks THEN NULL
                 WHEN h.member_count > {EPHEMERAL_MEMBERS_MAX} THEN h.read_seq + h.delivered_seq
                 ELSE (SELECT sum(o.read_seq + o.delivered_seq)::bigint FROM members o WHERE o.conversation_id = p.id) END AS marks
         FROM meta e LEFT JOIN user_streams s ON s.user_id = $1
         LEFT JOIN unnest($2::uuid[], $3::boolean[]) WITH ORDINALITY AS p(id, with_marks, ord) ON true
         LEFT JOIN LATERAL (
            SELECT v.last_seq, v.last_rev, v.member_count, me.from_seq, me.joined_place, me.read_seq, me.delivered_seq
            FROM members me JOIN conversations v ON v.id = me.conversation_id
            WHERE me.conversation_id = p.id AND me.user_id = $1 OFFSET 0) h ON true
         WHERE e.key = 'epoch' ORDER BY p.ord"
    )
}

/// Where a conversation stands, and what the reader may see of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub seq: i64,
    pub rev: i64,
    pub from_seq: i64,
    pub joined_place: i64,
    pub read_seq: i64,
    pub delivered_seq: i64,
    /// Small enough that everybody's marks are told; else only the reader's own.
    pub marks_of_all: bool,
    pub marks: Option<i64>,
}

impl Head {
    fn of(row: &Row) -> Option<Self> {
        Some(Self {
            seq: row.get::<_, Option<i64>>("last_seq")?,
            rev: row.get("last_rev"),
            from_seq: row.get("from_seq"),
            joined_place: row.get("joined_place"),
            read_seq: row.get("read_seq"),
            delivered_seq: row.get("delivered_seq"),
            marks_of_all: row.get::<_, i32>("member_count") <= EPHEMERAL_MEMBERS_MAX as i32,
            marks: row.get("marks"),
        })
    }

    /// Messages and changes after what is known.
    pub fn behind(&self, known: &Known) -> i64 {
        (self.seq - known.seq) + (self.rev - known.rev)
    }
}

/// What is to be done about one position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Nothing is new.
    Same,
    Moved {
        id: ConversationId,
        known: Known,
        head: Head,
    },
    /// Too far behind, or ahead of the truth: begin anew from here.
    Reset {
        id: ConversationId,
        seq: i64,
        rev: i64,
    },
    /// Not a member, or there is no such conversation (any more).
    Left {
        id: ConversationId,
    },
}

impl Standing {
    fn of(id: ConversationId, known: Known, head: Option<Head>, behind_max: i64) -> Self {
        let Some(head) = head else { return Self::Left { id } };
        if known.seq > head.seq || known.rev > head.rev || head.behind(&known) > behind_max {
            return Self::Reset { id, seq: head.seq, rev: head.rev };
        }
        if head.behind(&known) == 0 && (known.marks.is_none() || known.marks == head.marks) {
            return Self::Same;
        }
        Self::Moved { id, known, head }
    }
}

pub(super) struct Heads {
    pub epoch: String,
    pub urev: i64,
    /// In the order of the request.
    heads: Vec<Option<Head>>,
}

impl Heads {
    pub fn standings(&self, positions: &[(ConversationId, Known)], behind_max: i64) -> Vec<Standing> {
        let mut seen = HashSet::new();
        let standing = |((id, known), head): (&(ConversationId, Known), &Option<Head>)| {
            Standing::of(*id, *known, *head, behind_max)
        };
        positions.iter().zip(&self.heads).filter(|((id, _), _)| seen.insert(*id)).map(standing).collect()
    }
}

pub(super) async fn read(tx: &Transaction<'_>, user: UserId, positions: &[(ConversationId, Known)]) -> Result<Heads> {
    let ids: Vec<Uuid> = positions.iter().map(|(id, _)| id.0).collect();
    let with_marks: Vec<bool> = positions.iter().map(|(_, known)| known.marks.is_some()).collect();
    let statement = tx.prepare_cached(&heads_sql()).await?;
    let rows = tx.query(&statement, &[&user.0, &ids, &with_marks]).await?;
    let first = rows.first().ok_or_else(|| StoreError::Broken("meta has no epoch".into()))?;
    Ok(Heads { epoch: first.get("epoch"), urev: first.get("urev"), heads: rows.iter().map(Head::of).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        seq: 40,
        rev: 3,
        from_seq: 0,
        joined_place: 0,
        read_seq: 0,
        delivered_seq: 0,
        marks_of_all: true,
        marks: Some(7),
    };

    fn standing(seq: i64, rev: i64, marks: Option<i64>) -> Standing {
        Standing::of(ConversationId::new(), Known { seq, rev, marks }, Some(HEAD), 10)
    }

    #[test]
    fn what_has_not_moved_is_not_read() {
        assert_eq!(standing(40, 3, None), Standing::Same);
        assert_eq!(standing(40, 3, Some(7)), Standing::Same);
        assert!(matches!(standing(40, 3, Some(6)), Standing::Moved { .. }));
        assert!(matches!(standing(39, 3, None), Standing::Moved { .. }));
        assert!(matches!(standing(40, 2, Some(7)), Standing::Moved { .. }));
    }

    #[test]
    fn too_far_behind_or_ahead_begins_anew() {
        assert!(matches!(standing(33, 0, None), Standing::Moved { .. }), "ten behind is not more than ten");
        assert!(matches!(standing(32, 0, None), Standing::Reset { seq: 40, rev: 3, .. }));
        assert!(matches!(standing(41, 3, None), Standing::Reset { .. }));
        assert!(matches!(standing(40, 4, None), Standing::Reset { .. }));
        assert!(matches!(standing(41, 0, None), Standing::Reset { .. }), "ahead in one, behind in the other");
    }
}
