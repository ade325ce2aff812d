//! docs/metrics.md has every metric of the code with its type and labels, and no other; no label names a person.

use crate::page::{Page, assert_same, quoted};
use crate::source;
use crate::stage::Stage;
use std::collections::{BTreeMap, BTreeSet};

const KINDS: [&str; 3] = ["counter", "gauge", "histogram"];
/// A label has few values, and none of them leads to somebody.
const FORBIDDEN: [&str; 10] =
    ["user", "username", "session", "conversation", "message", "id", "address", "ip", "token", "request"];

struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

type Metrics = BTreeMap<String, Metric>;

fn add(metrics: &mut Metrics, kind: &str, name: &str, labels: impl IntoIterator<Item = String>) {
    let metric =
        metrics.entry(name.to_owned()).or_insert_with(|| Metric { kind: kind.to_owned(), labels: BTreeSet::new() });
    assert_eq!(metric.kind, kind, "{name} is of two types");
    metric.labels.extend(labels);
}

/// What `counter!("name", "label" => …)` and its like register, wherever they stand, and the table of a shard's counts.
fn in_code() -> Metrics {
    let mut metrics = Metrics::new();
    for file in source::rust().into_iter().filter(source::Source::is_program) {
        let code: String = file.code_without_tests().iter().map(|(_, line)| format!("{line}\n")).collect();
        for kind in KINDS {
            for call in code.split(&format!("{kind}!(")).skip(1) {
                let Some(rest) = call.trim_start().strip_prefix('"') else { continue };
                let (name, rest) = rest.split_once('"').unwrap();
                add(&mut metrics, kind, name, labels(&rest[..end_of_call(rest)]));
            }
        }
        for name in code.split("=> \"rookery_").skip(1).filter_map(|rest| rest.split('"').next()) {
            add(&mut metrics, "counter", &format!("rookery_{name}"), ["shard".to_owned()]);
        }
    }
    // These take their labels from a variable.
    add(&mut metrics, "counter", "rookery_http_requests_total", ["method", "route", "status"].map(str::to_owned));
    add(&mut metrics, "histogram", "rookery_http_request_seconds", ["method", "route"].map(str::to_owned));
    metrics
}

fn end_of_call(rest: &str) -> usize {
    let mut depth = 1;
    let closes = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    };
    rest.find(closes).unwrap_or(rest.len())
}

fn labels(arguments: &str) -> Vec<String> {
    let keys = arguments.split("\" =>").filter(|part| part.contains('"'));
    let keys: Vec<String> = keys.map(|part| part.rsplit('"').next().unwrap().to_owned()).collect();
    keys.into_iter().take(arguments.matches("\" =>").count()).collect()
}

fn on_page() -> Metrics {
    let page = Page::read("docs/metrics.md");
    let mut metrics = Metrics::new();
    for row in Page::rows(page.text()).into_iter().filter(|row| row.len() == 6) {
        // Label names come first; their values follow a colon.
        let labels = row[3].split(": ").next().map(quoted).unwrap_or_default();
        assert!(!row[2].is_empty() && !row[4].is_empty(), "{} has no unit or no meaning", row[0]);
        add(&mut metrics, &row[1], &quoted(&row[0])[0], labels);
    }
    metrics
}

fn in_words(metrics: &Metrics) -> BTreeSet<String> {
    let words = |(name, metric): (&String, &Metric)| {
        let labels: Vec<&str> = metric.labels.iter().map(String::as_str).collect();
        format!("{} {name}{{{}}}", metric.kind, labels.join(","))
    };
    metrics.iter().map(words).collect()
}

#[test]
fn the_page_and_the_code_have_the_same_metrics() {
    assert_same("metrics", &in_words(&on_page()), &in_words(&in_code()));
}

#[test]
fn no_label_names_a_person() {
    for (name, metric) in in_code() {
        let named: Vec<&String> = metric.labels.iter().filter(|label| FORBIDDEN.contains(&label.as_str())).collect();
        assert!(named.is_empty(), "{name} has the label {named:?}");
    }
}

#[test]
fn every_name_that_the_page_mentions_is_one() {
    let (page, known) = (Page::read("docs/metrics.md"), on_page());
    let mentioned = page.text().split('`').skip(1).step_by(2).filter(|word| word.starts_with("rookery_"));
    let wrong: Vec<&str> = mentioned.filter(|word| !known.contains_key(*word)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_running_server_shows_what_the_page_says() {
    let stage = Stage::new();
    let up = stage.up();
    let shown = ecosystem::http::get(&up.address, "/metrics").unwrap().body;
    let known = on_page();
    let types: Vec<(&str, &str)> =
        shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(types.len() > 20, "{shown}");
    for (name, kind) in types {
        assert!(known.get(name).is_some_and(|metric| metric.kind == kind), "{name} is shown as a {kind}");
    }
}
