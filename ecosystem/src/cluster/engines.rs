//! The services of a cluster: those that are named in the settings, and private ones for those that are not. What has to
//! be started is started side by side, because RabbitMQ takes seconds, and ended so.

use super::processes::Service;
use crate::config::{Surroundings, is_given};
use crate::data_dir::DataDir;
use crate::services::postgres::{KIND as POSTGRES, Options as PostgresOptions, PrivatePostgres};
use crate::services::private::{Private, started};
use crate::services::rabbitmq::{KIND as RABBITMQ, Options as RabbitOptions, PrivateRabbit};
use crate::services::redis::{KIND as REDIS, Options as RedisOptions, PrivateRedis};
use crate::services::{Kind, Server, debian};
use crate::{database, say};
use anyhow::Result;
use std::thread;

/// Private ones; `None`: the settings name another. Dropped side by side.
pub struct Engines {
    postgres: Option<PrivatePostgres>,
    redis: Option<PrivateRedis>,
    rabbitmq: Option<PrivateRabbit>,
}

impl Engines {
    /// `connections`: what all processes together may open to PostgreSQL.
    pub fn start(data: &DataDir, surroundings: &Surroundings, connections: u32) -> Result<Self> {
        let settings = &surroundings.settings;
        let (with_postgres, with_redis, with_rabbitmq) =
            (!database::is_given(settings), !is_given(settings, "REDIS_URL"), !is_given(settings, "AMQP_URL"));
        let kinds = [(with_postgres, &POSTGRES), (with_redis, &REDIS), (with_rabbitmq, &RABBITMQ)];
        let kinds: Vec<&'static Kind> = kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect();
        if kinds.is_empty() {
            return Ok(Self { postgres: None, redis: None, rabbitmq: None });
        }
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        debian::provide(&kinds, &surroundings.machine.hints, surroundings.may_install)?;
        say::progress(format!("starting {}", names.join(", ")));
        let machine = &surroundings.machine;
        let options = PostgresOptions::default();
        let options = PostgresOptions { max_connections: options.max_connections.max(connections), ..options };
        thread::scope(|scope| {
            let postgres =
                with_postgres.then(|| scope.spawn(|| PrivatePostgres::start(&data.postgres(), machine, &options)));
            let redis = with_redis
                .then(|| scope.spawn(|| PrivateRedis::start(&data.redis(), machine, &RedisOptions::default())));
            let rabbitmq = with_rabbitmq
                .then(|| scope.spawn(|| PrivateRabbit::start(&data.rabbitmq(), machine, &RabbitOptions::default())));
            // All are waited for before one that failed takes the others down.
            let (postgres, redis, rabbitmq) = (started(postgres), started(redis), started(rabbitmq));
            Ok(Self { postgres: postgres?, redis: redis?, rabbitmq: rabbitmq? })
        })
    }

    /// What the processes have to be told.
    pub fn settings(&self) -> Vec<(String, String)> {
        let urls = [
            ("DATABASE_URL", self.postgres.as_ref().map(Private::url)),
            ("REDIS_URL", self.redis.as_ref().map(Private::url)),
            ("AMQP_URL", self.rabbitmq.as_ref().map(Private::url)),
        ];
        urls.into_iter().filter_map(|(name, url)| Some((name.to_owned(), url?))).collect()
    }

    pub fn services(&self) -> Vec<Service> {
        vec![
            service(&POSTGRES, self.postgres.as_ref()),
            service(&REDIS, self.redis.as_ref()),
            service(&RABBITMQ, self.rabbitmq.as_ref()),
        ]
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        let (postgres, redis, rabbitmq) = (self.postgres.take(), self.redis.take(), self.rabbitmq.take());
        thread::scope(|scope| {
            scope.spawn(|| drop(postgres));
            scope.spawn(|| drop(redis));
            scope.spawn(|| drop(rabbitmq));
        });
    }
}

fn service<S: Server>(kind: &Kind, private: Option<&Private<S>>) -> Service {
    let place =
        private.map_or_else(|| format!("yours ({})", kind.elsewhere), |private| private.data().display().to_string());
    Service {
        name: kind.name.to_owned(),
        is_ours: private.is_some(),
        pid: private.and_then(Private::pid),
        since: private.and_then(Private::since),
        place,
    }
}
