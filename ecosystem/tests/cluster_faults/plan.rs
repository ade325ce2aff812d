//! What is done to the cluster, and how long nobody may wait because of it.

use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    GatewayKilled,
    WorkerBeforeCommit,
    WorkerAfterCommit,
    WorkerStopped,
    RedisEmptied,
    RedisKilled,
    RabbitKilled,
    PostgresKilled,
    PostgresAway,
    WorkerWithoutPostgres,
    GatewayWithoutRedis,
    GatewayWithoutRabbit,
    Doubled,
    Poison,
    Crossing,
    Reload,
    Restored,
}

use Fault::*;

/// In every run of the tests.
pub const QUICK: [Fault; 7] =
    [GatewayKilled, WorkerBeforeCommit, RedisEmptied, RabbitKilled, WorkerAfterCommit, PostgresKilled, Doubled];

/// With `rookery test --faults`.
pub const WHOLE: [Fault; 16] = [
    GatewayKilled,
    WorkerBeforeCommit,
    WorkerAfterCommit,
    WorkerStopped,
    RedisEmptied,
    RedisKilled,
    RabbitKilled,
    PostgresKilled,
    PostgresAway,
    WorkerWithoutPostgres,
    GatewayWithoutRedis,
    GatewayWithoutRabbit,
    Doubled,
    Poison,
    Crossing,
    Reload,
];

const SECOND: Duration = Duration::from_secs(1);
/// A gateway's supervisor starts it again after this.
pub const GATEWAY_AWAY: Duration = SECOND;
/// Longer than RabbitMQ waits for heartbeats of one second.
pub const STOPPED: Duration = Duration::from_secs(8);
/// PostgreSQL, until it is started again.
pub const POSTGRES_AWAY: Duration = Duration::from_secs(2);
pub const BLACKHOLE: Duration = Duration::from_secs(10);
/// Until copies that come ten seconds late have come, too.
pub const DOUBLED: Duration = Duration::from_secs(14);

impl Fault {
    /// As `docs/faults.md` names it.
    pub fn name(self) -> &'static str {
        match self {
            GatewayKilled => "SIGKILL of a gateway, back after 1 s",
            WorkerBeforeCommit => "a worker dies before a commit",
            WorkerAfterCommit => "a worker dies after a commit, before it hands on",
            WorkerStopped => "SIGSTOP of a worker for 8 s, then SIGCONT",
            RedisEmptied => "Redis FLUSHALL",
            RedisKilled => "SIGKILL of Redis",
            RabbitKilled => "SIGKILL of RabbitMQ",
            PostgresKilled => "SIGKILL of PostgreSQL",
            PostgresAway => "SIGKILL of PostgreSQL, back after 2 s",
            WorkerWithoutPostgres => "blackhole of 10 s, worker to PostgreSQL",
            GatewayWithoutRedis => "blackhole of 10 s, gateway to Redis",
            GatewayWithoutRabbit => "blackhole of 10 s, gateway to RabbitMQ",
            Doubled => "every fifth batch twice more: at once, and 10 s late",
            Poison => "poison: commands that PostgreSQL refuses, garbage in queues and inboxes",
            Crossing => "one client sends crossing ids to two conversations",
            Reload => "SIGTERM of both gateways in turn, the new one first",
            Restored => "PostgreSQL restored from a backup",
        }
    }

    /// What is not the servers' doing: how long a part is out of reach whatever they do.
    pub fn out_of_reach(self) -> Duration {
        match self {
            WorkerWithoutPostgres | GatewayWithoutRedis | GatewayWithoutRabbit => BLACKHOLE,
            PostgresAway => POSTGRES_AWAY,
            _ => Duration::ZERO,
        }
    }

    /// How long the longest wait should be, beyond what is out of reach. Twice that fails.
    pub fn goal(self) -> Duration {
        match self {
            RabbitKilled | GatewayWithoutRabbit => 12 * SECOND,
            PostgresKilled | PostgresAway | WorkerWithoutPostgres | Restored => 6 * SECOND,
            _ => 2 * SECOND,
        }
    }

    /// Whether commands on their way may be lost, so that gateways send them again: their order is not promised then.
    pub fn is_lossy(self) -> bool {
        matches!(self, RabbitKilled | GatewayWithoutRabbit)
    }
}
