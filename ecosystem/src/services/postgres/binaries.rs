//! Finding PostgreSQL's programs. Debian keeps each major version in a directory of its own and links only the client
//! tools into PATH; other systems put links to some of the tools anywhere. So: follow `postgres` to where it really is.

use crate::services::Hints;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Older ones lack what the schema uses.
pub const OLDEST_MAJOR: u32 = 14;
const TOOLS: [&str; 2] = ["postgres", "initdb"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    pub directory: PathBuf,
    pub major: u32,
}

impl Binaries {
    pub fn tool(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The newest server of the machine; `Ok(None)` when there is none that is new enough.
pub fn newest(hints: &Hints) -> Option<Binaries> {
    found(hints).into_iter().filter(|b| b.major >= OLDEST_MAJOR).max_by_key(|b| b.major)
}

/// The server that can open a cluster of major version `major`: no other can.
pub fn of_major(major: u32, hints: &Hints) -> Result<Binaries> {
    let found = found(hints);
    if let Some(binaries) = found.iter().find(|b| b.major == major) {
        return Ok(binaries.clone());
    }
    let others: Vec<String> = found.iter().map(|b| b.major.to_string()).collect();
    match others.is_empty() {
        true => {
            bail!("the data is PostgreSQL {major}'s, which is not on this machine: apt-get install postgresql-{major}")
        }
        false => bail!(
            "the data is PostgreSQL {major}'s, and this machine has only {}: apt-get install postgresql-{major}, \
             or carry the data over with pg_upgrade",
            others.join(", ")
        ),
    }
}

/// The major version a cluster was made by.
pub fn major_of_cluster(pgdata: &Path) -> Result<u32> {
    let file = pgdata.join("PG_VERSION");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    major(&text).with_context(|| format!("{} does not hold a version", file.display()))
}

fn found(hints: &Hints) -> Vec<Binaries> {
    let mut found: Vec<Binaries> = Vec::new();
    for directory in candidates(hints) {
        let Ok(server) = directory.join("postgres").canonicalize() else { continue };
        let Some(directory) = server.parent().map(Path::to_path_buf) else { continue };
        let known = found.iter().any(|b| b.directory == directory);
        if known || !TOOLS.iter().all(|tool| directory.join(tool).is_file()) {
            continue;
        }
        // `postgres --version` answers root as well.
        let Ok(output) = Command::new(&server).arg("--version").output() else { continue };
        if let Some(major) = major(&String::from_utf8_lossy(&output.stdout)) {
            found.push(Binaries { directory, major });
        }
    }
    found
}

fn candidates(hints: &Hints) -> Vec<PathBuf> {
    // One directory that was named is an order, not a hint.
    if let Some(directory) = &hints.pg_bin_dir {
        return vec![directory.clone()];
    }
    let mut directories = Vec::new();
    for base in ["/usr/lib/postgresql", "/usr"] {
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            let name = entry.file_name();
            // Debian: /usr/lib/postgresql/15/bin; the PostgreSQL project's RPMs: /usr/pgsql-15/bin.
            if base != "/usr" || name.to_string_lossy().starts_with("pgsql-") {
                directories.push(entry.path().join("bin"));
            }
        }
    }
    directories.push("/usr/local/pgsql/bin".into());
    directories.extend(hints.path.iter().cloned());
    directories
}

/// The first number of "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" or of a PG_VERSION file.
fn major(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| {
        let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_servers_print() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("17\n"), Some(17));
        assert_eq!(major("postgres"), None);
    }

    #[test]
    fn a_symlink_farm_leads_to_the_real_directory() {
        let Some(real) = newest(&Hints::default()) else { return };
        let farm = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(real.tool("postgres"), farm.path().join("postgres")).unwrap();
        let hints = Hints { pg_bin_dir: Some(farm.path().into()), path: Vec::new() };
        assert_eq!(newest(&hints), Some(real));
    }

    #[test]
    fn a_cluster_of_another_major_is_refused_with_both_versions_named() {
        let error = of_major(9, &Hints::default()).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 9"), "{error}");
    }
}
