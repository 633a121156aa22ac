//! The tracing span of a request, from its arrival to the end of its response.
//!
//! Its fields follow the OpenTelemetry semantic conventions for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>) and HTTP where those have a name. A
//! model is named only once it is allowed, so that callers cannot choose the value.

use http::StatusCode;
use spanner_core::{Pair, RecordId, Refusal, Settlement, Target};
use tracing::Span;
use tracing::field::{Empty, display};

/// Opens the span. It ends with the response.
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

/// Records the route.
pub(super) fn route(surface: &str, template: &str) {
    let span = Span::current();
    span.record("surface", surface);
    span.record("route", template);
    span.record("otel.name", template);
}

/// Records the operation of a request on a route.
pub(super) fn asked(target: &Target, template: &str) {
    let pair = target.pairs().first();
    if let Some(operation) = pair.and_then(|pair| pair.action.operation_name(template)) {
        Span::current().record("gen_ai.operation.name", operation);
    }
}

/// Records that the request was allowed, and its model.
pub(super) fn allowed(decision: RecordId, pairs: &[Pair]) {
    decided("allow", "granted", Some(decision));
    if let Some(model) = pairs.first().and_then(|pair| pair.resource.name()) {
        Span::current().record("gen_ai.request.model", display(model));
    }
}

/// Records that the request was refused, and the status of the response.
pub(super) fn refused(refusal: &Refusal, decision: Option<RecordId>, status: StatusCode) {
    decided("deny", refusal.code(), decision);
    broken_off(refusal, status);
}

/// Records that a refusal is the response, although the head of the request was allowed.
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

/// Records the status of the inner service's response.
pub(super) fn answered(status: StatusCode) {
    let span = Span::current();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
    }
}

/// Records what the response reported: usage, the serving model, a failure.
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
