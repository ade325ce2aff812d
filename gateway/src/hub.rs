//! The hub: which sessions of which people this gateway holds, and the last stop of every event on its way to them.
//! It settles order: per conversation it remembers the last place it passed on; the next is sent, one not newer is
//! dropped, and at a hole the people concerned are told `resync` first.

mod frames;
mod places;
mod sessions;

pub use frames::{error_frame, event_frame, reply_frame, resync_frame};
pub use sessions::SessionRef;

use crate::{
    batcher::{Batcher, SocketAnswer},
    ended::Ended,
    session::{Edge, Note},
    shard::{Class, ConnId, Delivery, Shards},
};
use bytes::{Bytes, BytesMut};
use frames::append_event;
use places::{Places, Verdict};
use serde::Deserialize;
use sessions::Sessions;
use shared::{
    domain::{ConversationId, Place, SessionId, UserId},
    event::{Event, EventName, InboxEntry, InboxItem, Position},
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Default)]
pub struct Hub {
    sessions: Mutex<Sessions>,
    places: Mutex<Places>,
    shards: OnceLock<Shards<Edge>>,
}

impl Hub {
    /// Where sockets are. Set once, before anything is delivered.
    pub fn set_shards(&self, shards: Shards<Edge>) {
        let _ = self.shards.set(shards);
    }

    pub fn shards(&self) -> Option<&Shards<Edge>> {
        self.shards.get()
    }

    /// A session that may get events from now on. True for the person's first one here.
    pub fn add(&self, user: UserId, session: SessionRef) -> bool {
        self.lock().add(user, session)
    }

    /// True when it was the person's last one here.
    pub fn remove(&self, user: UserId, conn: ConnId) -> bool {
        self.lock().remove(user, conn)
    }

    pub fn holds(&self, user: UserId) -> bool {
        self.lock().holds(user)
    }

    /// Everybody with a session here.
    pub fn users(&self) -> Vec<UserId> {
        self.lock().users()
    }

    /// Everybody whom somebody here watches.
    pub fn watched(&self) -> Vec<UserId> {
        self.lock().watched()
    }

    /// Those of these people whom somebody here watches.
    pub fn still_watched(&self, mut users: Vec<UserId>) -> Vec<UserId> {
        let sessions = self.lock();
        users.retain(|user| sessions.is_watched(*user));
        users
    }

    /// This session wants to hear of these people.
    pub fn watch(&self, conn: ConnId, users: &[UserId]) {
        self.lock().watch(conn, users);
    }

    /// This person has left a conversation, and may have shared no other with those he watches or is watched by.
    pub fn parted(&self, user: UserId) {
        let (by, own) = self.lock().watching(user);
        if let Some(shards) = self.shards.get() {
            let by = by.into_iter().map(|conn| (conn, Note::Parted { from: Some(user) }));
            shards.notes(by.chain(own.into_iter().map(|conn| (conn, Note::Parted { from: None }))));
        }
    }

    /// Returns those whom nobody here watches any more.
    pub fn unwatch(&self, conn: ConnId, users: &[UserId]) -> Vec<UserId> {
        self.lock().unwatch(conn, users)
    }

    /// Tells one session something.
    pub fn note(&self, conn: ConnId, note: Note) {
        if let Some(shards) = self.shards.get() {
            shards.note(conn, note);
        }
    }

    /// Tells all sessions of these people to read everything again.
    pub fn resync_users(&self, users: &[UserId]) {
        let receivers = self.lock().receivers(users);
        let mut deliveries = vec![];
        push(&mut deliveries, resync_frame(&[]), 0, Class::Durable, receivers.everybody());
        self.deliver(deliveries);
    }

    /// Tells every session to read everything again.
    pub fn resync_all(&self) {
        if let Some(shards) = self.shards.get() {
            shards.note_all(|_| Note::Resync);
        }
    }

    /// The database was restored: places begin where it stands now, and whatever was passed on before is of another epoch.
    pub fn begin_anew(&self) {
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Places::default();
        self.resync_all();
    }

    /// One entry of the inbox: its events in order, then its answers.
    pub fn pass_on(&self, entry: InboxEntry, batcher: &Batcher) -> Vec<SessionId> {
        let mut deliveries = Vec::with_capacity(entry.items.len());
        let (mut answers, mut ended) = (vec![], vec![]);
        for item in entry.items {
            match item {
                InboxItem::Events { events, to } => self.events(&events, &to, &mut deliveries),
                InboxItem::Replies(replies) => batcher.answer(replies, &mut answers),
                InboxItem::Resync { conversation, to } => self.resync(conversation, &to, &mut deliveries),
                InboxItem::SessionsEnded(sessions) => ended.extend_from_slice(&sessions),
            }
        }
        self.deliver(deliveries);
        self.answers(answers);
        ended
    }

    /// Answers to sockets, after whatever was delivered before.
    pub fn answers(&self, answers: Vec<SocketAnswer>) {
        if let (Some(shards), false) = (self.shards.get(), answers.is_empty()) {
            shards.notes(
                answers
                    .into_iter()
                    .map(|answer| (answer.conn, Note::Answer { re: answer.re, outcome: answer.outcome })),
            );
        }
    }

    /// Closes the sockets of sessions that are over.
    pub fn close_sessions(&self, ended: &[SessionId]) {
        let conns: Vec<ConnId> = {
            let sessions = self.lock();
            ended.iter().flat_map(|session| sessions.of_session(*session)).collect()
        };
        self.end(conns);
    }

    /// The same for all that are known to be over: after a loss, when nobody could say which.
    pub fn close_ended(&self, ended: &Ended) {
        let conns = self.lock().of_sessions(|session| ended.contains(session));
        self.end(conns);
    }

