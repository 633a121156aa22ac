//! One issuer, as configured.

use std::fmt;
use std::time::Duration;

use spanner_core::token::{
    Algorithm, GroupOverage, IssuerRules, IssuerRulesBuilder, KeySetError, RulesError,
};
use spanner_core::{CallerKind, IssuerAlias, NameError};

use crate::keys::{AddressError, HttpKeys, KeyCache, KeySource, Plain, StaticKeys};

/// An identity provider whose tokens are accepted, and how they are read.
///
/// Required: an audience ([`Issuer::audience`]). The rest has defaults that fit a provider
/// with OpenID Connect Discovery.
#[must_use = "an issuer is nothing until `Bearer::builder().issuer(..)` takes it"]
pub struct Issuer {
    url: String,
    alias: Option<String>,
    adjustments: Vec<Adjustment>,
    keys: Keys,
    plain: Plain,
}

type Adjustment = Box<dyn FnOnce(IssuerRulesBuilder) -> IssuerRulesBuilder + Send>;

/// Where the keys come from.
enum Keys {
    Discovered,
    At(String),
    Text(String),
    From(Box<dyn KeySource>),
}

/// What is wrong with an issuer's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerProblem {
    /// Its alias is no alias.
    #[error("issuer `{issuer}`: {error}; give it a short name with `.alias(..)`")]
    Alias {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: NameError,
    },
    /// The address of its keys or its metadata cannot be used.
    #[error("issuer `{issuer}`: {error}")]
    Address {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: AddressError,
    },
    /// Its static keys cannot be used.
    #[error("issuer `{issuer}`: {error}")]
    Keys {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: KeySetError,
    },
    /// Its rules do not hold together.
    #[error("{0}")]
    Rules(RulesError),
    /// The issuers do not go together.
    #[error("{0}")]
    Together(RulesError),
}

impl Issuer {
    /// A provider with OpenID Connect Discovery. `issuer` is the `iss` of its tokens, byte
    /// for byte: with the slash at the end or without, as the provider writes it.
    pub fn oidc(issuer: impl Into<String>) -> Self {
        Self {
            url: issuer.into(),
            alias: None,
            adjustments: Vec::new(),
            keys: Keys::Discovered,
            plain: Plain::Never,
        }
    }

