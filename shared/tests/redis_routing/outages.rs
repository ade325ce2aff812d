//! Redis that is killed, unreachable, full, or not what it should be; and a network that fails.

use super::{
    Cluster, connect,
    contract::*,
    proxy::{Mode, Proxy},
    server::Server,
    until, why_lost,
};
use futures_util::future::{self, BoxFuture};
use shared::{
    command::GatewayRef,
    domain::{GatewayId, UserId},
    routing::{
        Routing, RoutingAway,
        cells::{Draw, Drawn},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

fn draw() -> Draw {
    let (interval, burst) = (Duration::from_secs(60), Duration::from_secs(120));
    Draw { rule: 1, subject: 1, interval, burst, count: 1, forced: false }
}

type Asked = (&'static str, Result<(), RoutingAway>);

/// Time as far as this process was given any: a machine that does other things makes it longer, never shorter.
fn stopwatch() -> impl Fn() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = Arc::downgrade(&ticks);
    tokio::spawn(async move {
        while let Some(ticks) = counted.upgrade() {
            tokio::time::sleep(TICK).await;
            ticks.fetch_add(1, Ordering::Relaxed);
        }
    });
    move || ticks.load(Ordering::Relaxed) * TICK
}

/// Asks everything at once. None may take longer than two seconds.
async fn ask_everything(routing: &Arc<dyn Routing>, me: GatewayRef) -> Vec<Asked> {
    let mut asking: Vec<BoxFuture<'_, Asked>> = vec![];
    macro_rules! ask {
        ($($name:ident($($argument:expr),*))*) => {
            $(asking.push(Box::pin(async move {
                let time = stopwatch();
                let answer = within(routing.$name($($argument),*)).await.map(drop);
                assert!(time() < Duration::from_secs(2), "{} took {:?}", stringify!($name), time());
                (stringify!($name), answer)
            }));)*
        };
    }
    let stranger = GatewayRef { id: GatewayId::new(), epoch: 1 };
    ask! {
        join(GatewayId::new())
        renew(me)
        leave(stranger)
        add_routes(me, vec![UserId::new(); 1200])
        remove_routes(me, vec![UserId::new()])
        routes_of(me)
        lookup(&[UserId::new(); 3])
        deliver(vec![(me, entry(1))])
        gateways()
        watch(me, vec![UserId::new()])
        unwatch(me, vec![UserId::new()])
        watchers(&[UserId::new()])
        online(&[UserId::new()])
        dead()
        bury(stranger)
        draw(vec![draw()])
        use_once([7; 16], Duration::from_secs(9))
    }
    future::join_all(asking).await
}

#[track_caller]
fn assert_all_away(answers: Vec<Asked>) {
    for (name, answer) in answers {
        let Err(away) = answer else { panic!("{name} was answered") };
        assert!(away.0.contains("Redis"), "{name}: {away}");
    }
}

#[tokio::test]
async fn a_killed_redis_is_away_at_once_and_comes_back_empty() {
    let mut server = Server::start(&[]);
    let cluster = Cluster::on(&server.url());
    let (routing, worker) = (cluster.process(), cluster.process());
    let (old, mut inbox) = join(&routing).await;
    let user = UserId::new();
    add(&routing, old, &[user]).await;
    assert_eq!(lookup(&worker, &[user]).await, [set(&[old])]);
    server.kill();
    assert_all_away(ask_everything(&worker, old).await);
    assert_all_away(ask_everything(&worker, old).await);
    server.start_again();
    assert_eq!(why_lost(&mut inbox).await, "Redis was restarted");
    // As soon as the last failure is not fresh any more.
    until(async || routing.renew(old).await.ok().map(|renewed| assert!(!renewed))).await;
    until(async || worker.gateways().await.ok()).await;
    let (new, mut inbox) = join_as(&routing, old.id).await;
    assert!(new.epoch > old.epoch);
    assert_eq!(add(&routing, new, &[user]).await, [user]);
    assert_eq!(lookup(&worker, &[user]).await, [set(&[new])]);
    assert_eq!(deliver(&worker, new, [3]).await, []);
    assert_eq!(number(&within(inbox.recv()).await.unwrap()), 3);
}

#[tokio::test]
async fn a_redis_that_was_restarted_between_two_questions_costs_none() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let cluster = Cluster::on(&server.url());
    let routing = cluster.process();
    let key = [9; 16];
    assert_eq!(routing.use_once(key, Duration::from_secs(60)).await, Ok(true));
    server.kill();
    server.start_again();
    until(async || ready(&cluster).await.then_some(())).await;
    // Of all that is asked this is what would not be said twice.
    assert_eq!(routing.use_once([8; 16], Duration::from_secs(60)).await, Ok(true));
}

async fn ready(cluster: &Cluster) -> bool {
    let Ok(mut redis) = connect(&cluster.url).await else { return false };
    redis::cmd("PING").exec_async(&mut redis).await.is_ok()
}

#[tokio::test]
async fn an_inbox_that_comes_back_with_another_redis_is_lost() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let cluster = Cluster::on(&server.url());
    let routing = cluster.process();
    let (me, mut inbox) = join(&routing).await;
    deliver(&routing, me, [1]).await;
    assert_eq!(number(&within(inbox.recv()).await.unwrap()), 1);
    server.kill();
    server.start_again();
    assert_eq!(why_lost(&mut inbox).await, "Redis was restarted");
    until(async || ready(&cluster).await.then_some(())).await;
    let there: bool =
        redis::cmd("EXISTS").arg(cluster.inbox_of(me)).query_async(&mut cluster.redis().await).await.unwrap();
    assert!(there, "its data was kept, and may be older than what was answered");
}

