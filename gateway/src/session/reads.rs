//! What a session asks for that needs a query, and what it says that nobody keeps: typing, and whom it watches. Done by a
//! task of its own; the answer comes back as a note.

use super::{Edge, Note, Session};
use crate::{
    auth::Caller,
    hub::reply_frame,
    json,
    refusal::in_time,
    requests::Query,
    shard::{Class, ConnId, Cx},
};
use serde::Deserialize;
use shared::{
    domain::{ConversationId, PRESENCE_WATCH_MAX, UserId},
    fanout::presence,
    lifecycle::Backoff,
    reply::{Code, Outcome, Refusal},
    view,
};

/// For the answer who may still be watched.
const PARTED_TRIES: u32 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    conversation_id: ConversationId,
    typing: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct People {
    user_ids: Vec<UserId>,
}

impl Edge {
    pub(super) fn read(&self, conn: ConnId, caller: Caller, re: u64, query: Query) {
        let app = self.app.clone();
        self.tokio.spawn(async move {
            let outcome = match in_time(app.queries.answer(caller.user, query)).await {
                Ok(json) => Outcome::Ok { created: false, json },
                Err(refusal) => Outcome::Refused(refusal),
            };
            app.hub.note(conn, Note::Answer { re, outcome });
        });
    }

    /// Commands that concern this gateway alone.
    pub(super) fn local(
        &mut self,
        cx: &mut Cx<'_>,
        session: &mut Session,
        caller: Caller,
        re: u64,
        command: &str,
        data: &str,
    ) -> Result<(), Refusal> {
        match command {
            "typing" => {
                let typing: Typing = json::parse(data.as_bytes())?;
                self.begin(cx, session);
                self.typing(cx.id(), caller, re, typing);
            }
            "presence.watch" => {
                let people: People = json::parse(data.as_bytes())?;
                together(session, &people.user_ids)?;
                self.begin(cx, session);
                self.may_watch(cx.id(), caller, re, people.user_ids);
            }
            "presence.unwatch" => {
                let people: People = json::parse(data.as_bytes())?;
                self.unwatch(cx.id(), session, &people.user_ids);
                let done = Outcome::Ok { created: false, json: view::json(&view::Empty {}) };
                cx.send(reply_frame(re, &done), Class::Durable);
            }
            unknown => {
                let name: String = unknown.chars().take(64).collect();
                return Err(Refusal::new(Code::Unsupported, format!("there is no command {name:?}")));
            }
        }
        Ok(())
    }

    fn typing(&self, conn: ConnId, caller: Caller, re: u64, typing: Typing) {
        let app = self.app.clone();
        self.tokio.spawn(async move {
            let outcome = match in_time(app.presence.typing(caller.user, typing.conversation_id, typing.typing)).await {
                Ok(()) => Outcome::Ok { created: false, json: view::json(&view::Empty {}) },
                Err(refusal) => Outcome::Refused(refusal),
            };
            app.hub.note(conn, Note::Answer { re, outcome });
        });
    }

    fn may_watch(&self, conn: ConnId, caller: Caller, re: u64, users: Vec<UserId>) {
        let app = self.app.clone();
        self.tokio.spawn(async move {
            let note = match in_time(app.presence.allowed(caller.user, users)).await {
                Ok(users) => Note::Watch { re, users },
                Err(refusal) => Note::Answer { re, outcome: Outcome::Refused(refusal) },
            };
            app.hub.note(conn, note);
        });
    }

    pub(super) fn unwatch(&self, conn: ConnId, session: &mut Session, users: &[UserId]) {
        if let Some(watched) = &mut session.watched {
            watched.retain(|user| !users.contains(user));
        }
        self.app.routes.unwatch(conn, users);
    }

    /// Watches on whom it may still watch.
    pub(super) fn parted(&self, conn: ConnId, session: &Session, from: Option<UserId>) {
        let (Some(caller), Some(watched)) = (session.caller, &session.watched) else { return };
        let mut users = watched.to_vec();
        users.retain(|user| from.is_none_or(|from| from == *user));
        let app = self.app.clone();
        self.tokio.spawn(async move {
            let mut backoff = Backoff::default();
            for _ in 0..PARTED_TRIES {
                if let Ok(allowed) = in_time(app.presence.allowed(caller.user, users.clone())).await {
                    users.retain(|user| !allowed.contains(user));
                    break;
                }
                tokio::time::sleep(backoff.next()).await;
            }
            // Without an answer: rather none than one too many.
            if !users.is_empty() {
                app.hub.note(conn, Note::Unwatch { users });
            }
        });
    }

    /// Registered here, on the session's own thread: when it closes, everything it watches is known.
    pub(super) fn watch(&self, cx: &mut Cx<'_>, session: &mut Session, re: u64, users: Vec<UserId>) {
        // Again: others may have been asked for meanwhile.
        match together(session, &users) {
            Ok(watched) => session.watched = Some(Box::new(watched)),
            Err(refusal) => {
                self.refuse(cx, Some(re), refusal);
                return self.end(cx, session);
            }
        }
        let (app, conn) = (self.app.clone(), cx.id());
        app.hub.watch(conn, &users);
        self.tokio.spawn(async move {
            let (outcome, found) = match in_time(app.presence.states(users)).await {
                Ok((json, found)) => (Outcome::Ok { created: false, json }, found),
                Err(refusal) => (Outcome::Refused(refusal), vec![]),
            };
            app.hub.note(conn, Note::Answer { re, outcome });
            for (user, online) in app.hub.presence_since(&found) {
                app.hub.send(conn, &presence::event(user, online));
            }
        });
    }
}

/// Everybody it watches with these.
fn together(session: &Session, users: &[UserId]) -> Result<Vec<UserId>, Refusal> {
    let mut watched: Vec<UserId> =
        session.watched.iter().flat_map(|watched| watched.iter()).chain(users).copied().collect();
    watched.sort_unstable();
    watched.dedup();
    match watched.len() {
        0..=PRESENCE_WATCH_MAX => Ok(watched),
        _ => Err(Refusal::field("user_ids", "would make more than 200 people watched")),
    }
}
