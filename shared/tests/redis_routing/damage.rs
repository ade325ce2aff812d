//! Single keys that somebody damaged: deleted, or holding what we never wrote. Each is mended, and meanwhile harms nobody
//! whose keys are sound.

use super::{Cluster, contract::*};
use shared::{command::GatewayRef, domain::UserId};

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
