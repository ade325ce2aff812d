//! PostgreSQL itself, for what the public interface cannot do: put tens of thousands of people into it in seconds, and say
//! how many statements the server has been sent. The SQL of this stands here and not in the store because it is no part of
//! the product.

pub mod crowd;
pub mod statements;

use anyhow::{Context, Result};
use tokio_postgres::NoTls;
pub use tokio_postgres::{Client, Statement};

pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connecting to PostgreSQL")?;
    // It ends with the client; its error comes up in the client's calls as well.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests;
