//! PostgreSQL's part of `rookery doctor`: reachable, new enough, allowed, durable, in step with our clock and our schema,
//! and whether what it holds keeps the promises (no hole in `seq`, heads that equal their rows).

use super::{Finding, Level};
use crate::services::postgres::OLDEST_MAJOR;
use shared::clock;
use shared::config::Config;
use shared::store::inspect::ServerFacts;
use shared::store::{Store, verify};

/// Between the two wall clocks. They only date things; order never depends on them.
const SKEW_WARN_MS: i64 = 1_000;
/// Connections that sequencers, relay and locks take beside the pool.
const OWN_CONNECTIONS: usize = 8;

pub async fn look(config: &Config, quick: bool) -> Vec<Finding> {
    let store = match Store::new(&config.store) {
        Ok(store) => store,
        Err(error) => return vec![Finding::new(Level::Fail, "database", error.to_string())],
    };
    let before = clock::now();
    let facts = match store.get_server_facts().await {
        Ok(facts) => facts,
        Err(error) => return vec![Finding::new(Level::Fail, "database", error.to_string())],
    };
    let after = clock::now();
    let mut findings = server(&facts, config);
    // The server read its clock somewhere between our two looks at ours.
    let skew = match facts.clock {
        theirs if theirs < before => (before - theirs).num_milliseconds(),
        theirs if theirs > after => (theirs - after).num_milliseconds(),
        _ => 0,
    };
    findings.push(Finding::when(
        skew < SKEW_WARN_MS,
        Level::Warn,
        "clock",
        format!("{skew} ms apart from PostgreSQL's"),
    ));
    let schema = schema(&store).await;
    // An older schema may lack what the checks read.
    let comparable = schema.level == Level::Ok;
    findings.push(schema);
    if comparable && !quick {
        findings.extend(contents(&store).await);
    }
    findings
}

fn server(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let major = u32::try_from(facts.major).unwrap_or(0);
    let wanted = config.store.pool + config.worker.sequencers + OWN_CONNECTIONS;
    let enough = usize::try_from(facts.max_connections).is_ok_and(|allowed| allowed >= wanted);
    let connections = format!("{} of {} in use, we take up to {wanted}", facts.connections, facts.max_connections);
    let size = facts.database_bytes >> 20;
    vec![
        Finding::when(
            major >= OLDEST_MAJOR,
            Level::Fail,
            "database",
            format!("PostgreSQL {}, {size} MiB", facts.version),
        ),
        Finding::when(
            !facts.read_only,
            Level::Fail,
            "writable",
            if facts.read_only { "no: it is a standby" } else { "yes" },
        ),
        Finding::when(
            facts.may_create,
            Level::Warn,
            "rights",
            match facts.may_create {
                true => "may make tables",
                false => "may not make tables: migrations need another user",
            },
        ),
        Finding::when(
            facts.fsync && facts.full_page_writes,
            Level::Fail,
            "durable",
            match (facts.fsync, facts.full_page_writes) {
                (true, true) => "fsync and full_page_writes are on",
                (false, _) => "fsync is off: a power cut loses answered messages",
                (true, false) => "full_page_writes is off: a power cut can tear pages",
            },
        ),
        Finding::when(
            !["off", "local"].contains(&facts.synchronous_commit.as_str()),
            Level::Fail,
            "commit",
            format!("synchronous_commit is {}", facts.synchronous_commit),
        ),
        Finding::when(
            facts.data_checksums,
            Level::Warn,
            "checksums",
            match facts.data_checksums {
                true => "on",
                false => "off: a bad disk would not be noticed",
            },
        ),
        Finding::when(enough, Level::Warn, "connections", connections),
    ]
}

async fn schema(store: &Store) -> Finding {
    match store.schema_versions().await {
        Ok((at, known)) if at == known => Finding::new(Level::Ok, "schema", format!("step {at}")),
        Ok((at, known)) if at < known => Finding::new(
            Level::Warn,
            "schema",
            format!("step {at} of {known}: `rookery migrate` (or `up`) brings it up to date"),
        ),
        Ok((at, known)) => Finding::new(Level::Warn, "schema", format!("step {at}, newer than this program's {known}")),
        Err(error) => Finding::new(Level::Fail, "schema", error.to_string()),
    }
}

/// What the append's path does not check for the sake of speed: every row is read.
async fn contents(store: &Store) -> Vec<Finding> {
    const SUBJECT: &str = "contents";
    match store.verify().await {
        Ok(broken) if broken.is_empty() => {
            vec![Finding::new(Level::Ok, SUBJECT, format!("all {} checks hold", verify::checks()))]
        }
        Ok(broken) => broken
            .iter()
            .map(|found| {
                let examples = found.examples.join(", ");
                let words = format!("{} ({}): {}, for example {examples}", found.promise, found.check, found.count);
                Finding::new(Level::Fail, SUBJECT, words)
            })
            .collect(),
        Err(error) => vec![Finding::new(Level::Fail, SUBJECT, error.to_string())],
    }
}
