//! Which gateway holds which socket, from the kernel's own tables: the sockets of the server's port by their inode
//! (`/proc/net/tcp`), and whose descriptor each inode is (`/proc/PID/fd`). Needs the right to look at the gateways'
//! descriptors: their user's, or root's.

use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

const ESTABLISHED: &str = "01";

/// Sockets of the server's port at one moment.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// By the client's address: the gateway's pid.
    holders: HashMap<SocketAddr, u32>,
    /// Sockets of each gateway, in the order asked for.
    pub counts: Vec<(u32, usize)>,
}

impl Spread {
    pub fn look(port: u16, gateways: &[u32]) -> Result<Self> {
        let mut owners: HashMap<u64, u32> = HashMap::new();
        for pid in gateways {
            let path = format!("/proc/{pid}/fd");
            for entry in fs::read_dir(&path).with_context(|| format!("reading {path} (its user or root may)"))? {
                // A descriptor that was closed since it was listed is no socket any more.
                let Ok(link) = entry.and_then(|entry| fs::read_link(entry.path())) else { continue };
                if let Some(inode) = link.to_str().and_then(inode_of_link) {
                    owners.insert(inode, *pid);
                }
            }
        }
        let text = fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
        let mut spread = Self::default();
        for (peer, inode) in text.lines().skip(1).filter_map(|line| established(line, port)) {
            if let Some(pid) = owners.get(&inode) {
                spread.holders.insert(peer, *pid);
            }
        }
        let count = |pid: &u32| (*pid, spread.holders.values().filter(|holder| *holder == pid).count());
        spread.counts = gateways.iter().map(count).collect();
        if spread.holders.is_empty() {
            bail!("none of the processes {gateways:?} holds a socket of port {port}");
        }
        Ok(spread)
    }

    /// Who holds the other end of the socket with this address.
    pub fn holder(&self, client: SocketAddr) -> Option<u32> {
        self.holders.get(&client).copied()
    }

    pub fn of(&self, pid: u32) -> usize {
        self.counts.iter().find(|(gateway, _)| *gateway == pid).map_or(0, |(_, count)| *count)
    }
}

fn inode_of_link(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Of a line of `/proc/net/tcp` about a connection of this port: the peer, and the socket's inode (proc(5)).
fn established(line: &str, port: u16) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, peer, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    if state != ESTABLISHED || address(local)?.port() != port {
        return None;
    }
    Some((address(peer)?, inode.parse().ok()?))
}

/// `0100007F:1F90`: the address in the machine's byte order, the port as one writes it.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let ip = Ipv4Addr::from(address.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_holder_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _accepted = listener.accept().unwrap();
        let itself = std::process::id();
        let spread = Spread::look(port, &[itself]).unwrap();
        assert_eq!(spread.holder(client.local_addr().unwrap()), Some(itself));
        assert_eq!((spread.of(itself), spread.of(1)), (1, 0));
        let nobody = Spread::look(1, &[itself]).unwrap_err().to_string();
        assert!(nobody.contains("port 1"), "{nobody}");
    }
}
