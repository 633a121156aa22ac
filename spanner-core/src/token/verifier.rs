//! Verifies tokens: inspection without keys, then the signature.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::Timestamp;
use crate::caller::{Caller, Credential, Freshness};
use crate::name::IssuerAlias;
use crate::record::CredentialEntry;
use crate::refusal::{Obstacle, TokenFault};
use crate::token::audience;
use crate::token::claims::{self, shown};
use crate::token::compact::Compact;
use crate::token::header::Header;
use crate::token::identity;
use crate::token::json::Members;
use crate::token::key_set::KeySet;
use crate::token::kind::Kind;
use crate::token::mapping::Capture;
use crate::token::problem::{RulesError, RulesProblem};
use crate::token::proof::{Binding, Presented};
use crate::token::rules::IssuerRules;
use crate::token::times::Times;

/// What an ID token carries and an access token does not (OpenID Connect Core §2, §3.1.3.6,
/// §3.3.2.11).
const ID_TOKEN_CLAIMS: &[&str] = &["nonce", "at_hash", "c_hash"];

/// How many bytes of a token's SHA-256 a record has: enough to avoid accidental collisions, and
/// useless for guessing the token.
const HASH_BYTES: usize = 16;

/// Verifies the access tokens of some issuers. See the [module](crate::token).
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: HashMap<String, Arc<IssuerRules>>,
    /// The ways to find the issuer of tokens without `iss`, each once.
    captures: Vec<Capture>,
    /// The claims that some issuer's rules read.
    read: BTreeSet<String>,
}

/// A token that passed inspection: it claims a known issuer, our audience and valid times.
/// **Nothing in it is trusted**: anybody can write such a token. Its signature is worth
/// verifying.
#[must_use = "a token that was only inspected proves nothing"]
pub struct UnverifiedToken<'t> {
    rules: Arc<IssuerRules>,
    token: &'t str,
    signed: &'t str,
    signature: Vec<u8>,
    header: Header,
    claims: Members,
    times: Times,
}

/// A token that was verified, or attested by its issuer, and can be accepted again without
/// repeating that. Only its times are checked again. A cache must drop it when the issuer's keys
/// change or something is revoked.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    rules: Arc<IssuerRules>,
    times: Times,
    binding: Option<Binding>,
    caller: Caller,
}

/// A refused token whose signature verifies.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenuineToken {
    /// The reason, which its holder may learn.
    pub obstacle: Obstacle,
    /// The credential for the record; only the hash if the claims do not name a caller.
    pub entry: CredentialEntry,
}

impl GenuineToken {
    /// A token that its issuer knows, refused for what the issuer said about it.
    #[must_use]
    pub fn attested(token: &str, fault: TokenFault) -> Self {
        Self {
            obstacle: Obstacle::Genuine { fault, time: None },
            entry: TokenVerifier::refused(token),
        }
    }
}

impl TokenVerifier {
    /// A verifier for these issuers.
    ///
    /// # Errors
    /// [`RulesError`] with all problems: no issuer, or two with the same `iss` or alias.
    pub fn new(rules: Vec<IssuerRules>) -> Result<Self, RulesError> {
        let mut problems = Vec::new();
        let (mut issuers, mut aliases) = (HashSet::new(), HashMap::new());
        if rules.is_empty() {
            problems.push(RulesProblem::NoIssuer);
        }
        for IssuerRules {
            issuer,
            alias,
            bound,
            ..
        } in &rules
        {
            if !issuers.insert(issuer) {
                let issuer = issuer.clone();
                problems.push(RulesProblem::DuplicateIssuer { issuer });
            }
            // The tenants of one provider share its alias.
            let template = bound.as_ref().map(|bound| &bound.template);
            let earlier = aliases.insert(alias, template);
            if earlier.is_some_and(|earlier| earlier.is_none() || earlier != template) {
                let alias = alias.clone();
                problems.push(RulesProblem::DuplicateAlias { alias });
            }
        }
        RulesError::unless_empty(problems)?;
        let read = rules
            .iter()
            .flat_map(IssuerRules::claims)
            .chain(claims::READ.iter().copied().map(str::to_owned))
            .collect();
        let mut captures: Vec<Capture> = Vec::new();
        for capture in rules
            .iter()
            .filter_map(|it| it.mapping.issuer_regex.as_ref())
        {
            if !captures.contains(capture) {
                captures.push(capture.clone());
            }
        }
        let issuers = rules
            .into_iter()
            .map(|rules| (rules.issuer.clone(), Arc::new(rules)))
            .collect();
        Ok(Self {
            issuers,
            captures,
            read,
        })
    }