#[tokio::test]
async fn after_an_outage_nobody_is_dead_before_he_could_come_back() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let (near, far) = (Cluster::on(&server.url()), proxy.url());
    let far = Cluster { url: far, name: near.name.clone() };
    let (gateway, worker) = (near.process(), far.process());
    let (me, _inbox) = join(&gateway).await;
    assert_eq!(dead(&worker).await, []);
    near.expire(&near.lease_of(me)).await;
    proxy.set(Mode::Cut);
    until(async || worker.gateways().await.is_err().then_some(())).await;
    proxy.set(Mode::Pass);
    until(async || worker.gateways().await.is_ok().then_some(())).await;
    assert_eq!(dead(&worker).await, [], "as far as this one knows, Redis was away for all");
    assert_eq!(dead(&near.process()).await, [(me, vec![])]);
    assert_eq!(until(async || dead(&worker).await.pop()).await, (me, vec![]));
}

#[tokio::test]
async fn a_broken_connection_loses_nothing() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let near = Cluster::on(&server.url());
    let far = Cluster { url: proxy.url(), name: near.name.clone() };
    let (gateway, worker) = (far.process(), near.process());
    let (me, mut inbox) = join(&gateway).await;
    for round in 0..3 {
        deliver(&worker, me, [10 * round]).await;
        assert_eq!(number(&within(inbox.recv()).await.unwrap()), 10 * round);
        proxy.set(Mode::Cut);
        deliver(&worker, me, 10 * round + 1..10 * round + 10).await;
        proxy.set(Mode::Pass);
        for expected in 10 * round + 1..10 * round + 10 {
            assert_eq!(number(&within(inbox.recv()).await.unwrap()), expected);
        }
        assert!(until(async || gateway.renew(me).await.ok()).await);
    }
}

#[tokio::test]
async fn a_black_hole_is_noticed_within_two_seconds_by_everybody_and_forgotten_afterwards() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let near = Cluster::on(&server.url());
    let far = Cluster { url: proxy.url(), name: near.name.clone() };
    let (gateway, worker) = (far.impatient_process(), near.process());
    let (me, mut inbox) = join(&gateway).await;
    let user = UserId::new();
    add(&gateway, me, &[user]).await;
    proxy.set(Mode::Hold);
    assert_all_away(ask_everything(&gateway, me).await);
    deliver(&worker, me, [1, 2]).await;
    // Now it is the connecting that hangs.
    assert_all_away(ask_everything(&gateway, me).await);
    proxy.set(Mode::Pass);
    // It was shorter than the lease: nothing was lost, and what had been asked in vain may have been done late.
    assert!(until(async || gateway.renew(me).await.ok()).await);
    until(async || ask_everything(&gateway, me).await.iter().all(|(_, answer)| answer.is_ok()).then_some(())).await;
    assert_eq!(until(async || gateway.lookup(&[user]).await.ok()).await, [[me]]);
    let mut seen = vec![];
    while !seen.ends_with(&[2]) {
        seen.push(number(&within(inbox.recv()).await.unwrap()));
    }
    assert!(seen.contains(&1), "{seen:?}");
}

#[tokio::test]
async fn a_black_hole_that_outlasts_the_lease_is_a_loss() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let near = Cluster::on(&server.url());
    let far = Cluster { url: proxy.url(), name: near.name.clone() };
    let gateway = far.impatient_process();
    let (me, mut inbox) = join(&gateway).await;
    proxy.set(Mode::Hold);
    let began = Instant::now();
    assert!(why_lost(&mut inbox).await.starts_with("Redis was away for 10 s"));
    assert!(began.elapsed() >= Duration::from_secs(9), "as long as the lease may hold there is hope");
    proxy.set(Mode::Pass);
    until(async || gateway.renew(me).await.ok().map(|renewed| assert!(!renewed))).await;
    assert_eq!(dead(&near.process()).await.pop(), Some((me, vec![])));
}

/// With a connection there, whose next answer is lost.
async fn lose_the_next_answer(proxy: &Proxy, asking: &Arc<dyn Routing>) {
    until(async || asking.gateways().await.ok()).await;
    proxy.set(Mode::LoseAnAnswer);
}

