//! The processes of a cluster as a table: what the launcher knows of each, and what its own probe says just now.

use super::{PATIENCE, duration, sockets};
use crate::cluster::Role;
use crate::cluster::processes::{Entry, Outcome, Processes, Service, State};
use crate::{http, say};
use shared::clock;

/// Whether all are ready.
pub fn show(processes: &Processes) -> bool {
    let asked: Vec<Asked> = std::thread::scope(|scope| {
        // Side by side: one that hangs must not hold up the others.
        let threads: Vec<_> = processes.processes.iter().map(|entry| scope.spawn(|| ask(entry))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let mut rows = vec![["name", "pid", "up for", "restarts", "sockets", "state"].map(str::to_owned).to_vec()];
    rows.extend(processes.services.iter().map(service_row));
    rows.extend(processes.processes.iter().zip(&asked).map(|(entry, asked)| row(entry, asked)));
    say::line("");
    say::table(&rows);
    if let Some(reload) = &processes.reload {
        let outcome = match reload.outcome {
            Outcome::Running => "under way",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        };
        say::line("");
        say::line(format!("last reload: {outcome}: {}", reload.words));
    }
    !asked.is_empty() && asked.iter().all(|asked| asked.ready)
}

#[derive(Default)]
struct Asked {
    ready: bool,
    sockets: Option<f64>,
    /// Where its answer differs from what the launcher has last heard.
    words: Option<String>,
}

fn ask(entry: &Entry) -> Asked {
    let Some(probe) = entry.probe.as_deref().filter(|_| entry.pid.is_some()) else { return Asked::default() };
    let (ready, words) = match http::get_within(probe, "/health/ready", PATIENCE) {
        Ok(answer) if answer.is_ok() => (true, None),
        Ok(answer) => {
            let detail = answer.json().ok().and_then(|json| json["detail"].as_str().map(str::to_owned));
            (false, Some(detail.unwrap_or(answer.body)))
        }
        // Nor would it answer the next question.
        Err(error) => return Asked { words: Some(format!("{error:#}")), ..Asked::default() },
    };
    let sockets = if entry.role == Role::Gateway { sockets(probe) } else { None };
    Asked { ready, sockets, words }
}

fn service_row(service: &Service) -> Vec<String> {
    let up_for = service.since.map(|since| duration(clock::unix_seconds().saturating_sub(since)));
    let state = match service.pid {
        Some(_) => "runs: ",
        None if service.is_ours => "down, is started again: ",
        None => "",
    };
    let dash = || "-".to_owned();
    let pid = service.pid.map_or_else(dash, |pid| pid.to_string());
    let state = format!("{state}{}", service.place);
    vec![service.name.clone(), pid, up_for.unwrap_or_else(dash), dash(), dash(), state]
}

fn row(entry: &Entry, asked: &Asked) -> Vec<String> {
    let up_for = clock::unix_seconds().saturating_sub(entry.since);
    let state = match (asked.ready, &asked.words) {
        (true, _) => State::Ready.words().to_owned(),
        (false, Some(words)) if entry.state == State::Ready => format!("{}: {words}", State::NotReady.words()),
        (false, Some(words)) => format!("{}: {words}", entry.state.words()),
        (false, None) => entry.state.words().to_owned(),
    };
    // Why it is not the first life of it.
    let end = entry.last_end.as_ref().map(|end| format!(" (ended before: {end})")).unwrap_or_default();
    vec![
        entry.name.clone(),
        entry.pid.map_or("-".to_owned(), |pid| pid.to_string()),
        entry.pid.map_or("-".to_owned(), |_| duration(up_for)),
        entry.restarts.to_string(),
        asked.sockets.map_or("-".to_owned(), |sockets| sockets.to_string()),
        format!("{state}{end}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_ours_is_up_or_down_and_that_of_others_is_theirs() {
        let since = Some(clock::unix_seconds() - 3600);
        let up = Service { name: "Redis".into(), is_ours: true, pid: Some(7), since, place: "here".into() };
        assert_eq!(service_row(&up), ["Redis", "7", "1 h 0 min", "-", "-", "runs: here"]);
        let down = Service { pid: None, since: None, ..up };
        assert_eq!(service_row(&down), ["Redis", "-", "-", "-", "-", "down, is started again: here"]);
        let theirs = Service { is_ours: false, place: "yours (REDIS_URL)".into(), ..down };
        assert_eq!(service_row(&theirs)[5], "yours (REDIS_URL)");
    }
}
