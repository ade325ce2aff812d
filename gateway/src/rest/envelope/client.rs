//! Who is at the other end: address, TLS and host as the client used them, and whether its page may talk to us.
//! `X-Forwarded-*` is believed only from configured proxies, and from the right: the left end is anybody's word.

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, HeaderMap, header, request::Parts},
};
use shared::config::HttpConfig;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// By the word of a trusted proxy; we hold no certificates ourselves.
    pub tls: bool,
    /// Host and port as in the client's URL, lower case.
    pub host: String,
}

impl Client {
    /// `peer`: the other end of the TCP connection.
    pub fn of(config: &HttpConfig, peer: IpAddr, headers: &HeaderMap) -> Self {
        let peer = peer.to_canonical();
        let trusted = is_trusted(config, peer);
        let said = |name: &str| if trusted { last_value(headers, name) } else { None };
        Self {
            address: if trusted { forwarded_for(config, headers).unwrap_or(peer) } else { peer },
            tls: said("x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: said("x-forwarded-host")
                .or_else(|| last_value(headers, "host"))
                .unwrap_or_default()
                .to_ascii_lowercase(),
        }
    }

    /// The same from what `server.rs` puts beside a request; without it nobody is trusted.
    pub(super) fn of_request(config: &HttpConfig, extensions: &Extensions, headers: &HeaderMap) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        Self::of(config, peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), headers)
    }

    /// May this request come from the page it comes from? For sockets, which carry no cookie of ours: the list, this very
    /// host, or no page at all.
    pub fn origin_allowed(&self, config: &HttpConfig, headers: &HeaderMap) -> bool {
        match origin(headers) {
            Origin::Absent => true,
            Origin::Opaque => config.any_origin,
            Origin::Page(origin) => config.any_origin || self.knows(config, &origin),
        }
    }

    /// The same for a request that a cookie speaks for. `*` does not count; without an `Origin` the browser's own word
    /// (`Sec-Fetch-Site`) does, and without either it is no browser, which nobody can lure.
    pub fn cookie_allowed(&self, config: &HttpConfig, headers: &HeaderMap) -> bool {
        match origin(headers) {
            Origin::Absent => {
                last_value(headers, "sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"))
            }
            Origin::Opaque => false,
            Origin::Page(origin) => self.knows(config, &origin),
        }
    }

    fn knows(&self, config: &HttpConfig, origin: &str) -> bool {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        is_listed(config, origin) || (!self.host.is_empty() && host == Some(&self.host))
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Client>()
            .cloned()
            .expect("cannot fail because the envelope puts one into each request"))
    }
}

/// Exactly one of the list: no suffixes, no patterns.
pub(super) fn is_listed(config: &HttpConfig, origin: &str) -> bool {
    origin != "*" && config.origins.iter().any(|listed| listed == origin)
}

pub(super) enum Origin {
    Absent,
    /// `null`, or nothing that is an origin.
    Opaque,
    Page(String),
}

pub(super) fn origin(headers: &HeaderMap) -> Origin {
    let mut values = headers.get_all(header::ORIGIN).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Origin::Absent,
        (Some(Ok(text)), None) if text.contains("://") => Origin::Page(text.to_ascii_lowercase()),
        _ => Origin::Opaque,
    }
}

fn last_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
}

/// The right-most address that is not a proxy of ours. What is not an address ends the search.
fn forwarded_for(config: &HttpConfig, headers: &HeaderMap) -> Option<IpAddr> {
    let mut best = None;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for hop in value.to_str().ok()?.rsplit(',') {
            let Some(address) = address_of(hop.trim()) else { return best };
            best = Some(address);
            if !is_trusted(config, address) {
                return best;
            }
        }
    }
    best
}

/// Some proxies add the port, and brackets around IPv6.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn is_trusted(config: &HttpConfig, address: IpAddr) -> bool {
    config.trusted_proxies.iter().any(|(network, prefix)| match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(*prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(*prefix)).unwrap_or(0) == 0
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests;
