//! Where people are and who watches them: lists of gateways, changed by scripts alone, read by MGET.

use super::{
    Core,
    dial::Connection,
    keys::{Kind, ROUTE, ref_of, refs, users_in_a_row, users_of},
    link::{About, Again},
    odd,
};
use crate::{
    command::GatewayRef,
    domain::UserId,
    routing::{Routes, RoutingAway, local::WATCHED_MAX},
};
use redis::Value;
use std::collections::HashSet;
use uuid::Uuid;

/// People in one script: Redis does nothing else for about a millisecond.
const CHANGED_AT_ONCE: usize = 500;
/// Keys in one MGET, and how many of these go out together.
const READ_AT_ONCE: usize = 2048;
const READS_TOGETHER: usize = 8;
/// Members of a set that a step of a scan brings, about.
const SCANNED_AT_ONCE: usize = 1000;

/// Somebody's id, and where in the question it stands.
type Asked = (u128, u32);

impl Core {
    pub async fn add_routes(&self, me: GatewayRef, users: &[UserId]) -> Result<Vec<UserId>, RoutingAway> {
        let mut came = vec![];
        for users in users.chunks(CHANGED_AT_ONCE) {
            let row = users_in_a_row(users);
            let first: Option<Vec<u8>> = self
                .run(About::Routes, Again::Yes, &self.scripts.add, |call, again| {
                    call.arg(&ref_of(me)[..]).arg(u8::from(again)).arg(&row);
                })
                .await?;
            came.extend(users_of(&first.ok_or_else(over)?));
        }
        Ok(came)
    }

    /// Who has no route left, or nobody who watches.
    pub async fn remove(
        &self,
        about: About,
        kind: Kind,
        me: GatewayRef,
        users: &[UserId],
    ) -> Result<Vec<UserId>, RoutingAway> {
        let mut went = vec![];
        for users in users.chunks(CHANGED_AT_ONCE) {
            let row = users_in_a_row(users);
            let last: Vec<u8> = self
                .run(about, Again::Yes, &self.scripts.remove, |call, again| {
                    call.arg(&ref_of(me)[..]).arg(u8::from(again)).arg(&row).arg(kind.set).arg(kind.list);
                })
                .await?;
            went.extend(users_of(&last));
        }
        Ok(went)
    }

    pub async fn watch(&self, me: GatewayRef, users: &[UserId]) -> Result<Vec<bool>, RoutingAway> {
        let mut seen = Vec::with_capacity(users.len());
        for users in users.chunks(CHANGED_AT_ONCE) {
            let row = users_in_a_row(users);
            let answer: Option<(Vec<u8>, u64)> = self
                .run(About::Presence, Again::Yes, &self.scripts.watch, |call, _| {
                    call.arg(&ref_of(me)[..]).arg(WATCHED_MAX).arg(&row);
                })
                .await?;
            let (online, refused) = answer.ok_or_else(over)?;
            self.meters.watches_refused.increment(refused);
            seen.extend(online.iter().map(|state| *state == b'1'));
        }
        Ok(seen)
    }

    /// For each of `users`, in order, the gateways in the list. Who is named twice is asked for once.
    pub async fn lists(&self, about: About, kind: Kind, users: &[UserId]) -> Result<Vec<Routes>, RoutingAway> {
        // As numbers they are compared faster.
        let mut sorted: Vec<Asked> = users.iter().map(|user| user.0.as_u128()).zip(0..).collect();
        sorted.sort_unstable();
        let people: Vec<&[Asked]> = sorted.chunk_by(|a, b| a.0 == b.0).collect();
        let mut all = vec![Routes::new(); users.len()];
        for people in people.chunks(READ_AT_ONCE * READS_TOGETHER) {
            let read = self.read_lists(about, kind, people).await?;
            for (mut gateways, same) in read.into_iter().zip(people) {
                self.gone.strike(&mut gateways);
                let (last, others) = same.split_last().expect("cannot fail because a chunk is not empty");
                for (_, index) in others {
                    all[*index as usize].clone_from(&gateways);
                }
                all[last.1 as usize] = gateways;
            }
        }
        Ok(all)
    }

    async fn read_lists(&self, about: About, kind: Kind, people: &[&[Asked]]) -> Result<Vec<Routes>, RoutingAway> {
        let mut reads = redis::pipe();
        for people in people.chunks(READ_AT_ONCE) {
            let key = self.keys.prefix.len() + 32;
            let mut read = redis::Cmd::with_capacity(1 + people.len(), 4 + key * people.len());
            read.arg("MGET");
            self.keys.lists(kind, people.iter().map(|same| UserId(Uuid::from_u128(same[0].0))), |key| {
                read.arg(key);
            });
            reads.add_command(read);
        }
        let reads = &reads;
        let work = |mut connection: Connection, _| async move { reads.query_async(&mut connection.commands).await };
        let answers: Vec<Value> = self.link.call(about, Again::Yes, work).await?;
        let mut lists = Vec::with_capacity(people.len());
        for answer in answers {
            let Value::Array(values) = answer else { return Err(odd()) };
            lists.extend(values.iter().map(|value| match value {
                Value::BulkString(list) => refs(list),
                _ => Routes::new(),
            }));
        }
        if lists.len() == people.len() { Ok(lists) } else { Err(odd()) }
    }

    pub async fn online(&self, users: &[UserId]) -> Result<Vec<bool>, RoutingAway> {
        let routes = self.lists(About::Presence, ROUTE, users).await?;
        // Few gateways hold many people.
        let gateways: HashSet<GatewayRef> = routes.iter().flatten().copied().collect();
        let gateways: Vec<GatewayRef> = gateways.into_iter().collect();
        let mut held = HashSet::new();
        for gateways in gateways.chunks(READ_AT_ONCE) {
            let mut read = redis::cmd("MGET");
            gateways.iter().for_each(|gateway| {
                read.arg(self.keys.lease(gateway.id));
            });
            // Bytes: what we did not write may be no text, and is no lease.
            let leases: Vec<Option<Vec<u8>>> = self.ask(About::Presence, Again::Yes, &read).await?;
            let holds = |(gateway, epoch): &(&GatewayRef, Option<Vec<u8>>)| {
                epoch.as_deref() == Some(gateway.epoch.to_string().as_bytes())
            };
            held.extend(gateways.iter().zip(leases).filter(holds).map(|(gateway, _)| *gateway));
        }
        Ok(routes.iter().map(|gateways| gateways.iter().any(|gateway| held.contains(gateway))).collect())
    }

    /// Everybody routed to this gateway. Who comes or goes meanwhile may be in it or not.
    pub async fn routes_of(&self, me: GatewayRef) -> Result<Vec<UserId>, RoutingAway> {
        let mut users = HashSet::new();
        let mut cursor = 0u64;
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(self.keys.users_of(ROUTE, me)).arg(cursor).arg("COUNT").arg(SCANNED_AT_ONCE);
            let (next, members): (u64, Vec<Vec<u8>>) = self.ask(About::Routes, Again::Yes, &scan).await?;
            users.extend(members.iter().flat_map(|member| users_of(member)));
            cursor = next;
            if cursor == 0 {
                return Ok(users.into_iter().collect());
            }
        }
    }
}

fn over() -> RoutingAway {
    RoutingAway("this epoch is over: join again".to_owned())
}
