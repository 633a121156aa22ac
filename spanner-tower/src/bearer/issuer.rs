//! The configuration of one issuer.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use spanner_core::token::{
    Algorithm, ClaimMapping, GroupOverage, IssuerRules, IssuerRulesBuilder, KeySetError, Preset,
    RulesError,
};
use spanner_core::{CallerKind, IssuerAlias, NameError};

use crate::keys::{
    AddressError, FetchError, FileKeys, HttpKeys, KeyCache, KeySource, Plain, StaticKeys,
};
use crate::opaque::{
    ANSWER_TTL, AnswerTtl, AskIssuer, Introspection, MAX_ANSWER_TTL, OpaqueTokens, Whoami,
};

/// An identity provider whose tokens are accepted, and how to read them.
///
/// An audience is required ([`Issuer::audience`]). All other defaults fit a provider with OpenID
/// Connect Discovery.
#[must_use = "an issuer is nothing until `Bearer::builder().issuer(..)` takes it"]
pub struct Issuer {
    url: String,
    tenants: Option<Tenants>,
    alias: Option<String>,
    adjustments: Vec<Adjustment>,
    keys: Keys,
    opaque: Option<Opaque>,
    plain: Plain,
}

/// How the issuer is asked about opaque tokens.
enum Opaque {
    Introspection(Introspection),
    Whoami {
        url: String,
        organizations: Vec<String>,
    },
    From {
        asks: Box<dyn AskIssuer>,
        prefixes: Vec<String>,
        kept_for: Duration,
    },
}

/// An issuer after its configuration was validated.
pub(super) struct ValidIssuer {
    /// The rules of each tenant, with its keys; an issuer of opaque tokens has none.
    pub(super) tenants: Vec<(IssuerRules, Option<KeyCache>)>,
    pub(super) opaque: Option<OpaqueTokens>,
    /// The file that contains its keys, if they come from a file.
    pub(super) keys_file: Option<PathBuf>,
}

type Adjustment = Box<dyn Fn(IssuerRulesBuilder) -> IssuerRulesBuilder + Send>;

/// A provider with many issuers that differ only in the tenant's name.
struct Tenants {
    claim: String,
    listed: Vec<String>,
}

/// Where the keys come from.
enum Keys {
    Discovered,
    At(String),
    Text(String),
    File(PathBuf),
    From(Box<dyn KeySource>),
    /// The issuer signs no tokens.
    None,
}

/// A problem of an issuer's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerProblem {
    /// The alias is invalid.
    #[error("issuer `{issuer}`: {error}; give it a short name of its own as its alias")]
    Alias {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: NameError,
    },
    /// The address of the keys or the metadata is unusable.
    #[error("issuer `{issuer}`: {error}")]
    Address {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: AddressError,
    },
    /// The static keys are unusable.
    #[error("issuer `{issuer}`: {error}")]
    Keys {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: KeySetError,
    },
    /// The file of keys is unusable.
    #[error("issuer `{issuer}`: {error}")]
    KeysFile {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        error: FetchError,
    },
    /// A template of issuers does not have exactly one placeholder for the tenant.
    #[error("issuer `{issuer}`: the template needs one place for the tenant, such as `{{tid}}`")]
    Template {
        /// The issuer as configured.
        issuer: String,
    },
    /// The list of tenants is empty.
    #[error(
        "issuer `{issuer}`: no tenant is listed, and accepting every tenant would let anybody in who opens an account there"
    )]
    NoTenant {
        /// The issuer as configured.
        issuer: String,
    },
    /// A tenant's name does not fit into one segment of the issuer's URL.
    #[error(
        "issuer `{issuer}`: {tenant:?} is no tenant: letters, digits and `-._~` are, at most 128"
    )]
    Tenant {
        /// The issuer as configured.
        issuer: String,
        /// The tenant.
        tenant: String,
    },
    /// The location of a trust domain's keys is not configured.
    #[error(
        "issuer `{issuer}`: a trust domain has no address of its own; say where its bundle is with `.jwks_url(..)`"
    )]
    NoBundle {
        /// The issuer as configured.
        issuer: String,
    },
    /// The client authentication for introspection is not configured.
    #[error(
        "issuer `{issuer}`: introspection needs credentials of the guard's own (RFC 7662 §2.1): call `.client_secret_basic(..)`, `.client_secret_post(..)` or `.bearer(..)`"
    )]
    NoClient {
        /// The issuer as configured.
        issuer: String,
    },
    /// The list of organizations is empty.
    #[error(
        "issuer `{issuer}`: no organization is listed, and accepting every holder of a token would let anybody in"
    )]
    NoOrganization {
        /// The issuer as configured.
        issuer: String,
    },
    /// A prefix of opaque tokens is empty or shared with another issuer.
    #[error(
        "issuer `{issuer}`: opaque tokens with the prefix {prefix:?} could be another issuer's: give each issuer prefixes of its own, and only one none"
    )]
    Prefix {
        /// The alias of the issuer.
        issuer: String,
        /// The prefix; empty if the issuer takes all tokens without a known prefix.
        prefix: String,
    },
    /// The address for `DPoP` proofs is invalid.
    #[error("`{address}`, for `DPoP` proofs, is no address: `https://`, a host, perhaps a path")]
    Origin {
        /// The address as configured.
        address: String,
    },
    /// The rules contradict each other.
    #[error("{0}")]
    Rules(RulesError),
    /// The issuers conflict with each other.
    #[error("{0}")]
    Together(RulesError),
}

