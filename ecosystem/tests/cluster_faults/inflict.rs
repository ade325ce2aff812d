//! How each fault is begun, held and ended.

use crate::cluster::{Cluster, free_ports};
use crate::people::{Crowd, Dice};
use crate::plan::{BLACKHOLE, DOUBLED, Fault, GATEWAY_AWAY, POSTGRES_AWAY, STOPPED};
use crate::process::{Process, dismiss};
use crate::proxy::{Mode, Proxy};
use crate::stage::eventually;
use crate::{crossing, poison};
use rustix::process::Signal;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use tokio::runtime::Handle;

/// A failpoint is reached at a passing of this number or a later one, so that the worker has its share by then.
const PASSINGS: std::ops::Range<u64> = 5..35;
/// Who is on the gateway that is killed and does not come back for now: they must not remain as ghosts.
pub const STAY_AWAY: [usize; 3] = [2, 14, 26];

pub struct Scene<'a, 'b> {
    pub cluster: &'a mut Cluster<'b>,
    pub crowd: &'a Arc<Crowd>,
    pub dice: &'a mut Dice,
    pub runtime: &'a Handle,
}

impl Scene<'_, '_> {
    /// Returns when it is over, and when it began: nanoseconds of the recorder.
    pub fn inflict(&mut self, fault: Fault) -> u64 {
        let now = self.crowd.recorder.now();
        let engines = self.cluster.engines;
        match fault {
            Fault::GatewayKilled => self.kill_a_gateway(),
            Fault::WorkerBeforeCommit => return self.kill_a_worker_at("before_commit"),
            Fault::WorkerAfterCommit => return self.kill_a_worker_at("after_commit"),
            Fault::WorkerStopped => self.stop_a_worker(),
            Fault::RedisEmptied => drop(engines.ask_redis(&["FLUSHALL"])),
            Fault::RedisKilled => {
                engines.redis.kill();
                engines.redis.restart().unwrap();
            }
            Fault::RabbitKilled => {
                engines.rabbit.kill();
                engines.rabbit.restart().unwrap();
            }
            Fault::PostgresKilled => {
                engines.postgres.kill();
                engines.postgres.restart().unwrap();
            }
            Fault::PostgresAway => {
                engines.postgres.kill();
                sleep(POSTGRES_AWAY);
                engines.postgres.restart().unwrap();
            }
            Fault::WorkerWithoutPostgres => swallow(&self.cluster.workers[0].ways.postgres),
            Fault::GatewayWithoutRedis => swallow(&self.cluster.gateways[0].ways.redis),
            Fault::GatewayWithoutRabbit => swallow(&self.cluster.gateways[0].ways.rabbit),
            Fault::Doubled => self.double(),
            Fault::Poison => poison::pour(self.cluster, self.crowd, self.runtime),
            Fault::Crossing => crossing::cross(self.crowd, self.runtime),
            Fault::Reload => self.reload(),
            Fault::Restored => unreachable!("is a run of its own"),
        }
        now
    }

    fn kill_a_gateway(&mut self) {
        let gateway = &mut self.cluster.gateways[0];
        STAY_AWAY.into_iter().for_each(|person| self.crowd.let_stay_away(person, true));
        gateway.kill();
        sleep(GATEWAY_AWAY);
        gateway.start_again();
        eventually("the gateway to be ready", || gateway.is_ready());
    }

    /// In place of one of the workers another one works, until it reaches the point; then the supervisor starts it again.
    fn kill_a_worker_at(&mut self, point: &str) -> u64 {
        let passings = PASSINGS.start + self.dice.below(PASSINGS.end - PASSINGS.start);
        let number = self.dice.below(self.cluster.workers.len() as u64) as usize;
        let worker = &mut self.cluster.workers[number];
        dismiss(worker.start_beside(Some(&format!("{point}:{passings}"))));
        assert!(!worker.wait().success(), "it has reached its failpoint");
        let now = self.crowd.recorder.now();
        worker.start_again();
        now
    }

    fn stop_a_worker(&mut self) {
        let number = self.dice.below(self.cluster.workers.len() as u64) as usize;
        let worker = &self.cluster.workers[number];
        worker.signal(Signal::STOP);
        sleep(STOPPED);
        worker.signal(Signal::CONT);
    }

    fn double(&mut self) {
        let replace = |worker: &mut Process, failpoint| dismiss(worker.start_beside(failpoint));
        self.cluster.workers.iter_mut().for_each(|worker| replace(worker, Some("duplicate_every:5")));
        sleep(DOUBLED);
        self.cluster.workers.iter_mut().for_each(|worker| replace(worker, None));
    }

    fn reload(&mut self) {
        for (number, gateway) in self.cluster.gateways.iter_mut().enumerate() {
            gateway.set("PORT", free_ports(1)[0].to_string());
            let old = gateway.start_beside(None);
            eventually("the new gateway to be ready", || gateway.is_ready());
            self.crowd.server_is_at(number, &gateway.address());
            dismiss(old);
        }
    }
}

fn swallow(way: &Proxy) {
    way.set(Mode::Blackhole);
    sleep(BLACKHOLE);
    way.set(Mode::Forward);
}

/// Until it holds, or this time is over: how long it took, if it did.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let start = std::time::Instant::now();
    while !holds() {
        if start.elapsed() > limit {
            return None;
        }
        sleep(Duration::from_millis(50));
    }
    Some(start.elapsed())
}
