//! The promises of `shared::routing`, for any implementation: give [`routing_contract!`] a [`Registry`] and every one is
//! a test.

#[path = "limits.rs"]
mod limits;
#[path = "presence.rs"]
mod presence;

use futures_util::future;
pub use limits::*;
pub use presence::*;
use shared::{
    command::GatewayRef,
    domain::{GatewayId, INBOX_ENTRIES_MAX, UserId},
    event::{InboxEntry, InboxItem},
    reply::{Outcome, Reply},
    routing::{Inbox, Routing},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Routing of its own for one test, with nobody in it.
pub trait Registry: Sized {
    async fn start() -> Self;

    /// What another process would hold.
    async fn connect(&self) -> Arc<dyn Routing>;

    /// Everything is forgotten, behind everybody's back.
    async fn wipe(&self);
}

macro_rules! routing_contract {
    ($registry:ty: $($promise:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            contract::$promise::<$registry>().await;
        })*
    };
    ($registry:ty) => {
        routing_contract! { $registry:
            joining_again_is_another_epoch
            an_earlier_epoch_is_out_of_reach
            entries_come_in_the_order_delivered
            an_inbox_that_overflows_is_lost_and_not_trimmed
            a_cancelled_recv_loses_nothing
            a_wipe_is_noticed_and_repaired
            a_route_is_there_or_not_however_often_it_was_added
            a_person_may_be_on_several_gateways
            one_of_many_is_the_first_and_one_is_the_last
            coming_and_going_is_answered_without_a_gap
            a_gateway_that_is_gone_is_said_so_and_its_routes_go
            a_gateway_that_never_joined_is_gone
            gateways_are_those_that_joined_and_did_not_leave
            a_gateway_can_compare_its_routes
            who_watches_is_told_to_whom_he_asks_about
            whoever_comes_while_watching_begins_is_seen_or_announced
            who_has_a_route_is_online
            whose_gateway_joined_again_is_online_when_routed_again
            who_lives_or_has_left_is_not_dead
            burying_who_is_not_dead_changes_nothing
            what_one_draws_another_lacks
            draws_are_answered_in_order_each_by_itself
            what_has_happened_is_drawn_beyond_the_burst
            what_was_drawn_comes_back_with_time
            many_who_draw_at_once_get_no_more_than_the_burst
            what_may_be_used_once_is_used_once
            what_all_must_have_alike_is_refused_to_who_has_it_otherwise
        }
    };
}
pub(crate) use routing_contract;

/// A test that waits longer has failed.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("what was promised did not happen in time")
}

pub async fn join(routing: &Arc<dyn Routing>) -> (GatewayRef, Box<dyn Inbox>) {
    join_as(routing, GatewayId::new()).await
}

pub async fn join_as(routing: &Arc<dyn Routing>, gateway: GatewayId) -> (GatewayRef, Box<dyn Inbox>) {
    within(routing.join(gateway)).await.expect("joined")
}

/// An entry that is told from others by its number.
pub fn entry(number: u64) -> InboxEntry {
    entry_of(number, 2)
}

pub fn entry_of(number: u64, bytes: usize) -> InboxEntry {
    let json = format!("\"{}\"", "x".repeat(bytes)).into();
    InboxEntry {
        items: vec![InboxItem::Replies(vec![Reply { ticket: number, outcome: Outcome::Ok { created: true, json } }])],
    }
}

pub fn number(entry: &InboxEntry) -> u64 {
    match &entry.items[..] {
        [InboxItem::Replies(replies)] => replies[0].ticket,
        other => panic!("{other:?} was never delivered"),
    }
}

/// The gateways that are gone.
pub async fn deliver(
    routing: &Arc<dyn Routing>,
    to: GatewayRef,
    numbers: impl IntoIterator<Item = u64>,
) -> Vec<GatewayRef> {
    within(routing.deliver(numbers.into_iter().map(|number| (to, entry(number))).collect()))
        .await
        .expect("routing is there")
}

