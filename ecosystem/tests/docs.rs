//! The documents: those that are made from the code, those that must agree with it, and the links between all of them.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "docs/frames.rs"]
mod frames;
#[path = "docs/limits.rs"]
mod limits;
#[path = "docs/logs.rs"]
mod logs;
#[path = "docs/metrics.rs"]
mod metrics;
#[path = "docs/page.rs"]
mod page;
#[path = "docs/rest.rs"]
mod rest;
#[path = "docs/socket.rs"]
mod socket;
#[path = "tidy/source.rs"]
#[allow(dead_code)] // The tidy test uses the rest of it.
mod source;
#[path = "launcher/stage.rs"]
#[allow(dead_code)] // The launcher's tests use the rest of it.
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rookery(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rookery")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_made(file: &str, arguments: &[&str]) {
    let kept = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    let made = rookery(arguments);
    assert!(kept == made, "{file} is out of date: ./rookery {} > {file}", arguments.join(" "));
}

#[test]
fn the_example_of_settings_is_made_from_the_code() {
    assert_made(".env.example", &["config", "--env-example"]);
}

#[test]
fn the_table_of_settings_is_made_from_the_code() {
    assert_made("docs/configuration.md", &["config", "--markdown"]);
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let pages = std::fs::read_dir(root()).unwrap().chain(std::fs::read_dir(root().join("docs")).unwrap());
    let pages = pages
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut dead = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let files = targets
            .filter(|target| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:"));
        for target in files {
            let file = target.split('#').next().unwrap();
            if !page.parent().unwrap().join(file).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}
