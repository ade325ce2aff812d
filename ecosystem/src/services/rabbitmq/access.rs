//! How it is reached: a port and a password, both chosen once and kept in the home, so that whoever was given the URL finds
//! the server again after a restart. The password is what closes it: everybody on the machine reaches the loopback address.

use crate::services::place::Place;
use anyhow::{Context, Result};
use base64::Engine;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

pub const USER: &str = "rookery";
/// Below the ports that systems give to outgoing connections (Linux: 32768 and up), one of which could otherwise sit on
/// ours while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: u32 = 200;

#[derive(Clone, Debug)]
pub struct Access {
    pub port: u16,
    pub password: String,
}

impl Access {
    /// What the home says, or what it says from now on. The port is another one only if somebody has taken it meanwhile.
    pub fn of(place: &Place) -> Result<Self> {
        let password = match std::fs::read_to_string(password_file(place)) {
            Ok(password) => password,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_password(place)?,
            Err(error) => return Err(error).context("cannot read RabbitMQ's password"),
        };
        let kept = kept_port(place).filter(|port| is_free(*port));
        let port = kept.map_or_else(free_port, Ok)?;
        if kept.is_none() {
            std::fs::write(port_file(place), port.to_string()).context("cannot keep RabbitMQ's port")?;
        }
        Ok(Self { port, password })
    }

    /// Of a server that somebody keeps up.
    pub fn read(place: &Place) -> Result<Self> {
        let missing = || format!("no RabbitMQ has been started in {} yet", place.home.display());
        let password = std::fs::read_to_string(password_file(place)).with_context(missing)?;
        Ok(Self { port: kept_port(place).with_context(missing)?, password })
    }

    pub fn url(&self) -> String {
        format!("amqp://{USER}:{}@{}:{}/%2f", self.password, Ipv4Addr::LOCALHOST, self.port)
    }
}

fn password_file(place: &Place) -> PathBuf {
    place.home.join("password")
}

fn port_file(place: &Place) -> PathBuf {
    place.home.join("port")
}

fn make_password(place: &Place) -> Result<String> {
    // In the URL as it is: only letters, digits, `-` and `_`.
    let password = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random::<24>()?);
    // Under another name first: a file that exists is a file that is whole.
    let draft = place.home.join("password.new");
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&draft);
    let mut file = file.with_context(|| format!("cannot write {}", draft.display()))?;
    file.write_all(password.as_bytes()).and_then(|()| file.sync_all()).context("cannot write RabbitMQ's password")?;
    std::fs::rename(&draft, password_file(place)).context("cannot give RabbitMQ's password its name")?;
    Ok(password)
}

fn kept_port(place: &Place) -> Option<u16> {
    std::fs::read_to_string(port_file(place)).ok()?.parse().ok().filter(|port| *port != 0)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// By chance, so that two launchers that look at the same moment do not take the same one.
fn free_port() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = PORTS.start + u16::from_le_bytes(random()?) % (PORTS.end - PORTS.start);
        if is_free(port) {
            return Ok(port);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|any| any.local_addr())
        .map(|any| any.port())
        .context("no free port")
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system gives no random numbers")?;
    Ok(bytes)
}
