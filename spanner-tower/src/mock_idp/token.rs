//! A token in the making.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use spanner_core::Timestamp;
use spanner_core::token::Algorithm;

use super::{MockHolder, MockIdp};

/// A token of a [`MockIdp`], before it is signed.
#[derive(Debug, Clone)]
#[must_use = "a token is nothing until it is signed"]
pub struct MockToken {
    idp: MockIdp,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    absent: Vec<String>,
    issued: Timestamp,
    lifetime: Duration,
}

impl MockToken {
    pub(super) fn new(idp: MockIdp) -> Self {
        let issued = idp.now();
        let (header, claims) = (Map::new(), Map::new());
        Self {
            idp,
            header,
            claims,
            absent: Vec::new(),
            issued,
            lifetime: Duration::from_secs(600),
        }
    }

    /// Whose it is (`sub`).
    #[expect(clippy::should_implement_trait, reason = "the claim's name")]
    pub fn sub(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// Their groups (`groups`).
    pub fn groups<'g>(self, groups: impl IntoIterator<Item = &'g str>) -> Self {
        let groups: Vec<&str> = groups.into_iter().collect();
        self.claim("groups", groups)
    }

    /// For whom it is (`aud`).
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Who acts for them (`act`, RFC 8693 §4.1); a second one acts for the first.
    pub fn act(mut self, actor: &str) -> Self {
        let mut act = json!({ "sub": actor });
        if let (Some(inner), Some(members)) = (self.claims.remove("act"), act.as_object_mut()) {
            members.insert("act".to_owned(), inner);
        }
        self.claim("act", act)
    }

    /// How long it is good from when it was issued. Default: ten minutes.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How long ago it was issued. Default: now.
    pub fn issued_ago(mut self, age: Duration) -> Self {
        self.issued = self.issued.checked_sub(age).unwrap_or(self.issued);
        self
    }

    /// Any claim, in the end: it wins over what would be said otherwise.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Any parameter of the header, likewise.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Binds it to a client's key (RFC 9449 §6.1).
    pub fn bound_to(self, holder: &MockHolder) -> Self {
        self.claim("cnf", json!({ "jkt": holder.thumbprint() }))
    }

    /// Binds it to a client's certificate, in DER (RFC 8705 §3.1).
    pub fn bound_to_certificate(self, certificate: &[u8]) -> Self {
        let print = URL_SAFE_NO_PAD.encode(Sha256::digest(certificate));
        self.claim("cnf", json!({ "x5t#S256": print }))
    }

    /// Leaves out a claim or a parameter of the header that would be there otherwise.
    pub fn without(mut self, name: &str) -> Self {
        self.absent.push(name.to_owned());
        self
    }

    /// The token, signed with the newest key.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that cannot go on should fail")]
    pub fn sign(self) -> String {
        let key = self.idp.state().keys.last().cloned().expect("a key");
        let algorithm = self.idp.shared.algorithm;
        let issued = self.issued.as_second();
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut header = Map::new();
        header.insert("alg".to_owned(), algorithm.to_string().into());
        header.insert("typ".to_owned(), "at+jwt".into());
        header.insert("kid".to_owned(), key.id.into());
        header.extend(self.header);
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), self.idp.issuer().into());
        claims.insert("iat".to_owned(), issued.into());
        claims.insert("exp".to_owned(), issued.saturating_add(lifetime).into());
        claims.extend(self.claims);
        for name in &self.absent {
            header.remove(name);
            claims.remove(name);
        }
        let encode = |object| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signer = (DEFAULT_PROVIDER.signer_factory)(&jose(algorithm), &key.signing);
        let signature = signer
            .expect("a signer")
            .try_sign(signed.as_bytes())
            .expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(super) const fn jose(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as Jose;
    match algorithm {
        Algorithm::Rs384 => Jose::RS384,
        Algorithm::Rs512 => Jose::RS512,
        Algorithm::Ps256 => Jose::PS256,
        Algorithm::Ps384 => Jose::PS384,
        Algorithm::Ps512 => Jose::PS512,
        Algorithm::Es256 => Jose::ES256,
        Algorithm::Es384 => Jose::ES384,
        Algorithm::EdDsa => Jose::EdDSA,
        _ => Jose::RS256,
    }
}
