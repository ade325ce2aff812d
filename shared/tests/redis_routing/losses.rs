//! Every way in which an inbox is lost, and that it is noticed.

use super::{Cluster, contract::*, until, why_lost};
use shared::{command::GatewayRef, domain::UserId};

/// Of an entry in a stream.
type Fields<'a> = &'a [(&'a str, &'a [u8])];

/// More than is read before somebody takes it.
const MANY: u64 = 400;

async fn write(cluster: &Cluster, me: GatewayRef, id: &str, entry: Fields<'_>) {
    let mut add = redis::cmd("XADD");
    add.arg(cluster.inbox_of(me)).arg("NOMKSTREAM").arg(id);
    entry.iter().for_each(|(field, value)| {
        add.arg(*field).arg(*value);
    });
    let id: Option<String> = add.query_async(&mut cluster.redis().await).await.unwrap();
    assert!(id.is_some());
}

#[tokio::test]
async fn an_inbox_that_was_trimmed_is_lost_where_the_hole_is() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, mut inbox) = join(&routing).await;
    deliver(&routing, me, 0..MANY).await;
    let mut trim = redis::cmd("XTRIM");
    trim.arg(cluster.inbox_of(me)).arg("MAXLEN").arg(1);
    trim.exec_async(&mut cluster.redis().await).await.unwrap();
    let mut taken = 0;
    let lost = within(async {
        loop {
            match inbox.recv().await {
                Ok(entry) => {
                    assert_eq!(number(&entry), taken, "no hole");
                    taken += 1;
                }
                Err(lost) => return lost.0,
            }
        }
    })
    .await;
    assert!(taken < MANY - 1);
    assert_eq!(lost, format!("entries are missing between 1-{taken} and 1-{}", MANY - 1));
    assert!(within(inbox.recv()).await.is_err(), "lost stays lost");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_a_loss() {
    let good: &[u8] = &shared::wire::encode_entry(&entry(0));
    let cases: [(Fields<'_>, &str); 4] = [
        (&[("e", b"garbage")], "entry 1-1 cannot be read: it has version 103"),
        (&[("e", b"")], "entry 1-1 cannot be read: it ends in the middle"),
        (&[("e", &good[..good.len() - 1])], "entry 1-1 cannot be read"),
        (&[("e", good), ("e", good)], "it is no inbox"),
    ];
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    for (garbage, expected) in cases {
        let (me, mut inbox) = join(&routing).await;
        deliver(&routing, me, [7]).await;
        assert_eq!(number(&within(inbox.recv()).await.unwrap()), 7);
        write(&cluster, me, "1-*", garbage).await;
        let why = why_lost(&mut inbox).await;
        assert!(why.starts_with(expected), "{why}");
        // A gateway that joins again is well again.
        let (me, mut inbox) = join_as(&routing, me.id).await;
        deliver(&routing, me, [8]).await;
        assert_eq!(number(&within(inbox.recv()).await.unwrap()), 8);
    }
}

#[tokio::test]
async fn an_id_out_of_order_is_a_hole() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, mut inbox) = join(&routing).await;
    let good = shared::wire::encode_entry(&entry(0));
    write(&cluster, me, "7-0", &[("e", &good)]).await;
    assert_eq!(why_lost(&mut inbox).await, "entries are missing between 1-0 and 7-0");
}

#[tokio::test]
async fn a_wipe_while_somebody_reads_is_noticed() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (me, mut inbox) = join(&routing).await;
    let (begun, reading) = tokio::sync::oneshot::channel();
    let waiting = tokio::spawn(async move {
        assert_eq!(number(&within(inbox.recv()).await.unwrap()), 1);
        begun.send(()).unwrap();
        why_lost(&mut inbox).await
    });
    deliver(&routing, me, [1]).await;
    within(reading).await.unwrap();
    cluster.wipe().await;
    assert_eq!(within(waiting).await.unwrap(), "it is not there any more");
    assert_eq!(routing.renew(me).await, Ok(false));
}

#[tokio::test]
async fn without_its_inbox_a_lease_is_not_renewed_and_without_its_lease_nobody_is_routed() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (one, _a) = join(&routing).await;
    cluster.expire(&cluster.inbox_of(one)).await;
    assert_eq!(routing.renew(one).await, Ok(false));
    let (two, _b) = join(&routing).await;
    cluster.expire(&cluster.lease_of(two)).await;
    assert_eq!(routing.renew(two).await, Ok(false), "it is not given again");
    let user = UserId::new();
    for refused in [routing.add_routes(two, vec![user]).await.map(drop), routing.watch(two, vec![user]).await.map(drop)]
    {
        assert!(refused.unwrap_err().0.contains("join again"));
    }
    assert_eq!(lookup(&routing, &[user]).await, [set(&[])]);
}

#[tokio::test]
async fn an_epoch_is_above_every_earlier_one_even_when_all_is_forgotten_and_the_clock_set_back() {
    let cluster = Cluster::start().await;
    let routing = cluster.process();
    let (first, _a) = join(&routing).await;
    // A clock that was ahead by a year gave this one.
    let ahead = first.epoch + 365 * 86_400 * 1_000_000;
    let mut set = redis::cmd("SET");
    set.arg(cluster.lease_of(first)).arg(ahead).exec_async(&mut cluster.redis().await).await.unwrap();
    let (second, _b) = join_as(&routing, first.id).await;
    assert_eq!(second.epoch, ahead + 1);
    cluster.wipe().await;
    let (third, _c) = join_as(&routing, first.id).await;
    assert!(third.epoch > second.epoch);
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_struck_here_at_once_and_for_all_soon() {
    let cluster = Cluster::start().await;
    let (gateway, worker, other) = (cluster.process(), cluster.process(), cluster.process());
    let (me, _inbox) = join(&gateway).await;
    let users: Vec<UserId> = (0..3000).map(|_| UserId::new()).collect();
    assert_eq!(add(&gateway, me, &users).await.len(), users.len());
    within(gateway.watch(me, users[..1500].to_vec())).await.unwrap();
    cluster.expire(&cluster.inbox_of(me)).await;
    assert!(lookup(&worker, &users).await.iter().all(|routes| routes.len() == 1));
    assert_eq!(deliver(&worker, me, [1, 2]).await, [me]);
    assert!(lookup(&worker, &users).await.iter().all(|routes| routes.is_empty()));
    until(async || lookup(&other, &users).await.iter().all(|routes| routes.is_empty()).then_some(())).await;
    until(async || within(other.watchers(&users)).await.unwrap().iter().all(Vec::is_empty).then_some(())).await;
    assert_eq!(deliver(&other, me, [1]).await, [me]);
}
