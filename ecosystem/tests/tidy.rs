//! The house rules that a machine can see, kept by reading the source: each test is one rule and names every place that
//! breaks it. The reasons stand in CONTRIBUTING.md and ARCHITECTURE.md.

#[path = "tidy/architecture.rs"]
mod architecture;
#[path = "tidy/source.rs"]
mod source;

use source::Source;
use std::collections::BTreeMap;

const LONGEST_FILE: usize = 500;
const FILES_IN_A_FOLDER: usize = 12;
/// Of all files of the program, without their tests.
const MEDIAN_FILE: usize = 160;
const NINE_IN_TEN_FILES: usize = 350;

#[track_caller]
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

/// Of the program's code without tests, every line that `holds` in files that may not have it.
fn lines(allowed: impl Fn(&Source) -> bool, holds: impl Fn(&str) -> bool + Copy) -> Vec<String> {
    let files = source::rust().into_iter().filter(|file| file.is_program() && !allowed(file));
    files.flat_map(|file| file.places(&file.code_without_tests(), holds)).collect()
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent = source::rust().into_iter().filter(|file| !file.text.starts_with("//! "));
    none(
        "every file begins with `//!`: what it is and where it stands in the flow",
        silent.map(|file| file.path).collect(),
    );
}

#[test]
fn no_file_is_too_long() {
    let files = source::rust();
    let length = |file: &Source| file.text.lines().count();
    let long = files.iter().filter(|file| length(file) > LONGEST_FILE);
    none("no file is over 500 lines", long.map(|file| format!("{}: {}", file.path, length(file))).collect());

    let mut lengths: Vec<usize> = files.iter().filter(|file| file.is_program()).map(lines_without_tests).collect();
    lengths.sort_unstable();
    let (median, tenth) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
    assert!(
        median <= MEDIAN_FILE && tenth <= NINE_IN_TEN_FILES,
        "median file {median} lines, nine in ten up to {tenth}"
    );
}

fn lines_without_tests(file: &Source) -> usize {
    file.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count()
}

#[test]
fn no_folder_holds_too_many_files() {
    let files = source::rust();
    let mut folders: BTreeMap<String, usize> = files.iter().map(|file| (file.directory().to_owned(), 0)).collect();
    for file in &files {
        // `a.rs` beside `a/` is the head of that folder, as `a/mod.rs` would be.
        let heads = file.path.trim_end_matches(".rs");
        let folder = if folders.contains_key(heads) { heads } else { file.directory() };
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    let listed = architecture::full_folders();
    let full = folders.into_iter().filter(|(folder, files)| *files > FILES_IN_A_FOLDER && !listed.contains(folder));
    none(
        "at most 12 files in a folder, or a reason in ARCHITECTURE.md",
        full.map(|(folder, files)| format!("{folder}: {files}")).collect(),
    );
}

#[test]
fn no_module_is_named_after_nothing() {
    const EMPTY_NAMES: [&str; 9] =
        ["util", "utils", "common", "helper", "helpers", "misc", "types", "manager", "managers"];
    let named = |file: &Source| {
        let of_file = file.path.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part));
        let declares = |line: &str| {
            let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            line.strip_prefix("mod ").is_some_and(|rest| EMPTY_NAMES.contains(&rest.trim_end_matches([';', ' ', '{'])))
        };
        of_file || file.code().iter().any(|(_, line)| declares(line))
    };
    none(
        "a module's name says what is in it",
        source::rust().into_iter().filter(named).map(|file| file.path).collect(),
    );
}

#[test]
fn the_environment_is_read_by_configuration_only() {
    let configuration =
        |file: &Source| file.name() == "config.rs" || file.path.contains("/src/config/") || file.name() == "main.rs";
    let reads = |line: &str| {
        let environment = ["std::env::", "use std::env", " env::var"].iter().any(|way| line.contains(way));
        environment && !line.contains("std::env::args")
    };
    none("no environment outside config.rs", lines(configuration, reads));
}

#[test]
fn the_time_is_asked_of_the_clock_only() {
    let reads = |line: &str| {
        ["Instant::now(", "SystemTime::now(", "Utc::now(", "Local::now("].iter().any(|now| line.contains(now))
    };
    none("no now() outside shared/src/clock.rs", lines(|file| file.path == "shared/src/clock.rs", reads));
}

#[test]
fn sql_is_in_the_store_only() {
    // Upper-case words, as our statements have them.
    const WORDS: [&str; 9] = [
        "SELECT ",
        "INSERT INTO ",
        "DELETE FROM ",
        "CREATE TABLE ",
        "ALTER TABLE ",
        "CREATE DATABASE ",
        "DROP DATABASE ",
        "TRUNCATE ",
        "LISTEN ",
    ];
    let update = |line: &str| line.contains("UPDATE ") && line.contains(" SET ");
    let is_sql = |line: &str| line.contains('"') && (WORDS.iter().any(|word| line.contains(word)) || update(line));
    // The load generator's limit program is a bare statement, to compare ours with; its crowd is too large to register.
    const STORES: [&str; 3] = ["shared/src/store", "loadtest/src/limit/", "loadtest/src/database/"];
    let store = |file: &Source| STORES.iter().any(|start| file.path.starts_with(start));
    none("SQL only in shared/src/store and migrations", lines(store, is_sql));
}

