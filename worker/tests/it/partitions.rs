//! Partitions are shared out among the workers, and move while people talk. Whatever moves, everything that was said is
//! answered, stands there once, and in the order said.

use crate::gateway::Talk;
use crate::world::{Hands, World, until};
use shared::bus::Bus;
use std::time::Duration;

/// How many partitions each has; every one is somebody's.
fn shares(workers: &[&Hands], partitions: u16) -> Option<Vec<usize>> {
    let mut all: Vec<u16> = workers.iter().flat_map(|worker| worker.partitions()).collect();
    all.sort_unstable();
    let mut shares: Vec<usize> = workers.iter().map(|worker| worker.partitions().len()).collect();
    shares.sort_unstable();
    (all == (0..partitions).collect::<Vec<_>>()).then_some(shares)
}

pub async fn until_shared(workers: &[&Hands], partitions: u16, wanted: &[usize]) {
    until(&format!("{wanted:?}"), async || shares(workers, partitions).as_deref() == Some(wanted)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_to_equal_shares() {
    let world = World::start(6).await;
    let first = world.worker().await;
    let talk = Talk::begin(&world).await;
    until_shared(&[&first], 6, &[6]).await;
    let second = world.worker().await;
    until_shared(&[&first, &second], 6, &[3, 3]).await;
    let third = world.worker().await;
    until_shared(&[&first, &second, &third], 6, &[2, 2, 2]).await;
    second.stop().await;
    until_shared(&[&first, &third], 6, &[3, 3]).await;
    // SIGKILL.
    drop(third);
    until_shared(&[&first], 6, &[6]).await;
    talk.end(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_alone_gives_nothing_up() {
    let world = World::start(3).await;
    let worker = world.worker().await;
    let talk = Talk::begin(&world).await;
    until_shared(&[&worker], 3, &[3]).await;
    // Longer than it takes to look twice.
    let looks = async { tokio::time::sleep(Duration::from_secs(5)).await };
    let stays = async {
        loop {
            assert_eq!(worker.partitions(), [0, 1, 2]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = looks => {}
        () = stays => {}
    }
    talk.end(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_reordered_while_partitions_move_all_the_time() {
    let world = World::start(4).await;
    let workers = [world.worker().await, world.worker().await, world.worker().await];
    let talk = Talk::begin(&world).await;
    let (mut moved, mut turn) = (0, 0);
    while moved < 200 {
        turn += 1;
        moved += usize::from(workers[turn % 3].give_one_up().is_some());
        if turn % 50 == 0 {
            // All at once, with nothing finished before: each worker's batches go to another while it stores them.
            world.bus.lose_consumers();
        }
        let before = talk.answered();
        until("commands are answered meanwhile", async || talk.answered() > before + 8).await;
    }
    talk.end(&world).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!((world.waiting().await, world.outbox_rows().await), (0, 0), "everything was acknowledged and handed on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_given_up_leaves_nothing_to_do_again() {
    let world = World::start(1).await;
    let (first, second) = (world.worker().await, world.worker().await);
    until("both are there", async || world.bus.queue(0).await.unwrap().consumers == 2).await;
    let talk = Talk::begin(&world).await;
    for _ in 0..20 {
        until("one is active", async || first.partitions().len() + second.partitions().len() == 1).await;
        let (active, other) = if first.partitions().is_empty() { (&second, &first) } else { (&first, &second) };
        assert_eq!(active.give_one_up(), Some(0));
        until("the other is", async || !other.partitions().is_empty()).await;
        assert!(active.partitions().is_empty());
    }
    assert_eq!(talk.repeated(), 0, "what was taken was done and acknowledged before");
    talk.end(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_finishes_what_it_has_taken_and_nothing_more() {
    let world = World::start(2).await;
    let talk = Talk::begin(&world).await;
    for _ in 0..5 {
        let worker = world.worker().await;
        let before = talk.answered();
        until("it works", async || talk.answered() > before + 20).await;
        worker.stop().await;
        // What it had stored was handed on, acknowledged, and needs nobody's relay.
        assert_eq!((world.outbox_rows().await, talk.repeated()), (0, 0));
    }
    let _last = world.worker().await;
    talk.end(&world).await;
}
