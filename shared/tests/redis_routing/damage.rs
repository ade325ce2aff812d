//! Single keys that somebody damaged: deleted, or holding what we never wrote. Each is mended, and meanwhile harms nobody
//! whose keys are sound.

use super::{Cluster, contract::*, why_lost};
use shared::{
    command::GatewayRef,
    domain::UserId,
    routing::cells::{Draw, Drawn},
};
use std::time::Duration;

/// What may be found in place of a text.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Deleted,
    List,
    Text(&'static [u8]),
}

use Damage::{Deleted, List, Text};

impl Cluster {
    async fn damage(&self, key: impl AsRef<[u8]>, damage: Damage) {
        let mut redis = self.redis().await;
        redis::cmd("DEL").arg(key.as_ref()).exec_async(&mut redis).await.unwrap();
        let mut write = match damage {
            Deleted => return,
            List => redis::cmd("LPUSH"),
            Text(_) => redis::cmd("SET"),
        };
        write.arg(key.as_ref()).arg(if let Text(text) = damage { text } else { b"x" });
        write.exec_async(&mut redis).await.unwrap();
    }

    /// One gateway's epoch among all of them.
    async fn damage_field(&self, me: GatewayRef, text: &[u8]) {
        let mut write = redis::cmd("HSET");
        write.arg(self.key("gateways")).arg(me.id.0.as_bytes()).arg(text);
        write.exec_async(&mut self.redis().await).await.unwrap();
    }

    fn list_of(&self, kind: &str, user: UserId) -> Vec<u8> {
        [self.key(kind).as_bytes(), b":", user.0.as_bytes()].concat()
    }

    fn set_of(&self, kind: &str, me: GatewayRef) -> String {
        self.key(&format!("{kind}:{}:{}", me.id, me.epoch))
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_among_them_is_after_its_next_renewal() {
    let cluster = Cluster::start().await;
    let (gateway, worker) = (cluster.process(), cluster.process());
    let ((one, _a), (two, _b)) = (join(&gateway).await, join(&gateway).await);
    let both = [one, two];
    for damage in [Deleted, List, Text(b"garbage")] {
        cluster.damage(cluster.key("gateways"), damage).await;
        for me in both {
            assert_eq!(gateway.renew(me).await, Ok(true), "{damage:?}");
        }
        assert_eq!(set(&within(worker.gateways()).await.unwrap()), set(&both), "{damage:?}");
    }
    for garbage in [&b"garbage"[..], b"", b"\xff\xfe", b"7"] {
        cluster.damage_field(one, garbage).await;
        let others = within(worker.gateways()).await.unwrap();
        assert!(others.contains(&two), "{garbage:?} harms nobody else");
        assert_eq!(gateway.renew(one).await, Ok(true));
        assert_eq!(set(&within(worker.gateways()).await.unwrap()), set(&both), "{garbage:?}");
    }
    // Who has left does not come back by it.
    within(gateway.leave(one)).await.unwrap();
    assert_eq!(gateway.renew(one).await, Ok(false));
    assert_eq!(within(worker.gateways()).await.unwrap(), [two]);
}

#[tokio::test]
async fn what_is_no_list_makes_way_for_one_and_harms_nobody_else() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let ((me, _a), (other, _b)) = (join(&routing).await, join(&routing).await);
    let users = [UserId::new(), UserId::new(), UserId::new()];
    for damage in [Deleted, List, Text(b"x"), Text(b"a byte less than a ref.")] {
        let all = async |kind, users: &[UserId]| {
            for user in users {
                cluster.damage(cluster.list_of(kind, *user), damage).await;
            }
        };
        all("route", &users[..2]).await;
        all("watch", &users[..2]).await;
        assert_eq!(add(&routing, me, &users).await, users, "{damage:?}");
        assert_eq!(lookup(&routing, &users).await, [set(&[me]), set(&[me]), set(&[me])], "{damage:?}");
        assert_eq!(within(routing.watch(me, users.to_vec())).await, Ok(vec![true; 3]), "{damage:?}");
        let watchers = within(routing.watchers(&users)).await.unwrap();
        assert!(watchers.iter().all(|watchers| *watchers == [me]), "{damage:?}");
        // Who watches asks of lists that may be damaged too.
        all("route", &users[..1]).await;
        assert_eq!(within(routing.watch(other, users.to_vec())).await, Ok(vec![false, true, true]), "{damage:?}");
        assert_eq!(remove(&routing, me, &users).await, users[1..], "{damage:?}");
        all("watch", &users[..1]).await;
        for me in [me, other] {
            within(routing.unwatch(me, users.to_vec())).await.unwrap();
        }
    }
    cluster.damage(cluster.list_of("route", users[0]), List).await;
    add(&routing, me, &users[1..]).await;
    remove(&routing, me, &users).await;
    assert_eq!(lookup(&routing, &users).await, [set(&[]), set(&[]), set(&[])]);
    let left = cluster.keys().await;
    assert!(left.iter().all(|key| !key.starts_with("route:")), "what is no list goes with who was in it: {left:?}");
}

#[tokio::test]
async fn a_list_that_ends_in_something_else_keeps_its_gateways() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let ((one, _a), (two, _b)) = (join(&routing).await, join(&routing).await);
    let user = UserId::new();
    add(&routing, one, &[user]).await;
    let mut append = redis::cmd("APPEND");
    append.arg(cluster.list_of("route", user)).arg("x").exec_async(&mut cluster.redis().await).await.unwrap();
    assert_eq!(add(&routing, two, &[user]).await, []);
    assert_eq!(lookup(&routing, &[user]).await, [set(&[one, two])]);
    assert_eq!(remove(&routing, one, &[user]).await, []);
    assert_eq!(remove(&routing, two, &[user]).await, [user]);
}