    /// Checks everything that needs no keys: form, header, issuer, algorithm, type, audience, time. A
    /// token that fails here must not cause network traffic.
    ///
    /// # Errors
    /// The first [`TokenFault`], in the order of the list in the [module](crate::token).
    pub fn inspect<'t>(
        &self,
        token: &'t str,
        now: Timestamp,
    ) -> Result<UnverifiedToken<'t>, TokenFault> {
        let compact = Compact::parse(token)?;
        let header = Header::parse(&compact.header)?;
        let claims = Members::read(&compact.claims, |name| self.read.contains(name))?;
        let rules = self.rules_for(&claims)?;
        if !rules.algorithms.contains(&header.algorithm) {
            return Err(TokenFault::AlgorithmNotAllowed);
        }
        check_header(&header, rules)?;
        rules.check_tenant(&claims)?;
        rules.mapping.check(&claims)?;
        check_type(&header, &claims, rules)?;
        audience::check(&claims, rules)?;
        check_party(&claims, rules)?;
        let times = Times::read(&claims)?;
        if times.expires.is_none() {
            return Err(TokenFault::MissingClaim);
        }
        times.check(rules, now)?;
        Ok(UnverifiedToken {
            rules: Arc::clone(rules),
            token,
            signed: compact.signed,
            signature: compact.signature,
            header,
            claims,
            times,
        })
    }

    /// Verifies the signature, and then everything else that the claims say. `keys` must
    /// be those of the token's own issuer ([`UnverifiedToken::issuer`]).
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`] when no key has the token's `kid`: the issuer may have
    /// begun to sign with a new one, so the caller may fetch the keys and ask again. Any
    /// other [`TokenFault`] is final.
    pub fn verify(
        &self,
        token: &UnverifiedToken<'_>,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Caller, TokenFault> {
        self.verify_to_keep(token, keys, now)?.caller(now)
    }

    /// As [`TokenVerifier::verify`], for a cache of verified tokens.
    ///
    /// # Errors
    /// As [`TokenVerifier::verify`].
    pub fn verify_to_keep(
        &self,
        token: &UnverifiedToken<'_>,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenFault> {
        let rules = &token.rules;
        let ours = self.issuers.get(&rules.issuer);
        if !ours.is_some_and(|ours| Arc::ptr_eq(ours, rules)) {
            return Err(TokenFault::Issuer);
        }
        let algorithm = token.header.algorithm;
        let key = keys.choose(token.key_id(), algorithm, rules.purpose())?;
        key.verify(algorithm, token.signed, &token.signature)?;
        let freshness = token.times.check(rules, now)?;
        let credential = token.credential(key.id.clone(), freshness)?;
        Ok(VerifiedToken {
            rules: Arc::clone(rules),
            times: token.times,
            binding: rules.binding(&token.claims)?,
            caller: identity::caller(rules, &token.claims, credential, token.times.signed_in)?,
        })
    }

    /// The issuer whose keys can verify a refused token: the `iss` of the rules that apply to it.
    #[must_use]
    pub fn claimed_issuer(&self, token: &str) -> Option<&str> {
        let claims = Compact::parse(token).ok()?.claims;
        let claims = Members::read(&claims, |name| self.read.contains(name)).ok()?;
        let rules = self.rules_for(&claims).ok()?;
        Some(&rules.issuer)
    }

    /// What the holder of a token that is refused for this fault may learn, and what the record
    /// stores about it. `None` unless its signature verifies with these keys, which must be those
    /// of its [issuer](Self::claimed_issuer), so that a forger learns nothing.
    #[must_use]
    pub fn genuine(&self, token: &str, keys: &KeySet, fault: TokenFault) -> Option<GenuineToken> {
        let compact = Compact::parse(token).ok()?;
        let header = Header::parse(&compact.header).ok()?;
        let claims = Members::read(&compact.claims, |name| self.read.contains(name)).ok()?;
        let rules = self.rules_for(&claims).ok()?;
        rules.check_tenant(&claims).ok()?;
        let algorithm = header.algorithm;
        if !rules.algorithms.contains(&algorithm) {
            return None;
        }
        let key_id = header.key_id.as_deref();
        let key = keys.choose(key_id, algorithm, rules.purpose()).ok()?;
        key.verify(algorithm, compact.signed, &compact.signature)
            .ok()?;
        let times = Times::read(&claims).ok();
        let read = times.and_then(|times| {
            let key = key.id.clone();
            credential(rules, token, &claims, &times, key, Freshness::Fresh).ok()
        });
        let signed_in = times.and_then(|times| times.signed_in);
        let caller = read.and_then(|read| identity::caller(rules, &claims, read, signed_in).ok());
        Some(GenuineToken {
            obstacle: Obstacle::Genuine {
                fault,
                time: times.and_then(|times| times.of(fault)),
            },
            entry: caller.map_or_else(|| Self::refused(token), |it| CredentialEntry::of(&it)),
        })
    }

    /// The record's entry for a text that is not a verified token.
    #[must_use]
    pub fn refused(token: &str) -> CredentialEntry {
        CredentialEntry::hashed(hash(token))
    }

    /// Makes a caller of claims that the issuer itself has just stated about a token: an answer of
    /// token introspection (RFC 7662) or of a `whoami` endpoint. The checks are the same as for a
    /// signed token, except that there is no header or signature, and that `iss` and `exp` may be
    /// absent.
    ///
    /// # Security
    /// The claims must come from the issuer's own server, over an authenticated connection,
    /// in answer to this very token.
    ///
    /// # Errors
    /// The first [`TokenFault`].
    pub fn attested(
        &self,
        issuer: &IssuerAlias,
        claims: &[u8],
        token: &str,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenFault> {
        let claims = Members::read(claims, |name| self.read.contains(name))?;
        let stated = claims.text("iss")?;
        let own = self.issuers.values().filter(|it| it.alias == *issuer);
        let mut named = own.filter(|it| stated.is_none_or(|stated| stated == it.issuer));
        let rules = named.find(|it| it.check_tenant(&claims).is_ok());
        let rules = rules.ok_or(TokenFault::Issuer)?;
        rules.mapping.check(&claims)?;
        check_attested_type(&claims, rules)?;
        audience::check(&claims, rules)?;
        check_party(&claims, rules)?;
        let times = Times::read(&claims)?;
        let freshness = times.check(rules, now)?;
        let credential = credential(rules, token, &claims, &times, None, freshness)?;
        Ok(VerifiedToken {
            rules: Arc::clone(rules),
            times,
            binding: rules.binding(&claims)?,
            caller: identity::caller(rules, &claims, credential, times.signed_in)?,
        })
    }

    /// The rules for a token: by its `iss`, or by what else names its issuer.
    fn rules_for(&self, claims: &Members) -> Result<&Arc<IssuerRules>, TokenFault> {
        let stated = claims.text("iss")?;
        if let Some(rules) = stated.and_then(|issuer| self.issuers.get(issuer)) {
            return if rules.mapping.issuer_regex.is_none() || rules.is_named_by(claims) {
                Ok(rules)
            } else {
                Err(TokenFault::Issuer)
            };
        }
        let named = self.captures.iter().find_map(|it| it.find(claims));
        match named.and_then(|issuer| self.issuers.get(issuer)) {
            Some(rules) if rules.is_named_by(claims) => Ok(rules),
            Some(_) => Err(TokenFault::Issuer),
            None if stated.is_none() => Err(TokenFault::MissingClaim),
            None => Err(TokenFault::Issuer),
        }
    }
}

impl VerifiedToken {
    /// The caller of a bearer token, at this time.
    ///
    /// # Errors
    /// [`TokenFault::Expired`] and the other faults of times; [`TokenFault::ProofRequired`]
    /// if the token is bound to a key or a certificate.
    pub fn caller(&self, now: Timestamp) -> Result<Caller, TokenFault> {
        self.caller_with(&Presented::default(), now)
    }

    /// The caller of a token with the evidence that came with it, at this time.
    ///
    /// # Errors
    /// [`TokenFault::Expired`] and the other faults of times; [`TokenFault::ProofRequired`]
    /// and [`TokenFault::ProofInvalid`].
    pub fn caller_with(
        &self,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Caller, TokenFault> {
        Binding::check(self.binding.as_ref(), presented)?;
        let freshness = self.times.check(&self.rules, now)?;
        Ok(self.caller.clone().with_freshness(freshness))
    }

    /// The `iss` of its rules.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.rules.issuer
    }

    /// The obstacle for a fault of this token. Its holder learns the reason.
    #[must_use]
    pub fn obstacle(&self, fault: TokenFault) -> Obstacle {
        let time = self.times.of(fault);
        Obstacle::Genuine { fault, time }
    }

    /// The record's entry if the token is refused all the same: too old, revoked, or without its
    /// proof.
    #[must_use]
    pub fn refused(&self) -> CredentialEntry {
        CredentialEntry::of(&self.caller)
    }
}

impl UnverifiedToken<'_> {
    /// The issuer that it claims to be of.
    #[must_use]
    pub fn issuer(&self) -> &IssuerAlias {
        &self.rules.alias
    }

    /// The key that it claims to be signed with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.header.key_id.as_deref()
    }

    /// The `iss` that its rules are for: one of several where a provider has tenants.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.rules.issuer
    }

    fn credential(
        &self,
        key_id: Option<String>,
        freshness: Freshness,
    ) -> Result<Credential, TokenFault> {
        let Self {
            rules,
            token,
            claims,
            times,
            ..
        } = self;
        credential(rules, token, claims, times, key_id, freshness)
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedToken")
            .field("issuer", self.issuer())
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

fn credential(
    rules: &IssuerRules,
    token: &str,
    claims: &Members,
    times: &Times,
    key_id: Option<String>,
    freshness: Freshness,
) -> Result<Credential, TokenFault> {
    let text = |name| claims.text(name)?.map(shown).transpose();
    Ok(Credential {
        token_id: text("jti")?.map(str::to_owned),
        session: text("sid")?.map(str::to_owned),
        token_hash: Some(hash(token)),
        key_id,
        issued_at: times.issued,
        expires_at: times.expires,
        max_age: rules.max_token_age,
        clock_skew: rules.clock_skew,
        freshness,
    })
}

fn check_header(header: &Header, rules: &IssuerRules) -> Result<(), TokenFault> {
    let mapping = &rules.mapping;
    if !mapping.accepts_type(header.typ.as_deref()) {
        return Err(TokenFault::Type);
    }
    match &mapping.header_only {
        Some(accepted) if !header.has_only(accepted) => Err(TokenFault::HeaderParameter),
        Some(_) | None => Ok(()),
    }
}

/// Checks that it is an access token. An ID token is accepted only if the provider has no other
/// tokens.
fn check_type(header: &Header, claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    let accepts_id_tokens = rules.mapping.accepts_id_tokens();
    Kind::stated(claims)?.check(accepts_id_tokens)?;
    let is_id_token = || ID_TOKEN_CLAIMS.iter().any(|name| claims.has(name));
    if !header.is_access_token() && !accepts_id_tokens && is_id_token() {
        return Err(TokenFault::Type);
    }
    Ok(())
}

/// The same for an answer of the issuer, which has no header. Every kind of token can be `active`
/// (RFC 7662 §2.2), so a refresh token is recognized by its claims. A `nonce` is accepted if the
/// claims state that it is an access token, because some issuers put one into those.
fn check_attested_type(claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    let accepts_id_tokens = rules.mapping.accepts_id_tokens();
    let kind = Kind::stated(claims)?;
    kind.check(accepts_id_tokens)?;
    let hashed = claims.has("at_hash") || claims.has("c_hash");
    let is_id_token = hashed || (claims.has("nonce") && !kind.is_access_token());
    if is_id_token && !accepts_id_tokens {
        return Err(TokenFault::Type);
    }
    Ok(())
}

fn check_party(claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    let Some(parties) = &rules.authorized_parties else {
        return Ok(());
    };
    let client = rules.mapping.client_of(claims)?;
    let client = client.ok_or(TokenFault::AuthorizedParty)?;
    if parties.iter().any(|party| party == client) {
        Ok(())
    } else {
        Err(TokenFault::AuthorizedParty)
    }
}

fn hash(token: &str) -> String {
    let mut text = String::with_capacity(2 * HASH_BYTES);
    for byte in Sha256::digest(token).iter().take(HASH_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
