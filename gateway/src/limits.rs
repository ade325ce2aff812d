//! How often is too often, per rule and subject. Called on every request and command, also on socket threads: a decision
//! is made from this process's own cells and waits for nothing but a short lock.
//!
//! All gateways together keep the limits. What concerns passwords and tokens asks the cells they share before anything is
//! done (`check_shared`); of everything else each gateway tells the others once a second what it has counted, and hears
//! what they have. While the shared cells are away, each gateway's own hold.

use crate::{app::App, auth::derived_key};
use aws_lc_rs::hmac;
use shared::{
    config::LimitConfig,
    domain::UserId,
    lifecycle::Stop,
    reply::{Code, Refusal},
    routing::{
        Routing,
        cells::{Cells, Draw, Drawn},
    },
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Subjects remembered per rule, 0.8 MiB when full.
const SUBJECTS_MAX: usize = 16_384;
const MINUTE: Duration = Duration::from_secs(60);
const SHARE_EVERY: Duration = Duration::from_secs(1);
/// Subjects counted since the others were last told; more than that within a second are counted here alone.
const UNTOLD_MAX: usize = 65_536;
/// Told in one question to the shared cells.
const TOLD_AT_ONCE: usize = 1000;

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
    /// Names of accounts leave this process only under this key, which all gateways have.
    key: hmac::Key,
    rules: Vec<Kept>,
    routing: Arc<dyn Routing>,
    /// Counted here, and the other gateways do not know yet.
    untold: Mutex<HashMap<(u8, u128), u32>>,
}

struct Kept {
    interval: Duration,
    cells: Cells,
    refused: metrics::Counter,
}

impl Limits {
    pub fn new(config: &LimitConfig, secret: &[u8], routing: Arc<dyn Routing>) -> Self {
        let kept = |rule: Rule| Kept {
            interval: MINUTE / rule.per_minute(config).max(1),
            cells: Cells::new(SUBJECTS_MAX),
            refused: metrics::counter!("rookery_limited_total", "rule" => rule.name()),
        };
        Self {
            key: derived_key(secret, b"limits"),
            rules: Rule::ALL.map(kept).into(),
            routing,
            untold: Mutex::default(),
        }
    }

    /// Counts one; refused, it is not counted and the refusal says when to come back.
    pub fn check(&self, rule: Rule, subject: Subject<'_>) -> Result<(), Refusal> {
        let draw = self.draw(rule, subject);
        self.judge(rule, self.kept(rule).cells.draw(&draw))?;
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if untold.len() < UNTOLD_MAX {
            *untold.entry((draw.rule, draw.subject)).or_default() += 1;
        }
        Ok(())
    }

    /// The same for what must not be tried more often by asking another gateway: counted for all of them at once.
    pub async fn check_shared(&self, rule: Rule, subject: Subject<'_>) -> Result<(), Refusal> {
        let draw = self.draw(rule, subject);
        self.judge(rule, self.kept(rule).cells.draw(&draw))?;
        match self.routing.draw(vec![draw]).await.as_deref() {
            Ok([drawn]) => self.judge(rule, *drawn),
            Ok(_) => Ok(()),
            Err(away) => {
                tracing::debug!(%away, rule = rule.name(), "counted by this gateway alone");
                Ok(())
            }
        }
    }

    fn draw(&self, rule: Rule, subject: Subject<'_>) -> Draw {
        let subject = match subject {
            Subject::Address(address) => address_key(address),
            Subject::User(id) => id.0.as_u128(),
            Subject::Account(name) => {
                let mac = hmac::sign(&self.key, name.as_bytes());
                let half = mac.as_ref().first_chunk().expect("cannot fail because a MAC has 32 bytes");
                u128::from_be_bytes(*half)
            }
        };
        let interval = self.kept(rule).interval;
        Draw { rule: rule as u8, subject, interval, burst: MINUTE, count: 1, forced: false }
    }

    fn kept(&self, rule: Rule) -> &Kept {
        &self.rules[rule as usize]
    }

    fn judge(&self, rule: Rule, drawn: Drawn) -> Result<(), Refusal> {
        let Drawn::Refused { wait } = drawn else { return Ok(()) };
        self.kept(rule).refused.increment(1);
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        Err(Refusal::new(Code::RateLimited, "too often; wait a little").retry_after(seconds as u32))
    }

