//! Why a question is answered as it is, and what would change the answer.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use spanner_core::{
    Action, CallerKind, Effect, Environment, Question, StepUp, Verdict, VerdictReason,
};

use crate::guardrail::Guardrail;
use crate::index::Policies;
use crate::load::{listed, quoted, suggestion};
use spanner_toml::lookalike;

/// Why a question has its answer, for operators and auditors. A caller learns less.
///
/// `Display` writes several lines. Its serialized form has the members of [`Explanation::json`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The digest of the access that answered.
    pub digest: Arc<str>,
    /// What was asked, in words: `user:corp/ann: generate on acme/sentiment in production`.
    pub asked: String,
    /// The answer, as the guard gets it.
    pub verdict: Verdict,
    /// The grants and guardrails that match or failed, by id.
    pub policies: Vec<Deciding>,
    /// If nothing permits it: the roles that would, the narrowest first.
    pub remedies: Vec<Remedy>,
    /// Whom to ask: the model's owner.
    pub owner: Option<String>,
    /// Further remarks: why no party of this kind may, that the model has no
    /// manifest, that a group is not in the directory.
    pub notes: Vec<String>,
}

/// An explanation for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplanationJson<'e> {
    /// The digest of the access that answered.
    pub access: &'e str,
    /// What was asked, in words.
    pub asked: &'e str,
    /// Allowed or refused.
    pub effect: Effect,
    /// Why: `granted`, `no_grant`, `forbidden`, `policy_error`, `not_applicable`.
    pub reason: &'static str,
    /// The policies that match or failed.
    pub policies: Vec<PolicyJson<'e>>,
    /// The guardrails in shadow mode that would have decided otherwise.
    pub shadows: Vec<&'e str>,
    /// The roles that would allow it.
    pub remedies: &'e [Remedy],
    /// Whom to ask.
    pub owner: Option<&'e str>,
    /// Further remarks.
    pub notes: &'e [String],
}

/// A policy of an explanation, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyJson<'e> {
    /// Its id.
    pub id: &'e str,
    /// What it asks for.
    pub effect: Effect,
    /// Whether it could not be evaluated.
    pub failed: bool,
    /// Its `@reason`.
    pub reason: Option<&'e str>,
    /// Its `@advice`.
    pub advice: Option<&'e str>,
    /// The `acr` values of a sign-in that would satisfy it.
    pub acr_values: &'e [String],
    /// The greatest age of such a sign-in, in seconds.
    pub max_age_s: Option<u64>,
    /// The OAuth scopes that would satisfy it.
    pub scopes: &'e [String],
}

/// A policy that took part in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deciding {
    /// Its id: `grant/<environment>/<model or *>/<role>/<principal>`, or a guardrail's own.
    pub id: Arc<str>,
    /// What it asks for.
    pub effect: Effect,
    /// A guardrail's `@reason`.
    pub reason: Option<String>,
    /// A guardrail's `@advice`.
    pub advice: Option<String>,
    /// A guardrail's `@step_up_acr` and `@step_up_max_age`: the sign-in that would satisfy
    /// it.
    pub step_up: Option<StepUp>,
    /// A guardrail's `@scope`: the OAuth scopes that would satisfy it.
    pub scopes: Vec<String>,
}

/// A role that would allow the refused action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Remedy {
    /// The role.
    pub role: Arc<str>,
    /// Who holds it on this resource. Becoming a member of such a group grants the action.
    pub holders: Vec<String>,
}

