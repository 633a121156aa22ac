//! Why a question is answered as it is, and what would change the answer.

use std::fmt;
use std::sync::Arc;

use spanner_core::{Effect, Question, StepUp, Verdict, VerdictReason};

use crate::guardrail::Guardrail;
use crate::index::Access;

/// The whole story of one answer, for those who run the service and for auditors; a caller
/// is told less.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The digest of the access that answered.
    pub digest: Arc<str>,
    /// The answer, as the guard gets it.
    pub verdict: Verdict,
    /// The grants and guardrails that match or failed, by id.
    pub policies: Vec<Deciding>,
    /// Where nothing permits it: the roles that would, the narrowest first.
    pub remedies: Vec<Remedy>,
    /// Whom to ask: the model's owner.
    pub owner: Option<String>,
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

/// A role that would allow what is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remedy {
    /// The role.
    pub role: Arc<str>,
    /// Who holds it on this resource: to become one of them, or in such a group, helps.
    pub holders: Vec<String>,
}

impl Access {
    pub(crate) fn explain(&self, question: &Question<'_>) -> Explanation {
        let principal = self.place(question.party);
        let Some(asked) = self.ask(question, principal.as_ref()) else {
            return Explanation {
                digest: Arc::clone(&self.digest),
                verdict: Verdict::deny(VerdictReason::NotApplicable),
                policies: Vec::new(),
                remedies: Vec::new(),
                owner: None,
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
        Explanation {
            digest: Arc::clone(&self.digest),
            verdict: asked.verdict(&findings),
            policies,
            remedies,
            owner: asked.owner(),
        }
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
            write!(f, "\n  by {}", policy.id)?;
            if let Some(reason) = &policy.reason {
                write!(f, ": {reason}")?;
            }
            policy.demands(f)?;
        }
        for remedy in &self.remedies {
            write!(f, "\n  the role {} would allow it", remedy.role)?;
            if !remedy.holders.is_empty() {
                write!(f, "; held by {}", remedy.holders.join(", "))?;
            }
        }
        if let (Some(owner), Effect::Deny) = (&self.owner, self.verdict.effect) {
            write!(f, "\n  ask {owner}")?;
        }
        Ok(())
    }
}
