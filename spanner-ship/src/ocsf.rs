//! Encodes entries as events of the Open Cybersecurity Schema Framework: class 6003, API
//! Activity, with the profiles `ai_operation`, `security_control` and `trace`
//! (<https://schema.ocsf.io/1.8.0/classes/api_activity>).
//!
//! 1. A decision and its outcome are two events of the same activity with the same
//!    `metadata.correlation_uid`. The first states whether the request was allowed, the second
//!    how it ended.
//! 2. `unmapped` contains data that the schema has no member for.
//! 3. Unverified statements of a client appear only in `http_request.x_forwarded_for` and
//!    `unmapped.asserted`.

use serde_json::{Map, Value, json};
use spanner_core::promotion::{Event as PromotionEvent, SignatoryEntry, Step};
use spanner_core::record::{
    CallerEntry, Decision, Outcome, OutcomeClass, PairEntry, PrincipalEntry,
};
use spanner_core::{Action, CallerKind, Effect, Timestamp};

use crate::Producer;
use crate::keyed::KeyedEntry;
use spanner_ledger::{Counts, Entry, Event, Gap, promotions_of};

/// Encodes an entry; `None` if its format is newer than this version.
pub(crate) fn event(item: &KeyedEntry, producer: &Producer) -> Option<Value> {
    let builder = match item.stored.entry.as_ref()? {
        Entry::Decision(decision) => decision_event(decision),
        Entry::Outcome(outcome) => outcome_event(outcome, item.decision.as_deref()),
        Entry::Gap(gap) => gap_event(gap),
        Entry::Count(counts) => count_event(counts),
        Entry::Event(event) => service_event(event),
        _ => return None,
    };
    Some(builder.event(item, producer))
}

/// The members that all events have.
struct EventBuilder {
    time: Timestamp,
    activity: Activity,
    operation: String,
    severity: u8,
    success: bool,
    code: String,
    actor: Value,
    endpoint: Value,
    correlation: Option<String>,
    more: Map<String, Value>,
    unmapped: Map<String, Value>,
}

/// The values of `activity_id`.
#[derive(Debug, Clone, Copy)]
enum Activity {
    Create = 1,
    Read = 2,
    Update = 3,
    Delete = 4,
    Other = 99,
}

impl EventBuilder {
    fn new(time: Timestamp, activity: Activity, operation: impl Into<String>) -> Self {
        Self {
            time,
            activity,
            operation: operation.into(),
            severity: INFORMATIONAL,
            success: true,
            code: String::new(),
            actor: json!({"app_name": "spanner"}),
            endpoint: json!({"name": "unknown"}),
            correlation: None,
            more: Map::new(),
            unmapped: Map::new(),
        }
    }

    fn event(self, item: &KeyedEntry, producer: &Producer) -> Value {
        let activity = self.activity as u32;
        let status = if self.success { 1 } else { 2 };
        let mut metadata = json!({
            "version": "1.8.0",
            "profiles": ["ai_operation", "security_control", "trace"],
            "product": {
                "name": "Spanner",
                "vendor_name": producer.vendor,
                "version": env!("CARGO_PKG_VERSION"),
            },
            "log_name": "spanner.ledger",
            "uid": item.key,
            "sequence": item.stored.sequence,
        });
        if let Some(correlation) = self.correlation {
            put(&mut metadata, "correlation_uid", json!(correlation));
        }
        let mut event = json!({
            "class_uid": 6003,
            "class_name": "API Activity",
            "category_uid": 6,
            "category_name": "Application Activity",
            "activity_id": activity,
            "activity_name": self.operation,
            "type_uid": 600_300 + activity,
            "time": self.time.as_millisecond(),
            "severity_id": self.severity,
            "status_id": status,
            "status_code": self.code,
            "metadata": metadata,
            "actor": self.actor,
            "api": {"operation": self.operation},
            "src_endpoint": self.endpoint,
        });
        for (key, value) in self.more {
            put(&mut event, &key, value);
        }
        if !self.unmapped.is_empty() {
            put(&mut event, "unmapped", Value::Object(self.unmapped));
        }
        event
    }