#[test]
fn rules_and_codecs_do_nothing_but_compute() {
    const DOERS: [&str; 8] =
        ["async ", ".await", "tokio::", "std::fs", "std::net", "std::io::", "clock::now", "clock::monotonic"];
    let pure = |path: &str| {
        path.starts_with("shared/src/domain")
            || path.starts_with("gateway/src/shard/codec")
            || path.starts_with("gateway/src/socketio/engine")
            || path.starts_with("gateway/src/socketio/packet")
    };
    none(
        "domain/, codecs and packets contain no async, no clock, no I/O",
        lines(|file| !pure(&file.path), |line| DOERS.iter().any(|doer| line.contains(doer))),
    );
}

#[test]
fn unsafe_is_where_the_architecture_explains_it() {
    let is_unsafe = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        // A lint's name in an attribute is not the thing itself.
        !line.trim_start().starts_with("#!") && words.any(|word| word == "unsafe")
    };
    let mut found: Vec<String> = source::rust()
        .into_iter()
        .filter(|file| !file.path.starts_with("ecosystem/tests/tidy"))
        .filter(|file| file.code().iter().any(|(_, line)| is_unsafe(line)))
        .map(|file| file.path)
        .collect();
    let mut listed = architecture::unsafe_files();
    found.sort();
    listed.sort();
    assert_eq!(found, listed, "files with `unsafe` (left), files that ARCHITECTURE.md lists (right)");
}

#[test]
fn each_crate_is_named_where_the_architecture_says() {
    let files: Vec<Source> = source::rust().into_iter().filter(Source::is_program).collect();
    let mut wrong = Vec::new();
    for row in architecture::crates() {
        let naming: Vec<&str> =
            files.iter().filter(|file| file.names_crate(&row.name)).map(|file| file.path.as_str()).collect();
        let Some(home) = &row.home else {
            wrong.extend(naming.iter().map(|path| format!("{} is still to come, but {path} names it", row.name)));
            continue;
        };
        if !naming.contains(&home.as_str()) {
            wrong.push(format!("{home} does not name {}", row.name));
        }
        let listed = |path: &str| row.also.iter().any(|pattern| architecture::matches(pattern, path));
        let strangers = naming.iter().filter(|path| **path != home && !listed(path));
        wrong.extend(strangers.map(|path| format!("{path} names {}, which its row does not say", row.name)));
        let idle = row
            .also
            .iter()
            .filter(|pattern| !naming.iter().any(|path| *path != home && architecture::matches(pattern, path)));
        wrong.extend(idle.map(|pattern| format!("{pattern} in the row of {} matches nothing that names it", row.name)));
    }
    none("ARCHITECTURE.md, table of crates", wrong);
}

#[test]
fn the_table_of_crates_is_complete() {
    const WANTED: [&str; 15] = [
        "hyper",
        "axum",
        "mio",
        "tokio",
        "tokio-tungstenite",
        "fastwebsockets",
        "deadpool-postgres",
        "tokio-postgres",
        "redis",
        "lapin",
        "jsonwebtoken",
        "argon2",
        "serde",
        "metrics",
        "metrics-exporter-prometheus",
    ];
    let rows: Vec<String> = architecture::crates().into_iter().map(|row| row.name).collect();
    let missing = WANTED.iter().filter(|name| !rows.iter().any(|row| row == *name));
    none("ARCHITECTURE.md's table has a row for each", missing.map(|name| (*name).to_owned()).collect());
}

#[test]
fn dependencies_point_one_way() {
    const MAY: [(&str, &[&str]); 5] = [
        ("shared", &[]),
        ("gateway", &["shared"]),
        ("worker", &["shared"]),
        ("ecosystem", &["shared", "gateway", "worker"]),
        ("loadtest", &["shared"]),
    ];
    let mut wrong = Vec::new();
    for (name, may) in MAY {
        let manifest = source::read(&format!("{name}/Cargo.toml"));
        let section =
            manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
        let ours = section
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|dependency| source::CRATES.contains(dependency));
        wrong.extend(
            ours.filter(|dependency| !may.contains(dependency)).map(|dependency| format!("{name} → {dependency}")),
        );
    }
    none("loadtest → shared; gateway → shared; worker → shared; ecosystem → gateway, worker", wrong);
}

#[test]
fn nothing_is_left_for_later_or_left_out() {
    // In two parts, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("#[ig", "nore")];
    let marked = source::rust().into_iter().flat_map(|file| {
        let lines: Vec<(usize, &str)> = file.text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
        file.places(&lines, |line| marks.iter().any(|mark| line.contains(mark)))
    });
    none("an issue, not a mark in the source; and no test is ignored", marked.collect());
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let paths = [concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/ro", "ot/")];
    let found = source::everything().into_iter().flat_map(|file| {
        let lines: Vec<(usize, &str)> = file.text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
        file.places(&lines, |line| paths.iter().any(|path| line.contains(path)))
    });
    none("no absolute path of one machine", found.collect());
}
