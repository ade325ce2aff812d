//! The WebSocket handshake (RFC 6455 §4.2), and the way of the socket from hyper to its shard. fastwebsockets makes
//! the answer; what it does not check (method, `Connection`, `Upgrade`, key, `Origin`, subprotocol) is checked here.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fastwebsockets::upgrade;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::net::TcpStream;

/// What this endpoint agrees to.
pub struct Terms<'a> {
    /// May a page of this origin open a socket? Programs send no `Origin`, and are not asked.
    pub origin: &'a (dyn Fn(&str) -> bool + Sync),
    /// Subprotocols spoken here, best first. A client that offers none gets none.
    pub protocols: &'static [&'static str],
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Method,
    /// No HTTP/1.1, or no `Connection: upgrade` and `Upgrade: websocket`.
    NoUpgrade,
    Version,
    Key,
    Body,
    Origin,
    Protocol,
}

impl Refused {
    pub fn status(self) -> StatusCode {
        match self {
            Refused::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refused::NoUpgrade | Refused::Version => StatusCode::UPGRADE_REQUIRED,
            Refused::Key | Refused::Body | Refused::Protocol => StatusCode::BAD_REQUEST,
            Refused::Origin => StatusCode::FORBIDDEN,
        }
    }

    /// Stable, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Refused::Method => "method_not_allowed",
            Refused::NoUpgrade => "upgrade_required",
            Refused::Version => "websocket_version",
            Refused::Key => "websocket_key",
            Refused::Body => "unexpected_body",
            Refused::Origin => "origin_not_allowed",
            Refused::Protocol => "subprotocol_not_supported",
        }
    }

    pub fn detail(self) -> &'static str {
        match self {
            Refused::Method => "A WebSocket begins with GET.",
            Refused::NoUpgrade => "This address speaks WebSocket over HTTP/1.1 only.",
            Refused::Version => "Only WebSocket version 13 is spoken here.",
            Refused::Key => "Sec-WebSocket-Key must be 16 bytes in base64.",
            Refused::Body => "A WebSocket handshake has no body.",
            Refused::Origin => "Pages of this origin may not connect.",
            Refused::Protocol => "None of the offered subprotocols is spoken here.",
        }
    }

    /// The header that tells the client what would be right, if there is one.
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Refused::Method => Some((header::ALLOW, HeaderValue::from_static("GET"))),
            Refused::NoUpgrade => Some((header::UPGRADE, HeaderValue::from_static("websocket"))),
            Refused::Version => Some((header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            _ => None,
        }
    }
}

/// Plain text; an application with an error format of its own builds it from the parts.
impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.detail()).into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Checks the handshake and answers it with 101. When hyper has sent that, `then` gets the bare socket (non-blocking)
/// and the bytes that came after the request. If the client leaves first, `then` is dropped.
pub fn upgrade(
    mut request: Request,
    terms: &Terms<'_>,
    then: impl FnOnce(TcpStream, Bytes) + Send + 'static,
) -> Result<Response, Refused> {
    check(&request)?;
    check_origin(request.headers(), terms.origin)?;
    let protocol = choose_protocol(request.headers(), terms.protocols)?;
    // hyper's own handle: fastwebsockets' future would make a WebSocket, with its 8 KiB, as soon as it resolves.
    let on_upgrade = request.extensions().get::<OnUpgrade>().cloned().ok_or(Refused::NoUpgrade)?;
    let (response, _) = upgrade::upgrade(&mut request).map_err(|_| Refused::Key)?;
    let mut response = response.map(Body::new);
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    tokio::spawn(async move {
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a client left during the handshake"),
        };
        match bare(upgraded) {
            Some((socket, early)) => then(socket, early),
            None => tracing::error!("a WebSocket came over a transport that is not plain TCP"),
        }
    });
    Ok(response)
}

