//! One gateway or worker as a process: settings, log, probe, signals, and the order in which it comes up. What is away is
//! waited for, whatever it is and however long: processes and services may be started in any order. Only what waiting
//! cannot mend ends it: a setting that is wrong, a database that refuses us, a schema that this program does not know.

use super::{Role, readiness::Readiness, tether};
use crate::{BadConfiguration, config::Surroundings, say};
use anyhow::{Context, Result};
use shared::routing::redis::RedisRouting;
use shared::{
    bus::{Bus, rabbit::RabbitBus},
    config::{Config, ConfigError, Environment},
    lifecycle::{self, Backoff, Stop},
    probe::Probe,
    routing::{
        Routing,
        terms::{self, TERMS_HOLD, Term},
    },
    store::{Store, StoreError},
    telemetry,
};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Between two looks at a schema that is not there yet: somebody is about to bring it.
const SCHEMA_PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// What a gateway or worker is made of.
pub struct Process {
    pub config: Config,
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    pub routing: Arc<dyn Routing>,
    pub readiness: Arc<Readiness>,
    pub stop: Stop,
}

/// Runs until a signal has stopped it; `work` is what this role does.
pub fn run(
    role: Role,
    launcher: Option<i32>,
    surroundings: &Surroundings,
    work: impl AsyncFnOnce(Process) -> Result<()>,
) -> Result<()> {
    if let Some(launcher) = launcher {
        tether::to(launcher)?;
    }
    let config = read_config(role, launcher.is_some(), &surroundings.settings)?;
    let _telemetry = telemetry::start(&config.log).map_err(|error| BadConfiguration(vec![error]))?;
    let runtime = runtime(config.cores)?;
    runtime.block_on(async {
        let stop = Stop::default();
        tokio::spawn(lifecycle::listen(stop.clone(), || {})?);
        work(Process::begin(config, launcher.is_some(), stop).await?).await
    })
}

/// For everything but sockets.
pub fn runtime(cores: usize) -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Everything that is missing or wrong, at once.
pub fn read_config(role: Role, launched: bool, settings: &Environment) -> Result<Config> {
    let mut settings = settings.clone();
    let given = |settings: &Environment, name: &str| crate::config::is_given(settings, name);
    if !given(&settings, "PROCESS_NAME") {
        settings.set("PROCESS_NAME", role.name());
    }
    // Tokens are a gateway's business: whoever runs workers elsewhere need not spread the secret.
    if role == Role::Worker && !given(&settings, "JWT_SECRET") {
        settings.set("JWT_SECRET", "a stand-in: workers sign and verify nothing");
    }
    let read = Config::read(&settings);
    let mut errors = Vec::new();
    for (name, what) in [("REDIS_URL", "the address of a Redis"), ("AMQP_URL", "the address of a RabbitMQ")] {
        if !given(&settings, name) {
            let problem = format!("is required: {what} (`rookery up --cluster` starts a private one by itself)");
            errors.push(ConfigError { name: name.to_owned(), problem });
        }
    }
    match read {
        Ok(config) => {
            if role == Role::Gateway && !launched && config.http.any_origin {
                let problem = "* is for `rookery up` only: name the origins".to_owned();
                errors.push(ConfigError { name: "CORS_ORIGIN".to_owned(), problem });
            }
            if errors.is_empty() { Ok(config) } else { Err(BadConfiguration(errors).into()) }
        }
        Err(mut wrong) => {
            wrong.append(&mut errors);
            Err(BadConfiguration(wrong).into())
        }
    }
}

impl Process {
    /// Connects to nothing yet, or in the background; from here on the probe answers.
    async fn begin(config: Config, launched: bool, stop: Stop) -> Result<Self> {
        let address = config.cluster.probe;
        let probe = Probe::bind(address).await.with_context(|| format!("cannot listen on {address} for the probe"))?;
        let address = probe.address().context("the probe has no address")?;
        tracing::info!(%address, "health and metrics are served");
        let readiness = Readiness::new(launched);
        if launched {
            say::line(format!("probe http://{address}"));
        }
        // To the very end, so that a supervisor sees it drain.
        tokio::spawn(probe.run(readiness.answer(), CancellationToken::new()));

        let wrong = |problem| BadConfiguration(vec![ConfigError { name: "AMQP_URL".to_owned(), problem }]);
        let store = Store::new(&config.store)?;
        let bus = RabbitBus::new(&config.cluster, config.worker.partitions, &[]).map_err(wrong)?;
        let routing = RedisRouting::new(&config.cluster).map_err(|error| BadConfiguration(vec![error]))?;
        let (bus, routing): (Arc<dyn Bus>, Arc<dyn Routing>) = (Arc::new(bus), Arc::new(routing));
        tokio::spawn(readiness.clone().watch(store.clone(), bus.clone(), routing.clone(), stop.clone()));
        Ok(Self { config, store, bus, routing, readiness, stop })
    }

