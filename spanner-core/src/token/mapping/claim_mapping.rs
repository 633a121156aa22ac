//! The claim mapping and its members.

use serde::Deserialize;

use super::condition::{self, Condition};
use super::pointer::Pointer;
use super::selector::Selector;
use super::template::Template;
use crate::party::CallerKind;
use crate::refusal::TokenFault;
use crate::token::algorithm::Algorithm;
use crate::token::json::Members;
use crate::token::media_type::plain_type;
use crate::token::overage::GroupOverage;

/// How the claims of an issuer's tokens name the caller. See the
/// [module](crate::token#claim-mappings) for its members. A member that is left out has the value
/// of the mapping below.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimMapping {
    pub(in crate::token) typ: Option<Vec<Option<String>>>,
    pub(super) algs: Option<Vec<String>>,
    pub(in crate::token) key_use: Option<String>,
    pub(in crate::token) header_only: Option<Vec<String>>,
    pub(super) id_tokens: Option<bool>,
    pub(in crate::token) issuer_regex: Option<Capture>,
    pub(in crate::token) audience_from: Option<Pointer>,
    pub(super) reject: Option<Vec<Condition>>,
    pub(super) require: Option<Vec<Pointer>>,
    pub(super) subject: Option<Vec<Pointer>>,
    pub(super) subject_template: Option<Template>,
    pub(super) subject_fallback: Option<Fallback>,
    pub(super) client: Option<Vec<Pointer>>,
    pub(super) tenant: Option<Vec<Pointer>>,
    pub(super) tenant_regex: Option<Capture>,
    pub(super) kind: Option<Vec<KindRule>>,
    pub(super) default_kind: Option<Kind>,
    pub(super) groups: Option<Vec<Selector>>,
    pub(super) roles: Option<Vec<Selector>>,
    pub(super) scopes: Option<Vec<Selector>>,
    pub(super) actor: Option<ActorMapping>,
    pub(super) actor_from_client: Option<ClientActor>,
    pub(super) incomplete_groups: Option<Vec<Condition>>,
    pub(super) group_overage: Option<GroupOverage>,
}

/// The subject of tokens without any of the usual subject claims.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fallback {
    pub(super) template: Template,
    pub(super) when: Condition,
}

/// A claim with a regular expression, whose first capture is the value.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "(Pointer, String)")]
pub(in crate::token) struct Capture {
    pub(in crate::token) at: Pointer,
    pub(in crate::token) pattern: String,
    pub(super) regex: Option<regex_lite::Regex>,
}

impl From<(Pointer, String)> for Capture {
    fn from((at, pattern): (Pointer, String)) -> Self {
        let regex = regex_lite::Regex::new(&pattern).ok();
        Self {
            at,
            regex: regex.filter(|regex| regex.captures_len() == 2),
            pattern,
        }
    }
}

impl PartialEq for Capture {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.pattern == other.pattern
    }
}

impl Capture {
    pub(in crate::token) fn find<'c>(&self, claims: &'c Members) -> Option<&'c str> {
        let text = self.at.find(claims)?.as_str()?;
        let captures = self.regex.as_ref()?.captures(text)?;
        captures.get(1).map(|found| found.as_str())
    }
}

/// A kind of party, finer than [`CallerKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    User,
    Service,
    Agent,
    Workload,
    Pipeline,
    #[serde(alias = "unclassified")]
    Unknown,
}

impl Kind {
    pub(super) const fn kind(self) -> CallerKind {
        match self {
            Self::User => CallerKind::User,
            Self::Service | Self::Workload | Self::Pipeline => CallerKind::Service,
            Self::Agent => CallerKind::Agent,
            Self::Unknown => CallerKind::Unclassified,
        }
    }

    pub(super) const fn origin(self) -> Option<&'static str> {
        match self {
            Self::Workload => Some("workload"),
            Self::Pipeline => Some("pipeline"),
            Self::User | Self::Service | Self::Agent | Self::Unknown => None,
        }
    }
}

impl From<CallerKind> for Kind {
    fn from(kind: CallerKind) -> Self {
        match kind {
            CallerKind::User => Self::User,
            CallerKind::Service => Self::Service,
            CallerKind::Agent => Self::Agent,
            CallerKind::Unclassified => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindRule {
    pub(super) kind: Kind,
    pub(super) when: Condition,
}

/// Where the actor is (RFC 8693 §4.1), and how its kind is determined. Pointers and conditions
/// refer to the actor's own object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActorMapping {
    pub(super) at: Pointer,
    pub(super) subject: Vec<Pointer>,
    #[serde(default)]
    pub(super) kind: Vec<KindRule>,
    pub(super) default_kind: Kind,
    pub(super) max_depth: Option<usize>,
}

/// When the OAuth client is the actor, and its kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientActor {
    pub(super) when: Condition,
    pub(super) kind: Kind,
}

macro_rules! members {
    ($($member:ident),* $(,)?) => {
        impl ClaimMapping {
            /// The names of its members, for readers of files that also have other members.
            pub const MEMBERS: &'static [&'static str] = &[$(stringify!($member)),*];

            fn lay_over(self, below: Self) -> Self {
                Self { $($member: self.$member.or(below.$member),)* }
            }
        }
    };
}

