//! The road of a token: inspected, then verified.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::Timestamp;
use crate::caller::{Caller, Credential, Freshness};
use crate::name::IssuerAlias;
use crate::refusal::TokenFault;
use crate::token::claims::{self, Times, check_audience};
use crate::token::compact::Compact;
use crate::token::header::Header;
use crate::token::identity::{self, shown};
use crate::token::json::Members;
use crate::token::key_set::KeySet;
use crate::token::problem::{RulesError, RulesProblem};
use crate::token::rules::IssuerRules;

/// What RFC 9068 §2.2 requires.
const RFC9068_CLAIMS: &[&str] = &["iss", "exp", "aud", "sub", "client_id", "iat", "jti"];

/// What an ID token carries and an access token does not (OpenID Connect Core §2, §3.1.3.6,
/// §3.3.2.11).
const ID_TOKEN_CLAIMS: &[&str] = &["nonce", "at_hash", "c_hash"];

/// How many bytes of a token's SHA-256 a record keeps: enough that no two collide by
/// chance, and no help to whoever guesses.
const HASH_BYTES: usize = 16;

/// Verifies the access tokens of some issuers. See the [module](crate::token).
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: HashMap<String, Arc<IssuerRules>>,
    /// The claims that some issuer's rules read.
    read: BTreeSet<String>,
}

/// A token that could be good: of a known issuer, for us, and in time, if it is what it
/// says. **Nothing of it is trusted**: anybody can write such a token. It is worth a look
/// at the issuer's keys.
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

impl TokenVerifier {
    /// A verifier for these issuers.
    ///
    /// # Errors
    /// [`RulesError`] with all problems: no issuer, or two with the same `iss` or alias.
    pub fn new(rules: Vec<IssuerRules>) -> Result<Self, RulesError> {
        let mut problems = Vec::new();
        let (mut issuers, mut aliases) = (HashSet::new(), HashSet::new());
        if rules.is_empty() {
            problems.push(RulesProblem::NoIssuer);
        }
        for IssuerRules { issuer, alias, .. } in &rules {
            if !issuers.insert(issuer) {
                let issuer = issuer.clone();
                problems.push(RulesProblem::DuplicateIssuer { issuer });
            }
            if !aliases.insert(alias) {
                let alias = alias.clone();
                problems.push(RulesProblem::DuplicateAlias { alias });
            }
        }
        RulesError::unless_empty(problems)?;
        let read = rules
            .iter()
            .flat_map(IssuerRules::claims)
            .chain(claims::READ.iter().copied())
            .map(str::to_owned)
            .collect();
        let issuers = rules
            .into_iter()
            .map(|rules| (rules.issuer.clone(), Arc::new(rules)))
            .collect();
        Ok(Self { issuers, read })
    }

    /// Checks all that can be checked without keys: form, header, issuer, algorithm, type,
    /// audience, time. What fails here must not cause network traffic.
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
        let issuer = claims.text("iss")?.ok_or(TokenFault::MissingClaim)?;
        let rules = self.issuers.get(issuer).ok_or(TokenFault::Issuer)?;
        if !rules.algorithms.contains(&header.algorithm) {
            return Err(TokenFault::AlgorithmNotAllowed);
        }
        check_type(&header, &claims, rules)?;
        check_audience(&claims, rules)?;
        check_party(&claims, rules)?;
        let times = Times::read(&claims)?;
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
        let rules = &token.rules;
        let ours = self.issuers.get(&rules.issuer);
        if !ours.is_some_and(|ours| Arc::ptr_eq(ours, rules)) {
            return Err(TokenFault::Issuer);
        }
        let algorithm = token.header.algorithm;
        let key = keys.choose(token.key_id(), algorithm)?;
        key.verify(algorithm, token.signed, &token.signature)?;
        let freshness = token.times.check(rules, now)?;
        identity::caller(
            rules,
            &token.claims,
            token.credential(key.id.clone(), freshness)?,
        )
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

    fn credential(
        &self,
        key_id: Option<String>,
        freshness: Freshness,
    ) -> Result<Credential, TokenFault> {
        let token_id = self.claims.text("jti")?.map(shown).transpose()?;
        let session = self.claims.text("sid")?.map(shown).transpose()?;
        Ok(Credential {
            token_id: token_id.map(str::to_owned),
            session: session.map(str::to_owned),
            token_hash: Some(hash(self.token)),
            key_id,
            issued_at: self.times.issued,
            expires_at: Some(self.times.expires),
            freshness,
        })
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

/// Whether it is an access token: not an ID token, and not less than the issuer promises.
fn check_type(header: &Header, claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    if header.access_token {
        let lacks = |name: &&&str| !claims.has(name);
        return match RFC9068_CLAIMS.iter().find(lacks) {
            Some(_) if rules.rfc9068 => Err(TokenFault::MissingClaim),
            Some(_) | None => Ok(()),
        };
    }
    if rules.rfc9068 || ID_TOKEN_CLAIMS.iter().any(|name| claims.has(name)) {
        return Err(TokenFault::Type);
    }
    Ok(())
}

fn check_party(claims: &Members, rules: &IssuerRules) -> Result<(), TokenFault> {
    let Some(parties) = &rules.authorized_parties else {
        return Ok(());
    };
    let client = claims.client()?.ok_or(TokenFault::AuthorizedParty)?;
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
