//! The parts of the crowd as processes: started, told what to do, heard from, ended with their standard input.

use super::words::{Brief, Fates, News, Order};
use anyhow::{Context, Result, bail};
use shared::clock;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// This very program, whatever its file is called by now.
const PROGRAM: &str = "/proc/self/exe";

pub struct Crew {
    parts: Vec<Part>,
    news: Receiver<(usize, News)>,
    /// Of each part, how many have lost their socket, and how many of them are back.
    standings: Vec<(u32, u32)>,
}

struct Part {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Crew {
    pub fn start(briefs: &[Brief]) -> Result<Self> {
        let (heard, news) = channel();
        let parts = briefs.iter().enumerate().map(|(n, brief)| Part::start(n, brief, heard.clone()));
        Ok(Self { parts: parts.collect::<Result<_>>()?, news, standings: vec![(0, 0); briefs.len()] })
    }

    pub fn order(&mut self, order: &Order) -> Result<()> {
        self.parts.iter_mut().try_for_each(|part| part.say(order))
    }

    /// How many syncs it took until everybody had everything.
    pub fn synced(&mut self, limit: Duration) -> Result<u64> {
        let all = self.each(limit, "for everybody to sync", |news| match news {
            News::Synced { syncs, .. } => Some(syncs),
            _ => None,
        })?;
        Ok(all.iter().sum())
    }

    /// Everybody is connected and greeted.
    pub fn opened(&mut self, limit: Duration) -> Result<()> {
        let is_opened = |news| matches!(news, News::Opened { .. }).then_some(());
        self.each(limit, "for everybody to connect", is_opened).map(drop)
    }

    pub fn reports(&mut self, limit: Duration) -> Result<Vec<Fates>> {
        self.each(limit, "for the reports", |news| match news {
            News::Report(fates) => Some(*fates),
            _ => None,
        })
    }

    /// Until as many as `lost` have lost their sockets, and all who have are back; false if that was not within the limit.
    pub fn back(&mut self, lost: u32, limit: Duration) -> Result<bool> {
        let deadline = clock::monotonic() + limit;
        loop {
            let (gone, back) = self.standing();
            if gone >= lost && gone == back {
                return Ok(true);
            }
            if self.next(deadline)?.is_none() {
                return Ok(false);
            }
        }
    }

    pub fn standing(&self) -> (u32, u32) {
        self.standings.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    /// The first fitting word of each part, in their order.
    fn each<T>(&mut self, limit: Duration, what: &str, fits: impl Fn(News) -> Option<T>) -> Result<Vec<T>> {
        let deadline = clock::monotonic() + limit;
        let mut found: Vec<Option<T>> = self.parts.iter().map(|_| None).collect();
        while found.iter().any(Option::is_none) {
            let Some((part, news)) = self.next(deadline)? else {
                bail!("waited {} s {what}, in vain", limit.as_secs());
            };
            if let Some(value) = fits(news) {
                found[part] = Some(value);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// None at the deadline; a part that failed is an error.
    fn next(&mut self, deadline: Instant) -> Result<Option<(usize, News)>> {
        let left = deadline.saturating_duration_since(clock::monotonic());
        let (part, news) = match self.news.recv_timeout(left) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("all parts of the crowd have ended"),
        };
        match &news {
            News::Failed { why } => bail!("a part of the crowd has failed: {why}"),
            News::Standing { lost, back } => self.standings[part] = (*lost, *back),
            _ => {}
        }
        Ok(Some((part, news)))
    }
}

impl Part {
    fn start(number: usize, brief: &Brief, heard: Sender<(usize, News)>) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.arg("reconnect-part").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a part of the crowd")?;
        let output = child.stdout.take().context("cannot fail because it is piped")?;
        let listen = move || {
            for line in BufReader::new(output).lines() {
                let parsed = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let news = parsed.unwrap_or_else(|| News::Failed { why: "it speaks in riddles".to_owned() });
                if heard.send((number, news)).is_err() {
                    return;
                }
            }
            // If nobody listens any more, the run is over.
            let _ = heard.send((number, News::Failed { why: "its process has ended".to_owned() }));
        };
        thread::Builder::new().name("news".to_owned()).spawn(listen).context("starting a thread")?;
        let mut part = Self { orders: child.stdin.take(), child };
        part.say(brief)?;
        Ok(part)
    }

    fn say<T: serde::Serialize>(&mut self, words: &T) -> Result<()> {
        let mut line = serde_json::to_vec(words).context("encoding an order")?;
        line.push(b'\n');
        let orders = self.orders.as_mut().context("cannot fail because it is taken when the part ends")?;
        orders.write_all(&line).and_then(|()| orders.flush()).context("a part of the crowd does not listen")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The end of its input is its sign to end.
        drop(self.orders.take());
        drop(self.child.wait());
    }
}
