//! The settings themselves, by the part of the program that uses them.

mod cluster;
mod log;

pub use cluster::ClusterConfig;
pub use log::LogConfig;

use super::reader::{ConfigError, Environment, Reader, Secret, Setting};
use std::{net::IpAddr, time::Duration};

#[derive(Clone, Debug)]
pub struct Config {
    /// What the process may count on, for its threads.
    pub cores: usize,
    pub http: HttpConfig,
    pub auth: AuthConfig,
    pub limits: LimitConfig,
    pub edge: EdgeConfig,
    pub store: StoreConfig,
    pub worker: WorkerConfig,
    pub cluster: ClusterConfig,
    pub log: LogConfig,
}

#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub host: IpAddr,
    pub port: u16,
    /// Origins that may use HTTP and sockets from a browser; `*` is `any_origin`.
    pub origins: Vec<String>,
    pub any_origin: bool,
    /// Networks (address, prefix length) whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<(IpAddr, u8)>,
    pub drain: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Signs access tokens (HS256) unless a signing key is given; at least 32 bytes.
    pub secret: Secret,
    /// Secrets that were used before: they verify, they do not sign.
    pub old_secrets: Vec<Secret>,
    /// PKCS#8 PEM or base64 DER of an Ed25519 key; with it tokens are EdDSA and `jwks.json` is not empty.
    pub signing_key: Option<Secret>,
    /// Public Ed25519 keys (base64url, 32 bytes) that verify beside it.
    pub old_public_keys: Vec<String>,
    pub access_life: Duration,
    pub refresh_life: Duration,
    pub cookie_same_site: SameSite,
    /// Password hashes computed at once; each takes 19 MiB and one core.
    pub hash_threads: usize,
    /// Hashes that may wait for a thread; more are answered 503.
    pub hash_queue: usize,
}

/// How often, per minute. Bursts of the same size are allowed.
#[derive(Clone, Debug)]
pub struct LimitConfig {
    pub login_per_address: u32,
    pub login_per_account: u32,
    pub register_per_address: u32,
    pub refresh_per_address: u32,
    pub commands_per_user: u32,
    pub requests_per_address: u32,
}

#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub shards: usize,
    pub heartbeat: Duration,
    pub presence_grace: Duration,
    pub connections: usize,
    /// Messages on the bus with unanswered commands, per partition.
    pub window: usize,
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: Secret,
    pub schema: Option<String>,
    pub pool: usize,
}

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub partitions: u16,
    pub sequencers: usize,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, aliases: &[], default, meaning, secret: false }
}

impl Config {
    /// Everything, or every error.
    pub fn read(env: &Environment) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(env);
        let config = Self::read_with(&mut reader);
        if let Some(url) = env.get("MONGO_URI") {
            let _ = url;
            tracing::warn!("MONGO_URI is set and not used: messages are kept in PostgreSQL (DATABASE_URL)");
        }
        if reader.errors.is_empty() { Ok(config) } else { Err(reader.errors) }
    }

    /// Every setting there is, in reading order.
    pub fn table() -> Vec<Setting> {
        let env = Environment::default();
        let mut reader = Reader::new(&env);
        Self::read_with(&mut reader);
        reader.table
    }

    fn read_with(reader: &mut Reader<'_>) -> Self {
        Self {
            http: http(reader),
            auth: auth(reader),
            limits: limits(reader),
            cores: cores(reader),
            edge: edge(reader),
            store: store(reader),
            worker: WorkerConfig {
                partitions: reader.number(
                    setting(
                        "PARTITIONS",
                        "8",
                        "Queues that commands are spread over by conversation; the same for all gateways and workers",
                    ),
                    1..=256,
                ) as u16,
                sequencers: reader.number(
                    setting(
                        "SEQUENCERS",
                        "1",
                        "Appending connections per worker: more only where PostgreSQL has cores to spare",
                    ),
                    1..=16,
                ) as usize,
            },
            cluster: cluster::read(reader),
            log: log::read(reader),
        }
    }
}

