//! Who gains and who loses what, from one access to another.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use spanner_core::{
    Action, Authorize, Caller, CallerKind, Context, Effect, Environment, Group, ModelName,
    Principal, Question, Resource, Role, SubjectId, Timestamp,
};

use crate::cedar::Cedar;
use crate::load::Holder;

/// The difference between two accesses, over every holder, model and environment that either
/// of them names.
///
/// Each cell is decided by both, guardrails included, for a caller in good standing: a fresh
/// credential, a phishing-resistant sign-in of this moment, no agent in between. A holder stands
/// for whoever is just that: in this one group, with this one role. Whoever is in several has
/// what any of them has. "Any other model" stands for those that have no manifest in either.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The digest of the access before.
    pub before: Arc<str>,
    /// The digest of the access after.
    pub after: Arc<str>,
    /// What changes, by environment, model and holder.
    pub changes: Vec<Change>,
}

/// What changes for one holder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Where.
    pub environment: Environment,
    /// On which model; `None` on any that has no manifest, and on the server.
    pub model: Option<ModelName>,
    /// For whom, as manifests write it: `group:corp/support`.
    pub holder: String,
    /// What they could not do, and can.
    pub gains: Vec<Action>,
    /// What they could do, and cannot.
    pub loses: Vec<Action>,
}

impl Difference {
    /// Whether nobody gains or loses anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether somebody gains something.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.changes.iter().any(|change| !change.gains.is_empty())
    }
}

/// One line for each change: `production acme/sentiment group:corp/qa: + generate; - delete`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self
            .model
            .as_ref()
            .map_or("(any other model)", ModelName::as_str);
        write!(f, "{} {model} {}:", self.environment, self.holder)?;
        for (sign, actions) in [(" +", &self.gains), (" -", &self.loses)] {
            if !actions.is_empty() {
                let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
                write!(f, "{sign} {}", actions.join(", "))?;
            }
        }
        Ok(())
    }
}

/// A name that no manifest has: a manifest's model has no part of one letter only by chance.
const OTHER: &str = "~any-other-model~";

impl Cedar {
    /// Who gains and loses what if the other access takes this one's place.
    #[must_use]
    pub fn diff(&self, after: &Self) -> Difference {
        let (one, two) = (self.current(), after.current());
        let both = [&one, &two];
        let environments = both.iter().flat_map(|access| &access.environments);
        let mut known: Vec<&Environment> = Vec::new();
        for environment in environments {
            if !known.contains(&environment) {
                known.push(environment);
            }
        }
        let named = both.iter().flat_map(|access| access.owners.keys());
        let given: Vec<_> = both
            .iter()
            .flat_map(|access| access.grants.iter())
            .collect();
        let granted = given.iter().filter_map(|given| given.model);
        let models: BTreeSet<&ModelName> = named.chain(granted).collect();
        let mut holders: BTreeSet<Holder> =
            given.iter().map(|given| given.holder.clone()).collect();
        for access in both {
            holders.extend(access.mentioned.groups.keys().cloned().map(Holder::Group));
            holders.extend(access.mentioned.roles.keys().cloned().map(Holder::Role));
        }
        let mut changes = Vec::new();
        for environment in known {
            let every = models.iter().map(|model| Some((*model).clone()));
            for model in every.chain([None]) {
                let resource = resource(model.as_ref());
                for holder in &holders {
                    let (gains, loses) = compare(self, after, holder, &resource, environment);
                    if gains.is_empty() && loses.is_empty() {
                        continue;
                    }
                    changes.push(Change {
                        environment: environment.clone(),
                        model: model.clone(),
                        holder: holder.to_string(),
                        gains,
                        loses,
                    });
                }
            }
        }
        Difference {
            before: self.digest(),
            after: after.digest(),
            changes,
        }
    }
}

impl Cedar {
    /// Who gains and loses what on one model in one environment if the other access takes this
    /// one's place: what a promotion changes.
    #[must_use]
    pub fn diff_on(
        &self,
        after: &Self,
        model: &ModelName,
        environment: &Environment,
    ) -> Vec<Change> {
        let both = [self.current(), after.current()];
        let mut holders: BTreeSet<Holder> = BTreeSet::new();
        for access in &both {
            let here = access.grants.iter().filter(|given| {
                given.environment == environment && given.model.is_none_or(|it| it == model)
            });
            holders.extend(here.map(|given| given.holder));
            holders.extend(access.mentioned.groups.keys().cloned().map(Holder::Group));
            holders.extend(access.mentioned.roles.keys().cloned().map(Holder::Role));
        }
        let on = resource(Some(model));
        let changes = holders.iter().filter_map(|holder| {
            let (gains, loses) = compare(self, after, holder, &on, environment);
            let change = Change {
                environment: environment.clone(),
                model: Some(model.clone()),
                holder: holder.to_string(),
                gains,
                loses,
            };
            (!change.gains.is_empty() || !change.loses.is_empty()).then_some(change)
        });
        changes.collect()
    }
}

fn resource(model: Option<&ModelName>) -> Resource {
    let other = || ModelName::new(OTHER).ok();
    match model.cloned().or_else(other) {
        Some(name) => Resource::model(name),
        None => Resource::Server,
    }
}

/// What a holder may do in one and not in the other.
fn compare(
    before: &Cedar,
    after: &Cedar,
    holder: &Holder,
    resource: &Resource,
    environment: &Environment,
) -> (Vec<Action>, Vec<Action>) {
    let (mut gains, mut loses) = (Vec::new(), Vec::new());
    let Some(caller) = in_good_standing(holder) else {
        return (gains, loses);
    };
    let now = Timestamp::UNIX_EPOCH;
    let context = Context::of(&caller, now);
    let questions: Vec<Question<'_>> = Action::ALL
        .into_iter()
        .map(|action| {
            Question::new(
                &caller,
                caller.subject(),
                action,
                resource,
                environment,
                &context,
            )
        })
        .collect();
    let (one, two) = (before.authorize(&questions), after.authorize(&questions));
    for (question, (one, two)) in questions.iter().zip(one.verdicts.iter().zip(&two.verdicts)) {
        match (one.effect, two.effect) {
            (Effect::Deny, Effect::Allow) => gains.push(question.action),
            (Effect::Allow, Effect::Deny) => loses.push(question.action),
            _ => {}
        }
    }
    (gains, loses)
}

/// Somebody who is just this, and against whom nothing else speaks.
fn in_good_standing(holder: &Holder) -> Option<Caller> {
    let (mut groups, mut roles): (Vec<Group>, Vec<Role>) = (Vec::new(), Vec::new());
    let somebody = |issuer: &spanner_core::IssuerAlias| {
        let subject = SubjectId::new("somebody").ok()?;
        Some(Principal::new(issuer.clone(), CallerKind::User, subject))
    };
    let principal = match holder {
        Holder::Group(group) => {
            groups.push(group.clone());
            somebody(&group.issuer)?
        }
        Holder::Role(role) => {
            roles.push(role.clone());
            somebody(&role.issuer)?
        }
        Holder::Party(principal) => principal.clone(),
    };
    Caller::assertion(principal)
        .groups(groups)
        .roles(roles)
        .assurance(3)
        .authenticated_at(Timestamp::UNIX_EPOCH)
        .caller()
        .ok()
}
