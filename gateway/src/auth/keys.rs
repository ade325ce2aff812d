//! The key ring: one key signs, several verify, each under its `kid` and for exactly one algorithm, so that no header can
//! turn a public key into a secret or a signature into none (RFC 8725 §3.1).

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use serde::Serialize;
use shared::config::{AuthConfig, ConfigError};
use std::collections::HashMap;

pub const ISSUER: &str = "rookery";
pub const AUDIENCE: &str = "rookery";

/// A key that verifies.
pub struct VerifyingKey {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    pub validation: Validation,
}

/// A public key as `/.well-known/jwks.json` shows it (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    pub kid: String,
    x: String,
}

pub struct KeyRing {
    pub signing_kid: String,
    pub signing_algorithm: Algorithm,
    pub signing: EncodingKey,
    verifying: HashMap<String, VerifyingKey>,
    public: Vec<PublicKey>,
}

impl KeyRing {
    /// An Ed25519 key signs where there is one, the secret otherwise; everything else in the configuration verifies.
    pub fn new(config: &AuthConfig) -> Result<Self, ConfigError> {
        let secret = config.secret.expose().as_bytes();
        let mut ring = Self {
            signing_kid: secret_kid(secret),
            signing_algorithm: Algorithm::HS256,
            signing: EncodingKey::from_secret(secret),
            verifying: HashMap::new(),
            public: vec![],
        };
        for secret in std::iter::once(&config.secret).chain(&config.old_secrets) {
            let secret = secret.expose().as_bytes();
            ring.add(secret_kid(secret), Algorithm::HS256, DecodingKey::from_secret(secret));
        }
        if let Some(key) = &config.signing_key {
            let wrong = |problem: &str| ConfigError { name: "JWT_SIGNING_KEY".into(), problem: problem.into() };
            let der = pkcs8(key.expose()).ok_or_else(|| wrong("must be PEM or base64"))?;
            let pair =
                Ed25519KeyPair::from_pkcs8(&der).map_err(|_| wrong("must be an Ed25519 private key in PKCS#8"))?;
            ring.signing_kid = ring.add_public(pair.public_key().as_ref());
            ring.signing_algorithm = Algorithm::EdDSA;
            ring.signing = EncodingKey::from_ed_der(&der);
        }
        for key in &config.old_public_keys {
            match URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')) {
                Ok(bytes) if bytes.len() == 32 => ring.add_public(&bytes),
                _ => {
                    let problem = "each must be an Ed25519 public key: 32 bytes in base64url".into();
                    return Err(ConfigError { name: "JWT_OLD_PUBLIC_KEYS".into(), problem });
                }
            };
        }
        Ok(ring)
    }

    pub fn verifying(&self, kid: &str) -> Option<&VerifyingKey> {
        self.verifying.get(kid)
    }

    /// What anybody may know: public keys only, never a trace of the secret.
    pub fn public(&self) -> &[PublicKey] {
        &self.public
    }

    fn add(&mut self, kid: String, algorithm: Algorithm, key: DecodingKey) {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = super::LEEWAY.as_secs();
        self.verifying.insert(kid, VerifyingKey { algorithm, key, validation });
    }

    fn add_public(&mut self, bytes: &[u8]) -> String {
        let x = URL_SAFE_NO_PAD.encode(bytes);
        // RFC 7638: the thumbprint of the required members in order.
        let thumbprint =
            digest::digest(&digest::SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        if !self.verifying.contains_key(&kid) {
            self.public.push(PublicKey { kty: "OKP", crv: "Ed25519", alg: "EdDSA", r#use: "sig", kid: kid.clone(), x });
            self.add(kid.clone(), Algorithm::EdDSA, DecodingKey::from_ed_der(bytes));
        }
        kid
    }
}

/// Eight bytes of a hash: tells keys apart. A token signed with the secret lets one test guesses of it anyway.
fn secret_kid(secret: &[u8]) -> String {
    let mut hasher = digest::Context::new(&digest::SHA256);
    hasher.update(b"rookery kid\0");
    hasher.update(secret);
    URL_SAFE_NO_PAD.encode(&hasher.finish().as_ref()[..8])
}

/// PEM, also with its line ends written as `\n` (one line in an environment file), or base64 of the DER.
fn pkcs8(text: &str) -> Option<Vec<u8>> {
    let text = text.replace("\\n", "\n");
    let body: String =
        text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).flat_map(str::chars).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use shared::config::{Config, Environment};

    /// `openssl genpkey -algorithm ed25519`, for tests only.
    pub const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIF63V7fJOinuniyV7wV6GispG/3A08cQ0Sbprovv4gcH\n-----END PRIVATE KEY-----\n";

    pub fn config(settings: &[(&str, &str)]) -> AuthConfig {
        let mut env = Environment::of([
            ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
            ("DATABASE_URL", "postgres://localhost/none"),
        ]);
        for (name, value) in settings {
            env.set(name, *value);
        }
        Config::read(&env).expect("valid").auth
    }

    #[test]
    fn the_secret_is_in_the_ring_and_never_in_public() {
        let ring =
            KeyRing::new(&config(&[("JWT_OLD_SECRETS", "another secret of at least thirty-two bytes")])).unwrap();
        assert_eq!(ring.verifying.len(), 2);
        assert_eq!(ring.public(), []);
        assert_eq!(ring.signing_algorithm, Algorithm::HS256);
    }

    #[test]
    fn a_signing_key_signs_and_the_secret_still_verifies() {
        let base64: String = SIGNING_KEY.lines().filter(|line| !line.starts_with('-')).collect();
        for form in [SIGNING_KEY.to_owned(), SIGNING_KEY.replace('\n', "\\n"), base64] {
            let ring = KeyRing::new(&config(&[("JWT_SIGNING_KEY", &form)])).unwrap();
            assert_eq!(ring.signing_algorithm, Algorithm::EdDSA);
            assert_eq!(ring.verifying.len(), 2);
            let kids: Vec<_> = ring.public().iter().map(|key| &key.kid).collect();
            assert_eq!(kids, [&ring.signing_kid]);
        }
    }

    #[test]
    fn the_key_id_is_the_rfc_7638_thumbprint() {
        // RFC 8037, appendix A.3.
        let old = config(&[("JWT_OLD_PUBLIC_KEYS", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]);
        let ring = KeyRing::new(&old).unwrap();
        assert_eq!(ring.public()[0].kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_wrong_key_is_a_configuration_error() {
        for (name, value) in
            [("JWT_SIGNING_KEY", "nonsense!"), ("JWT_SIGNING_KEY", "bm9uc2Vuc2U="), ("JWT_OLD_PUBLIC_KEYS", "c2hvcnQ")]
        {
            let Err(error) = KeyRing::new(&config(&[(name, value)])) else { panic!("{name}={value} was taken") };
            assert_eq!(error.name, name);
        }
    }
}