fn http(reader: &mut Reader<'_>) -> HttpConfig {
    let host = reader.parsed(setting("HOST", "127.0.0.1", "Address to listen on; 0.0.0.0 for every network"), |text| {
        text.parse::<IpAddr>().map_err(|_| "must be an IP address".to_owned())
    });
    let port = reader.number(setting("PORT", "3000", "Port to listen on; 0 takes a free one"), 0..=65535) as u16;
    let mut origins = reader
        .parsed(
            setting(
                "CORS_ORIGIN",
                "",
                "Origins, comma-separated, whose pages may use HTTP and sockets; * only under `rookery up`",
            ),
            origin_list,
        )
        .unwrap_or_default();
    origins
        .extend(reader.parsed(setting("FRONTEND_URL", "", "One more allowed origin"), origin_list).unwrap_or_default());
    let any_origin = origins.iter().any(|origin| origin == "*");
    let trusted_proxies = reader
        .parsed(
            setting("TRUSTED_PROXIES", "", "Networks, comma-separated, whose X-Forwarded-For and -Proto are believed"),
            |text| list(text).map(network).collect(),
        )
        .unwrap_or_default();
    let drain =
        reader.number(setting("DRAIN_SECONDS", "20", "How long a stop may take to send everybody elsewhere"), 1..=3600);
    HttpConfig {
        host: host.unwrap_or(IpAddr::from([127, 0, 0, 1])),
        port,
        origins,
        any_origin,
        trusted_proxies,
        drain: Duration::from_secs(drain),
    }
}

fn auth(reader: &mut Reader<'_>) -> AuthConfig {
    let secret = reader.text(Setting {
        name: "JWT_SECRET",
        aliases: &["JWT_ACCESS_SECRET", "APP_TOKEN"],
        default: "",
        meaning: "Key for access tokens and everything derived, at least 32 bytes; `rookery up` makes one in its data directory",
        secret: true,
    });
    match &secret {
        None => reader
            .fail("JWT_SECRET", "is required: at least 32 random bytes, for example from `openssl rand -base64 48`"),
        Some(secret) if secret.len() < 32 => reader.fail("JWT_SECRET", "must have at least 32 bytes"),
        Some(_) => {}
    }
    let secrets = |text: &str| -> Result<Vec<Secret>, String> { Ok(list(text).map(Secret::new).collect()) };
    let secret_list = |name, meaning| Setting { name, aliases: &[], default: "", meaning, secret: true };
    AuthConfig {
        secret: Secret::new(secret.unwrap_or_default()),
        old_secrets: reader
            .parsed(
                secret_list(
                    "JWT_OLD_SECRETS",
                    "Earlier values of JWT_SECRET, comma-separated: they verify, they do not sign",
                ),
                secrets,
            )
            .unwrap_or_default(),
        signing_key: reader
            .text(secret_list(
                "JWT_SIGNING_KEY",
                "Ed25519 private key, PKCS#8, PEM or base64: tokens are then EdDSA and verifiable by jwks.json",
            ))
            .map(Secret::new),
        old_public_keys: reader
            .parsed(
                setting("JWT_OLD_PUBLIC_KEYS", "", "Earlier Ed25519 public keys, base64url, comma-separated"),
                |text| Ok(list(text).map(str::to_owned).collect()),
            )
            .unwrap_or_default(),
        access_life: reader
            .parsed(
                Setting {
                    aliases: &["JWT_EXPIRE"],
                    ..setting("JWT_EXPIRES_IN", "1h", "Life of an access token: 900, 15m, 1h, 7d")
                },
                duration,
            )
            .unwrap_or(Duration::from_secs(3600)),
        refresh_life: reader
            .parsed(setting("REFRESH_EXPIRES_IN", "30d", "Life of a refresh token that is not used"), duration)
            .unwrap_or(Duration::from_secs(30 * 86_400)),
        cookie_same_site: reader
            .parsed(setting("COOKIE_SAMESITE", "lax", "SameSite of the refresh cookie: strict, lax or none"), |text| {
                match text.to_ascii_lowercase().as_str() {
                    "strict" => Ok(SameSite::Strict),
                    "lax" => Ok(SameSite::Lax),
                    "none" => Ok(SameSite::None),
                    _ => Err("must be strict, lax or none".to_owned()),
                }
            })
            .unwrap_or(SameSite::Lax),
        hash_threads: reader
            .number(setting("HASH_THREADS", "2", "Password hashes computed at once, 19 MiB and a core each"), 1..=64)
            as usize,
        hash_queue: reader
            .number(setting("HASH_QUEUE", "64", "Password hashes that may wait; more are answered 503"), 0..=10_000)
            as usize,
    }
}

