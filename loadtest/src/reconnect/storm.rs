//! The kill, and everything until all are back: messages go on among the others, something is said in some of the crowd's
//! conversations, and the parts tell how many have returned.

use super::crew::Crew;
use super::trickle::{Trickle, Window};
use super::words::{Fates, Order};
use crate::http::{Client, Request, Server};
use crate::report::warn;
use crate::rooms::outcome::Outcome;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shared::clock;
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Messages go on for so long before the kill, untimed.
const LEAD: Duration = Duration::from_secs(3);
/// Whoever is not back when the messages end is waited for this much longer.
const LATE: Duration = Duration::from_secs(120);
const REPORT_LIMIT: Duration = Duration::from_secs(60);
/// A request may have been with the gateway that was killed; the same again is safe.
const ATTEMPTS: usize = 10;

pub struct Storm<'a> {
    pub victim: u32,
    /// Sockets it holds.
    pub lost: u32,
    pub news: Herald<'a>,
    /// How long messages go on after the kill.
    pub limit: Duration,
}

/// Somebody who is in some of the crowd's conversations and says something there.
pub struct Herald<'a> {
    pub server: &'a Server,
    pub token: &'a str,
    pub conversations: Vec<(u32, Uuid)>,
}

/// What the storm came to.
pub struct Fared {
    pub victim: u32,
    pub killed_us: u64,
    pub all_back: bool,
    pub fates: Vec<Fates>,
    pub storm: Outcome,
    /// From the kill until all were back.
    pub meanwhile: Window,
    pub said: usize,
}

struct Killed {
    at: Instant,
    at_us: u64,
    back: Instant,
    all_back: bool,
    heads: Vec<(u32, u64)>,
}

impl Storm<'_> {
    pub fn rage(&self, crew: &mut Crew, trickle: &mut Trickle, rate: f64) -> Result<Fared> {
        let (killed, storm) = thread::scope(|scope| {
            let kill = scope.spawn(|| self.kill(crew));
            // The measured part begins with the kill.
            let storm = trickle.run(rate, LEAD, self.limit);
            let killed = kill.join().expect("cannot fail because the thread does not panic");
            anyhow::Ok((killed?, storm?))
        })?;
        crew.order(&Order::Report { heads: killed.heads.clone() })?;
        Ok(Fared {
            victim: self.victim,
            killed_us: killed.at_us,
            all_back: killed.all_back,
            fates: crew.reports(REPORT_LIMIT)?,
            storm,
            meanwhile: trickle.deliveries(killed.at, killed.back)?,
            said: killed.heads.len(),
        })
    }

    fn kill(&self, crew: &mut Crew) -> Result<Killed> {
        thread::sleep(LEAD);
        let (at, at_us) = (clock::monotonic(), clock::now().timestamp_micros().unsigned_abs());
        let pid = i32::try_from(self.victim).ok().and_then(Pid::from_raw).context("the gateway's pid")?;
        kill_process(pid, Signal::KILL).with_context(|| format!("killing gateway {}", self.victim))?;
        let heads = self.news.speak()?;
        let all_back = crew.back(self.lost, self.limit + LATE)?;
        if !all_back {
            let (lost, back) = crew.standing();
            warn(&format!("of {} sockets {lost} were lost and {back} are back", self.lost));
        }
        Ok(Killed { at, at_us, back: clock::monotonic(), all_back, heads })
    }
}

impl Herald<'_> {
    /// One message in each conversation; their `seq`.
    fn speak(&self) -> Result<Vec<(u32, u64)>> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        let mut client = Client::new(self.server.clone(), self.server.source(0, 1));
        runtime.block_on(async {
            let mut heads = Vec::new();
            for (number, conversation) in &self.conversations {
                heads.push((*number, self.say(&mut client, *conversation).await?));
            }
            Ok(heads)
        })
    }

    async fn say(&self, client: &mut Client, conversation: Uuid) -> Result<u64> {
        let path = format!("/v1/conversations/{conversation}/messages");
        let body = json!({"id": Uuid::now_v7().to_string(), "body": "something was said while you were away"});
        let request = || Request { method: "POST", path: &path, token: Some(self.token), body: Some(body.clone()) };
        let mut attempt = 1;
        let answer = loop {
            match client.call(&request()).await {
                Ok(answer) => break answer.expect_status(&[200, 201], "saying something to the crowd")?,
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        let seq = answer["seq"].as_u64().or_else(|| answer["message"]["seq"].as_u64());
        seq.with_context(|| format!("the server's answer has no seq: {answer}"))
    }
}
