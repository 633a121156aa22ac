//! Signing with the test keys.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use serde_json::{Value, json};
use spanner_core::token::KeySet;

/// The keys of `data/test_keys.toml`, by name.
pub(crate) struct TestKeys(BTreeMap<String, TestKey>);

#[derive(Deserialize)]
struct TestKey {
    jwk: String,
    private: String,
}

impl TestKeys {
    pub(crate) fn read() -> Self {
        Self(toml::from_str(include_str!("../data/test_keys.toml")).unwrap())
    }

    /// The public half, as a JWK with the key's name for `kid`.
    pub(crate) fn jwk(&self, name: &str) -> Value {
        let mut jwk: Value = serde_json::from_str(&self.0[name].jwk).unwrap();
        jwk["kid"] = json!(name);
        jwk
    }

    /// A key set with these keys.
    pub(crate) fn set(&self, names: &[impl AsRef<str>]) -> KeySet {
        let keys: Vec<Value> = names.iter().map(|name| self.jwk(name.as_ref())).collect();
        let set = json!({ "keys": keys }).to_string();
        KeySet::parse(set.as_bytes()).unwrap().keys
    }

    /// A signature, in base64url.
    pub(crate) fn sign(&self, name: &str, algorithm: Algorithm, text: &str) -> String {
        let pem = self.0[name].private.as_bytes();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            _ => EncodingKey::from_rsa_pem(pem),
        };
        let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm, &key.unwrap()).unwrap();
        encode(signer.try_sign(text.as_bytes()).unwrap())
    }
}

/// What a key signs with unless a test says otherwise.
pub(crate) fn algorithm_of(key: &str) -> Algorithm {
    match key {
        "p256" | "stranger-p256" => Algorithm::ES256,
        "p384" => Algorithm::ES384,
        "ed25519" => Algorithm::EdDSA,
        _ => Algorithm::RS256,
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
