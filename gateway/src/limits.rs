//! How often is too often: a generic cell rate limiter (GCRA) per rule and subject, in this process. Called on every
//! request and command, also on socket threads: it never waits for anything but a short lock.
//!
//! One number is kept per subject: the time at which it would be served if it were made to queue. That is ahead of now
//! by the part of the burst which is used up; subjects whose time is past carry no information and are dropped first.

use shared::{
    clock,
    config::LimitConfig,
    domain::UserId,
    reply::{Code, Refusal},
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

const SHARDS: usize = 16;
/// Subjects remembered per rule and shard; 16,384 per rule, about 0.8 MiB when full.
const SUBJECTS_PER_SHARD_MAX: usize = 1024;
const MINUTE: u64 = 60_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    LoginPerAddress,
    LoginPerAccount,
    RegisterPerAddress,
    RefreshPerAddress,
    CommandsPerUser,
    RequestsPerAddress,
}

impl Rule {
    const ALL: [Rule; 6] = [
        Rule::LoginPerAddress,
        Rule::LoginPerAccount,
        Rule::RegisterPerAddress,
        Rule::RefreshPerAddress,
        Rule::CommandsPerUser,
        Rule::RequestsPerAddress,
    ];

    fn per_minute(self, config: &LimitConfig) -> u32 {
        match self {
            Self::LoginPerAddress => config.login_per_address,
            Self::LoginPerAccount => config.login_per_account,
            Self::RegisterPerAddress => config.register_per_address,
            Self::RefreshPerAddress => config.refresh_per_address,
            Self::CommandsPerUser => config.commands_per_user,
            Self::RequestsPerAddress => config.requests_per_address,
        }
    }

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoginPerAddress => "login_per_address",
            Self::LoginPerAccount => "login_per_account",
            Self::RegisterPerAddress => "register_per_address",
            Self::RefreshPerAddress => "refresh_per_address",
            Self::CommandsPerUser => "commands_per_user",
            Self::RequestsPerAddress => "requests_per_address",
        }
    }
}

/// Whom a rule counts.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// An IPv6 address counts by its /64: that is what one customer has.
    Address(IpAddr),
    /// The name somebody logs in with, whether it exists or not.
    Account(&'a str),
    User(UserId),
}

pub struct Limits {
    hasher: RandomState,
    rules: Vec<Cells>,
    start: Instant,
}

/// One rule's subjects: 128-bit key (an address, an id, a keyed hash of a name) to its time in nanoseconds since start.
struct Cells {
    interval: u64,
    shards: [Mutex<HashMap<u128, u64>>; SHARDS],
    refused: metrics::Counter,
}

impl Limits {
    pub fn new(config: &LimitConfig) -> Self {
        let cells = |rule: Rule| Cells {
            interval: MINUTE / u64::from(rule.per_minute(config).max(1)),
            shards: Default::default(),
            refused: metrics::counter!("rookery_limited_total", "rule" => rule.name()),
        };
        Self { hasher: RandomState::new(), rules: Rule::ALL.map(cells).into(), start: clock::monotonic() }
    }

    /// Counts one; refused, it is not counted and the refusal says when to come back.
    pub fn check(&self, rule: Rule, subject: Subject<'_>) -> Result<(), Refusal> {
        let now = clock::monotonic().duration_since(self.start).as_nanos() as u64;
        self.check_at(rule, subject, now)
    }

    fn check_at(&self, rule: Rule, subject: Subject<'_>, now: u64) -> Result<(), Refusal> {
        let key = match subject {
            Subject::Address(address) => address_key(address),
            Subject::User(id) => id.0.as_u128(),
            Subject::Account(name) => {
                u128::from(self.hasher.hash_one(name)) << 64 | u128::from(self.hasher.hash_one((name, 1)))
            }
        };
        let cells = &self.rules[rule as usize];
        let shard = &cells.shards[self.hasher.hash_one(key) as usize % SHARDS];
        // A panic while it was held leaves numbers behind, nothing half done.
        let mut times = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let time = times.get(&key).map_or(now, |time| *time.max(&now)) + cells.interval;
        if time > now + MINUTE {
            cells.refused.increment(1);
            let seconds = (time - now - MINUTE).div_ceil(1_000_000_000);
            return Err(Refusal::new(Code::RateLimited, "too often; wait a little").retry_after(seconds as u32));
        }
        if times.len() >= SUBJECTS_PER_SHARD_MAX && !times.contains_key(&key) {
            make_room(&mut times, now);
        }
        times.insert(key, time);
        Ok(())
    }
}

