//! The rules for the tokens of one issuer.

use std::time::Duration;

use crate::name::IssuerAlias;
use crate::party::CallerKind;
use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::json::Members;
use crate::token::key::Purpose;
use crate::token::kind::Kind;
use crate::token::mapping::{ClaimMapping, MappingProblem, Pointer, Preset};
use crate::token::overage::GroupOverage;
use crate::token::problem::{
    MAX_CLOCK_SKEW, Problems, RulesError, RulesProblem, is_issuer, is_trust_domain,
};
use crate::token::proof::Binding;

/// The rules for the tokens of one issuer: their audience, their age, and how claims name the
/// caller. Made by [`IssuerRules::builder`].
#[derive(Debug, Clone)]
pub struct IssuerRules {
    pub(super) alias: IssuerAlias,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) any_audience: bool,
    pub(super) authorized_parties: Option<Vec<String>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) mapping: ClaimMapping,
    pub(super) bound: Option<Bound>,
    pub(super) tenants: Vec<String>,
    pub(super) ignore_self_act: bool,
    pub(super) clock_skew: Duration,
    pub(super) max_token_age: Option<Duration>,
    pub(super) max_token_lifetime: Option<Duration>,
    pub(super) unverified_binding: bool,
    pub(super) require_binding: bool,
}

/// The tenant of a multi-tenant provider that rules are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) template: String,
    pub(super) claim: Pointer,
    pub(super) tenant: String,
}

impl IssuerRules {
    /// Starts the rules of one issuer. `issuer` is compared with `iss` byte for byte: write it as the
    /// issuer's discovery document does, with or without a slash at its end.
    pub fn builder(alias: IssuerAlias, issuer: &str) -> IssuerRulesBuilder {
        IssuerRulesBuilder {
            alias,
            issuer: issuer.to_owned(),
            audiences: Vec::new(),
            any_audience: false,
            authorized_parties: None,
            algorithms: None,
            mapping: ClaimMapping::oidc(),
            kind_rules: 0,
            bound: None,
            tenants: Vec::new(),
            ignore_self_act: false,
            clock_skew: Duration::from_secs(60),
            max_token_age: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            max_token_lifetime: None,
            unverified_binding: false,
            require_binding: false,
        }
    }

    /// The alias of the issuer in principals.
    #[must_use]
    pub fn alias(&self) -> &IssuerAlias {
        &self.alias
    }

    /// The issuer, exactly as in tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The top-level claims that these rules read, beyond those that are always read.
    pub(super) fn claims(&self) -> Vec<String> {
        let mut claims = self.mapping.claims();
        claims.extend(self.bound.iter().map(|bound| bound.claim.top().to_owned()));
        claims
    }

    /// The binding of a token, if it must be checked here.
    pub(super) fn binding(&self, claims: &Members) -> Result<Option<Binding>, TokenFault> {
        if self.unverified_binding {
            return Ok(None);
        }
        match Binding::of(claims)? {
            None if self.require_binding => Err(TokenFault::ProofRequired),
            // The issuer bound the token and does not state to which key (RFC 9449 §6).
            None if Kind::stated(claims)?.is_bound() => Err(TokenFault::ProofRequired),
            binding => Ok(binding),
        }
    }

    /// The purpose that the issuer's keys must have.
    pub(super) fn purpose(&self) -> Purpose {
        let word = self.mapping.key_use.as_deref();
        word.and_then(Purpose::named).unwrap_or(Purpose::Signature)
    }

    /// Whether a token without `iss` names this issuer through `issuer_regex` of its mapping.
    pub(super) fn is_named_by(&self, claims: &Members) -> bool {
        let capture = self.mapping.issuer_regex.as_ref();
        capture.and_then(|it| it.find(claims)) == Some(&self.issuer)
    }

    /// Checks that the token belongs to the tenant in the issuer's name.
    pub(super) fn check_tenant(&self, claims: &Members) -> Result<(), TokenFault> {
        let Some(bound) = &self.bound else {
            return Ok(());
        };
        let named = bound.claim.find(claims).ok_or(TokenFault::MissingClaim)?;
        match named.as_str() {
            Some(tenant) if tenant == bound.tenant => Ok(()),
            Some(_) => Err(TokenFault::Issuer),
            None => Err(TokenFault::ClaimType),
        }
    }
}

