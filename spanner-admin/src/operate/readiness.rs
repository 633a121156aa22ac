//! Whether a service can serve, for probes.

use serde_json::{Map, Value, json};
use spanner_cedar::Cedar;
use spanner_tower::Bearer;
use spanner_tower::bearer::IssuerReadiness;
use spanner_tower::keys::KeyState;

use super::ledger::MonitoredLedger;
use crate::promotions::Promotions;

/// The parts of a service whose state decides whether it is ready. Cheap to clone.
///
/// 1. A service is ready if some caller can be served: the ledger stores, and the keys of at least
///    one issuer are at hand. An issuer that is down is reported, and does not take the service from
///    the callers of the others.
/// 2. Models that are in force without an approval, and names in promoted manifests that no longer
///    exist, are counted. Neither makes the service unready.
/// 3. An access that could not be reloaded is reported as `stale`. The last good one is in force, so
///    that does not make the service unready either.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// The issuers.
    pub bearer: Bearer,
    /// The access.
    pub access: Cedar,
    /// The promotions.
    pub promotions: Promotions,
    /// The ledger.
    pub ledger: MonitoredLedger,
}

/// How much a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// The states, without names of models, issuers and shipments and without addresses: for
    /// everybody.
    Brief,
    /// Everything: for the operators of the service.
    Full,
}

/// The answer to a readiness probe.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReadinessReport {
    /// Whether the service is ready.
    pub is_ready: bool,
    /// The states of its parts, as a JSON object.
    pub states: Map<String, Value>,
}

/// A list that is read again from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct ListStatus {
    /// Whether the file could not be read at last.
    pub is_stale: bool,
    /// How many entries are in force.
    pub entries: usize,
}

impl Readiness {
    /// Looks at all parts. `revocations` is the list of revocations, if there is one.
    pub async fn report(&self, revocations: Option<ListStatus>, detail: Detail) -> ReadinessReport {
        let issuers = self.bearer.readiness();
        let is_storing = self.ledger.is_storing().await;
        let is_ready = is_storing && issuers.iter().any(IssuerReadiness::is_ready);
        let status = self.access.status();
        let problems = status.last_error.as_ref();
        let problems = problems.map_or(0, |error| error.problems().len() + error.more());
        let issuers: Vec<Value> = issuers.iter().map(|it| issuer(it, detail)).collect();
        let mut states = Map::new();
        let mut put = |key: &str, value: Value| drop(states.insert(key.to_owned(), value));
        put("ready", is_ready.into());
        put("issuers", issuers.into());
        put(
            "access",
            json!({
                "state": currency(status.last_error.is_some()),
                "digest": &*status.digest,
                "problems": problems,
                "broken_manifests": status.broken.len(),
            }),
        );
        let state = if is_storing { "storing" } else { "failing" };
        put("ledger", json!({"state": state}));
        put(
            "promotions",
            json!({
                "unapproved": self.unapproved(),
                "void_grants": status.void.len(),
            }),
        );
        if let Some(ListStatus { is_stale, entries }) = revocations {
            let state = currency(is_stale);
            put("revocations", json!({"state": state, "entries": entries}));
        }
        ReadinessReport { is_ready, states }
    }

    /// How many models are in force that nobody approved, by environment.
    fn unapproved(&self) -> Map<String, Value> {
        let counts = self.promotions.unapproved().into_iter();
        counts
            .map(|(environment, models)| (environment.to_string(), json!(models)))
            .collect()
    }
}

const fn currency(stale: bool) -> &'static str {
    match stale {
        true => "stale",
        false => "current",
    }
}

fn issuer(issuer: &IssuerReadiness, detail: Detail) -> Value {
    let keys = issuer.keys.as_ref();
    let state = keys.map(|keys| match keys.state {
        KeyState::Cold => "cold",
        KeyState::Fresh => "fresh",
        KeyState::Stale => "stale",
        _ => "unavailable",
    });
    let mut page = json!({
        "ready": issuer.is_ready(),
        "keys": state,
        "keys_age_s": keys.and_then(|keys| keys.age).map(|age| age.as_secs()),
    });
    if let (Detail::Full, Some(members)) = (detail, page.as_object_mut()) {
        let last_error = keys.and_then(|keys| keys.last_error.as_deref());
        let last_error = last_error.map(spanner_toml::line);
        members.insert("name".to_owned(), issuer.issuer.as_str().into());
        members.insert("url".to_owned(), spanner_toml::line(&issuer.url).into());
        members.insert("last_error".to_owned(), last_error.into());
    }
    page
}