pub async fn add(routing: &Arc<dyn Routing>, me: GatewayRef, users: &[UserId]) -> Vec<UserId> {
    within(routing.add_routes(me, users.to_vec())).await.expect("added")
}

pub async fn remove(routing: &Arc<dyn Routing>, me: GatewayRef, users: &[UserId]) -> Vec<UserId> {
    within(routing.remove_routes(me, users.to_vec())).await.expect("removed")
}

/// The gateways of each, as sets.
pub async fn lookup(routing: &Arc<dyn Routing>, users: &[UserId]) -> Vec<BTreeSet<(GatewayId, u64)>> {
    let routes = within(routing.lookup(users)).await.expect("routing is there");
    assert_eq!(routes.len(), users.len());
    routes.into_iter().map(|routes| set(&routes)).collect()
}

pub fn set(gateways: &[GatewayRef]) -> BTreeSet<(GatewayId, u64)> {
    let set: BTreeSet<_> = gateways.iter().map(|gateway| (gateway.id, gateway.epoch)).collect();
    assert_eq!(set.len(), gateways.len(), "each gateway once");
    set
}

pub async fn joining_again_is_another_epoch<R: Registry>() {
    let routing = R::start().await.connect().await;
    let (first, _inbox) = join(&routing).await;
    let (other, _inbox) = join(&routing).await;
    let (second, _inbox) = join_as(&routing, first.id).await;
    assert_eq!(first.id, second.id);
    assert!(second.epoch > first.epoch);
    for (gateway, is_current) in [(first, false), (second, true), (other, true)] {
        assert_eq!(within(routing.renew(gateway)).await, Ok(is_current));
    }
}

pub async fn an_earlier_epoch_is_out_of_reach<R: Registry>() {
    let registry = R::start().await;
    let (routing, worker) = (registry.connect().await, registry.connect().await);
    let user = UserId::new();
    let (old, mut old_inbox) = join(&routing).await;
    add(&routing, old, &[user]).await;
    assert_eq!(deliver(&worker, old, [1]).await, []);
    let (new, mut new_inbox) = join_as(&routing, old.id).await;
    assert_eq!(deliver(&worker, old, [2]).await, [old]);
    within(async { while old_inbox.recv().await.is_ok() {} }).await;
    assert!(!lookup(&worker, &[user]).await[0].contains(&(old.id, old.epoch)));
    add(&routing, new, &[user]).await;
    assert_eq!(lookup(&worker, &[user]).await, [set(&[new])]);
    assert_eq!(deliver(&worker, new, [3]).await, []);
    assert_eq!(number(&within(new_inbox.recv()).await.expect("an entry")), 3, "the new inbox began empty");
}

pub async fn entries_come_in_the_order_delivered<R: Registry>() {
    let registry = R::start().await;
    let (worker, routing) = (registry.connect().await, registry.connect().await);
    let ((one, mut inbox_of_one), (two, mut inbox_of_two)) = (join(&routing).await, join(&routing).await);
    for first in (0..1000).step_by(100) {
        let entries = (first..first + 100).map(|number| (if number % 2 == 0 { one } else { two }, entry(number)));
        assert_eq!(within(worker.deliver(entries.collect())).await, Ok(vec![]));
    }
    for expected in (0..1000).step_by(2) {
        assert_eq!(number(&within(inbox_of_one.recv()).await.expect("an entry")), expected);
        assert_eq!(number(&within(inbox_of_two.recv()).await.expect("an entry")), expected + 1);
    }
}

pub async fn an_inbox_that_overflows_is_lost_and_not_trimmed<R: Registry>() {
    let registry = R::start().await;
    let (worker, routing) = (registry.connect().await, registry.connect().await);
    let (me, mut inbox) = join(&routing).await;
    for first in (0..2 * INBOX_ENTRIES_MAX as u64).step_by(1024) {
        deliver(&worker, me, first..first + 1024).await;
    }
    within(async {
        let mut expected = 0;
        while let Ok(entry) = inbox.recv().await {
            assert_eq!(number(&entry), expected, "what is received has no hole, not even at the beginning");
            expected += 1;
        }
        assert!(expected < 2 * INBOX_ENTRIES_MAX as u64, "an inbox without a bound");
    })
    .await;
    assert!(within(inbox.recv()).await.is_err(), "lost stays lost");
    let (me, mut inbox) = join_as(&routing, me.id).await;
    assert_eq!(deliver(&worker, me, [7]).await, []);
    assert_eq!(number(&within(inbox.recv()).await.expect("an entry")), 7);
}

