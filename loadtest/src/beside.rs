//! `loadtest beside`: two runs of the same measurement in one table, from the files that `--json` has written, with the
//! second's figures divided by the first's. `rookery bench --both` sets a cluster beside `rookery up` this way.

use crate::report::Table;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// What the other is compared with: a file of `rooms` or `standard`
    pub first: PathBuf,
    /// The same measurement of another server
    pub second: PathBuf,
    /// What to call the two
    #[arg(long, value_name = "NAME", num_args = 2, default_values_t = ["first".to_owned(), "second".to_owned()])]
    pub names: Vec<String>,
}

/// Figures of an outcome, where they stand in it, and their decimals.
const FIGURES: [(&str, &str, usize); 11] = [
    ("offered, messages/s", "/offered_per_s", 0),
    ("stored, messages/s", "/stored_per_s", 0),
    ("deliveries/s", "/deliveries_per_s", 0),
    ("ack p50, ms", "/ack/p50_ms", 2),
    ("ack p99, ms", "/ack/p99_ms", 2),
    ("delivery p50, ms", "/delivery/p50_ms", 2),
    ("delivery p99, ms", "/delivery/p99_ms", 2),
    ("frames per write", "/frames_per_write", 2),
    ("frames per read", "/frames_per_read", 2),
    ("other work, cores", "/other_cores", 2),
    ("generator's lag p99, ms", "/send_lag/p99_ms", 3),
];

pub fn run(options: &Options) -> Result<()> {
    let (first, second) = (outcomes(&options.first)?, outcomes(&options.second)?);
    for ((title, first), (other, second)) in first.iter().zip(&second) {
        if title != other {
            bail!("the files hold different measurements: {title}, and {other}");
        }
        table(title, &options.names, [first.as_ref(), second.as_ref()]).print()?;
    }
    Ok(())
}

/// The outcomes of a file by what they are of; none where no rate was sustained.
fn outcomes(path: &Path) -> Result<Vec<(String, Option<Value>)>> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let file: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let found = found(&file["results"]);
    if found.is_empty() {
        bail!("{} holds no figures of rooms", path.display());
    }
    Ok(found)
}

fn found(results: &Value) -> Vec<(String, Option<Value>)> {
    let runs = ["/rooms", "/standard/quiet", "/standard/maximum"].iter().filter_map(|at| results.pointer(at));
    let of_run = |run: &Value| {
        let rooms = format!("{} rooms of {}", run["rooms"], run["members"]);
        let taken = |value: &Value| (!value.is_null()).then(|| value.clone());
        match run["steps"].get("fixed") {
            Some(fixed) => (format!("{rooms}, {} messages/s", fixed["offered_per_s"]), taken(fixed)),
            None => (format!("{rooms}, the sustained maximum"), taken(&run["steps"]["ladder"]["sustained"])),
        }
    };
    runs.map(of_run).collect()
}

fn table(title: &str, names: &[String], both: [Option<&Value>; 2]) -> Table {
    let mut table = Table::new(title);
    table.columns(&["", &names[0], &names[1], "ratio"]);
    let mut line = |name: &str, decimals: usize, of: &dyn Fn(&Value) -> Option<f64>| {
        let figures = both.map(|outcome| outcome.and_then(of));
        if figures == [None, None] {
            return;
        }
        let text = |figure: Option<f64>| figure.map_or("–".to_owned(), |figure| format!("{figure:.decimals$}"));
        let ratio = figures[0].zip(figures[1]).filter(|(first, _)| *first != 0.0).map(|(first, second)| second / first);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        table.columns(&[name, &text(figures[0]), &text(figures[1]), &ratio]);
    };
    for (name, at, decimals) in FIGURES {
        line(name, decimals, &|outcome| outcome.pointer(at)?.as_f64());
    }
    let parts: Vec<&Value> = both.iter().flatten().flat_map(|outcome| outcome["cpu"].as_array()).flatten().collect();
    let names: BTreeSet<&str> = parts.iter().filter_map(|part| part["name"].as_str()).collect();
    for name in names {
        line(&format!("s per 1,000, {name}"), 4, &|outcome| {
            let part = outcome["cpu"].as_array()?.iter().find(|part| part["name"] == name)?;
            part["seconds_per_1000"].as_f64()
        });
    }
    for (name, at) in [("lost", "lost"), ("doubled", "doubled"), ("out of order", "order_breaks")] {
        line(name, 0, &|outcome| outcome["findings"][at].as_f64());
    }
    for (name, outcome) in
        names_of(both).into_iter().filter(|(_, outcome)| outcome.is_none_or(|it| it["valid"] == false))
    {
        let why = if outcome.is_some() { "the generator did not keep its plan" } else { "no rate was sustained" };
        table.note(&format!("{name}: {why}"));
    }
    table
}

fn names_of(both: [Option<&Value>; 2]) -> [(&'static str, Option<&Value>); 2] {
    [("the first", both[0]), ("the second", both[1])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outcome(stored: f64, part: &str) -> Value {
        json!({"offered_per_s": 300.0, "stored_per_s": stored, "valid": true, "frames_per_write": null,
               "findings": {"lost": 0, "doubled": 0, "order_breaks": 0},
               "cpu": [{"name": part, "seconds_per_1000": 0.02}, {"name": "loadtest", "seconds_per_1000": 0.01}]})
    }

    #[test]
    fn runs_are_found_and_set_beside_each_other() {
        let rooms = |steps: Value| json!({"rooms": 100, "members": 10, "steps": steps});
        let standard = json!({"standard": {
            "quiet": rooms(json!({"fixed": outcome(300.0, "rookery")})),
            "maximum": rooms(json!({"ladder": {"sustained": null}}))}});
        let runs = found(&standard);
        assert_eq!(runs[0].0, "100 rooms of 10, 300.0 messages/s");
        assert_eq!(runs[1], ("100 rooms of 10, the sustained maximum".to_owned(), None));
        let names = ["up".to_owned(), "cluster".to_owned()];
        let text = table("t", &names, [runs[0].1.as_ref(), Some(&outcome(150.0, "gateways"))]).text().to_owned();
        let line = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.split_whitespace().skip(name.split(' ').count()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("stored, messages/s"), ["300", "150", "0.50"]);
        assert_eq!(line("s per 1,000, gateways"), ["–", "0.0200"]);
        assert_eq!(line("s per 1,000, loadtest"), ["0.0100", "0.0100", "1.00"]);
        assert!(!text.contains("frames per write") && text.contains("lost"), "{text}");
    }
}
