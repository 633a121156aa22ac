//! An identity provider for tests, in the process. Feature `test-util`.
//!
//! It signs tokens with real keys and serves them to a guard without any network, or over
//! loopback HTTP with [`MockIdp::serve`]. Keys can be rotated and withdrawn; the provider
//! can be slow or down; fetches are counted.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use spanner_tower::mock_idp::MockIdp;
//! use spanner_tower::{Authenticate, Bearer};
//!
//! let idp = MockIdp::new();
//! let callers = Bearer::builder().issuer(idp.issuer_config().audience("models")).build().unwrap();
//! let token = idp.token().sub("alice").groups(["nlp"]).audience("models").sign();
//!
//! let request = http::Request::builder().header("authorization", format!("Bearer {token}"));
//! let (mut parts, ()) = request.body(()).unwrap().into_parts();
//! let accepted = callers.authenticate(&mut parts, idp.now()).await.unwrap();
//! assert_eq!(accepted.caller.to_string(), "user:mock/alice");
//! assert_eq!(idp.fetch_count(), 1);
//! # }
//! ```
//!
//! # Panics
//! Everything here panics where it cannot go on: a test should fail.
#![expect(clippy::expect_used, reason = "a test that cannot go on should fail")]

mod holder;
mod server;
mod token;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use spanner_core::Timestamp;
use spanner_core::token::Algorithm;

use crate::Issuer;
use crate::authenticate::BoxFuture;
use crate::keys::{FetchError, Fetched, KeySource};

pub use holder::{MockHolder, MockProof};
pub use server::Serving;
pub use token::MockToken;

/// An identity provider for tests. Clones are the same provider.
#[derive(Clone)]
pub struct MockIdp {
    shared: Arc<Shared>,
}

struct Shared {
    issuer: String,
    algorithm: Algorithm,
    state: Mutex<State>,
    fetches: AtomicU64,
}

struct State {
    keys: Vec<MockKey>,
    made: usize,
    now: Option<Timestamp>,
    outage: bool,
    delay: Duration,
    document: Option<String>,
    fresh_for: Option<Duration>,
    retry_after: Option<Duration>,
    validator: Option<String>,
}

#[derive(Clone)]
struct MockKey {
    id: String,
    signing: EncodingKey,
    public: Value,
}

impl Default for MockIdp {
    fn default() -> Self {
        Self::new()
    }
}

impl MockIdp {
    /// A provider `https://mock.test` with one P-256 key.
    #[must_use]
    pub fn new() -> Self {
        Self::of("https://mock.test", Algorithm::Es256)
    }

    /// A provider with an issuer and an algorithm of your choice. RSA keys take a moment to
    /// make.
    #[must_use]
    pub fn of(issuer: &str, algorithm: Algorithm) -> Self {
        let state = State {
            keys: vec![MockKey::make(algorithm, "k1")],
            made: 1,
            now: None,
            outage: false,
            delay: Duration::ZERO,
            document: None,
            fresh_for: None,
            retry_after: None,
            validator: None,
        };
        Self {
            shared: Arc::new(Shared {
                issuer: issuer.to_owned(),
                algorithm,
                state: Mutex::new(state),
                fetches: AtomicU64::new(0),
            }),
        }
    }

    /// Its `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// It as an issuer, with the alias `mock`, whose keys come from here without network.
    /// Give it an audience.
    pub fn issuer_config(&self) -> Issuer {
        Issuer::oidc(self.issuer()).alias("mock").keys(self.clone())
    }

    /// A token to be signed: of nobody yet, for no audience, good for ten minutes.
    pub fn token(&self) -> MockToken {
        MockToken::new(self.clone())
    }

