//! What other programs use: memory and processor time of given processes, from /proc.
//!
//! Read before, after and while a run goes on; nothing is asked of the programs themselves, so any server can be
//! measured. Processor time comes in ticks (10 ms), memory in pages.

pub mod parts;

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

/// A process to watch: `pid`, `name=pid`, or with a `+` behind it the process and all its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub name: String,
    pid: u32,
    with_children: bool,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').unwrap_or(("", text));
        let (pid, with_children) = pid.strip_suffix('+').map_or((pid, false), |pid| (pid, true));
        let pid = pid.parse().map_err(|_| format!("{text}: wanted PID, NAME=PID or NAME=PID+"))?;
        let name = if name.is_empty() { format!("pid {pid}") } else { name.to_owned() };
        Ok(Self { name, pid, with_children })
    }
}

/// Bytes of a process, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub rss: u64,
    pub pss: u64,
    pub private: u64,
    pub anonymous: u64,
}

/// The figures of one watched process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub cpu: Duration,
    pub memory: Memory,
}

impl Watched {
    pub fn one(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid, with_children: false }
    }

    /// With the processes it has started.
    pub fn itself(name: &str) -> Self {
        Self { with_children: true, ..Self::one(name, std::process::id()) }
    }

    /// Processor time used so far, of all threads (and of children waited for, where children are watched).
    pub fn cpu(&self) -> Result<Duration> {
        let all = if self.with_children { family(self.pid)? } else { vec![Stat::read(self.pid)?] };
        let ticks: u64 = all.iter().map(|stat| stat.own + if self.with_children { stat.waited_for } else { 0 }).sum();
        Ok(duration(ticks))
    }

    pub fn sample(&self) -> Result<Sample> {
        let pids =
            if self.with_children { family(self.pid)?.iter().map(|stat| stat.pid).collect() } else { vec![self.pid] };
        let mut memory = Memory::default();
        for pid in pids {
            memory.add(&rollup(pid)?);
        }
        Ok(Sample { cpu: self.cpu()?, memory })
    }
}

impl Memory {
    fn add(&mut self, other: &Self) {
        self.rss += other.rss;
        self.pss += other.pss;
        self.private += other.private;
        self.anonymous += other.anonymous;
    }
}

/// Processor time of a process; none if it is gone or its program has another name: it was a number of another machine.
pub fn cpu_of_program(pid: u32, name: &str) -> Option<Duration> {
    let stat = Stat::read(pid).ok()?;
    (stat.name == name).then(|| duration(stat.own))
}

/// Processor time of the whole machine since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// Of everything, the kernel and interrupts included.
    pub busy: Duration,
    /// Taken away by the hypervisor.
    pub stolen: Duration,
}

impl Machine {
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        Self::parse(&text).context("/proc/stat is not as proc(5) says")
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(text: &str) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else { return None };
        Some(Self { busy: duration(user + nice + system + irq + softirq), stolen: duration(stolen) })
    }

    pub fn since(&self, before: &Self) -> Self {
        Self { busy: self.busy.saturating_sub(before.busy), stolen: self.stolen.saturating_sub(before.stolen) }
    }
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The kernel's own memory for objects (`Slab` of /proc/meminfo): sockets are most of what a run adds to it.
pub fn slab_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    line.and_then(kibibytes).context("/proc/meminfo has no line Slab")
}

fn rollup(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text =
        fs::read_to_string(&path).with_context(|| format!("reading {path} (the process's owner or root may)"))?;
    Ok(parse_rollup(&text))
}

fn parse_rollup(text: &str) -> Memory {
    let mut memory = Memory::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let bytes = kibibytes(value).unwrap_or(0);
        match name {
            "Rss" => memory.rss = bytes,
            "Pss" => memory.pss = bytes,
            "Private_Clean" | "Private_Dirty" => memory.private += bytes,
            "Anonymous" => memory.anonymous = bytes,
            _ => {}
        }
    }
    memory
}

fn kibibytes(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

struct Stat {
    pid: u32,
    /// Of the program, cut to 15 bytes by the kernel.
    name: String,
    parent: u32,
    /// utime + stime.
    own: u64,
    /// cutime + cstime.
    waited_for: u64,
}

impl Stat {
    fn read(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        Self::parse(pid, &text).with_context(|| format!("/proc/{pid}/stat is not as proc(5) says"))
    }

    /// The program's name stands in parentheses and may hold anything: fields are counted behind the last one.
    fn parse(pid: u32, text: &str) -> Option<Self> {
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let name = text.get(open + 1..close)?.to_owned();
        let fields: Vec<&str> = text.get(close + 2..)?.split(' ').collect();
        let field = |n: usize| fields.get(n - 3)?.trim().parse::<u64>().ok();
        let (own, waited_for) = (field(14)? + field(15)?, field(16)? + field(17)?);
        Some(Self { pid, name, parent: u32::try_from(field(4)?).ok()?, own, waited_for })
    }
}

/// The process and all that descend from it.
fn family(root: u32) -> Result<Vec<Stat>> {
    let mut by_parent: HashMap<u32, Vec<Stat>> = HashMap::new();
    for entry in fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone since it was listed: not of the family any more.
        let Ok(stat) = Stat::read(pid) else { continue };
        by_parent.entry(stat.parent).or_default().push(stat);
    }
    let mut family = vec![Stat::read(root)?];
    let mut next = 0;
    while next < family.len() {
        family.extend(by_parent.remove(&family[next].pid).unwrap_or_default());
        next += 1;
    }
    Ok(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let watched: Watched = "postgres=12+".parse().unwrap();
        assert_eq!(watched, Watched { name: "postgres".to_owned(), pid: 12, with_children: true });
        assert_eq!("7".parse::<Watched>().unwrap().name, "pid 7");
        assert!("x=y".parse::<Watched>().is_err());
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "9 (a) b) S 1 9 9 0 -1 4194560 0 0 0 0 250 50 7 3 20 0 4 0 1 2 3";
        let stat = Stat::parse(9, text).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.own, stat.waited_for), ("a) b", 1, 300, 10));
    }

    #[test]
    fn a_rollup_is_added_up() {
        let text = "0-1 ---p 0 00:00 0 [rollup]\nRss:  12 kB\nPss: 10 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\nAnonymous: 3 kB\n";
        let memory = parse_rollup(text);
        assert_eq!((memory.rss, memory.pss, memory.private, memory.anonymous), (12288, 10240, 3072, 3072));
    }

    #[test]
    fn the_machine_is_read() {
        let machine = Machine::parse("cpu  100 100 100 900 900 0 0 50 0 0\ncpu0 1\n").unwrap();
        assert_eq!(machine.busy / 3, machine.stolen * 2);
        assert!(Machine::read().unwrap().busy > Duration::ZERO);
    }

    #[test]
    fn this_process_can_be_sampled() {
        let sample = Watched::itself("test").sample().unwrap();
        assert!(sample.memory.rss > 0);
        let family = Watched { with_children: true, ..Watched::itself("test") };
        assert!(family.cpu().unwrap() >= sample.cpu);
    }
}
