//! Holds the in-process routing to the contract, and to what only it promises: its bounds and its switches for tests.

#[path = "contract/routing.rs"]
mod contract;

use contract::{add, deliver, entry_of, join, lookup, routing_contract, set, within};
use shared::{
    domain::{INBOX_ENTRIES_MAX, UserId},
    routing::{
        Inbox, Routing,
        local::{INBOX_BYTES_MAX, LocalRouting, WATCHED_MAX},
    },
};
use std::sync::Arc;

struct Local(LocalRouting);

impl contract::Registry for Local {
    async fn start() -> Self {
        Self(LocalRouting::new())
    }

    async fn connect(&self) -> Arc<dyn Routing> {
        Arc::new(self.0.clone())
    }

    async fn wipe(&self) {
        self.0.wipe();
    }
}

routing_contract!(Local);

fn local() -> (LocalRouting, Arc<dyn Routing>) {
    let local = LocalRouting::new();
    (local.clone(), Arc::new(local))
}

async fn why_lost(inbox: &mut Box<dyn Inbox>) -> String {
    within(inbox.recv()).await.expect_err("it is lost").0
}

#[tokio::test]
async fn an_inbox_holds_as_many_entries_as_stated() {
    let (_, routing) = local();
    let (me, mut inbox) = join(&routing).await;
    assert_eq!(deliver(&routing, me, 0..INBOX_ENTRIES_MAX as u64).await, []);
    assert_eq!(deliver(&routing, me, [0]).await, [me]);
    assert_eq!(why_lost(&mut inbox).await, "it overflowed");
    assert_eq!(routing.renew(me).await, Ok(false));
}

#[tokio::test]
async fn an_inbox_holds_as_many_bytes_as_stated() {
    let (_, routing) = local();
    let (me, mut inbox) = join(&routing).await;
    let user = UserId::new();
    add(&routing, me, &[user]).await;
    let one = INBOX_BYTES_MAX / 4;
    let entries = (0..4).map(|number| (me, entry_of(number, one))).collect();
    assert_eq!(routing.deliver(entries).await, Ok(vec![me]));
    assert_eq!(why_lost(&mut inbox).await, "it overflowed");
    assert_eq!(lookup(&routing, &[user]).await, [set(&[])]);
}

#[tokio::test]
async fn a_lost_inbox_wakes_its_reader() {
    let (switch, routing) = local();
    let (me, mut inbox) = join(&routing).await;
    let (other, _other_inbox) = join(&routing).await;
    let waiting = tokio::spawn(async move { why_lost(&mut inbox).await });
    tokio::task::yield_now().await;
    switch.lose_inbox(me.id);
    assert_eq!(within(waiting).await.unwrap(), "it was thrown away");
    assert_eq!(routing.renew(me).await, Ok(false));
    assert_eq!(routing.renew(other).await, Ok(true));
}

#[tokio::test]
async fn an_inbox_that_nobody_reads_any_more_is_gone() {
    let (_, routing) = local();
    let (me, inbox) = join(&routing).await;
    drop(inbox);
    assert_eq!(deliver(&routing, me, [1]).await, [me]);
    assert_eq!(routing.gateways().await, Ok(vec![]));
}

#[tokio::test]
async fn an_epoch_that_is_over_gets_no_routes() {
    let (_, routing) = local();
    let (me, _inbox) = join(&routing).await;
    routing.leave(me).await.unwrap();
    let user = UserId::new();
    assert!(routing.add_routes(me, vec![user]).await.is_err());
    assert!(routing.watch(me, vec![user]).await.is_err());
    assert_eq!(lookup(&routing, &[user]).await, [set(&[])]);
}

#[tokio::test]
async fn a_gateway_watches_no_more_than_stated() {
    let (_, routing) = local();
    let (me, _inbox) = join(&routing).await;
    let (last, one_more) = (UserId::new(), UserId::new());
    let crowd = (1..WATCHED_MAX).map(|_| UserId::new()).chain([last, one_more]).collect();
    assert_eq!(routing.watch(me, crowd).await.unwrap().len(), WATCHED_MAX + 1);
    assert_eq!(routing.watchers(&[last]).await, Ok(vec![vec![me]]));
    assert_eq!(routing.watchers(&[one_more]).await, Ok(vec![vec![]]));
    routing.unwatch(me, vec![last]).await.unwrap();
    routing.watch(me, vec![one_more]).await.unwrap();
    assert_eq!(routing.watchers(&[one_more]).await, Ok(vec![vec![me]]));
}

#[tokio::test]
async fn while_away_everything_says_so_and_nothing_is_lost() {
    let (switch, routing) = local();
    let (me, mut inbox) = join(&routing).await;
    let user = UserId::new();
    add(&routing, me, &[user]).await;
    switch.set_away(true);
    assert!(routing.lookup(&[user]).await.is_err());
    assert!(routing.renew(me).await.is_err());
    switch.set_away(false);
    assert_eq!(lookup(&routing, &[user]).await, [set(&[me])]);
    assert_eq!(deliver(&routing, me, [5]).await, []);
    assert_eq!(contract::number(&within(inbox.recv()).await.unwrap()), 5);
}
