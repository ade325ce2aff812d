//! `rookery status`: who is up here, and what his own health says; of a cluster, each process.

mod cluster;

use super::data_dir;
use crate::cli;
use crate::cluster::processes;
use crate::config::Surroundings;
use crate::{http, say};
use anyhow::Result;
use shared::clock;
use std::process::ExitCode;
use std::time::Duration;

/// Who is well says so at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// The gauge of open sockets, as `/metrics` names it.
const SOCKETS: &str = "rookery_gateway_connections";

pub fn run(place: &cli::Place, surroundings: &Surroundings) -> Result<ExitCode> {
    let data = data_dir(place, surroundings);
    let Some(owner) = data.owner()? else {
        say::line(format!("nothing is up in {}", data.path().display()));
        return Ok(ExitCode::FAILURE);
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let up_for = clock::unix_seconds().saturating_sub(owner.since);
    let mut rows = vec![row("pid", owner.pid.to_string()), row("data", data.path().display().to_string())];
    let is_up = owner.address.is_some();
    if let Some(processes) = processes::of(&data, &owner)? {
        rows.push(row("address", owner.address.unwrap_or_else(|| "none yet: it is starting".to_owned())));
        rows.push(row("up for", duration(up_for)));
        say::table(&rows);
        let ready = cluster::show(&processes);
        return Ok(if ready && is_up { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let Some(address) = owner.address else {
        rows.push(row("state", format!("starting, for {}", duration(up_for))));
        say::table(&rows);
        return Ok(ExitCode::FAILURE);
    };
    rows.push(row("address", address.clone()));
    rows.push(row("up for", duration(up_for)));
    let health = http::get_within(&address, "/health/ready", PATIENCE);
    let ready = health.as_ref().is_ok_and(http::Answer::is_ok);
    let words = match &health {
        Ok(answer) if answer.is_ok() => "ready".to_owned(),
        Ok(answer) => format!("not ready ({}): {}", answer.status, answer.body.trim()),
        Err(error) => format!("{error:#}"),
    };
    rows.push(row("health", words));
    if let Some(sockets) = health.ok().and_then(|_| sockets(&address)) {
        rows.push(row("sockets", sockets.to_string()));
    }
    say::table(&rows);
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many are open at the gateway that answers here.
fn sockets(address: &str) -> Option<f64> {
    let metrics = http::get_within(address, "/metrics", PATIENCE).ok().filter(http::Answer::is_ok)?;
    sum(&metrics.body, SOCKETS)
}

/// The sum of a gauge over its labels, from Prometheus' text form.
fn sum(metrics: &str, name: &str) -> Option<f64> {
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .peekable();
    values.peek()?;
    Some(values.sum())
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_summed_over_its_labels_and_not_confused_with_longer_names() {
        let text = "# HELP rookery_gateway_connections Open\nrookery_gateway_connections{shard=\"0\"} 3\nrookery_gateway_connections{shard=\"1\"} 4\nrookery_gateway_connections_total 99\n";
        assert_eq!(sum(text, SOCKETS), Some(7.0));
        assert_eq!(sum("", SOCKETS), None);
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(90_061), "1 d 1 h");
    }
}
