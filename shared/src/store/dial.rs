//! How a connection to PostgreSQL is made, by `sslmode`: `disable` in clear; `require` by TLS with a certificate that is
//! verified (stricter than libpq, which takes any); `prefer`, the default, by verified TLS where that succeeds and in
//! clear otherwise, which is said once: it is right for a server on this machine, and a line to act on for any other.

use super::{Result, StoreError};
use deadpool_postgres::Connect;
use futures_util::{FutureExt, future::BoxFuture};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, Error, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) struct Dial {
    tls: MakeRustlsConnect,
    said: AtomicBool,
}

impl Dial {
    /// The system's certificates; `SSL_CERT_FILE` replaces them by a private authority's.
    pub fn new() -> Result<Self> {
        use rustls_platform_verifier::BuilderVerifierExt;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier())
            .map_err(|error| StoreError::Broken(format!("TLS: {error}")))?
            .with_no_client_auth();
        Ok(Self { tls: MakeRustlsConnect::new(config), said: AtomicBool::new(false) })
    }

    async fn in_clear(config: &Config) -> std::result::Result<(Client, JoinHandle<()>), Error> {
        let (client, connection) = config.connect(NoTls).await?;
        Ok((client, tokio::spawn(drive(connection))))
    }

    async fn by_tls(&self, config: &Config) -> std::result::Result<(Client, JoinHandle<()>), Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        Ok((client, tokio::spawn(drive(connection))))
    }

    async fn dial(&self, config: &Config) -> std::result::Result<(Client, JoinHandle<()>), Error> {
        let by_socket = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        match config.get_ssl_mode() {
            SslMode::Disable => Self::in_clear(config).await,
            SslMode::Prefer if by_socket => Self::in_clear(config).await,
            SslMode::Prefer => match self.by_tls(config).await {
                // Refused by the server itself: in clear it would say the same.
                Err(error) if error.as_db_error().is_none() => {
                    let mut clear = config.clone();
                    clear.ssl_mode(SslMode::Disable);
                    let connected = Self::in_clear(&clear).await?;
                    if !self.said.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "PostgreSQL is reached in clear: its certificate cannot be verified (sslmode=require insists, =disable is silent)");
                    }
                    Ok(connected)
                }
                done => done,
            },
            _ => self.by_tls(config).await,
        }
    }
}

impl Connect for Dial {
    fn connect(&self, config: &Config) -> BoxFuture<'_, std::result::Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        async move { self.dial(&config).await }.boxed()
    }
}

pub(super) async fn drive(connection: impl Future<Output = std::result::Result<(), Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to PostgreSQL ended");
    }
}
