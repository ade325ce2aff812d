//! Keeps the routes of this gateway's people true: writes one when the first session of somebody comes, before hello is
//! answered; deletes it a grace after the last one left; renews the lease; and when the inbox or the lease was lost, joins
//! anew and then, in this order: writes all routes, has every unanswered command resent, tells every session `resync`.

mod outage;
mod registrar;

use crate::{
    auth::Caller,
    hub::{Hub, SessionRef},
    shard::ConnId,
};
pub use registrar::run;
use shared::{
    command::GatewayRef,
    domain::{SessionId, UserId},
};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What sessions tell the registrar. A socket says at most a word when it comes and one when it goes, besides what it
/// stops watching, so what waits is bounded by the sockets.
enum Word {
    Came { user: UserId, conn: ConnId },
    Left { user: UserId, session: SessionId, last: bool },
    Unwatched(Vec<UserId>),
    InboxLost { of: GatewayRef, why: String },
}

/// The sessions' side.
pub struct Routes {
    hub: Arc<Hub>,
    words: mpsc::UnboundedSender<Word>,
}

/// The registrar's side of it: held by `run`.
pub struct Words(mpsc::UnboundedReceiver<Word>);

impl Routes {
    pub fn new(hub: Arc<Hub>) -> (Self, Words) {
        let (words, received) = mpsc::unbounded_channel();
        (Self { hub, words }, Words(received))
    }

    /// A session has said who it is. It gets `Note::Routed` when its person's route is written.
    pub fn came(&self, caller: Caller, session: SessionRef) {
        self.hub.add(caller.user, session);
        self.say(Word::Came { user: caller.user, conn: session.conn });
    }

    pub fn left(&self, caller: Caller, conn: ConnId) {
        let last = self.hub.remove(caller.user, conn);
        self.say(Word::Left { user: caller.user, session: caller.session, last });
    }

    pub fn unwatch(&self, conn: ConnId, users: &[UserId]) {
        let unwatched = self.hub.unwatch(conn, users);
        if !unwatched.is_empty() {
            self.say(Word::Unwatched(unwatched));
        }
    }

    fn say(&self, word: Word) {
        // Nobody listens any more: the gateway has stopped.
        let _ = self.words.send(word);
    }
}