fn limits(reader: &mut Reader<'_>) -> LimitConfig {
    let mut per_minute = |name, default, meaning| reader.number(setting(name, default, meaning), 1..=10_000_000) as u32;
    LimitConfig {
        login_per_address: per_minute("LIMIT_LOGIN_PER_ADDRESS", "60", "Logins a minute from one address"),
        login_per_account: per_minute("LIMIT_LOGIN_PER_ACCOUNT", "10", "Logins a minute to one account"),
        register_per_address: per_minute("LIMIT_REGISTER_PER_ADDRESS", "30", "Registrations a minute from one address"),
        refresh_per_address: per_minute("LIMIT_REFRESH_PER_ADDRESS", "300", "Refreshes a minute from one address"),
        commands_per_user: per_minute(
            "LIMIT_COMMANDS_PER_USER",
            "2400",
            "Commands a minute of one user, over all sockets and REST",
        ),
        requests_per_address: per_minute("LIMIT_REQUESTS_PER_ADDRESS", "6000", "Requests a minute from one address"),
    }
}

fn cores(reader: &mut Reader<'_>) -> usize {
    let meaning =
        "Cores that one process may count on, for its threads; 0 is all, under `rookery up --cluster` its share";
    match reader.number(setting("CORES", "0", meaning), 0..=256) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given as usize,
    }
}

fn edge(reader: &mut Reader<'_>) -> EdgeConfig {
    let seconds = Duration::from_secs;
    EdgeConfig {
        shards: reader.number(setting("SHARDS", "0", "Threads that hold sockets; 0 is one for each of CORES"), 0..=256)
            as usize,
        heartbeat: seconds(
            reader.number(setting("HEARTBEAT_SECONDS", "25", "Ping and heartbeat of an idle socket"), 1..=600),
        ),
        presence_grace: seconds(reader.number(
            setting("PRESENCE_GRACE_SECONDS", "10", "How long a person stays online after the last socket closed"),
            0..=600,
        )),
        connections: reader.number(
            setting("CONNECTIONS_MAX", "18000", "Connections of one gateway; below the open-file limit"),
            16..=10_000_000,
        ) as usize,
        window: reader.number(
            setting("WINDOW", "2", "Batches with unanswered commands that a gateway keeps on the bus, per partition"),
            1..=64,
        ) as usize,
    }
}

fn store(reader: &mut Reader<'_>) -> StoreConfig {
    let url = reader.text(Setting {
        name: "DATABASE_URL",
        aliases: &[],
        default: "",
        meaning: "PostgreSQL: postgres://user:password@host:5432/name?sslmode=require; `rookery up` starts a private one without it",
        secret: true,
    });
    let mut part = |name, default, meaning| {
        reader.text(Setting { secret: name == "POSTGRES_PASSWORD", ..setting(name, default, meaning) })
    };
    let database = part("POSTGRES_DB", "", "Database, where DATABASE_URL is not set");
    let user = part("POSTGRES_USER", "postgres", "User, with POSTGRES_DB").unwrap_or_default();
    let password = part("POSTGRES_PASSWORD", "", "Password, with POSTGRES_DB").unwrap_or_default();
    let host = part("POSTGRES_HOST", "localhost", "Host, with POSTGRES_DB").unwrap_or_default();
    let port = part("POSTGRES_PORT", "5432", "Port, with POSTGRES_DB").unwrap_or_default();
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let url = url.or_else(|| {
        database.map(|name| {
            let (name, user, password, host, port) =
                (quoted(&name), quoted(&user), quoted(&password), quoted(&host), quoted(&port));
            format!("dbname='{name}' user='{user}' password='{password}' host='{host}' port='{port}'")
        })
    });
    let (url, schema) = match url {
        None => {
            reader.fail(
                "DATABASE_URL",
                "is required: the address of a PostgreSQL server (`rookery up` starts a private one by itself)",
            );
            (String::new(), None)
        }
        Some(url) => take_schema(&url),
    };
    if let Some(schema) = &schema
        && !schema.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        reader.fail("DATABASE_URL", "schema= may contain A-Z a-z 0-9 _ only");
    }
    if let Err(error) = crate::store::check_url(&url)
        && !url.is_empty()
    {
        reader.fail("DATABASE_URL", format!("is not a PostgreSQL address: {error}"));
    }
    let pool = reader
        .number(setting("DATABASE_POOL", "16", "Connections for requests, beside those of the sequencers"), 2..=1000)
        as usize;
    StoreConfig { url: Secret::new(url), schema, pool }
}