/// Drops who has nothing used up, and if that is not half, those who have used least: whoever is being held back stays.
fn make_room(times: &mut HashMap<u128, u64>, now: u64) {
    times.retain(|_, time| *time > now);
    let surplus = times.len().saturating_sub(SUBJECTS_PER_SHARD_MAX / 2);
    if surplus > 0 {
        let mut all: Vec<(u64, u128)> = times.iter().map(|(key, time)| (*time, *key)).collect();
        all.select_nth_unstable(surplus - 1);
        for (_, key) in &all[..surplus] {
            times.remove(key);
        }
    }
}

fn address_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !(u128::MAX >> 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limits(per_minute: u32) -> Limits {
        Limits::new(&LimitConfig {
            login_per_address: per_minute,
            login_per_account: per_minute,
            register_per_address: per_minute,
            refresh_per_address: per_minute,
            commands_per_user: per_minute,
            requests_per_address: per_minute,
        })
    }

    fn address(text: &str) -> Subject<'static> {
        Subject::Address(text.parse().expect("an address"))
    }

    #[test]
    fn a_burst_then_an_even_rate() {
        let limits = limits(6);
        let check = |at| limits.check_at(Rule::LoginPerAddress, address("192.0.2.1"), at);
        for _ in 0..6 {
            check(0).unwrap();
        }
        let refusal = check(0).unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after), (Code::RateLimited, Some(10)));
        check(9 * SECOND).unwrap_err();
        check(10 * SECOND).unwrap();
        check(10 * SECOND).unwrap_err();
        for _ in 0..6 {
            check(70 * SECOND).unwrap();
        }
        check(70 * SECOND).unwrap_err();
    }

    #[test]
    fn rules_and_subjects_do_not_touch_each_other() {
        let limits = limits(1);
        limits.check_at(Rule::LoginPerAddress, address("192.0.2.1"), 0).unwrap();
        limits.check_at(Rule::LoginPerAddress, address("192.0.2.1"), 0).unwrap_err();
        limits.check_at(Rule::LoginPerAddress, address("192.0.2.2"), 0).unwrap();
        limits.check_at(Rule::RegisterPerAddress, address("192.0.2.1"), 0).unwrap();
        limits.check_at(Rule::LoginPerAccount, Subject::Account("ann"), 0).unwrap();
        limits.check_at(Rule::LoginPerAccount, Subject::Account("ann"), 0).unwrap_err();
        limits.check_at(Rule::LoginPerAccount, Subject::Account("bob"), 0).unwrap();
    }

    #[test]
    fn one_customer_is_one_subject() {
        let limits = limits(1);
        let check = |text| limits.check_at(Rule::LoginPerAddress, address(text), 0);
        check("2001:db8:1:2::1").unwrap();
        check("2001:db8:1:2:ffff::9").unwrap_err();
        check("2001:db8:1:3::1").unwrap();
        check("192.0.2.7").unwrap();
        check("::ffff:192.0.2.7").unwrap_err();
        check("::ffff:192.0.2.8").unwrap();
        check("::1").unwrap();
    }

    #[test]
    fn memory_is_bounded_and_the_held_back_stay_held_back() {
        let limits = limits(2);
        let held = UserId::new();
        let check = |id: UserId| limits.check_at(Rule::CommandsPerUser, Subject::User(id), 0);
        check(held).unwrap();
        check(held).unwrap();
        for _ in 0..10 * SHARDS * SUBJECTS_PER_SHARD_MAX {
            check(UserId::new()).unwrap();
        }
        check(held).unwrap_err();
        let sizes = limits.rules[Rule::CommandsPerUser as usize].shards.iter().map(|shard| shard.lock().unwrap().len());
        assert!(sizes.max() <= Some(SUBJECTS_PER_SHARD_MAX));
    }
}
