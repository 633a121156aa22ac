//! What deserves a look in a review of access.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use spanner_core::promotion::{History, Step};
use spanner_core::record::{Decision, PrincipalEntry};
use spanner_core::{Effect, Timestamp};

use super::Review;
use crate::index::Access;
use crate::load::Holder;

/// What deserves a look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hygiene {
    /// Groups of the directory that no grant, guardrail, owner or rule names. (What is granted
    /// to a group that the directory has not is a problem when the access is loaded.)
    pub idle_groups: Vec<String>,
    /// Since when the ledger tells of use, where one was looked at.
    pub known_since: Option<Timestamp>,
    /// Ids of grants that allowed nothing in 90 days, or since the ledger tells if that is
    /// less; `None` where no ledger was looked at.
    pub unused: Option<Vec<String>>,
    /// Ids of grants that allowed something since, and are no longer there.
    pub gone: Vec<String>,
    /// Promotions that waited for no approvals.
    pub emergencies: Vec<Emergency>,
    /// Credentials that must be replaced soon, in words.
    pub credentials: Vec<String>,
}

/// A promotion that waited for no approvals.
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
    pub(super) fn of(access: &Access) -> Self {
        let mut used = BTreeSet::new();
        used.extend(access.grants.iter().map(|given| given.holder));
        used.extend(access.owners.values().flatten().cloned());
        let rules = access.promotions.values();
        used.extend(rules.flat_map(|rule| rule.approvers.iter().cloned()));
        for guardrail in access.guardrails.iter() {
            used.extend(guardrail.named(access.schema).0);
        }
        let groups = access.directory.iter();
        let idle = groups.filter(|group| !used.contains(&Holder::Group((*group).clone())));
        let mut idle: Vec<String> = idle.map(ToString::to_string).collect();
        idle.sort();
        Self {
            idle_groups: idle,
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
        let window = jiff_days(UNUSED_DAYS);
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

    /// Adds the promotions that waited for no approvals.
    #[must_use]
    pub fn with_history(mut self, history: &History) -> Self {
        let models: BTreeSet<_> = history
            .promotions()
            .map(|promotion| promotion.candidate().model.clone())
            .collect();
        for model in &models {
            for (event, promotion) in history.of(model, None) {
                let Step::Promoted {
                    emergency: Some(reason),
                    ..
                } = &event.step
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
                        .map_or_else(String::new, |by| name(&by.subject)),
                    reason: reason.clone(),
                    in_force: current == Some(promotion.id()),
                });
            }
        }
        self.hygiene.emergencies.sort_by_key(|it| it.time);
        self
    }

    /// Adds credentials that must be replaced soon, each in words.
    #[must_use]
    pub fn with_credentials<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        self.hygiene.credentials = lines.into_iter().map(Into::into).collect();
        self
    }
}

fn name(it: &PrincipalEntry) -> String {
    format!("{}:{}/{}", it.kind, it.issuer, it.subject)
}

fn jiff_days(days: i64) -> std::time::Duration {
    std::time::Duration::from_secs(days.unsigned_abs() * 86_400)
}

/// A quarter of a year: who calls only at its end is seen once.
pub(super) const UNUSED_DAYS: i64 = 90;
