//! Promotions as the API shows them.

use serde_json::{Value, json};
use spanner_cedar::{Cedar, Granted, Guarding};
use spanner_core::promotion::{ChangeEntry, Event, History, Promotion, Standing, Step};
use spanner_core::{Environment, ModelName};

/// One promotion, whole.
pub(super) fn promotion(
    promotion: &Promotion,
    difference: &[ChangeEntry],
    history: &History,
    access: &Cedar,
) -> Value {
    let plan = promotion.plan();
    let events: Vec<Value> = history.steps(promotion.id()).map(told).collect();
    let approvers: Vec<String> = access
        .promotion(&plan.into)
        .map(|rule| rule.approvers().collect())
        .unwrap_or_default();
    let mut view = brief(promotion, history);
    let more = json!({
        "manifest_text": &**promotion.manifest(),
        "base": plan.base,
        "approvers": approvers,
        "difference": difference,
        "events": events,
    });
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    view
}

/// One promotion in a list.
pub(super) fn brief(promotion: &Promotion, history: &History) -> Value {
    let (plan, candidate) = (promotion.plan(), promotion.candidate());
    let mut own = history.steps(promotion.id());
    let begun = own.next().map(|event| event.time);
    let signed = own.filter(|event| matches!(event.step, Step::Approved { .. }));
    let approvals: Vec<Value> = signed
        .map(|event| json!({"by": event.by, "time": event.time}))
        .collect();
    let current = history.current(&candidate.model, &plan.into);
    json!({
        "id": promotion.id(),
        "model": candidate.model.as_str(),
        "revision": candidate.revision.as_ref().map(ToString::to_string),
        "content": candidate.content.as_ref().map(ToString::to_string),
        "manifest": candidate.manifest.as_str(),
        "from": plan.from.as_str(),
        "environment": plan.into.as_str(),
        "standing": standing(promotion.standing()),
        "in_force": current.map(Promotion::id) == Some(promotion.id()),
        "time": begun,
        "proposer": promotion.proposer(),
        "approvals": approvals,
        "approvals_needed": plan.approvals,
    })
}

/// One event of a history. The manifest is left out: its digest stands in the candidate.
pub(super) fn told(event: &Event) -> Value {
    let mut view = serde_json::to_value(event).unwrap_or_default();
    if let Some(members) = view.as_object_mut() {
        members.remove("manifest");
        if let Some(into) = members.remove("into") {
            members.insert("environment".to_owned(), into);
        }
    }
    view
}

/// Under which promotion a model is served, where promotions are kept.
pub(super) fn in_force(history: &History, model: &ModelName, environment: &Environment) -> Value {
    match history.current(model, environment) {
        Some(promotion) => brief(promotion, history),
        None => Value::Null,
    }
}

/// Who may do what, by a grant.
pub(super) fn granted(grant: &Granted) -> Value {
    json!({
        "holder": grant.holder,
        "role": &*grant.role,
        "actions": grant.actions,
        "every_model": grant.model.is_none(),
        "individual": grant.individual,
        "policy": &*grant.policy,
    })
}

/// What a guardrail permits or forbids besides.
pub(super) fn guarding(guardrail: &Guarding) -> Value {
    json!({
        "policy": &*guardrail.policy,
        "effect": guardrail.effect,
        "shadow": guardrail.shadow,
        "reason": guardrail.reason,
    })
}

/// All words of standings.
pub(super) const STANDINGS: [&str; 7] = [
    "open",
    "promoted",
    "emergency",
    "adopted",
    "rejected",
    "withdrawn",
    "rolled_back",
];

/// The word of a standing.
pub(super) const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Open => "open",
        Standing::Promoted => "promoted",
        Standing::Emergency => "emergency",
        Standing::Adopted => "adopted",
        Standing::Rejected => "rejected",
        Standing::Withdrawn => "withdrawn",
        Standing::RolledBack => "rolled_back",
        _ => "unknown",
    }
}
