//! The refresh cookie: how a web page keeps its refresh token where its own scripts cannot read it.

use axum::http::{HeaderMap, HeaderValue, header};
use shared::config::SameSite;
use std::{net::IpAddr, time::Duration};

const NAME: &str = "rookery_refresh";
/// Sent to the endpoints that need it and to no other.
const PATH: &str = "/v1/auth";

/// What decides a cookie's attributes.
#[derive(Clone, Copy)]
pub struct RefreshCookie {
    pub same_site: SameSite,
    /// A browser on the same machine, without TLS: Safari keeps no `Secure` cookie there.
    pub localhost: bool,
}

impl RefreshCookie {
    /// The value of `Set-Cookie`. `token` is base64url, so nothing needs quoting.
    pub fn set(self, token: &str, life: Duration) -> HeaderValue {
        self.value(token, life.as_secs())
    }

    pub fn clear(self) -> HeaderValue {
        self.value("", 0)
    }

    fn value(self, token: &str, max_age: u64) -> HeaderValue {
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        // Browsers drop a SameSite=None cookie that is not Secure.
        let secure = if self.localhost && self.same_site != SameSite::None { "" } else { " Secure;" };
        let text = format!("{NAME}={token}; Path={PATH}; Max-Age={max_age}; HttpOnly;{secure} SameSite={same_site}");
        HeaderValue::try_from(text).expect("cannot fail because the token is base64url")
    }
}

/// The cookie's token in a request, if there is one.
pub fn refresh_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim_start().strip_prefix(NAME)?.strip_prefix('='))
        .filter(|token| !token.is_empty())
}

/// Is this host, as a URL or a `Host` header writes it, the machine itself?
pub fn is_localhost(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_byte_for_byte() {
        let life = Duration::from_secs(2_592_000);
        let set = |same_site, localhost| RefreshCookie { same_site, localhost }.set("T0ken", life);
        assert_eq!(
            set(SameSite::Lax, false),
            "rookery_refresh=T0ken; Path=/v1/auth; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax"
        );
        assert_eq!(
            set(SameSite::Lax, true),
            "rookery_refresh=T0ken; Path=/v1/auth; Max-Age=2592000; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            set(SameSite::None, true),
            "rookery_refresh=T0ken; Path=/v1/auth; Max-Age=2592000; HttpOnly; Secure; SameSite=None"
        );
        assert_eq!(
            RefreshCookie { same_site: SameSite::Strict, localhost: false }.clear(),
            "rookery_refresh=; Path=/v1/auth; Max-Age=0; HttpOnly; Secure; SameSite=Strict"
        );
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_str(value).unwrap());
            refresh_cookie(&headers).map(str::to_owned)
        };
        assert_eq!(with("a=b; rookery_refresh=x; c=d").as_deref(), Some("x"));
        assert_eq!(with("xrookery_refresh=x"), None);
        assert_eq!(with("rookery_refreshed=x"), None);
        assert_eq!(with("rookery_refresh="), None);
    }

    #[test]
    fn localhost_is_only_this_machine() {
        for host in ["localhost", "LocalHost:3000", "127.0.0.1:3000", "127.1.2.3", "[::1]:3000", "[::1]"] {
            assert!(is_localhost(host), "{host}");
        }
        for host in ["", "localhost.example.org", "chat.example.org:443", "10.0.0.1", "[::2]:3000", "127.0.0.1.nip.io"]
        {
            assert!(!is_localhost(host), "{host}");
        }
    }
}
