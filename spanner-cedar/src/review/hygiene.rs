//! What deserves a look in a review of access.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use spanner_core::promotion::{HistoryState, Standing, Step};
use spanner_core::record::Decision;
use spanner_core::{Effect, Environment, ModelName, Timestamp};

use super::Review;
use crate::holder::Holder;
use crate::index::Policies;
use crate::load::suggestion;
use crate::promotion::Existing;

/// What deserves a look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hygiene {
    /// Groups of the directory that no grant, guardrail, owner or rule names. (What is granted
    /// to a group that the directory has not is a problem when the access is loaded.)
    pub idle_groups: Vec<String>,
    /// Models that guardrails name and that have no manifest, each with the guardrail: gone, not
    /// there yet, or misspelt.
    pub strangers: Vec<String>,
    /// Since when the ledger tells of use, where one was looked at.
    pub known_since: Option<Timestamp>,
    /// Ids of grants that allowed nothing in 90 days, or since the ledger tells if that is
    /// less; `None` where no ledger was looked at.
    pub unused: Option<Vec<String>>,
    /// Ids of grants that allowed something since, and are no longer there.
    pub gone: Vec<String>,
    /// Promotions and rollbacks that waited for no approvals.
    pub emergencies: Vec<Emergency>,
    /// Models that are in force where promotions are asked for and that nobody approved, each
    /// with the environment; `None` where no ledger was looked at.
    pub unapproved: Option<Vec<String>>,
    /// What promoted manifests name and the organization does not have any more: it grants
    /// nothing.
    pub void: Vec<String>,
    /// Credentials that must be replaced soon, in words.
    pub credentials: Vec<String>,
    /// The models that files put in force where promotions are asked for and the ledger has none.
    #[serde(skip)]
    adoptable: Vec<String>,
}

/// A promotion that waited for no approvals, or a rollback that did not wait for those that it
/// took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Emergency {
    /// When.
    pub time: Timestamp,
    /// Which model.
    pub model: String,
    /// Into which environment.
    pub environment: String,
    /// Who did it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// Whether it is what is in force there now.
    pub in_force: bool,
}

/// How a grant was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// How many decisions it took part in that allowed something, within 90 days.
    pub count: u64,
    /// The last of these.
    pub last: Option<Timestamp>,
}

impl Hygiene {
    /// A grant that allowed nothing for so many days counts as unused: a quarter of a year, so that
    /// a caller that calls only at its end is seen once.
    pub const UNUSED_DAYS: i64 = 90;

    pub(super) fn of(access: &Policies) -> Self {
        let (mut used, mut strangers) = (BTreeSet::new(), BTreeSet::new());
        used.extend(access.grants.iter().map(|given| given.holder));
        used.extend(access.owners.values().flatten().cloned());
        let rules = access.promotions.values();
        used.extend(rules.flat_map(|rule| rule.approvers.iter().cloned()));
        for guardrail in access.guardrails.iter() {
            let (holders, models) = guardrail.named(access.schema);
            used.extend(holders);
            let unknown = models.iter().filter(|it| !access.owners.contains_key(it));
            strangers.extend(unknown.map(|model| {
                let known = access.owners.keys().map(|known| known.as_str());
                match suggestion(model.as_str(), known, "").as_str() {
                    "" => format!("{}: {model}", guardrail.id),
                    near => format!("{}: {model}; {near}", guardrail.id),
                }
            }));
        }
        let groups = access.directory.iter();
        let idle = groups.filter(|group| !used.contains(&Holder::Group((*group).clone())));
        let mut idle: Vec<String> = idle.map(ToString::to_string).collect();
        idle.sort();
        Self {
            idle_groups: idle,
            strangers: strangers.into_iter().collect(),
            void: access.void.iter().map(ToString::to_string).collect(),
            adoptable: adoptable(access),
            ..Self::default()
        }
    }
}