#[tokio::test]
async fn who_is_in_a_damaged_list_is_swept_with_the_others() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, _a) = join(&routing).await;
    let users = [UserId::new(), UserId::new()];
    add(&routing, me, &users).await;
    within(routing.watch(me, users.to_vec())).await.unwrap();
    for kind in ["route", "watch"] {
        cluster.damage(cluster.list_of(kind, users[0]), List).await;
    }
    within(routing.leave(me)).await.unwrap();
    assert_eq!(lookup(&routing, &users).await, [set(&[]), set(&[])]);
}

#[tokio::test]
async fn a_route_that_was_lost_in_either_place_is_seen_and_written_again() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, _inbox) = join(&routing).await;
    let users: Vec<UserId> = (0..700).map(|_| UserId::new()).collect();
    add(&routing, me, &users).await;
    within(routing.watch(me, users.clone())).await.unwrap();
    // The list, which deliveries read: the set does not show it.
    cluster.damage(cluster.list_of("route", users[3]), Deleted).await;
    assert_eq!(lookup(&routing, &users[3..5]).await, [set(&[]), set(&[me])]);
    assert_eq!(within(routing.routes_of(me)).await.unwrap().len(), users.len());
    assert_eq!(add(&routing, me, &users[3..4]).await, users[3..4]);
    assert_eq!(lookup(&routing, &users[3..5]).await, [set(&[me]), set(&[me])]);
    // The set, whose people are swept when the gateway dies: the lists do not show it.
    for damage in [Deleted, List] {
        for kind in ["routes", "watches"] {
            cluster.damage(cluster.set_of(kind, me), damage).await;
        }
        assert_eq!(routing.renew(me).await, Ok(true), "{damage:?}");
        assert_eq!(within(routing.routes_of(me)).await, Ok(vec![]), "{damage:?}");
        assert_eq!(add(&routing, me, &users).await, [], "they were online");
        within(routing.watch(me, users.clone())).await.unwrap();
        assert_eq!(within(routing.routes_of(me)).await.unwrap().len(), users.len());
    }
    within(routing.leave(me)).await.unwrap();
    assert_eq!(cluster.keys().await, [""; 0], "all of them were swept");
}

#[tokio::test]
async fn a_gateway_whose_lease_is_garbage_joins_again_and_harms_nobody_else() {
    let cluster = Cluster::start().await;
    let (routing, worker) = (cluster.process(), cluster.process());
    let ((mut me, _a), (other, _b)) = (join(&routing).await, join(&routing).await);
    let (mine, both) = (UserId::new(), UserId::new());
    let huge = b"99999999999999999999999999";
    for damage in [Deleted, List, Text(b"garbage"), Text(b""), Text(b"\xff"), Text(b"-1"), Text(b"0x10"), Text(huge)] {
        add(&routing, me, &[mine, both]).await;
        add(&routing, other, &[both]).await;
        cluster.damage(cluster.lease_of(me), damage).await;
        assert_eq!(online(&worker, &[mine, both]).await, [false, true], "{damage:?}");
        assert_eq!(within(routing.watch(other, vec![mine, both])).await, Ok(vec![false, true]), "{damage:?}");
        assert_eq!(routing.renew(me).await, Ok(false), "{damage:?}");
        let (again, _inbox) = join_as(&routing, me.id).await;
        assert!(again.epoch > me.epoch, "{damage:?}");
        me = again;
        assert_eq!(add(&routing, me, &[mine]).await, [mine], "{damage:?}");
        assert_eq!(lookup(&routing, &[mine]).await, [set(&[me])], "{damage:?}");
    }
}

