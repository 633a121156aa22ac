//! A client that proves that a token is its own.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use spanner_core::Timestamp;
use spanner_core::token::Algorithm;

use super::MockKey;
use super::token::jose;

/// A client with a key of its own, for `DPoP` (RFC 9449): tokens are bound to it by
/// [`MockToken::bound_to`](super::MockToken::bound_to), and it makes a proof for each request.
///
/// ```
/// # use spanner_core::Timestamp;
/// use spanner_tower::mock_idp::{MockHolder, MockIdp};
///
/// let (idp, holder) = (MockIdp::new(), MockHolder::new());
/// let token = idp.token().sub("alice").audience("models").bound_to(&holder).sign();
/// let url = "https://models.example.com/v1/embeddings";
/// let proof = holder.proof("POST", url, &token, Timestamp::now()).sign();
/// # assert_eq!(proof.split('.').count(), 3);
/// ```
#[derive(Clone)]
pub struct MockHolder {
    algorithm: Algorithm,
    key: MockKey,
}

/// A proof in the making.
#[derive(Debug, Clone)]
#[must_use = "a proof is nothing until it is signed"]
pub struct MockProof {
    holder: MockHolder,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Default for MockHolder {
    fn default() -> Self {
        Self::new()
    }
}

impl MockHolder {
    /// A client with a P-256 key.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Algorithm::Es256)
    }

    /// A client with a key for this algorithm.
    #[must_use]
    pub fn of(algorithm: Algorithm) -> Self {
        let mut key = MockKey::make(algorithm, "holder");
        if let Some(members) = key.public.as_object_mut() {
            members.remove("kid");
            members.remove("use");
        }
        Self { algorithm, key }
    }

    /// The public key, as a JWK.
    #[must_use]
    pub const fn jwk(&self) -> &Value {
        &self.key.public
    }

    /// The thumbprint of its key: the hash of its members, sorted (RFC 7638 §3).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let members = self.key.public.as_object().into_iter().flatten();
        let sorted: BTreeMap<&String, &Value> = members.collect();
        let text = serde_json::to_string(&sorted).expect("members are JSON");
        URL_SAFE_NO_PAD.encode(Sha256::digest(text))
    }

    /// A proof for one request with a token (RFC 9449 §4.2).
    pub fn proof(&self, method: &str, url: &str, token: &str, now: Timestamp) -> MockProof {
        let header = json!({
            "typ": "dpop+jwt",
            "alg": self.algorithm.to_string(),
            "jwk": self.key.public,
        });
        let claims = json!({
            "jti": uuid::Uuid::now_v7().to_string(),
            "htm": method,
            "htu": url,
            "iat": now.as_second(),
            "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(token)),
        });
        let members = |object: Value| object.as_object().cloned().unwrap_or_default();
        MockProof {
            holder: self.clone(),
            header: members(header),
            claims: members(claims),
        }
    }
}

impl MockProof {
    /// Any claim instead of the usual one; `null` leaves it out.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        lay(&mut self.claims, name, value.into());
        self
    }

    /// Any parameter of the header instead of the usual one; `null` leaves it out.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        lay(&mut self.header, name, value.into());
        self
    }

    /// The proof, signed.
    #[must_use]
    pub fn sign(self) -> String {
        let encode = |object| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let signed = format!("{}.{}", encode(self.header), encode(self.claims));
        let MockHolder { algorithm, key } = &self.holder;
        let signer = (DEFAULT_PROVIDER.signer_factory)(&jose(*algorithm), &key.signing);
        let signature = signer
            .expect("a signer")
            .try_sign(signed.as_bytes())
            .expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn lay(members: &mut Map<String, Value>, name: &str, value: Value) {
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
}

impl std::fmt::Debug for MockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MockHolder({})", self.thumbprint())
    }
}
