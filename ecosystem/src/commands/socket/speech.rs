//! What is said on a socket and what is still to be answered: lines become frames, answers settle them.

use crate::say;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::borrow::Cow;

/// Frames without an answer; then the input waits. Below the server's own limit, so that it never stops reading us.
const UNANSWERED_MAX: usize = 16;

/// What a frame that came was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Went {
    Answer,
    Event,
    Heartbeat,
}

/// A frame that was sent. One that came as it is may have a number that the server could not read.
struct Due {
    id: Option<u64>,
    as_typed: bool,
}

pub struct Speech {
    next: u64,
    due: Vec<Due>,
    /// The answer to this opens the conversation: nothing else is said before.
    greeting: bool,
    well: bool,
}

impl Default for Speech {
    fn default() -> Self {
        Self { next: 1, due: Vec::new(), greeting: false, well: true }
    }
}

/// What matters of a frame that was typed.
#[derive(Deserialize)]
struct Typed<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    cmd: Option<Cow<'a, str>>,
}

/// What matters of a frame that came.
#[derive(Deserialize)]
struct Came<'a> {
    re: Option<u64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
}

impl Speech {
    pub fn hello(&mut self, token: &str) -> String {
        self.greeting = true;
        self.numbered("hello", &json!({ "token": token }).to_string())
    }

    /// The frame that a line stands for. `None`: there is nothing in it, or it was said why it is none.
    pub fn say(&mut self, line: &str) -> Option<String> {
        let line = line.trim();
        if line.is_empty() {
            return None;
        }
        if line.starts_with('{') {
            self.as_typed(line);
            return Some(line.to_owned());
        }
        let (cmd, data) = line.split_once(char::is_whitespace).unwrap_or((line, "{}"));
        match serde_json::from_str::<&RawValue>(data) {
            Ok(data) => Some(self.numbered(cmd, data.get())),
            Err(error) => {
                say::failure(format!("not sent: what follows {cmd} is not JSON ({error})"));
                self.well = false;
                None
            }
        }
    }

    fn numbered(&mut self, cmd: &str, data: &str) -> String {
        let id = self.next;
        self.next += 1;
        if cmd != "heartbeat" {
            self.due.push(Due { id: Some(id), as_typed: false });
        }
        format!(r#"{{"id":{id},"cmd":{},"data":{data}}}"#, json!(cmd))
    }

    /// Sent as it is, whatever it is: seeing how the server refuses nonsense is a use of this too.
    fn as_typed(&mut self, frame: &str) {
        let typed = serde_json::from_str(frame).unwrap_or(Typed { id: None, cmd: None });
        if let Some(id) = typed.id {
            self.next = self.next.max(id.saturating_add(1));
        }
        // It is not answered, and neither is a hello that has no number.
        let silent = match typed.cmd.as_deref() {
            Some("heartbeat") => true,
            Some("hello") => typed.id.is_none(),
            _ => false,
        };
        if !silent {
            self.due.push(Due { id: typed.id, as_typed: true });
        }
    }

    pub fn heard(&mut self, frame: &str) -> Went {
        let came = serde_json::from_str(frame).unwrap_or(Came { re: None, error: None, event: None });
        if let Some(event) = came.event {
            return if event == "heartbeat" { Went::Heartbeat } else { Went::Event };
        }
        self.well &= came.error.is_none();
        self.greeting = false;
        let settles = |due: &Due| match came.re {
            Some(re) => due.id == Some(re),
            None => due.as_typed,
        };
        if let Some(at) = self.due.iter().position(settles) {
            self.due.remove(at);
        }
        Went::Answer
    }

    pub fn may_go_on(&self) -> bool {
        !self.greeting && self.due.len() < UNANSWERED_MAX
    }

    pub fn is_answered(&self) -> bool {
        self.due.is_empty()
    }

    /// What is still to be answered, in words.
    pub fn due(&self) -> String {
        let numbers = self
            .due
            .iter()
            .map(|due| due.id.map_or_else(|| "a frame without a number".to_owned(), |id| id.to_string()));
        numbers.collect::<Vec<_>>().join(", ")
    }

    /// Nothing was refused, here or there.
    pub fn all_well(&self) -> bool {
        self.well && self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lines_get_numbers_and_frames_stay_as_they_are() {
        let mut speech = Speech::default();
        assert_eq!(speech.say(" conversation.list\n").unwrap(), r#"{"id":1,"cmd":"conversation.list","data":{}}"#);
        let frame = r#"{"id":7,"cmd":"message.get","data":{}}"#;
        assert_eq!(speech.say(frame).unwrap(), frame);
        assert_eq!(speech.say("sync {\"urev\": 0}").unwrap(), r#"{"id":8,"cmd":"sync","data":{"urev": 0}}"#);
        assert_eq!(speech.say("  \n"), None);
        assert!(speech.all_well() || !speech.is_answered());
        assert_eq!(speech.due(), "1, 7, 8");
    }

    #[test]
    fn answers_settle_what_they_answer() {
        let mut speech = Speech::default();
        speech.hello("t");
        assert!(!speech.may_go_on());
        assert_eq!(speech.heard(r#"{"re":1,"ok":{"live":true}}"#), Went::Answer);
        assert!(speech.may_go_on() && speech.is_answered());
        speech.say("typing {}");
        assert_eq!(speech.heard(r#"{"event":"typing","data":{}}"#), Went::Event);
        assert_eq!(speech.heard(r#"{"event":"heartbeat","data":{"sent":1}}"#), Went::Heartbeat);
        assert!(!speech.is_answered() && speech.well);
        speech.heard(r#"{"re":2,"error":{"code":"invalid"}}"#);
        assert!(speech.is_answered() && !speech.all_well());
    }

    #[test]
    fn nonsense_as_typed_is_answered_without_a_number() {
        let mut speech = Speech::default();
        speech.say("conversation.list");
        speech.say("{nonsense");
        speech.say(r#"{"id":5,"cmd":"x","date":{}}"#);
        let refused = r#"{"re":null,"error":{"code":"malformed"}}"#;
        speech.heard(refused);
        speech.heard(refused);
        assert_eq!(speech.due(), "1");
        speech.say(r#"{"cmd":"heartbeat"}"#);
        speech.say("heartbeat");
        assert_eq!(speech.due(), "1", "a heartbeat is not answered");
    }

    #[test]
    fn what_is_not_json_is_not_sent() {
        let mut speech = Speech::default();
        assert_eq!(speech.say("message.send hi there"), None);
        assert!(speech.is_answered() && !speech.all_well());
    }

    #[test]
    fn the_input_waits_for_answers() {
        let mut speech = Speech::default();
        for _ in 0..UNANSWERED_MAX {
            assert!(speech.may_go_on());
            speech.say("conversation.list");
        }
        assert!(!speech.may_go_on());
        speech.heard(r#"{"re":3,"ok":{}}"#);
        assert!(speech.may_go_on());
    }
}
