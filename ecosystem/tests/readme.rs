//! The README's walk-through, done as a newcomer does it: its blocks go into two terminals, at a real `rookery up`, and
//! what is printed there is compared with what the page promises.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "launcher/stage.rs"]
#[allow(dead_code)] // The launcher's tests use the rest of it.
mod stage;
#[path = "readme/terminal.rs"]
mod terminal;
#[path = "readme/walk.rs"]
mod walk;

use stage::{Stage, Up};
use std::os::unix::fs::symlink;
use walk::{Step, walk};

/// Where README says that the server is.
const ADDRESS: &str = "localhost:3000";

fn readme() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("README.md")).unwrap()
}

/// A directory with `./rookery` in it, and a server that has its data there.
fn world() -> (Stage, Up) {
    let stage = Stage::new();
    symlink(env!("CARGO_BIN_EXE_rookery"), stage.path("rookery")).unwrap();
    let up = stage.up();
    (stage, up)
}

fn follow(page: &str, stage: &Stage, up: &Up) -> Result<(), String> {
    let steps = walk::steps(&page.replace(ADDRESS, up.address.trim_start_matches("http://")));
    walk(&steps, &stage.path(""))
}

#[test]
fn the_page_begins_with_the_two_commands() {
    let page = readme();
    let mut lines = page.lines();
    assert!(lines.next().unwrap().starts_with("```"));
    assert!(lines.next().unwrap().starts_with("./rookery up "));
    assert!(lines.next().unwrap().starts_with("./rookery test "));
}

#[test]
fn two_people_talk_by_the_lines_of_the_page() {
    let page = readme();
    let section = page.split("\n## ").find(|section| section.starts_with("Two people talk")).unwrap();
    let steps = walk::steps(section);
    let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
    assert!(count(|step| matches!(step, Step::Paste { .. })) >= 10, "the walk-through has lost its blocks");
    assert!(count(|step| matches!(step, Step::Expect { .. })) >= 12, "the walk-through promises too little");
    let (stage, up) = world();
    follow(section, &stage, &up).unwrap();
}

#[test]
fn a_block_that_fails_and_a_promise_that_is_not_kept_are_noticed() {
    let (stage, up) = world();
    let api = format!("curl -sS --fail-with-body http://{ADDRESS}");
    let refused = follow(&format!("```sh\n{api}/v1/auth/me\n```\n"), &stage, &up).unwrap_err();
    assert!(refused.contains("unauthorized"), "{refused}");
    let failed = follow("```sh\nfalse\ntrue\n```\n", &stage, &up).unwrap_err();
    assert!(failed.contains("false\ntrue"), "{failed}");
    let unkept =
        follow(&format!("```sh\n{api}/health\n```\n```json\n{{\"status\":\"…\",…}}\n```\n"), &stage, &up).unwrap_err();
    assert!(unkept.contains("never printed") && unkept.contains(r#"{"status":"ok"}"#), "{unkept}");
    let kept = format!("```sh\n{api}/health\n```\n```json\n{{\"status\":\"…\"}}\n```\n");
    assert_eq!(follow(&kept, &stage, &up), Ok(()));
}
