//! The clock: the only file that asks for the time. Wall time is for people and tokens, never for order (order is
//! `seq`); monotonic time is for deadlines and measuring.

use chrono::{DateTime, SubsecRound, Utc};
use std::time::Instant;

/// Now, UTC, cut to the milliseconds that clients see.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// Seconds since the Unix epoch, as tokens count them.
pub fn unix_seconds() -> u64 {
    Utc::now().timestamp().max(0) as u64
}

/// For deadlines and durations.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// RFC 3339 with milliseconds and `Z`: the one form of a time in JSON.
pub fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// `serde(with = "clock::json")` for times in client JSON.
pub mod json {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::text(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(from)?;
        DateTime::parse_from_rfc3339(&text).map(|t| t.to_utc()).map_err(serde::de::Error::custom)
    }
}

/// The same for times that may be absent.
pub mod json_option {
    use chrono::{DateTime, Utc};
    use serde::Serializer;

    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::json::serialize(time, to),
            None => to.serialize_none(),
        }
    }
}
