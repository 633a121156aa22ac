//! JSON views of promotions.

use serde_json::{Value, json};
use spanner_cedar::{Cedar, Granted, Guarding};
use spanner_core::promotion::{Event, HistoryState, Promotion, Step};
use spanner_core::{Environment, ModelName};

use crate::effect::Preview;

/// A promotion in full.
pub(super) fn promotion(
    promotion: &Promotion,
    preview: Option<&Preview>,
    history: &HistoryState,
    access: &Cedar,
) -> Value {
    let plan = promotion.plan();
    let events: Vec<Value> = history.steps(promotion.id()).map(event).collect();
    let approvers: Vec<String> = access
        .promotion(&plan.into)
        .map(|rule| rule.approvers().collect())
        .unwrap_or_default();
    let mut view = brief(promotion, history);
    let (difference, terms) = match preview {
        Some(preview) => (&preview.difference, Some(&preview.terms)),
        None => (promotion.difference(), promotion.terms()),
    };
    let void = promotion.void();
    let manifest: Option<&str> = promotion.manifest().map(|text| &**text);
    let more = json!({
        "manifest_text": manifest,
        "base": plan.base,
        "restores": plan.restores,
        "approvers": approvers,
        "approvals_needed": terms.map_or(plan.approvals, |terms| terms.approvals),
        "approvals_void": void.map(|void| json!({"by": void.approvals, "because": void.because})),
        "terms": terms,
        "difference": &**difference,
        "events": events,
    });
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    view
}

/// A promotion in a list.
pub(super) fn brief(promotion: &Promotion, history: &HistoryState) -> Value {
    let (plan, candidate) = (promotion.plan(), promotion.candidate());
    let mut own = history.steps(promotion.id());
    let begun = own.next().map(|event| event.time);
    // The last approvals are valid; earlier ones are void.
    let signed = own.filter(|event| matches!(event.step, Step::Approved { .. }));
    let signed: Vec<&Event> = signed.collect();
    let void = signed.len().saturating_sub(promotion.approvals().len());
    let approvals: Vec<Value> = signed
        .into_iter()
        .skip(void)
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
        "standing": promotion.standing().code(),
        "in_force": current.map(Promotion::id) == Some(promotion.id()),
        "time": begun,
        "proposer": promotion.proposer(),
        "approvals": approvals,
        "approvals_needed": promotion.needed(),
    })
}

/// One step of a promotion, without the manifest, whose digest is in the candidate.
pub(super) fn event(event: &Event) -> Value {
    let mut view = serde_json::to_value(event).unwrap_or_default();
    if let Some(members) = view.as_object_mut() {
        members.remove("manifest");
        if let Some(into) = members.remove("into") {
            members.insert("environment".to_owned(), into);
        }
    }
    view
}

/// The promotion under which a model is served, or null.
pub(super) fn in_force(
    history: &HistoryState,
    model: &ModelName,
    environment: &Environment,
) -> Value {
    match history.current(model, environment) {
        Some(promotion) => brief(promotion, history),
        None => Value::Null,
    }
}

/// A grant: which holder may do what.
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

/// A guardrail: what it permits or forbids in addition.
pub(super) fn guarding(guardrail: &Guarding) -> Value {
    json!({
        "policy": &*guardrail.policy,
        "effect": guardrail.effect,
        "shadow": guardrail.shadow,
        "reason": guardrail.reason,
    })
}
