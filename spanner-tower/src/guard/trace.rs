//! The span of a request, from its arrival to the end of its answer.
//!
//! Its fields follow the semantic conventions of OpenTelemetry for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>) and HTTP where they have a name.
//! A model is named once it is allowed: nobody else chooses what stands there.

use http::StatusCode;
use spanner_core::{Pair, RecordId, Refusal, Settlement, Target};
use tracing::Span;
use tracing::field::{Empty, display};

/// A span without an end: it ends when the answer does.
pub(super) fn span() -> Span {
    tracing::info_span!(
        "guard",
        otel.kind = "server",
        otel.name = Empty,
        surface = Empty,
        route = Empty,
        effect = Empty,
        reason = Empty,
        decision = Empty,
        error.type = Empty,
        http.response.status_code = Empty,
        gen_ai.operation.name = Empty,
        gen_ai.request.model = Empty,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_creation.input_tokens = Empty,
        gen_ai.usage.reasoning.output_tokens = Empty,
    )
}

/// What route it is.
pub(super) fn route(surface: &str, template: &str) {
    let span = Span::current();
    span.record("surface", surface);
    span.record("route", template);
    span.record("otel.name", template);
}

/// What is asked for on a route.
pub(super) fn asked(target: &Target, template: &str) {
    let pair = target.pairs().first();
    if let Some(operation) = pair.and_then(|pair| pair.action.operation_name(template)) {
        Span::current().record("gen_ai.operation.name", operation);
    }
}

/// That it was allowed, and for which model.
pub(super) fn allowed(decision: RecordId, pairs: &[Pair]) {
    decided("allow", "granted", Some(decision));
    if let Some(model) = pairs.first().and_then(|pair| pair.resource.name()) {
        Span::current().record("gen_ai.request.model", display(model));
    }
}

/// That it was refused, and with which status.
pub(super) fn refused(refusal: &Refusal, decision: Option<RecordId>, status: StatusCode) {
    decided("deny", refusal.code(), decision);
    broken_off(refusal, status);
}

/// That it is answered with a refusal, whatever was decided of its beginning.
pub(super) fn broken_off(refusal: &Refusal, status: StatusCode) {
    let span = Span::current();
    span.record("error.type", refusal.code());
    span.record("http.response.status_code", status.as_u16());
}

fn decided(effect: &'static str, reason: &'static str, decision: Option<RecordId>) {
    let span = Span::current();
    span.record("effect", effect);
    span.record("reason", reason);
    if let Some(decision) = decision {
        span.record("decision", display(decision));
    }
}

/// With which status the inner service answers.
pub(super) fn answered(status: StatusCode) {
    let span = Span::current();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
    }
}

/// What the answer reported of itself by its end.
pub(super) fn ended(span: &Span, settlement: &Settlement) {
    if span.is_disabled() {
        return;
    }
    let usage = settlement.reported();
    if let Some(model) = settlement.served_by() {
        span.record("gen_ai.response.model", model);
    }
    if let Some(word) = settlement.reported_error() {
        span.record("error.type", word);
    }
    for (name, tokens) in [
        ("gen_ai.usage.input_tokens", usage.input),
        ("gen_ai.usage.output_tokens", usage.output),
        ("gen_ai.usage.cache_read.input_tokens", usage.cached),
        (
            "gen_ai.usage.cache_creation.input_tokens",
            usage.cache_written,
        ),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
    ] {
        if let Some(tokens) = tokens {
            span.record(name, tokens);
        }
    }
}
