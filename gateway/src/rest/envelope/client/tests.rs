//! Addresses, hosts and origins as an attacker would write them.

use super::*;
use shared::config::{Config, Environment};

fn config(settings: &[(&str, &str)]) -> HttpConfig {
    let mut env = Environment::of([
        ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
        ("DATABASE_URL", "postgres://localhost/none"),
    ]);
    for (name, value) in settings {
        env.set(name, *value);
    }
    Config::read(&env).expect("valid").http
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn client(config: &HttpConfig, peer: &str, pairs: &[(&'static str, &str)]) -> Client {
    Client::of(config, peer.parse().unwrap(), &headers(pairs))
}

#[test]
fn forwarded_headers_of_a_stranger_are_ignored() {
    let config = config(&[("TRUSTED_PROXIES", "10.0.0.0/8")]);
    let forged = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("host", "Us:3000"),
    ];
    let seen = client(&config, "192.0.2.1", &forged);
    assert_eq!(seen, Client { address: "192.0.2.1".parse().unwrap(), tls: false, host: "us:3000".into() });
}

#[test]
fn the_right_most_stranger_is_the_client() {
    let config = config(&[("TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32, 192.0.2.9")]);
    let address = |peer: &str, value: &str| client(&config, peer, &[("x-forwarded-for", value)]).address.to_string();
    assert_eq!(address("10.1.1.1", "198.51.100.7"), "198.51.100.7");
    assert_eq!(address("10.1.1.1", "1.2.3.4, 198.51.100.7, 10.2.2.2"), "198.51.100.7");
    assert_eq!(address("10.1.1.1", "10.9.9.9, 10.2.2.2"), "10.9.9.9");
    assert_eq!(address("10.1.1.1", "nonsense, 10.2.2.2"), "10.2.2.2");
    assert_eq!(address("10.1.1.1", "nonsense"), "10.1.1.1");
    assert_eq!(address("::ffff:10.1.1.1", "198.51.100.7:4711"), "198.51.100.7");
    assert_eq!(address("2001:db8::1", "[2001:db9::1]:443"), "2001:db9::1");
    assert_eq!(address("192.0.2.9", "198.51.100.7"), "198.51.100.7");
    assert_eq!(address("192.0.2.8", "198.51.100.7"), "192.0.2.8");
    let twice = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "198.51.100.7")];
    assert_eq!(client(&config, "10.1.1.1", &twice).address.to_string(), "198.51.100.7");
}

#[test]
fn a_trusted_proxy_says_scheme_and_host() {
    let config = config(&[("TRUSTED_PROXIES", "0.0.0.0/0")]);
    let said = [("x-forwarded-proto", "https"), ("x-forwarded-host", "Chat.example.org"), ("host", "upstream:3000")];
    let seen = client(&config, "10.1.1.1", &said);
    assert!(seen.tls);
    assert_eq!(seen.host, "chat.example.org");
}

#[test]
fn only_the_list_and_this_host_are_allowed() {
    let config = config(&[("CORS_ORIGIN", "https://app.example.org")]);
    let allowed = |origin: &str| {
        let headers = headers(&[("host", "chat.example.org"), ("origin", origin)]);
        let client = Client::of(&config, "192.0.2.1".parse().unwrap(), &headers);
        assert_eq!(client.origin_allowed(&config, &headers), client.cookie_allowed(&config, &headers), "{origin}");
        client.origin_allowed(&config, &headers)
    };
    for good in
        ["https://app.example.org", "https://APP.example.org", "https://chat.example.org", "http://chat.example.org"]
    {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "null",
        "",
        "*",
        "https://app.example.org.evil.net",
        "https://evil.net/app.example.org",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://xapp.example.org",
        "https://chat.example.org:3000",
        "ftp://chat.example.org",
        "https://app.example.org, https://evil.net",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[test]
fn two_origins_are_none() {
    let config = config(&[("CORS_ORIGIN", "https://app.example.org")]);
    let both = headers(&[("origin", "https://app.example.org"), ("origin", "https://evil.net")]);
    assert!(!Client::of(&config, "192.0.2.1".parse().unwrap(), &both).origin_allowed(&config, &both));
}

#[test]
fn any_origin_is_not_enough_for_a_cookie() {
    let config = config(&[("CORS_ORIGIN", "*")]);
    let judge = |pairs: &[(&'static str, &str)]| {
        let headers = headers(pairs);
        let client = Client::of(&config, "192.0.2.1".parse().unwrap(), &headers);
        (client.origin_allowed(&config, &headers), client.cookie_allowed(&config, &headers))
    };
    assert_eq!(judge(&[("origin", "https://evil.net"), ("host", "us")]), (true, false));
    assert_eq!(judge(&[("origin", "https://us"), ("host", "us")]), (true, true));
    assert_eq!(judge(&[("host", "us")]), (true, true));
    assert_eq!(judge(&[("host", "us"), ("sec-fetch-site", "same-origin")]), (true, true));
    assert_eq!(judge(&[("host", "us"), ("sec-fetch-site", "cross-site")]), (true, false));
    assert_eq!(judge(&[("host", "us"), ("sec-fetch-site", "same-site")]), (true, false));
}
