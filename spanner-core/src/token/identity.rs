//! Verified claims become a caller.

use std::collections::HashSet;

use crate::caller::{Caller, CallerKind, Credential, Group, Principal};
use crate::name::{GroupName, NameError, SubjectId, is_displayable};
use crate::refusal::TokenFault;
use crate::token::claims::{one_or_more, strings};
use crate::token::json::{Json, MAX_ITEMS, Members};
use crate::token::rules::{GroupOverage, IssuerRules};

/// How many scopes a token may have; real ones have up to 20. Groups are bounded by
/// [`MAX_ITEMS`].
const MAX_SCOPES: usize = 64;

/// The longest scope, client or `jti`, in bytes. They are shown in records.
const MAX_TEXT: usize = 256;

/// Who the claims say is calling.
pub(super) fn caller(
    rules: &IssuerRules,
    claims: &Members,
    credential: Credential,
) -> Result<Caller, TokenFault> {
    if claims.has("cnf") && !rules.unverified_binding {
        return Err(TokenFault::ProofRequired);
    }
    let subject = subject(rules, claims)?;
    let client = claims.client()?.map(shown).transpose()?;
    let kind = kind(rules, claims, client)?;
    let actors = actors(rules, claims, &subject)?;
    let mut caller = Caller::assertion(Principal::new(rules.alias.clone(), kind, subject))
        .groups(groups(rules, claims)?)
        .actors(actors)
        .scopes(scopes(claims)?)
        .assurance(assurance(claims)?)
        .credential(credential);
    if let Some(client) = client {
        caller = caller.client(client);
    }
    if !groups_complete(rules, claims)? {
        caller = caller.groups_incomplete();
    }
    caller.caller().map_err(|_| TokenFault::DelegationCycle)
}

/// A text that records show: bounded, and without characters that forge what is read.
pub(super) fn shown(text: &str) -> Result<&str, TokenFault> {
    match text.len() {
        0 => Err(TokenFault::ClaimValue),
        1..=MAX_TEXT if text.chars().all(is_displayable) => Ok(text),
        1..=MAX_TEXT => Err(TokenFault::ClaimValue),
        _ => Err(TokenFault::ClaimLimit),
    }
}

fn subject(rules: &IssuerRules, claims: &Members) -> Result<SubjectId, TokenFault> {
    let value = rules.subject.find(claims).ok_or(TokenFault::MissingClaim)?;
    let text = value.as_str().ok_or(TokenFault::ClaimType)?;
    SubjectId::new(text).map_err(|error| match error {
        NameError::Empty { .. } => TokenFault::MissingClaim,
        NameError::TooLong { .. } | NameError::Character { .. } | NameError::Segment { .. } => {
            TokenFault::ClaimValue
        }
    })
}

/// The first rule that says something: the issuer's own, what the token calls its subject,
/// how the token was obtained, whether the subject is the client itself.
fn kind(
    rules: &IssuerRules,
    claims: &Members,
    client: Option<&str>,
) -> Result<CallerKind, TokenFault> {
    for rule in &rules.kinds {
        if let Some(value) = rule.claim.find(claims)
            && words(value)?.any(|word| word == rule.word)
        {
            return Ok(rule.kind);
        }
    }
    if let Some(kind) = profile(claims)? {
        return Ok(kind);
    }
    for grant in ["gty", "grant_type"] {
        if let Some(value) = claims.get(grant)
            && words(value)?.any(|word| matches!(word, "client-credentials" | "client_credentials"))
        {
            return Ok(CallerKind::Service);
        }
    }
    if client.is_some() && claims.text("sub")? == client {
        return Ok(CallerKind::Service);
    }
    Ok(rules.kind_otherwise)
}

/// What `sub_profile` calls a party, if anything that we know; its words are compared in
/// any case.
fn profile(party: &Members) -> Result<Option<CallerKind>, TokenFault> {
    let Some(value) = party.get("sub_profile") else {
        return Ok(None);
    };
    let called: Vec<&str> = words(value)?.collect();
    let kinds = [
        ("ai_agent", CallerKind::Agent),
        ("service", CallerKind::Service),
        ("user", CallerKind::User),
    ];
    Ok(kinds
        .into_iter()
        .find(|(name, _)| called.iter().any(|word| word.eq_ignore_ascii_case(name)))
        .map(|(_, kind)| kind))
}

