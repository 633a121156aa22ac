//! Reads parties from claims by a mapping.

use std::collections::HashSet;

use super::claim_mapping::{ActorMapping, ClaimMapping, Kind, KindRule, read_all};
use super::condition::any;
use super::template::{Source, Template};
use crate::caller::Caller;
use crate::name::{NameError, SubjectId};
use crate::party::CallerKind;
use crate::refusal::TokenFault;
use crate::token::claims::{MAX_TEXT, shown};
use crate::token::json::{Json, Members};
use crate::token::overage::GroupOverage;

/// The most scopes of a token. Real tokens have up to 20. Groups and roles are bounded by
/// [`MAX_ITEMS`](crate::token::json::MAX_ITEMS).
const MAX_SCOPES: usize = 64;

/// The claim that names the audience. It is used as the client only if no other claim names one.
const AUDIENCE: &str = "aud";

/// One actor of a delegation chain.
pub(in crate::token) struct Actor {
    pub(in crate::token) subject: SubjectId,
    pub(in crate::token) kind: CallerKind,
}

impl ClaimMapping {
    pub(in crate::token) fn subject_of(&self, claims: &Members) -> Result<SubjectId, TokenFault> {
        let template = match &self.subject_fallback {
            Some(fallback) if fallback.when.holds(claims)? => Some(&fallback.template),
            Some(_) | None => self.subject_template.as_ref(),
        };
        match template {
            Some(template) => {
                let text = fill(template, claims)?.ok_or(TokenFault::MissingClaim)?;
                subject_id(&text)
            }
            None => {
                let mut values = self.subject.iter().flatten();
                let value = values
                    .find_map(|at| at.find(claims))
                    .ok_or(TokenFault::MissingClaim)?;
                subject_id(value.as_str().ok_or(TokenFault::ClaimType)?)
            }
        }
    }

    /// The OAuth client. Claims that name different clients are refused, because another reader
    /// could pick the other one.
    pub(in crate::token) fn client_of<'c>(
        &self,
        claims: &'c Members,
    ) -> Result<Option<&'c str>, TokenFault> {
        let mut client = None;
        for at in self.client.iter().flatten() {
            let Some(value) = at.find(claims) else {
                continue;
            };
            if at.top() == AUDIENCE {
                client = client.or(only(value)?);
                continue;
            }
            match (client, value.as_str().ok_or(TokenFault::ClaimType)?) {
                (_, "") => return Err(TokenFault::ClaimValue),
                (Some(one), other) if one != other => return Err(TokenFault::ClaimValue),
                (_, found) => client = Some(found),
            }
        }
        client.map(shown).transpose()
    }

    pub(in crate::token) fn tenant_of<'c>(
        &self,
        claims: &'c Members,
    ) -> Result<Option<&'c str>, TokenFault> {
        if let Some(capture) = &self.tenant_regex {
            return capture.find(claims).map(shown).transpose();
        }
        let mut values = self.tenant.iter().flatten();
        let value = values.find_map(|at| at.find(claims));
        value
            .map(|value| shown(value.as_str().ok_or(TokenFault::ClaimType)?))
            .transpose()
    }

    /// The kind of the subject, with the provider's finer kind.
    pub(in crate::token) fn kind_of(
        &self,
        claims: &Members,
    ) -> Result<(CallerKind, Option<&'static str>), TokenFault> {
        let rules = self.kind.as_deref().unwrap_or_default();
        let otherwise = self.default_kind.unwrap_or(Kind::Unknown);
        let kind = kind(rules, otherwise, claims)?;
        Ok((kind.kind(), kind.origin()))
    }

    pub(in crate::token) fn groups_of(&self, claims: &Members) -> Result<Vec<String>, TokenFault> {
        read_all(self.groups.as_deref().unwrap_or_default(), claims)
    }

    pub(in crate::token) fn roles_of(&self, claims: &Members) -> Result<Vec<String>, TokenFault> {
        read_all(self.roles.as_deref().unwrap_or_default(), claims)
    }

    /// The OAuth scopes, as RFC 6749 §3.3 spells them: visible ASCII without `"` and `\`.
    pub(in crate::token) fn scopes_of(&self, claims: &Members) -> Result<Vec<String>, TokenFault> {
        let scopes = read_all(self.scopes.as_deref().unwrap_or_default(), claims)?;
        let is_token = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if scopes.len() > MAX_SCOPES || scopes.iter().any(|scope| scope.len() > MAX_TEXT) {
            Err(TokenFault::ClaimLimit)
        } else if scopes.iter().all(|scope| scope.bytes().all(is_token)) {
            Ok(scopes)
        } else {
            Err(TokenFault::ClaimValue)
        }
    }

    /// Whether the token lists all groups.
    pub(in crate::token) fn groups_complete(&self, claims: &Members) -> Result<bool, TokenFault> {
        let conditions = self.incomplete_groups.as_deref().unwrap_or_default();
        match (
            any(conditions, claims)?,
            self.group_overage.unwrap_or_default(),
        ) {
            (false, _) => Ok(true),
            (true, GroupOverage::Flag) => Ok(false),
            (true, GroupOverage::Refuse) => Err(TokenFault::GroupsOverage),
        }
    }

    /// The actors, the current one first: the chain of `act`, or the client if the mapping makes it
    /// an actor. All belong to the token's issuer, which cannot vouch for principals of another
    /// one.
    pub(in crate::token) fn actors_of(
        &self,
        claims: &Members,
        issuer: &str,
        client: Option<&str>,
    ) -> Result<Vec<Actor>, TokenFault> {
        let mut actors = match &self.actor {
            Some(mapping) => mapping.chain(claims, issuer)?,
            None if claims.has("act") => return Err(TokenFault::DelegationNotAllowed),
            None => Vec::new(),
        };
        if let Some(mapping) = &self.actor_from_client
            && mapping.when.holds(claims)?
        {
            let client = client.ok_or(TokenFault::MissingClaim)?;
            let actor = Actor {
                subject: subject_id(client)?,
                kind: mapping.kind.kind(),
            };
            actors.insert(0, actor);
        }
        Ok(actors)
    }
}

