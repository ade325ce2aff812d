//! One part of the crowd, in a process of its own because a process may open only so many files: opens its people's sockets,
//! keeps them, and lets everybody who loses his come back as a real client does: after a random pause that doubles with each
//! failed attempt, with hello and sync. Tells the run how they fare, in lines (`words`).

use super::crowd::Crowd;
use super::words::{Brief, News, Order};
use crate::Verdict;
use anyhow::{Context, Result, bail};
use shared::clock;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often the run hears how many are back.
const TELL: Duration = Duration::from_millis(100);

pub fn run() -> Result<Verdict> {
    let outcome = serve();
    if let Err(error) = &outcome {
        tell(&News::Failed { why: format!("{error:#}") })?;
    }
    outcome.map(|()| Verdict { broken: false, valid: true })
}

fn serve() -> Result<()> {
    let mut first = String::new();
    io::stdin().lock().read_line(&mut first).context("reading the brief")?;
    let brief: Brief = serde_json::from_str(&first).context("the brief is not understood")?;
    let mut crowd = Crowd::new(&brief)?;
    let orders = orders()?;
    let mut told = Told::default();
    loop {
        match orders.try_recv() {
            Ok(Order::Open) => crowd.open(),
            Ok(Order::Sync) => crowd.sync_all(),
            Ok(Order::Report { heads }) => tell(&News::Report(Box::new(crowd.report(&heads))))?,
            Err(TryRecvError::Empty) => {}
            // The run has ended, or has heard enough.
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        crowd.turn()?;
        told.go_on(&crowd)?;
    }
}

/// Standard input, line by line, until it ends.
fn orders() -> Result<Receiver<Order>> {
    let (given, orders) = channel();
    let read = move || {
        for line in io::stdin().lock().lines() {
            let Some(order) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { return };
            if given.send(order).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("orders".to_owned()).spawn(read).context("starting a thread")?;
    Ok(orders)
}

/// What the run was told last.
#[derive(Default)]
struct Told {
    opened: bool,
    synced: bool,
    standing: (u32, u32),
    at: Option<Instant>,
}

impl Told {
    fn go_on(&mut self, crowd: &Crowd) -> Result<()> {
        if !self.opened && crowd.is_open() {
            self.opened = true;
            tell(&News::Opened { people: crowd.len() })?;
        }
        if !self.synced && crowd.is_whole() {
            self.synced = true;
            tell(&News::Synced { people: crowd.len(), syncs: crowd.fates.syncs })?;
        }
        let standing = crowd.standing();
        if standing != self.standing && self.at.is_none_or(|at| at.elapsed() >= TELL) {
            (self.standing, self.at) = (standing, Some(clock::monotonic()));
            tell(&News::Standing { lost: standing.0, back: standing.1 })?;
        }
        Ok(())
    }
}

fn tell(news: &News) -> Result<()> {
    let mut line = serde_json::to_vec(news).context("encoding news")?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
        bail!("the run has ended: {error}");
    }
    Ok(())
}