    /// Until the database is there with a schema that this program works on, and the other processes of the cluster work on
    /// the same. Somebody else migrates (`rookery migrate`, `rookery up --cluster`): two processes that start are two too
    /// many to do it. False: told to stop before.
    pub async fn wait_for_schema(&self) -> Result<bool> {
        let mut backoff = Backoff::default();
        loop {
            match self.look().await {
                Ok(Some(terms)) => {
                    tokio::spawn(hold(self.routing.clone(), terms));
                    return Ok(true);
                }
                Ok(None) => {}
                // The readiness tells it.
                Err(StoreError::Unavailable(why)) => tracing::debug!(why, "the schema cannot be looked at"),
                Err(error) => {
                    return Err(BadConfiguration(vec![ConfigError {
                        name: "DATABASE_URL".to_owned(),
                        problem: error.to_string(),
                    }])
                    .into());
                }
            }
            self.stop.sleep(backoff.next().min(SCHEMA_PAUSE_LONGEST)).await;
            if self.stop.is_stopped() {
                return Ok(false);
            }
        }
    }

    /// What this process and the others have agreed on; none where it cannot begin yet.
    async fn look(&self) -> Result<Option<[Term; 2]>, StoreError> {
        if !self.look_at_schema().await? {
            return Ok(None);
        }
        let terms = terms::terms(&self.store, self.config.worker.partitions).await?;
        // The readiness tells what is away.
        let Ok(differ) = self.routing.agree(&terms).await else { return Ok(None) };
        if differ.is_empty() {
            return Ok(Some(terms));
        }
        self.readiness.waits_for("the cluster", disagreement(&differ));
        Ok(None)
    }

    /// False: it has not had all the steps yet that this program knows.
    async fn look_at_schema(&self) -> Result<bool, StoreError> {
        let (at, known) = self.store.schema_versions().await?;
        if at < known {
            let why = format!(
                "the database's schema is at step {at}, this program needs step {known}: waiting for `rookery migrate`"
            );
            self.readiness.waits_for("the schema", why);
            return Ok(false);
        }
        self.store.check().await.map(|()| true)
    }
}

fn disagreement(settings: &[&str]) -> String {
    format!(
        "other processes of this cluster (CLUSTER_NAME) have another {}: wait until they have ended, or name this cluster otherwise",
        settings.join(" and another ")
    )
}

/// To the very end, the drain included: as long as this process works, no other begins that would work on something else.
/// Who differs only now came while Redis was empty.
async fn hold(routing: Arc<dyn Routing>, terms: [Term; 2]) {
    let mut told = false;
    loop {
        tokio::time::sleep(TERMS_HOLD / 3).await;
        if let Ok(differ) = routing.agree(&terms).await {
            if !differ.is_empty() && !told {
                tracing::error!(
                    why = disagreement(&differ),
                    "this cluster is at odds with itself; stop one side of it"
                );
            }
            told = !differ.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn names(role: Role, launched: bool, pairs: &[(&str, &str)]) -> Vec<String> {
        let read = read_config(role, launched, &Environment::of(pairs.iter().copied()));
        let Err(error) = read else { return Vec::new() };
        let BadConfiguration(errors) = error.downcast().unwrap();
        errors.into_iter().map(|error| error.name).collect()
    }

    #[test]
    fn what_is_missing_and_what_is_wrong_is_named_together() {
        assert_eq!(names(Role::Gateway, false, &[]), ["JWT_SECRET", "DATABASE_URL", "REDIS_URL", "AMQP_URL"]);
        assert_eq!(names(Role::Worker, false, &[]), ["DATABASE_URL", "REDIS_URL", "AMQP_URL"]);
        let wrong = [("REDIS_URL", "http://x"), ("RABBITMQ_URL", "amqp://x"), ("JWT_SECRET", SECRET)];
        assert_eq!(names(Role::Gateway, false, &wrong), ["DATABASE_URL", "REDIS_URL"]);
    }

    #[test]
    fn any_origin_is_for_the_launcher_only() {
        let all = [
            ("DATABASE_URL", "postgres://localhost/x"),
            ("REDIS_URL", "redis://localhost"),
            ("AMQP_URL", "amqp://localhost"),
            ("JWT_SECRET", SECRET),
            ("CORS_ORIGIN", "*"),
        ];
        assert_eq!(names(Role::Gateway, false, &all), ["CORS_ORIGIN"]);
        assert!(names(Role::Gateway, true, &all).is_empty() && names(Role::Worker, false, &all).is_empty());
    }
}
