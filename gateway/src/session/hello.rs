//! Who somebody is, and that events can reach him: no query, but the route must be written before hello is answered.

use super::{Edge, Session, Stage, close::*};
use crate::{
    auth::Caller,
    hub::{SessionRef, reply_frame, resync_frame},
    shard::{Class, Cx},
};
use serde::Deserialize;
use shared::{
    event::EventName,
    reply::{Code, Outcome, Refusal},
    view::json,
};
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello<'a> {
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
    /// Only these events; `resync` and `session.ended` come always.
    #[serde(borrow, default)]
    events: Option<Vec<Cow<'a, str>>>,
}

impl Edge {
    pub(super) fn hello(&mut self, cx: &mut Cx<'_>, session: &mut Session, re: Option<u64>, hello: Hello<'_>) {
        if session.stage != Stage::New {
            let only_asks = hello.token.is_none() && hello.events.is_none();
            return match (session.caller, session.stage) {
                // The handshake said who it is: hello only asks what it would have been told, perhaps before it is.
                (Some(caller), Stage::Live) if only_asks => {
                    self.answer_hello(cx, session, caller, re);
                    self.count_strike(cx, session);
                }
                (Some(_), Stage::Joining { re: None }) if only_asks => session.stage = Stage::Joining { re },
                _ => self.strike(cx, session, re, Refusal::new(Code::Invalid, "hello was said already")),
            };
        }
        match choice(hello.events.as_deref()) {
            Ok(choice) => session.choice = choice,
            Err(refusal) => return self.strike(cx, session, re, refusal),
        }
        match self.app.tokens.verify(hello.token.as_deref().unwrap_or_default()) {
            Ok(caller) => self.join(cx, session, caller, re),
            Err(refusal) => {
                self.refuse(cx, re, refusal);
                cx.close(TOKEN);
            }
        }
    }

    /// In the hub before the route is written: an event that follows the route must find the session.
    pub(super) fn join(&mut self, cx: &mut Cx<'_>, session: &mut Session, caller: Caller, re: Option<u64>) {
        session.caller = Some(caller);
        session.stage = Stage::Joining { re };
        cx.clear_deadline();
        let reference = SessionRef { conn: cx.id(), session: caller.session, choice: session.choice };
        self.app.routes.came(caller, reference);
        // It may have ended between the check and its place in the hub; whoever ends it from now on finds it there.
        if self.app.ended.contains(caller.session) {
            cx.close(SESSION_ENDED);
        }
    }

    pub(super) fn routed(&mut self, cx: &mut Cx<'_>, session: &mut Session, live: bool) {
        session.live = live;
        match (session.stage, session.caller) {
            (Stage::Joining { re }, Some(caller)) => {
                session.stage = Stage::Live;
                if re.is_some() {
                    self.answer_hello(cx, session, caller, re);
                }
            }
            // The route could not be written when hello was answered; now it is.
            (Stage::Live, _) if live => cx.send(resync_frame(&[]), Class::Durable),
            _ => {}
        }
    }

    fn answer_hello(&self, cx: &mut Cx<'_>, session: &Session, caller: Caller, re: Option<u64>) {
        let Some(epoch) = self.app.epoch.get() else {
            return self.refuse(
                cx,
                re,
                Refusal::new(Code::Unavailable, "PostgreSQL has not been reached yet").retry_after(1),
            );
        };
        let ok = serde_json::json!({
            "session_id": caller.session, "user_id": caller.user, "epoch": &*epoch,
            "heartbeat_s": self.app.config.edge.heartbeat.as_secs(), "live": session.live
        });
        cx.send(reply_frame(re.unwrap_or(0), &Outcome::Ok { created: false, json: json(&ok) }), Class::Durable);
    }
}

fn choice(events: Option<&[Cow<'_, str>]>) -> Result<u64, Refusal> {
    let Some(events) = events else { return Ok(u64::MAX) };
    let always = EventName::Resync.bit()
        | EventName::SessionEnded.bit()
        | EventName::Reconnect.bit()
        | EventName::Heartbeat.bit();
    events.iter().try_fold(always, |choice, name| match EventName::parse(name) {
        Some(event) => Ok(choice | event.bit()),
        None => Err(Refusal::field("events", format!("has no event {name:?}"))),
    })
}