/// Prisma's `?schema=` is not PostgreSQL's; it becomes the search path.
fn take_schema(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut schema = None;
    let others: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("schema=") {
            Some(name) => {
                schema = Some(name.to_owned());
                false
            }
            None => true,
        })
        .collect();
    let url = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    (url, schema)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn origin_list(text: &str) -> Result<Vec<String>, String> {
    list(text)
        .map(|origin| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let plain = origin.trim_end_matches('/');
            match host {
                _ if origin == "*" => Ok(origin.to_owned()),
                Some(host) if !host.trim_end_matches('/').is_empty() && !host.trim_end_matches('/').contains('/') => {
                    Ok(plain.to_ascii_lowercase())
                }
                _ => Err(format!("{origin} is not an origin like https://chat.example.org")),
            }
        })
        .collect()
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().map_err(|_| format!("{text} is not a network like 10.0.0.0/8"))?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() { Some(widest) } else { prefix.parse().ok() };
    prefix
        .filter(|p| *p <= widest)
        .map(|p| (address, p))
        .ok_or_else(|| format!("{text} is not a network like 10.0.0.0/8"))
}

/// `900`, `900s`, `15m`, `1h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit.trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds)) {
        Some(total) if total > 0 && total <= 3650 * 86_400 => Ok(Duration::from_secs(total)),
        _ => Err("must be a time like 900, 15m, 1h or 7d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn all_errors_at_once() {
        let env = Environment::of([
            ("PORT", "99999"),
            ("JWT_SECRET", "short"),
            ("CORS_ORIGIN", "example.org"),
            ("LOG_FORMAT", "xml"),
        ]);
        let errors = Config::read(&env).expect_err("five things are wrong");
        let names: Vec<_> = errors.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(names, ["PORT", "CORS_ORIGIN", "JWT_SECRET", "DATABASE_URL", "LOG_FORMAT"]);
    }

    #[test]
    fn the_names_of_other_stacks_are_taken() {
        let env = Environment::of([
            ("JWT_ACCESS_SECRET", SECRET),
            ("JWT_EXPIRE", "7d"),
            ("DATABASE_URL", "postgres://u:p@h:5432/d?schema=chat&connect_timeout=3"),
            ("FRONTEND_URL", "https://Chat.example.org/"),
        ]);
        let config = Config::read(&env).expect("valid");
        assert_eq!(config.auth.access_life, Duration::from_secs(7 * 86_400));
        assert_eq!(config.store.schema.as_deref(), Some("chat"));
        assert_eq!(config.store.url.expose(), "postgres://u:p@h:5432/d?connect_timeout=3");
        assert_eq!(config.http.origins, ["https://chat.example.org"]);
    }

    #[test]
    fn a_database_in_parts() {
        let env = Environment::of([("JWT_SECRET", SECRET), ("POSTGRES_DB", "chat"), ("POSTGRES_PASSWORD", "it's")]);
        let config = Config::read(&env).expect("valid");
        assert_eq!(crate::store::check_url(config.store.url.expose()), Ok(()));
        assert!(config.store.url.expose().contains(r"password='it\'s'"));
    }

    #[test]
    fn every_setting_has_a_meaning_and_one_row() {
        let table = Config::table();
        let mut names: Vec<_> = table.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len());
        assert!(table.iter().all(|row| !row.meaning.is_empty()));
    }
}
