//! When many catch up at once, as after the loss of a gateway, most of them have missed nothing: one statement finds out
//! about as many people as fit, and returns only what has moved.

use super::{Known, SyncAnswer, SyncPage, SyncRequest};
use crate::{
    domain::{EPHEMERAL_MEMBERS_MAX, UserId},
    store::{Result, Store, StoreError, meta::EPOCH},
};
use std::collections::HashSet;
use uuid::Uuid;

/// $1 people, $2 their `urev`; and of each position $3 the index of its person, $4 he himself, $5 the conversation, $6 its
/// `seq`, $7 its `rev`, $8 its marks if they are known. A row for each thing that has moved, with whose it is; one
/// without, where nothing has. Each is looked up by itself, as in `heads`.
pub fn moved_sql() -> String {
    format!(
        "SELECT {EPOCH} AS epoch, moved.n
         FROM meta e LEFT JOIN (
            SELECT u.n - 1 AS n
            FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS u(id, urev, n)
            LEFT JOIN LATERAL (SELECT last_urev FROM user_streams WHERE user_id = u.id OFFSET 0) s ON true
            WHERE coalesce(s.last_urev, 0) <> u.urev
            UNION ALL
            SELECT p.n
            FROM unnest($3::bigint[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[])
                AS p(n, user_id, id, seq, rev, marks)
            LEFT JOIN LATERAL (
                SELECT v.last_seq, v.last_rev, CASE
                    WHEN p.marks IS NULL THEN NULL
                    WHEN v.member_count > {EPHEMERAL_MEMBERS_MAX} THEN me.read_seq + me.delivered_seq
                    ELSE (SELECT sum(o.read_seq + o.delivered_seq)::bigint FROM members o WHERE o.conversation_id = p.id) END AS marks
                FROM members me JOIN conversations v ON v.id = me.conversation_id
                WHERE me.conversation_id = p.id AND me.user_id = p.user_id OFFSET 0) h ON true
            WHERE (h.last_seq, h.last_rev, h.marks) IS DISTINCT FROM (p.seq, p.rev, p.marks)
         ) moved ON true
         WHERE e.key = 'epoch'"
    )
}

impl Store {
    /// For each the answer, where nothing has moved since what is asked from; none where [`Store::sync`] has to look.
    pub async fn list_unmoved(&self, asked: &[(UserId, &SyncRequest)]) -> Result<Vec<Option<SyncAnswer>>> {
        let users: Vec<Uuid> = asked.iter().map(|(user, _)| user.0).collect();
        let urevs: Vec<i64> = asked.iter().map(|(_, request)| request.urev).collect();
        let positions = asked.iter().enumerate().flat_map(|(n, (user, request))| {
            request.positions.iter().map(move |(id, known)| (n as i64, user.0, id.0, *known))
        });
        let positions: Vec<(i64, Uuid, Uuid, Known)> = positions.collect();
        let numbers: Vec<i64> = positions.iter().map(|position| position.0).collect();
        let readers: Vec<Uuid> = positions.iter().map(|position| position.1).collect();
        let ids: Vec<Uuid> = positions.iter().map(|position| position.2).collect();
        let seqs: Vec<i64> = positions.iter().map(|position| position.3.seq).collect();
        let revs: Vec<i64> = positions.iter().map(|position| position.3.rev).collect();
        let marks: Vec<Option<i64>> = positions.iter().map(|position| position.3.marks).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(&moved_sql()).await?;
        let rows = client.query(&statement, &[&users, &urevs, &numbers, &readers, &ids, &seqs, &revs, &marks]).await?;
        let first = rows.first().ok_or_else(|| StoreError::Broken("meta has no epoch".into()))?;
        let epoch: &str = first.get("epoch");
        let moved: HashSet<i64> = rows.iter().filter_map(|row| row.get("n")).collect();
        let answer = |(n, (_, request)): (usize, &(UserId, &SyncRequest))| {
            let unmoved = request.epoch.as_deref() == Some(epoch) && !moved.contains(&(n as i64));
            unmoved.then(|| SyncAnswer::Page(SyncPage::unmoved(epoch.to_owned(), request.urev)))
        };
        Ok(asked.iter().enumerate().map(answer).collect())
    }
}
