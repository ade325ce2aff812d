//! The append beside a bare statement: rows per second of the product's own append (`shared::store`), and of one statement
//! that inserts the same rows into the same table and updates the same conversations, each its own transaction. The bare one
//! is told the numbers; it judges nothing, locks nothing first, writes no outbox row.
//!
//! Both take their turns in short slices on the same tables, the product's own schema, so that what else the machine does
//! falls on both alike; a batch appended must come out under the numbers that the bare statement would have been told. The
//! schema is made anew and dropped again; an advisory lock keeps two runs apart. SQL stands here and not in the store because
//! it is no part of the product.

mod bare;
mod lane;

use super::Options;
use crate::database::{self, Client};
use crate::report::Table;
use crate::report::latency::{Latency, Recorder};
use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use lane::{Lane, Way};
use serde::Serialize;
use shared::clock;
use shared::config::{Secret, StoreConfig};
use shared::store::Store;
use std::time::Duration;

const BATCHES: [usize; 3] = [64, 256, 1_024];
/// That append: one in each worker (`SEQUENCERS`).
const CONNECTIONS: [usize; 2] = [1, 2];
const LOCK: i64 = 0x6c6f_6164_7465_7374;
const SCHEMA: &str = "loadtest_limit";
const EMPTY: &str = "DROP SCHEMA IF EXISTS loadtest_limit CASCADE; CREATE SCHEMA loadtest_limit";
const DROP: &str = "DROP SCHEMA IF EXISTS loadtest_limit CASCADE";
/// One turn of either; short beside anything else that goes on.
const SLICE: Duration = Duration::from_millis(250);

/// One batch size with one number of connections.
#[derive(Debug, Serialize)]
pub struct Insert {
    pub batch: usize,
    pub connections: usize,
    pub bare: Figures,
    pub append: Figures,
    /// Rows per second of the append ÷ those of the bare statement.
    pub ratio: f64,
}

#[derive(Debug, Serialize)]
pub struct Figures {
    pub rows_per_s: f64,
    /// Of one batch, its commit included.
    pub batch: Latency,
    /// Processor time of the server's own processes for these connections; none where they are on another machine.
    pub server_us_per_row: Option<f64>,
}

/// Each batch size with each number of connections, for the given length with either way.
pub async fn measure(url: &str, options: &Options, length: Duration) -> Result<Vec<Insert>> {
    let keeper = database::connect(url).await?;
    let row = keeper.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await.context("taking the lock")?;
    if !row.get::<_, bool>(0) {
        bail!("another `loadtest limit` is at work in this database");
    }
    let durable = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'";
    if !keeper.query_one(durable, &[]).await.context("reading settings")?.get::<_, bool>(0) {
        bail!("fsync or synchronous_commit is off in this database: its figures would mean nothing");
    }
    let outcome = all(&keeper, url, options, length).await;
    keeper.batch_execute(DROP).await.context("dropping the schema loadtest_limit")?;
    outcome
}

async fn all(keeper: &Client, url: &str, options: &Options, length: Duration) -> Result<Vec<Insert>> {
    let mut lines = Vec::new();
    for connections in CONNECTIONS {
        for batch in BATCHES {
            keeper.batch_execute(EMPTY).await.context("making the schema loadtest_limit")?;
            let config = StoreConfig { url: Secret::new(url), schema: Some(SCHEMA.to_owned()), pool: 1 };
            let store = Store::new(&config).context("reading the database's address")?;
            store.migrate().await.context("making the product's tables")?;
            lines.push(one(url, &store, options, length, connections, batch).await?);
        }
    }
    Ok(lines)
}

/// Connections share out the conversations, as partitions do.
async fn one(
    url: &str,
    store: &Store,
    options: &Options,
    length: Duration,
    connections: usize,
    batch: usize,
) -> Result<Insert> {
    let per_connection = (options.conversations as usize).div_ceil(connections);
    let mut lanes = Vec::new();
    for _ in 0..connections {
        lanes.push(Lane::open(url, store, per_connection, options.body_bytes as usize).await?);
    }
    // Both prepared, the tables no longer empty.
    slice(&mut lanes, Way::Bare, batch, SLICE).await?;
    slice(&mut lanes, Way::Append, batch, SLICE).await?;
    let (mut bare, mut append) = (Sum::default(), Sum::default());
    while bare.elapsed < length || append.elapsed < length {
        bare.add(slice(&mut lanes, Way::Bare, batch, SLICE).await?);
        append.add(slice(&mut lanes, Way::Append, batch, SLICE).await?);
    }
    let (bare, append) = (bare.figures(), append.figures());
    let ratio = append.rows_per_s / bare.rows_per_s;
    Ok(Insert { batch, connections, bare, append, ratio })
}

/// What one way did in its slices.
#[derive(Default)]
struct Sum {
    elapsed: Duration,
    rows: usize,
    times: Vec<Duration>,
    server: Option<Duration>,
}

impl Sum {
    fn add(&mut self, more: Self) {
        let first = self.times.is_empty();
        self.elapsed += more.elapsed;
        self.rows += more.rows;
        self.times.extend(more.times);
        self.server = match first {
            true => more.server,
            false => self.server.zip(more.server).map(|(a, b)| a + b),
        };
    }

    fn figures(&self) -> Figures {
        let mut recorder = Recorder::new();
        self.times.iter().for_each(|time| recorder.record(*time));
        Figures {
            rows_per_s: self.rows as f64 / self.elapsed.as_secs_f64().max(1e-9),
            batch: recorder.summary(),
            server_us_per_row: self.server.map(|used| used.as_secs_f64() * 1e6 / self.rows.max(1) as f64),
        }
    }
}

/// All lanes for so long, the same way.
async fn slice(lanes: &mut [Lane], way: Way, batch: usize, length: Duration) -> Result<Sum> {
    let server = |lanes: &[Lane]| lanes.iter().map(|lane| lane.server_cpu(way)).sum::<Option<Duration>>();
    let before = server(lanes);
    let started = clock::monotonic();
    let deadline = started + length;
    let runs = try_join_all(lanes.iter_mut().map(async |lane| {
        let mut times = Vec::new();
        while clock::monotonic() < deadline {
            times.push(lane.batch(way, batch).await?);
        }
        anyhow::Ok(times)
    }))
    .await?;
    let elapsed = started.elapsed();
    let times: Vec<Duration> = runs.into_iter().flatten().collect();
    let used = before.zip(server(lanes)).map(|(before, after)| after.saturating_sub(before));
    Ok(Sum { elapsed, rows: times.len() * batch, times, server: used })
}

pub fn tell(lines: &[Insert], body_bytes: u32, table: &mut Table) {
    if lines.is_empty() {
        return;
    }
    table.note(&format!(
        "the append beside a bare statement with the same rows and heads, bodies of {body_bytes} bytes"
    ));
    table.columns(&[
        "rows a batch",
        "connections",
        "bare rows/s",
        "append",
        "ratio",
        "bare p50 ms",
        "append",
        "bare µs/row",
        "append",
    ]);
    for line in lines {
        let each = |figures: &Figures| figures.server_us_per_row.map_or("?".to_owned(), |us| format!("{us:.1}"));
        table.columns(&[
            line.batch.to_string(),
            line.connections.to_string(),
            format!("{:.0}", line.bare.rows_per_s),
            format!("{:.0}", line.append.rows_per_s),
            format!("{:.2}", line.ratio),
            format!("{:.2}", line.bare.batch.p50_ms),
            format!("{:.2}", line.append.batch.p50_ms),
            each(&line.bare),
            each(&line.append),
        ]);
    }
}

#[cfg(test)]
mod tests;