    /// Tells the others what was counted here, and hears how much that makes all together.
    async fn share(&self) {
        let untold = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let draws: Vec<Draw> = untold
            .into_iter()
            .map(|((rule, subject), count)| {
                let interval = self.rules[usize::from(rule)].interval;
                Draw { rule, subject, interval, burst: MINUTE, count, forced: true }
            })
            .collect();
        for part in draws.chunks(TOLD_AT_ONCE) {
            let Ok(drawn) = self.routing.draw(part.to_vec()).await else { return };
            for (draw, drawn) in part.iter().zip(drawn) {
                if let Drawn::Taken { ahead } = drawn {
                    self.rules[usize::from(draw.rule)].cells.raise(draw.rule, draw.subject, ahead);
                }
            }
        }
    }
}

/// Shares what is counted until the gateway leaves.
pub async fn run(app: Arc<App>, stop: Stop) {
    while !stop.is_stopped() {
        stop.sleep(SHARE_EVERY).await;
        app.limits.share().await;
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
    use shared::routing::local::LocalRouting;

    /// Gateways that share `routing`.
    fn limits_of(routing: &LocalRouting, per_minute: u32) -> Limits {
        let config = LimitConfig {
            login_per_address: per_minute,
            login_per_account: per_minute,
            register_per_address: per_minute,
            refresh_per_address: per_minute,
            commands_per_user: per_minute,
            requests_per_address: per_minute,
        };
        Limits::new(&config, b"a secret that only tests use, of more than 32 bytes", Arc::new(routing.clone()))
    }

    fn limits(per_minute: u32) -> Limits {
        limits_of(&LocalRouting::new(), per_minute)
    }

    fn address(text: &str) -> Subject<'static> {
        Subject::Address(text.parse().expect("an address"))
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let limits = limits(6);
        let check = || limits.check(Rule::LoginPerAddress, address("192.0.2.1"));
        for _ in 0..6 {
            check().unwrap();
        }
        let refusal = check().unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after), (Code::RateLimited, Some(10)));
    }

    #[test]
    fn rules_and_subjects_do_not_touch_each_other() {
        let limits = limits(1);
        limits.check(Rule::LoginPerAddress, address("192.0.2.1")).unwrap();
        limits.check(Rule::LoginPerAddress, address("192.0.2.1")).unwrap_err();
        limits.check(Rule::LoginPerAddress, address("192.0.2.2")).unwrap();
        limits.check(Rule::RegisterPerAddress, address("192.0.2.1")).unwrap();
        limits.check(Rule::LoginPerAccount, Subject::Account("ann")).unwrap();
        limits.check(Rule::LoginPerAccount, Subject::Account("ann")).unwrap_err();
        limits.check(Rule::LoginPerAccount, Subject::Account("bob")).unwrap();
    }

    #[test]
    fn one_customer_is_one_subject() {
        let limits = limits(1);
        let check = |text| limits.check(Rule::LoginPerAddress, address(text));
        check("2001:db8:1:2::1").unwrap();
        check("2001:db8:1:2:ffff::9").unwrap_err();
        check("2001:db8:1:3::1").unwrap();
        check("192.0.2.7").unwrap();
        check("::ffff:192.0.2.7").unwrap_err();
        check("::ffff:192.0.2.8").unwrap();
        check("::1").unwrap();
    }

    #[tokio::test]
    async fn another_gateway_is_no_way_around_a_login_limit() {
        let routing = LocalRouting::new();
        let (one, two) = (limits_of(&routing, 3), limits_of(&routing, 3));
        for limits in [&one, &two, &one] {
            limits.check_shared(Rule::LoginPerAccount, Subject::Account("ann")).await.unwrap();
        }
        let refusal = two.check_shared(Rule::LoginPerAccount, Subject::Account("ann")).await.unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        routing.set_away(true);
        two.check_shared(Rule::LoginPerAccount, Subject::Account("bob")).await.expect("its own cells hold");
    }

    #[tokio::test]
    async fn what_others_have_counted_is_heard_of() {
        let routing = LocalRouting::new();
        let (one, two) = (limits_of(&routing, 10), limits_of(&routing, 10));
        let user = UserId::new();
        for limits in [&one, &two] {
            for _ in 0..6 {
                limits.check(Rule::CommandsPerUser, Subject::User(user)).unwrap();
            }
        }
        one.share().await;
        two.share().await;
        two.check(Rule::CommandsPerUser, Subject::User(user)).expect_err("twelve by both together");
    }
}
