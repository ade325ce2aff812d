//! The lives of gateways: leases, deaths, and what is swept afterwards.

use super::{
    Core,
    deliver::SWEPT_AT_ONCE,
    dial::Connection,
    inbox::{Progress, RedisInbox},
    keys::{INBOX_LIFE, ref_of, refs},
    link::{About, Again},
    odd,
};
use crate::{
    clock,
    command::GatewayRef,
    domain::{GatewayId, UserId},
    routing::{DEAD_AGAIN, LEASE, RoutingAway},
};
use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Routes, and as many watches, that one step of a sweep deletes.
const SWEPT_IN_A_STEP: usize = 500;
/// Steps for each buried gateway whenever the dead are looked for.
const SWEPT_IN_PASSING: usize = 20 * SWEPT_IN_A_STEP;

/// Gateways as Redis has them: the bytes of the id, the epoch as text. Bytes both: what we did not write may be no text.
type Lives = Vec<(Vec<u8>, Vec<u8>)>;

/// The last life of a gateway that joined through here.
pub(super) struct Life {
    epoch: u64,
    progress: Arc<Progress>,
}

impl Core {
    pub async fn join(self: &Arc<Self>, id: GatewayId) -> Result<(GatewayRef, RedisInbox), RoutingAway> {
        let last = self.lives().get(&id).map_or(0, |life| life.epoch);
        let work = |mut connection: Connection, _| {
            let mut call = self.scripts.join.prepare_invoke();
            call.arg(&self.keys.prefix).arg(&id.0.as_bytes()[..]).arg(last);
            call.arg(LEASE.as_millis() as u64).arg(INBOX_LIFE.as_millis() as u64);
            async move {
                let epochs: Vec<Vec<u8>> = call.invoke_async(&mut connection.commands).await?;
                Ok((epochs, connection.run_id))
            }
        };
        let (epochs, run_id) = self.link.call(About::Lease, Again::Yes, work).await?;
        let lives: Vec<GatewayRef> = epochs.iter().filter_map(|epoch| life(id.0.as_bytes(), epoch)).collect();
        let Some((&me, earlier)) = lives.split_first() else { return Err(odd()) };
        let progress = Arc::new(Progress::default());
        self.lives().insert(id, Life { epoch: me.epoch, progress: progress.clone() });
        let inbox = RedisInbox::open(self.link.clone(), me, self.keys.inbox(me), run_id, progress);
        for &earlier in earlier {
            self.gone.add(earlier);
            if !self.sweep(earlier, SWEPT_AT_ONCE).await? {
                self.sweep_behind(earlier);
            }
        }
        Ok((me, inbox))
    }

    pub async fn renew(&self, me: GatewayRef) -> Result<bool, RoutingAway> {
        let state: Option<(u64, u64, u64)> = self
            .run(About::Lease, Again::Yes, &self.scripts.renew, |call, _| {
                call.arg(&ref_of(me)[..]).arg(LEASE.as_millis() as u64).arg(INBOX_LIFE.as_millis() as u64);
            })
            .await?;
        let Some((written, routes, watched)) = state else { return Ok(false) };
        self.meters.routes.set(routes as f64);
        self.meters.watched.set(watched as f64);
        if let Some(life) = self.lives().get(&me.id).filter(|life| life.epoch == me.epoch) {
            self.meters.entries.set(written.saturating_sub(life.progress.taken()) as f64);
        }
        Ok(true)
    }

    pub async fn leave(&self, me: GatewayRef) -> Result<(), RoutingAway> {
        self.run::<()>(About::Lease, Again::Yes, &self.scripts.leave, |call, _| {
            call.arg(&ref_of(me)[..]);
        })
        .await?;
        self.gone.add(me);
        self.sweep(me, usize::MAX).await?;
        Ok(())
    }

    pub async fn gateways(&self) -> Result<Vec<GatewayRef>, RoutingAway> {
        let mut all = redis::cmd("HGETALL");
        all.arg(self.keys.of("gateways"));
        let all: Lives = self.ask(About::Lease, Again::Yes, &all).await?;
        Ok(all.iter().filter_map(|(id, epoch)| life(id, epoch)).collect())
    }

    pub async fn dead(&self) -> Result<Vec<(GatewayRef, Vec<UserId>)>, RoutingAway> {
        let work = |mut connection: Connection, _| {
            let mut call = self.scripts.dead.prepare_invoke();
            call.arg(&self.keys.prefix).arg(DEAD_AGAIN.as_millis() as u64);
            async move {
                // Redis was away for us, and so probably for the gateways: their leases ended, and they are coming back.
                if connection.number > 0 && clock::monotonic().duration_since(connection.since) < LEASE {
                    return Ok(None);
                }
                call.invoke_async(&mut connection.commands).await.map(Some)
            }
        };
        let answer: Option<(u32, Lives)> = self.link.call(About::Lease, Again::Yes, work).await?;
        let Some((held, claimed)) = answer else { return Ok(vec![]) };
        self.meters.leases.set(held);
        self.sweep_buried().await?;
        let mut dead = vec![];
        for gateway in claimed.iter().filter_map(|(id, epoch)| life(id, epoch)) {
            dead.push((gateway, self.routes_of(gateway).await?));
        }
        Ok(dead)
    }

    pub async fn bury(&self, dead: GatewayRef) -> Result<(), RoutingAway> {
        self.run(About::Lease, Again::Yes, &self.scripts.bury, |call, _| {
            call.arg(&ref_of(dead)[..]);
        })
        .await
    }

    /// Of those whose epoch is over, those whose inbox nobody can want any more.
    async fn sweep_buried(&self) -> Result<(), RoutingAway> {
        let mut buried = redis::cmd("SMEMBERS");
        buried.arg(self.keys.of("buried"));
        let buried: Vec<Vec<u8>> = self.ask(About::Lease, Again::Yes, &buried).await?;
        for gateway in buried.iter().flat_map(|list| refs(list)) {
            let mut kind = redis::cmd("TYPE");
            kind.arg(self.keys.inbox(gateway));
            if self.ask::<String>(About::Lease, Again::Yes, &kind).await? != "stream" {
                self.sweep(gateway, SWEPT_IN_PASSING).await?;
            }
        }
        Ok(())
    }

    /// Deletes routes and watches of an epoch that is over, so many or a few more. True: there are no more.
    pub async fn sweep(&self, gone: GatewayRef, users_max: usize) -> Result<bool, RoutingAway> {
        let mut swept = 0;
        while swept < users_max {
            let met: usize = self
                .run(About::Routes, Again::Yes, &self.scripts.sweep, |call, _| {
                    call.arg(&ref_of(gone)[..]).arg(SWEPT_IN_A_STEP);
                })
                .await?;
            if met == 0 {
                return Ok(true);
            }
            swept += met;
        }
        Ok(false)
    }

    /// One for each gateway of this process: one.
    fn lives(&self) -> MutexGuard<'_, HashMap<GatewayId, Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn life(id: &[u8], epoch: &[u8]) -> Option<GatewayRef> {
    let epoch = std::str::from_utf8(epoch).ok()?.parse().ok()?;
    Some(GatewayRef { id: GatewayId(Uuid::from_slice(id).ok()?), epoch })
}
