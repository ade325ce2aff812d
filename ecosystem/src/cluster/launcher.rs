//! Looks after the processes of a cluster: starts them, starts again what dies, replaces them at a reload, ends them in
//! order. One task, which owns everything it knows; each process is watched by a task of its own (`member`) that only
//! tells.
//!
//! All of it runs on the main thread, on a runtime that has no other: the kernel ties a process's death signal to the
//! thread that made it, and this one lives as long as the program.

use super::{
    Role,
    blueprint::Blueprint,
    console::Console,
    member::{Duty, End, Event, Member, Word},
    processes::{self, Board, Processes, Service, State},
    reload::Reload,
};
use crate::{EXIT_CONFIGURATION, say};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use shared::{clock, lifecycle::Stop};
use socket2::SockRef;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// News that wait to be looked at; who has more waits.
const EVENTS_MAX: usize = 256;
/// Deadlines are looked at, and the services' pids.
const TICK: Duration = Duration::from_secs(1);
/// Whoever waits for the first start hears from time to time for what.
const REMIND: Duration = Duration::from_secs(10);
/// Over the time that a process gives itself to drain.
const GRACE: Duration = Duration::from_secs(15);
/// From SIGKILL until a process is gone.
const DYING: Duration = Duration::from_secs(1);

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub gateways: u16,
    pub workers: u16,
}

/// What it works with.
pub struct Order {
    pub size: Size,
    pub blueprint: Blueprint,
    pub console: Console,
    pub board: Board,
    /// How long a process may take to drain.
    pub drain: Duration,
    /// How the services are.
    pub services: Box<dyn Fn() -> Vec<Service>>,
    /// Asked before a reload: an error names what a reload cannot change and somebody has changed.
    pub unchanged: Box<dyn Fn() -> Result<()>>,
}

pub struct Launcher {
    pub(super) order: Order,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) reload: Option<Reload>,
    /// Of the last reload.
    pub(super) report: Option<processes::Reload>,
    events: mpsc::Sender<Event>,
    queue: mpsc::Receiver<Event>,
    lives: u64,
    /// All were ready once: from then on nothing that a process does ends the launcher.
    pub(super) is_up: bool,
}

impl Launcher {
    pub fn new(order: Order) -> Self {
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let (members, reload, report) = (BTreeMap::new(), None, None);
        Self { order, members, reload, report, events, queue, lives: 0, is_up: false }
    }

    /// Until the soft stop, or until it is clear that a start is in vain. `up` is called once, when all are ready. At the
    /// end no process is left.
    pub async fn run(mut self, stop: &Stop, up: impl FnOnce(&Processes)) -> Result<()> {
        let ended = self.supervise(stop, up).await;
        self.end(stop).await;
        ended
    }

    async fn supervise(&mut self, stop: &Stop, up: impl FnOnce(&Processes)) -> Result<()> {
        // Before anybody can know of this launcher, and send it.
        let mut reloads = signal(SignalKind::user_defined2()).context("cannot listen for signals")?;
        // Workers first: gateways have something to do as soon as they are there.
        self.add(Role::Worker, self.order.size.workers, Duty::Serve)?;
        self.add(Role::Gateway, self.order.size.gateways, Duty::Serve)?;
        let mut tick = tokio::time::interval(TICK);
        let (mut up, mut reminded) = (Some(up), clock::monotonic());
        loop {
            let processes = self.show();
            if self.members.values().all(Member::is_ready)
                && let Some(up) = up.take()
            {
                self.is_up = true;
                up(&processes);
            }
            tokio::select! {
                () = stop.stopped() => return Ok(()),
                Some(event) = self.queue.recv() => self.handle(event)?,
                Some(()) = reloads.recv() => self.begin_reload(),
                _ = tick.tick() => self.look_at_deadlines(),
            }
            self.go_on_with_reload();
            if !self.is_up && reminded.elapsed() >= REMIND {
                reminded = clock::monotonic();
                self.remind();
            }
        }
    }

    fn remind(&self) {
        for (name, member) in self.members.iter().filter(|(_, member)| !member.is_ready()) {
            say::progress(format!("waiting for {name}: {}", member.state_in_words()));
        }
    }

