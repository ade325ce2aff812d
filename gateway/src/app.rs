//! What every part of a gateway shares: held as `Arc<App>`, made in one place.

use crate::{
    auth::{Passwords, RefreshTokens, Tickets, Tokens},
    ended::Ended,
    limits::Limits,
};
use shared::{
    config::{Config, ConfigError},
    domain::SessionId,
    store::Store,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub struct App {
    pub config: Config,
    pub store: Store,
    pub tokens: Tokens,
    pub tickets: Tickets,
    pub refresh_tokens: RefreshTokens,
    pub passwords: Passwords,
    pub limits: Limits,
    pub ended: Arc<Ended>,
    pub readiness: Readiness,
    /// Renders what `/metrics` shows; none in tests that do not look.
    pub metrics: Option<Metrics>,
}

pub type Metrics = Box<dyn Fn() -> String + Send + Sync>;

/// What besides PostgreSQL must be there before a balancer should send anybody here. Whoever holds the part says so.
#[derive(Default)]
pub struct Readiness {
    pub bus: AtomicBool,
    pub routing: AtomicBool,
    /// Set at the first signal to stop.
    pub draining: AtomicBool,
    /// When PostgreSQL was last asked, and how long it took to answer, if it did.
    pub last_ping: tokio::sync::Mutex<Option<(Instant, Option<Duration>)>>,
}

impl Readiness {
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl App {
    pub fn new(config: Config, store: Store) -> Result<Self, ConfigError> {
        let ended = Arc::new(Ended::new(config.auth.access_life));
        Ok(Self {
            tokens: Tokens::new(&config.auth, ended.clone())?,
            tickets: Tickets::new(config.auth.secret.expose().as_bytes(), ended.clone()),
            refresh_tokens: RefreshTokens::new(&config.auth),
            passwords: Passwords::new(&config.auth),
            limits: Limits::new(&config.limits),
            ended,
            readiness: Readiness::default(),
            metrics: None,
            store,
            config,
        })
    }

    /// Sessions that this gateway has ended, or has heard of: their tokens and sockets are refused from now on.
    pub fn sessions_ended(&self, sessions: &[SessionId]) {
        self.ended.insert(sessions);
    }
}
