//! For tests of every crate: a database of one's own, cloned from a migrated template, gone afterwards; and a
//! configuration that fits it. Not used by any program.

use crate::{
    config::{Config, Environment, test_database_url},
    store::{Store, testing as admin},
};

/// A migrated database that nobody else uses. Dropping it drops the database.
pub struct TestDatabase {
    pub store: Store,
    pub config: Config,
    server: String,
    name: String,
}

impl TestDatabase {
    /// # Panics
    /// Without `ROOKERY_TEST_DATABASE_URL`: `./rookery test` starts a PostgreSQL and sets it.
    pub async fn create() -> Self {
        Self::create_with(&[]).await
    }

    /// The same with settings of one's own.
    pub async fn create_with(settings: &[(&str, &str)]) -> Self {
        let server =
            test_database_url().expect("ROOKERY_TEST_DATABASE_URL is not set: run the tests by `./rookery test`");
        let name = admin::clone_template(&server).await.expect("a database for this test");
        let mut env = Environment::of([
            ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
            ("PORT", "0"),
            ("SHARDS", "2"),
            ("PRESENCE_GRACE_SECONDS", "1"),
            ("LIMIT_REGISTER_PER_ADDRESS", "100000"),
            ("LIMIT_LOGIN_PER_ADDRESS", "100000"),
        ]);
        env.set("DATABASE_URL", admin::url_of(&server, &name));
        for (key, value) in settings {
            env.set(key, *value);
        }
        let config = Config::read(&env).expect("the tests' configuration is valid");
        let store = Store::new(&config.store).expect("a pool");
        Self { store, config, server, name }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // Dropping is synchronous and may happen on a runtime's thread: a thread of its own has a runtime of its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(admin::drop_database(&server, &name)).map_err(std::io::Error::other)
        })
        .join();
        if let Ok(Err(error)) = dropped {
            tracing::warn!(%error, "a test's database stays");
        }
    }
}