    /// Its clock: the system's, unless [`MockIdp::set_now`] said otherwise.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state().now.unwrap_or_else(Timestamp::now)
    }

    /// Sets its clock, from which tokens are dated.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = Some(now);
    }

    /// Makes a new key, publishes it, and signs with it from now on. The old one stays
    /// published.
    pub fn rotate(&self) {
        let mut state = self.state();
        state.made += 1;
        let key = MockKey::make(self.shared.algorithm, &format!("k{}", state.made));
        state.keys.push(key);
    }

    /// Withdraws all keys but the one that signs.
    pub fn retire(&self) {
        let mut state = self.state();
        let last = state.keys.len().saturating_sub(1);
        state.keys.drain(..last);
    }

    /// Fails every fetch from now on, or none any more.
    pub fn outage(&self, outage: bool) {
        self.state().outage = outage;
    }

    /// Makes every fetch take this long.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Publishes this text instead of its key set; `None` publishes the key set again.
    pub fn publish(&self, document: Option<&str>) {
        self.state().document = document.map(str::to_owned);
    }

    /// What `max-age` says of the key set. Default: nothing.
    pub fn fresh_for(&self, time: Option<Duration>) {
        self.state().fresh_for = time;
    }

    /// What `Retry-After` says during an outage. Default: nothing.
    pub fn retry_after(&self, time: Option<Duration>) {
        self.state().retry_after = time;
    }

    /// The entity tag of the key set. With one, a fetch that names it is told that nothing
    /// was modified. Default: none.
    pub fn validator(&self, tag: Option<&str>) {
        self.state().validator = tag.map(str::to_owned);
    }

    /// How often keys were asked for so far.
    #[must_use]
    pub fn fetch_count(&self) -> u64 {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// The key set as it is published.
    #[must_use]
    pub fn jwks(&self) -> String {
        let state = self.state();
        let keys: Vec<&Value> = state.keys.iter().map(|key| &key.public).collect();
        state
            .document
            .clone()
            .unwrap_or_else(|| json!({ "keys": keys }).to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, validator: Option<&str>) -> Result<Fetched, FetchError> {
        let text = self.jwks().into();
        let state = self.state();
        if state.outage {
            let mut error = FetchError::new("the mock provider is down");
            error.retry_after = state.retry_after;
            return Err(error);
        }
        let fresh_for = state.fresh_for;
        if validator.is_some() && validator == state.validator.as_deref() {
            return Ok(Fetched::NotModified { fresh_for });
        }
        let validator = state.validator.clone();
        Ok(Fetched::Document {
            text,
            validator,
            fresh_for,
        })
    }
}

impl KeySource for MockIdp {
    fn fetch<'a>(
        &'a self,
        validator: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        self.shared.fetches.fetch_add(1, Ordering::SeqCst);
        let delay = self.state().delay;
        Box::pin(async move {
            if delay > Duration::ZERO {
                tokio::time::sleep(delay).await;
            }
            self.answer(validator)
        })
    }
}

impl fmt::Debug for MockIdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MockIdp({})", self.issuer())
    }
}

impl MockKey {
    fn make(algorithm: Algorithm, id: &str) -> Self {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (der, mut public) = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => ec(algorithm),
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().expect("a key");
                let pkcs8 = pair.to_pkcs8v1().expect("an encoding");
                let x = encode(pair.public_key().as_ref());
                let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (EncodingKey::from_ed_der(pkcs8.as_ref()), public)
            }
            _ => {
                let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
                let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
                    pair.as_der().expect("an encoding");
                let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                let public = json!({"kty": "RSA", "n": encode(&parts.n), "e": encode(&parts.e)});
                let body = STANDARD.encode(pkcs8.as_ref());
                let pem =
                    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
                (
                    EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key"),
                    public,
                )
            }
        };
        if let Some(members) = public.as_object_mut() {
            members.insert("kid".to_owned(), id.into());
            members.insert("use".to_owned(), "sig".into());
        }
        Self {
            id: id.to_owned(),
            signing: der,
            public,
        }
    }
}

fn ec(algorithm: Algorithm) -> (EncodingKey, Value) {
    let (curve, signing) = match algorithm {
        Algorithm::Es384 => ("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => ("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
    };
    let pair = EcdsaKeyPair::generate(signing).expect("a key");
    let pkcs8 = pair.to_pkcs8v1().expect("an encoding");
    // An uncompressed point (SEC 1 §2.3.3): 4, x, y.
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let public = json!({"kty": "EC", "crv": curve, "x": x, "y": y});
    (EncodingKey::from_ec_der(pkcs8.as_ref()), public)
}
