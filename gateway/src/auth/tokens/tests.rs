//! The token corpus: everything that looks like a token of ours and is none (RFC 8725).

use super::*;
use crate::auth::keys::tests::{SIGNING_KEY, config};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret that only tests use, of more than 32 bytes";
const NOW: u64 = 4_000_000_000;

fn tokens(settings: &[(&str, &str)]) -> Tokens {
    Tokens::new(&config(settings), Arc::new(Ended::new(Duration::from_secs(3600)))).expect("a valid configuration")
}

fn claims() -> Value {
    json!({
        "iss": "rookery", "aud": "rookery", "sub": Uuid::from_u128(1), "sid": Uuid::from_u128(2),
        "iat": NOW, "exp": NOW + 3600, "jti": Uuid::from_u128(3), "typ": "access",
    })
}

/// Signed by whoever knows our secret, with any header and claims at all.
fn forge(header: &Value, claims: &str) -> String {
    let head = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    format!("{head}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, head.as_bytes())))
}

fn header(tokens: &Tokens) -> Value {
    json!({"typ": "JWT", "alg": "HS256", "kid": tokens.ring.signing_kid})
}

#[test]
fn what_is_issued_is_valid_until_it_expires_or_its_session_ends() {
    for settings in [&[][..], &[("JWT_SIGNING_KEY", SIGNING_KEY)]] {
        let tokens = tokens(settings);
        let (user, session) = (UserId::new(), SessionId::new());
        let now = clock::unix_seconds();
        let token = tokens.issue_at(user, session, now);
        assert!(token.len() < 600, "{}", token.len());
        assert_eq!(tokens.verify(&token).unwrap(), Caller { user, session, expires: now + 3600 });
        assert!(tokens.verify(&tokens.issue_at(user, session, now - 3600 - 2)).is_ok(), "clocks may differ a little");
        assert!(tokens.verify(&tokens.issue_at(user, session, now - 3600 - 7)).is_err());
        tokens.ended.insert(&[session]);
        assert_eq!(tokens.verify(&token).unwrap_err().code, Code::Unauthorized);
    }
}

#[test]
fn a_token_of_an_earlier_key_verifies_and_of_a_dropped_one_does_not() {
    let old = "another secret of at least thirty-two bytes";
    let before = tokens(&[("JWT_SECRET", old)]);
    let token = before.issue(UserId::new(), SessionId::new()).token;
    assert!(tokens(&[("JWT_OLD_SECRETS", old)]).verify(&token).is_ok());
    assert!(tokens(&[]).verify(&token).is_err());
    let signed = tokens(&[("JWT_SIGNING_KEY", SIGNING_KEY)]);
    let token = signed.issue(UserId::new(), SessionId::new()).token;
    let public = serde_json::to_value(signed.public_keys()).unwrap();
    let x = public[0]["x"].as_str().unwrap().to_owned();
    assert!(tokens(&[("JWT_OLD_PUBLIC_KEYS", &x)]).verify(&token).is_ok());
    assert!(tokens(&[]).verify(&token).is_err());
}

#[test]
fn the_forger_knows_how() {
    let tokens = tokens(&[]);
    assert!(tokens.judge(&forge(&header(&tokens), &claims().to_string()), NOW).is_some());
}

#[test]
fn claims_that_are_missing_or_wrong() {
    let tokens = tokens(&[]);
    let refused = |claims: &Value| {
        let token = forge(&header(&tokens), &claims.to_string());
        assert!(tokens.judge(&token, NOW).is_none(), "taken: {claims}");
    };
    for name in ["iss", "aud", "sub", "sid", "iat", "exp", "jti", "typ"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        refused(&claims);
        for wrong in [Value::Null, json!(true), json!([]), json!({}), json!("x"), json!(-1), json!(1e300)] {
            let mut claims = self::claims();
            claims[name] = wrong;
            refused(&claims);
        }
    }
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    refused(&with("typ", json!("refresh")));
    refused(&with("aud", json!(["rookery"])));
    refused(&with("iss", json!(["rookery"])));
    refused(&with("aud", json!("rookery ")));
    refused(&with("exp", json!((NOW + 3600).to_string())));
    refused(&with("exp", json!(NOW as f64 + 3600.5)));
    refused(&with("exp", json!(1)));
    refused(&with("nbf", json!(NOW + 3600)));
    refused(&with("nbf", json!("9999999999")));
    refused(&with("iat", json!(NOW + 60)));
    refused(&with("iat", json!(NOW + 4000)));
}

#[test]
fn claims_said_twice() {
    let tokens = tokens(&[]);
    let text = claims().to_string();
    let twice = format!("{},\"sub\":\"{}\"}}", &text[..text.len() - 1], Uuid::from_u128(9));
    assert!(tokens.judge(&forge(&header(&tokens), &twice), NOW).is_none());
    assert!(tokens.judge(&forge(&header(&tokens), &format!("{text} {text}")), NOW).is_none());
}

#[test]
fn headers_that_are_not_ours() {
    let tokens = tokens(&[]);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut header = header(&tokens);
        change(&mut header);
        let token = forge(&header, &claims().to_string());
        assert!(tokens.judge(&token, NOW).is_none(), "taken: {header}");
    };
    for alg in ["none", "None", "NONE", "", "hs256", "HS384", "HS512", "EdDSA", "RS256", "ES256"] {
        refused(&|header| header["alg"] = json!(alg));
    }
    for kid in ["", "x", "../../etc/passwd", "' OR 1=1", "\0"] {
        refused(&|header| header["kid"] = json!(kid));
    }
    refused(&|header| header["kid"] = json!(7));
    for name in ["alg", "kid"] {
        refused(&|header| drop(header.as_object_mut().unwrap().remove(name)));
    }
    refused(&|header| header["jku"] = json!("https://evil.net/jwks.json"));
    refused(&|header| header["x5u"] = json!("https://evil.net/key.pem"));
    refused(&|header| header["x5c"] = json!(["MIIB"]));
    refused(&|header| header["jwk"] = json!({"kty": "oct", "k": "AAAA"}));
    refused(&|header| header["crit"] = json!(["exp"]));
}

