//! Bearer tokens (RFC 6750) of OpenID Connect issuers.
//!
//! 1. The credential is one `Authorization` header with the scheme `Bearer` and one word, at
//!    most 16 KiB. A malformed credential is refused with 400, an invalid token with 401. Tokens
//!    in a query, a body or a cookie are never read.
//! 2. Checks that need no keys come first, so that only a token that is valid except for its
//!    signature can cause a look-up of keys.
//! 3. Keys are looked up for the token's issuer only ([`keys`](crate::keys)). An issuer that is
//!    not configured causes no traffic.
//! 4. A verified token is cached for at most a minute, and only while the keys and the
//!    [revocations](revocation) that it was verified with are current.
//! 5. A token that is bound to a key or a certificate is checked against the [proof](Bearer) of
//!    each request.
//! 6. If keys are unavailable, the response is 503 and never 401: the caller made no mistake.
//! 7. All refused tokens get the same response, unless the signature verifies with keys that are
//!    already cached. Then the holder learns the reason (expired, another audience), and the
//!    record names the holder.
//! 8. While a conversation lasts, revocations are checked before every decision in it. At
//!    intervals the token is verified again, or its issuer is asked again.
//!
//! # Example
//! ```no_run
//! use spanner_tower::{Bearer, Issuer};
//!
//! let callers = Bearer::builder()
//!     .issuer(Issuer::oidc("https://id.example.com").alias("corp").audience("models"))
//!     .issuer(Issuer::oidc("https://ci.example.net/").alias("ci").audience("models"))
//!     .build()?;
//! # Ok::<(), spanner_tower::BearerError>(())
//! ```

mod cache;
pub mod config;
mod credential;
mod issuer;
mod proof;
mod providers;
mod reload;
pub mod revocation;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::request::Parts;
use spanner_core::token::{DpopProof, GenuineToken, TokenVerifier, UnverifiedToken, VerifiedToken};
use spanner_core::{Caller, IssuerAlias, Obstacle, Refusal, Timestamp, TokenFault, Vouch};

use crate::authenticate::{Authenticate, Authentication, AuthenticationError, BoxFuture, Peer};
use crate::keys::{KeyCache, KeyState, KeyStatus};
use crate::opaque::{OpaqueStatus, OpaqueTokens};

pub(crate) use cache::TokenKey;
use cache::{Era, TokenCache};
use credential::Headers;
use proof::Proofs;

pub use config::IssuerConfig;
pub use issuer::{Issuer, IssuerProblem};
pub use proof::PeerCertificate;
pub use reload::Reloaded;
pub use revocation::{Revocation, RevocationError, Revocations};

/// Authenticates callers by bearer tokens of the configured issuers. Cheap to clone; clones
/// share the keys.
#[derive(Clone)]
pub struct Bearer {
    shared: Arc<Shared>,
}

struct Shared {
    verifier: TokenVerifier,
    tokens: TokenCache,
    revocations: Revocations,
    /// `None` if proofs are not accepted.
    proofs: Option<Proofs>,
    /// The keys of each issuer, by its `iss`.
    keys: HashMap<String, IssuerKeys>,
    opaque: Vec<(IssuerAlias, OpaqueTokens)>,
}

struct IssuerKeys {
    alias: IssuerAlias,
    cache: KeyCache,
    /// The file that contains them, if they come from a file.
    file: Option<PathBuf>,
}

/// Collects issuers; see [`Bearer::builder`].
#[must_use = "a builder is nothing until it is built"]
pub struct BearerBuilder {
    issuers: Vec<Issuer>,
    cached_tokens: usize,
    revocations: Revocations,
    origin: Option<String>,
}

/// The state of an issuer, for a readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuerReadiness {
    /// The issuer's alias.
    pub issuer: IssuerAlias,
    /// Its `iss`. An issuer with several tenants has one entry per tenant.
    pub url: String,
    /// The state of its keys; `None` if it signs no tokens.
    pub keys: Option<KeyStatus>,
    /// The state of its introspection; `None` if it has no opaque tokens.
    pub opaque: Option<OpaqueStatus>,
}

