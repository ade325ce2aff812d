//! One run: forty people talk over a cluster of its own while faults come in turn; then they settle, read, and are judged.

use crate::cluster::{Cluster, HEARTBEAT_SECONDS};
use crate::engines::Engines;
use crate::history::{Time, Trouble};
use crate::inflict::{STAY_AWAY, Scene, within};
use crate::outcome::{Outcome, Suffered};
use crate::people::{self, Client, Crowd, Dice, Habits, Phase};
use crate::plan::Fault;
use crate::stage::{DEADLINE, eventually};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const HABITS: Habits = Habits { people: 40, pause: Duration::from_millis(300), watch: true };
/// Answers between one fault and the next, from each gateway.
const TALK: u64 = 40;
/// Presence is true within two heartbeats and a second.
const PATIENCE: Duration = Duration::from_secs(2 * HEARTBEAT_SECONDS + 1);

pub struct Run<'a> {
    pub cluster: Cluster<'a>,
    pub crowd: Arc<Crowd>,
    pub dice: Dice,
    pub suffered: Vec<Suffered>,
    pub runtime: &'a Runtime,
    clients: Vec<JoinHandle<()>>,
}

impl<'a> Run<'a> {
    pub fn begin(
        engines: &'a Engines,
        runtime: &'a Runtime,
        program: &Path,
        name: &str,
        failpoint: Option<&str>,
    ) -> Self {
        let seed = std::env::var("ROOKERY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64);
        println!("{name}: seed {seed}");
        let cluster = Cluster::start(engines, runtime.handle(), program, name, failpoint);
        let crowd = Crowd::gather(&cluster.addresses(), HABITS, seed);
        crowd.recorder.with(|history| history.patience = PATIENCE.as_nanos() as Time);
        let clients = (0..HABITS.people).map(|me| runtime.spawn(Client::new(crowd.clone(), me).run())).collect();
        let run = Self { cluster, crowd, dice: Dice::new(seed), suffered: vec![], runtime, clients };
        eventually("everybody at home", || run.crowd.all_at_home());
        run.talk();
        // Everybody has come at once.
        run.trouble(0, false);
        run
    }

    /// Until so much more has been answered by each gateway: the cluster serves.
    pub fn talk(&self) {
        let before = self.crowd.answered();
        let enough = |(now, before): (u64, &u64)| now >= before + TALK;
        eventually("answers of each gateway", || self.crowd.answered().into_iter().zip(&before).all(enough));
    }

    /// One fault from its beginning until everybody is where he belongs again and is answered there. `settle`: until it is
    /// known to everybody who is here, too.
    pub fn suffer(&mut self, fault: Fault, settle: bool) {
        println!("{:>8} ms  {}", self.crowd.recorder.now() / 1_000_000, fault.name());
        let Self { cluster, crowd, dice, runtime, .. } = self;
        let from = Scene { cluster, crowd, dice, runtime: runtime.handle() }.inflict(fault);
        self.suffered(fault, from, settle);
    }

    /// It is over: what follows of it.
    pub fn suffered(&mut self, fault: Fault, from: Time, settle: bool) {
        let until = self.trouble(from, fault.is_lossy());
        eventually("an answer to all that was said meanwhile", || self.crowd.oldest_unanswered() > until);
        let presence = settle.then(|| self.wait_for_presence(fault, until));
        if settle {
            self.everybody_back();
        }
        self.crowd.send_home();
        eventually("everybody at home", || self.crowd.all_at_home());
        self.talk();
        self.cluster.assert_alive();
        self.suffered.push(Suffered { fault, from, presence });
    }

    /// Until now something was broken.
    fn trouble(&self, from: Time, lossy: bool) -> Time {
        let until = self.crowd.recorder.now();
        self.crowd.recorder.with(|history| history.troubles.push(Trouble { from, until, lossy }));
        until
    }

    /// From the end of a fault on. What is not true in time the checker finds, too, with the reason.
    fn wait_for_presence(&self, fault: Fault, since: Time) -> Duration {
        let wrong = || self.crowd.recorder.presence().untrue();
        let passed = || Duration::from_nanos(self.crowd.recorder.now() - since);
        // Somebody may have come or gone just now.
        if within(PATIENCE.saturating_sub(passed()), || wrong().is_empty()).is_none() {
            println!("after {}, {} s later: {:#?}", fault.name(), passed().as_secs(), wrong());
        }
        passed()
    }

    fn everybody_back(&self) {
        STAY_AWAY.into_iter().for_each(|person| self.crowd.let_stay_away(person, false));
    }

    /// Nobody says anything new; all are answered, know who is here, and read.
    pub fn finish(mut self) -> Outcome {
        self.crowd.phase.send_replace(Phase::Settle);
        eventually("every message answered", || self.crowd.all_idle());
        // Longer than presence may take, so that the checker looks at it: nobody comes or goes.
        std::thread::sleep(PATIENCE + Duration::from_secs(1));
        self.everybody_back();
        eventually("everybody back and every message answered", || self.crowd.all_idle());
        self.crowd.phase.send_replace(Phase::Read);
        for client in self.clients.drain(..) {
            let read = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, client).await });
            read.expect("all read in time").unwrap();
        }
        let url = self.cluster.engines.database(&self.cluster.name);
        let findings = self.runtime.block_on(people::read(&url, &self.crowd));
        Outcome {
            name: self.cluster.name.clone(),
            logs: self.cluster.logs(),
            history: self.crowd.recorder.history(),
            findings,
            suffered: self.suffered,
        }
    }
}
