//! Who is here: a person's sockets, a session's sockets, and who watches whom. Kept small: every idle socket pays for it.

use crate::shard::ConnId;
use shared::domain::{SessionId, UserId};
use smallvec::SmallVec;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// A socket that may get events.
#[derive(Clone, Copy, Debug)]
pub struct SessionRef {
    pub conn: ConnId,
    pub session: SessionId,
    /// The events it wants, a bit each (`EventName::bit`); all bits: everything.
    pub choice: u64,
}

#[derive(Default)]
pub struct Sessions {
    users: HashMap<UserId, SmallVec<[SessionRef; 1]>>,
    watched: HashMap<UserId, Watched>,
}

/// Somebody whose presence sockets here want to hear of.
#[derive(Default)]
struct Watched {
    by: Vec<ConnId>,
    /// What they were last told.
    online: Option<bool>,
}

/// The sockets of some people.
#[derive(Default)]
pub struct Receivers {
    pub all: Vec<ConnId>,
    /// Those that have chosen their events, with the choice.
    pub narrowed: Vec<(ConnId, u64)>,
}

impl Receivers {
    pub fn everybody(&self) -> Arc<[ConnId]> {
        self.all.iter().copied().chain(self.narrowed.iter().map(|(conn, _)| *conn)).collect()
    }
}

impl Sessions {
    pub fn add(&mut self, user: UserId, session: SessionRef) -> bool {
        let sessions = self.users.entry(user).or_default();
        sessions.push(session);
        sessions.len() == 1
    }

    pub fn remove(&mut self, user: UserId, conn: ConnId) -> bool {
        let Entry::Occupied(mut sessions) = self.users.entry(user) else { return false };
        sessions.get_mut().retain(|session| session.conn != conn);
        let last = sessions.get().is_empty();
        if last {
            sessions.remove();
        }
        last
    }

    pub fn holds(&self, user: UserId) -> bool {
        self.users.contains_key(&user)
    }

    pub fn users(&self) -> Vec<UserId> {
        self.users.keys().copied().collect()
    }

    /// Sorted by shard, as `Shards::deliver` likes them.
    pub fn receivers(&self, users: &[UserId]) -> Receivers {
        let mut receivers = Receivers { all: Vec::with_capacity(users.len()), narrowed: vec![] };
        for session in users.iter().filter_map(|user| self.users.get(user)).flatten() {
            match session.choice {
                u64::MAX => receivers.all.push(session.conn),
                choice => receivers.narrowed.push((session.conn, choice)),
            }
        }
        receivers.all.sort_unstable();
        receivers
    }

    /// A look at everybody: sessions end rarely, and a second index would cost each socket sixty bytes.
    pub fn of_session(&self, session: SessionId) -> Vec<ConnId> {
        self.of_sessions(|there| there == session)
    }

    pub fn of_sessions(&self, wanted: impl Fn(SessionId) -> bool) -> Vec<ConnId> {
        self.users.values().flatten().filter(|there| wanted(there.session)).map(|there| there.conn).collect()
    }

    pub fn watch(&mut self, conn: ConnId, users: &[UserId]) {
        for user in users {
            let watched = self.watched.entry(*user).or_default();
            if !watched.by.contains(&conn) {
                watched.by.push(conn);
            }
        }
    }

    pub fn unwatch(&mut self, conn: ConnId, users: &[UserId]) -> Vec<UserId> {
        let mut unwatched = vec![];
        for user in users {
            let Entry::Occupied(mut watched) = self.watched.entry(*user) else { continue };
            watched.get_mut().by.retain(|watcher| *watcher != conn);
            if watched.get().by.is_empty() {
                watched.remove();
                unwatched.push(*user);
            }
        }
        unwatched
    }

    /// Sockets that watch this person, and this person's own.
    pub fn watching(&self, user: UserId) -> (Vec<ConnId>, Vec<ConnId>) {
        let by = self.watched.get(&user).map_or_else(Vec::new, |watched| watched.by.clone());
        let own =
            self.users.get(&user).map_or_else(Vec::new, |sessions| sessions.iter().map(|there| there.conn).collect());
        (by, own)
    }

    pub fn watched(&self) -> Vec<UserId> {
        self.watched.keys().copied().collect()
    }

    pub fn is_watched(&self, user: UserId) -> bool {
        self.watched.contains_key(&user)
    }

    /// Who is to be told that this person is online now, or not any more: nobody where all were told so last.
    pub fn presence(&mut self, user: UserId, online: bool) -> Vec<ConnId> {
        match self.watched.get_mut(&user) {
            Some(watched) if watched.online != Some(online) => {
                watched.online = Some(online);
                watched.by.clone()
            }
            _ => vec![],
        }
    }

    /// What those who watch this person were told last; `found` where that was nothing yet.
    pub fn presence_told(&mut self, user: UserId, found: bool) -> bool {
        match self.watched.get_mut(&user) {
            Some(watched) => *watched.online.get_or_insert(found),
            None => found,
        }
    }
}