    fn also(&mut self, key: &str, value: impl Into<Value>) {
        self.more.insert(key.to_owned(), value.into());
    }

    /// Adds a member to `unmapped`, unless it is empty.
    fn unmapped(&mut self, key: &str, value: Value) {
        let is_empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.unmapped.insert(key.to_owned(), value);
        }
    }
}

fn decision_event(decision: &Decision) -> EventBuilder {
    let mut builder = activity_event(decision, decision.time);
    let is_allowed = decision.effect == Effect::Allow;
    builder.success = is_allowed;
    builder.severity = if is_allowed { INFORMATIONAL } else { LOW };
    builder.code.clone_from(&decision.reason);
    builder
}

/// The activity that a decision describes: caller, action and resources.
fn activity_event(decision: &Decision, time: Timestamp) -> EventBuilder {
    let pair = decision.target.first();
    let action = pair.map(|pair| pair.action);
    let operation = action.map_or("unknown", Action::as_str);
    let mut builder = EventBuilder::new(time, activity(action), operation);
    builder.correlation = Some(decision.id.to_string());
    builder.actor = actor(decision.caller.as_ref());
    if let Some(peer) = decision.peer {
        builder.endpoint = json!({"ip": peer});
    }
    let is_allowed = decision.effect == Effect::Allow;
    let (action_id, disposition) = if is_allowed { (1, 1) } else { (2, 2) };
    builder.also("action_id", action_id);
    builder.also("disposition_id", disposition);
    let mut service = json!({"name": decision.service});
    if let Some(instance) = &decision.instance {
        put(&mut service, "uid", json!(instance));
    }
    builder.also(
        "api",
        json!({
            "operation": operation,
            "service": service,
            "request": {"uid": decision.request_id.clone().unwrap_or_else(|| decision.id.to_string())},
        }),
    );
    builder.also(
        "resources",
        decision.target.iter().map(resource).collect::<Vec<_>>(),
    );
    let word = if is_allowed { "allow" } else { "deny" };
    let by = |policy: &String| json!({"decision": word, "policy": {"uid": policy}});
    let authorizations: Vec<Value> = decision.policies.iter().map(by).collect();
    if !authorizations.is_empty() {
        builder.also("authorizations", authorizations);
    }
    if let Some(model) = pair.and_then(|pair| pair.model.as_deref()) {
        let owner = model.split_once('/').map(|(owner, _)| owner);
        let owner = owner.filter(|owner| !owner.is_empty());
        let provider = owner.or(decision.surface.as_deref()).unwrap_or("unknown");
        builder.also("ai_model", json!({"name": model, "ai_provider": provider}));
    }
    if let Some(trace) = &decision.trace_id {
        builder.also("trace", json!({"uid": trace}));
    }
    let forwarded = &decision.asserted.addresses;
    if !forwarded.is_empty() {
        builder.also("http_request", json!({"x_forwarded_for": forwarded}));
    }
    builder.unmapped("environment", json!(decision.environment));
    if decision.enforcement.is_external() {
        builder.unmapped("enforcement", json!(decision.enforcement));
    }
    for (key, value) in [
        ("surface", json!(decision.surface)),
        ("route", json!(decision.route)),
        ("access", json!(decision.access)),
        ("parent", json!(decision.parent)),
        ("fault", json!(decision.fault)),
        ("denied", json!(decision.denied)),
        ("credential", json!(decision.credential)),
        ("policy_errors", json!(decision.policy_errors)),
        ("shadows", json!(decision.shadows)),
        ("asserted", json!({"baggage": decision.asserted.baggage})),
    ] {
        if key != "asserted" || !decision.asserted.baggage.is_empty() {
            builder.unmapped(key, value);
        }
    }
    builder.unmapped("promotions", json!(promotions_of(decision)));
    if let Some(CallerEntry {
        actors,
        roles,
        scopes,
        tenant,
        freshness,
        assurance,
        ..
    }) = &decision.caller
    {
        builder.unmapped("actors", json!(actors));
        builder.unmapped("roles", json!(roles));
        builder.unmapped("scopes", json!(scopes));
        builder.unmapped("tenant", json!(tenant));
        builder.unmapped("freshness", json!(freshness));
        builder.unmapped("assurance", json!(assurance));
    }
    builder
}

