//! One connection to RabbitMQ, made again whenever it breaks, after pauses that grow. The driver's own recovery is not
//! used: it hides the break, and with it that deliveries come again and that a publication's fate is unknown.

use super::dial::{Dial, Line};
use crate::{
    bus::{BusState, BusStatus},
    clock,
    lifecycle::Backoff,
};
use futures_util::{Stream, StreamExt};
use lapin::{Connection, Error, Event};
use metrics::{Counter, Gauge, counter, gauge};
use std::{
    io, mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// For what a connection needs before it is used: channels, queues.
const SETUP_MAX: Duration = Duration::from_secs(5);
/// Between two tries at most: a broker that is back is to be used soon.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A connection that lasted this long broke for a new reason: the pauses begin small again.
const SETTLED: Duration = Duration::from_secs(5);
/// For a farewell; then the connection is cut.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// The driver tells of most ends at once; of those that it does not tell, its status does.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is made for each connection, of what the process wants.
pub(super) trait Parts: Send + Sync + Sized + 'static {
    type Wants: Send + Sync + 'static;

    fn set_up(connection: &Connection, wants: &Self::Wants) -> impl Future<Output = Result<Self, Error>> + Send;

    /// False: one of them is gone, and the connection has to be made anew.
    fn are_intact(&self) -> bool;
}

/// Whoever uses the connection makes what he needs.
impl Parts for () {
    type Wants = ();

    async fn set_up(_: &Connection, (): &()) -> Result<Self, Error> {
        Ok(())
    }

    fn are_intact(&self) -> bool {
        true
    }
}

/// An open connection with its parts. It ends with the last of those who use it.
pub(super) struct Live<P> {
    connection: Option<Connection>,
    line: Line,
    why_cut: OnceLock<&'static str>,
    runtime: Handle,
    parts: P,
}

impl<P> Live<P> {
    pub fn parts(&self) -> &P {
        &self.parts
    }

    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("cannot fail because only the drop takes it")
    }

    pub fn is_open(&self) -> bool {
        self.connection().status().connected()
    }

    /// The broker has stopped reading from this connection.
    pub fn is_blocked(&self) -> bool {
        self.connection().status().blocked()
    }

    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends it at once, and all that waits on it; another one is made.
    pub fn cut(&self, why: &'static str) {
        let _ = self.why_cut.set(why);
        self.line.cut();
    }
}

impl<P> Drop for Live<P> {
    fn drop(&mut self) {
        let (connection, line) = (self.connection.take(), mem::take(&mut self.line));
        match connection {
            Some(connection) if connection.status().connected() => {
                self.runtime.spawn(async move {
                    let _ = timeout(GOODBYE_MAX, connection.close(200, "OK".into())).await;
                    line.cut();
                });
            }
            _ => line.cut(),
        }
    }
}

/// Dropping it ends the making; the connection itself lasts as long as somebody uses it.
pub(super) struct Link<P> {
    current: Arc<watch::Sender<Option<Arc<Live<P>>>>>,
    status: Arc<watch::Sender<BusStatus>>,
    _keeper: AbortOnDropHandle<()>,
}

impl<P: Parts> Link<P> {
    pub fn start(purpose: &'static str, dial: Dial, runtime: &Handle, wants: P::Wants) -> Self {
        let current = Arc::new(watch::Sender::new(None));
        let status = Arc::new(watch::Sender::new(BusStatus { state: BusState::Away, interruptions: 0 }));
        let keeper = Keeper {
            dial,
            wants,
            purpose,
            current: current.clone(),
            status: status.clone(),
            away: None,
            up: gauge!("rookery_bus_up", "connection" => purpose),
            blocked: gauge!("rookery_bus_blocked", "connection" => purpose),
            reconnects: counter!("rookery_bus_reconnects_total", "connection" => purpose),
        };
        Self { current, status, _keeper: AbortOnDropHandle::new(runtime.spawn(keeper.run())) }
    }

    /// The connection, where there is one.
    pub fn live(&self) -> Option<Arc<Live<P>>> {
        self.current.borrow().clone().filter(|live| live.is_open())
    }

    /// The connection, as soon as there is one.
    pub async fn wait(&self) -> Arc<Live<P>> {
        let mut current = self.current.subscribe();
        loop {
            if let Some(live) = self.live() {
                return live;
            }
            let _ = current.changed().await;
        }
    }

