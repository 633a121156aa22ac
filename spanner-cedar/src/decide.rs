//! Decides one question.
//!
//! 1. A question that does not fit the schema is refused: an unclassified caller, an agent
//!    that promotes, an environment that the organization does not have.
//! 2. Grants, and guardrails without conditions, are looked up. Cedar evaluates each guardrail with
//!    conditions whose scope fits, each on its own. The result is exactly Cedar's answer over all
//!    policies: allow if one permits and none forbids. If Cedar is not needed and few policies
//!    decide, nothing is allocated.
//! 3. Cedar skips a policy that fails to evaluate. Here it refuses. A caller that is granted nothing
//!    cannot tell a failed policy that names models from one that forbids: a hidden model looks
//!    like an unknown one.
//! 4. If the credential does not list all groups, a permit that mentions a group which the party is
//!    not known to be in does not count, and a forbid that mentions one refuses.
//! 5. Guardrails in shadow mode are evaluated too and change nothing.
//! 6. The cost is bounded by the number and length of guardrails, and by the length of the texts in
//!    a token. If the guardrails of one question exceed their budget anyway, the log says so.
//! 7. If a grant or permit applies and every forbid names a credential that would satisfy it, the
//!    refusal names one that satisfies all of them.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cedar_policy::{Authorizer, Effect, Entities, Entity, EntityUid, PolicySet, Request};
use smallvec::SmallVec;
use spanner_core::{
    Action, Advice, Environment, ModelName, PolicyIds, Question, Verdict, VerdictReason,
};

use crate::fact::Circumstances;
use crate::guardrail::{Guardrail, Mode};
use crate::index::{Grant, IndexedGuardrail, PartyNames, Policies};
use crate::schema;

/// A question in the terms of the schema.
pub(crate) struct PolicyQuestion<'a> {
    access: &'a Policies,
    question: &'a Question<'a>,
    action: Action,
    environment: &'a Environment,
    model: Option<&'a ModelName>,
    principal: &'a PartyNames,
    groups_complete: bool,
}

/// What every relevant policy says about a question.
#[derive(Default)]
pub(crate) struct Findings<'a> {
    pub(crate) grants: SmallVec<[&'a Grant; 4]>,
    pub(crate) permits: Guiding<'a>,
    pub(crate) forbids: Guiding<'a>,
    pub(crate) errors: Guiding<'a>,
    /// Forbids that depend on groups that the credential does not list.
    pub(crate) uncertain: Guiding<'a>,
    /// Guardrails in shadow mode that match or fail.
    pub(crate) shadows: Vec<(&'a Guardrail, Finding)>,
}

/// Guardrails with the same finding: rarely more than two.
type Guiding<'a> = SmallVec<[&'a Guardrail; 2]>;

/// The result of one guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    Match,
    Miss,
    Error,
    Uncertain,
}

impl Policies {
    /// Answers a question about a party that [`Policies::place`] has looked up.
    pub(crate) fn decide(
        &self,
        question: &Question<'_>,
        principal: Option<&PartyNames>,
    ) -> Verdict {
        match self.ask(question, principal) {
            Some(asked) => asked.verdict(&asked.find()),
            None => Verdict::deny(VerdictReason::NotApplicable),
        }
    }

    /// Puts a question in the terms of the schema, if it fits.
    pub(crate) fn ask<'a>(
        &'a self,
        question: &'a Question<'a>,
        principal: Option<&'a PartyNames>,
    ) -> Option<PolicyQuestion<'a>> {
        let principal = principal?;
        let model = question.resource.name();
        let applicable = match model {
            Some(_) => self.schema.applicable_to_models(principal.kind),
            None => self.schema.applicable_to_servers(principal.kind),
        };
        let fits = self.environments.contains(question.environment)
            && applicable.contains(question.action);
        let is_subject = question.party.principal == question.caller.subject().principal;
        fits.then(|| PolicyQuestion {
            access: self,
            question,
            action: question.action,
            environment: question.environment,
            model,
            principal,
            groups_complete: !is_subject || question.caller.groups_complete(),
        })
    }
}