fn outcome_event(outcome: &Outcome, decision: Option<&Decision>) -> EventBuilder {
    let mut builder = match decision {
        Some(decision) => activity_event(decision, outcome.time),
        None => EventBuilder::new(outcome.time, Activity::Other, "unknown"),
    };
    builder.correlation = Some(outcome.id.to_string());
    builder.success = outcome.class == OutcomeClass::Ok;
    builder.severity = match outcome.class {
        OutcomeClass::Ok | OutcomeClass::ClientLeft => INFORMATIONAL,
        OutcomeClass::GuardFailed => MEDIUM,
        _ => LOW,
    };
    builder.code = outcome.class.as_str().to_owned();
    let micros = |time: u64| i64::try_from(time / 1000).unwrap_or(i64::MAX);
    let end = outcome.time.as_millisecond();
    builder.also("duration", micros(outcome.duration_us));
    builder.also(
        "start_time",
        end.saturating_sub(micros(outcome.duration_us)),
    );
    builder.also("end_time", end);
    if let Some(status) = outcome.status {
        builder.also("http_response", json!({"code": status}));
    }
    let tokens = [outcome.tokens_in, outcome.tokens_out, outcome.tokens_total];
    if tokens.iter().any(Option::is_some) {
        let service = decision.map_or("unknown", |decision| &decision.service);
        let mut context = json!({"service": {"name": service}});
        for (key, tokens) in [
            ("prompt_tokens", outcome.tokens_in),
            ("completion_tokens", outcome.tokens_out),
            ("total_tokens", outcome.tokens_total),
        ] {
            if let Some(tokens) = tokens {
                put(&mut context, key, json!(tokens));
            }
        }
        builder.also("message_context", context);
    }
    for (key, value) in [
        ("finish", json!(outcome.finish)),
        ("grpc_status", json!(outcome.grpc_status)),
        ("first_byte_us", json!(outcome.first_byte_us)),
        ("bytes_in", json!(outcome.bytes_in)),
        ("bytes_out", json!(outcome.bytes_out)),
        ("served", json!(outcome.served)),
        ("error_type", json!(outcome.error_type)),
        ("tokens_cached", json!(outcome.tokens_cached)),
        ("tokens_cache_written", json!(outcome.tokens_cache_written)),
        ("tokens_reasoning", json!(outcome.tokens_reasoning)),
        ("tokens_tools", json!(outcome.tokens_tools)),
        ("search_units", json!(outcome.search_units)),
    ] {
        builder.unmapped(key, value);
    }
    if outcome.fault.is_some() {
        builder.unmapped("fault", json!(outcome.fault));
    }
    if outcome.reason.is_some() {
        builder.unmapped("broken_off", json!(outcome.reason));
    }
    builder
}

fn service_event(event: &Event) -> EventBuilder {
    let promotion = event.event.starts_with("promotion.");
    if promotion
        && let Ok(step_event) = serde_json::from_value::<PromotionEvent>(event.body.clone())
    {
        return promotion_event(event, &step_event);
    }
    let mut builder = EventBuilder::new(event.time, Activity::Other, &*event.event);
    if event.event == "access.reload_refused" {
        builder.success = false;
        builder.severity = MEDIUM;
    }
    builder.code.clone_from(&event.event);
    builder.unmapped("body", event.body.clone());
    builder
}