#[test]
fn a_public_key_is_no_secret() {
    let tokens = tokens(&[("JWT_SIGNING_KEY", SIGNING_KEY)]);
    let public = serde_json::to_value(tokens.public_keys()).unwrap();
    let x = public[0]["x"].as_str().unwrap();
    for secret in [x.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(x).unwrap()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(tokens.ring.signing_kid.clone());
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert!(tokens.judge(&token, NOW).is_none());
    }
}

#[test]
fn shapes_that_are_no_token() {
    let tokens = tokens(&[]);
    let good = forge(&header(&tokens), &claims().to_string());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let long = forge(&header(&tokens), &{
        let mut claims = claims();
        claims["pad"] = json!("x".repeat(TOKEN_MAX));
        claims.to_string()
    });
    for bad in [
        "",
        ".",
        "..",
        "...",
        head,
        &format!("{head}."),
        &format!("{good}."),
        &format!("{good}.x"),
        &format!("{good} "),
        &format!(" {good}"),
        &format!("{good}="),
        &format!("{good}\n"),
        &format!("{head}.{other}{}", &signature[1..]),
        &format!("{head}.{}", &signature[1..]),
        &good.replace('.', ".."),
        &long,
        &"x".repeat(65_536),
        "ä.ö.ü",
    ] {
        assert!(tokens.judge(bad, NOW).is_none(), "taken: {bad}");
    }
}

#[test]
fn an_unknown_claim_of_a_newer_gateway_is_ignored() {
    let tokens = tokens(&[]);
    let mut claims = claims();
    claims["scope"] = json!("all");
    assert!(tokens.judge(&forge(&header(&tokens), &claims.to_string()), NOW).is_some());
}
