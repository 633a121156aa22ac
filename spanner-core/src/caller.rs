//! Who is calling.
//!
//! 1. A [`Caller`] is made by a token verifier or by [`Caller::assertion`]. There is no other way,
//!    and a reviewer can search for the second.
//! 2. A caller is one [`Party`] (a person, a service, an agent), or an agent acting for one. Then
//!    each party must be allowed on its own.
//! 3. Principals are compared as (issuer, kind, subject), byte for byte. Display names and e-mail
//!    addresses are never identities.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::party::{Group, Party, Principal, Role};
use crate::refusal::{Obstacle, Refusal, TokenFault};

/// How far a credential is through its permitted lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Freshness {
    /// Less than 80 % of it is over.
    Fresh,
    /// More than 80 % of the permitted age is over, or of the lifetime if that is a day or longer.
    /// The response and the record say so.
    RotateSoon,
}

/// What the record stores about a credential: enough to find and revoke it, never enough to use it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credential {
    /// The token's identifier (`jti`), if it has one.
    pub token_id: Option<String>,
    /// The session at the issuer (`sid`), if the token has it.
    pub session: Option<String>,
    /// The first 16 bytes of the token's SHA-256, in lower-case hexadecimal.
    pub token_hash: Option<String>,
    /// The identifier of the key that signed it (`kid`).
    pub key_id: Option<String>,
    /// When it was issued (`iat`).
    pub issued_at: Option<Timestamp>,
    /// When it expires (`exp`).
    pub expires_at: Option<Timestamp>,
    /// The greatest permitted age; `None` if there is no limit.
    pub max_age: Option<Duration>,
    /// How long after its expiry it is still accepted, because clocks differ.
    pub clock_skew: Duration,
    /// How far it is through its permitted lifetime.
    pub freshness: Freshness,
}

impl Credential {
    /// A credential about which nothing is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            token_id: None,
            session: None,
            token_hash: None,
            key_id: None,
            issued_at: None,
            expires_at: None,
            max_age: None,
            clock_skew: Duration::ZERO,
            freshness: Freshness::Fresh,
        }
    }

    /// Checks that it has neither expired nor exceeded its permitted age.
    ///
    /// # Errors
    /// [`TokenFault::Expired`] after its expiry, [`TokenFault::Lifetime`] beyond its permitted age.
    /// The caller may learn which.
    pub fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        let genuine = |fault, time| Err(Obstacle::Genuine { fault, time }.into());
        let over = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
        if over(later(self.expires_at, self.clock_skew)) {
            return genuine(TokenFault::Expired, self.expires_at);
        }
        match self.max_age {
            Some(limit) if self.age(now) > limit => genuine(TokenFault::Lifetime, None),
            Some(_) | None => Ok(()),
        }
    }

    /// The time when a request with this credential must end, if it may outlive the credential by
    /// `outlive`. It is never earlier than the end of the credential itself.
    #[must_use]
    pub fn ends(&self, outlive: Duration) -> Option<Timestamp> {
        let expired = later(self.expires_at, outlive.max(self.clock_skew));
        let too_old = self.max_age.and_then(|age| later(self.issued_at, age));
        let too_old = later(too_old, outlive);
        match (expired, too_old) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The time since it was issued; zero if that is unknown or in the future.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.issued_at
            .and_then(|issued| Duration::try_from(now.duration_since(issued)).ok())
            .unwrap_or(Duration::ZERO)
    }
}

/// The time plus a duration; `None` if a [`Timestamp`] cannot represent it.
fn later(time: Option<Timestamp>, by: Duration) -> Option<Timestamp> {
    time?.checked_add(by).ok()
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("token_id", &self.token_id)
            .field("token_hash", &self.token_hash)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The sender of a request, whose credential was verified. Cheap to clone.
///
/// There is no public constructor: a `Caller` comes out of
/// `token::TokenVerifier::verify`, or out of [`Caller::assertion`].
///
/// ```compile_fail
/// # use spanner_core::Caller;
/// let forged: Caller = Default::default();
/// ```
/// ```compile_fail
/// let forged: spanner_core::Caller = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    facts: Arc<Facts>,
}

