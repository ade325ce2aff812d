//! Databases for tests: a template migrated once per schema, and clones of it.

use super::{Result, Store, StoreError};
use crate::config::{Secret, StoreConfig};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The same server, another database.
pub fn url_of(server: &str, name: &str) -> String {
    if server.starts_with("postgres") {
        let (base, query) = server.split_once('?').map_or((server, None), |(base, query)| (base, Some(query)));
        let authority = base.find("://").map_or(0, |at| at + 3);
        let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}/{name}{query}", &base[..end])
    } else {
        // Keyword form: of two, the last counts.
        format!("{server} dbname={name}")
    }
}

async fn connect(server: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
    tokio::spawn(super::dial::drive(connection));
    Ok(client)
}

/// A fresh clone of the migrated template; makes the template where it is not there yet, one process at a time.
pub async fn clone_template(server: &str) -> Result<String> {
    let admin = connect(server).await?;
    let template = format!("rookery_template_{:016x}", super::schema::fingerprint());
    admin.query("SELECT pg_advisory_lock(7245130)", &[]).await?;
    if admin.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&template]).await?.is_none() {
        let draft = format!("{template}_draft");
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {draft}")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {draft}")).await?;
        let config = StoreConfig { url: Secret::new(url_of(server, &draft)), schema: None, pool: 2 };
        let store = Store::new(&config)?;
        store.migrate().await?;
        store.pool.close();
        drop(store);
        // The pool's connection ends on its own time, and a database with connections has no other name.
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        while !admin.query(ended, &[&draft]).await?.is_empty() {
            tokio::task::yield_now().await;
        }
        admin.batch_execute(&format!("ALTER DATABASE {draft} RENAME TO {template}")).await?;
    }
    let name = format!("rookery_test_{}", Uuid::now_v7().simple());
    let made = admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    admin.query("SELECT pg_advisory_unlock(7245130)", &[]).await?;
    made.map_err(StoreError::from)?;
    Ok(name)
}

pub async fn drop_database(server: &str, name: &str) -> Result<()> {
    Ok(connect(server).await?.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?)
}

/// Makes all refresh tokens older, as if `by` had passed since they were issued and used.
pub async fn age_refresh_tokens(store: &Store, by: std::time::Duration) -> Result<()> {
    let sql =
        "UPDATE refresh_tokens SET issued_at = issued_at - age, expires_at = expires_at - age, used_at = used_at - age
         FROM make_interval(secs => $1) AS age";
    store.client().await?.execute(sql, &[&by.as_secs_f64()]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn the_database_is_replaced_in_both_forms() {
        assert_eq!(url_of("postgres://u@h:1/x?sslmode=disable", "n"), "postgres://u@h:1/n?sslmode=disable");
        assert_eq!(url_of("postgres://u@h:1", "n"), "postgres://u@h:1/n");
        assert_eq!(
            url_of("host='/tmp/a b' user=rookery dbname=postgres", "n"),
            "host='/tmp/a b' user=rookery dbname=postgres dbname=n"
        );
    }
}