    /// The short name that principals carry: with `corp`, a person is `user:corp/alice`.
    /// Default: the issuer's host.
    ///
    /// Grants and records name principals by it: changing it later makes them others.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// See [`IssuerRulesBuilder::audience`]. Required.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        let audience = audience.into();
        self.adjust(|rules| rules.audience(audience))
    }

    /// See [`IssuerRulesBuilder::danger_any_audience`].
    pub fn danger_any_audience(self) -> Self {
        self.adjust(IssuerRulesBuilder::danger_any_audience)
    }

    /// See [`IssuerRulesBuilder::audience_claim`].
    pub fn audience_claim(self, claim: impl Into<String>) -> Self {
        let claim = claim.into();
        self.adjust(|rules| rules.audience_claim(claim))
    }

    /// See [`IssuerRulesBuilder::authorized_parties`].
    pub fn authorized_parties(self, parties: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let parties: Vec<String> = parties.into_iter().map(Into::into).collect();
        self.adjust(|rules| rules.authorized_parties(parties))
    }

    /// See [`IssuerRulesBuilder::algorithms`].
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let algorithms: Vec<Algorithm> = algorithms.into_iter().collect();
        self.adjust(|rules| rules.algorithms(algorithms))
    }

    /// See [`IssuerRulesBuilder::subject_claim`].
    pub fn subject_claim(self, claim: impl Into<String>) -> Self {
        let claim = claim.into();
        self.adjust(|rules| rules.subject_claim(claim))
    }

    /// See [`IssuerRulesBuilder::groups`].
    pub fn groups(self, claims: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let claims: Vec<String> = claims.into_iter().map(Into::into).collect();
        self.adjust(|rules| rules.groups(claims))
    }

    /// See [`IssuerRulesBuilder::group_overage`].
    pub fn group_overage(self, overage: GroupOverage) -> Self {
        self.adjust(move |rules| rules.group_overage(overage))
    }

    /// See [`IssuerRulesBuilder::kind_when`].
    pub fn kind_when(
        self,
        claim: impl Into<String>,
        word: impl Into<String>,
        kind: CallerKind,
    ) -> Self {
        let (claim, word) = (claim.into(), word.into());
        self.adjust(move |rules| rules.kind_when(claim, word, kind))
    }

    /// See [`IssuerRulesBuilder::kind_otherwise`].
    pub fn kind_otherwise(self, kind: CallerKind) -> Self {
        self.adjust(move |rules| rules.kind_otherwise(kind))
    }

    /// See [`IssuerRulesBuilder::clock_skew`].
    pub fn clock_skew(self, skew: Duration) -> Self {
        self.adjust(move |rules| rules.clock_skew(skew))
    }

    /// See [`IssuerRulesBuilder::max_token_age`].
    pub fn max_token_age(self, age: Option<Duration>) -> Self {
        self.adjust(move |rules| rules.max_token_age(age))
    }

    /// See [`IssuerRulesBuilder::max_token_lifetime`].
    pub fn max_token_lifetime(self, lifetime: Option<Duration>) -> Self {
        self.adjust(move |rules| rules.max_token_lifetime(lifetime))
    }

    /// See [`IssuerRulesBuilder::rfc9068`].
    pub fn rfc9068(self) -> Self {
        self.adjust(IssuerRulesBuilder::rfc9068)
    }

    /// See [`IssuerRulesBuilder::allow_unverified_binding`].
    pub fn allow_unverified_binding(self) -> Self {
        self.adjust(IssuerRulesBuilder::allow_unverified_binding)
    }

    /// Fetches the keys from this address instead of discovering it.
    pub fn jwks_url(mut self, url: impl Into<String>) -> Self {
        self.keys = Keys::At(url.into());
        self
    }

    /// Uses this JWK Set and fetches nothing.
    pub fn static_jwks(mut self, text: impl Into<String>) -> Self {
        self.keys = Keys::Text(text.into());
        self
    }

    /// Gets the keys from a source of your own.
    pub fn keys(mut self, source: impl KeySource) -> Self {
        self.keys = Keys::From(Box::new(source));
        self
    }

    /// Accepts http instead of https for addresses on the loopback interface, for a
    /// provider on the same machine: demonstrations, tests.
    ///
    /// # Security
    /// Whoever can listen on that port of this machine can sign as anybody.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.plain = Plain::Loopback;
        self
    }

    fn adjust(
        mut self,
        adjustment: impl FnOnce(IssuerRulesBuilder) -> IssuerRulesBuilder + Send + 'static,
    ) -> Self {
        self.adjustments.push(Box::new(adjustment));
        self
    }

    /// The rules and the keys, or all problems.
    pub(super) fn build(self) -> Result<(IssuerRules, KeyCache), Vec<IssuerProblem>> {
        let Self {
            url,
            alias,
            adjustments,
            keys,
            plain,
        } = self;
        let mut problems = Vec::new();
        let alias = IssuerAlias::new(&alias.unwrap_or_else(|| host(&url)));
        let alias = alias.unwrap_or_else(|error| {
            problems.push(IssuerProblem::Alias {
                issuer: url.clone(),
                error,
            });
            placeholder()
        });
        let rules = adjustments
            .into_iter()
            .fold(IssuerRules::builder(alias, &url), |rules, adjust| {
                adjust(rules)
            })
            .build();
        let cache = cache(&url, keys, plain);
        match (rules, cache) {
            (Ok(rules), Ok(cache)) if problems.is_empty() => Ok((rules, cache)),
            (rules, cache) => {
                problems.extend(rules.err().map(IssuerProblem::Rules));
                problems.extend(cache.err());
                Err(problems)
            }
        }
    }
}

fn cache(issuer: &str, keys: Keys, plain: Plain) -> Result<KeyCache, IssuerProblem> {
    let address = |error| IssuerProblem::Address {
        issuer: issuer.to_owned(),
        error,
    };
    Ok(match keys {
        Keys::Discovered => KeyCache::new(HttpKeys::discovered(issuer, plain).map_err(address)?),
        Keys::At(url) => KeyCache::new(HttpKeys::given(&url, plain).map_err(address)?),
        Keys::Text(text) => {
            KeyCache::new(StaticKeys::new(text).map_err(|error| IssuerProblem::Keys {
                issuer: issuer.to_owned(),
                error,
            })?)
        }
        Keys::From(source) => KeyCache::boxed(source),
    })
}

/// The host of an issuer, in lower case; what is no URL has none.
fn host(issuer: &str) -> String {
    let after_scheme = issuer.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = host.split(':').next().unwrap_or_default();
    host.to_ascii_lowercase()
}

/// Stands for an alias that is none, so that the other problems are found too.
#[expect(clippy::expect_used, reason = "the literal is an alias")]
fn placeholder() -> IssuerAlias {
    IssuerAlias::new("issuer").expect("an alias")
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("url", &self.url)
            .field("alias", &self.alias)
            .finish_non_exhaustive()
    }
}