#[derive(Clone, PartialEq, Eq)]
struct Facts {
    subject: Party,
    actor: Option<Party>,
    chain: Vec<Principal>,
    origin: Option<Cow<'static, str>>,
    tenant: Option<String>,
    client: Option<String>,
    groups_complete: bool,
    scopes: Vec<String>,
    assurance: u8,
    authenticated_at: Option<Timestamp>,
    credential: Credential,
}

impl Caller {
    /// The greatest depth of a delegation chain (`act` within `act`, RFC 8693 §4.1). Deeper chains
    /// are refused. Real chains have one or two actors.
    pub const MAX_DEPTH: usize = 4;

    /// Starts a caller that was authenticated by other means than a token: mutual TLS, a session, a
    /// test.
    ///
    /// # Security
    /// This is the only way to make a `Caller` without a verified token. The code that calls it
    /// vouches for the principal; nothing checks it again.
    pub fn assertion(principal: Principal) -> Assertion {
        Assertion {
            facts: Facts {
                subject: Party::plain(principal),
                actor: None,
                chain: Vec::new(),
                origin: None,
                tenant: None,
                client: None,
                groups_complete: true,
                scopes: Vec::new(),
                assurance: 0,
                authenticated_at: None,
                credential: Credential::unknown(),
            },
        }
    }

    /// The party on whose behalf the request is made.
    #[must_use]
    pub fn subject(&self) -> &Party {
        &self.facts.subject
    }

    /// The party that acts for the subject, if there is one: the outermost `act` (RFC 8693 §4.1).
    #[must_use]
    pub fn actor(&self) -> Option<&Party> {
        self.facts.actor.as_ref()
    }

    /// The earlier actors, the most recent first. They are recorded, and never decide anything.
    #[must_use]
    pub fn chain(&self) -> &[Principal] {
        &self.facts.chain
    }

    /// Every party that must be allowed on its own: the subject, then the actor.
    pub fn parties(&self) -> impl Iterator<Item = &Party> {
        std::iter::once(self.subject()).chain(self.actor())
    }

    /// The number of actors between the subject and this request; 0 is a direct call.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.facts.chain.len() + usize::from(self.facts.actor.is_some())
    }

    /// A finer kind than [`CallerKind`](crate::CallerKind), if the provider states one (`workload`,
    /// `pipeline`).
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.facts.origin.as_deref()
    }

    /// The subject's tenant, organization or account at the issuer, as the issuer identifies it.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.facts.tenant.as_deref()
    }

    /// The OAuth client that obtained the credential, if the credential states it.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.facts.client.as_deref()
    }

    /// Whether the credential lists all groups of the subject. `false` means that there are more
    /// groups than listed (Entra above 200 groups), never that there are none.
    #[must_use]
    pub fn groups_complete(&self) -> bool {
        self.facts.groups_complete
    }

    /// The OAuth scopes granted, verbatim.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.facts.scopes
    }

    /// How strongly the person was authenticated: 0 unknown, 1 one factor, 2 several, 3
    /// phishing-resistant (from `acr` and `amr`).
    #[must_use]
    pub fn assurance(&self) -> u8 {
        self.facts.assurance
    }

    /// The same caller with the present freshness of its credential.
    #[cfg(feature = "jwt")]
    pub(crate) fn with_freshness(mut self, freshness: Freshness) -> Self {
        if self.facts.credential.freshness != freshness {
            Arc::make_mut(&mut self.facts).credential.freshness = freshness;
        }
        self
    }

    /// When the person signed in (`auth_time`, OpenID Connect Core 1.0 §2), if the credential
    /// states it.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        self.facts.authenticated_at
    }

    /// What the record stores about the credential.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.facts.credential
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("subject", &format_args!("{}", self.subject().principal))
            .field(
                "actor",
                &self.actor().map(|party| party.principal.to_string()),
            )
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actor = self.actor().map(|party| &party.principal);
        let subject = &self.subject().principal;
        Acting { actor, subject }.fmt(f)
    }
}