impl Issuer {
    /// A provider with OpenID Connect Discovery. `issuer` is the `iss` of its tokens, byte for
    /// byte, including or omitting the trailing slash as the provider does.
    pub fn oidc(issuer: impl Into<String>) -> Self {
        Self {
            url: issuer.into(),
            tenants: None,
            alias: None,
            adjustments: Vec::new(),
            keys: Keys::Discovered,
            opaque: None,
            plain: Plain::Never,
        }
    }

    /// Accepts Hugging Face access tokens (`hf_…`). The guard asks Hugging Face who holds a
    /// token (`whoami-v2`) and accepts members of these organizations, with their groups
    /// (`org:acme`), roles (`acme:write`) and resource groups (`acme/llm:write`) there. The
    /// token's permission at Hugging Face is a scope: `hf:read`, `hf:write`, `hf:fineGrained`.
    ///
    /// # Security
    /// These tokens are made for Hugging Face and have no audience: another service that
    /// receives one can use it here, and this service could use it there. Prefer
    /// [`Issuer::hugging_face`] for people who sign in.
    pub fn hugging_face_tokens(organizations: impl IntoIterator<Item = impl Into<String>>) -> Self {
        const WHOAMI: &str = "https://huggingface.co/api/whoami-v2";
        Self::hugging_face_tokens_at(WHOAMI, organizations)
    }

    /// Does the same with another address of `whoami-v2`.
    pub fn hugging_face_tokens_at(
        whoami: impl Into<String>,
        organizations: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let url: String = whoami.into();
        let mut issuer = Self::oidc(&url).preset(Preset::HuggingFaceWhoami);
        issuer.keys = Keys::None;
        issuer.opaque = Some(Opaque::Whoami {
            url,
            organizations: organizations.into_iter().map(Into::into).collect(),
        });
        issuer.danger_any_audience()
    }

    /// Introspects tokens that are not signed (RFC 7662). Signed tokens are verified as before.
    pub fn introspection(mut self, introspection: Introspection) -> Self {
        self.opaque = Some(Opaque::Introspection(introspection));
        self
    }

    /// Resolves opaque tokens with these prefixes through an implementation of your own; without
    /// a prefix, all opaque tokens that no other issuer claims. An answer is valid for
    /// `kept_for`, at most 5 minutes.
    pub fn opaque_tokens(
        mut self,
        asks: impl AskIssuer,
        prefixes: impl IntoIterator<Item = impl Into<String>>,
        kept_for: Duration,
    ) -> Self {
        self.opaque = Some(Opaque::From {
            asks: Box::new(asks),
            prefixes: prefixes.into_iter().map(Into::into).collect(),
            kept_for,
        });
        self
    }