/// The chain of `act` (RFC 8693 §4.1), the current actor first. Actors are of the token's
/// own issuer: it has no say about another's.
fn actors(
    rules: &IssuerRules,
    claims: &Members,
    subject: &SubjectId,
) -> Result<Vec<Principal>, TokenFault> {
    let mut actors: Vec<Principal> = Vec::new();
    let mut outer = claims.get("act");
    while let Some(value) = outer {
        let Json::Object(act) = value else {
            return Err(TokenFault::ClaimType);
        };
        if actors.len() == Caller::MAX_DEPTH {
            return Err(TokenFault::DelegationDepth);
        }
        if act
            .text("iss")?
            .is_some_and(|issuer| issuer != rules.issuer)
        {
            return Err(TokenFault::ClaimValue);
        }
        let actor = act.text("sub")?.ok_or(TokenFault::ClaimType)?;
        let actor = SubjectId::new(actor).map_err(|_| TokenFault::ClaimValue)?;
        // Whatever kinds the links have: who acts for themselves through others is a circle.
        if actor == *subject || actors.iter().any(|earlier| earlier.subject == actor) {
            return Err(TokenFault::DelegationCycle);
        }
        let kind = profile(act)?.unwrap_or(CallerKind::Agent);
        actors.push(Principal::new(rules.alias.clone(), kind, actor));
        outer = act.get("act");
    }
    Ok(actors)
}

fn groups(rules: &IssuerRules, claims: &Members) -> Result<Vec<Group>, TokenFault> {
    let mut seen = HashSet::new();
    let mut groups = Vec::new();
    for value in rules.groups.iter().filter_map(|path| path.find(claims)) {
        for name in strings(value)? {
            if !seen.insert(name) {
                continue;
            }
            if groups.len() == MAX_ITEMS {
                return Err(TokenFault::ClaimLimit);
            }
            groups.push(Group::new(rules.alias.clone(), group_name(name)?));
        }
    }
    Ok(groups)
}

fn group_name(name: &str) -> Result<GroupName, TokenFault> {
    GroupName::new(name).map_err(|error| match error {
        NameError::TooLong { .. } => TokenFault::ClaimLimit,
        NameError::Empty { .. } | NameError::Character { .. } | NameError::Segment { .. } => {
            TokenFault::ClaimValue
        }
    })
}

/// Whether the token lists all groups, or says that it does not: `_claim_names` points
/// elsewhere for them (OpenID Connect Core §5.6.2), or `hasgroups` is set.
fn groups_complete(rules: &IssuerRules, claims: &Members) -> Result<bool, TokenFault> {
    let elsewhere = match claims.get("_claim_names") {
        None => false,
        Some(Json::Object(names)) => {
            names.has("groups") || rules.groups.iter().any(|path| names.has(path.top()))
        }
        Some(_) => return Err(TokenFault::ClaimType),
    };
    let has_groups = match claims.get("hasgroups") {
        None | Some(Json::Bool(false)) => false,
        Some(Json::Bool(true)) => true,
        Some(_) => return Err(TokenFault::ClaimType),
    };
    match (elsewhere || has_groups, rules.group_overage) {
        (false, _) => Ok(true),
        (true, GroupOverage::Flag) => Ok(false),
        (true, GroupOverage::Refuse) => Err(TokenFault::GroupsOverage),
    }
}

/// `scope` (words between spaces, RFC 8693 §4.2) and `scp` (the same, or an array), each
/// once.
fn scopes(claims: &Members) -> Result<Vec<String>, TokenFault> {
    let mut scopes: Vec<String> = Vec::new();
    let scope = claims.text("scope")?.unwrap_or_default().split(' ');
    let scp = claims.get("scp").map(words).transpose()?;
    for word in scope.chain(scp.into_iter().flatten()) {
        if word.is_empty() || scopes.iter().any(|seen| seen == word) {
            continue;
        }
        if scopes.len() == MAX_SCOPES || word.len() > MAX_TEXT {
            return Err(TokenFault::ClaimLimit);
        }
        // RFC 6749 §3.3: visible ASCII without `"` and `\`.
        if !word
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        {
            return Err(TokenFault::ClaimValue);
        }
        scopes.push(word.to_owned());
    }
    Ok(scopes)
}

/// How strongly the subject was authenticated. `acr` is a word of the issuer's own, so
/// only those count that a specification defines; of `amr` (RFC 8176), only what says
/// itself that there were several factors.
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

/// The words of a text between spaces, or of an array of strings.
fn words(value: &Json) -> Result<impl Iterator<Item = &str>, TokenFault> {
    Ok(one_or_more(value)?
        .into_iter()
        .flat_map(|text| text.split(' ')))
}
