//! docs/limits.md has every limit that clients are told, and every test that it names is there.

use crate::page::{Page, assert_same, names};
use crate::source;
use std::collections::BTreeSet;

/// The fields of what `GET /v1/limits` answers.
fn told() -> BTreeSet<String> {
    let code = source::read("gateway/src/rest/limits.rs");
    let fields = code.split("struct Limits {").nth(1).unwrap().split('}').next().unwrap();
    fields.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_limit_that_clients_are_told_is_listed() {
    let page = Page::read("docs/limits.md");
    assert_same("limits", &names(&Page::rows(page.section("What a client may"))), &told());
}

#[test]
fn every_test_it_names_is_there() {
    let page = Page::read("docs/limits.md");
    let mut rows = 0;
    for row in page.text().lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let links = row.split('[').skip(1).filter_map(|rest| rest.split_once("](../"));
        let links: Vec<(&str, &str)> = links.map(|(name, rest)| (name, rest.split(')').next().unwrap())).collect();
        for (name, path) in &links {
            assert!(source::read(path).contains(&format!("fn {name}")), "{path} has no test {name}");
        }
        rows += usize::from(!links.is_empty());
        let without = ["| limit |", "| setting |", "| what, and how much |", "| `bio_max_chars` |"];
        assert!(!links.is_empty() || without.iter().any(|start| row.starts_with(start)), "no test reaches {row}");
    }
    assert!(rows > 50, "only {rows} limits");
}
