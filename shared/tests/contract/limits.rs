//! Promises about what all gateways count together.

use super::{Registry, within};
use futures_util::future;
use shared::routing::{
    Routing,
    cells::{Draw, Drawn},
    terms::Term,
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// Six an hour, six at once: while a test runs nothing is given back that it could see.
const INTERVAL: Duration = Duration::from_secs(600);
const BURST: Duration = Duration::from_secs(3600);
/// A test that takes longer has failed anyway.
const RUN: Duration = Duration::from_secs(60);

fn one(subject: u128) -> Draw {
    Draw { rule: 3, subject, interval: INTERVAL, burst: BURST, count: 1, forced: false }
}

async fn draw(routing: &Arc<dyn Routing>, draws: &[Draw]) -> Vec<Drawn> {
    let drawn = within(routing.draw(draws.to_vec())).await.expect("routing is there");
    assert_eq!(drawn.len(), draws.len());
    drawn
}

/// So many intervals are used up, less what this test has taken of time.
#[track_caller]
fn assert_taken(drawn: Drawn, used: u32) {
    let Drawn::Taken { ahead } = drawn else { panic!("{drawn:?}, and {used} should be used") };
    assert!(ahead <= used * INTERVAL && ahead + RUN >= used * INTERVAL, "{ahead:?}, and {used} should be used");
}

#[track_caller]
fn assert_refused(drawn: Drawn, intervals: u32) {
    let Drawn::Refused { wait } = drawn else { panic!("{drawn:?}, and it should wait for {intervals}") };
    let full = intervals * INTERVAL;
    assert!(wait <= full && wait + RUN >= full && !wait.is_zero(), "{wait:?}, and it should wait for {intervals}");
}

pub async fn what_one_draws_another_lacks<R: Registry>() {
    let registry = R::start().await;
    let (here, there) = (registry.connect().await, registry.connect().await);
    for used in [1, 3, 5] {
        assert_taken(draw(&here, &[one(7)]).await[0], used);
        assert_taken(draw(&there, &[one(7)]).await[0], used + 1);
    }
    for routing in [&here, &there, &here] {
        assert_refused(draw(routing, &[one(7)]).await[0], 1);
    }
    for other in [one(8), one(7 << 64), Draw { rule: 4, ..one(7) }] {
        assert_taken(draw(&there, &[other]).await[0], 1);
    }
}

pub async fn draws_are_answered_in_order_each_by_itself<R: Registry>() {
    let routing = R::start().await.connect().await;
    assert_eq!(draw(&routing, &[]).await, []);
    let several = Draw { count: 5, ..one(1) };
    let drawn = draw(&routing, &[several, several, one(2), one(1), one(1)]).await;
    assert_taken(drawn[0], 5);
    assert_refused(drawn[1], 4);
    assert_taken(drawn[2], 1);
    assert_taken(drawn[3], 6);
    assert_refused(drawn[4], 1);
}

pub async fn what_has_happened_is_drawn_beyond_the_burst<R: Registry>() {
    let routing = R::start().await.connect().await;
    assert_taken(draw(&routing, &[Draw { count: 9, forced: true, ..one(1) }]).await[0], 9);
    assert_refused(draw(&routing, &[one(1)]).await[0], 4);
}

pub async fn what_was_drawn_comes_back_with_time<R: Registry>() {
    let routing = R::start().await.connect().await;
    let quick = Draw { interval: Duration::from_millis(50), burst: Duration::from_millis(50), ..one(1) };
    within(async {
        let mut taken = 0;
        while taken < 3 {
            match draw(&routing, &[quick]).await[0] {
                Drawn::Taken { .. } => taken += 1,
                Drawn::Refused { wait } => {
                    assert!(wait <= quick.interval);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    })
    .await;
}

pub async fn many_who_draw_at_once_get_no_more_than_the_burst<R: Registry>() {
    let registry = R::start().await;
    let mut drawing = vec![];
    for _ in 0..4 {
        let routing = registry.connect().await;
        drawing.push(tokio::spawn(async move { draw(&routing, &[one(1); 5]).await }));
    }
    let drawn = future::join_all(drawing).await;
    let taken = drawn.into_iter().flat_map(|drawn| drawn.expect("no panic"));
    assert_eq!(taken.filter(|drawn| matches!(drawn, Drawn::Taken { .. })).count(), 6);
}

pub async fn what_may_be_used_once_is_used_once<R: Registry>() {
    let registry = R::start().await;
    let (here, there) = (registry.connect().await, registry.connect().await);
    let (key, other) = (*Uuid::now_v7().as_bytes(), *Uuid::now_v7().as_bytes());
    assert_eq!(within(here.use_once(key, RUN)).await, Ok(true));
    for routing in [&there, &here] {
        assert_eq!(within(routing.use_once(key, RUN)).await, Ok(false));
    }
    assert_eq!(within(there.use_once(other, RUN)).await, Ok(true));
    let both = future::join_all([&here, &there].map(|routing| routing.use_once([0xff; 16], RUN)));
    let mut both = within(both).await;
    both.sort_by_key(|used| *used == Ok(true));
    assert_eq!(both, [Ok(false), Ok(true)]);
}

pub async fn what_all_must_have_alike_is_refused_to_who_has_it_otherwise<R: Registry>() {
    let registry = R::start().await;
    let (here, there) = (registry.connect().await, registry.connect().await);
    let term = |setting, value: &str| Term { setting, value: value.to_owned() };
    let ours = [term("DATABASE_URL", "one"), term("PARTITIONS", "8")];
    for routing in [&here, &there, &here] {
        assert_eq!(within(routing.agree(&ours)).await, Ok(vec![]));
    }
    let theirs = [term("DATABASE_URL", "other"), term("PARTITIONS", "8")];
    assert_eq!(within(there.agree(&theirs)).await, Ok(vec!["DATABASE_URL"]));
    // A refusal leaves nothing behind, also of what nobody else has said.
    let more = [term("PARTITIONS", "16"), term("NEW", "theirs")];
    assert_eq!(within(there.agree(&more)).await, Ok(vec!["PARTITIONS"]));
    assert_eq!(within(here.agree(&[term("NEW", "ours")])).await, Ok(vec![]));
    assert_eq!(within(here.agree(&ours)).await, Ok(vec![]));
}
