//! Catching up: what came after the positions a client names, as it is now.
//!
//! `heads` finds in one statement what has moved, `reading` reads only that, `page` cuts it to what fits an outbox. All
//! statements of one answer see the same moment, so that the position an answer names is exactly what it holds.
//! `unmoved` finds for many people at once for whom there is nothing to read.
//!
//! An answer is state: a message comes as it is now, with the `rev` of the last change it contains, and a change that
//! the client will find in a message anyway, or may not see, comes as `none`, with its place only. What is applied by
//! place, in any order and however often, gives the same view.

mod changes;
mod heads;
mod merge;
mod page;
mod reading;
mod unmoved;

pub use changes::changes_sql;
pub use heads::heads_sql;
pub use page::{SyncAnswer, SyncPage};
pub use reading::{messages_sql, unread_sql};
pub use unmoved::moved_sql;

use super::{
    Result, Store,
    conversations::{list_views, snapshot},
};
use crate::domain::{ConversationId, SYNC_BEHIND_MAX, SYNC_PAGE_MAX, UserId};
use heads::Standing;
use reading::{UserChange, Wanted};
use std::collections::HashSet;
use uuid::Uuid;

/// What a client has of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    pub seq: i64,
    pub rev: i64,
    /// The sum of all marks it knows there. Marks have no place but only rise: while the sum is the same, so are they.
    /// Where it is not named, marks come only with what else has moved.
    pub marks: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct SyncRequest {
    /// `None` for a client that begins with nothing.
    pub epoch: Option<String>,
    pub urev: i64,
    /// At most [`SYNC_POSITIONS_MAX`](crate::domain::SYNC_POSITIONS_MAX), each conversation once.
    pub positions: Vec<(ConversationId, Known)>,
}

/// How much one answer holds.
#[derive(Clone, Copy, Debug)]
pub struct SyncLimits {
    pub bytes: usize,
    /// Messages and changes, over all conversations.
    pub events: i64,
    pub user_changes: i64,
    /// A conversation further behind than this is reset.
    pub behind: i64,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self { bytes: SYNC_PAGE_MAX, events: 256, user_changes: 32, behind: SYNC_BEHIND_MAX }
    }
}

impl Store {
    /// One page of what `user` does not have yet; he asks again from where it ends while it says `more`.
    pub async fn sync(&self, user: UserId, request: &SyncRequest, limits: SyncLimits) -> Result<SyncAnswer> {
        let mut client = self.client().await?;
        let tx = snapshot(&mut client).await?;
        let heads = heads::read(&tx, user, &request.positions).await?;
        let reset = || SyncAnswer::reset(heads.epoch.clone(), heads.urev);
        let same_epoch = match &request.epoch {
            Some(epoch) => *epoch == heads.epoch,
            None => request.urev == 0 && request.positions.is_empty(),
        };
        if !same_epoch || request.urev > heads.urev {
            return Ok(reset());
        }
        let user_changes = match heads.urev > request.urev {
            true => reading::list_user_changes(&tx, user, request.urev, limits.user_changes).await?,
            false => vec![],
        };
        // The stream has no holes but at its old end, which is thrown away after a while.
        if heads.urev > request.urev && user_changes.first().map(|change| change.urev) != Some(request.urev + 1) {
            return Ok(reset());
        }
        let began: HashSet<Uuid> = user_changes.iter().filter_map(UserChange::membership).collect();
        let views = list_views(&tx, user, &began.iter().copied().collect::<Vec<_>>(), false).await?;
        let standings = heads.standings(&request.positions, limits.behind);
        let (wanted, left_over) = share_out(&standings, &began, limits.events);
        let found = reading::read(&tx, user, &wanted).await?;
        let mut page = page::Builder::new(request.urev, limits.bytes);
        page.add_standings(&standings, &began);
        page.add_user_changes(&user_changes, heads.urev, views);
        page.add_moved(&wanted, found);
        Ok(page.finish(heads.epoch, left_over))
    }
}

/// Which of the conversations that moved are read for this page, and how much of each; true where some are left over.
/// Those that come as `new` or as left need no catching up.
fn share_out(standings: &[Standing], began: &HashSet<Uuid>, events: i64) -> (Vec<Wanted>, bool) {
    let (mut wanted, mut left) = (Vec::new(), events);
    for standing in standings {
        let Standing::Moved { id, known, head } = standing else { continue };
        if began.contains(&id.0) {
            continue;
        }
        let behind = head.behind(known);
        if left == 0 && behind > 0 {
            return (wanted, true);
        }
        let take = behind.min(left);
        left -= take;
        wanted.push(Wanted { id: id.0, known: *known, head: *head, take });
    }
    (wanted, false)
}
