//! Configuration: read once at start from the environment (and a `.env` file), every error reported at once, nothing
//! read later. The table of names, defaults and meanings is made by the same code that reads them.

mod reader;
mod sections;

pub use reader::{ConfigError, Environment, Secret, Setting, read_env_file};
pub use sections::{
    AuthConfig, ClusterConfig, Config, EdgeConfig, HttpConfig, LimitConfig, LogConfig, SameSite, StoreConfig,
    WorkerConfig,
};

/// Where tests find a PostgreSQL that they may make databases in; `rookery test` starts one and says it here.
pub fn test_database_url() -> Option<String> {
    std::env::var("ROOKERY_TEST_DATABASE_URL").ok()
}

/// Where tests find a Redis and a RabbitMQ of their own, likewise; they put a name of their own before all keys and queues.
pub fn test_redis_url() -> Option<String> {
    std::env::var("ROOKERY_TEST_REDIS_URL").ok()
}

pub fn test_amqp_url() -> Option<String> {
    std::env::var("ROOKERY_TEST_AMQP_URL").ok()
}

/// What a test wants to go wrong in this process; see `worker::failpoint`. Debug builds only.
pub fn failpoint() -> Option<String> {
    if cfg!(debug_assertions) { std::env::var("ROOKERY_FAILPOINT").ok() } else { None }
}