pub async fn a_cancelled_recv_loses_nothing<R: Registry>() {
    let registry = R::start().await;
    let (worker, routing) = (registry.connect().await, registry.connect().await);
    let (me, mut inbox) = join(&routing).await;
    let delivering = tokio::spawn(async move {
        for number in 0..300 {
            assert_eq!(deliver(&worker, me, [number]).await, []);
            tokio::task::yield_now().await;
        }
    });
    let mut expected = 0;
    within(async {
        while expected < 300 {
            let received = tokio::select! {
                biased;
                entry = inbox.recv() => Some(entry.expect("an entry")),
                () = tokio::task::yield_now() => None,
            };
            if let Some(entry) = received {
                assert_eq!(number(&entry), expected);
                expected += 1;
            }
        }
    })
    .await;
    delivering.await.expect("no panic");
}

pub async fn a_wipe_is_noticed_and_repaired<R: Registry>() {
    let registry = R::start().await;
    let (worker, routing) = (registry.connect().await, registry.connect().await);
    let users = [UserId::new(), UserId::new()];
    let (old, mut inbox) = join(&routing).await;
    assert_eq!(add(&routing, old, &users).await, users);
    registry.wipe().await;
    assert_eq!(within(routing.renew(old)).await, Ok(false));
    assert!(within(inbox.recv()).await.is_err());
    assert_eq!(lookup(&worker, &users).await, [set(&[]), set(&[])]);
    assert_eq!(deliver(&worker, old, [1]).await, [old]);
    let (new, mut inbox) = join_as(&routing, old.id).await;
    assert_eq!(within(routing.renew(new)).await, Ok(true));
    assert_eq!(add(&routing, new, &users).await, users);
    assert_eq!(lookup(&worker, &users).await, [set(&[new]), set(&[new])]);
    assert_eq!(deliver(&worker, new, [2]).await, []);
    assert_eq!(number(&within(inbox.recv()).await.expect("an entry")), 2);
}

pub async fn a_route_is_there_or_not_however_often_it_was_added<R: Registry>() {
    let routing = R::start().await.connect().await;
    let (me, _inbox) = join(&routing).await;
    let user = UserId::new();
    assert_eq!(add(&routing, me, &[user]).await, [user]);
    assert_eq!(add(&routing, me, &[user]).await, [], "it had a route");
    assert_eq!(lookup(&routing, &[user]).await, [set(&[me])]);
    assert_eq!(remove(&routing, me, &[user]).await, [user]);
    assert_eq!(lookup(&routing, &[user]).await, [set(&[])]);
    assert_eq!(remove(&routing, me, &[user]).await, [], "it left before");
    assert_eq!(add(&routing, me, &[user]).await, [user]);
}

pub async fn a_person_may_be_on_several_gateways<R: Registry>() {
    let routing = R::start().await.connect().await;
    let ((one, _a), (two, _b), (three, _c)) = (join(&routing).await, join(&routing).await, join(&routing).await);
    let (everywhere, here, nowhere) = (UserId::new(), UserId::new(), UserId::new());
    assert_eq!(add(&routing, one, &[everywhere, here]).await, [everywhere, here]);
    for gateway in [two, three] {
        assert_eq!(add(&routing, gateway, &[everywhere]).await, []);
    }
    let asked = [nowhere, everywhere, here, everywhere];
    let all = set(&[one, two, three]);
    assert_eq!(lookup(&routing, &asked).await, [set(&[]), all.clone(), set(&[one]), all]);
    for gateway in [one, three] {
        assert_eq!(remove(&routing, gateway, &[everywhere]).await, []);
    }
    assert_eq!(lookup(&routing, &asked[..2]).await, [set(&[]), set(&[two])]);
    assert_eq!(remove(&routing, two, &[everywhere]).await, [everywhere]);
}