/// Rules under construction: see [`IssuerRules::builder`].
///
/// Claims are read as a [`ClaimMapping`] says. Name a claim as tokens spell it (`groups`,
/// `https://acme.example/groups`), or by an RFC 6901 pointer if it is nested
/// (`/realm_access/roles`).
#[derive(Debug, Clone)]
#[must_use = "rules are nothing until they are built"]
pub struct IssuerRulesBuilder {
    alias: IssuerAlias,
    issuer: String,
    audiences: Vec<String>,
    any_audience: bool,
    authorized_parties: Option<Vec<String>>,
    algorithms: Option<Vec<Algorithm>>,
    mapping: ClaimMapping,
    kind_rules: usize,
    bound: Option<Bound>,
    tenants: Vec<String>,
    ignore_self_act: bool,
    clock_skew: Duration,
    max_token_age: Option<Duration>,
    max_token_lifetime: Option<Duration>,
    unverified_binding: bool,
    require_binding: bool,
}

impl IssuerRulesBuilder {
    /// The greatest clock skew. A greater skew means a broken clock, and would extend every expiry
    /// by as much.
    pub const MAX_CLOCK_SKEW: Duration = MAX_CLOCK_SKEW;

    /// Accepts tokens for this audience. Call it again for further ones. Required, without a default:
    /// without an audience, tokens for any other service of the issuer would be accepted.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts tokens for any audience, or for none.
    ///
    /// # Security
    /// Every service that receives a token of this issuer can use it here on behalf of its
    /// subject.
    pub fn danger_any_audience(mut self) -> Self {
        self.any_audience = true;
        self
    }

    /// Reads the audience from another claim: Cognito's access tokens have none but
    /// `client_id`. Default: `aud`.
    pub fn audience_claim(mut self, claim: impl Into<String>) -> Self {
        let claim: String = claim.into();
        self.mapping.audience_from = Some(claim.into());
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

    /// Accepts only these algorithms. Default: those of the mapping, or else
    /// [`Algorithm::DEFAULT`], which are all; a
    /// key is never used with an algorithm of another type or with one that its own `alg`
    /// excludes.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = Some(algorithms.into_iter().collect());
        self
    }

    /// Reads claims by this mapping. Members that it leaves out keep their present values.
    /// Default: [`ClaimMapping::oidc`]. Call it before the options that change single
    /// members.
    pub fn mapping(mut self, mapping: ClaimMapping) -> Self {
        self.mapping = mapping.over(self.mapping);
        self.kind_rules = 0;
        self
    }