#[tokio::test]
async fn what_was_answered_in_vain_is_asked_again_and_says_no_less() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let near = Cluster::on(&server.url());
    let far = Cluster { url: proxy.url(), name: near.name.clone() };
    // Its inbox is read past the proxy, whose one connection is the one that asks.
    let (joining, asking) = (near.process(), far.process());
    let ((me, mut inbox), (elsewhere, _b)) = (join(&joining).await, join(&joining).await);
    let (comes, was_there, before) = (UserId::new(), UserId::new(), UserId::new());
    add(&joining, elsewhere, &[was_there]).await;
    // Redis knows the scripts.
    assert_eq!(add(&asking, me, &[before]).await, [before]);
    assert_eq!(remove(&asking, me, &[before]).await, [before]);

    lose_the_next_answer(&proxy, &asking).await;
    assert_eq!(add(&asking, me, &[comes, was_there]).await, [comes]);
    proxy.until(Mode::Pass).await;
    assert_eq!(lookup(&joining, &[comes]).await, [set(&[me])]);

    lose_the_next_answer(&proxy, &asking).await;
    assert_eq!(remove(&asking, me, &[comes, was_there]).await, [comes]);
    proxy.until(Mode::Pass).await;

    lose_the_next_answer(&proxy, &asking).await;
    assert_eq!(deliver(&asking, me, [1, 2]).await, []);
    proxy.until(Mode::Pass).await;
    for expected in [1, 2, 1, 2] {
        assert_eq!(number(&within(inbox.recv()).await.unwrap()), expected, "twice rather than not at all");
    }
}

#[tokio::test]
async fn what_must_not_be_counted_twice_is_not_asked_twice() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let near = Cluster::on(&server.url());
    let far = Cluster { url: proxy.url(), name: near.name.clone() };
    let (asking, other) = (far.process(), near.process());
    let key = [2; 16];
    lose_the_next_answer(&proxy, &asking).await;
    assert!(asking.use_once(key, Duration::from_secs(60)).await.is_err());
    assert_eq!(other.use_once(key, Duration::from_secs(60)).await, Ok(false), "it was used");
    // Redis knows the script.
    other.draw(vec![Draw { subject: 2, ..draw() }]).await.unwrap();
    lose_the_next_answer(&proxy, &asking).await;
    assert!(asking.draw(vec![draw()]).await.is_err());
    let drawn = other.draw(vec![draw(), draw()]).await.unwrap();
    assert!(matches!(drawn[..], [Drawn::Taken { .. }, Drawn::Refused { .. }]), "it was counted, once: {drawn:?}");
}

#[tokio::test]
async fn a_redis_that_would_throw_keys_away_is_not_used() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let cluster = Cluster::on(&server.url());
    let routing = cluster.process();
    let away = routing.gateways().await.unwrap_err();
    assert!(away.0.contains("set maxmemory-policy to noeviction, it is allkeys-lru"), "{away}");
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg("noeviction").exec_async(&mut cluster.redis().await).await.unwrap();
    assert_eq!(until(async || routing.gateways().await.ok()).await, []);
}

#[tokio::test]
async fn a_full_redis_takes_nothing_and_lets_go() {
    let server = Server::start(&[]);
    let cluster = Cluster::on(&server.url());
    let routing = cluster.process();
    let (me, _inbox) = join(&routing).await;
    let users: Vec<UserId> = (0..20).map(|_| UserId::new()).collect();
    add(&routing, me, &users).await;
    let mut redis = cluster.redis().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec_async(&mut redis).await.unwrap();
    let newcomer = UserId::new();
    for refused in [
        routing.add_routes(me, vec![newcomer]).await.map(drop),
        routing.deliver(vec![(me, entry(1))]).await.map(drop),
        routing.join(GatewayId::new()).await.map(drop),
    ] {
        assert!(refused.unwrap_err().0.contains("maxmemory"));
    }
    assert_eq!(lookup(&routing, &[newcomer, users[0]]).await, [set(&[]), set(&[me])]);
    assert_eq!(routing.renew(me).await, Ok(true));
    assert_eq!(remove(&routing, me, &users[..10]).await, users[..10]);
    within(routing.leave(me)).await.unwrap();
    assert_eq!(cluster.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_redis_is_reached_with_password_and_number_and_by_a_socket() {
    let server = Server::start(&["--requirepass", "a secret", "--unixsocketperm", "700"]);
    let tcp = format!("redis://:a%20secret@127.0.0.1:{}/3", server.port);
    let socket = format!("redis+unix://{}?db=3&pass=a%20secret", server.socket().display());
    let (one, two) = (Cluster::on(&tcp), Cluster::on(&socket));
    let two = Cluster { url: two.url.clone(), name: one.name.clone() };
    let (me, _inbox) = join(&one.process()).await;
    assert_eq!(two.process().gateways().await, Ok(vec![me]));
    let wrong = Cluster::on(&format!("redis://:another-secret@127.0.0.1:{}", server.port));
    let away = wrong.process().gateways().await.unwrap_err();
    assert!(!away.0.contains("secret") && away.0.contains("assword"), "{away}");
}
