//! Catching up: the positions a client has, each conversation once.

use super::{Given, Input, Request, fields};
use crate::queries::Query;
use serde::Deserialize;
use shared::{
    domain::{ConversationId, SYNC_POSITIONS_MAX},
    reply::Refusal,
    store::sync::{Known, SyncRequest},
};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Missing where a client begins with nothing.
    epoch: Option<String>,
    urev: Option<i64>,
    positions: Option<BTreeMap<ConversationId, Position>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    seq: i64,
    rev: i64,
    /// The sum of all the marks it knows there, where it wants to hear of marks that have risen while nothing was said.
    marks: Option<i64>,
}

impl Input<'_> for Sync {
    fn request(self, _: &Given) -> Result<Request, Refusal> {
        let positions = self.positions.unwrap_or_default();
        if positions.len() > SYNC_POSITIONS_MAX {
            return Err(Refusal::field("positions", "names more than 200 conversations"));
        }
        let known = |(id, position): (ConversationId, Position)| {
            let Position { seq, rev, marks } = position;
            let (seq, rev) = (fields::position("seq", seq)?, fields::position("rev", rev)?);
            let marks = marks.map(|marks| fields::position("marks", marks)).transpose()?;
            Ok((id, Known { seq, rev, marks }))
        };
        Ok(Request::Query(Query::Sync(SyncRequest {
            epoch: self.epoch.filter(|epoch| !epoch.is_empty()),
            urev: fields::position("urev", self.urev.unwrap_or(0))?,
            positions: positions.into_iter().map(known).collect::<Result<_, Refusal>>()?,
        })))
    }
}
