//! A database that nobody else uses, a bus, a routing, people and their conversations; and workers, each with threads and
//! connections of its own, as a process would have them, that can be killed, stopped, or frozen.

use shared::{
    bus::{Bus, local::LocalBus},
    command::partition as partition_of,
    config::{StoreConfig, WorkerConfig},
    domain::{ConversationId, UserId},
    lifecycle::Stop,
    routing::{Routing, local::LocalRouting},
    store::Store,
    testing::TestDatabase,
};
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, types::ToSql};
use worker::Worker;

/// Longer than anything here takes; who waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub struct World {
    pub bus: Arc<LocalBus>,
    pub routing: LocalRouting,
    pub sql: Client,
    // Last: it is dropped when nobody uses it any more.
    pub database: TestDatabase,
}

impl World {
    pub async fn start(partitions: u16) -> Self {
        let settings = [("PARTITIONS", &*partitions.to_string()), ("DATABASE_POOL", "2")];
        let database = TestDatabase::create_with(&settings).await;
        let url = database.config.store.url.expose();
        let (sql, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { bus: Arc::new(LocalBus::new(partitions, &[])), routing: LocalRouting::new(), sql, database }
    }

    pub async fn worker(&self) -> Hands {
        self.worker_with(Arc::new(self.routing.clone())).await
    }

    pub async fn worker_with(&self, routing: Arc<dyn Routing>) -> Hands {
        let bus = self.bus.clone();
        self.worker_on(|| bus, routing).await
    }

    /// With a bus of its own, that it makes for itself.
    pub async fn worker_on<B: Bus>(
        &self,
        bus: impl FnOnce() -> Arc<B> + Send + 'static,
        routing: Arc<dyn Routing>,
    ) -> Hands {
        Hands::start(self.database.config.store.clone(), self.database.config.worker.clone(), bus, routing).await
    }

    pub async fn run(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> u64 {
        self.sql.execute(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub async fn number(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> i64 {
        self.sql.query_one(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    pub async fn person(&self) -> UserId {
        let id = UserId::new();
        let name = id.0.simple().to_string();
        let sql = "INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name) VALUES ($1, $2, $2, $2, $2, 'x', $2)";
        self.run(sql, &[&id.0, &name]).await;
        id
    }

    /// A conversation of this person alone, whose commands go to this partition.
    pub async fn conversation(&self, of: UserId, partition: u16) -> ConversationId {
        let ids = std::iter::repeat_with(ConversationId::new);
        let id = ids.into_iter().find(|id| partition_of(*id, self.bus.partitions()) == partition).unwrap();
        let sql =
            "INSERT INTO conversations (id, kind, title, created_by, member_count) VALUES ($1, 'group', 'x', $2, 1)";
        self.run(sql, &[&id.0, &of.0]).await;
        self.run("INSERT INTO members (conversation_id, user_id, role) VALUES ($1, $2, 'owner')", &[&id.0, &of.0])
            .await;
        id
    }

    /// The bodies stored in a conversation, in order; `seq` is checked to be 1, 2, 3 ….
    pub async fn stored(&self, conversation: ConversationId) -> Vec<String> {
        let sql = "SELECT seq, body FROM messages WHERE conversation_id = $1 ORDER BY seq";
        let rows = self.sql.query(sql, &[&conversation.0]).await.unwrap();
        let seqs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(seqs, (1..=rows.len() as i64).collect::<Vec<_>>(), "seq has no holes");
        rows.iter().map(|row| row.get(1)).collect()
    }

    pub async fn outbox_rows(&self) -> i64 {
        self.number("SELECT count(*) FROM outbox", &[]).await
    }

    /// Batches that nobody has been given, over all partitions.
    pub async fn waiting(&self) -> usize {
        let mut waiting = 0;
        for partition in 0..self.bus.partitions() {
            waiting += self.bus.queue(partition).await.unwrap().waiting;
        }
        waiting
    }
}

/// A worker.
pub struct Hands {
    stop: Stop,
    worker: Option<Worker>,
    runtime: Option<Runtime>,
}

/// What a frozen worker waits for.
pub struct Ice {
    _melts_when_dropped: mpsc::Sender<()>,
}

impl Hands {
    async fn start<B: Bus>(
        store: StoreConfig,
        config: WorkerConfig,
        bus: impl FnOnce() -> Arc<B> + Send + 'static,
        routing: Arc<dyn Routing>,
    ) -> Self {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stop = Stop::default();
        let stopping = stop.clone();
        let start = async move { Worker::start(Store::new(&store).unwrap(), bus(), routing, &config, stopping) };
        let worker = threads.spawn(start).await.unwrap();
        Self { stop, worker: Some(worker), runtime: Some(threads) }
    }

    pub fn partitions(&self) -> Vec<u16> {
        self.worker.as_ref().map(Worker::partitions).unwrap_or_default()
    }

    pub fn give_one_up(&self) -> Option<u16> {
        self.worker.as_ref()?.give_one_up()
    }

    /// SIGTERM: finishes what it has begun.
    pub async fn stop(mut self) {
        self.stop.soft();
        let worker = self.worker.take().unwrap();
        self.runtime.as_ref().unwrap().spawn(worker.join()).await.unwrap();
    }

    /// SIGSTOP: nothing of it moves until the ice is dropped; its connections stay open.
    pub async fn freeze(&self) -> Ice {
        let (melt, melted) = mpsc::channel();
        let (frozen, is_frozen) = tokio::sync::oneshot::channel();
        self.runtime.as_ref().unwrap().spawn(async move {
            let _ = frozen.send(());
            // On its only thread, on purpose.
            let _ = melted.recv();
        });
        is_frozen.await.unwrap();
        Ice { _melts_when_dropped: melt }
    }
}

/// SIGKILL.
impl Drop for Hands {
    fn drop(&mut self) {
        drop(self.worker.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Done to the end also where the test has failed. On a runtime of its own: the test's may be ending.
pub fn at_the_end(work: impl Future<Output = ()> + Send + 'static) {
    let done = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    });
    let _ = done.join();
}

/// Waits for an effect that nobody is told of.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never so: {what}"));
}