impl IssuerReadiness {
    /// Whether callers of this issuer can be identified.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let usable = |keys: &KeyStatus| matches!(keys.state, KeyState::Fresh | KeyState::Stale);
        let answers = |opaque: &OpaqueStatus| !opaque.failing;
        self.keys.as_ref().is_none_or(usable) && self.opaque.as_ref().is_none_or(answers)
    }
}

impl Bearer {
    /// Starts to build one, without issuers.
    pub fn builder() -> BearerBuilder {
        BearerBuilder {
            issuers: Vec::new(),
            cached_tokens: cache::ENTRIES,
            revocations: Revocations::new(),
            origin: None,
        }
    }

    /// Fetches the keys of all issuers concurrently, so that a deployment with a wrong address
    /// fails at start. Optional: without it, the first caller of each issuer waits.
    ///
    /// # Errors
    /// [`WarmUpError`] with every issuer whose keys could not be fetched within this time.
    pub async fn warm_up(&self, within: Duration) -> Result<(), WarmUpError> {
        let each = self.shared.keys.values().map(async |keys| {
            let late = || format!("nothing came within {} s", within.as_secs_f32());
            let warmed = tokio::time::timeout(within, keys.cache.warm_up()).await;
            let failed = warmed.map_or_else(|_| Some(late()), |r| r.err().map(|e| e.to_string()));
            failed.map(|reason| (keys.alias.clone(), reason))
        });
        let mut failed: Vec<_> = join_all(each).await.into_iter().flatten().collect();
        failed.sort();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(WarmUpError { failed })
        }
    }

    /// The state of each issuer, sorted by alias. Fetches nothing.
    #[must_use]
    pub fn readiness(&self) -> Vec<IssuerReadiness> {
        let asked = |alias: &IssuerAlias| {
            let mut opaque = self.shared.opaque.iter();
            let found = opaque.find(|(issuer, _)| issuer == alias);
            found.map(|(_, opaque)| opaque.status())
        };
        let signing = self.shared.keys.iter().map(|(url, keys)| IssuerReadiness {
            issuer: keys.alias.clone(),
            url: url.clone(),
            keys: Some(keys.cache.status()),
            opaque: asked(&keys.alias),
        });
        let mut all: Vec<_> = signing.collect();
        for (alias, opaque) in &self.shared.opaque {
            if !all.iter().any(|it| it.issuer == *alias) {
                all.push(IssuerReadiness {
                    issuer: alias.clone(),
                    url: String::new(),
                    keys: None,
                    opaque: Some(opaque.status()),
                });
            }
        }
        all.sort_by(|one, other| (&one.issuer, &one.url).cmp(&(&other.issuer, &other.url)));
        all
    }

    /// Sets the gauges of each issuer ([`metered`](crate::metered)). Call it before each scrape,
    /// because the age of keys changes with time.
    #[cfg(feature = "metrics")]
    pub fn publish_readiness(&self) {
        for issuer in self.readiness() {
            let ready = f64::from(u8::from(issuer.is_ready()));
            let alias = issuer.issuer.to_string();
            metrics::gauge!("spanner_issuer_ready", "issuer" => alias.clone()).set(ready);
            let age = issuer.keys.and_then(|keys| keys.age);
            if let Some(age) = age {
                metrics::gauge!("spanner_issuer_keys_age_seconds", "issuer" => alias)
                    .set(age.as_secs_f64());
            }
        }
    }

    /// The list of revocations that applies.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.shared.revocations
    }

    /// The current number of cached tokens.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.shared.tokens.len()
    }

    async fn identify(
        &self,
        parts: &mut Parts,
        now: Timestamp,
    ) -> Result<Authentication, AuthenticationError> {
        let headers = credential::take(parts)?;
        let proofs = self.shared.proofs.as_ref();
        let credentials = headers.credentials(proofs.is_some())?;
        // Read before any look-up, so that a token that is revoked meanwhile is not cached as
        // valid.
        let epoch = self.shared.revocations.epoch();
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let token = match self.token(credentials.token, epoch, peer, now).await {
            Ok(token) => token,
            Err(Refusal::Credential(obstacle)) => {
                let genuine = self.genuine(credentials.token, obstacle);
                let (obstacle, entry) = match genuine {
                    Some(genuine) => (genuine.obstacle, genuine.entry),
                    None => (obstacle, TokenVerifier::refused(credentials.token)),
                };
                return Err(AuthenticationError::of(obstacle, entry));
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let caller = proof::caller(&token, &credentials, parts, proofs, now);
        let judged = caller.and_then(|caller| {
            self.shared.revocations.check(&caller)?;
            Ok(caller)
        });
        match judged {
            Ok(caller) => {
                let token = AcceptedToken {
                    bearer: self.clone(),
                    headers,
                    peer,
                };
                Ok(Authentication::vouched(caller, Arc::new(token)))
            }
            Err(refusal) => {
                let refusal = match refusal {
                    Refusal::Credential(Obstacle::Token(fault)) => token.obstacle(fault).into(),
                    refusal => refusal,
                };
                Err(AuthenticationError::of(refusal, token.refused()))
            }
        }
    }

    /// What the holder of a refused token may learn, if the token is genuine by cached keys.
    /// Unknown tokens cause no traffic here.
    fn genuine(&self, token: &str, obstacle: Obstacle) -> Option<GenuineToken> {
        let Obstacle::Token(fault) = obstacle else {
            return None;
        };
        // With these faults, there is no signature to verify, or it was verified already.
        let unsigned = matches!(
            fault,
            TokenFault::Malformed
                | TokenFault::Encrypted
                | TokenFault::TooLong
                | TokenFault::HeaderTooLarge
                | TokenFault::Issuer
                | TokenFault::UnknownKey
                | TokenFault::KeyMismatch
                | TokenFault::BadSignature
                | TokenFault::Inactive
        );
        if unsigned {
            return None;
        }
        if self.opaque(token).is_some() {
            return Some(GenuineToken::attested(token, fault));
        }
        let verifier = &self.shared.verifier;
        let issuer = verifier.claimed_issuer(token)?;
        let keys = self.keys_of(issuer).ok()?.at_hand()?;
        verifier.genuine(token, keys.set(), fault)
    }

    /// The token from the cache, newly verified, or attested by its issuer.
    async fn token(
        &self,
        token: &str,
        epoch: u64,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        if let Some(opaque) = self.opaque(token) {
            let verifier = &self.shared.verifier;
            return opaque.attest(verifier, token, peer, now).await;
        }
        let key = TokenKey::of(token);
        let kept = self.kept(&key, epoch).await?;
        #[cfg(feature = "metrics")]
        metrics::counter!(
            "spanner_token_cache_total",
            "result" => if kept.is_some() { "hit" } else { "miss" }
        )
        .increment(1);
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let token = self.shared.verifier.inspect(token, now)?;
        let (verified, keys) = self.verify(&token, now).await?;
        let (verified, era) = (Arc::new(verified), Era { keys, epoch });
        self.shared.tokens.put(key, Arc::clone(&verified), era);
        Ok(verified)
    }

    /// The issuer to ask about a token: the one whose prefix the token has, or, for a token that
    /// is not signed, the one without a prefix.
    fn opaque(&self, token: &str) -> Option<&OpaqueTokens> {
        let mut opaque = self.shared.opaque.iter().map(|(_, opaque)| opaque);
        let signed = token.split('.').count() > 2;
        opaque
            .clone()
            .find(|it| it.has_prefix_of(token))
            .or_else(|| opaque.find(|it| !signed && it.prefixes().is_empty()))
    }

    /// The token from the cache, if its entry is still valid.
    async fn kept(
        &self,
        key: &TokenKey,
        epoch: u64,
    ) -> Result<Option<Arc<VerifiedToken>>, Refusal> {
        let Some(kept) = self.shared.tokens.get(key) else {
            return Ok(None);
        };
        let keys = self.keys_of(kept.token.issuer_url())?.keys().await?;
        let era = Era {
            keys: keys.generation(),
            epoch,
        };
        if kept.is_good_in(era) {
            return Ok(Some(kept.token));
        }
        self.shared.tokens.forget(key);
        Ok(None)
    }

    /// Verifies a token, and returns the generation of the keys used.
    async fn verify(
        &self,
        token: &UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<(VerifiedToken, u64), Refusal> {
        let verifier = &self.shared.verifier;
        let cache = self.keys_of(token.issuer_url())?;
        let keys = cache.keys().await?;
        match verifier.verify_to_keep(token, keys.set(), now) {
            Err(TokenFault::UnknownKey) => {}
            verified => return Ok((verified?, keys.generation())),
        }
        let Some(newer) = cache.newer_than(&keys, token.key_id()).await? else {
            return Err(TokenFault::UnknownKey.into());
        };
        let verified = verifier.verify_to_keep(token, newer.set(), now)?;
        Ok((verified, newer.generation()))
    }

    fn keys_of(&self, issuer: &str) -> Result<&KeyCache, TokenFault> {
        let keys = self.shared.keys.get(issuer);
        Ok(&keys.ok_or(TokenFault::Issuer)?.cache)
    }
}

/// An accepted token, held while a conversation that it opened lasts.
struct AcceptedToken {
    bearer: Bearer,
    headers: Headers,
    peer: Option<IpAddr>,
}

impl AcceptedToken {
    /// Verifies the token again, except for its times, which the gate checks, and its proof,
    /// which is valid once.
    async fn verified_again(&self, now: Timestamp) -> Result<(), Refusal> {
        let shared = &self.bearer.shared;
        let credentials = self.headers.credentials(shared.proofs.is_some())?;
        let epoch = shared.revocations.epoch();
        let token = credentials.token;
        match self.bearer.token(token, epoch, self.peer, now).await {
            Err(Refusal::Credential(Obstacle::Token(
                TokenFault::Expired | TokenFault::Lifetime,
            ))) => Ok(()),
            verified => verified.map(|_| ()),
        }
    }
}

impl Vouch for AcceptedToken {
    fn check(&self, caller: &Caller, _: Timestamp) -> Result<(), Refusal> {
        let revoked = self.bearer.shared.revocations.check(caller);
        revoked.map_err(|fault| Obstacle::Genuine { fault, time: None }.into())
    }

    fn check_again<'a>(
        &'a self,
        caller: &'a Caller,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            self.check(caller, now)?;
            self.verified_again(now).await
        })
    }
}