    pub fn status(&self) -> &watch::Sender<BusStatus> {
        &self.status
    }
}

struct Keeper<P: Parts> {
    dial: Dial,
    wants: P::Wants,
    purpose: &'static str,
    current: Arc<watch::Sender<Option<Arc<Live<P>>>>>,
    status: Arc<watch::Sender<BusStatus>>,
    /// Since when, if it is; that has been said.
    away: Option<Instant>,
    up: Gauge,
    blocked: Gauge,
    reconnects: Counter,
}

type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

impl<P: Parts> Keeper<P> {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            match self.make().await {
                Ok((live, events)) => {
                    let begun = clock::monotonic();
                    self.current.send_replace(Some(live.clone()));
                    self.say_it_is_here();
                    let why = self.watch(&live, events).await;
                    self.current.send_replace(None);
                    // Whoever waits on it hears now, not when the kernel finds out.
                    live.cut("it broke");
                    self.reconnects.increment(1);
                    // In one step: who hears of it publishes again when the state is up, and must not think that it is.
                    self.status.send_modify(|status| {
                        *status = BusStatus { state: BusState::Away, interruptions: status.interruptions + 1 };
                    });
                    self.say_it_is_away(&why);
                    if begun.elapsed() >= SETTLED {
                        backoff.reset();
                    }
                }
                Err(error) => self.say_it_is_away(&error.to_string()),
            }
            tokio::time::sleep(backoff.next().min(PAUSE_MAX)).await;
        }
    }

    async fn make(&self) -> Result<(Arc<Live<P>>, Events), Error> {
        let (connection, line) = self.dial.connect().await?;
        // Before anything else is asked of it, so that no event is missed.
        let events = Box::pin(connection.events_listener());
        let late = || Error::from(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
        match timeout(SETUP_MAX, P::set_up(&connection, &self.wants)).await.unwrap_or_else(|_| Err(late())) {
            Ok(parts) => {
                let (why_cut, runtime) = (OnceLock::new(), Handle::current());
                Ok((Arc::new(Live { connection: Some(connection), line, why_cut, runtime, parts }), events))
            }
            Err(error) => {
                line.cut();
                Err(error)
            }
        }
    }

    /// Until it is lost; returns why.
    async fn watch(&self, live: &Live<P>, mut events: Events) -> String {
        loop {
            let event = timeout(LOOK_EVERY, events.next()).await;
            match &event {
                Ok(Some(Event::ConnectionBlocked(why))) => {
                    self.be(BusState::Blocked);
                    tracing::warn!(connection = self.purpose, why, "RabbitMQ has stopped taking messages");
                }
                Ok(Some(Event::ConnectionUnblocked)) => {
                    self.be(BusState::Up);
                    tracing::info!(connection = self.purpose, "RabbitMQ takes messages again");
                }
                _ => {}
            }
            if live.is_open() && live.parts.are_intact() {
                continue;
            }
            return match (live.why_cut.get(), event) {
                (Some(why), _) => (*why).to_owned(),
                (None, Ok(Some(Event::Error(error)))) => error.to_string(),
                _ => "the connection has ended".to_owned(),
            };
        }
    }

    fn be(&self, state: BusState) {
        self.up.set(f64::from(state != BusState::Away));
        self.blocked.set(f64::from(state == BusState::Blocked));
        self.status.send_modify(|status| status.state = state);
    }

    fn say_it_is_here(&mut self) {
        self.be(BusState::Up);
        match self.away.take() {
            Some(since) => {
                let away_ms = since.elapsed().as_millis() as u64;
                tracing::info!(connection = self.purpose, away_ms, "RabbitMQ is back");
            }
            None => tracing::debug!(connection = self.purpose, "RabbitMQ is connected"),
        }
    }

    /// Once for each time that it is.
    fn say_it_is_away(&mut self, error: &str) {
        self.be(BusState::Away);
        if self.away.is_none() {
            self.away = Some(clock::monotonic());
            tracing::warn!(connection = self.purpose, error, "RabbitMQ is away; trying again");
        } else {
            tracing::debug!(connection = self.purpose, error, "RabbitMQ is still away");
        }
    }
}