#[tokio::test]
async fn garbage_for_what_all_gateways_share_keeps_nobody_from_joining_leaving_or_dying() {
    let cluster = Cluster::start().await;
    let (routing, worker) = (cluster.process(), cluster.process());
    let (mut me, _a) = join(&routing).await;
    for damage in [Deleted, List, Text(b"garbage")] {
        let damaged = async || {
            cluster.damage(cluster.key("gateways"), damage).await;
            cluster.damage(cluster.key("buried"), damage).await;
        };
        damaged().await;
        (me, _) = join_as(&routing, me.id).await;
        assert_eq!(within(worker.gateways()).await, Ok(vec![me]), "{damage:?}");
        damaged().await;
        assert_eq!(dead(&worker).await, [], "{damage:?}");
        let (leaves, _b) = join(&routing).await;
        damaged().await;
        within(routing.leave(leaves)).await.unwrap();
    }
    for garbage in [&b"garbage"[..], b"\xff", b"-1", b"99999999999999999999999999"] {
        cluster.damage_field(me, garbage).await;
        (me, _) = join_as(&routing, me.id).await;
        assert_eq!(within(worker.gateways()).await, Ok(vec![me]), "{garbage:?}");
    }
    // Fields of no gateway go.
    let mut write = redis::cmd("HSET");
    write.arg(cluster.key("gateways")).arg("nobody").arg("1").arg("nobody else").arg("x");
    write.exec_async(&mut cluster.redis().await).await.unwrap();
    assert_eq!(dead(&worker).await, []);
    let mut count = redis::cmd("HLEN");
    let fields: u32 = count.arg(cluster.key("gateways")).query_async(&mut cluster.redis().await).await.unwrap();
    assert_eq!(fields, 1);
    // One whose set is garbage dies all the same.
    let user = UserId::new();
    add(&routing, me, &[user]).await;
    cluster.damage(cluster.set_of("routes", me), List).await;
    cluster.expire(&cluster.lease_of(me)).await;
    assert_eq!(dead(&worker).await, [(me, vec![])]);
    within(worker.bury(me)).await.unwrap();
}

#[tokio::test]
async fn a_cell_that_is_no_number_is_an_empty_one() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let draw = |subject| Draw {
        rule: 7,
        subject,
        count: 1,
        interval: Duration::from_secs(60),
        burst: Duration::from_secs(60),
        forced: false,
    };
    for damage in [List, Text(b"garbage"), Text(b"inf"), Text(b"99999999999999999999999999")] {
        cluster.damage(cluster.key(&format!("limit:7:{:032x}", 1)), damage).await;
        let drawn = within(routing.draw(vec![draw(1), draw(2)])).await.unwrap();
        assert!(matches!(drawn[0], Drawn::Taken { .. }), "{damage:?}: {drawn:?}");
    }
}

#[tokio::test]
async fn an_inbox_that_is_none_is_lost_and_the_others_get_their_entries() {
    let cluster = Cluster::start().await;
    let (routing, worker) = (cluster.process(), cluster.process());
    let (other, mut inbox) = join(&routing).await;
    let (mut me, mut mine) = join(&routing).await;
    let user = UserId::new();
    let mut told = 0;
    for damage in [List, Text(b"garbage")] {
        add(&routing, me, &[user]).await;
        cluster.damage(cluster.inbox_of(me), damage).await;
        let to = [other, me, other].into_iter().map(|to| {
            told += 1;
            (to, entry(told))
        });
        assert_eq!(within(worker.deliver(to.collect())).await, Ok(vec![me]), "{damage:?}");
        for number_is in [told - 2, told] {
            assert_eq!(number(&within(inbox.recv()).await.unwrap()), number_is, "{damage:?}");
        }
        assert_eq!(lookup(&worker, &[user]).await, [set(&[])], "{damage:?}");
        assert_eq!(routing.renew(me).await, Ok(false), "{damage:?}");
        why_lost(&mut mine).await;
        (me, mine) = join_as(&routing, me.id).await;
        assert_eq!(deliver(&worker, me, [7]).await, []);
        assert_eq!(number(&within(mine.recv()).await.unwrap()), 7);
    }
    // An id that leaves no room for ours.
    let mut write = redis::cmd("XADD");
    write.arg(cluster.inbox_of(me)).arg("7-0").arg("e").arg("x");
    write.exec_async(&mut cluster.redis().await).await.unwrap();
    assert_eq!(within(worker.deliver(vec![(me, entry(0)), (other, entry(1))])).await, Ok(vec![me]));
    assert_eq!(number(&within(inbox.recv()).await.unwrap()), 1);
}

#[tokio::test]
async fn who_dies_with_a_damaged_inbox_is_swept() {
    let cluster = Cluster::start().await;
    let (routing, worker) = (cluster.process(), cluster.process());
    let (me, _inbox) = join(&routing).await;
    let user = UserId::new();
    add(&routing, me, &[user]).await;
    cluster.damage(cluster.inbox_of(me), List).await;
    cluster.expire(&cluster.lease_of(me)).await;
    assert_eq!(dead(&worker).await, [(me, vec![user])]);
    within(worker.bury(me)).await.unwrap();
    assert_eq!(dead(&worker).await, []);
    assert_eq!(lookup(&worker, &[user]).await, [set(&[])]);
}
