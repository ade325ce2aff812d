//! Finding Redis' server program: along PATH, then where systems put what is not in everybody's PATH.

use crate::services::Hints;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Older ones have no functions to speak of, and streams that count otherwise.
const OLDEST_MAJOR: u32 = 7;
const FIXED: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub version: String,
}

/// The first one that is new enough.
pub fn found(hints: &Hints) -> Option<Program> {
    let fixed = FIXED.iter().map(PathBuf::from);
    hints.path.iter().cloned().chain(fixed).find_map(|directory| program_in(&directory))
}

fn program_in(directory: &Path) -> Option<Program> {
    let path = directory.join("redis-server");
    if !path.is_file() {
        return None;
    }
    let output = Command::new(&path).arg("--version").output().ok()?;
    let version = version(&String::from_utf8_lossy(&output.stdout))?;
    let major: u32 = version.split('.').next()?.parse().ok()?;
    (major >= OLDEST_MAJOR).then_some(Program { path, version })
}

/// Of "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=…".
fn version(text: &str) -> Option<String> {
    text.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn says(words: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redis-server");
        std::fs::write(&path, format!("#!/bin/sh\necho '{words}'\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        directory
    }

    #[test]
    fn an_old_server_and_another_program_are_passed_over() {
        let (old, other) = (says("Redis server v=6.2.16 sha=0"), says("hello"));
        assert_eq!(program_in(old.path()), None);
        assert_eq!(program_in(other.path()), None);
        let new = says("Redis server v=8.0.1 sha=00000000:0 malloc=libc bits=64 build=1");
        assert_eq!(program_in(new.path()).unwrap().version, "8.0.1");
        let hints =
            Hints { path: [&old, &other, &new].map(|directory| directory.path().into()).into(), ..Hints::default() };
        assert_eq!(found(&hints).unwrap().path, new.path().join("redis-server"));
    }
}