fn check(request: &Request) -> Result<(), Refused> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refused::Method);
    }
    if request.version() != Version::HTTP_11 || !upgrade::is_upgrade_request(request) {
        return Err(Refused::NoUpgrade);
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refused::Version);
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY).ok_or(Refused::Key)?;
    if !STANDARD.decode(key).is_ok_and(|key| key.len() == 16) {
        return Err(Refused::Key);
    }
    let no_body = only(headers, header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    if !no_body || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refused::Body);
    }
    Ok(())
}

/// The value of a header that must not be there twice; twice is as good as never.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn check_origin(headers: &HeaderMap, allowed: &(dyn Fn(&str) -> bool + Sync)) -> Result<(), Refused> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    match only(headers, header::ORIGIN) {
        Some(origin) if allowed(origin) => Ok(()),
        _ => Err(Refused::Origin),
    }
}

/// The first of ours that the client offers too.
fn choose_protocol(headers: &HeaderMap, ours: &'static [&'static str]) -> Result<Option<&'static str>, Refused> {
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&str> =
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect();
    ours.iter().copied().find(|protocol| offered.contains(protocol)).map(Some).ok_or(Refused::Protocol)
}

/// The socket that hyper was given, out of its wrappings. The early bytes are copied: even empty, hyper's `read_buf`
/// would keep its 8 KiB read buffer alive for as long as the connection.
fn bare(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<tokio::net::TcpStream>>().ok()?;
    let early = Bytes::copy_from_slice(&parts.read_buf);
    let socket = parts.io.into_inner().into_std().ok()?;
    Some((socket, early))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request)) -> Request {
        let mut request = Request::builder()
            .uri("/v1/ws")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(Body::empty())
            .unwrap();
        change(&mut request);
        request
    }

    fn with(name: &'static str, value: &'static str) -> Request {
        request(|request| drop(request.headers_mut().insert(name, HeaderValue::from_static(value))))
    }

    #[test]
    fn a_proper_handshake_passes() {
        assert_eq!(check(&request(|_| {})), Ok(()));
    }

    #[test]
    fn each_fault_has_its_answer() {
        let cases = [
            (request(|request| *request.method_mut() = Method::POST), Refused::Method),
            (request(|request| *request.version_mut() = Version::HTTP_10), Refused::NoUpgrade),
            (with("connection", "keep-alive"), Refused::NoUpgrade),
            (with("upgrade", "h2c"), Refused::NoUpgrade),
            (with("sec-websocket-version", "8"), Refused::Version),
            (with("sec-websocket-key", "AAAA"), Refused::Key),
            (with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), Refused::Key),
            (with("content-length", "5"), Refused::Body),
            (with("transfer-encoding", "chunked"), Refused::Body),
        ];
        for (request, refused) in cases {
            assert_eq!(check(&request), Err(refused), "{:?}", request.headers());
        }
    }

    #[test]
    fn a_header_given_twice_is_refused() {
        let twice = request(|request| {
            let again = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
            request.headers_mut().append("sec-websocket-key", again);
        });
        assert_eq!(check(&twice), Err(Refused::Key));
    }

    #[test]
    fn origins_are_asked_for_and_their_absence_is_not() {
        let allowed = |origin: &str| origin == "https://app.example.com";
        assert_eq!(check_origin(request(|_| {}).headers(), &allowed), Ok(()));
        assert_eq!(check_origin(with("origin", "https://app.example.com").headers(), &allowed), Ok(()));
        for origin in ["https://app.example.com.evil.example", "null", "http://app.example.com", ""] {
            assert_eq!(check_origin(with("origin", origin).headers(), &allowed), Err(Refused::Origin), "{origin}");
        }
    }

    #[test]
    fn the_best_common_subprotocol_is_chosen() {
        let ours = &["rookery.v2", "rookery.v1"];
        assert_eq!(choose_protocol(request(|_| {}).headers(), ours), Ok(None));
        let offers = with("sec-websocket-protocol", "other, rookery.v1");
        assert_eq!(choose_protocol(offers.headers(), ours), Ok(Some("rookery.v1")));
        let foreign = with("sec-websocket-protocol", "other");
        assert_eq!(choose_protocol(foreign.headers(), ours), Err(Refused::Protocol));
    }
}
