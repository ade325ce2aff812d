//! PostgreSQL goes away: a worker that cannot store holds no place at any queue, whether or not something comes, and takes
//! them again when it can.

use crate::gateway::{Gateway, Talk, send};
use crate::world::{World, until};
use shared::{bus::Bus, domain::CommandId};

impl World {
    /// From now on nobody but this test has a connection to the database, or may again.
    async fn lock_out(&self, out: bool) {
        let name: String = self.sql.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
        let url = shared::store::testing::url_of(self.database.config.store.url.expose(), "postgres");
        let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {}", !out)).await.unwrap();
        if out {
            let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            self.number(others, &[]).await;
        }
    }

    async fn consumers(&self) -> Vec<usize> {
        let mut consumers = vec![];
        for partition in 0..self.bus.partitions() {
            consumers.push(self.bus.queue(partition).await.unwrap().consumers);
        }
        consumers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_postgresql_holds_no_place_even_when_idle() {
    let world = World::start(3).await;
    let _worker = world.worker().await;
    until("it has its places", async || world.consumers().await == [1, 1, 1]).await;
    world.lock_out(true).await;
    until("it has none", async || world.consumers().await == [0, 0, 0]).await;
    let ann = world.person().await;
    let conversation = world.conversation(ann, 1).await;
    let mut gateway = Gateway::join(&world, &[ann]).await;
    gateway.publish(vec![(ann, CommandId::new(), send(conversation, "for whoever can"))]).await;
    assert_eq!((world.consumers().await, world.waiting().await), (vec![0, 0, 0], 1));
    world.lock_out(false).await;
    until("it is stored", async || world.stored(conversation).await == ["for whoever can"]).await;
    until("it has its places again", async || world.consumers().await == [1, 1, 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_goes_away_again_and_again_while_people_talk() {
    let world = World::start(4).await;
    let _workers = (world.worker().await, world.worker().await);
    let talk = Talk::begin(&world).await;
    for _ in 0..4 {
        let before = talk.answered();
        until("commands are answered", async || talk.answered() > before + 100).await;
        world.lock_out(true).await;
        until("nobody takes any", async || world.consumers().await == [0; 4]).await;
        world.lock_out(false).await;
    }
    talk.end(&world).await;
}
