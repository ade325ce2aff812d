//! Whether this process can do its work, looked at again and again: PostgreSQL, RabbitMQ, Redis, and what the process
//! itself has still to do. The probe answers from here without waiting; each change is logged once, and told the launcher
//! if there is one.

use crate::say;
use shared::{
    bus::{Bus, BusState},
    clock,
    lifecycle::Stop,
    probe::Ready,
    routing::Routing,
    store::Store,
};
use std::{
    fmt::Display,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// A service that does not answer within this is away.
const ANSWER: Duration = Duration::from_secs(2);
/// From one look to the next; shorter while something has been missing for less than `SOON`, so that a start is quick.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_SHORT: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(10);

/// What is missing in the first moments of a process, while it connects, is not told.
const QUIET: Duration = Duration::from_secs(1);
const STARTING: &str = "it is starting";

/// What is not there.
#[derive(Clone)]
struct Missing {
    what: &'static str,
    /// For people; may differ from one look to the next.
    why: String,
}

impl Missing {
    fn new(what: &'static str) -> Self {
        Self { what, why: what.to_owned() }
    }
}

type Own = dyn Fn() -> Option<&'static str> + Send + Sync;

pub struct Readiness {
    /// Nothing: ready. Otherwise in words what is missing.
    words: Mutex<Option<String>>,
    /// What this process has still to do before it can serve.
    waits_for: Mutex<Option<Missing>>,
    /// The same, asked at each look once it serves.
    own: OnceLock<Box<Own>>,
    told: bool,
}

impl Readiness {
    /// `told`: a launcher reads standard output.
    pub fn new(told: bool) -> Arc<Self> {
        let waits_for = Mutex::new(Some(Missing::new(STARTING)));
        Arc::new(Self { words: Mutex::new(Some(STARTING.to_owned())), waits_for, own: OnceLock::new(), told })
    }

    /// It cannot go on before this is there: `why` in words.
    pub fn waits_for(&self, what: &'static str, why: impl Display) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(Missing { what, why: why.to_string() });
    }

    /// It serves; `own` says what it lacks from now on.
    pub fn serves(&self, own: impl Fn() -> Option<&'static str> + Send + Sync + 'static) {
        let first = self.own.set(Box::new(own)).is_ok();
        debug_assert!(first, "a process begins to serve once");
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For the probe.
    pub fn answer(self: &Arc<Self>) -> Arc<Ready> {
        let this = self.clone();
        Arc::new(move || this.words.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err))
    }

    /// Looks until the stop, and is never ready again after it.
    pub async fn watch(self: Arc<Self>, store: Store, bus: Arc<dyn Bus>, routing: Arc<dyn Routing>, stop: Stop) {
        let (begun, mut changed) = (clock::monotonic(), clock::monotonic());
        // What was told last; nothing yet.
        let mut told: Option<Vec<&'static str>> = None;
        while !stop.is_stopped() {
            let missing = tokio::select! {
                missing = self.look(&store, &*bus, &*routing) => missing,
                () = stop.stopped() => break,
            };
            let words: Vec<&str> = missing.iter().map(|missing| missing.why.as_str()).collect();
            let words = (!words.is_empty()).then(|| words.join("; "));
            *self.words.lock().unwrap_or_else(PoisonError::into_inner) = words.clone();
            let now: Vec<&'static str> = missing.iter().map(|missing| missing.what).collect();
            let is_ready = now.is_empty();
            let is_news = told.as_ref() != Some(&now);
            if is_news && (is_ready || told.is_some() || begun.elapsed() >= QUIET) {
                self.tell(words.as_deref());
                (told, changed) = (Some(now), clock::monotonic());
            }
            stop.sleep(if !is_ready && changed.elapsed() < SOON { PAUSE_SHORT } else { PAUSE }).await;
        }
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = Some("it is draining".to_owned());
    }

    fn tell(&self, missing: Option<&str>) {
        match missing {
            None => tracing::info!("ready"),
            Some(why) => tracing::warn!(why, "not ready"),
        }
        if self.told {
            say::line(missing.map_or("ready".to_owned(), |why| format!("not ready: {why}")));
        }
    }

    async fn look(&self, store: &Store, bus: &dyn Bus, routing: &dyn Routing) -> Vec<Missing> {
        let (postgres, redis) =
            tokio::join!(asked("PostgreSQL is away", store.ping()), asked("Redis is away", routing.gateways()));
        let rabbit = match bus.state() {
            BusState::Up => None,
            BusState::Blocked => Some("RabbitMQ takes nothing: it is short of memory or disk"),
            BusState::Away => Some("RabbitMQ is away"),
        };
        let mut missing: Vec<Missing> = postgres.into_iter().chain(rabbit.map(Missing::new)).chain(redis).collect();
        // What the process itself waits for follows from what is away; by itself it is news.
        if missing.is_empty() {
            let waits_for = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let own = || self.own.get().and_then(|own| own()).map(Missing::new);
            missing.extend(waits_for.or_else(own));
        }
        missing
    }
}

async fn asked<T, E: Display>(what: &'static str, question: impl Future<Output = Result<T, E>>) -> Option<Missing> {
    let why = match tokio::time::timeout(ANSWER, question).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => format!("{what} ({error})"),
        Err(_) => format!("{what} (no answer within {} s)", ANSWER.as_secs()),
    };
    Some(Missing { what, why })
}