impl ActorMapping {
    fn chain(&self, claims: &Members, issuer: &str) -> Result<Vec<Actor>, TokenFault> {
        let most = self.max_depth.unwrap_or(Caller::MAX_DEPTH);
        let mut actors: Vec<Actor> = Vec::new();
        let mut seen = HashSet::new();
        let mut outer = self.at.find(claims);
        while let Some(value) = outer {
            let Json::Object(act) = value else {
                return Err(TokenFault::ClaimType);
            };
            if actors.len() == most {
                return Err(TokenFault::DelegationDepth);
            }
            if act.text("iss")?.is_some_and(|theirs| theirs != issuer) {
                return Err(TokenFault::ClaimValue);
            }
            let subject = self.subject.iter().find_map(|at| at.find(act));
            let subject = subject
                .and_then(Json::as_str)
                .ok_or(TokenFault::ClaimType)?;
            let subject = SubjectId::new(subject).map_err(|_| TokenFault::ClaimValue)?;
            if !seen.insert(subject.clone()) {
                return Err(TokenFault::DelegationCycle);
            }
            let kind = kind(&self.kind, self.default_kind, act)?.kind();
            actors.push(Actor { subject, kind });
            outer = act.get("act");
        }
        Ok(actors)
    }
}

fn kind(rules: &[KindRule], otherwise: Kind, party: &Members) -> Result<Kind, TokenFault> {
    for rule in rules {
        if rule.when.holds(party)? {
            return Ok(rule.kind);
        }
    }
    Ok(otherwise)
}

fn fill(template: &Template, claims: &Members) -> Result<Option<String>, TokenFault> {
    let source = Source {
        claims,
        captured: &[],
        entry: None,
        outer: None,
    };
    template.fill(source, false)
}

fn subject_id(text: &str) -> Result<SubjectId, TokenFault> {
    SubjectId::new(text).map_err(|error| match error {
        NameError::Empty { .. } => TokenFault::MissingClaim,
        NameError::TooLong { .. } | NameError::Character { .. } | NameError::Segment { .. } => {
            TokenFault::ClaimValue
        }
    })
}

/// A string, or the only string of a list.
fn only(value: &Json) -> Result<Option<&str>, TokenFault> {
    match value {
        Json::String(text) => Ok(Some(text)),
        Json::Array(items) => match items.as_slice() {
            [Json::String(text)] => Ok(Some(text)),
            _ => Ok(None),
        },
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {
            Err(TokenFault::ClaimType)
        }
    }
}