impl<'a> PolicyQuestion<'a> {
    /// Evaluates every policy that can apply.
    pub(crate) fn find(&self) -> Findings<'a> {
        let Policies {
            grants, guardrails, ..
        } = self.access;
        let mut findings = Findings {
            grants: grants
                .of(self.principal, self.environment, self.model)
                .filter(|grant| grant.actions.contains(self.action))
                .collect(),
            ..Findings::default()
        };
        let near = guardrails.near(
            self.principal,
            self.groups_complete,
            self.action,
            self.environment,
            self.model,
        );
        let mut for_cedar: SmallVec<[&IndexedGuardrail; 8]> = SmallVec::new();
        for kept in near {
            match self.look_up(kept) {
                Some(finding) => findings.add(&kept.guardrail, finding),
                None => for_cedar.push(kept),
            }
        }
        if for_cedar.is_empty() {
            return findings;
        }
        let begun = Instant::now();
        let request = self.request(&for_cedar);
        for kept in &for_cedar {
            let finding = match &request {
                Some((request, entities)) => evaluate(request, entities, &kept.guardrail.policy),
                None => Finding::Error,
            };
            findings.add(&kept.guardrail, finding);
        }
        let took = begun.elapsed();
        if took > BUDGET {
            let evaluated = for_cedar.len();
            tracing::warn!(?took, evaluated, action = %self.action, "guardrails took long");
        }
        findings
    }

    /// The verdict that follows from the findings.
    pub(crate) fn verdict(&self, findings: &Findings<'_>) -> Verdict {
        let mut verdict = self.live(findings);
        let shadows = findings.shadows.iter();
        let differs = |finding: Finding, effect: Effect| match (verdict.reason, effect) {
            (VerdictReason::Granted, Effect::Permit) => finding == Finding::Error,
            (VerdictReason::Granted, Effect::Forbid) => true,
            (VerdictReason::NoGrant, Effect::Permit) => {
                finding == Finding::Match && findings.forbids.is_empty()
            }
            _ => false,
        };
        let listed = shadows
            .filter(|(guardrail, finding)| differs(*finding, guardrail.effect))
            .map(|(guardrail, _)| &guardrail.id);
        verdict.shadows = sorted(listed);
        verdict.promotion = self.access.promotion(self.environment, self.model);
        verdict
    }

    /// The answer of all policies that are not in shadow mode.
    fn live(&self, findings: &Findings<'_>) -> Verdict {
        let permitted = findings.is_permitted();
        let open = |guardrail: &&&Guardrail| permitted || !guardrail.names_models;
        let forbid = findings.forbids.iter().filter(open).min_by_key(|g| &g.id);
        let uncertain = findings.uncertain.iter().find(open);
        let failed = findings.errors.iter().any(|error| open(&error));
        if failed || (forbid.is_none() && uncertain.is_some()) {
            return Self::failed(findings);
        }
        if let Some(forbid) = forbid {
            let mut verdict = Verdict::deny(VerdictReason::Forbidden);
            verdict.policies = sorted(findings.forbid_ids());
            verdict.errors = findings.error_ids();
            verdict.advice.reason.clone_from(&forbid.advice.reason);
            verdict.advice.text.clone_from(&forbid.advice.text);
            if permitted && findings.a_credential_helps() {
                let forbids = findings.forbids.iter();
                forbids.for_each(|forbid| verdict.advice.demand(&forbid.advice));
            }
            return verdict;
        }
        if permitted {
            return Verdict::allow_by(sorted(findings.permit_ids()));
        }
        let mut verdict = Verdict::deny(VerdictReason::NoGrant);
        verdict.policies = sorted(findings.forbid_ids());
        verdict.errors = findings.error_ids();
        verdict.advice = self.advice();
        verdict
    }

    fn failed(findings: &Findings<'_>) -> Verdict {
        let mut verdict = Verdict::deny(VerdictReason::PolicyError);
        let failed = findings.errors.iter().chain(&findings.uncertain);
        verdict.policies = sorted(findings.forbid_ids());
        verdict.errors = sorted(failed.map(|guardrail| &guardrail.id));
        let (reason, advice) = if findings.errors.is_empty() {
            (
                "the credential does not list all groups, and a guardrail depends on them",
                "get a credential that lists all of your groups, or have fewer groups",
            )
        } else {
            (
                "a guardrail could not be evaluated",
                "tell whoever runs this service",
            )
        };
        verdict.advice.reason = Some(reason.to_owned());
        verdict.advice.text = Some(advice.to_owned());
        verdict
    }

    /// Advice if nothing is granted. The owner is named only to those who may know of the model.
    /// That is determined for unknown models too, so that they are answered like forbidden ones, in
    /// the same time.
    fn advice(&self) -> Advice {
        let mut advice = Advice::default();
        let roles = self.access.roles.holding(self.action);
        advice.role = roles.first().map(ToString::to_string);
        let knows = self.knows_of_model();
        advice.owner = self.owner().filter(|_| knows);
        advice
    }

    /// The model's owner.
    pub(crate) fn owner(&self) -> Option<String> {
        let owner = self.access.owners.get(self.model?)?;
        owner.as_ref().map(ToString::to_string)
    }

    /// The roles that would allow it, the narrowest first, each with its holders.
    pub(crate) fn remedies(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let Policies { roles, grants, .. } = self.access;
        roles
            .holding(self.action)
            .into_iter()
            .map(|role| {
                (
                    Arc::clone(role),
                    grants.holding(role, self.environment, self.model),
                )
            })
            .collect()
    }

    /// Whether the party may list or read the model in some environment.
    fn knows_of_model(&self) -> bool {
        let environments = self.access.environments.iter();
        self.model.is_some()
            && environments
                .flat_map(|environment| [(environment, Action::List), (environment, Action::Read)])
                .any(|(environment, action)| self.elsewhere(environment, action).find().allows())
    }

    /// The same party asking about the same model in another environment.
    fn elsewhere(&self, environment: &'a Environment, action: Action) -> Self {
        Self {
            action,
            environment,
            ..*self
        }
    }

    /// The result of a guardrail if its scope alone determines it; `None` if Cedar must evaluate it.
    fn look_up(&self, kept: &IndexedGuardrail) -> Option<Finding> {
        let guardrail = &kept.guardrail;
        if !self.groups_complete && !kept.mentions_only_groups_of(self.principal) {
            let about = kept.could_be_about(self.principal);
            return Some(match (about, guardrail.effect) {
                (true, Effect::Forbid) => Finding::Uncertain,
                _ => Finding::Miss,
            });
        }
        if !kept.is_about(self.principal) {
            return Some(Finding::Miss);
        }
        guardrail.scope_only.then_some(Finding::Match)
    }

    /// The request to Cedar, with the three entities that policies may read. The parents of the
    /// party are its groups and roles that one of these policies mentions.
    fn request(&self, policies: &[&IndexedGuardrail]) -> Option<(Request, Entities)> {
        let Policies {
            schema, guardrails, ..
        } = self.access;
        let action = schema.action(self.action)?;
        let party = &self.question.party.principal;
        let circumstances = Circumstances {
            caller: self.question.caller,
            principal: party,
            context: self.question.context,
        };
        let context = circumstances.context()?;
        let parents = policies
            .iter()
            .flat_map(|kept| guardrails.parents(self.principal, kept));
        let parents: HashSet<EntityUid> = parents.cloned().collect();
        let principal = Entity::new_no_attrs(schema.types.principal(party)?, parents);
        let resource = match self.model {
            Some(model) => self.access.grants.entity(schema, self.environment, model)?,
            None => schema::server(&schema.types, self.environment),
        };
        let request =
            Request::new(principal.uid(), action.uid(), resource.uid(), context, None).ok()?;
        let entities = Entities::from_entities([principal, action.clone(), resource], None).ok()?;
        Some((request, entities))
    }
}

