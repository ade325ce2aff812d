//! What is said and measured of Redis: each outage once, its end once, no password.

use super::{Cluster, contract::*, server::Server, until};
use metrics_exporter_prometheus::PrometheusBuilder;
use shared::{
    domain::UserId,
    routing::{Routing, redis::RedisRouting},
};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(15);

/// What the log would have.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// From now on, everything that this thread says, and so all of a test's runtime.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(move || lines.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn count(&self, words: &str) -> usize {
        self.text().matches(words).count()
    }
}

#[tokio::test]
async fn an_outage_is_said_once_and_its_end_once() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let mut server = Server::start(&["--requirepass", "seldom-told"]);
    let cluster = Cluster::on(&format!("redis://:seldom-told@127.0.0.1:{}", server.port));
    let routing = cluster.process();
    let (me, _inbox) = join(&routing).await;
    assert_eq!(lines.count("Redis is"), 0, "{}", lines.text());
    for outage in 1..=2 {
        server.kill();
        for _ in 0..20 {
            routing.renew(me).await.unwrap_err();
            tokio::task::yield_now().await;
        }
        assert_eq!(lines.count("WARN shared::routing::redis::health: Redis is away"), outage, "{}", lines.text());
        server.start_again();
        until(async || routing.renew(me).await.ok()).await;
        assert_eq!(lines.count("INFO shared::routing::redis::health: Redis is back"), outage, "{}", lines.text());
    }
    assert_eq!(lines.count("seldom-told"), 0);
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_an_error_that_is_said_once() {
    let lines = Lines::default();
    let _listening = lines.listen();
    let server = Server::start(&["--maxmemory-policy", "volatile-ttl", "--requirepass", "seldom-told"]);
    let (unfit, wrong) = (format!("redis://:seldom-told@127.0.0.1:{}", server.port), server.url());
    for (url, why) in [(unfit, "noeviction"), (wrong.replace("//", "//:never-told@"), "assword")] {
        let before = lines.count("ERROR");
        let routing = Cluster::on(&url).process();
        for _ in 0..3 {
            // The last failure is not fresh any more when it is another one's turn.
            until(async || routing.gateways().await.err().filter(|away| away.0.contains(why))).await;
        }
        assert_eq!(lines.count("ERROR"), before + 1, "{}", lines.text());
    }
    assert_eq!(lines.count("-told"), 0);
}

#[tokio::test]
async fn what_is_measured_is_so() {
    let mut server = Server::start(&[]);
    let cluster = Cluster::on(&server.url());
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    // All are registered when it is made.
    let routing: Arc<dyn Routing> = Arc::new(metrics::with_local_recorder(&recorder, || {
        RedisRouting::with_patience(&cluster.config(), PATIENCE).unwrap()
    }));
    let assert_shown = |line: &str| {
        let page = page.render();
        assert!(page.lines().any(|shown| shown == line), "no {line:?} in\n{page}");
    };
    assert_shown("rookery_redis_up 0");
    let ((me, mut inbox), (gone, _gone)) = (join(&routing).await, join(&routing).await);
    assert_shown("rookery_redis_up 1");
    let users: Vec<UserId> = (0..3).map(|_| UserId::new()).collect();
    add(&routing, me, &users).await;
    within(routing.watch(me, users[..2].to_vec())).await.unwrap();
    deliver(&routing, me, 0..5).await;
    for _ in 0..2 {
        within(inbox.recv()).await.unwrap();
    }
    assert_eq!(routing.renew(me).await, Ok(true));
    assert_shown("rookery_routing_routes 3");
    assert_shown("rookery_routing_watched 2");
    assert_shown("rookery_inbox_entries 3");
    assert!(dead(&routing).await.is_empty());
    assert_shown("rookery_routing_leases 2");
    cluster.expire(&cluster.inbox_of(gone)).await;
    for _ in 0..2 {
        assert_eq!(deliver(&routing, gone, [1]).await, [gone]);
    }
    assert_shown("rookery_routing_gateways_gone_total 1");
    assert_shown("rookery_redis_failures_total 0");
    server.kill();
    routing.renew(me).await.unwrap_err();
    assert_shown("rookery_redis_up 0");
    assert_shown("rookery_redis_failures_total 1");
    server.start_again();
    until(async || routing.renew(me).await.ok()).await;
    assert_shown("rookery_redis_up 1");
    let shown = page.render();
    let reconnects = shown.lines().find_map(|line| line.strip_prefix("rookery_redis_reconnects_total "));
    assert!(reconnects.is_some_and(|count| count != "0"), "{shown}");
    assert!(shown.contains(r#"rookery_redis_command_seconds_count{kind="lease"}"#), "{shown}");
}
