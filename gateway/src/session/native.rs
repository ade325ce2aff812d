//! The native protocol (`rookery.v1`): `{"id":7,"cmd":"message.send","data":{…}}`, answered under `re`.

use super::{Edge, Session, Stage, close::*, hello::Hello};
use crate::{
    auth::Caller,
    batcher::{Submission, Waiter},
    json,
    limits::{Rule, Subject},
    requests::{self, Request},
    shard::Cx,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    domain::COMMAND_MAX,
    reply::{Code, Refusal},
};
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow)]
    cmd: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Frames in a row, within one beat, that were refused at once or asked nothing: then the session is closed (4429).
const STRIKES_MAX: u8 = 250;

fn missing_id() -> Refusal {
    Refusal::field("id", "is missing: an answer has nowhere to go")
}

impl Edge {
    pub(super) fn request(&mut self, cx: &mut Cx<'_>, session: &mut Session, text: &str) {
        if session.stage == Stage::Finishing {
            return;
        }
        if text.len() > COMMAND_MAX {
            return self.strike(cx, session, None, Refusal::new(Code::TooLarge, "a command has at most 64 KiB"));
        }
        let frame: Frame<'_> = match json::parse(text.as_bytes()) {
            Ok(frame) => frame,
            Err(refusal) => return self.malformed(cx, session, refusal),
        };
        if session.stage == Stage::New && frame.cmd != "hello" {
            self.refuse(cx, frame.id, Refusal::new(Code::Unauthorized, "say hello first"));
            return cx.close(TOKEN);
        }
        self.dispatch(cx, session, &frame);
    }

    fn dispatch(&mut self, cx: &mut Cx<'_>, session: &mut Session, frame: &Frame<'_>) {
        let data = frame.data.unwrap_or_else(|| serde_json::from_str("{}").expect("cannot fail because {} is JSON"));
        match &*frame.cmd {
            "hello" => match json::parse::<Hello<'_>>(data.get().as_bytes()) {
                Ok(_) if frame.id.is_none() => self.strike(cx, session, None, missing_id()),
                Ok(hello) => self.hello(cx, session, frame.id, hello),
                Err(refusal) => self.malformed(cx, session, refusal),
            },
            // Says only that the client is there, which its arrival has said; nobody says that hundreds of times a beat.
            "heartbeat" => self.count_strike(cx, session),
            command => {
                let Some(caller) = session.caller else { return cx.close(TOKEN) };
                let Some(re) = frame.id else {
                    return self.strike(cx, session, None, missing_id());
                };
                if let Err(refusal) = self.app.limits.check(Rule::CommandsPerUser, Subject::User(caller.user)) {
                    return self.strike(cx, session, Some(re), refusal);
                }
                match self.command(cx, session, caller, re, command, data) {
                    Ok(()) => session.strikes = 0,
                    Err(refusal) => self.strike(cx, session, Some(re), refusal),
                }
            }
        }
    }

    fn command(
        &mut self,
        cx: &mut Cx<'_>,
        session: &mut Session,
        caller: Caller,
        re: u64,
        command: &str,
        data: &RawValue,
    ) -> Result<(), Refusal> {
        match requests::parse(caller.user, command, data.get())? {
            Some(Request::Command { id, command }) => {
                // One id from here through broker and worker back.
                let request_id = format!("{:?}-{re}", cx.id()).replace(' ', "-").into();
                let submission = Submission { id, actor: caller.user, session: caller.session, request_id, command };
                self.app
                    .batcher
                    .submit(submission, Waiter::Socket { conn: cx.id(), re })
                    .map_err(|(refusal, _)| refusal)?;
                self.begin(cx, session);
            }
            Some(Request::Query(query)) => {
                self.begin(cx, session);
                self.read(cx.id(), caller, re, query);
            }
            None => self.local(cx, session, caller, re, command, data.get())?,
        }
        Ok(())
    }

    /// Something that is not a request. Before hello there is nobody to forgive it.
    fn malformed(&self, cx: &mut Cx<'_>, session: &mut Session, refusal: Refusal) {
        self.strike(cx, session, None, refusal);
        if session.stage == Stage::New {
            cx.close(TOKEN);
        }
    }

    /// Refuses what was wrong, or too often. A client of which nothing else comes is not reasoned with for ever.
    pub(super) fn strike(&self, cx: &mut Cx<'_>, session: &mut Session, re: Option<u64>, refusal: Refusal) {
        self.refuse(cx, re, refusal);
        self.count_strike(cx, session);
    }

    pub(super) fn count_strike(&self, cx: &mut Cx<'_>, session: &mut Session) {
        session.strikes = session.strikes.saturating_add(1);
        if session.strikes >= STRIKES_MAX {
            cx.close(TOO_MANY);
        }
    }
}
