//! What the private server is told. The load is many short transactions that insert and commit in batches, and lookups
//! by key: few connections, no parallel plans, checkpoints far apart, and every commit on the disk before it is answered.

use std::path::Path;

/// What differs between the servers we start; everything else is the same for all.
#[derive(Clone, Debug)]
pub struct Options {
    pub max_connections: u32,
    pub shared_buffers_mib: u32,
    /// How much write-ahead log may pile up between checkpoints: the price of rare checkpoints, in disk space.
    pub max_wal_size_mib: u32,
    /// Start the server again when it dies without having been asked to.
    pub supervise: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_connections: 100, shared_buffers_mib: 256, max_wal_size_mib: 4096, supervise: true }
    }
}

impl Options {
    /// For tests: as durable, smaller, and dead when killed, because the test decides when it comes back.
    pub fn for_tests() -> Self {
        Self { max_connections: 200, shared_buffers_mib: 64, max_wal_size_mib: 512, supervise: false }
    }
}

/// The server's arguments. Given on the command line, where they win over `postgresql.conf` in the cluster, so that a
/// cluster made by an older rookery gets today's settings.
pub fn arguments(options: &Options, sockets: &Path) -> Vec<String> {
    let mut settings = vec![
        // Reached through a socket that only this user (and root) can open, and not through the network at all.
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories={}", quoted(sockets)),
        "unix_socket_permissions=0700".to_owned(),
        format!("max_connections={}", options.max_connections),
        format!("shared_buffers={}MB", options.shared_buffers_mib),
        format!("max_wal_size={}MB", options.max_wal_size_mib),
        format!("min_wal_size={}MB", (options.max_wal_size_mib / 8).max(64)),
    ];
    settings.extend(ALWAYS.iter().map(|setting| (*setting).to_owned()));
    settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

const ALWAYS: [&str; 17] = [
    // An answer means stored: never anything else, whatever postgresql.conf says.
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    // Nobody replicates from a private server; the log then holds only what a crash needs.
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_logical_replication_workers=0",
    "archive_mode=off",
    "wal_compression=on",
    "checkpoint_timeout=15min",
    // Compiling a plan costs more than any of our statements; a parallel one wants /dev/shm, which containers keep small.
    "jit=off",
    "max_parallel_workers_per_gather=0",
    // Our own batches hold locks for milliseconds; two that wait on each other are found quickly.
    "deadlock_timeout=200ms",
    // The server's log is for its own state. Refused statements are logged where they were sent, without the values
    // that would put people's addresses into a file.
    "log_min_messages=warning",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "log_line_prefix=%m [%p] ",
    "cluster_name=rookery",
];

/// A directory as an item of a list setting: quoted, because a path may hold commas and spaces.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_listens_on_the_network_and_commits_are_durable() {
        let arguments = arguments(&Options::default(), Path::new("/srv/a, b"));
        for wanted in ["listen_addresses=", "fsync=on", "synchronous_commit=on", "max_wal_size=4096MB"] {
            assert!(arguments.iter().any(|a| a == wanted), "{wanted} in {arguments:?}");
        }
        assert!(arguments.contains(&"unix_socket_directories=\"/srv/a, b\"".to_owned()));
    }
}