    /// Reads claims by a preset, which replaces the present mapping.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.mapping = preset.mapping();
        self.kind_rules = 0;
        self
    }

    /// States that the issuer's name is that of one tenant of a provider: `template` with the
    /// tenant in the place of its only `{…}`. The claim must name the same tenant. The subject's
    /// template must contain it, because the rules of all tenants share an alias.
    pub fn tenant(
        mut self,
        template: impl Into<String>,
        claim: impl Into<String>,
        tenant: impl Into<String>,
    ) -> Self {
        let claim: String = claim.into();
        self.bound = Some(Bound {
            template: template.into(),
            claim: claim.into(),
            tenant: tenant.into(),
        });
        self
    }

    /// Accepts only callers of these tenants ([`Caller::tenant`](crate::Caller::tenant)):
    /// accounts, organizations, trust domains. Default: all tenants of the issuer.
    pub fn tenants(mut self, tenants: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tenants = tenants.into_iter().map(Into::into).collect();
        self
    }

    /// Refuses tokens with a chain of delegation (`act`). Default: as the mapping says; a mapping
    /// without `actor` refuses them.
    pub fn refuse_delegation(mut self) -> Self {
        self.mapping.refuse_delegation();
        self
    }

    /// Treats a token whose subject is its only actor (`act.sub` is `sub`) as a direct call.
    /// Default: it is refused as a delegation cycle.
    pub fn ignore_self_act(mut self) -> Self {
        self.ignore_self_act = true;
        self
    }

    /// Reads the subject from another claim: Okta's `sub` is a login name, its `uid` does
    /// not change. Default: `sub`.
    pub fn subject_claim(mut self, claim: impl Into<String>) -> Self {
        self.mapping.subject_from(&claim.into());
        self
    }

    /// Reads groups from these claims, each an array of strings if it is present. Default:
    /// `groups`.
    pub fn groups(mut self, claims: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.mapping
            .groups_from(claims.into_iter().map(Into::into).collect());
        self
    }

    /// How to treat tokens that do not list all groups. Default: as the mapping says, or refuse.
    pub fn group_overage(mut self, overage: GroupOverage) -> Self {
        self.mapping.overage(overage);
        self
    }

    /// Sets the kind of a caller whose claim is this word, or a list (an array, or words between
    /// spaces) that contains it. Call it again for further rules. They are tried in order, before
    /// those of the mapping. Default: none.
    pub fn kind_when(
        mut self,
        claim: impl Into<String>,
        word: impl Into<String>,
        kind: CallerKind,
    ) -> Self {
        let (claim, word): (String, String) = (claim.into(), word.into());
        self.mapping.kind_when(&claim, word, kind, self.kind_rules);
        self.kind_rules += 1;
        self
    }

    /// Sets the kind of a caller that no rule classifies. Default: as the mapping says, which for
    /// [`ClaimMapping::oidc`] is [`CallerKind::User`]. For an
    /// issuer whose programs cannot be distinguished from people, choose
    /// [`CallerKind::Unclassified`], which no role admits.
    pub fn kind_otherwise(mut self, kind: CallerKind) -> Self {
        self.mapping.kind_otherwise(kind);
        self
    }

    /// How far the issuer's clock may be from ours, for `exp`, `nbf` and `iat`. Default:
    /// 60 seconds; at most [`Self::MAX_CLOCK_SKEW`].
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// How long after it was issued a token may be used, whatever its `exp`; `iat` becomes
    /// required. Beyond 80 % of it, the freshness is
    /// [`Freshness::RotateSoon`](crate::Freshness::RotateSoon). Default: 30 days, so that even a
    /// token that never expires is rotated monthly. `None` turns it off.
    pub fn max_token_age(mut self, age: Option<Duration>) -> Self {
        self.max_token_age = age;
        self
    }

    /// The greatest lifetime of a token (`exp` − `iat`); `iat` becomes required. Default: `None`,
    /// no limit. If the lifetime is a day or longer, the freshness is
    /// [`Freshness::RotateSoon`](crate::Freshness::RotateSoon) when 80 % of it are over.
    pub fn max_token_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.max_token_lifetime = lifetime;
        self
    }

    /// Demands the JWT profile for access tokens (RFC 9068 §2): `typ` must be `at+jwt`, and
    /// `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti` must be there. Default: off,
    /// since few issuers follow it yet.
    pub fn rfc9068(mut self) -> Self {
        self.mapping.rfc9068();
        self
    }

    /// Refuses plain bearer tokens, and accepts only tokens that are bound to a key (`DPoP`, RFC
    /// 9449) or to a client's certificate (RFC 8705). Default: both kinds are accepted.
    pub fn require_binding(mut self) -> Self {
        self.require_binding = true;
        self
    }

    /// Accepts sender-constrained tokens (`cnf`, RFC 7800) as if they were bearer tokens.
    /// Default: they are refused without their proof.
    ///
    /// # Security
    /// Use it only if a component in front verifies the binding (mutual TLS, `DPoP`). Otherwise a
    /// stolen token can be used, which the binding was meant to prevent.
    pub fn danger_allow_unverified_binding(mut self) -> Self {
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
        if self.require_binding && self.unverified_binding {
            problems.add(|alias| RulesProblem::Binding { alias });
        }
        let may_be_domain = self.mapping.issuer_regex.is_some();
        let is_domain = may_be_domain && is_trust_domain(&self.issuer);
        if !is_domain && !is_issuer(&self.issuer) {
            let issuer = self.issuer.clone();
            problems.add(|alias| RulesProblem::Issuer { alias, issuer });
        }
        self.check_mapping(&mut problems);
        let algorithms = self.algorithms.or_else(|| self.mapping.algorithms());
        let rules = IssuerRules {
            alias: self.alias,
            issuer: self.issuer,
            audiences: self.audiences,
            any_audience: self.any_audience,
            authorized_parties: self.authorized_parties,
            algorithms: algorithms.unwrap_or_else(|| Algorithm::DEFAULT.to_vec()),
            mapping: self.mapping,
            bound: self.bound,
            tenants: self.tenants,
            ignore_self_act: self.ignore_self_act,
            clock_skew: self.clock_skew,
            max_token_age: self.max_token_age,
            max_token_lifetime: self.max_token_lifetime,
            unverified_binding: self.unverified_binding,
            require_binding: self.require_binding,
        };
        problems.none().map(|()| rules)
    }

    fn check_mapping(&self, problems: &mut Problems) {
        for MappingProblem { member, problem } in self.mapping.problems() {
            problems.add(|alias| RulesProblem::Mapping {
                alias,
                member,
                problem,
            });
        }
        if let Some(bound) = &self.bound
            && !self.mapping.subject_names(&bound.claim)
        {
            problems.add(|alias| RulesProblem::TenantlessSubject { alias });
        }
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
            (
                self.algorithms.as_ref().is_some_and(Vec::is_empty),
                "algorithms",
            ),
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
