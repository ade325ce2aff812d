//! What every part of a gateway shares: held as `Arc<App>`, made in one place.

use crate::{
    auth::{Passwords, RefreshTokens, Tickets, Tokens},
    batcher::Batcher,
    ended::Ended,
    epoch::Epoch,
    hub::Hub,
    limits::Limits,
    presence::Presence,
    queries::Queries,
    routes::{Routes, Words},
};
use shared::{
    bus::Bus,
    config::{Config, ConfigError},
    domain::SessionId,
    fanout::Fanout,
    routing::Routing,
    store::{self, Store},
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
    pub epoch: Epoch,
    pub hub: Arc<Hub>,
    pub batcher: Arc<Batcher>,
    pub routes: Routes,
    pub fanout: Arc<Fanout>,
    pub presence: Presence,
    pub queries: Queries,
    /// Renders what `/metrics` shows; none in tests that do not look.
    pub metrics: Option<Metrics>,
}

pub type Metrics = Box<dyn Fn() -> String + Send + Sync>;

/// What besides PostgreSQL must be there before a balancer should send anybody here. Whoever holds the part says so.
#[derive(Default)]
pub struct Readiness {
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
    /// Starts nothing. The words are for `routes::run`.
    pub fn new(
        config: Config,
        store: Store,
        bus: Arc<dyn Bus>,
        routing: Arc<dyn Routing>,
    ) -> Result<(Self, Words), ConfigError> {
        let ended = Arc::new(Ended::new(config.auth.access_life));
        let hub = Arc::new(Hub::default());
        let batcher = Arc::new(Batcher::new(bus, config.edge.window));
        let (routes, words) = Routes::new(hub.clone());
        let fanout = Arc::new(Fanout::new(store.clone(), routing.clone()));
        let secret = config.auth.secret.expose().as_bytes();
        let app = Self {
            tokens: Tokens::new(&config.auth, ended.clone())?,
            tickets: Tickets::new(secret, ended.clone(), routing.clone()),
            refresh_tokens: RefreshTokens::new(&config.auth),
            passwords: Passwords::new(&config.auth),
            limits: Limits::new(&config.limits, secret, routing),
            ended,
            readiness: Readiness::default(),
            queries: Queries::new(store.clone()),
            epoch: Epoch::default(),
            presence: Presence::new(store.clone(), fanout.clone(), batcher.clone()),
            hub,
            batcher,
            routes,
            fanout,
            metrics: None,
            store,
            config,
        };
        Ok((app, words))
    }

    /// Sessions that this gateway has ended, or has heard of: their tokens are refused from now on, their sockets close.
    pub fn sessions_ended(&self, sessions: &[SessionId]) {
        self.ended.insert(sessions);
        self.hub.close_sessions(sessions);
    }

    /// The same for everything that PostgreSQL says has ended lately.
    pub async fn read_ended(&self) -> store::Result<()> {
        self.ended.reload(&self.store).await?;
        self.hub.close_ended(&self.ended);
        Ok(())
    }
}