impl<'a> Findings<'a> {
    fn add(&mut self, guardrail: &'a Guardrail, finding: Finding) {
        if guardrail.mode == Mode::Shadow {
            if finding != Finding::Miss {
                self.shadows.push((guardrail, finding));
            }
            return;
        }
        match (finding, guardrail.effect) {
            (Finding::Miss, _) => {}
            (Finding::Error, _) => self.errors.push(guardrail),
            (Finding::Uncertain, _) => self.uncertain.push(guardrail),
            (Finding::Match, Effect::Permit) => self.permits.push(guardrail),
            (Finding::Match, Effect::Forbid) => self.forbids.push(guardrail),
        }
    }
}

impl Findings<'_> {
    pub(crate) fn is_permitted(&self) -> bool {
        !self.grants.is_empty() || !self.permits.is_empty()
    }

    fn allows(&self) -> bool {
        self.is_permitted()
            && self.forbids.is_empty()
            && self.errors.is_empty()
            && self.uncertain.is_empty()
    }

    /// Whether another credential would satisfy every guardrail that forbids.
    fn a_credential_helps(&self) -> bool {
        let names_one = |forbid: &&Guardrail| forbid.advice.names_a_credential();
        self.uncertain.is_empty() && self.forbids.iter().all(names_one)
    }

    pub(crate) fn permit_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        let grants = self.grants.iter().map(|grant| &grant.id);
        grants.chain(self.permits.iter().map(|guardrail| &guardrail.id))
    }

    /// Those that could not be evaluated.
    fn error_ids(&self) -> PolicyIds {
        sorted(self.errors.iter().map(|guardrail| &guardrail.id))
    }

    pub(crate) fn forbid_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.forbids.iter().map(|guardrail| &guardrail.id)
    }
}

/// Evaluates one policy with Cedar.
fn evaluate(request: &Request, entities: &Entities, policy: &PolicySet) -> Finding {
    static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);
    let response = AUTHORIZER.is_authorized(request, policy, entities);
    let diagnostics = response.diagnostics();
    if diagnostics.errors().next().is_some() {
        Finding::Error
    } else if diagnostics.reason().next().is_some() {
        Finding::Match
    } else {
        Finding::Miss
    }
}

fn sorted<'i>(ids: impl Iterator<Item = &'i Arc<str>>) -> PolicyIds {
    let mut ids: PolicyIds = ids.cloned().collect();
    ids.sort_unstable();
    ids
}

/// A thousand times what a guardrail takes. Exceeding it is logged and not enforced: a decision that
/// depended on the load of the machine could not be repeated.
const BUDGET: Duration = Duration::from_millis(5);
