//! Proofs of possession beside a token: `DPoP` (RFC 9449) and client certificates (RFC 8705).
//!
//! 1. A proof is one `DPoP` header together with the scheme `DPoP`. It is checked for every
//!    request, after the token is verified, even if the token is cached.
//! 2. It must be for this method and this URL. The URL is the configured origin plus the
//!    request's path, never what `Host` or a forwarding header says.
//! 3. It is valid once. Used proofs are remembered in this process for as long as they could be
//!    replayed. When the memory is full, further proofs are answered with 503 rather than
//!    accepted unchecked. Once half of the memory is full, each caller may use at most an eighth
//!    of it, so that a single caller cannot lock out the others.
//! 4. A certificate is that of the TLS connection, as the service states with
//!    [`PeerCertificate`]. It is never read from a header.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::request::Parts;
use reqwest::Url;
use sha2::{Digest, Sha256};
use spanner_core::token::{DpopProof, Presented, VerifiedToken};
use spanner_core::{Caller, Outage, Refusal, Timestamp, TokenFault};
use tokio::time::Instant;

use super::credential::Credentials;

/// The number of proofs remembered per lifetime of a proof: 1,700 requests per second, in 16 MB.
const REMEMBERED: usize = 1 << 18;
/// The share of one caller once half of the memory is full: 500 requests per second.
const PER_CALLER: u32 = 1 << 15;

/// The client certificate of the TLS connection that a request arrived on, for certificate-bound
/// tokens (RFC 8705). The service that terminates TLS puts it into the request's extensions,
/// before the guard.
///
/// # Security
/// Use only a certificate whose possession the handshake verified; its chain need not be
/// validated (RFC 8705 §3). Callers can forge a header that a proxy adds, unless only the proxy
/// can reach the service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PeerCertificate {
    hash: [u8; 32],
}

impl PeerCertificate {
    /// The certificate in DER, as TLS libraries give it.
    #[must_use]
    pub fn of_der(certificate: &[u8]) -> Self {
        Self {
            hash: Sha256::digest(certificate).into(),
        }
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerCertificate")
    }
}

/// The address of this service, and the proofs that were used.
pub(super) struct Proofs {
    origin: Url,
    used: Mutex<UsedProofs>,
}

/// The proofs used in this lifetime and in the previous one. Each proof is remembered for at
/// least one and at most two lifetimes.
struct UsedProofs {
    current: HashSet<[u8; 32]>,
    previous: HashSet<[u8; 32]>,
    /// The number of proofs per caller in the current lifetime.
    shares: HashMap<u64, u32>,
    hasher: RandomState,
    since: Instant,
}

impl Proofs {
    /// Proofs for a service at this address.
    pub(super) fn new(origin: &str) -> Option<Self> {
        let origin = Url::parse(origin).ok()?;
        let bare = origin.query().is_none()
            && origin.fragment().is_none()
            && origin.username().is_empty()
            && origin.password().is_none();
        let fits = matches!(origin.scheme(), "https" | "http") && origin.has_host();
        (bare && fits).then(|| Self {
            origin,
            used: Mutex::new(UsedProofs {
                current: HashSet::new(),
                previous: HashSet::new(),
                shares: HashMap::new(),
                hasher: RandomState::new(),
                since: Instant::now(),
            }),
        })
    }

    /// Whether a proof's URL is that of a request for this path. Both are parsed, so that the
    /// case of scheme and host, default ports and dot segments do not matter.
    fn is_target(&self, path: &str, url: &str) -> bool {
        let mut due = self.origin.clone();
        let base = self.origin.path().trim_end_matches('/');
        due.set_path(&format!("{base}{path}"));
        Url::parse(url).is_ok_and(|mut url| {
            let bare = url.username().is_empty() && url.password().is_none();
            url.set_query(None);
            url.set_fragment(None);
            bare && url == due
        })
    }

    /// Marks a proof as used. Fails if it was used before.
    fn use_up(&self, once: [u8; 32], caller: &str) -> Result<(), Refusal> {
        const SPAN: Duration = Duration::from_secs(DpopProof::LIFE_SECONDS);
        let now = Instant::now();
        // Each change is a single step, so the state is consistent after a panic.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.duration_since(used.since);
        if passed >= SPAN {
            used.previous = match passed < 2 * SPAN {
                true => mem::take(&mut used.current),
                false => HashSet::new(),
            };
            used.current.clear();
            used.shares.clear();
            used.since = now;
        }
        if used.current.contains(&once) || used.previous.contains(&once) {
            return Err(TokenFault::ProofReplayed.into());
        }
        let count = used.current.len();
        let whose = used.hasher.hash_one(caller);
        let share = used.shares.entry(whose).or_default();
        if count >= REMEMBERED || (count >= REMEMBERED / 2 && *share >= PER_CALLER) {
            return Err(Outage::Proofs.into());
        }
        *share += 1;
        used.current.insert(once);
        Ok(())
    }
}