impl Authenticate for Bearer {
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>> {
        Box::pin(self.identify(parts, now))
    }

    fn proof_algorithms(&self) -> Option<&str> {
        let proofs = self.shared.proofs.as_ref();
        proofs.map(|_| DpopProof::ALGORITHMS)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.shared.keys.keys()).finish()
    }
}

impl BearerBuilder {
    /// Accepts tokens of an issuer.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Accepts tokens of all these issuers, such as those of a file ([`Issuer::from_toml`]).
    pub fn issuers(mut self, issuers: impl IntoIterator<Item = Issuer>) -> Self {
        self.issuers.extend(issuers);
        self
    }

    /// Refuses tokens that this list revokes. Default: a new list, which [`Bearer::revocations`]
    /// returns.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// Accepts `DPoP` proofs (RFC 9449) for requests to this address. It is the address at which
    /// callers reach the guarded service: `https://models.example.com`, with a path if a proxy
    /// in front strips one. Default: none, and tokens bound to a key are refused.
    ///
    /// Server nonces (RFC 9449 §8) are not used, so clocks must agree within half a minute. Used
    /// proofs are remembered in this process only. With several processes, a stolen proof can be
    /// used once in each, within two minutes, for the same method and path.
    pub fn dpop(mut self, address: impl Into<String>) -> Self {
        self.origin = Some(address.into());
        self
    }

