//! The data directory of `rookery up`: the private database, the secrets that were made for it, and the file that says
//! who is at work in it.
//!
//! Whether somebody is, is decided by a lock on that file, which ends with the process that holds it, and never by the
//! number in it.

use anyhow::{Context, Result, bail};
use base64::Engine;
use shared::clock;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who looks at the lock holds it for a moment, too; a real owner holds it for longer than this.
const GLANCE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// The right to work in the directory, for as long as this lives.
pub struct Claim {
    file: File,
}

/// Who is at work: the content of `rookery.pid`, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: i32,
    /// Unix time in seconds.
    pub since: u64,
    /// `None` while it is starting.
    pub address: Option<String>,
}

impl DataDir {
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The private PostgreSQL's home.
    pub fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    pub fn redis(&self) -> PathBuf {
        self.root.join("redis")
    }

    pub fn rabbitmq(&self) -> PathBuf {
        self.root.join("rabbitmq")
    }

    /// How the processes of a cluster are (`cluster::processes`).
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes.json")
    }

    fn pid_file(&self) -> PathBuf {
        self.root.join("rookery.pid")
    }

    /// Takes the directory, making it if need be; refused with the owner's name while there is one.
    pub fn claim(&self) -> Result<Claim> {
        std::fs::create_dir_all(&self.root).with_context(|| format!("cannot make {}", self.root.display()))?;
        let path = self.pid_file();
        let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o644).open(&path);
        let file = file.with_context(|| format!("cannot write to {}", self.root.display()))?;
        let start = clock::monotonic();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the data directory"),
                Err(TryLockError::WouldBlock) if start.elapsed() < GLANCE => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => bail!("{}", self.refusal(read(&file))),
            }
        }
        let mut claim = Claim { file };
        claim.announce(None)?;
        Ok(claim)
    }

    fn refusal(&self, owner: Option<Owner>) -> String {
        let directory = self.root.display();
        match owner {
            Some(Owner { pid, address: Some(address), .. }) => {
                format!("already up: pid {pid}, {address}, data directory {directory} (`rookery down` stops it)")
            }
            Some(Owner { pid, address: None, .. }) => {
                format!("already starting: pid {pid}, data directory {directory}")
            }
            None => format!("the data directory {directory} is in use"),
        }
    }

    /// Who is at work here, if anybody is.
    pub fn owner(&self) -> Result<Option<Owner>> {
        let path = self.pid_file();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let start = clock::monotonic();
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("cannot look at the data directory's lock");
                }
                Err(TryLockError::WouldBlock) => {}
            }
            // The owner may be in the middle of writing.
            match read(&file) {
                Some(owner) => return Ok(Some(owner)),
                None if start.elapsed() > GLANCE => bail!("{} is held, but names nobody", path.display()),
                None => std::thread::sleep(POLL),
            }
        }
    }

    /// The secrets of this directory as `NAME=value` lines, made at the first call. Only `up` may call it: everything
    /// else has to be told its secrets, or two programs would not agree on them.
    pub fn secrets(&self) -> Result<PathBuf> {
        let path = self.root.join("secrets");
        if path.exists() {
            return Ok(path);
        }
        let mut key = [0_u8; 48];
        aws_lc_rs::rand::fill(&mut key).ok().context("the system gives no random numbers")?;
        let key = base64::engine::general_purpose::STANDARD.encode(key);
        // Under another name first: a file that exists is a file that is whole.
        let draft = self.root.join("secrets.new");
        let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&draft);
        let mut file = file.with_context(|| format!("cannot write {}", draft.display()))?;
        writeln!(file, "# Made by `rookery up`. Whoever has this can sign in as anybody.\nJWT_SECRET={key}")?;
        file.sync_all()?;
        std::fs::rename(&draft, &path).context("cannot give the secrets their name")?;
        Ok(path)
    }
}

impl Claim {
    pub fn announce(&mut self, address: Option<String>) -> Result<()> {
        let owner =
            Owner { pid: rustix::process::getpid().as_raw_nonzero().get(), since: clock::unix_seconds(), address };
        let text = format!("{}\n{}\n{}\n", owner.pid, owner.since, owner.address.unwrap_or_default());
        // In place, because the lock is on this very file.
        let written = self.file.set_len(0).and_then(|()| self.file.write_all_at(text.as_bytes(), 0));
        written.context("cannot write the pid file")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock goes with the file; an empty file says that it ended in order.
        drop(self.file.set_len(0));
    }
}

fn read(mut file: &File) -> Option<Owner> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    // A last line without its end is still being written.
    let [pid, since, address] = text.strip_suffix('\n')?.split('\n').collect::<Vec<_>>().try_into().ok()?;
    let address = (!address.is_empty()).then(|| address.to_owned());
    Some(Owner { pid: pid.parse().ok()?, since: since.parse().ok()?, address })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_owner_at_a_time_and_the_second_is_told_who() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path().join("data"));
        assert_eq!(data.owner().unwrap(), None);
        let mut claim = data.claim().unwrap();
        assert_eq!(data.owner().unwrap().unwrap().address, None);
        claim.announce(Some("http://127.0.0.1:3000".into())).unwrap();
        let owner = data.owner().unwrap().unwrap();
        assert_eq!(owner.address.as_deref(), Some("http://127.0.0.1:3000"));
        let refusal = data.claim().err().unwrap().to_string();
        assert!(refusal.contains(&owner.pid.to_string()) && refusal.contains("127.0.0.1:3000"), "{refusal}");
        drop(claim);
        assert_eq!(data.owner().unwrap(), None);
        data.claim().unwrap();
    }

    #[test]
    fn secrets_are_made_once_and_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path());
        let path = data.secrets().unwrap();
        let made = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::read_to_string(data.secrets().unwrap()).unwrap(), made);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let values = shared::config::read_env_file(&path).unwrap();
        assert_eq!(values["JWT_SECRET"].len(), 64);
    }
}
