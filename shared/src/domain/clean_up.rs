//! What is thrown away on a schedule, in UTC: the same hours on all workers, whichever of them does it.

use chrono::{DateTime, Datelike, Days, NaiveTime, Utc, Weekday};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// A session whose refresh token was not used for so long is ended, unless that is still good.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * DAY.as_secs());
/// A session that has ended is kept so long, for whoever looks into a theft; its tokens until they expire.
pub const ENDED_SESSION_KEPT: Duration = Duration::from_secs(60 * DAY.as_secs());

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CleanUp {
    /// Refresh tokens that have expired; daily at 02:00.
    ExpiredTokens,
    /// Sessions idle for [`SESSION_IDLE_MAX`] are ended; daily at 03:00.
    IdleSessions,
    /// Sessions that ended [`ENDED_SESSION_KEPT`] ago, with the tokens revoked by that; Sundays at 04:00.
    EndedSessions,
}

impl CleanUp {
    pub const ALL: [Self; 3] = [Self::ExpiredTokens, Self::IdleSessions, Self::EndedSessions];

    pub fn name(self) -> &'static str {
        match self {
            Self::ExpiredTokens => "expired_tokens",
            Self::IdleSessions => "idle_sessions",
            Self::EndedSessions => "ended_sessions",
        }
    }

    /// Its hour has come since it was last done; also where nobody ran at that hour.
    pub fn is_due(self, done_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.last_hour(now).is_some_and(|hour| done_at < hour)
    }

    /// The latest of its hours that is not after `now`.
    fn last_hour(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (hour, weekday) = match self {
            Self::ExpiredTokens => (2, None),
            Self::IdleSessions => (3, None),
            Self::EndedSessions => (4, Some(Weekday::Sun)),
        };
        let at = NaiveTime::from_hms_opt(hour, 0, 0)?;
        (0..=7)
            .filter_map(|days| Some(now.date_naive().checked_sub_days(Days::new(days))?.and_time(at).and_utc()))
            .find(|time| *time <= now && weekday.is_none_or(|weekday| time.weekday() == weekday))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}:00Z").parse().unwrap()
    }

    #[test]
    fn each_is_due_at_its_hour_and_once() {
        // The 22nd of November 2026 is a Sunday.
        for (task, before, hour, next) in [
            (CleanUp::ExpiredTokens, "2026-11-21T01:59", "2026-11-21T02:00", "2026-11-22T02:00"),
            (CleanUp::IdleSessions, "2026-12-31T02:59", "2026-12-31T03:00", "2027-01-01T03:00"),
            (CleanUp::EndedSessions, "2026-11-22T03:59", "2026-11-22T04:00", "2026-11-29T04:00"),
        ] {
            let done = at(before) - Days::new(1);
            let done = if task == CleanUp::EndedSessions { at("2026-11-15T04:00") } else { done + DAY / 2 };
            assert!(!task.is_due(done, at(before)), "{task:?}");
            assert!(task.is_due(done, at(hour)), "{task:?}");
            assert!(!task.is_due(at(hour), at(hour) + DAY / 2), "{task:?} is done once");
            assert!(task.is_due(at(hour), at(next)), "{task:?}");
            assert!(task.is_due(done, at(hour) + DAY * 40), "{task:?}: late is better than never");
        }
    }
}
