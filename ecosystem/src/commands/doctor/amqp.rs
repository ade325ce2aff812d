//! The first words of AMQP 0-9-1 with a broker, up to the open virtual host: its version and whether it lets us in. By
//! hand, because the bus would make queues, and says in the log only why it is refused.

use anyhow::{Context, Result, anyhow, bail, ensure};
use shared::bus::rabbit::Address;
use shared::config::Secret;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For the way there, and for each answer.
const ANSWER: Duration = Duration::from_secs(3);
const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Of an answer; what is longer is none of these.
const FRAME_BYTES: u32 = 128 << 10;
const FRAME_END: u8 = 0xCE;
/// Class `connection`, and its methods.
const CONNECTION: u16 = 10;
const START: u16 = 10;
const START_OK: u16 = 11;
const TUNE: u16 = 30;
const TUNE_OK: u16 = 31;
const OPEN: u16 = 40;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;

pub struct Greeting {
    /// Empty where it has not been asked.
    pub version: String,
    /// False: behind TLS, where nobody was asked.
    pub is_in: bool,
}

/// Blocks for a few seconds at most.
pub fn greet(url: &Secret) -> Result<Greeting> {
    let address = Address::of(url).map_err(|why| anyhow!(why))?;
    let (host, port) = (address.host.as_str(), address.port);
    let mut found = (host, port).to_socket_addrs().with_context(|| format!("cannot find {host}"))?;
    let found = found.next().with_context(|| format!("{host} has no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&found, ANSWER).with_context(|| format!("cannot reach {host}:{port}"))?;
    if address.tls {
        return Ok(Greeting { version: String::new(), is_in: false });
    }
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(HEADER)?;
    let (method, start) = read(&mut stream).context("it does not answer as RabbitMQ does")?;
    ensure!(method == START, "it does not answer as RabbitMQ does");
    let version = version(&start).unwrap_or_else(|| "unknown".to_owned());
    log_in(&mut stream, &address)?;
    // Said in order, or the broker's log would complain of us.
    let goodbye = [&200_u16.to_be_bytes()[..], &short("OK"), &[0; 4]].concat();
    drop(write(&mut stream, CLOSE, &goodbye).and_then(|()| read(&mut stream)));
    Ok(Greeting { version, is_in: true })
}

fn log_in(stream: &mut TcpStream, address: &Address) -> Result<()> {
    // With this the broker says that the login is wrong; without it, it hangs up.
    let capability = [&short("authentication_failure_close")[..], b"t\x01"].concat();
    let properties = [&short("capabilities")[..], b"F", &long(&capability)].concat();
    let plain = format!("\0{}\0{}", address.user, address.password);
    let login = [long(&properties), short("PLAIN"), long(plain.as_bytes()), short("en_US")].concat();
    write(stream, START_OK, &login)?;
    let limits = expect(stream, TUNE).context("the login is refused")?;
    let limits = limits.get(..6).context("it does not answer as RabbitMQ does")?;
    // Its limits, and no heartbeats.
    write(stream, TUNE_OK, &[limits, &[0; 2]].concat())?;
    write(stream, OPEN, &[&short(&address.vhost)[..], &[0, 0]].concat())?;
    expect(stream, OPEN_OK).context("the virtual host is refused")?;
    Ok(())
}

/// Its arguments, or why the broker says something else.
fn expect(stream: &mut TcpStream, wanted: u16) -> Result<Vec<u8>> {
    let (method, arguments) = read(stream)?;
    if method == wanted {
        return Ok(arguments);
    }
    let words = arguments.get(2).and_then(|length| arguments.get(3..3 + usize::from(*length)));
    match words {
        Some(words) if method == CLOSE => bail!("{}", String::from_utf8_lossy(words)),
        _ => bail!("it answers with method {method}"),
    }
}

/// The next method of the connection, and its arguments.
fn read(stream: &mut TcpStream) -> Result<(u16, Vec<u8>)> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).context("it hangs up or is silent")?;
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    ensure!(head[0] == 1 && (4..FRAME_BYTES).contains(&length), "it does not speak AMQP 0-9-1");
    let mut payload = vec![0; length as usize + 1];
    stream.read_exact(&mut payload).context("it hangs up or is silent")?;
    let class = u16::from_be_bytes([payload[0], payload[1]]);
    ensure!(payload.pop() == Some(FRAME_END) && class == CONNECTION, "it does not speak AMQP 0-9-1");
    Ok((u16::from_be_bytes([payload[2], payload[3]]), payload.split_off(4)))
}

fn write(stream: &mut TcpStream, method: u16, arguments: &[u8]) -> Result<()> {
    let payload = [&CONNECTION.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
    let frame = [&[1, 0, 0][..], &long(&payload), &[FRAME_END]].concat();
    stream.write_all(&frame).context("it hangs up")
}

/// A string of up to 255 bytes; what is longer is cut, and refused by the broker.
fn short(text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    [&[bytes.len() as u8], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Of the broker's properties, where it stands as name, type and value.
fn version(start: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\x07versionS";
    let at = start.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let length = u32::from_be_bytes(start.get(at..at + 4)?.try_into().ok()?);
    let text = start.get(at + 4..at + 4 + usize::try_from(length).ok()?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_says_its_version_or_nothing() {
        assert_eq!(version(b"..\x07versionS\x00\x00\x00\x063.10.8..").as_deref(), Some("3.10.8"));
        assert_eq!(version(b"\x07versionS\x00\x00\x00\x09short"), None);
    }
}