impl Policies {
    pub(crate) fn explain(&self, question: &Question<'_>) -> Explanation {
        let principal = self.place(question.party);
        let Some(asked) = self.ask(question, principal.as_ref()) else {
            return Explanation {
                digest: Arc::clone(&self.digest),
                asked: in_words(question),
                verdict: Verdict::deny(VerdictReason::NotApplicable),
                policies: Vec::new(),
                remedies: Vec::new(),
                owner: None,
                notes: self.misfits(question),
            };
        };
        let findings = asked.find();
        let grants = findings
            .grants
            .iter()
            .map(|grant| Deciding::grant(&grant.id));
        let guardrails = [
            &findings.permits,
            &findings.forbids,
            &findings.errors,
            &findings.uncertain,
        ];
        let guardrails = guardrails
            .into_iter()
            .flatten()
            .map(|g| Deciding::guardrail(g));
        let mut policies: Vec<Deciding> = grants.chain(guardrails).collect();
        policies.sort_by(|a, b| a.id.cmp(&b.id));
        let remedies = if findings.is_permitted() {
            Vec::new()
        } else {
            let remedies = asked.remedies().into_iter();
            remedies
                .map(|(role, holders)| Remedy { role, holders })
                .collect()
        };
        let notes = match findings.is_permitted() {
            true => Vec::new(),
            false => self.lacks(question),
        };
        Explanation {
            digest: Arc::clone(&self.digest),
            asked: in_words(question),
            verdict: asked.verdict(&findings),
            policies,
            remedies,
            owner: asked.owner(),
            notes,
        }
    }

    /// Why a question does not fit the schema.
    fn misfits(&self, question: &Question<'_>) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.environments.contains(question.environment) {
            let known = self.environments.iter().map(Environment::as_str);
            let here = question.environment.as_str();
            notes.push(format!(
                "there is no environment {}: there are {}",
                quoted(here),
                listed(known)
            ));
        }
        let (kind, action) = (question.party.principal.kind, question.action);
        let server = question.resource.name().is_none();
        let may = |kind: &CallerKind| self.schema.applicable_to(*kind, server).contains(action);
        let kinds = KINDS.iter().filter(|kind| may(kind));
        let kinds: Vec<&str> = kinds.map(|kind| kind.as_str()).collect();
        match (kind, kinds.is_empty()) {
            (CallerKind::Unclassified, _) => {
                notes.push("no rule of its issuer tells what kind of party it is".to_owned());
            }
            (_, true) => notes.push(format!("{action} is done to a model, not to the server")),
            _ if !may(&kind) => notes.push(format!(
                "no {kind} may ever {action}; kinds of party that may: {}",
                listed(kinds)
            )),
            _ => {}
        }
        notes
    }

    /// Remarks if nothing permits it.
    fn lacks(&self, question: &Question<'_>) -> Vec<String> {
        let mut notes = Vec::new();
        let place = question.environment;
        match question.resource.name() {
            None => notes.push(format!(
                "what is granted on the server is granted on every model, as `[grants.{place}]` in organization.toml"
            )),
            Some(model) if !self.owners.contains_key(model) => {
                let known = self.owners.keys().map(|known| known.as_str());
                let near = suggestion(model.as_str(), known, "");
                notes.push(format!(
                    "{} has no manifest, so that only grants on every model count, and nobody is accountable for it",
                    quoted(model.as_str())
                ));
                notes.extend(Some(near).filter(|near| !near.is_empty()));
            }
            Some(_) => {}
        }
        let party = question.party;
        let unknown = party
            .groups
            .iter()
            .filter(|it| !self.directory.contains(it));
        let unknown: Vec<String> = unknown.map(ToString::to_string).collect();
        if !unknown.is_empty() {
            let unknown = listed(unknown.iter().map(String::as_str));
            notes.push(format!(
                "not in the directory, so that nothing is granted to them: {unknown}"
            ));
        }
        let is_subject = party.principal == question.caller.subject().principal;
        if is_subject && !question.caller.groups_complete() {
            notes.push("the credential does not list all groups".to_owned());
        }
        if !is_subject {
            notes.push(
                "who acts for somebody must be granted it as well; its groups are not known"
                    .to_owned(),
            );
        }
        notes
    }
}

const KINDS: [CallerKind; 3] = [CallerKind::User, CallerKind::Service, CallerKind::Agent];

fn in_words(question: &Question<'_>) -> String {
    let Question {
        party,
        caller,
        action,
        resource,
        environment,
        context,
        ..
    } = question;
    let direct = match caller.depth() > 0 && context.delegation_depth == 0 {
        true => ", as if it called directly",
        false => "",
    };
    format!(
        "{}: {} on {resource} in {environment}{direct}",
        party.principal,
        Action::as_str(*action)
    )
}

