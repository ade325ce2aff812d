//! Finding RabbitMQ's start script. Debian has a script of the same name in PATH that insists on being root and on the
//! system's own directories; the real one has `rabbitmq-env` beside it.

use crate::services::Hints;
use std::path::{Path, PathBuf};

/// Older ones are not tried.
const OLDEST: (u32, u32) = (3, 10);
/// Debian; the archive of the RabbitMQ project.
const FIXED: [&str; 3] = ["/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/rabbitmq/sbin"];

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
    let path = directory.join("rabbitmq-server").canonicalize().ok()?;
    let scripts = path.parent()?;
    if !scripts.join("rabbitmq-env").is_file() {
        return None;
    }
    let version = version(&scripts.parent()?.join("plugins"))?;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (numbers.next()?, numbers.next()?);
    (number >= OLDEST).then_some(Program { path, version })
}

/// Of the plugin `rabbit-3.10.8`, a directory or `.ez` file, which is RabbitMQ itself. Asking the program would start
/// Erlang.
fn version(plugins: &Path) -> Option<String> {
    std::fs::read_dir(plugins).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("rabbit-")?.trim_end_matches(".ez");
        version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// An installation as the project's archive lays it out.
    fn installation(version: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for part in ["sbin", "plugins", &format!("plugins/rabbit-{version}"), "plugins/rabbit_common-9.9.9"] {
            std::fs::create_dir(directory.path().join(part)).unwrap();
        }
        for script in ["rabbitmq-server", "rabbitmq-env"] {
            std::fs::write(directory.path().join("sbin").join(script), "").unwrap();
        }
        directory
    }

    #[test]
    fn the_wrapper_in_path_and_an_old_version_are_passed_over() {
        let (old, new) = (installation("3.9.29"), installation("4.1.0"));
        assert_eq!(program_in(&old.path().join("sbin")), None);
        let wrapper = tempfile::tempdir().unwrap();
        std::fs::write(wrapper.path().join("rabbitmq-server"), "").unwrap();
        assert_eq!(program_in(wrapper.path()), None);
        let farm = tempfile::tempdir().unwrap();
        symlink(new.path().join("sbin/rabbitmq-server"), farm.path().join("rabbitmq-server")).unwrap();
        let found = program_in(farm.path()).unwrap();
        assert_eq!(found.version, "4.1.0");
        assert_eq!(found.path, new.path().join("sbin/rabbitmq-server").canonicalize().unwrap());
    }
}
