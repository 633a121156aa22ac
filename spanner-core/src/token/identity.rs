//! Builds a caller from verified claims.

use crate::Timestamp;
use crate::caller::{Caller, Credential};
use crate::name::{GroupName, NameError};
use crate::party::{Group, Principal, Role};
use crate::refusal::TokenFault;
use crate::token::claims::one_or_more;
use crate::token::json::{MAX_ITEMS, Members};
use crate::token::mapping::Actor;
use crate::token::rules::IssuerRules;

/// The caller that the claims describe.
pub(super) fn caller(
    rules: &IssuerRules,
    claims: &Members,
    credential: Credential,
    signed_in: Option<Timestamp>,
) -> Result<Caller, TokenFault> {
    let (mapping, alias) = (&rules.mapping, &rules.alias);
    let subject = mapping.subject_of(claims)?;
    let client = mapping.client_of(claims)?;
    let tenant = tenant(rules, claims)?;
    let (kind, origin) = mapping.kind_of(claims)?;
    let mut actors = mapping.actors_of(claims, &rules.issuer, client)?;
    if rules.ignore_self_act && matches!(actors.as_slice(), [only] if only.subject == subject) {
        actors.clear();
    }
    // The subject must not act for itself, whatever kind the actor has.
    if actors.iter().any(|actor| actor.subject == subject) {
        return Err(TokenFault::DelegationCycle);
    }
    let principal = |actor: Actor| Principal::new(alias.clone(), actor.kind, actor.subject);
    let role = |name| Role::new(alias.clone(), name);
    let group = |name| Group::new(alias.clone(), name);
    let mut caller = Caller::assertion(Principal::new(alias.clone(), kind, subject))
        .groups(names(&mapping.groups_of(claims)?)?.into_iter().map(group))
        .roles(names(&mapping.roles_of(claims)?)?.into_iter().map(role))
        .actors(actors.into_iter().map(principal))
        .scopes(mapping.scopes_of(claims)?)
        .assurance(assurance(claims)?)
        .credential(credential);
    if let Some(time) = signed_in {
        caller = caller.authenticated_at(time);
    }
    if let Some(client) = client {
        caller = caller.client(client);
    }
    if let Some(tenant) = tenant {
        caller = caller.tenant(tenant);
    }
    if let Some(origin) = origin {
        caller = caller.origin(origin);
    }
    if !mapping.groups_complete(claims)? {
        caller = caller.groups_incomplete();
    }
    caller.caller().map_err(|_| TokenFault::DelegationCycle)
}

/// The tenant. If the rules list tenants, it must be one of them.
fn tenant<'c>(rules: &IssuerRules, claims: &'c Members) -> Result<Option<&'c str>, TokenFault> {
    let tenant = rules.mapping.tenant_of(claims)?;
    let listed = |tenant: &str| rules.tenants.iter().any(|listed| listed == tenant);
    if rules.tenants.is_empty() || tenant.is_some_and(listed) {
        Ok(tenant)
    } else {
        Err(TokenFault::Issuer)
    }
}

fn names(texts: &[String]) -> Result<Vec<GroupName>, TokenFault> {
    if texts.len() > MAX_ITEMS {
        return Err(TokenFault::ClaimLimit);
    }
    let name = |text: &String| {
        GroupName::new(text).map_err(|error| match error {
            NameError::TooLong { .. } => TokenFault::ClaimLimit,
            NameError::Empty { .. } | NameError::Character { .. } | NameError::Segment { .. } => {
                TokenFault::ClaimValue
            }
        })
    };
    texts.iter().map(name).collect()
}

/// How strongly the subject was authenticated. Issuers define their own values of `acr`, so only
/// those of specifications are used. Of `amr` (RFC 8176), only values that state several factors
/// count as such.
///
/// | | `acr` | `amr` has |
/// |---|---|---|
/// | 3 | `phr`, `phrh` | `fido` |
/// | 2 | the multi-factor URI of PAPE | `mfa` |
/// | 1 | | any other method that a person performs |
/// | 0 | anything else | nothing, or only `rba`, `geo`, `kba`, `user`, `wia` |
fn assurance(claims: &Members) -> Result<u8, TokenFault> {
    const MULTI_FACTOR: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";
    const NO_FACTOR: &[&str] = &["rba", "geo", "kba", "user", "wia"];
    let class = match claims.text("acr")? {
        Some("phr" | "phrh") => 3,
        Some(MULTI_FACTOR) => 2,
        Some(_) | None => 0,
    };
    let methods = claims.get("amr").map(one_or_more).transpose()?;
    let method = methods.into_iter().flatten().map(|method| match method {
        "fido" => 3,
        "mfa" => 2,
        other if NO_FACTOR.contains(&other) => 0,
        _ => 1,
    });
    Ok(method.max().unwrap_or(0).max(class))
}