/// Displays the actor and the subject: `agent:corp/copilot for user:corp/ann`, or the subject
/// alone.
pub(crate) struct Acting<'a, N> {
    pub(crate) actor: Option<&'a N>,
    pub(crate) subject: &'a N,
}

impl<N: fmt::Display> fmt::Display for Acting<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(actor) = self.actor {
            write!(f, "{actor} for ")?;
        }
        self.subject.fmt(f)
    }
}

/// A caller under construction: see [`Caller::assertion`].
#[must_use = "an assertion is nothing until it is made a caller"]
pub struct Assertion {
    facts: Facts,
}

/// A delegation chain is longer than [`Caller::MAX_DEPTH`], or names a party twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooDeep {
    /// There are too many actors.
    #[error("the chain of actors is deeper than {}", Caller::MAX_DEPTH)]
    Depth,
    /// The chain contains the same principal twice.
    #[error("the chain of actors names the same principal twice")]
    Cycle,
}

impl Assertion {
    /// The subject's groups. Default: none.
    pub fn groups(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.facts.subject.groups = groups.into_iter().collect();
        self
    }

    /// The subject's roles at the issuer. Default: none.
    pub fn roles(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.facts.subject.roles = roles.into_iter().collect();
        self
    }

    /// The subject's tenant at the issuer. Default: unknown.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.facts.tenant = Some(tenant.into());
        self
    }

    /// States that the credential does not list all groups. Default: it lists all.
    pub fn groups_incomplete(mut self) -> Self {
        self.facts.groups_complete = false;
        self
    }

    /// The actors, the current one first. Default: none.
    pub fn actors(mut self, actors: impl IntoIterator<Item = Principal>) -> Self {
        let mut actors = actors.into_iter();
        self.facts.actor = actors.next().map(Party::plain);
        self.facts.chain = actors.collect();
        self
    }

    /// A finer kind than [`CallerKind`](crate::CallerKind). Default: none.
    pub fn origin(mut self, origin: impl Into<Cow<'static, str>>) -> Self {
        self.facts.origin = Some(origin.into());
        self
    }

    /// The OAuth client. Default: unknown.
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.facts.client = Some(client.into());
        self
    }

    /// The OAuth scopes. Default: none.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = String>) -> Self {
        self.facts.scopes = scopes.into_iter().collect();
        self
    }

    /// The assurance, 0 to 3. Greater numbers count as 3. Default: 0.
    pub fn assurance(mut self, assurance: u8) -> Self {
        self.facts.assurance = assurance.min(3);
        self
    }

    /// The time of the person's sign-in. Default: unknown.
    pub fn authenticated_at(mut self, time: Timestamp) -> Self {
        self.facts.authenticated_at = Some(time);
        self
    }

    /// What is known about the credential. Default: nothing.
    pub fn credential(mut self, credential: Credential) -> Self {
        self.facts.credential = credential;
        self
    }

    /// Builds the caller.
    ///
    /// # Errors
    /// [`TooDeep`] if the chain of actors is longer than [`Caller::MAX_DEPTH`] or contains a
    /// principal twice.
    pub fn caller(self) -> Result<Caller, TooDeep> {
        let caller = Caller {
            facts: Arc::new(self.facts),
        };
        if caller.depth() > Caller::MAX_DEPTH {
            return Err(TooDeep::Depth);
        }
        let principals: Vec<&Principal> = caller
            .parties()
            .map(|party| &party.principal)
            .chain(caller.chain())
            .collect();
        let repeats = principals.iter().enumerate().any(|(at, principal)| {
            principals
                .iter()
                .skip(at + 1)
                .any(|other| other == principal)
        });
        if repeats {
            Err(TooDeep::Cycle)
        } else {
            Ok(caller)
        }
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assertion({})", self.facts.subject.principal)
    }
}
