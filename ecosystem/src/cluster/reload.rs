//! New processes for old ones, while everybody is served: the new ones are started beside the old, and only when all of
//! them are ready the old ones drain. If one of the new does not get there, all of the new go and nothing has changed.

use super::{
    Role,
    launcher::Launcher,
    member::{Duty, Member},
    processes::{self, Outcome},
};
use shared::clock;
use std::time::{Duration, Instant};

/// For the new ones to be ready.
const READY: Duration = Duration::from_secs(60);

pub struct Reload {
    begun: Instant,
    old: Vec<String>,
    new: Vec<String>,
    /// The new ones serve, the old ones leave.
    turned: bool,
}

impl Launcher {
    pub(super) fn begin_reload(&mut self) {
        if self.reload.is_some() || !self.is_up {
            tracing::warn!("not reloaded: a start or a reload is under way");
            return;
        }
        let number = self.report.as_ref().map_or(1, |report| report.number + 1);
        self.report = Some(processes::Reload { number, outcome: Outcome::Running, words: "under way".to_owned() });
        if let Err(error) = (self.order.unchanged)() {
            return self.fail_reload(&format!("{error:#}"));
        }
        let size = self.order.size;
        let old = self.members.keys().cloned().collect();
        tracing::info!("reload: new processes are started");
        let new = self.add(Role::Worker, size.workers, Duty::Trial).and_then(|mut workers| {
            workers.extend(self.add(Role::Gateway, size.gateways, Duty::Trial)?);
            Ok(workers)
        });
        match new {
            Ok(new) => self.reload = Some(Reload { begun: clock::monotonic(), old, new, turned: false }),
            Err(error) => self.fail_reload(&format!("{error:#}")),
        }
    }

    /// Looked at after everything that happens.
    pub(super) fn go_on_with_reload(&mut self) {
        let Some(reload) = &mut self.reload else { return };
        let there = |name: &String| self.members.get(name);
        if reload.turned {
            if reload.old.iter().all(|name| there(name).is_none()) {
                let took = reload.begun.elapsed();
                self.reload = None;
                self.close_reload(Outcome::Done, took);
            }
        } else if reload.new.iter().all(|name| there(name).is_some_and(Member::is_ready)) {
            reload.turned = true;
            let (old, new) = (reload.old.clone(), reload.new.clone());
            for name in new {
                if let Some(member) = self.members.get_mut(&name) {
                    member.duty = Duty::Serve;
                }
            }
            tracing::info!("reload: the new processes are ready, the old ones drain");
            self.dismiss(&old);
        } else if reload.begun.elapsed() > READY {
            let late = reload.new.iter().filter_map(|name| Some((name, there(name)?)));
            let late = late.filter(|(_, member)| !member.is_ready());
            let words: Vec<String> =
                late.map(|(name, member)| format!("{name} is not ready ({})", member.state_in_words())).collect();
            self.fail_reload(&words.join(", "));
        }
    }

    /// The new ones go: they may hold connections already, so they drain like any other.
    pub(super) fn fail_reload(&mut self, why: &str) {
        self.reload = None;
        let new: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.duty == Duty::Trial)
            .map(|(name, _)| name.clone())
            .collect();
        self.dismiss(&new);
        let number = self.report.as_ref().map_or(1, |report| report.number);
        let words = format!("{why}; the processes that were there go on");
        tracing::error!(why, "reload: failed, the old processes go on");
        self.report = Some(processes::Reload { number, outcome: Outcome::Failed, words });
    }

    fn close_reload(&mut self, outcome: Outcome, took: Duration) {
        let number = self.report.as_ref().map_or(1, |report| report.number);
        let size = self.order.size;
        let words = format!(
            "{} gateway(s) and {} worker(s) replaced in {:.1} s",
            size.gateways,
            size.workers,
            took.as_secs_f64()
        );
        tracing::info!(elapsed_us = took.as_micros() as u64, "reload: done");
        self.report = Some(processes::Reload { number, outcome, words });
    }
}