pub async fn one_of_many_is_the_first_and_one_is_the_last<R: Registry>() {
    let registry = R::start().await;
    let users: Vec<UserId> = (0..50).map(|_| UserId::new()).collect();
    let mut gateways = vec![];
    for _ in 0..8 {
        let routing = registry.connect().await;
        let (me, inbox) = join(&routing).await;
        gateways.push((routing, me, inbox));
    }
    let coming = gateways.iter().map(|(routing, me, _)| spawn_adding(routing.clone(), *me, users.clone()));
    assert_each_once(future::join_all(coming.collect::<Vec<_>>()).await, &users);
    let going = gateways.iter().map(|(routing, me, _)| spawn_removing(routing.clone(), *me, users.clone()));
    assert_each_once(future::join_all(going.collect::<Vec<_>>()).await, &users);
    assert!(lookup(&gateways[0].0, &users).await.iter().all(BTreeSet::is_empty));
}

type Answering = tokio::task::JoinHandle<Vec<UserId>>;

fn spawn_adding(routing: Arc<dyn Routing>, me: GatewayRef, users: Vec<UserId>) -> Answering {
    tokio::spawn(async move { add(&routing, me, &users).await })
}

fn spawn_removing(routing: Arc<dyn Routing>, me: GatewayRef, users: Vec<UserId>) -> Answering {
    tokio::spawn(async move { remove(&routing, me, &users).await })
}

fn assert_each_once(answers: Vec<Result<Vec<UserId>, tokio::task::JoinError>>, users: &[UserId]) {
    let mut answered: Vec<UserId> = answers.into_iter().flat_map(|answer| answer.expect("no panic")).collect();
    answered.sort_unstable();
    let mut users = users.to_vec();
    users.sort_unstable();
    assert_eq!(answered, users);
}

pub async fn coming_and_going_is_answered_without_a_gap<R: Registry>() {
    let registry = R::start().await;
    let user = UserId::new();
    let mut tasks = vec![];
    for _ in 0..4 {
        let routing = registry.connect().await;
        tasks.push(tokio::spawn(async move {
            let (me, _inbox) = join(&routing).await;
            let (mut came, mut went) = (0, 0);
            for _ in 0..100 {
                came += add(&routing, me, &[user]).await.len();
                went += remove(&routing, me, &[user]).await.len();
            }
            (came, went)
        }));
    }
    let (mut came, mut went) = (0, 0);
    for task in tasks {
        let (more_came, more_went) = within(task).await.expect("no panic");
        (came, went) = (came + more_came, went + more_went);
    }
    assert_eq!(came, went, "each coming online has its going offline");
    assert!(came >= 1);
}

pub async fn a_gateway_that_is_gone_is_said_so_and_its_routes_go<R: Registry>() {
    let registry = R::start().await;
    let (worker, routing) = (registry.connect().await, registry.connect().await);
    let ((gone, _a), (stays, mut inbox)) = (join(&routing).await, join(&routing).await);
    let (user, other) = (UserId::new(), UserId::new());
    add(&routing, gone, &[user, other]).await;
    add(&routing, stays, &[user]).await;
    within(routing.leave(gone)).await.expect("left");
    assert_eq!(within(routing.renew(gone)).await, Ok(false));
    let entries = vec![(gone, entry(1)), (stays, entry(1)), (gone, entry(2)), (stays, entry(2))];
    assert_eq!(within(worker.deliver(entries)).await, Ok(vec![gone]), "once, however much was for it");
    assert_eq!(lookup(&worker, &[user, other]).await, [set(&[stays]), set(&[])]);
    for expected in [1, 2] {
        assert_eq!(number(&within(inbox.recv()).await.expect("an entry")), expected);
    }
    assert_eq!(add(&routing, stays, &[other]).await, [other], "a dead gateway's route is no route");
}

