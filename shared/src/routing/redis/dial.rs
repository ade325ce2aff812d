//! How a connection to Redis is made, and what is asked of the server before it is used.

use crate::{
    clock,
    config::{ClusterConfig, ConfigError},
};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError,
    aio::MultiplexedConnection,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use thiserror::Error;

/// Calls that may wait for the connection's task, and bytes it gathers before it writes.
const WAITING_MAX: usize = 1024;
const WRITE_BYTES: usize = 256 * 1024;

/// Why there is no connection.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Away(String),
    /// Redis is there and must not be used as it is.
    #[error("{0}")]
    Unfit(String),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let denied = matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS"));
        match error.kind() {
            _ if denied => Self::Unfit(error.to_string()),
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Self::Unfit(error.to_string()),
            ErrorKind::RESP3NotSupported => Self::Unfit("this Redis cannot be used: 7.0 or newer is needed".to_owned()),
            _ => Self::Away(error.to_string()),
        }
    }
}

/// Clones are the same connection. It closes when the last one is dropped.
#[derive(Clone)]
pub(super) struct Connection {
    pub commands: MultiplexedConnection,
    /// Which life of which server this is.
    pub run_id: Arc<str>,
    /// How many were there before it.
    pub number: u64,
    pub since: Instant,
    closed: Arc<AtomicBool>,
}

impl Connection {
    /// What would be sent on it would not arrive.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

pub(super) struct Dial {
    client: Client,
}

impl Dial {
    /// Does not connect. TLS trusts the system's certificates; `SSL_CERT_FILE` replaces them.
    pub fn new(config: &ClusterConfig) -> Result<Self, ConfigError> {
        let wrong = |problem: String| ConfigError { name: "REDIS_URL".into(), problem };
        let url = config.redis.as_ref().ok_or_else(|| wrong("is required: the address of a Redis server".into()))?;
        let client = Client::open(url.expose()).map_err(|error| wrong(error.to_string()))?;
        let info = client.get_connection_info();
        // The newer protocol says when a connection has closed, before something is lost on it.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.clone().set_redis_settings(settings).set_tcp_settings(tcp);
        let client = Client::open(info).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { client })
    }

    /// The connection after so many others. Neither this nor what is asked on it has a time limit of its own: whoever
    /// waits has one.
    pub async fn connect(&self, number: u64) -> Result<Connection, Failure> {
        let closed = Arc::new(AtomicBool::new(false));
        let noticed = closed.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING_MAX)
            .set_write_backpressure_boundary(WRITE_BYTES)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    noticed.store(true, Ordering::Release);
                }
                Ok::<(), ()>(())
            });
        let mut commands = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").query_async(&mut commands).await?;
        let run_id = check(&info)?.into();
        Ok(Connection { commands, run_id, number, since: clock::monotonic(), closed })
    }
}

/// The server's `run_id`, if it may be used.
fn check(info: &str) -> Result<&str, Failure> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let version = field("redis_version").unwrap_or("of unknown version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 7) {
        return Err(Failure::Unfit(format!("Redis {version} cannot be used: 7.0 or newer is needed")));
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        return Err(Failure::Unfit(format!(
            "Redis would throw keys away when its memory is full: set maxmemory-policy to noeviction, it is {policy}"
        )));
    }
    if field("role").is_some_and(|role| role != "master") {
        return Err(Failure::Unfit(
            "this Redis is a replica: REDIS_URL must name the one that is written to".to_owned(),
        ));
    }
    if field("loading").is_some_and(|loading| loading != "0") {
        return Err(Failure::Away("Redis is loading its data".to_owned()));
    }
    field("run_id").ok_or_else(|| Failure::Unfit("Redis does not say its run_id".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:4c1f\r\n\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                        # Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\n";

    #[test]
    fn a_redis_that_may_be_used_is_known_by_its_run_id() {
        assert_eq!(check(INFO), Ok("4c1f"));
    }

    #[test]
    fn what_is_wrong_with_a_redis_is_said() {
        for (from, to, said) in [
            ("7.0.15", "6.2.6", "Redis 6.2.6 cannot be used"),
            ("redis_version", "other_version", "of unknown version"),
            ("policy:noeviction", "policy:allkeys-lru", "set maxmemory-policy to noeviction, it is allkeys-lru"),
            ("role:master", "role:slave", "replica"),
            ("run_id", "id", "run_id"),
        ] {
            match check(&INFO.replace(from, to)) {
                Err(Failure::Unfit(sentence)) => assert!(sentence.contains(said), "{sentence}"),
                other => panic!("{from} as {to}: {other:?}"),
            }
        }
        assert!(matches!(check(&INFO.replace("loading:0", "loading:1")), Err(Failure::Away(_))));
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_its_password() {
        for url in ["redis://", "redis://:secret@host:port", "rediss://:secret@host/#unknown"] {
            let env = crate::config::Environment::of([
                ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
                ("DATABASE_URL", "postgres://host/name"),
            ]);
            let mut config = crate::config::Config::read(&env).unwrap().cluster;
            config.redis = Some(crate::config::Secret::new(url));
            let error = Dial::new(&config).err().expect("it is no address");
            assert!(error.to_string().starts_with("REDIS_URL") && !error.to_string().contains("secret"), "{error}");
        }
    }
}
