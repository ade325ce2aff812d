//! The frames on docs/socket.md are real: each line `ann → {…}` is sent to a server by her own `rookery socket`, each line
//! `ann ← {…}` has to come there. Words in capitals stand for ids, which the first frame that has one makes known; `…`
//! stands for anything.

use crate::page::Page;
use crate::stage::{DEADLINE, Stage};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

const PEOPLE: [&str; 2] = ["ann", "bob"];
const PASSWORD: &str = "correct horse staple";

type Known = HashMap<String, String>;

struct Client {
    process: Child,
    input: ChildStdin,
    frames: Receiver<String>,
}

impl Client {
    fn open(stage: &Stage) -> Self {
        let mut command = stage.rookery(&["socket", "--data-dir", "data"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (say, frames) = channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        std::thread::spawn(move || lines.for_each(|line| drop(say.send(line))));
        Self { input: process.stdin.take().unwrap(), process, frames }
    }

    /// Frames that the page leaves out are passed over.
    fn hear(&self, pattern: &str, known: &mut Known) {
        let (start, mut heard) = (Instant::now(), Vec::new());
        while let Ok(frame) = self.frames.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
            if let Some(found) = match_frame(&frame, pattern, known) {
                known.extend(found);
                return;
            }
            heard.push(frame);
        }
        panic!("never came:\n{pattern}\nbut:\n{}\nwith {known:?}", heard.join("\n"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

enum Piece<'a> {
    Text(&'a str),
    Anything,
    Id(&'a str),
}

/// A pattern in pieces; ids stand between quotes.
fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let is_id = |text: &str| text.len() > 1 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let mut pieces = Vec::new();
    for (at, part) in pattern.split('"').enumerate() {
        if at > 0 {
            pieces.push(Piece::Text("\""));
        }
        if is_id(part) {
            pieces.push(Piece::Id(part));
            continue;
        }
        for (at, text) in part.split('…').enumerate() {
            if at > 0 {
                pieces.push(Piece::Anything);
            }
            pieces.push(Piece::Text(text));
        }
    }
    pieces
}

/// What the pattern's unknown ids are in this frame, if it is like the pattern.
fn match_frame(frame: &str, pattern: &str, known: &Known) -> Option<Known> {
    fn go(rest: &str, pieces: &[Piece<'_>], known: &Known, found: &mut Known) -> bool {
        let Some((piece, pieces)) = pieces.split_first() else { return rest.is_empty() };
        match piece {
            Piece::Text(text) => rest.strip_prefix(text).is_some_and(|rest| go(rest, pieces, known, found)),
            Piece::Anything => {
                let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
                ends.any(|at| go(&rest[at..], pieces, known, found))
            }
            Piece::Id(name) => match known.get(*name).or_else(|| found.get(*name)).cloned() {
                Some(id) => rest.strip_prefix(id.as_str()).is_some_and(|rest| go(rest, pieces, known, found)),
                None => {
                    let (id, behind) = rest.split_at(rest.find('"').unwrap_or(rest.len()));
                    found.insert((*name).to_owned(), id.to_owned());
                    go(behind, pieces, known, found) || {
                        found.remove(*name);
                        false
                    }
                }
            },
        }
    }
    let mut found = Known::new();
    go(frame, &pieces(pattern), known, &mut found).then_some(found)
}

fn with_ids(frame: &str, known: &Known) -> String {
    let piece = |piece: Piece<'_>| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Anything => panic!("what is sent is there whole: {frame}"),
        Piece::Id(name) => known.get(name).unwrap_or_else(|| panic!("{name} is not known yet")).clone(),
    };
    pieces(frame).into_iter().map(piece).collect()
}

/// Their tokens and ids.
fn register(address: &str, known: &mut Known) {
    for name in PEOPLE {
        let body = serde_json::json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
        let answer =
            ecosystem::http::request(address, "POST", "/v1/auth/register", None, Some(&body)).unwrap().json().unwrap();
        let text = |pointer: &str| answer.pointer(pointer).and_then(|value| value.as_str()).unwrap().to_owned();
        known.insert(name.to_uppercase(), text("/user/id"));
        known.insert(format!("{}_TOKEN", name.to_uppercase()), text("/access_token"));
    }
}

#[test]
fn the_frames_of_the_page_are_those_of_a_server() {
    let page = Page::read("docs/socket.md");
    let blocks = page.text().split("```frames\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let frames: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(frames.len() >= 40, "the page has lost its frames");
    let stage = Stage::new();
    let up = stage.up();
    let (mut known, mut clients) = (Known::new(), HashMap::new());
    register(&up.address, &mut known);
    for line in frames {
        let (who, what) = line.split_once(' ').unwrap();
        assert!(PEOPLE.contains(&who), "{line}");
        let client: &mut Client = clients.entry(who).or_insert_with(|| Client::open(&stage));
        if let Some(frame) = what.strip_prefix("→ ") {
            writeln!(client.input, "{}", with_ids(frame, &known)).unwrap();
        } else {
            client.hear(what.strip_prefix("← ").unwrap(), &mut known);
        }
    }
}

#[test]
fn frames_are_matched_with_care() {
    let known = Known::from([("CHAT".to_owned(), "c1".to_owned())]);
    let is = |frame, pattern, wanted: Option<&[(&str, &str)]>| {
        let wanted = wanted.map(|ids| ids.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect());
        assert_eq!(match_frame(frame, pattern, &known), wanted, "{frame} {pattern}");
    };
    is(r#"{"a":"c1","b":"x"}"#, r#"{"a":"CHAT","b":"NEW"}"#, Some(&[("NEW", "x")]));
    is(r#"{"a":"c2"}"#, r#"{"a":"CHAT"}"#, None);
    is(r#"{"a":{"b":1},"c":2}"#, r#"{"a":{…},"c":2}"#, Some(&[]));
    is(r#"{"a":1,"c":2}"#, r#"{…"c":3}"#, None);
    is(r#"{"a":"x","b":"y"}"#, r#"{"a":"NEW","b":"NEW"}"#, None);
}
