//! Sessions that have ended while a token of theirs may still be in somebody's hands: refused on every way in. Loaded at
//! start and after a loss, added to by the inbox and at once by this gateway's own endpoints; a look costs no query.

use shared::{
    clock,
    domain::SessionId,
    store::{self, Store},
};
use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

/// Sessions remembered at most (48 MiB). More than that ended within one access-token life is an attack or a life of
/// months; then the ones soonest forgotten anyway go first, which the log says.
const ENDED_MAX: usize = 1_000_000;

pub struct Ended {
    /// When the last token of the session is over.
    sessions: RwLock<HashMap<SessionId, Instant>>,
    keep: Duration,
    max: usize,
}

impl Ended {
    /// `access_life`: how long a token may outlive its session; the leeway of its check is added here.
    pub fn new(access_life: Duration) -> Self {
        Self { sessions: RwLock::default(), keep: access_life + crate::auth::LEEWAY * 2, max: ENDED_MAX }
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).contains_key(&session)
    }

    pub fn insert(&self, ended: &[SessionId]) {
        self.insert_at(ended, clock::monotonic());
    }

    fn insert_at(&self, ended: &[SessionId], now: Instant) {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        // Growing is the moment to look who can be forgotten: each entry is looked at a constant number of times.
        if sessions.len() + ended.len() > sessions.capacity() {
            sessions.retain(|_, until| *until > now);
        }
        sessions.extend(ended.iter().map(|session| (*session, now + self.keep)));
        if sessions.len() > self.max {
            tracing::error!(limit = self.max, "too many ended sessions to remember: the earliest are forgotten");
            let surplus = sessions.len() - self.max + self.max / 16;
            let mut all: Vec<(Instant, SessionId)> =
                sessions.iter().map(|(session, until)| (*until, *session)).collect();
            all.select_nth_unstable(surplus - 1);
            for (_, session) in &all[..surplus] {
                sessions.remove(session);
            }
        }
        metrics::gauge!("rookery_ended_sessions").set(sessions.len() as f64);
    }

    /// Reads from PostgreSQL what ended within one access-token life. What is here stays: nothing un-ends a session.
    pub async fn reload(&self, store: &Store) -> store::Result<()> {
        let ended = store.list_ended_sessions(self.keep).await?;
        self.insert(&ended);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_session_is_remembered_for_a_tokens_life() {
        let ended = Ended::new(Duration::from_secs(60));
        let (first, start) = (SessionId::new(), clock::monotonic());
        ended.insert_at(&[first], start);
        assert!(ended.contains(first));
        assert!(!ended.contains(SessionId::new()));
        let others: Vec<_> = (0..1000).map(|_| SessionId::new()).collect();
        ended.insert_at(&others, start + Duration::from_secs(50));
        assert!(ended.contains(first), "a token of it may live another twenty seconds");
        let others: Vec<_> = (0..10_000).map(|_| SessionId::new()).collect();
        ended.insert_at(&others, start + Duration::from_secs(80));
        assert!(!ended.contains(first));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_remembered() {
        let ended = Ended { max: 1000, ..Ended::new(Duration::from_secs(60)) };
        let start = clock::monotonic();
        let all: Vec<_> = (0..5000).map(|_| SessionId::new()).collect();
        ended.insert_at(&all, start);
        ended.insert_at(&all[..500], start + Duration::from_secs(1));
        assert!(ended.sessions.read().unwrap().len() <= 1000);
        assert!(all[..500].iter().all(|session| ended.contains(*session)));
    }
}
