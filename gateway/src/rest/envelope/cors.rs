//! CORS by the one list: which pages' scripts may read our answers. Credentials (the refresh cookie) only for origins that
//! are listed by name; `*` never has them.

use super::client::{Origin, is_listed, origin};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use shared::config::HttpConfig;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const HEADERS: &str = "authorization, content-type, idempotency-key, x-request-id";
const EXPOSED: &str = "x-request-id, retry-after";
/// Browsers keep a preflight's answer this long, in seconds.
const MAX_AGE: &str = "600";

/// What a request's origin may do.
pub enum Access {
    None,
    Any,
    Listed(HeaderValue),
}

impl Access {
    pub fn of(config: &HttpConfig, headers: &HeaderMap) -> Self {
        match (origin(headers), headers.get(header::ORIGIN)) {
            (Origin::Absent, _) | (_, None) => Self::None,
            // Said back as it came: the browser compares byte by byte.
            (Origin::Page(name), Some(value)) if is_listed(config, &name) => Self::Listed(value.clone()),
            _ if config.any_origin => Self::Any,
            _ => Self::None,
        }
    }

    pub fn write(self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let value = match self {
            Self::None => return,
            Self::Any => HeaderValue::from_static("*"),
            Self::Listed(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                origin
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

pub fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The same for everybody; without `Access-Control-Allow-Origin` beside it, it allows nothing.
pub fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    response
}
