//! The problems of issuers' rules, reported together so that an operator can fix a configuration in
//! one pass.

use std::fmt;
use std::time::Duration;

use crate::name::IssuerAlias;

/// See [`IssuerRulesBuilder::MAX_CLOCK_SKEW`](crate::token::IssuerRulesBuilder::MAX_CLOCK_SKEW).
pub(super) const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// All problems of the rules of issuers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError {
    problems: Vec<RulesProblem>,
}

impl RulesError {
    /// All problems, in no particular order. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[RulesProblem] {
        &self.problems
    }

    pub(super) fn unless_empty(problems: Vec<RulesProblem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RulesError {}

/// A problem of the rules of issuers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesProblem {
    /// There are no rules at all.
    #[error("no issuer is configured")]
    NoIssuer,
    /// Two rules are for the same `iss`.
    #[error("issuer `{issuer}` is configured twice")]
    DuplicateIssuer {
        /// The issuer.
        issuer: String,
    },
    /// Two issuers have the same alias, so that their principals could not be distinguished.
    #[error("two issuers are called `{alias}`")]
    DuplicateAlias {
        /// The alias.
        alias: IssuerAlias,
    },
    /// Not a URL as OpenID Connect Discovery §3 demands.
    #[error(
        "issuer `{alias}`: {issuer:?} is no `https` URL without user, query and fragment (`http` is for loopback)"
    )]
    Issuer {
        /// Whose rules.
        alias: IssuerAlias,
        /// The text.
        issuer: String,
    },
    /// Nothing says for whom tokens must be.
    #[error(
        "issuer `{alias}`: no audience is configured, so tokens for any service would be accepted"
    )]
    NoAudience {
        /// Whose rules.
        alias: IssuerAlias,
    },
    /// An audience that is the empty string.
    #[error("issuer `{alias}`: an audience is empty")]
    EmptyAudience {
        /// Whose rules.
        alias: IssuerAlias,
    },
    /// Audiences are listed, and any is accepted.
    #[error("issuer `{alias}`: audiences are listed although any audience is accepted")]
    AnyAudience {
        /// Whose rules.
        alias: IssuerAlias,
    },
    /// A list that lets nothing through.
    #[error("issuer `{alias}`: the list of {list} is empty, so no token would be accepted")]
    EmptyList {
        /// Whose rules.
        alias: IssuerAlias,
        /// What it lists.
        list: &'static str,
    },
    /// The clock skew exceeds the limit.
    #[error("issuer `{alias}`: a clock skew of {} s is more than {} s", skew.as_secs(), MAX_CLOCK_SKEW.as_secs())]
    ClockSkew {
        /// Whose rules.
        alias: IssuerAlias,
        /// The skew.
        skew: Duration,
    },
    /// A limit is zero, so that no token would be accepted.
    #[error("issuer `{alias}`: {limit} is zero, so no token would be accepted")]
    ZeroLimit {
        /// Whose rules.
        alias: IssuerAlias,
        /// Which limit.
        limit: &'static str,
    },
    /// The claim mapping is invalid.
    #[error("issuer `{alias}`: `{member}`: {problem}")]
    Mapping {
        /// Whose rules.
        alias: IssuerAlias,
        /// The member of the mapping.
        member: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The binding is both required and ignored.
    #[error("issuer `{alias}`: bound tokens are required, and their binding is not to be verified")]
    Binding {
        /// Whose rules.
        alias: IssuerAlias,
    },
    /// Subjects of two tenants could not be distinguished.
    #[error(
        "issuer `{alias}`: it has several tenants, and the subject does not name the tenant: give `subject_template` a place for it"
    )]
    TenantlessSubject {
        /// Whose rules.
        alias: IssuerAlias,
    },
}

/// The problems of one issuer's rules that were found so far.
pub(super) struct Problems {
    alias: IssuerAlias,
    found: Vec<RulesProblem>,
}

impl Problems {
    pub(super) fn new(alias: IssuerAlias) -> Self {
        Self {
            alias,
            found: Vec::new(),
        }
    }

    pub(super) fn none(self) -> Result<(), RulesError> {
        RulesError::unless_empty(self.found)
    }

    pub(super) fn add(&mut self, problem: impl FnOnce(IssuerAlias) -> RulesProblem) {
        self.found.push(problem(self.alias.clone()));
    }
}

/// Whether a text is a valid issuer (OpenID Connect Discovery §3): `https`, a host, no user, query
/// or fragment. `http` is for loopback, where tests and development run.
pub(super) fn is_issuer(text: &str) -> bool {
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\' | '"' | '<' | '>');
    rest.chars().all(plain)
        && !host.is_empty()
        && !authority.contains('@')
        && (secure || matches!(host, "localhost" | "127.0.0.1" | "::1"))
}

/// Whether a text is a SPIFFE trust domain (SPIFFE-ID §2.1): `spiffe://` and a name of
/// lower-case letters, digits, dots, hyphens and underscores.
pub(super) fn is_trust_domain(text: &str) -> bool {
    let name = text.strip_prefix("spiffe://").unwrap_or_default();
    let accepted = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(accepted)
}
