//! `loadtest limit`: what this machine can do at all. Small programs that make the bare system calls and statements of
//! the same sizes, to stand beside the server's figures in the same run: a ratio says more than a rate.

pub mod fanout;
pub mod flush;
pub mod insert;

use crate::report::Table;
use anyhow::Result;
use clap::Args;
use fanout::Fanout;
use flush::Flush;
use insert::Insert;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Sockets that the bare fan-out writes to
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub sockets: u32,
    /// Bytes of a frame, its header included (`rooms` says how many its frames have)
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub frame_bytes: u32,
    /// PostgreSQL to insert into, as a URL or as `host=… dbname=…`; without it the inserts are left out. A schema
    /// `loadtest_limit` with the product's tables is made there and dropped again
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Bytes of an inserted message's body
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub body_bytes: u32,
    /// Conversations that the inserted rows belong to
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub conversations: u32,
    /// Seconds for each of the measurements, of the inserts for either way
    #[arg(long, default_value_t = 3, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Where to write the file for fdatasync: the file system of PostgreSQL's data
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Leave out the bare fan-out: the inserts alone
    #[arg(long)]
    pub no_fanout: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub sockets: u32,
    pub frame_bytes: u32,
    pub fanout: Vec<Fanout>,
    pub body_bytes: u32,
    pub insert: Vec<Insert>,
    pub fdatasync: Flush,
}

pub fn run(runtime: &tokio::runtime::Runtime, options: &Options) -> Result<Report> {
    let length = Duration::from_secs(options.seconds);
    let fdatasync = flush::measure(&options.dir)?;
    let insert = match &options.database_url {
        Some(url) => runtime.block_on(insert::measure(url, options, length))?,
        None => Vec::new(),
    };
    let fanout = match options.no_fanout {
        true => Vec::new(),
        false => fanout::measure(options.sockets as usize, options.frame_bytes as usize, length)?,
    };
    Ok(Report {
        sockets: options.sockets,
        frame_bytes: options.frame_bytes,
        fanout,
        body_bytes: options.body_bytes,
        insert,
        fdatasync,
    })
}

impl Report {
    pub fn table(&self) -> Table {
        let mut table = Table::new("limit: the bare system calls and statements of this machine");
        if !self.fanout.is_empty() {
            table.note(&format!("write(2) to {} sockets in turn, frames of {} bytes", self.sockets, self.frame_bytes));
            table.columns(&["frames a write", "deliveries/s", "per w. core", "µs each"]);
        }
        for line in &self.fanout {
            let each = format!("{:.3}", line.writer_us_per_delivery);
            let (all, core) = (line.deliveries_per_s, line.deliveries_per_writer_core);
            table.columns(&[line.frames_a_write.to_string(), format!("{all:.0}"), format!("{core:.0}"), each]);
        }
        insert::tell(&self.insert, self.body_bytes, &mut table);
        let flush = &self.fdatasync.latency;
        table.row("fdatasync of 8 KiB, ms: p50, p99", format!("{:.3}, {:.3}", flush.p50_ms, flush.p99_ms));
        table
    }
}
