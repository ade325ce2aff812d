//! Parts that are stored and delivered as they come: only their outside is looked at. PostgreSQL keeps them as `jsonb`,
//! which writes numbers out, has no NUL and takes no half of a surrogate pair, so these are refused here, by name, and
//! the size is the size they will have there.

use shared::domain::JSON_DEPTH_MAX;

/// Digits of a number, and its exponent, at most: far beyond any float, and within what `numeric` takes.
const NUMBER_MAX: usize = 1000;

/// Is `json`, which must be valid JSON, fit to be kept? `size_max` in bytes, with numbers written out (1e3 is 1000) and
/// a space after each comma and colon.
pub fn check(json: &str, size_max: usize) -> Result<(), &'static str> {
    let text = json.as_bytes();
    let (mut at, mut depth, mut size) = (0, 0_usize, text.len());
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err("is nested deeper than 32");
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' => size += 1,
            b'"' => at = end_of_string(text, at)?,
            b'-' | b'0'..=b'9' => {
                let end = at
                    + text[at..]
                        .iter()
                        .take_while(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
                        .count();
                size += written_out(&json[at - 1..end])?;
                at = end;
            }
            _ => {}
        }
    }
    if size > size_max { Err("is too large") } else { Ok(()) }
}

/// How many digits the exponent of a number stands for.
fn written_out(number: &str) -> Result<usize, &'static str> {
    let exponent = number.split_once(['e', 'E']).map_or("0", |(_, exponent)| exponent.trim_start_matches(['+', '-']));
    match exponent.parse::<usize>() {
        Ok(exponent) if exponent <= NUMBER_MAX && number.len() <= NUMBER_MAX => Ok(exponent),
        _ => Err("has a number that is too long: send it as a string"),
    }
}

/// The place after the quote that ends the string whose content begins at `at`.
fn end_of_string(text: &[u8], mut at: usize) -> Result<usize, &'static str> {
    let mut high = false;
    while let Some(&byte) = text.get(at) {
        let unit = match byte {
            b'\\' if text.get(at + 1) == Some(&b'u') => escaped_unit(text, at + 2),
            _ => None,
        };
        let low = matches!(unit, Some(0xdc00..=0xdfff));
        if low != high {
            return Err("has half a surrogate pair");
        }
        high = matches!(unit, Some(0xd800..=0xdbff));
        match (byte, unit) {
            (_, Some(0)) => return Err("must not contain NUL"),
            (_, Some(_)) => at += 6,
            (b'\\', None) => at += 2,
            (b'"', _) => return Ok(at + 1),
            _ => at += 1,
        }
    }
    Ok(text.len())
}

fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1000;

    #[test]
    fn ordinary_things_are_fit() {
        for json in [
            r#"{"ciphertext":"qk0=","nonce":"AAAA","n":[1,-2.5,1e21,5e-7,true,null]}"#,
            r#""\ud83d\ude00 \\u0000 \\ud800 \" \n""#,
            "[]",
            " { } ",
        ] {
            assert_eq!(check(json, MAX), Ok(()), "{json}");
        }
    }

    #[test]
    fn what_the_database_would_refuse_is_refused() {
        for json in [
            r#""a\u0000""#,
            r#"{"a\u0000":1}"#,
            r#""\ud800""#,
            r#""\ud800x""#,
            r#""\udc00""#,
            r#""\ud800\ud800\udc00""#,
            r#""\ud83d\n""#,
            "1e100000",
            "[1E+99999999999999999999]",
            "-1e-1001",
        ] {
            assert!(check(json, MAX).is_err(), "{json}");
        }
        assert!(check(&"1".repeat(1001), usize::MAX).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(JSON_DEPTH_MAX), MAX), Ok(()));
        assert_eq!(check(&nested(JSON_DEPTH_MAX + 1), MAX), Err("is nested deeper than 32"));
    }

    #[test]
    fn the_size_is_the_one_it_will_have() {
        assert_eq!(check(&format!("\"{}\"", "a".repeat(MAX - 2)), MAX), Ok(()));
        assert!(check(&format!("\"{}\"", "a".repeat(MAX - 1)), MAX).is_err());
        assert!(check("[1e600,1e600]", MAX).is_err(), "a number is written out where it is kept");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in ".{0,200}") {
            let _ = check(&text, MAX);
            let _ = check(&format!("\"{text}\""), MAX);
        }

        /// Whatever serde reads as a string is fit, unless it has a NUL: then both sides agree on surrogates.
        #[test]
        fn escapes_are_read_as_serde_reads_them(units in proptest::collection::vec(prop_oneof![
            Just("\\ud83d".to_owned()), Just("\\ude00".to_owned()), Just("\\\\".to_owned()), Just("a".to_owned()), Just("\\n".to_owned())
        ], 0..8)) {
            let json = format!("\"{}\"", units.concat());
            prop_assert_eq!(check(&json, MAX).is_ok(), serde_json::from_str::<String>(&json).is_ok());
        }
    }
}