    /// The short name that principals carry: with `corp`, a person is `user:corp/alice`.
    /// Default: the issuer's host.
    ///
    /// Grants and records name principals by the alias. Changing it later makes them different
    /// principals.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// A provider that issues tokens for many tenants, each with an `iss` of its own. `template`
    /// has one placeholder in braces (`https://login.example.com/{tid}/v2.0`). Only the listed
    /// tenants are accepted, and only if the token's `claim` (`/tid`) agrees. All tenants share
    /// the alias, so the mapping's subject must contain the tenant, and groups and roles share
    /// one namespace. If that does not fit, configure one issuer per tenant.
    pub fn tenants_of(
        template: impl Into<String>,
        claim: impl Into<String>,
        tenants: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut issuer = Self::oidc(template);
        issuer.tenants = Some(Tenants {
            claim: claim.into(),
            listed: tenants.into_iter().map(Into::into).collect(),
        });
        issuer
    }

    /// Reads claims as this provider writes them. See [`IssuerRulesBuilder::preset`].
    pub fn preset(self, preset: Preset) -> Self {
        self.adjust(move |rules| rules.preset(preset))
    }

    /// Reads claims according to this mapping. See [`IssuerRulesBuilder::mapping`].
    pub fn mapping(self, mapping: ClaimMapping) -> Self {
        self.adjust(move |rules| rules.mapping(mapping.clone()))
    }

    /// See [`IssuerRulesBuilder::tenants`].
    pub fn tenants(self, tenants: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let tenants: Vec<String> = tenants.into_iter().map(Into::into).collect();
        self.adjust(move |rules| rules.tenants(&tenants))
    }

    /// See [`IssuerRulesBuilder::refuse_delegation`].
    pub fn refuse_delegation(self) -> Self {
        self.adjust(IssuerRulesBuilder::refuse_delegation)
    }

    /// See [`IssuerRulesBuilder::ignore_self_act`].
    pub fn ignore_self_act(self) -> Self {
        self.adjust(IssuerRulesBuilder::ignore_self_act)
    }