    /// New ones, under the lowest names that are free.
    pub(super) fn add(&mut self, role: Role, count: u16, duty: Duty) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for _ in 0..count {
            let name = (1..).map(|number| format!("{role}-{number}")).find(|name| !self.members.contains_key(name));
            let name = name.context("there are not so many names")?;
            let taken = |slot: &u16| self.members.values().any(|member| member.slot == *slot);
            let slot = (0..).find(|slot| !taken(slot)).context("there are not so many places")?;
            self.members.insert(name.clone(), Member::new(role, slot, duty));
            self.start(&name)?;
            names.push(name);
        }
        Ok(names)
    }

    fn start(&mut self, name: &str) -> Result<()> {
        let Some(member) = self.members.get_mut(name) else { return Ok(()) };
        self.lives += 1;
        let voice = self.order.console.voice(name);
        member.start(name, self.lives, &self.order.blueprint, voice, &self.events)
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        let Event { name, life, word } = event;
        let Some(member) = self.members.get_mut(&name) else { return Ok(()) };
        match word {
            Word::Again => {
                // Perhaps it has been told to leave since, or lives again already.
                if member.duty == Duty::Serve
                    && member.life.is_none()
                    && let Err(error) = self.start(&name)
                {
                    let end = End { status: format!("{error:#}"), code: None, words: None };
                    self.start_again(&name, &end);
                }
            }
            // An earlier life's words.
            _ if !member.is_living(life) => {}
            Word::Probe(address) => member.hear_probe(address),
            Word::Ready => {
                let is_first = member.is_ready_first();
                if self.is_up {
                    let pid = member.entry(&name).pid;
                    match is_first {
                        true => tracing::info!(child = name, pid, "a process has been started and is ready"),
                        false => tracing::info!(child = name, pid, "a process is ready again: it went on all the time"),
                    }
                }
            }
            Word::NotReady(why) => member.hear(State::NotReady, Some(why)),
            Word::Ended(end) => self.ended(&name, &end)?,
        }
        Ok(())
    }

    fn ended(&mut self, name: &str, end: &End) -> Result<()> {
        let in_vain = !self.is_up && end.code == Some(EXIT_CONFIGURATION.into());
        match self.members[name].duty {
            Duty::Serve if !in_vain => {
                self.start_again(name, end);
                return Ok(());
            }
            duty => {
                self.members.remove(name);
                match duty {
                    Duty::Serve => bail!("{name} cannot start ({})", end.words()),
                    Duty::Trial => self.fail_reload(&format!("{name} ended ({})", end.words())),
                    Duty::Leave { .. } => tracing::info!(child = name, why = end.status, "a process has left"),
                }
            }
        }
        Ok(())
    }

    fn start_again(&mut self, name: &str, end: &End) {
        let Some(member) = self.members.get_mut(name) else { return };
        let pause = member.ended(end);
        let pause_ms = pause.as_millis() as u64;
        tracing::error!(child = name, why = end.words(), pause_ms, "a process ended unasked; it is started again");
        let (events, name) = (self.events.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(events.send(Event { name, life: 0, word: Word::Again }).await);
        });
    }

    /// Asks them to leave in order; whoever is dead at the moment just stays so.
    pub(super) fn dismiss(&mut self, names: &[String]) {
        let at = clock::monotonic() + self.order.drain + GRACE;
        for name in names {
            match self.members.get_mut(name) {
                Some(member) if member.life.is_some() => member.leave(at),
                _ => drop(self.members.remove(name)),
            }
        }
    }

    fn look_at_deadlines(&mut self) {
        let now = clock::monotonic();
        for (name, member) in &mut self.members {
            if let Duty::Leave { at } = member.duty
                && now >= at
            {
                tracing::warn!(child = name, "a process does not leave; it is killed");
                member.signal(Signal::KILL);
                // Once; a process that the kernel does not let go of is not ours to end.
                member.duty = Duty::Leave { at: now + Duration::from_secs(3600) };
            }
        }
    }

    /// Gateways first: what they have in flight still needs workers.
    async fn end(&mut self, stop: &Stop) {
        self.reload = None;
        // For everybody who has it: whoever comes now is refused at once, in place of waiting for gateways that all leave.
        if let Err(error) = SockRef::from(&self.order.blueprint.listener).shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the port is closed with the last gateway");
        }
        for role in [Role::Gateway, Role::Worker] {
            let all: Vec<String> = self.of(role);
            self.dismiss(&all);
            let mut tick = tokio::time::interval(TICK);
            while !self.of(role).is_empty() {
                self.show();
                tokio::select! {
                    () = stop.ended() => return self.kill().await,
                    Some(event) = self.queue.recv() => drop(self.handle(event)),
                    _ = tick.tick() => self.look_at_deadlines(),
                }
            }
        }
    }

    async fn kill(&mut self) {
        let all: Vec<String> = self.members.keys().cloned().collect();
        self.dismiss(&all);
        self.members.values().for_each(|member| member.signal(Signal::KILL));
        let dead = async {
            while !self.members.is_empty() {
                match self.queue.recv().await {
                    Some(event) => drop(self.handle(event)),
                    None => return,
                }
            }
        };
        drop(tokio::time::timeout(DYING, dead).await);
    }

    fn of(&self, role: Role) -> Vec<String> {
        self.members.iter().filter(|(_, member)| member.role == role).map(|(name, _)| name.clone()).collect()
    }

    /// Writes down how everything is, for the other commands.
    pub(super) fn show(&mut self) -> Processes {
        let processes = Processes {
            launcher: rustix::process::getpid().as_raw_nonzero().get(),
            services: (self.order.services)(),
            processes: self.members.iter().map(|(name, member)| member.entry(name)).collect(),
            reload: self.report.clone(),
        };
        if let Err(error) = self.order.board.show(processes.clone()) {
            tracing::warn!(error = format!("{error:#}"), "`rookery status` will not see how the processes are");
        }
        processes
    }
}
