//! The one task that talks to the routing about this gateway.

mod compare;

use super::{Word, Words, outage::Outage};
use crate::{app::App, session::Note, shard::ConnId};
use shared::{
    clock,
    command::GatewayRef,
    domain::{GatewayId, SessionId, UserId},
    fanout::presence,
    lifecycle::{Backoff, Stop},
    routing::{Inbox, RENEWAL, Routing, RoutingAway},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Words taken at once: they become one call.
const WORDS_MAX: usize = 1024;
const GRACE_LOOK: Duration = Duration::from_millis(200);
const COMPARE_EVERY: Duration = Duration::from_secs(300);
/// Somebody who seems to have gone may be about to be written again, after a loss that all gateways are mending.
const GONE_FOR: Duration = Duration::from_secs(3);

struct Registrar {
    app: Arc<App>,
    routing: Arc<dyn Routing>,
    id: GatewayId,
    me: Option<GatewayRef>,
    /// Everybody whose route is written.
    routed: HashSet<UserId>,
    outage: Outage,
    /// Whose last session has left, and when the route goes; in the order of time, with the last word on each.
    leaving: VecDeque<(Instant, UserId)>,
    leaves_at: HashMap<UserId, Instant>,
    seen: Vec<SessionId>,
    reader: Option<JoinHandle<()>>,
    /// Reads which sessions have ended, where that could not be read at once.
    ended: Option<JoinHandle<()>>,
    /// Compares what watchers were told with what is so.
    looking: Option<JoinHandle<()>>,
}

/// Until the hard stop: at a soft one sessions are still leaving.
pub async fn run(app: Arc<App>, id: GatewayId, mut words: Words, stop: Stop) {
    let routing = app.fanout.routing().clone();
    let mut registrar = Registrar {
        app,
        routing,
        id,
        me: None,
        routed: HashSet::new(),
        outage: Outage::default(),
        leaving: VecDeque::new(),
        leaves_at: HashMap::new(),
        seen: vec![],
        reader: None,
        ended: None,
        looking: None,
    };
    let mut backoff = Backoff::default();
    let mut join_at = clock::monotonic();
    let mut compare_at = clock::monotonic() + COMPARE_EVERY;
    let mut renew = tokio::time::interval(RENEWAL);
    let mut grace = tokio::time::interval(GRACE_LOOK);
    // An announcement can be lost with what carries it; nobody shall believe it for longer than a heartbeat.
    let mut look = tokio::time::interval(registrar.app.config.edge.heartbeat);
    let mut taken = Vec::with_capacity(WORDS_MAX);
    loop {
        if registrar.me.is_none() && clock::monotonic() >= join_at {
            let joined = registrar.join().await;
            registrar.say(&joined);
            if joined.is_err() {
                registrar.lost();
                join_at = clock::monotonic() + backoff.next();
            } else {
                backoff.reset();
            }
        }
        tokio::select! {
            _ = words.0.recv_many(&mut taken, WORDS_MAX) => registrar.words(std::mem::take(&mut taken)).await,
            _ = renew.tick() => registrar.renew().await,
            _ = grace.tick() => registrar.expire().await,
            _ = look.tick() => registrar.look_at_presence(),
            () = stop.ended() => break,
        }
        if clock::monotonic() >= compare_at {
            registrar.compare().await;
            compare_at = clock::monotonic() + COMPARE_EVERY;
        }
    }
    if let Some(me) = registrar.me
        && let Err(away) = registrar.routing.leave(me).await
    {
        tracing::debug!(error = %away, "the lease ends by itself");
    }
}

impl Registrar {
    /// A new epoch and inbox; then all routes, all unanswered commands, all sessions.
    async fn join(&mut self) -> Result<(), RoutingAway> {
        let (me, inbox) = self.routing.join(self.id).await?;
        let mut users = self.app.hub.users();
        users.extend(self.leaving.iter().map(|(_, user)| *user));
        self.routing.add_routes(me, users.clone()).await?;
        self.routing.watch(me, self.app.hub.watched()).await?;
        self.routed = users.iter().copied().collect();
        self.me = Some(me);
        self.app.readiness.routing.store(true, Ordering::Relaxed);
        self.reader = Some(tokio::spawn(read(self.app.clone(), me, inbox)));
        self.app.batcher.joined(me);
        self.read_ended().await;
        self.app.hub.resync_all();
        // All of them: a worker may have found the lease over, and said that they are gone.
        self.announce(users);
        tracing::info!(gateway.id = %me.id, epoch = me.epoch, "joined");
        Ok(())
    }

    fn say(&mut self, joined: &Result<(), RoutingAway>) {
        let now = clock::monotonic();
        match joined {
            Ok(()) => {
                if let Some(away) = self.outage.over(now) {
                    tracing::info!(away_ms = away.as_millis() as u64, "the routing is back");
                }
            }
            Err(error) if self.outage.missed(now) => {
                tracing::warn!(%error, "sessions get no events until they are routed again");
            }
            Err(error) => tracing::debug!(%error, "sessions are not routed yet"),
        }
    }

    /// What ended while nobody could tell us: refused from now on, and closed. Tried once before anybody is answered; with
    /// PostgreSQL away it goes on behind.
    async fn read_ended(&mut self) {
        if let Some(earlier) = self.ended.take() {
            earlier.abort();
        }
        let Err(error) = self.app.read_ended().await else { return };
        tracing::warn!(%error, "ended sessions cannot be read; those known so far are refused");
        let app = self.app.clone();
        self.ended = Some(tokio::spawn(async move {
            let mut backoff = Backoff::default();
            while app.read_ended().await.is_err() {
                tokio::time::sleep(backoff.next()).await;
            }
        }));
    }

    fn lost(&mut self) {
        self.me = None;
        self.app.readiness.routing.store(false, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }

    fn inbox_lost(&mut self, why: &str) {
        tracing::warn!(why, "the inbox was lost; joining anew");
        metrics::counter!("rookery_inbox_lost_total").increment(1);
        self.lost();
    }

    async fn words(&mut self, words: Vec<Word>) {
        let mut came: Vec<(UserId, ConnId)> = vec![];
        let mut unwatched = vec![];
        for word in words {
            match word {
                Word::Came { user, conn } => came.push((user, conn)),
                Word::Left { user, session, last } => {
                    self.seen.push(session);
                    if last {
                        let at = clock::monotonic() + self.app.config.edge.presence_grace;
                        self.leaving.push_back((at, user));
                        self.leaves_at.insert(user, at);
                    }
                }
                Word::Unwatched(users) => unwatched.extend(users),
                // The renewal may have said so before.
                Word::InboxLost { of, why } if self.me == Some(of) => self.inbox_lost(&why),
                Word::InboxLost { .. } => {}
            }
        }
        if let (Some(me), false) = (self.me, unwatched.is_empty()) {
            // One that is not unwatched costs an event to a gateway that drops it.
            let _ = self.routing.unwatch(me, unwatched.clone()).await;
            // Somebody may have begun to watch them meanwhile, whose word to the routing came before this one.
            let again = self.app.hub.still_watched(unwatched);
            if !again.is_empty() {
                let _ = self.routing.watch(me, again).await;
            }
        }
        self.came(came).await;
    }

    async fn came(&mut self, came: Vec<(UserId, ConnId)>) {
        if came.is_empty() {
            return;
        }
        let mut new: Vec<UserId> =
            came.iter().map(|(user, _)| *user).filter(|user| !self.routed.contains(user)).collect();
        new.sort_unstable();
        new.dedup();
        let live = match self.me {
            None => false,
            Some(_) if new.is_empty() => true,
            Some(me) => match self.routing.add_routes(me, new.clone()).await {
                Ok(online) => {
                    self.routed.extend(new);
                    self.announce(online);
                    true
                }
                Err(away) => {
                    tracing::warn!(error = %away, "routes cannot be written; joining anew");
                    self.lost();
                    false
                }
            },
        };
        if let Some(shards) = self.app.hub.shards() {
            shards.notes(came.into_iter().map(|(_, conn)| (conn, Note::Routed { live })));
        }
    }

    async fn renew(&mut self) {
        let Some(me) = self.me else { return };
        match self.routing.renew(me).await {
            Ok(true) => {}
            Ok(false) => self.inbox_lost("it or the lease is over"),
            // Away: the lease outlives a few missed renewals, and the next one says whether it did.
            Err(away) => tracing::debug!(error = %away, "the lease was not renewed"),
        }
    }

    /// Deletes the routes of those who have not come back.
    async fn expire(&mut self) {
        self.note_seen();
        let now = clock::monotonic();
        let mut gone = vec![];
        while let Some((at, user)) = self.leaving.front().copied()
            && at <= now
        {
            self.leaving.pop_front();
            // Came back and left again: another entry follows.
            if self.leaves_at.get(&user) != Some(&at) {
                continue;
            }
            self.leaves_at.remove(&user);
            if !self.app.hub.holds(user) && self.routed.remove(&user) {
                gone.push(user);
            }
        }
        let (Some(me), false) = (self.me, gone.is_empty()) else { return };
        match self.routing.remove_routes(me, gone).await {
            Ok(offline) => self.announce(offline),
            Err(away) => {
                tracing::warn!(error = %away, "routes cannot be deleted; joining anew");
                self.lost();
            }
        }
    }

    /// What the routing lost of this gateway without the inbox being lost: a single key.
    async fn compare(&mut self) {
        let Some(me) = self.me else { return };
        self.read_ended_behind();
        // Of others there are words to come.
        let users: Vec<UserId> = self.app.hub.users().into_iter().filter(|user| self.routed.contains(user)).collect();
        let lost = match compare::lost(&*self.routing, me, &users, &self.app.hub.watched()).await {
            Ok(lost) => lost,
            Err(error) => return tracing::debug!(%error, "routes were not compared"),
        };
        if !lost.unwatched.is_empty() {
            // What is missing then is found again.
            let _ = self.routing.watch(me, lost.unwatched).await;
        }
        let missing = [&lost.deaf[..], &lost.unlisted].concat();
        if missing.is_empty() {
            return;
        }
        metrics::counter!("rookery_routes_missing_total").increment(missing.len() as u64);
        tracing::warn!(count = missing.len(), "routes were missing; those concerned read again");
        if let Ok(online) = self.routing.add_routes(me, missing).await {
            self.announce(online);
            // Who was only missing in the set was delivered everything.
            self.app.hub.resync_users(&lost.deaf);
        }
    }

    /// An end may have been told to all gateways while damage kept this one from being among them.
    fn read_ended_behind(&self) {
        if self.ended.as_ref().is_some_and(|ended| !ended.is_finished()) {
            return;
        }
        let app = self.app.clone();
        tokio::spawn(async move {
            if let Err(error) = app.read_ended().await {
                tracing::debug!(%error, "ended sessions were not read");
            }
        });
    }

    /// Whom watchers here believe to be online or not, against what is so.
    fn look_at_presence(&mut self) {
        if self.me.is_none() || self.looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
            return;
        }
        let app = self.app.clone();
        self.looking = Some(tokio::spawn(async move {
            let (came, gone): (Vec<_>, Vec<_>) =
                differing(&app, app.hub.watched()).await.into_iter().partition(|(_, online)| *online);
            tell(&app, came);
            if !gone.is_empty() {
                tokio::time::sleep(GONE_FOR).await;
                tell(&app, differing(&app, gone.into_iter().map(|(user, _)| user).collect()).await);
            }
        }));
    }

    /// Tells whoever watches how these people are now.
    fn announce(&self, users: Vec<UserId>) {
        if users.is_empty() {
            return;
        }
        let app = self.app.clone();
        tokio::spawn(async move {
            if let Err(error) = app.fanout.announce(&users).await {
                tracing::debug!(%error, "presence was not told");
            }
        });
    }

    fn note_seen(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let (app, seen) = (self.app.clone(), std::mem::take(&mut self.seen));
        tokio::spawn(async move {
            if let Err(error) = app.store.update_sessions_seen(&seen).await {
                tracing::debug!(%error, "last use of sessions was not kept");
            }
        });
    }
}

/// Those of `users` of whom watchers were told something else than what is so now.
async fn differing(app: &App, users: Vec<UserId>) -> Vec<(UserId, bool)> {
    match app.fanout.routing().online(&users).await {
        Ok(online) => app.hub.presence_differs(&users.into_iter().zip(online).collect::<Vec<_>>()),
        Err(_) => vec![],
    }
}

fn tell(app: &App, states: Vec<(UserId, bool)>) {
    metrics::counter!("rookery_presence_repaired_total").increment(states.len() as u64);
    for (user, online) in states {
        app.hub.tell_presence(user, &presence::event(user, online));
    }
}

/// Reads the inbox until it is lost.
async fn read(app: Arc<App>, me: GatewayRef, mut inbox: Box<dyn Inbox>) {
    loop {
        match inbox.recv().await {
            Ok(entry) => {
                let left = app.presence.heard(&entry);
                let ended = app.hub.pass_on(entry, &app.batcher);
                left.into_iter().for_each(|user| app.hub.parted(user));
                if !ended.is_empty() {
                    app.sessions_ended(&ended);
                }
            }
            Err(lost) => return app.routes.say(Word::InboxLost { of: me, why: lost.0 }),
        }
    }
}
