//! A client's JSON, over REST and sockets alike: bounded in depth, free of NUL (PostgreSQL's text has none), and where it
//! is wrong, the answer names the field. Reading a right one costs one pass before serde's own.

use serde::Deserialize;
use serde_json::error::Category;
use shared::{
    domain::JSON_DEPTH_MAX,
    reply::{Code, Refusal},
};

/// What of a parser's words a client gets to see at most.
const DETAIL_MAX_CHARS: usize = 160;

/// Reads a request. Unknown and repeated fields are refused where `T` says so (`deny_unknown_fields`; serde's derive
/// refuses repeated ones by itself).
pub fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Refusal> {
    // serde would take a list for an object whose fields come in order.
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(Refusal::new(Code::Malformed, "an object is expected, not a list"));
    }
    check(text).map_err(|problem| Refusal::new(Code::Malformed, problem))?;
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data => explain::<T>(text),
        _ => Refusal::new(Code::Malformed, format!("not JSON: {}", shorten(&error.to_string()))),
    })
}

/// Depth, and NUL in strings: what serde does not refuse. Anything that is not JSON is left to serde.
fn check(text: &[u8]) -> Result<(), &'static str> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err("nested deeper than 32");
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(text, at + 1)?,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The place of the quote that ends the string whose content begins at `at`, or the end of the text.
fn end_of_string(text: &[u8], mut at: usize) -> Result<usize, &'static str> {
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return Ok(at);
        }
        if text[at + 1..].starts_with(b"u0000") {
            return Err("a text contains NUL");
        }
        at += 2;
    }
    Ok(text.len())
}

/// Reads it once more, slowly, to say where it went wrong. Never repeats a value: it may be a password.
fn explain<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Refusal {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
        return Refusal::new(Code::Malformed, "not an object of this request's shape");
    };
    let path = error.path().to_string();
    let words = error.into_inner().to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    let quoted = words.split('`').nth(1).unwrap_or_default();
    let inside = |name: &str| match path.as_str() {
        "." => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    let (field, problem) = if words.starts_with("missing field") {
        (inside(quoted), "is required".to_owned())
    } else if words.starts_with("unknown field") {
        (inside(quoted), "is not known here".to_owned())
    } else if words.starts_with("duplicate field") {
        (inside(quoted), "is given twice".to_owned())
    } else if let Some((_, expected)) = words.rsplit_once("expected ") {
        (path, format!("must be {expected}"))
    } else {
        (path, "has a wrong form".to_owned())
    };
    match field.as_str() {
        "." => Refusal::new(Code::Malformed, "not an object of this request's shape"),
        _ => Refusal::field(shorten(&field), shorten(&problem)),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(DETAIL_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Person {
        name: String,
        age: Option<u8>,
        home: Option<Home>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Home {
        town: String,
    }

    fn field_of(text: &str) -> (String, String) {
        let (name, problem) = parse::<Person>(text.as_bytes()).unwrap_err().field.expect("names a field");
        (name.into_owned(), problem.into_owned())
    }

    #[test]
    fn the_wrong_field_is_named() {
        let is = |text, name: &str, problem: &str| assert_eq!(field_of(text), (name.to_owned(), problem.to_owned()));
        is("{}", "name", "is required");
        is(r#"{"name":"a","nmae":1}"#, "nmae", "is not known here");
        is(r#"{"name":"a","name":"b"}"#, "name", "is given twice");
        is(r#"{"name":5}"#, "name", "must be a string");
        is(r#"{"name":"a","age":-1}"#, "age", "must be u8");
        is(r#"{"name":"a","home":{}}"#, "home.town", "is required");
        is(r#"{"name":"a","home":{"town":"x","city":1}}"#, "home.city", "is not known here");
        is(r#"{"name":"a","home":{"town":null}}"#, "home.town", "must be a string");
    }

    #[test]
    fn a_value_is_never_repeated() {
        let refusal = parse::<Person>(br#"{"name":["secret"],"age":"secret"}"#).unwrap_err();
        assert!(!format!("{refusal:?}").contains("secret"));
        let refusal = parse::<Person>(br#"{"name":"a","age":"secret, expected secret"}"#).unwrap_err();
        assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
    }

    #[test]
    fn what_is_not_an_object_is_malformed() {
        for text in [
            "",
            "null",
            "[]",
            "[\"a\"]",
            " [\"a\",1]",
            "{",
            "\"",
            "\"\\",
            "{\"name\":\"\u{1}\"}",
            "{\"name\":\"a\"} {}",
            "nonsense",
            "1e400",
        ] {
            assert_eq!(parse::<Person>(text.as_bytes()).unwrap_err().code, Code::Malformed, "{text}");
        }
        assert_eq!(parse::<Person>(b"{\"name\":\"\xff\"}").unwrap_err().code, Code::Malformed);
        assert_eq!(parse::<Person>(br#"{"name":"\ud800"}"#).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse::<serde_json::Value>(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(
            parse::<serde_json::Value>(nested(JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err().code,
            Code::Malformed
        );
        assert!(parse::<serde_json::Value>("[".repeat(100_000).as_bytes()).is_err());
        let text = format!("\"{}\"", "[\\\"".repeat(100));
        assert!(parse::<String>(text.as_bytes()).is_ok(), "brackets in a string are text");
    }

    #[test]
    fn nul_is_refused_and_its_picture_is_not() {
        assert!(parse::<String>(br#""a\u0000b""#).is_err());
        assert_eq!(parse::<String>(br#""a\\u0000b""#).unwrap(), "a\\u0000b");
    }
}