    /// The number of verified tokens that are cached for up to a minute, so that their
    /// signatures are not verified with every request; 0 disables the cache. Default: 4,096, in
    /// about 4 MB.
    pub fn cached_tokens(mut self, entries: usize) -> Self {
        self.cached_tokens = entries.min(cache::MAX_ENTRIES);
        self
    }

    /// Validates the configuration. Causes no traffic.
    ///
    /// # Errors
    /// [`BearerError`] with every problem of every issuer.
    pub fn build(self) -> Result<Bearer, BearerError> {
        let mut problems = Vec::new();
        let (mut rules, mut keys, mut opaque) = (Vec::new(), HashMap::new(), Vec::new());
        for issuer in self.issuers {
            match issuer.build() {
                Ok(built) => {
                    let alias = built.tenants.first().map(|(rule, _)| rule.alias().clone());
                    opaque.extend(alias.zip(built.opaque));
                    for (rule, cache) in built.tenants {
                        if let Some(cache) = cache {
                            let (alias, file) = (rule.alias().clone(), built.keys_file.clone());
                            let own = IssuerKeys { alias, cache, file };
                            keys.insert(rule.issuer().to_owned(), own);
                        }
                        rules.push(rule);
                    }
                }
                Err(found) => problems.extend(found),
            }
        }
        problems.extend(shared_prefixes(&opaque));
        let proofs = self.origin.as_deref().map(|origin| {
            Proofs::new(origin).ok_or_else(|| IssuerProblem::Origin {
                address: origin.to_owned(),
            })
        });
        let proofs = proofs.transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        // Conflicts between issuers are found by the verifier, which needs valid issuers.
        if problems.is_empty() {
            match TokenVerifier::new(rules) {
                Ok(verifier) => {
                    let signing = keys.values().map(|keys: &IssuerKeys| &keys.alias);
                    let asked = opaque.iter().map(|(alias, _)| alias);
                    self.revocations.serve(signing.chain(asked));
                    return Ok(Bearer {
                        shared: Arc::new(Shared {
                            verifier,
                            tokens: TokenCache::new(self.cached_tokens),
                            revocations: self.revocations,
                            proofs,
                            keys,
                            opaque,
                        }),
                    });
                }
                Err(error) => problems.push(IssuerProblem::Together(error)),
            }
        }
        Err(BearerError { problems })
    }
}

