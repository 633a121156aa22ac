//! Fetches keys through `jwks_client_rs`.

use std::fmt;

use jwks_client_rs::source::JwksSource;
use jwks_client_rs::{JsonWebKey, JsonWebKeySet};
use serde_json::{Value, json};

use super::source::{FetchError, Fetched, KeySource};
use crate::authenticate::BoxFuture;

/// Fetches keys with a source of `jwks_client_rs`, for teams that already have one. Only its
/// fetching is used: caching, the choice of the key and verification are Spanner's.
///
/// # Caveats
/// That crate rejects a whole set because of one unknown key, does not limit how much it reads,
/// follows redirects, and drops `key_ops` and entity tags. Unless you need it, use
/// [`HttpKeys`](super::HttpKeys).
pub struct JwksClientRs<T> {
    source: T,
}

impl<T: JwksSource + Send + Sync + 'static> JwksClientRs<T> {
    /// Fetches with this source.
    pub const fn new(source: T) -> Self {
        Self { source }
    }
}

impl<T: JwksSource + Send + Sync + 'static> KeySource for JwksClientRs<T> {
    fn fetch<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let fetched = self.source.fetch_keys().await;
            let keys = fetched.map_err(|error| FetchError::new(error.to_string()))?;
            let text = document(keys).to_string().into();
            Ok(Fetched::Document {
                text,
                validator: None,
                fresh_for: None,
            })
        })
    }
}

impl<T> fmt::Debug for JwksClientRs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwksClientRs")
    }
}

/// The published set, as far as that crate preserves it.
fn document(keys: JsonWebKeySet) -> Value {
    let keys: Vec<Value> = keys.keys().iter().map(key).collect();
    json!({ "keys": keys })
}

fn key(key: &JsonWebKey) -> Value {
    let mut jwk = match key {
        JsonWebKey::Rsa(key) => {
            json!({"kty": "RSA", "n": key.modulus(), "e": key.exponent()})
        }
        JsonWebKey::Ec(key) => {
            json!({"kty": "EC", "crv": key.curve(), "x": key.x(), "y": key.y()})
        }
        JsonWebKey::Okp(key) => json!({"kty": "OKP", "crv": key.curve(), "x": key.x()}),
    };
    if let Some(members) = jwk.as_object_mut() {
        members.insert("kid".to_owned(), key.key_id().into());
        if let Some(algorithm) = key.alg() {
            members.insert("alg".to_owned(), algorithm.into());
        }
        let purpose = key.as_rsa_public_key().ok().and_then(|key| key.r#use());
        if let Some(purpose) = purpose {
            members.insert(
                "use".to_owned(),
                format!("{purpose:?}").to_lowercase().into(),
            );
        }
    }
    jwk
}
