//! Promises about who is online, and about gateways that die. How one dies is each implementation's own business; here is
//! what holds where none does.

use super::{Registry, add, deliver, join, join_as, lookup, number, remove, set, within};
use shared::{
    command::GatewayRef,
    domain::{GatewayId, UserId},
    routing::Routing,
};
use std::sync::Arc;

pub async fn online(routing: &Arc<dyn Routing>, users: &[UserId]) -> Vec<bool> {
    within(routing.online(users)).await.expect("routing is there")
}

pub async fn dead(routing: &Arc<dyn Routing>) -> Vec<(GatewayRef, Vec<UserId>)> {
    within(routing.dead()).await.expect("routing is there")
}

pub async fn who_has_a_route_is_online<R: Registry>() {
    let registry = R::start().await;
    let (routing, asking) = (registry.connect().await, registry.connect().await);
    let ((one, _a), (two, _b)) = (join(&routing).await, join(&routing).await);
    let (everywhere, here, nowhere) = (UserId::new(), UserId::new(), UserId::new());
    let asked = [nowhere, everywhere, here, everywhere];
    assert_eq!(online(&asking, &asked).await, [false; 4]);
    assert!(online(&asking, &[]).await.is_empty());
    add(&routing, one, &[everywhere, here]).await;
    add(&routing, two, &[everywhere]).await;
    assert_eq!(online(&asking, &asked).await, [false, true, true, true], "in the order asked");
    remove(&routing, one, &[everywhere, here]).await;
    assert_eq!(online(&asking, &asked).await, [false, true, false, true]);
    within(routing.leave(two)).await.expect("left");
    assert_eq!(online(&asking, &asked).await, [false; 4]);
}

pub async fn whose_gateway_joined_again_is_online_when_routed_again<R: Registry>() {
    let routing = R::start().await.connect().await;
    let user = UserId::new();
    let (old, _a) = join(&routing).await;
    add(&routing, old, &[user]).await;
    let (new, _b) = join_as(&routing, old.id).await;
    assert_eq!(online(&routing, &[user]).await, [false], "a route names an epoch");
    assert_eq!(add(&routing, new, &[user]).await, [user]);
    assert_eq!(online(&routing, &[user]).await, [true]);
}

pub async fn who_lives_or_has_left_is_not_dead<R: Registry>() {
    let registry = R::start().await;
    let (routing, worker) = (registry.connect().await, registry.connect().await);
    assert_eq!(dead(&worker).await, []);
    let ((lives, _a), (leaves, _b), (returns, _c)) = (join(&routing).await, join(&routing).await, join(&routing).await);
    for gateway in [lives, leaves, returns] {
        add(&routing, gateway, &[UserId::new()]).await;
    }
    within(routing.leave(leaves)).await.expect("left");
    let (_returned, _d) = join_as(&routing, returns.id).await;
    assert_eq!(dead(&worker).await, []);
    registry.wipe().await;
    assert_eq!(dead(&worker).await, [], "of whom nobody knows, nobody says that he is dead");
}

pub async fn burying_who_is_not_dead_changes_nothing<R: Registry>() {
    let registry = R::start().await;
    let (routing, worker) = (registry.connect().await, registry.connect().await);
    let (me, mut inbox) = join(&routing).await;
    let user = UserId::new();
    add(&routing, me, &[user]).await;
    within(routing.watch(me, vec![user])).await.expect("watched");
    let stranger = GatewayRef { id: GatewayId::new(), epoch: 1 };
    for gateway in [me, stranger] {
        within(worker.bury(gateway)).await.expect("routing is there");
    }
    assert_eq!(dead(&worker).await, []);
    assert_eq!(within(routing.renew(me)).await, Ok(true));
    assert_eq!(within(worker.gateways()).await, Ok(vec![me]));
    assert_eq!(lookup(&worker, &[user]).await, [set(&[me])]);
    assert_eq!(online(&worker, &[user]).await, [true]);
    assert_eq!(within(worker.watchers(&[user])).await, Ok(vec![vec![me]]));
    assert_eq!(deliver(&worker, me, [1]).await, []);
    assert_eq!(number(&within(inbox.recv()).await.expect("an entry")), 1);
}