/// The issuers whose opaque tokens could be taken for those of another issuer.
fn shared_prefixes(opaque: &[(IssuerAlias, OpaqueTokens)]) -> Vec<IssuerProblem> {
    const ALL: &[String] = &[String::new()];
    let claimed = opaque.iter().flat_map(|(alias, opaque)| {
        let prefixes = match opaque.prefixes() {
            [] => ALL,
            prefixes => prefixes,
        };
        prefixes.iter().map(move |prefix| (alias, prefix, opaque))
    });
    let claimed: Vec<_> = claimed.collect();
    let clashes = |alias: &IssuerAlias, prefix: &str| {
        claimed.iter().any(|(other, theirs, _)| {
            let shares = match (prefix.is_empty(), theirs.is_empty()) {
                (true, true) => true,
                (false, false) => prefix.starts_with(&***theirs) || theirs.starts_with(prefix),
                // A token with a prefix is never taken for one without.
                (true, false) | (false, true) => false,
            };
            *other != alias && shares
        })
    };
    let problem = |alias: &IssuerAlias, prefix: &str| IssuerProblem::Prefix {
        issuer: alias.to_string(),
        prefix: prefix.to_owned(),
    };
    claimed
        .iter()
        .filter(|(alias, prefix, opaque)| {
            let blank = prefix.is_empty() && !opaque.prefixes().is_empty();
            blank || clashes(alias, prefix)
        })
        .map(|(alias, prefix, _)| problem(alias, prefix))
        .collect()
}

impl fmt::Debug for BearerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.issuers).finish()
    }
}

/// Why the configuration of bearer tokens is invalid, with every problem.
///
/// `Debug` prints the same text as `Display`, because `main` prints errors with `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerError {
    problems: Vec<IssuerProblem>,
}

impl BearerError {
    /// The problems, grouped by issuer.
    #[must_use]
    pub fn problems(&self) -> &[IssuerProblem] {
        &self.problems
    }
}

impl fmt::Display for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bearer tokens cannot be accepted as configured")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl fmt::Debug for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BearerError {}

/// The issuers whose keys could not be fetched at start, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpError {
    failed: Vec<(IssuerAlias, String)>,
}

impl WarmUpError {
    /// The issuers, by alias, each with the reason.
    pub fn failed(&self) -> impl Iterator<Item = (&IssuerAlias, &str)> {
        self.failed.iter().map(|(alias, reason)| (alias, &**reason))
    }
}

impl fmt::Display for WarmUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys cannot be had")?;
        self.failed
            .iter()
            .try_for_each(|(alias, reason)| write!(f, "; issuer `{alias}`: {reason}"))
    }
}

impl std::error::Error for WarmUpError {}
