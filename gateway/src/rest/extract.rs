//! What handlers take: the caller, the request's id, its JSON, its query, the ids in its path. Each refuses with a problem
//! that names what is wrong.

mod body;

use super::{Problem, RequestId};
use crate::{app::App, auth::Caller, json};
use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;
use shared::reply::{Code, Refusal};
use std::{convert::Infallible, sync::Arc};

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 §11.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        // No token is a token that is not valid: one answer for both.
        Ok(app.tokens.verify(bearer(&parts.headers).unwrap_or_default())?)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<RequestId>()
            .cloned()
            .expect("cannot fail because the envelope puts one into each request"))
    }
}

/// A JSON body. None at all reads as `{}`.
pub struct Input<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let body = body::read(request).await?;
        let text = match &body[..] {
            b"" => b"{}",
            // Asked for because a page of another origin cannot send it unasked (a form can send text/plain).
            _ if !is_json => {
                return Err(Refusal::new(Code::UnsupportedMedia, "send Content-Type: application/json").into());
            }
            text => text,
        };
        Ok(Self(json::parse(text)?))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let value = value.to_ascii_lowercase();
    let (media, parameters) = value.split_once(';').unwrap_or((&value, ""));
    let charset = parameters.split(';').find_map(|part| part.trim().strip_prefix("charset="));
    media.trim() == "application/json"
        && charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"))
}

/// The query string.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(params_refusal(&error.body_text()).into()),
        }
    }
}

/// axum says `Failed to deserialize query string: limit: invalid digit found in string`.
fn params_refusal(words: &str) -> Refusal {
    let words = words.split_once("query string: ").map_or(words, |(_, words)| words);
    let quoted = words.split('`').nth(1).unwrap_or_default().to_owned();
    if words.contains("unknown field") {
        Refusal::field(quoted, "is not known here")
    } else if words.contains("missing field") {
        Refusal::field(quoted, "is required")
    } else if words.contains("duplicate field") {
        Refusal::field(quoted, "is given twice")
    } else if let Some((name, _)) = words.split_once(": ") {
        Refusal::field(name.to_owned(), "has a wrong form")
    } else {
        Refusal::new(Code::Invalid, "the query string has a wrong form")
    }
}

/// The ids in a path: one (`Ids<UserId>`) or several (`Ids<(ConversationId, UserId)>`). What is no id names nothing.
pub struct Ids<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Ids<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(_) => Err(Refusal::not_found().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde::Deserialize;

    #[test]
    fn content_types() {
        let json = |value: &str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(value).unwrap())]))
        };
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(json(good), "{good}");
        }
        for bad in ["text/plain", "application/jsonp", "application/json; charset=utf-16", "text/json", ""] {
            assert!(!json(bad), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Page {
        limit: Option<u32>,
        q: String,
    }

    #[tokio::test]
    async fn the_wrong_parameter_is_named() {
        let field = async |query: &str| {
            let (mut parts, ()) = Request::builder().uri(format!("/x?{query}")).body(()).unwrap().into_parts();
            match Params::<Page>::from_request_parts(&mut parts, &()).await {
                Ok(_) => panic!("{query} was taken"),
                Err(Problem(refusal)) => refusal.field.expect("names a parameter").0.into_owned(),
            }
        };
        assert_eq!(field("q=a&limit=x").await, "limit");
        assert_eq!(field("q=a&limit=-1").await, "limit");
        assert_eq!(field("q=a&order=x").await, "order");
        assert_eq!(field("limit=1").await, "q");
        assert_eq!(field("q=1&q=2").await, "q");
    }
}