    /// See [`IssuerRulesBuilder::audience`]. Required.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        let audience = audience.into();
        self.adjust(move |rules| rules.audience(&audience))
    }

    /// See [`IssuerRulesBuilder::danger_any_audience`].
    pub fn danger_any_audience(self) -> Self {
        self.adjust(IssuerRulesBuilder::danger_any_audience)
    }

    /// See [`IssuerRulesBuilder::audience_claim`].
    pub fn audience_claim(self, claim: impl Into<String>) -> Self {
        let claim = claim.into();
        self.adjust(move |rules| rules.audience_claim(&claim))
    }

    /// See [`IssuerRulesBuilder::authorized_parties`].
    pub fn authorized_parties(self, parties: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let parties: Vec<String> = parties.into_iter().map(Into::into).collect();
        self.adjust(move |rules| rules.authorized_parties(&parties))
    }

    /// See [`IssuerRulesBuilder::algorithms`].
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let algorithms: Vec<Algorithm> = algorithms.into_iter().collect();
        self.adjust(move |rules| rules.algorithms(algorithms.clone()))
    }

    /// See [`IssuerRulesBuilder::subject_claim`].
    pub fn subject_claim(self, claim: impl Into<String>) -> Self {
        let claim = claim.into();
        self.adjust(move |rules| rules.subject_claim(&claim))
    }

    /// See [`IssuerRulesBuilder::groups`].
    pub fn groups(self, claims: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let claims: Vec<String> = claims.into_iter().map(Into::into).collect();
        self.adjust(move |rules| rules.groups(&claims))
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
        self.adjust(move |rules| rules.kind_when(&claim, &word, kind))
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

    /// See [`IssuerRulesBuilder::require_binding`].
    pub fn require_binding(self) -> Self {
        self.adjust(IssuerRulesBuilder::require_binding)
    }

    /// See [`IssuerRulesBuilder::danger_allow_unverified_binding`].
    pub fn danger_allow_unverified_binding(self) -> Self {
        self.adjust(IssuerRulesBuilder::danger_allow_unverified_binding)
    }

    /// Fetches the keys from this address instead of discovering it. With
    /// [`Issuer::tenants_of`], the address may contain the template's placeholder.
    pub fn jwks_url(mut self, url: impl Into<String>) -> Self {
        self.keys = Keys::At(url.into());
        self
    }

    /// Uses this JWK Set and fetches nothing.
    pub fn static_jwks(mut self, text: impl Into<String>) -> Self {
        self.keys = Keys::Text(text.into());
        self
    }

    /// Uses the JWK Set in this file. It is read again by [`Bearer::reload_file`] and, while
    /// there are requests, once a minute; see [`FileKeys`](crate::keys::FileKeys).
    ///
    /// [`Bearer::reload_file`]: crate::Bearer::reload_file
    pub fn jwks_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys = Keys::File(path.into());
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
    /// Any process that can listen on that port of this machine can sign as any caller.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.plain = Plain::Loopback;
        self
    }

    fn adjust(
        mut self,
        adjustment: impl Fn(IssuerRulesBuilder) -> IssuerRulesBuilder + Send + 'static,
    ) -> Self {
        self.adjustments.push(Box::new(adjustment));
        self
    }

    /// Validates the configuration. Returns the rules and keys of each tenant, or all problems.
    pub(super) fn build(self) -> Result<ValidIssuer, Vec<IssuerProblem>> {
        let mut problems = Vec::new();
        let alias = self.alias.clone().unwrap_or_else(|| host(&self.url));
        let alias = IssuerAlias::new(&alias).unwrap_or_else(|error| {
            let issuer = self.url.clone();
            problems.push(IssuerProblem::Alias { issuer, error });
            placeholder()
        });
        let places = match self.places() {
            Ok(places) => places,
            Err(found) => {
                problems.extend(found);
                return Err(problems);
            }
        };
        let Self {
            url: template,
            tenants,
            adjustments,
            keys,
            opaque,
            plain,
            ..
        } = self;
        let opaque = opaque.map(|opaque| opaque.build(&template, &alias, plain));
        let opaque = opaque.transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let claim = tenants.map(|tenants| tenants.claim);
        let keys_file = match &keys {
            Keys::File(path) => Some(path.clone()),
            _ => None,
        };
        let mut shared = Shared::new(keys);
        let mut built = Vec::new();
        for Place { url, tenant } in places {
            let mut rules = IssuerRules::builder(alias.clone(), &url);
            for adjust in &adjustments {
                rules = adjust(rules);
            }
            if let (Some(claim), Some((_, tenant))) = (&claim, &tenant) {
                rules = rules.tenant(&template, claim, tenant);
            }
            match (rules.build(), shared.cache(&url, tenant.as_ref(), plain)) {
                (Ok(rules), Ok(cache)) => built.push((rules, cache)),
                (rules, cache) => {
                    problems.extend(rules.err().map(IssuerProblem::Rules));
                    problems.extend(cache.err());
                    // The other tenants have the same problem.
                    break;
                }
            }
        }
        if problems.is_empty() {
            Ok(ValidIssuer {
                tenants: built,
                opaque,
                keys_file,
            })
        } else {
            Err(problems)
        }
    }

    /// The issuers that it describes: itself, or one for each tenant.
    fn places(&self) -> Result<Vec<Place>, Vec<IssuerProblem>> {
        let issuer = || self.url.clone();
        let Some(tenants) = &self.tenants else {
            let url = issuer();
            return Ok(vec![Place { url, tenant: None }]);
        };
        let mut problems = Vec::new();
        let place = place_of(&self.url);
        if place.is_none() {
            problems.push(IssuerProblem::Template { issuer: issuer() });
        }
        if tenants.listed.is_empty() {
            problems.push(IssuerProblem::NoTenant { issuer: issuer() });
        }
        for tenant in tenants.listed.iter().filter(|tenant| !is_tenant(tenant)) {
            problems.push(IssuerProblem::Tenant {
                issuer: issuer(),
                tenant: tenant.clone(),
            });
        }
        match place {
            Some(place) if problems.is_empty() => Ok(tenants
                .listed
                .iter()
                .map(|tenant| Place {
                    url: self.url.replace(&place, tenant),
                    tenant: Some((place.clone(), tenant.clone())),
                })
                .collect()),
            _ => Err(problems),
        }
    }
}

/// One issuer of a provider, with its tenant and the placeholder that it replaces.
struct Place {
    url: String,
    tenant: Option<(String, String)>,
}

/// The only placeholder of a template, with its braces.
fn place_of(template: &str) -> Option<String> {
    let (_, after) = template.split_once('{')?;
    let (name, rest) = after.split_once('}')?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (plain && !rest.contains(['{', '}'])).then(|| format!("{{{name}}}"))
}

