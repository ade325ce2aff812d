//! A refusal as an HTTP answer: RFC 9457, with our stable `code`.

use crate::refusal;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{
    reply::{Code, Refusal},
    store::StoreError,
    view,
};
use std::collections::BTreeMap;

/// What handlers return.
pub type Answer<T = Response> = Result<T, Problem>;

#[derive(Debug)]
pub struct Problem(pub Refusal);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self(refusal::of_store(error))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let code = refusal.code;
        let status = StatusCode::from_u16(code.status()).expect("cannot fail because our codes have valid statuses");
        let document = Document {
            r#type: format!("urn:rookery:problem:{}", code.as_str()),
            title: title(code),
            status: status.as_u16(),
            code: code.as_str(),
            detail: &refusal.detail,
            fields: refusal.field.as_ref().map(|(name, problem)| BTreeMap::from([(&**name, &**problem)])),
            retry_after: refusal.retry_after,
        };
        let mut response = Response::new(Body::from(view::json(&document)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = refusal.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn title(code: Code) -> &'static str {
    match code {
        Code::Invalid => "Invalid input",
        Code::UpgradeRequired => "This address speaks WebSocket",
        Code::Malformed => "Malformed request",
        Code::Unauthorized => "Not signed in",
        Code::WrongCredentials => "Wrong name or password",
        Code::Forbidden => "Not allowed",
        Code::NotFound => "Not found",
        Code::MethodNotAllowed => "Method not allowed",
        Code::Conflict => "Taken already",
        Code::IdConflict => "Id used already",
        Code::Closed => "Closed",
        Code::TooLarge => "Too large",
        Code::UnsupportedMedia => "Unsupported media type",
        Code::RateLimited => "Too many requests",
        Code::Unsupported => "Not supported",
        Code::Overloaded => "Overloaded",
        Code::Unavailable => "Unavailable",
        Code::Timeout => "No answer in time",
        Code::Internal => "Internal error",
    }
}