impl Explanation {
    /// The explanation for programs.
    #[must_use]
    pub fn json(&self) -> ExplanationJson<'_> {
        let policies = self.policies.iter().map(|policy| PolicyJson {
            id: &policy.id,
            effect: policy.effect,
            failed: self.verdict.errors.contains(&policy.id),
            reason: policy.reason.as_deref(),
            advice: policy.advice.as_deref(),
            acr_values: policy.step_up.as_ref().map_or(&[], |it| &*it.acr_values),
            max_age_s: policy
                .step_up
                .as_ref()
                .and_then(|it| Some(it.max_age?.as_secs())),
            scopes: &policy.scopes,
        });
        ExplanationJson {
            access: &self.digest,
            asked: &self.asked,
            effect: self.verdict.effect,
            reason: match self.verdict.reason {
                VerdictReason::Granted => "granted",
                VerdictReason::NoGrant => "no_grant",
                VerdictReason::Forbidden => "forbidden",
                VerdictReason::PolicyError => "policy_error",
                _ => "not_applicable",
            },
            policies: policies.collect(),
            shadows: self.verdict.shadows.iter().map(|id| &**id).collect(),
            remedies: &self.remedies,
            owner: self.owner.as_deref(),
            notes: &self.notes,
        }
    }
}

impl Serialize for Explanation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl Deciding {
    fn grant(id: &Arc<str>) -> Self {
        Self {
            id: Arc::clone(id),
            effect: Effect::Allow,
            reason: None,
            advice: None,
            step_up: None,
            scopes: Vec::new(),
        }
    }

    fn guardrail(guardrail: &Guardrail) -> Self {
        Self {
            id: Arc::clone(&guardrail.id),
            effect: match guardrail.effect {
                cedar_policy::Effect::Permit => Effect::Allow,
                cedar_policy::Effect::Forbid => Effect::Deny,
            },
            reason: guardrail.advice.reason.clone(),
            advice: guardrail.advice.text.clone(),
            step_up: guardrail.advice.step_up.clone(),
            scopes: guardrail.advice.scopes.clone(),
        }
    }
}

impl Deciding {
    /// The credential that would satisfy it.
    fn demands(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step_up) = &self.step_up {
            f.write_str("\n    a sign-in would satisfy it")?;
            if !step_up.acr_values.is_empty() {
                write!(f, ", as {}", step_up.acr_values.join(" or "))?;
            }
            if let Some(age) = step_up.max_age {
                write!(f, ", at most {} seconds old", age.as_secs())?;
            }
        }
        if !self.scopes.is_empty() {
            write!(
                f,
                "\n    the scopes {} would satisfy it",
                self.scopes.join(" ")
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.verdict.reason {
            VerdictReason::Granted => "allowed",
            VerdictReason::NoGrant => "refused: nothing grants it",
            VerdictReason::Forbidden => "refused: a guardrail forbids it",
            VerdictReason::PolicyError => "refused: a guardrail could not be evaluated",
            VerdictReason::NotApplicable => {
                "refused: such a party never does this to such a resource here"
            }
            _ => "refused",
        };
        f.write_str(answer)?;
        for policy in &self.policies {
            write!(f, "\n  by {}", lookalike::marked(&policy.id))?;
            if let Some(reason) = &policy.reason {
                write!(f, ": {reason}")?;
            }
            if let Some(advice) = &policy.advice {
                write!(f, "; {advice}")?;
            }
            policy.demands(f)?;
        }
        for remedy in &self.remedies {
            write!(f, "\n  the role {} would allow it", remedy.role)?;
            if !remedy.holders.is_empty() {
                let holders = remedy.holders.join(", ");
                write!(f, "; held by {}", lookalike::marked(&holders))?;
            }
        }
        for shadow in &self.verdict.shadows {
            write!(f, "\n  {shadow}, in shadow mode, would decide otherwise")?;
        }
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        if let (Some(owner), Effect::Deny) = (&self.owner, self.verdict.effect) {
            write!(f, "\n  ask {}", lookalike::marked(owner))?;
        }
        Ok(())
    }
}
