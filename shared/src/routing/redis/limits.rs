//! What all count together: how often is too often, and what may be used once. And what all must have alike.

use super::{
    Core,
    link::{About, Again},
    odd,
};
use crate::routing::{
    RoutingAway,
    cells::{Draw, Drawn},
    terms::{TERMS_HOLD, Term},
};
use std::time::Duration;

/// Draws in one script.
const DRAWN_AT_ONCE: usize = 500;
/// Nobody is made to wait longer than a year; numbers beyond it would not be exact in a script.
const LONGEST_US: u128 = 365 * 86_400 * 1_000_000;

impl Core {
    pub async fn draw(&self, draws: &[Draw]) -> Result<Vec<Drawn>, RoutingAway> {
        let mut drawn = Vec::with_capacity(draws.len());
        for draws in draws.chunks(DRAWN_AT_ONCE) {
            // Once: what was counted and not answered would be counted twice.
            let answers: Vec<i64> = self
                .run(About::Limit, Again::No, &self.scripts.draw, |call, _| {
                    for draw in draws {
                        let cost = (draw.interval.as_nanos() * u128::from(draw.count)).div_ceil(1000).min(LONGEST_US);
                        call.arg(format!("{}:{:032x}", draw.rule, draw.subject)).arg(cost as u64);
                        call.arg(draw.burst.as_micros().min(LONGEST_US) as u64).arg(u8::from(draw.forced));
                    }
                })
                .await?;
            if answers.len() != draws.len() {
                return Err(odd());
            }
            drawn.extend(answers.into_iter().map(|answer| match Duration::from_micros(answer.unsigned_abs()) {
                ahead if answer >= 0 => Drawn::Taken { ahead },
                wait => Drawn::Refused { wait },
            }));
        }
        Ok(drawn)
    }

    pub async fn use_once(&self, key: [u8; 16], ttl: Duration) -> Result<bool, RoutingAway> {
        let mut set = redis::cmd("SET");
        set.arg(self.keys.once(key)).arg("").arg("NX").arg("PX").arg(ttl.as_millis().max(1) as u64);
        let set_by_us: Option<String> = self.ask(About::Limit, Again::No, &set).await?;
        Ok(set_by_us.is_some())
    }

    pub async fn agree(&self, terms: &[Term]) -> Result<Vec<&'static str>, RoutingAway> {
        let differ: Vec<String> = self
            .run(About::Lease, Again::Yes, &self.scripts.agree, |call, _| {
                call.arg(TERMS_HOLD.as_millis() as u64);
                for term in terms {
                    call.arg(term.setting).arg(&term.value);
                }
            })
            .await?;
        let ours = terms.iter().map(|term| term.setting);
        Ok(ours.filter(|setting| differ.iter().any(|differs| differs == setting)).collect())
    }
}
