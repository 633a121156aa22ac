//! Determines whether a service is ready, for probes.

use serde_json::{Map, Value, json};
use spanner_cedar::Cedar;
use spanner_tower::Bearer;
use spanner_tower::bearer::IssuerReadiness;
use spanner_tower::keys::KeyState;

use super::ledger::MonitoredLedger;
use crate::promotions::Promotions;

/// The components that determine whether a service is ready. Cheap to clone.
///
/// 1. A service is ready if it can serve some callers: the ledger stores entries, and the keys of
///    at least one issuer are available. An issuer that is down is reported, but callers of other
///    issuers are still served.
/// 2. Models in force without an approval, and names in promoted manifests that no longer exist,
///    are counted. Neither makes the service unready.
/// 3. An access configuration that could not be reloaded is reported as `stale`. The previous one
///    remains in force, so the service is still ready.
///    that does not make the service unready either.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// The issuers.
    pub bearer: Bearer,
    /// The access configuration.
    pub access: Cedar,
    /// The promotions.
    pub promotions: Promotions,
    /// The ledger.
    pub ledger: MonitoredLedger,
}

/// The level of detail of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// Only the states, without names of models, issuers and shipments and without addresses.
    /// Suitable for unauthenticated callers.
    Brief,
    /// All details, for operators of the service.
    Full,
}

/// The response to a readiness probe.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReadinessReport {
    /// Whether the service is ready to receive requests.
    pub is_ready: bool,
    /// The states of the components, as a JSON object.
    pub states: Map<String, Value>,
}

/// The state of a list that is reloaded from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct ListStatus {
    /// Whether the last reload failed.
    pub is_stale: bool,
    /// The number of entries in force.
    pub entries: usize,
}

impl Readiness {
    /// Checks all components. `revocations` is the state of the list of revocations, if there is
    /// one.
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

    /// The number of models in force without an approval, by environment.
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
