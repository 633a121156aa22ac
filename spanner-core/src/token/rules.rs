//! What is accepted of one issuer.

use std::time::Duration;

use crate::caller::CallerKind;
use crate::name::IssuerAlias;
use crate::token::algorithm::Algorithm;
use crate::token::claims::ClaimPath;
use crate::token::problem::{Problems, RulesError, RulesProblem, is_issuer};

/// What is accepted of one issuer: for whom its tokens must be, how old they may be, how
/// they say who is calling. Made by [`IssuerRules::builder`].
#[derive(Debug, Clone)]
pub struct IssuerRules {
    pub(super) alias: IssuerAlias,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) any_audience: bool,
    pub(super) audience_claim: ClaimPath,
    pub(super) authorized_parties: Option<Vec<String>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) subject: ClaimPath,
    pub(super) groups: Vec<ClaimPath>,
    pub(super) group_overage: GroupOverage,
    pub(super) kinds: Vec<KindRule>,
    pub(super) kind_otherwise: CallerKind,
    pub(super) clock_skew: Duration,
    pub(super) max_token_age: Option<Duration>,
    pub(super) max_token_lifetime: Option<Duration>,
    pub(super) rfc9068: bool,
    pub(super) unverified_binding: bool,
}

/// What becomes of a token that says that it does not list all groups of its subject
/// (Entra does, above 200).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GroupOverage {
    /// It is refused. A policy that looks for a group, and one that forbids one, would
    /// both decide on a list that is not the list.
    #[default]
    Refuse,
    /// It is accepted, and [`Caller::groups_complete`](crate::Caller::groups_complete) is
    /// `false`. Right where no policy of this issuer's callers names a group.
    Flag,
}

/// One rule of [`IssuerRulesBuilder::kind_when`].
#[derive(Debug, Clone)]
pub(super) struct KindRule {
    pub(super) claim: ClaimPath,
    pub(super) word: String,
    pub(super) kind: CallerKind,
}

impl IssuerRules {
    /// Starts the rules of one issuer. `issuer` is compared with `iss` byte for byte, so it
    /// is written as the issuer's discovery document has it: with or without a slash at
    /// its end.
    pub fn builder(alias: IssuerAlias, issuer: &str) -> IssuerRulesBuilder {
        IssuerRulesBuilder {
            alias,
            issuer: issuer.to_owned(),
            audiences: Vec::new(),
            any_audience: false,
            audience_claim: "aud".to_owned(),
            authorized_parties: None,
            algorithms: Algorithm::DEFAULT.to_vec(),
            subject: "sub".to_owned(),
            groups: vec!["groups".to_owned()],
            group_overage: GroupOverage::Refuse,
            kinds: Vec::new(),
            kind_otherwise: CallerKind::User,
            clock_skew: Duration::from_secs(60),
            max_token_age: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            max_token_lifetime: None,
            rfc9068: false,
            unverified_binding: false,
        }
    }

    /// The short name that principals carry.
    #[must_use]
    pub fn alias(&self) -> &IssuerAlias {
        &self.alias
    }

    /// The issuer as tokens spell it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The top-level claims that these rules read, beyond those that are always read.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        [&self.audience_claim, &self.subject]
            .into_iter()
            .chain(&self.groups)
            .chain(self.kinds.iter().map(|rule| &rule.claim))
            .map(ClaimPath::top)
    }
}

/// Rules under construction: see [`IssuerRules::builder`].
///
/// A claim is named as tokens spell it (`groups`, `https://acme.example/groups`), or by an
/// RFC 6901 pointer where it stands deeper (`/realm_access/roles`).
#[derive(Debug, Clone)]
#[must_use = "rules are nothing until they are built"]
pub struct IssuerRulesBuilder {
    alias: IssuerAlias,
    issuer: String,
    audiences: Vec<String>,
    any_audience: bool,
    audience_claim: String,
    authorized_parties: Option<Vec<String>>,
    algorithms: Vec<Algorithm>,
    subject: String,
    groups: Vec<String>,
    group_overage: GroupOverage,
    kinds: Vec<(String, String, CallerKind)>,
    kind_otherwise: CallerKind,
    clock_skew: Duration,
    max_token_age: Option<Duration>,
    max_token_lifetime: Option<Duration>,
    rfc9068: bool,
    unverified_binding: bool,
}

impl IssuerRulesBuilder {
    /// The most that clocks may differ. Whoever needs more has a clock to repair: until
    /// then every expiry is late by as much.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

    /// Accepts tokens for this audience; may be called again for further ones. There is no
    /// default, and one is required: without it, a token that was made for any other
    /// service of the issuer is good here.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts tokens for any audience, or for none.
    ///
    /// # Security
    /// Every service that ever sees a token of this issuer can use it here in the name of
    /// its subject.
    pub fn danger_any_audience(mut self) -> Self {
        self.any_audience = true;
        self
    }

    /// Reads the audience from another claim: Cognito's access tokens have none but
    /// `client_id`. Default: `aud`.
    pub fn audience_claim(mut self, claim: impl Into<String>) -> Self {
        self.audience_claim = claim.into();
        self
    }

    /// Accepts only tokens that one of these clients obtained (`client_id`, `azp`, `appid`
    /// or `cid`). Default: any client.
    pub fn authorized_parties(
        mut self,
        parties: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.authorized_parties = Some(parties.into_iter().map(Into::into).collect());
        self
    }

    /// Accepts only these algorithms. Default: [`Algorithm::DEFAULT`], which are all; a
    /// key is never used with an algorithm of another type or with one that its own `alg`
    /// excludes.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Reads the subject from another claim: Okta's `sub` is a login name, its `uid` does
    /// not change. Default: `sub`.
    pub fn subject_claim(mut self, claim: impl Into<String>) -> Self {
        self.subject = claim.into();
        self
    }