    fn end(&self, conns: Vec<ConnId>) {
        if let Some(shards) = self.shards.get() {
            shards.notes(conns.into_iter().map(|conn| (conn, Note::Ended)));
        }
    }

    fn deliver(&self, deliveries: Vec<Delivery>) {
        if let (Some(shards), false) = (self.shards.get(), deliveries.is_empty()) {
            shards.deliver(deliveries);
        }
    }

    fn events(&self, events: &[Event], to: &[UserId], deliveries: &mut Vec<Delivery>) {
        let Some(first) = events.first() else { return };
        if first.name == EventName::Presence {
            return self.presence(first, to, deliveries);
        }
        let receivers = self.lock().receivers(to);
        let passed = self.judge(events);
        if let Some((conversation, place)) = passed.hole {
            metrics::counter!("rookery_resyncs_total", "why" => "hole").increment(1);
            tracing::debug!(conversation.id = %conversation, place = place.0, "events are missing; those concerned read again");
            push(deliveries, resync_frame(&[conversation]), 0, Class::Durable, receivers.everybody());
        }
        let class =
            if matches!(first.position, Position::Ephemeral { .. }) { Class::Ephemeral } else { Class::Durable };
        if !receivers.all.is_empty() && !passed.events.is_empty() {
            let mut bytes = BytesMut::with_capacity(passed.events.iter().map(|event| event.data.len() + 160).sum());
            passed.events.iter().for_each(|event| append_event(&mut bytes, event));
            push(deliveries, bytes.freeze(), passed.events.len() as u32, class, receivers.all.into());
        }
        // Sessions that have chosen their events get them one by one.
        for event in passed.events.iter().filter(|_| !receivers.narrowed.is_empty()) {
            let chosen: Vec<ConnId> = receivers
                .narrowed
                .iter()
                .filter(|(_, choice)| choice & event.name.bit() != 0)
                .map(|(conn, _)| *conn)
                .collect();
            push(deliveries, event_frame(event), 1, class, chosen.into());
        }
    }

    /// What of these events is new here, and where something is missing before them.
    fn judge<'a>(&self, events: &'a [Event]) -> Passed<'a> {
        let mut passed = Passed { events: Vec::with_capacity(events.len()), hole: None };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let Some((conversation, place)) = event.position.place() else {
                passed.events.push(event);
                continue;
            };
            match places.pass(conversation, place) {
                Verdict::Next => passed.events.push(event),
                Verdict::Hole => {
                    passed.hole = Some((conversation, place));
                    passed.events.push(event);
                }
                Verdict::Old => metrics::counter!("rookery_hub_repeated_events_total").increment(1),
            }
        }
        passed
    }

    fn presence(&self, event: &Event, about: &[UserId], deliveries: &mut Vec<Delivery>) {
        let Ok(PresenceNow { online }) = serde_json::from_slice(&event.data) else { return };
        let watchers: Vec<ConnId> = {
            let mut sessions = self.lock();
            about.iter().flat_map(|user| sessions.presence(*user, online)).collect()
        };
        push(deliveries, event_frame(event), 1, Class::Ephemeral, watchers.into());
    }

    /// Tells the watchers here how somebody is, unless they were told so last.
    pub fn tell_presence(&self, user: UserId, event: &Event) {
        let mut deliveries = vec![];
        self.presence(event, &[user], &mut deliveries);
        self.deliver(deliveries);
    }

    /// An event for one socket, after whatever it was told before.
    pub fn send(&self, conn: ConnId, event: &Event) {
        let mut deliveries = vec![];
        push(&mut deliveries, event_frame(event), 1, Class::Ephemeral, [conn].into());
        self.deliver(deliveries);
    }

    /// What a socket that has just been answered with `found` has to hear after it: those of whom others were told
    /// something else, because it came later than the look.
    pub fn presence_since(&self, found: &[(UserId, bool)]) -> Vec<(UserId, bool)> {
        let mut sessions = self.lock();
        let told = found.iter().map(|(user, online)| (*user, *online, sessions.presence_told(*user, *online)));
        told.filter(|(_, found, told)| found != told).map(|(user, _, told)| (user, told)).collect()
    }

    /// Those of these people of whom the watchers here were told something else last.
    pub fn presence_differs(&self, now: &[(UserId, bool)]) -> Vec<(UserId, bool)> {
        let mut sessions = self.lock();
        let differs = now.iter().filter(|(user, online)| sessions.presence_told(*user, *online) != *online);
        differs.copied().collect()
    }

    fn resync(&self, conversation: Option<(ConversationId, Place)>, to: &[UserId], deliveries: &mut Vec<Delivery>) {
        let frame = match conversation {
            Some((conversation, place)) => {
                let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
                // Passed on already, by the way it was meant to come.
                if !places.resync(conversation, place) {
                    return;
                }
                resync_frame(&[conversation])
            }
            None => resync_frame(&[]),
        };
        metrics::counter!("rookery_resyncs_total", "why" => "relay").increment(1);
        let receivers = self.lock().receivers(to);
        push(deliveries, frame, 0, Class::Durable, receivers.everybody());
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a presence event that its last stop has to know.
#[derive(Deserialize)]
struct PresenceNow {
    online: bool,
}

struct Passed<'a> {
    events: Vec<&'a Event>,
    hole: Option<(ConversationId, Place)>,
}

fn push(deliveries: &mut Vec<Delivery>, bytes: Bytes, events: u32, class: Class, to: Arc<[ConnId]>) {
    if !to.is_empty() {
        deliveries.push(Delivery { bytes, events, class, to });
    }
}