pub async fn a_gateway_that_never_joined_is_gone<R: Registry>() {
    let routing = R::start().await.connect().await;
    let stranger = GatewayRef { id: GatewayId::new(), epoch: 1 };
    assert_eq!(deliver(&routing, stranger, [1]).await, [stranger]);
    assert_eq!(within(routing.renew(stranger)).await, Ok(false));
    within(routing.leave(stranger)).await.expect("leaving what one is not in is harmless");
}

pub async fn gateways_are_those_that_joined_and_did_not_leave<R: Registry>() {
    let registry = R::start().await;
    let (routing, worker) = (registry.connect().await, registry.connect().await);
    assert_eq!(within(worker.gateways()).await, Ok(vec![]));
    let ((one, _a), (two, _b)) = (join(&routing).await, join(&routing).await);
    let (again, _c) = join_as(&routing, one.id).await;
    assert_eq!(set(&within(worker.gateways()).await.expect("routing is there")), set(&[again, two]));
    within(routing.leave(two)).await.expect("left");
    within(routing.leave(one)).await.expect("an earlier epoch's leaving changes nothing");
    assert_eq!(within(worker.gateways()).await, Ok(vec![again]));
}

pub async fn a_gateway_can_compare_its_routes<R: Registry>() {
    let routing = R::start().await.connect().await;
    let ((me, _a), (other, _b)) = (join(&routing).await, join(&routing).await);
    let users: Vec<UserId> = (0..200).map(|_| UserId::new()).collect();
    add(&routing, me, &users[..150]).await;
    add(&routing, other, &users[100..]).await;
    remove(&routing, me, &users[..10]).await;
    let mine: BTreeSet<UserId> = within(routing.routes_of(me)).await.expect("routing is there").into_iter().collect();
    assert_eq!(mine, users[10..150].iter().copied().collect());
}

pub async fn who_watches_is_told_to_whom_he_asks_about<R: Registry>() {
    let routing = R::start().await.connect().await;
    let ((one, _a), (two, _b)) = (join(&routing).await, join(&routing).await);
    let (on, off) = (UserId::new(), UserId::new());
    add(&routing, two, &[on]).await;
    assert_eq!(within(routing.watch(one, vec![off, on])).await, Ok(vec![false, true]), "in the order asked");
    assert_eq!(within(routing.watch(two, vec![on])).await, Ok(vec![true]));
    assert_eq!(within(routing.watch(one, vec![on])).await, Ok(vec![true]), "again changes nothing");
    assert_eq!(watchers(&routing, &[on, off]).await, [set(&[one, two]), set(&[one])], "in the order asked");
    within(routing.unwatch(one, vec![on, off])).await.expect("routing is there");
    within(routing.unwatch(one, vec![off])).await.expect("what is not watched is not watched");
    assert_eq!(watchers(&routing, &[off, on]).await, [set(&[]), set(&[two])]);
}

async fn watchers(routing: &Arc<dyn Routing>, users: &[UserId]) -> Vec<BTreeSet<(GatewayId, u64)>> {
    let watchers = within(routing.watchers(users)).await.expect("routing is there");
    watchers.iter().map(|gateways| set(gateways)).collect()
}

pub async fn whoever_comes_while_watching_begins_is_seen_or_announced<R: Registry>() {
    let registry = R::start().await;
    for _ in 0..50 {
        let (watching, coming) = (registry.connect().await, registry.connect().await);
        let ((watcher, _a), (home, _b)) = (join(&watching).await, join(&coming).await);
        let user = UserId::new();
        let watch = tokio::spawn(async move { within(watching.watch(watcher, vec![user])).await.expect("watched")[0] });
        let come = tokio::spawn(async move {
            add(&coming, home, &[user]).await;
            within(coming.watchers(&[user])).await.expect("routing is there").remove(0)
        });
        let (seen, told) = (watch.await.expect("no panic"), come.await.expect("no panic"));
        assert!(seen || told == [watcher], "neither saw the other");
    }
}
