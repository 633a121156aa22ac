//! A key that signs tokens: a provider's, or a client's for proofs of possession.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// An ECDSA key on P-256, made at start.
pub struct Signer {
    id: &'static str,
    key: EncodingKey,
    public: Value,
}

/// Why a key cannot be generated, or a signature not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(String);

impl Signer {
    /// A new key with this identifier (`kid`).
    ///
    /// # Errors
    /// [`SignerError`] if no random bytes are available.
    pub fn new(id: &'static str) -> Result<Self, SignerError> {
        let error = |text: String| SignerError(format!("the key cannot be made: {text}"));
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
            .map_err(|it| error(it.to_string()))?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref())
            .map_err(|it| error(it.to_string()))?;
        // An uncompressed point: 0x04, then both coordinates (SEC 1 §2.3.3).
        let coordinates = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let public = json!({
            "kty": "EC", "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        Ok(Self {
            id,
            key: EncodingKey::from_ec_der(document.as_ref()),
            public,
        })
    }

    /// The JWK Set with its public half.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let mut key = self.public.clone();
        if let Some(members) = key.as_object_mut() {
            let more = json!({"alg": "ES256", "use": "sig", "kid": self.id});
            members.extend(more.as_object().cloned().unwrap_or_default());
        }
        json!({ "keys": [key] })
    }

    /// A signed JWT of this type.
    ///
    /// # Errors
    /// [`SignerError`] if it cannot be signed.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, SignerError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.id.to_owned());
        self.encode(&header, claims)
    }

    /// A `DPoP` proof (RFC 9449 §4.2), which carries its public key.
    ///
    /// # Errors
    /// [`SignerError`] if it cannot be signed.
    pub fn prove(&self, claims: &Value) -> Result<String, SignerError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("dpop+jwt".to_owned());
        let jwk = serde_json::from_value(self.public.clone());
        header.jwk = Some(jwk.map_err(|error| SignerError(error.to_string()))?);
        self.encode(&header, claims)
    }

    fn encode(&self, header: &Header, claims: &Value) -> Result<String, SignerError> {
        jsonwebtoken::encode(header, claims, &self.key)
            .map_err(|error| SignerError(format!("nothing is signed: {error}")))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}