/// The caller of a verified token and its proofs.
pub(super) fn caller(
    token: &VerifiedToken,
    credentials: &Credentials<'_>,
    parts: &Parts,
    proofs: Option<&Proofs>,
    now: Timestamp,
) -> Result<Caller, Refusal> {
    let certificate = parts.extensions.get::<PeerCertificate>();
    let mut presented = Presented::default();
    presented.dpop = credentials.dpop;
    presented.certificate = certificate.map(|certificate| certificate.hash);
    let (Some(proof), Some(proofs), true) = (credentials.proof, proofs, credentials.dpop) else {
        return Ok(token.caller_with(&presented, now)?);
    };
    let proof = proof.to_str().map_err(|_| TokenFault::ProofInvalid)?;
    let path = parts.uri.path();
    let is_target = |url: &str| proofs.is_target(path, url);
    let method = parts.method.as_str();
    let proof = DpopProof::verify(proof, method, is_target, credentials.token, now)?;
    presented.proof = Some(&proof);
    let caller = token.caller_with(&presented, now)?;
    proofs.use_up(proof.once(), &caller.to_string())?;
    Ok(caller)
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proofs({})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_leaves_half_of_the_memory_to_the_others() {
        let proofs = Proofs::new("https://m.example").unwrap();
        let mut count = 0_u64;
        let mut once = || {
            count += 1;
            let mut once = [0; 32];
            once[..8].copy_from_slice(&count.to_be_bytes());
            once
        };
        let used = (0..REMEMBERED).take_while(|_| proofs.use_up(once(), "user:corp/eve").is_ok());
        assert_eq!(used.count(), REMEMBERED / 2);
        for _ in 0..PER_CALLER {
            assert_eq!(proofs.use_up(once(), "user:corp/alice"), Ok(()));
        }
        let outage = Err(Outage::Proofs.into());
        assert_eq!(proofs.use_up(once(), "user:corp/alice"), outage);
        assert_eq!(proofs.use_up(once(), "user:corp/bob"), Ok(()));
    }

    #[test]
    fn the_target_is_the_configured_origin_and_the_path() {
        for (origin, path, url, due) in [
            ("https://m.example", "/v1/x", "https://m.example/v1/x", true),
            (
                "https://m.example/",
                "/v1/x",
                "https://m.example/v1/x",
                true,
            ),
            (
                "https://m.example",
                "/v1/x",
                "HTTPS://M.Example:443/v1/./x?q#f",
                true,
            ),
            (
                "https://m.example/api/",
                "/v1/x",
                "https://m.example/api/v1/x",
                true,
            ),
            (
                "https://m.example/api",
                "/v1/x",
                "https://m.example/v1/x",
                false,
            ),
            ("https://m.example", "/v1/x", "http://m.example/v1/x", false),
            (
                "https://m.example",
                "/v1/x",
                "https://m.example:8443/v1/x",
                false,
            ),
            (
                "https://m.example",
                "/v1/x",
                "https://m.example.evil/v1/x",
                false,
            ),
            (
                "https://m.example",
                "/v1/x",
                "https://m.example@evil/v1/x",
                false,
            ),
            (
                "https://m.example",
                "/v1/x",
                "https://u@m.example/v1/x",
                false,
            ),
            (
                "https://m.example",
                "/v1/x",
                "https://m.example/v1/X",
                false,
            ),
            (
                "https://m.example",
                "/v1/x",
                "https://m.example/v1/x/",
                false,
            ),
            ("https://m.example", "/v1/x", "/v1/x", false),
            ("https://m.example", "/v1/x", "", false),
        ] {
            let proofs = Proofs::new(origin).unwrap();
            assert_eq!(proofs.is_target(path, url), due, "{origin} {path} {url}");
        }
        for origin in [
            "m.example",
            "ftp://m.example",
            "https://m.example?q",
            "https://u@m.example",
            "",
        ] {
            assert!(Proofs::new(origin).is_none(), "{origin}");
        }
    }
}
