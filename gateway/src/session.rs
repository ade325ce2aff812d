//! One client's life on a socket: it opens, says who it is, is routed, speaks, and ends. Runs on its shard's thread and
//! never waits: commands go to the batcher, reads to a task, and what comes of them returns as a note.

pub mod close;
mod hello;
mod native;
mod reads;

use crate::{
    app::App,
    auth::Caller,
    hub::{error_frame, event_frame, reply_frame, resync_frame},
    shard::{Class, Closed, ConnId, Cx, Message, Sessions},
};
use close::*;
use shared::{
    domain::{COMMANDS_IN_FLIGHT_PER_SESSION_MAX, HELLO_TIME, UserId},
    event::{Event, EventName, Position},
    reply::{Outcome, Refusal},
    view::json,
};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// What the rest of the gateway tells a session.
pub enum Note {
    /// An answer to one of its requests.
    Answer { re: u64, outcome: Outcome },
    /// Its person's route is written (or cannot be just now): hello may be answered.
    Routed { live: bool },
    /// Read everything again: events may have been missed.
    Resync,
    /// The session has ended: logout, a reused refresh token, a new password.
    Ended,
    /// This gateway is leaving: come back after this long.
    Reconnect { after: Duration },
    /// Who of those it asked to watch it may: from here on the session answers for them.
    Watch { re: u64, users: Vec<UserId> },
    /// Its person has parted from this one, or (none) from many: it may share no conversation any more.
    Parted { from: Option<UserId> },
    /// Those it may watch no longer.
    Unwatch { users: Vec<UserId> },
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing is known of it; its hello is due.
    New,
    /// It has said who it is; `re` is answered when its route is written.
    Joining {
        re: Option<u64>,
    },
    Live,
    /// Told to come back elsewhere; served until its deadline.
    Leaving,
    /// Past that: nothing is read any more, and its last answer closes it.
    Finishing,
}

/// Kept for every socket: small.
pub struct Session {
    caller: Option<Caller>,
    stage: Stage,
    /// Requests without an answer.
    in_flight: u8,
    /// Frames since the last beat, or the last request that was in order, that were refused at once or ask nothing.
    strikes: u8,
    live: bool,
    choice: u64,
    /// Whose presence it watches.
    #[expect(clippy::box_collection, reason = "eight bytes instead of 24 for everybody who watches nobody")]
    watched: Option<Box<Vec<UserId>>>,
}

impl Session {
    /// `caller`: who it is, where the handshake already said so (a header, or a ticket).
    pub fn new(caller: Option<Caller>) -> Self {
        Self { caller, stage: Stage::New, in_flight: 0, strikes: 0, live: false, choice: u64::MAX, watched: None }
    }
}

/// The session layer of one shard.
pub struct Edge {
    app: Arc<App>,
    tokio: Handle,
}

impl Edge {
    /// Tokio's handle is where what must wait is done.
    pub fn new(app: Arc<App>, tokio: Handle) -> Self {
        Self { app, tokio }
    }

    fn refuse(&self, cx: &mut Cx<'_>, re: Option<u64>, refusal: Refusal) {
        let frame = match re {
            Some(re) => reply_frame(re, &Outcome::Refused(refusal)),
            None => error_frame(&refusal),
        };
        cx.send(frame, Class::Durable);
    }

    /// A request that will be answered later: at most 32, then the socket is not read.
    fn begin(&self, cx: &mut Cx<'_>, session: &mut Session) {
        session.in_flight += 1;
        if usize::from(session.in_flight) >= COMMANDS_IN_FLIGHT_PER_SESSION_MAX {
            cx.pause_reading();
        }
    }

    fn end(&self, cx: &mut Cx<'_>, session: &mut Session) {
        session.in_flight = session.in_flight.saturating_sub(1);
        if session.stage == Stage::Finishing {
            self.finish(cx, session);
        } else if usize::from(session.in_flight) + 1 == COMMANDS_IN_FLIGHT_PER_SESSION_MAX {
            cx.resume_reading();
        }
    }

    /// Leaves when nothing is owed any more; what takes longer than the time to drain is cut off with everything else.
    fn finish(&self, cx: &mut Cx<'_>, session: &mut Session) {
        session.stage = Stage::Finishing;
        if session.in_flight == 0 {
            cx.close(COME_BACK);
        } else {
            cx.pause_reading();
        }
    }
}

impl Sessions for Edge {
    type Session = Session;
    type Note = Note;

    fn opened(&mut self, cx: &mut Cx<'_>, session: &mut Session) {
        match session.caller {
            Some(caller) => self.join(cx, session, caller, None),
            None => cx.set_deadline(HELLO_TIME),
        }
    }

    fn message(&mut self, cx: &mut Cx<'_>, session: &mut Session, message: Message<'_>) {
        match message {
            Message::Text(text) => self.request(cx, session, text),
            Message::Binary(_) => cx.close(BINARY),
        }
    }

    fn note(&mut self, cx: &mut Cx<'_>, session: &mut Session, note: Note) {
        match note {
            Note::Answer { re, outcome } => {
                cx.send(reply_frame(re, &outcome), Class::Durable);
                self.end(cx, session);
            }
            Note::Routed { live } => self.routed(cx, session, live),
            Note::Resync if session.stage == Stage::Live => cx.send(resync_frame(&[]), Class::Durable),
            Note::Resync => {}
            Note::Ended => {
                let position = Position::Ephemeral { conversation: None };
                let event = Event { name: EventName::SessionEnded, position, data: json(&serde_json::json!({})) };
                cx.send(event_frame(&event), Class::Durable);
                cx.close(SESSION_ENDED);
            }
            Note::Reconnect { after } => {
                let position = Position::Ephemeral { conversation: None };
                let data = json(&serde_json::json!({ "after_ms": after.as_millis() as u64 }));
                cx.send(event_frame(&Event { name: EventName::Reconnect, position, data }), Class::Durable);
                session.stage = Stage::Leaving;
                cx.set_deadline(after);
            }
            Note::Watch { re, users } => self.watch(cx, session, re, users),
            Note::Parted { from } => self.parted(cx.id(), session, from),
            Note::Unwatch { users } => self.unwatch(cx.id(), session, &users),
        }
    }

    fn lagging(&mut self, cx: &mut Cx<'_>, _: &mut Session) {
        metrics::counter!("rookery_resyncs_total", "why" => "lagging").increment(1);
        cx.send(resync_frame(&[]), Class::Durable);
    }

    fn beat(&mut self, cx: &mut Cx<'_>, session: &mut Session) {
        session.strikes = 0;
        if session.stage == Stage::Live {
            let text = format!(r#"{{"event":"heartbeat","data":{{"sent":{}}}}}"#, cx.events_sent());
            cx.send(crate::shard::codec::text_frame(text.as_bytes()), Class::Durable);
        }
    }

    fn deadline(&mut self, cx: &mut Cx<'_>, session: &mut Session) {
        match session.stage {
            Stage::New => cx.close(NO_HELLO),
            Stage::Leaving => self.finish(cx, session),
            Stage::Joining { .. } | Stage::Live | Stage::Finishing => {}
        }
    }

    fn closed(&mut self, id: ConnId, session: Session, why: Closed) {
        tracing::debug!(conn = ?id, ?why, "a socket closed");
        if let (Some(caller), true) = (session.caller, session.stage != Stage::New) {
            self.app.routes.left(caller, id);
        }
        if let Some(watched) = session.watched {
            self.app.routes.unwatch(id, &watched);
        }
    }
}