    /// Reads groups from these claims, each an array of strings where it is there.
    /// Default: `groups`.
    pub fn groups(mut self, claims: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.groups = claims.into_iter().map(Into::into).collect();
        self
    }

    /// What becomes of tokens that do not list all groups. Default: refused.
    pub fn group_overage(mut self, overage: GroupOverage) -> Self {
        self.group_overage = overage;
        self
    }

    /// Says what kind of caller it is when a claim is this word, or a list (an array, or
    /// words between spaces) that has it. May be called again; rules are tried in order,
    /// before those that serve every issuer (see the [module](crate::token)). Default:
    /// none.
    pub fn kind_when(
        mut self,
        claim: impl Into<String>,
        word: impl Into<String>,
        kind: CallerKind,
    ) -> Self {
        self.kinds.push((claim.into(), word.into(), kind));
        self
    }

    /// What kind of caller it is when no rule says. Default: [`CallerKind::User`]. For an
    /// issuer whose programs cannot be told from people, [`CallerKind::Unclassified`] is
    /// the honest choice: no role admits it.
    pub fn kind_otherwise(mut self, kind: CallerKind) -> Self {
        self.kind_otherwise = kind;
        self
    }

    /// How far the issuer's clock may be from ours, for `exp`, `nbf` and `iat`. Default:
    /// 60 seconds; at most [`Self::MAX_CLOCK_SKEW`].
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// How long after it was issued a token may be used, whatever its `exp`; `iat` becomes
    /// required. From 80 % on, [`Freshness::RotateSoon`](crate::Freshness::RotateSoon)
    /// says so. Default: 30 days, so that even a token that never expires is rotated
    /// monthly. `None` turns it off.
    pub fn max_token_age(mut self, age: Option<Duration>) -> Self {
        self.max_token_age = age;
        self
    }

    /// For how long (`exp` − `iat`) a token may be made; `iat` becomes required. Default:
    /// `None`, however long.
    pub fn max_token_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.max_token_lifetime = lifetime;
        self
    }

    /// Demands the JWT profile for access tokens (RFC 9068 §2): `typ` must be `at+jwt`, and
    /// `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti` must be there. Default: off,
    /// since few issuers follow it yet.
    pub fn rfc9068(mut self) -> Self {
        self.rfc9068 = true;
        self
    }

    /// Accepts sender-constrained tokens (`cnf`, RFC 7800) as if they were bearer tokens.
    /// Default: they are refused.
    ///
    /// # Security
    /// Right only where something in front verifies the binding (mutual TLS, `DPoP`).
    /// Otherwise whoever steals such a token can use it, which its issuer meant to prevent.
    pub fn allow_unverified_binding(mut self) -> Self {
        self.unverified_binding = true;
        self
    }

    /// Checks everything at once.
    ///
    /// # Errors
    /// [`RulesError`] with *all* problems.
    pub fn build(self) -> Result<IssuerRules, RulesError> {
        let mut problems = Problems::new(self.alias.clone());
        self.check_audience(&mut problems);
        self.check_limits(&mut problems);
        if !is_issuer(&self.issuer) {
            let issuer = self.issuer.clone();
            problems.add(|alias| RulesProblem::Issuer { alias, issuer });
        }
        let rules = IssuerRules {
            audience_claim: problems.path(&self.audience_claim),
            subject: problems.path(&self.subject),
            groups: self.groups.iter().map(|it| problems.path(it)).collect(),
            kinds: self
                .kinds
                .into_iter()
                .map(|(claim, word, kind)| KindRule {
                    claim: problems.path(&claim),
                    word,
                    kind,
                })
                .collect(),
            alias: self.alias,
            issuer: self.issuer,
            audiences: self.audiences,
            any_audience: self.any_audience,
            authorized_parties: self.authorized_parties,
            algorithms: self.algorithms,
            group_overage: self.group_overage,
            kind_otherwise: self.kind_otherwise,
            clock_skew: self.clock_skew,
            max_token_age: self.max_token_age,
            max_token_lifetime: self.max_token_lifetime,
            rfc9068: self.rfc9068,
            unverified_binding: self.unverified_binding,
        };
        problems.none().map(|()| rules)
    }

    fn check_audience(&self, problems: &mut Problems) {
        match (self.audiences.is_empty(), self.any_audience) {
            (true, false) => problems.add(|alias| RulesProblem::NoAudience { alias }),
            (false, true) => problems.add(|alias| RulesProblem::AnyAudience { alias }),
            (true, true) | (false, false) => {}
        }
        if self.audiences.iter().any(String::is_empty) {
            problems.add(|alias| RulesProblem::EmptyAudience { alias });
        }
    }

    fn check_limits(&self, problems: &mut Problems) {
        let no_parties = self.authorized_parties.as_ref().is_some_and(Vec::is_empty);
        for (empty, list) in [
            (self.algorithms.is_empty(), "algorithms"),
            (no_parties, "authorized parties"),
        ] {
            if empty {
                problems.add(|alias| RulesProblem::EmptyList { alias, list });
            }
        }
        for (limit, span) in [
            ("the maximal age", self.max_token_age),
            ("the maximal lifetime", self.max_token_lifetime),
        ] {
            if span == Some(Duration::ZERO) {
                problems.add(|alias| RulesProblem::ZeroLimit { alias, limit });
            }
        }
        if self.clock_skew > Self::MAX_CLOCK_SKEW {
            let skew = self.clock_skew;
            problems.add(|alias| RulesProblem::ClockSkew { alias, skew });
        }
    }
}