/// Whether a text is one segment of a URL and nothing else.
fn is_tenant(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().any(|b| b != b'.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

/// The keys of all tenants. Each tenant has its own if the tenant's name is part of their
/// address; otherwise all share the same.
struct Shared {
    keys: Keys,
    cache: Option<KeyCache>,
}

impl Shared {
    fn new(keys: Keys) -> Self {
        match keys {
            Keys::From(source) => Self {
                keys: Keys::Discovered,
                cache: Some(KeyCache::boxed(source)),
            },
            keys => Self { keys, cache: None },
        }
    }

    fn cache(
        &mut self,
        issuer: &str,
        tenant: Option<&(String, String)>,
        plain: Plain,
    ) -> Result<Option<KeyCache>, IssuerProblem> {
        if let Some(cache) = &self.cache {
            return Ok(Some(cache.clone()));
        }
        let address = |error| IssuerProblem::Address {
            issuer: issuer.to_owned(),
            error,
        };
        let (source, own) = match (&self.keys, tenant) {
            (Keys::None, _) => return Ok(None),
            (Keys::Discovered, _) if issuer.starts_with("spiffe://") => {
                return Err(IssuerProblem::NoBundle {
                    issuer: issuer.to_owned(),
                });
            }
            (Keys::At(url), Some((place, tenant))) if url.contains(place) => {
                let url = url.replace(place, tenant);
                (HttpKeys::given(&url, plain).map_err(address)?, true)
            }
            (Keys::At(url), _) => (HttpKeys::given(url, plain).map_err(address)?, false),
            (Keys::Text(text), _) => {
                let keys = StaticKeys::new(text.clone()).map_err(|error| IssuerProblem::Keys {
                    issuer: issuer.to_owned(),
                    error,
                })?;
                let cache = KeyCache::new(keys);
                self.cache = Some(cache.clone());
                return Ok(Some(cache));
            }
            (Keys::File(path), _) => {
                let keys = FileKeys::new(path).map_err(|error| IssuerProblem::KeysFile {
                    issuer: issuer.to_owned(),
                    error,
                })?;
                let cache = KeyCache::new(keys);
                self.cache = Some(cache.clone());
                return Ok(Some(cache));
            }
            (Keys::Discovered | Keys::From(_), _) => {
                (HttpKeys::discovered(issuer, plain).map_err(address)?, true)
            }
        };
        let cache = KeyCache::new(source);
        if !own {
            self.cache = Some(cache.clone());
        }
        Ok(Some(cache))
    }
}

impl Opaque {
    fn build(
        self,
        issuer: &str,
        alias: &IssuerAlias,
        plain: Plain,
    ) -> Result<OpaqueTokens, IssuerProblem> {
        let issuer = || issuer.to_owned();
        let address = |error| IssuerProblem::Address {
            issuer: issuer(),
            error,
        };
        let kept = |answer: Duration| AnswerTtl {
            answer: answer.min(MAX_ANSWER_TTL),
            outage: None,
        };
        let mut secret = None;
        let (asks, prefixes, times): (Box<dyn AskIssuer>, _, _) = match self {
            Self::Introspection(introspection) => {
                if !introspection.is_authenticated() {
                    return Err(IssuerProblem::NoClient { issuer: issuer() });
                }
                let prefixes = introspection.prefixes.clone();
                let times = introspection.times();
                secret = introspection.secret();
                let asks = introspection.build(&issuer(), plain).map_err(address)?;
                (Box::new(asks), prefixes, times)
            }
            Self::Whoami { url, organizations } => {
                if organizations.is_empty() {
                    return Err(IssuerProblem::NoOrganization { issuer: issuer() });
                }
                let asks = Whoami::build(&url, organizations, plain).map_err(address)?;
                (Box::new(asks), vec!["hf_".to_owned()], kept(ANSWER_TTL))
            }
            Self::From {
                asks,
                prefixes,
                kept_for,
            } => (asks, prefixes, kept(kept_for)),
        };
        Ok(OpaqueTokens::new(
            alias.clone(),
            asks,
            prefixes,
            times,
            secret,
        ))
    }
}

/// The host of an issuer in lower case; empty if the issuer is not a URL.
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

/// A substitute for an invalid alias, so that the other problems are found too.
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
