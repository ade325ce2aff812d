//! How gateways die, who is told, and that nothing of them stays.

use super::{Cluster, contract::*, until};
use futures_util::future;
use shared::{domain::UserId, routing::Routing};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

fn people(count: usize) -> Vec<UserId> {
    (0..count).map(|_| UserId::new()).collect()
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends() {
    let cluster = Cluster::start().await;
    let (gateway, worker) = (cluster.process(), cluster.process());
    let ((dies, _a), (lives, _b)) = (join(&gateway).await, join(&gateway).await);
    let user = UserId::new();
    add(&gateway, dies, &[user]).await;
    let found = until(async || {
        assert_eq!(gateway.renew(lives).await, Ok(true));
        dead(&worker).await.pop()
    })
    .await;
    assert_eq!(found, (dies, vec![user]));
    assert_eq!(online(&worker, &[user]).await, [false]);
}

#[tokio::test]
async fn the_dead_are_told_to_one_at_a_time_and_again_until_they_are_buried() {
    let cluster = Cluster::start().await;
    let gateway = cluster.process();
    let workers: Vec<Arc<dyn Routing>> = (0..4).map(|_| cluster.process()).collect();
    let ((dies, _a), (lives, _b)) = (join(&gateway).await, join(&gateway).await);
    let users = people(2500);
    add(&gateway, dies, &users).await;
    add(&gateway, lives, &users[..100]).await;
    cluster.expire(&cluster.lease_of(dies)).await;
    let told: Vec<_> = future::join_all(workers.iter().map(dead)).await.into_iter().flatten().collect();
    assert_eq!(told.len(), 1, "one of four");
    assert_eq!(told[0].0, dies);
    assert_eq!(told[0].1.iter().collect::<BTreeSet<_>>(), users.iter().collect(), "with everybody routed to it");
    assert_eq!(dead(&workers[0]).await, [], "somebody sees to it");
    // That one does not, and after a while another is told.
    let again = until(async || {
        assert_eq!(gateway.renew(lives).await, Ok(true));
        dead(&workers[1]).await.pop()
    })
    .await;
    assert_eq!((again.0, again.1.len()), (dies, users.len()));
    within(workers[1].bury(dies)).await.unwrap();
    assert_eq!(workers[0].gateways().await, Ok(vec![lives]));
    assert!(cluster.keys().await.iter().all(|key| !key.starts_with("claim:")), "so that nothing would hide it");
    assert_eq!(dead(&workers[0]).await, []);
}

#[tokio::test]
async fn what_the_dead_leave_stays_as_long_as_somebody_may_take_it_over() {
    let cluster = Cluster::start().await;
    let (gateway, worker) = (cluster.process(), cluster.process());
    let (dies, mut inbox) = join(&gateway).await;
    let users = people(1200);
    add(&gateway, dies, &users).await;
    within(gateway.watch(dies, users.clone())).await.unwrap();
    cluster.expire(&cluster.lease_of(dies)).await;
    assert_eq!(dead(&worker).await.len(), 1);
    within(worker.bury(dies)).await.unwrap();
    assert_eq!(dead(&worker).await, []);
    assert!(lookup(&worker, &users).await.iter().all(|routes| *routes == set(&[dies])), "it is still written to");
    assert_eq!(deliver(&worker, dies, [5]).await, []);
    assert_eq!(number(&within(inbox.recv()).await.unwrap()), 5);
    assert_eq!(online(&worker, &users[..2]).await, [false, false], "and yet nobody is there");
    let (other, _other) = join(&gateway).await;
    assert_eq!(add(&gateway, other, &users[..2]).await, users[..2], "who comes, comes online");
    assert_eq!(remove(&gateway, other, &users[..2]).await, users[..2]);
    cluster.expire(&cluster.inbox_of(dies)).await;
    within(gateway.leave(other)).await.unwrap();
    until(async || {
        assert_eq!(dead(&worker).await, []);
        cluster.keys().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_leaves_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, _inbox) = join(&routing).await;
    let users = people(1500);
    add(&routing, me, &users).await;
    within(routing.watch(me, users)).await.unwrap();
    deliver(&routing, me, [1]).await;
    within(routing.leave(me)).await.unwrap();
    assert_eq!(cluster.keys().await, [""; 0]);
}

#[tokio::test]
async fn who_joins_again_leaves_nothing_of_the_earlier_life() {
    let cluster = Cluster::start().await;
    let (routing, worker) = (cluster.process(), cluster.process());
    let (old, _a) = join(&routing).await;
    let users = people(2500);
    add(&routing, old, &users).await;
    within(routing.watch(old, users[..700].to_vec())).await.unwrap();
    cluster.expire(&cluster.lease_of(old)).await;
    within(worker.bury(old)).await.unwrap();
    let (new, _b) = join_as(&routing, old.id).await;
    assert!(lookup(&routing, &users).await.iter().all(BTreeSet::is_empty));
    let left =
        BTreeSet::from([format!("gw:{}", new.id), "gateways".to_owned(), format!("inbox:{}:{}", new.id, new.epoch)]);
    until(async || (cluster.keys().await.into_iter().collect::<BTreeSet<_>>() == left).then_some(())).await;
    assert_eq!(dead(&worker).await, []);
}

#[tokio::test]
async fn inboxes_and_leases_end_by_themselves() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, _inbox) = join(&routing).await;
    let mut redis = cluster.redis().await;
    let mut left = async |key: String| -> i64 { redis::cmd("PTTL").arg(key).query_async(&mut redis).await.unwrap() };
    let lease = left(cluster.lease_of(me)).await;
    assert!((1..=10_000).contains(&lease), "{lease}");
    let inbox = left(cluster.inbox_of(me)).await;
    assert!((110_000..=120_000).contains(&inbox), "{inbox}");
    // Renewing gives the whole time back.
    until(async || (left(cluster.lease_of(me)).await < 9_900).then_some(())).await;
    assert_eq!(routing.renew(me).await, Ok(true));
    let renewed = left(cluster.lease_of(me)).await;
    assert!(renewed > 9_900, "{renewed}");
    within(routing.use_once([1; 16], Duration::from_millis(30))).await.unwrap();
    until(async || within(routing.use_once([1; 16], Duration::from_secs(5))).await.unwrap().then_some(())).await;
}
