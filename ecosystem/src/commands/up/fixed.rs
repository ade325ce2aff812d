//! What a reload cannot change: what the launcher holds itself or hands to every process, and what all processes must
//! agree on, of which old and new ones run side by side for a while.

use super::Scene;
use crate::commands::{read_config, secret_is_given, with_stand_ins};
use crate::config::is_given;
use anyhow::{Context, Result, bail};
use shared::config::{Config, Environment};

/// These settings as they were at the start.
pub struct Fixed {
    /// By name; what is secret is never shown, only compared.
    values: Vec<(&'static str, String)>,
    scene: Scene,
    port: Option<u16>,
    /// What the launcher has made for its processes.
    pub(super) made: Vec<(String, String)>,
}

impl Fixed {
    /// `config` is what the processes were started with; `port` and `made` go over the settings.
    pub fn new(config: &Config, scene: &Scene, port: Option<u16>, made: Vec<(String, String)>) -> Self {
        let values = values(config, scene.surroundings.settings.get("LOG_DIR"));
        Self { values, scene: scene.clone(), port, made }
    }

    /// Whether new processes would be told the same. What else is wrong with the settings they say themselves.
    pub fn check(&self) -> Result<()> {
        let now = Environment::of_process(&self.scene.surroundings.base).context("cannot read the settings")?;
        self.compare(now)
    }

    fn compare(&self, mut now: Environment) -> Result<()> {
        let then = &self.scene.surroundings.settings;
        if let Some(port) = self.port {
            now.set("PORT", port.to_string());
        }
        // Made by us at the start, unless somebody names one now.
        let made_secret = self.scene.made_secret.then(|| then.get("JWT_SECRET")).flatten();
        if let Some(secret) = made_secret.filter(|_| !secret_is_given(&now)) {
            now.set("JWT_SECRET", secret);
        }
        for (name, value) in &self.made {
            if !is_given(&now, name) {
                now.set(name, value);
            }
        }
        // Named anew it would be passed over: the launcher names it to its processes.
        let logs = now.get("LOG_DIR").map(str::to_owned).or_else(|| then.get("LOG_DIR").map(str::to_owned));
        let Ok(config) = read_config(&with_stand_ins(&now)) else { return Ok(()) };
        let now = values(&config, logs.as_deref());
        let changed = self.values.iter().zip(&now).filter(|(then, now)| then != now);
        let names: Vec<&str> = changed.map(|((name, _), _)| *name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names = names.join(", ");
        bail!("{names} cannot be changed by a reload: `rookery down`, then `rookery up --cluster`")
    }
}

fn values(config: &Config, logs: Option<&str>) -> Vec<(&'static str, String)> {
    let url = |url: Option<&shared::config::Secret>| url.map(|url| place(url.expose())).unwrap_or_default();
    vec![
        ("HOST", config.http.host.to_string()),
        ("PORT", config.http.port.to_string()),
        ("CORES", config.cores.to_string()),
        ("PARTITIONS", config.worker.partitions.to_string()),
        ("CLUSTER_NAME", config.cluster.name.clone()),
        ("DATABASE_URL", format!("{} {:?}", place(config.store.url.expose()), config.store.schema)),
        ("REDIS_URL", url(config.cluster.redis.as_ref())),
        ("AMQP_URL", url(config.cluster.amqp.as_ref())),
        ("JWT_SECRET", config.auth.secret.expose().to_owned()),
        ("PROBE_PORT", config.cluster.probe.port().to_string()),
        ("LOG_DIR", logs.unwrap_or_default().to_owned()),
    ]
}

/// A service's address without the login: a password may be changed in a reload, the service may not.
fn place(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_part_of_the_place() {
        assert_eq!(place("amqp://u:p@h:1/v"), place("amqp://u:other@h:1/v"));
        assert_ne!(place("amqp://u:p@h:1/v"), place("amqp://u:p@h:1/w"));
        assert_eq!(place("redis://h"), "redis://h");
    }
}