impl Review {
    /// Adds what recorded decisions tell of the use of grants, up to a time: how often each
    /// allowed something in the 90 days before, and which did not.
    #[must_use]
    pub fn with_decisions<D: Borrow<Decision>>(
        mut self,
        decisions: impl IntoIterator<Item = D>,
        now: Timestamp,
    ) -> Self {
        let window = jiff_days(Hygiene::UNUSED_DAYS);
        let from = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        let mut since = None;
        let mut used: HashMap<String, Usage> = HashMap::new();
        for decision in decisions {
            let decision = decision.borrow();
            since = Some(since.map_or(decision.time, |first: Timestamp| first.min(decision.time)));
            if decision.effect != Effect::Allow || decision.time < from || decision.time > now {
                continue;
            }
            let grants = decision
                .policies
                .iter()
                .filter(|id| id.starts_with("grant/"));
            for id in grants {
                let usage = used.entry(id.clone()).or_default();
                usage.count += 1;
                usage.last = usage.last.max(Some(decision.time));
            }
        }
        for grant in &mut self.grants {
            grant.usage = Some(used.remove(&*grant.policy).unwrap_or_default());
        }
        let unused = self.grants.iter().filter(|grant| {
            let usage = grant.usage.unwrap_or_default();
            usage.count == 0
        });
        self.hygiene.unused = Some(unused.map(|grant| grant.policy.to_string()).collect());
        self.hygiene.known_since = since.or(Some(now));
        self.hygiene.gone = used.into_keys().collect();
        self.hygiene.gone.sort();
        self
    }

    /// Adds the promotions that waited for no approvals, and the models that nobody approved.
    #[must_use]
    pub fn with_history(mut self, history: &HistoryState) -> Self {
        let models: BTreeSet<_> = history
            .promotions()
            .map(|promotion| promotion.candidate().model.clone())
            .collect();
        for model in &models {
            for (event, promotion) in history.of(model, None) {
                let (Step::Promoted {
                    emergency: Some(reason),
                    ..
                }
                | Step::RolledBack {
                    emergency: true,
                    reason,
                    ..
                }) = &event.step
                else {
                    continue;
                };
                let into = &promotion.plan().into;
                let current = history.current(model, into).map(|it| it.id());
                self.hygiene.emergencies.push(Emergency {
                    time: event.time,
                    model: model.to_string(),
                    environment: into.to_string(),
                    by: event
                        .by
                        .as_ref()
                        .map_or_else(String::new, |by| by.subject.to_string()),
                    reason: reason.clone(),
                    in_force: current == Some(promotion.id()),
                });
            }
        }
        self.hygiene.emergencies.sort_by_key(|it| it.time);
        let adopted = history.in_force();
        let adopted = adopted.filter(|it| it.standing() == Standing::Adopted);
        let adopted = adopted.map(|it| unapproved(&it.plan().into, &it.candidate().model));
        let mut lines: Vec<String> = adopted.collect();
        lines.append(&mut self.hygiene.adoptable);
        lines.sort();
        self.hygiene.unapproved = Some(lines);
        self
    }

    /// Adds credentials that must be replaced soon, each in words.
    #[must_use]
    pub fn with_credentials<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        self.hygiene.credentials = lines.into_iter().map(Into::into).collect();
        self
    }
}

/// The models that a service would adopt with this ledger: the files have them where promotions
/// are asked for, and it has no promotions there.
fn adoptable(access: &Policies) -> Vec<String> {
    let rules = access.promotions.values();
    let new = rules.filter(|rule| {
        rule.existing == Existing::Adopt && !access.kept.environments.contains(&rule.environment)
    });
    let lines = new.flat_map(|rule| {
        let claims = access.claims.iter();
        let here = claims.filter(|(_, claim)| claim.environments.contains(&rule.environment));
        here.map(|(model, _)| unapproved(&rule.environment, model))
    });
    lines.collect()
}

fn unapproved(environment: &Environment, model: &ModelName) -> String {
    format!("{environment} {model}")
}

fn jiff_days(days: i64) -> std::time::Duration {
    std::time::Duration::from_secs(days.unsigned_abs() * 86_400)
}
