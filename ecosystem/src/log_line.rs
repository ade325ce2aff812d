//! A line of our log, which is JSON, made readable for people: when, how bad, who, what, and the fields behind it.

use serde_json::{Map, Value};
use std::fmt::Write;

pub struct LogLine(Map<String, Value>);

impl LogLine {
    /// `None`: not a line of our log.
    pub fn parse(line: &str) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return None };
        (fields.contains_key("timestamp") && fields.contains_key("level")).then_some(Self(fields))
    }

    /// UTC, in a form that sorts as text.
    pub fn timestamp(&self) -> &str {
        self.text("timestamp")
    }

    /// Somebody should see it at once.
    pub fn is_alarming(&self) -> bool {
        matches!(self.text("level"), "WARN" | "ERROR")
    }

    pub fn message(&self) -> &str {
        self.text("message")
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// One line, the fields by name. `process` stands for a line that does not say whose it is. The module that said it is left out.
    pub fn readable(&self, process: &str) -> String {
        let said = self.text("process");
        let process = if said.is_empty() { process } else { said };
        let mut out = format!("{} {:>5} ", self.text("timestamp"), self.text("level"));
        if !process.is_empty() {
            let _ = write!(out, "{} ", visible(process));
        }
        out.push_str(&visible(self.text("message")));
        const SAID_ALREADY: [&str; 6] = ["timestamp", "process", "level", "message", "target", "span"];
        let span = self.0.get("span").and_then(Value::as_object);
        let of_the_span = span.into_iter().flatten().filter(|(name, _)| *name != "name");
        let fields = self.0.iter().filter(|(name, _)| !SAID_ALREADY.contains(&name.as_str()));
        for (name, value) in fields.chain(of_the_span) {
            let _ = write!(out, " {}={}", visible(name), plain(value));
        }
        out
    }
}

/// A word as it is, anything else in quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && c != '"') => {
            visible(text)
        }
        other => visible(&other.to_string()),
    }
}

/// What somebody else wrote into a field must not look like a line of ours, nor move a terminal's cursor.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_with_its_fields_and_its_span() {
        let line = r#"{"timestamp":"2026-11-20T14:11:49.030Z","process":"gateway-1","level":"INFO","message":"logged in","user.id":"01a1","why":"two words","tries":3,"target":"gateway::rest","span":{"method":"POST","name":"request"}}"#;
        let line = LogLine::parse(line).unwrap();
        assert_eq!(
            line.readable("other"),
            "2026-11-20T14:11:49.030Z  INFO gateway-1 logged in tries=3 user.id=01a1 why=\"two words\" method=POST"
        );
        assert!(!line.is_alarming());
    }

    #[test]
    fn nothing_in_a_field_looks_like_another_line() {
        let line = r#"{"timestamp":"t","level":"WARN","message":"a\nb\u001b[2J","x":"\r\u009b"}"#;
        let line = LogLine::parse(line).unwrap();
        assert_eq!(line.readable("up"), "t  WARN up a\\nb\\u{1b}[2J x=\"\\r\\u{9b}\"");
        assert!(line.is_alarming() && LogLine::parse("rookery: no").is_none() && LogLine::parse("[1]").is_none());
    }
}