members!(
    typ,
    algs,
    key_use,
    header_only,
    id_tokens,
    issuer_regex,
    audience_from,
    reject,
    require,
    subject,
    subject_template,
    subject_fallback,
    client,
    tenant,
    tenant_regex,
    kind,
    default_kind,
    groups,
    roles,
    scopes,
    actor,
    actor_from_client,
    incomplete_groups,
    group_overage,
);

impl ClaimMapping {
    /// This mapping, with the members that it leaves out from `below`.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        let over = self;
        // The members about the subject are replaced together.
        let below = if over.subject.is_some() || over.subject_template.is_some() {
            Self {
                subject: None,
                subject_template: None,
                subject_fallback: None,
                ..below
            }
        } else {
            below
        };
        over.lay_over(below)
    }

    pub(in crate::token) fn subject_from(&mut self, claim: &str) {
        self.subject = Some(vec![claim.into()]);
        self.subject_template = None;
        self.subject_fallback = None;
    }

    pub(in crate::token) fn groups_from(&mut self, claims: Vec<String>) {
        let selectors = claims
            .into_iter()
            .map(|claim| Selector::strings(claim.into()));
        self.groups = Some(selectors.collect());
    }

    pub(in crate::token) fn overage(&mut self, overage: GroupOverage) {
        self.group_overage = Some(overage);
    }

    /// Inserts a rule after the `rules` that were inserted before, and before those of the mapping.
    pub(in crate::token) fn kind_when(
        &mut self,
        claim: &str,
        word: String,
        kind: CallerKind,
        rules: usize,
    ) {
        let when = Condition::Contains(claim.into(), word);
        let kind = kind.into();
        let all = self.kind.get_or_insert_default();
        let at = rules.min(all.len());
        all.insert(at, KindRule { kind, when });
    }

    pub(in crate::token) fn kind_otherwise(&mut self, kind: CallerKind) {
        self.default_kind = Some(kind.into());
    }

    pub(in crate::token) fn refuse_delegation(&mut self) {
        self.actor = None;
        self.actor_from_client = None;
    }

    /// Demands the JWT profile for access tokens (RFC 9068 §2).
    pub(in crate::token) fn rfc9068(&mut self) {
        const CLAIMS: &[&str] = &["iss", "exp", "aud", "sub", "client_id", "iat", "jti"];
        self.typ = Some(vec![Some("at+jwt".to_owned())]);
        let required = self.require.get_or_insert_default();
        required.extend(CLAIMS.iter().map(|claim| Pointer::from(*claim)));
    }

    /// The algorithms, if the mapping has its own list. Unknown names are a
    /// [`MappingProblem`](super::MappingProblem).
    pub(in crate::token) fn algorithms(&self) -> Option<Vec<Algorithm>> {
        let names = self.algs.as_ref()?;
        Some(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Whether a token with this `typ` is accepted. Media types are compared without regard to
    /// case, and `application/` may be left out (RFC 7515 §4.1.9).
    pub(in crate::token) fn accepts_type(&self, typ: Option<&str>) -> bool {
        let typ = typ.map(plain_type);
        self.typ.as_ref().is_none_or(|accepted| {
            let accepted = accepted.iter().map(|one| match one.as_deref() {
                None | Some("") => None,
                Some(one) => Some(plain_type(one)),
            });
            accepted.into_iter().any(|one| match (one, typ) {
                (None, None) => true,
                (Some(one), Some(typ)) => one.eq_ignore_ascii_case(typ),
                (None, Some(_)) | (Some(_), None) => false,
            })
        })
    }

    pub(in crate::token) fn accepts_id_tokens(&self) -> bool {
        self.id_tokens.unwrap_or(false)
    }

    /// Whether the subject contains the tenant, so that subjects of different tenants are
    /// different.
    pub(in crate::token) fn subject_names(&self, tenant: &Pointer) -> bool {
        let template = self.subject_template.as_ref();
        template.is_some_and(|template| template.reads(tenant))
    }

    /// Checks `reject`, then `require`.
    pub(in crate::token) fn check(&self, claims: &Members) -> Result<(), TokenFault> {
        if condition::any(self.reject.as_deref().unwrap_or_default(), claims)? {
            return Err(TokenFault::ClaimValue);
        }
        let required = self.require.as_deref().unwrap_or_default();
        if required.iter().all(|at| at.find(claims).is_some()) {
            Ok(())
        } else {
            Err(TokenFault::MissingClaim)
        }
    }
}

/// The names that the selectors read, in order and without duplicates.
pub(super) fn read_all(
    selectors: &[Selector],
    claims: &Members,
) -> Result<Vec<String>, TokenFault> {
    let prefixes = selectors.iter().filter_map(|it| it.prefix.as_ref());
    let literal: Vec<&str> = prefixes.filter_map(Template::literal).collect();
    let mut names = Vec::new();
    for selector in selectors {
        selector.read(claims, &literal, &mut names)?;
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}
