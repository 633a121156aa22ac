//! Findings that deserve attention in an access review.

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

/// Findings that deserve attention.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hygiene {
    /// Groups of the directory that no grant, guardrail, owner or rule names. (A grant to a group
    /// that is not in the directory is a problem when the access is loaded.)
    pub idle_groups: Vec<String>,
    /// Models that a guardrail names and that have no manifest, each with the guardrail. They were
    /// removed, do not exist yet, or are misspelt.
    pub strangers: Vec<String>,
    /// The time of the earliest recorded decision, or of the review if there is none; `None` if no
    /// ledger was read.
    pub known_since: Option<Timestamp>,
    /// Ids of grants that allowed nothing in the last 90 days, or since the ledger begins if that is
    /// less; `None` if no ledger was read.
    pub unused: Option<Vec<String>>,
    /// Ids of grants that allowed something in that time and no longer exist.
    pub gone: Vec<String>,
    /// Promotions and rollbacks that skipped the required approvals.
    pub emergencies: Vec<Emergency>,
    /// Models that are in force without approval in an environment with a rule of promotion, each
    /// with the environment; `None` if no ledger was read.
    pub unapproved: Option<Vec<String>>,
    /// Grants of promoted manifests that name something the organization no longer has. They grant
    /// nothing.
    pub void: Vec<String>,
    /// Credentials that must be replaced soon, one description each.
    pub credentials: Vec<String>,
    /// Models whose file is in force in an environment with a rule of promotion, where the ledger
    /// has no promotions yet.
    #[serde(skip)]
    adoptable: Vec<String>,
}

/// A promotion or rollback that skipped the required approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Emergency {
    /// When it happened.
    pub time: Timestamp,
    /// The model.
    pub model: String,
    /// The environment promoted into.
    pub environment: String,
    /// Who did it.
    pub by: String,
    /// The reason that they gave.
    pub reason: String,
    /// Whether it is in force there now.
    pub in_force: bool,
}

/// How a grant was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The number of allowing decisions that it took part in, within the last 90 days.
    pub count: u64,
    /// The time of the last one.
    pub last: Option<Timestamp>,
}

impl Hygiene {
    /// The number of days after which a grant that allowed nothing counts as unused. A quarter of a
    /// year includes one run of a quarterly job.
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
    /// Adds the use of grants from recorded decisions: how often each allowed something in the 90
    /// days before `now`, and which are unused.
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

    /// Adds the promotions that skipped the required approvals, and the models without approval.
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

    /// Adds credentials that must be replaced soon, one description each.
    #[must_use]
    pub fn with_credentials<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        self.hygiene.credentials = lines.into_iter().map(Into::into).collect();
        self
    }
}

/// The models that a service would adopt: they have a manifest in the files for an environment with
/// a rule of promotion, and no promotions are kept for that environment.
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