fn promotion_event(event: &Event, step_event: &PromotionEvent) -> EventBuilder {
    let activity = match step_event.step {
        Step::Proposed { .. } | Step::Adopted { .. } => Activity::Create,
        _ => Activity::Update,
    };
    let mut builder = EventBuilder::new(step_event.time, activity, &*event.event);
    builder.code.clone_from(&event.event);
    builder.correlation = Some(step_event.promotion.to_string());
    builder.actor = match &step_event.by {
        Some(SignatoryEntry {
            subject, actors, ..
        }) => json!({"user": user(subject), "app_name": agent(actors)}),
        None => builder.actor,
    };
    if let Step::Promoted {
        emergency: Some(_), ..
    }
    | Step::RolledBack {
        emergency: true, ..
    } = step_event.step
    {
        builder.severity = HIGH;
    }
    let candidate = match &step_event.step {
        Step::Adopted { candidate, .. }
        | Step::Proposed { candidate, .. }
        | Step::Approved { candidate, .. } => Some(candidate),
        _ => None,
    };
    if let Some(candidate) = candidate {
        let mut resource = json!({"name": candidate.model, "type": "model"});
        if let Some(revision) = &candidate.revision {
            put(&mut resource, "version", json!(revision));
        }
        builder.also("resources", vec![resource]);
    }
    builder.unmapped("body", event.body.clone());
    builder
}

fn gap_event(gap: &Gap) -> EventBuilder {
    let mut builder = EventBuilder::new(gap.time, Activity::Other, "ledger.gap");
    (builder.success, builder.severity) = (false, MEDIUM);
    builder.code = "ledger.gap".to_owned();
    builder.unmapped("gap", json!(gap));
    builder
}

fn count_event(counts: &Counts) -> EventBuilder {
    let mut builder = EventBuilder::new(counts.time, Activity::Other, "ledger.count");
    builder.code = "ledger.count".to_owned();
    builder.unmapped("counts", json!(counts));
    builder
}

fn actor(caller: Option<&CallerEntry>) -> Value {
    let Some(caller) = caller else {
        return json!({"app_name": "unidentified"});
    };
    let mut who = user(&caller.subject);
    let groups = caller.groups.iter().map(|name| json!({"name": name}));
    put(&mut who, "groups", json!(groups.collect::<Vec<_>>()));
    if let Some(token) = caller.token_id.as_ref().or(caller.token_hash.as_ref()) {
        put(&mut who, "credential_uid", json!(token));
    }
    let mut actor = json!({"user": who, "idp": {"name": caller.subject.issuer}});
    if let Some(client) = &caller.client {
        put(&mut actor, "app_uid", json!(client));
    }
    if !caller.actors.is_empty() {
        put(&mut actor, "app_name", json!(agent(&caller.actors)));
    }
    if let Some(session) = &caller.session {
        put(&mut actor, "session", json!({"uid": session}));
    }
    actor
}

/// The current actor.
fn agent(actors: &[PrincipalEntry]) -> String {
    actors.first().map_or_else(String::new, ToString::to_string)
}

fn user(principal: &PrincipalEntry) -> Value {
    let kind = match principal.kind {
        CallerKind::User => 1,
        CallerKind::Service | CallerKind::Agent => 4,
        _ => 0,
    };
    json!({
        "uid": principal.subject,
        "name": principal.to_string(),
        "domain": principal.issuer,
        "type": principal.kind.as_str(),
        "type_id": kind,
    })
}

fn resource(pair: &PairEntry) -> Value {
    let mut resource = json!({
        "name": pair.model.as_deref().unwrap_or("server"),
        "type": if pair.model.is_some() { "model" } else { "server" },
    });
    if let Some(revision) = &pair.revision {
        put(&mut resource, "version", json!(revision));
    }
    put(
        &mut resource,
        "labels",
        json!([format!("action:{}", pair.action)]),
    );
    resource
}

const fn activity(action: Option<Action>) -> Activity {
    match action {
        Some(Action::List | Action::Read | Action::Download) => Activity::Read,
        Some(Action::Create | Action::Upload | Action::Propose) => Activity::Create,
        Some(Action::Deploy | Action::Promote | Action::Approve | Action::Administer) => {
            Activity::Update
        }
        Some(Action::Delete) => Activity::Delete,
        _ => Activity::Other,
    }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

const INFORMATIONAL: u8 = 1;
const LOW: u8 = 2;
const MEDIUM: u8 = 3;
const HIGH: u8 = 4;

#[cfg(test)]
mod tests;
