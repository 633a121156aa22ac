//! Encodes entries as OpenTelemetry log records and sends them over HTTP as protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! 1. The body is the entry as JSON, and the event name states its kind.
//! 2. Attributes follow the semantic conventions for generative AI (`gen_ai.…`) and HTTP where
//!    these define a name. All other attributes are named `spanner.…`.
//! 3. `log.record.uid` contains the entry's key.

use std::io::Read;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use reqwest::blocking::Response;
use spanner_core::record::Decision;
use spanner_core::{Effect, Timestamp};

use crate::keyed::KeyedEntry;
use crate::receiver::{DeliveryError, Message};
use spanner_ledger::{Entry, served_under};

/// Encodes an entry; `None` if its format is newer than this version.
pub(crate) fn record(item: &KeyedEntry) -> Option<Vec<u8>> {
    let entry = item.stored.entry.as_ref()?;
    let decision = match entry {
        Entry::Decision(decision) => Some(&**decision),
        _ => item.decision.as_deref(),
    };
    let mut attributes = Attributes::default();
    attributes.text("log.record.uid", &item.key);
    attributes.number("spanner.sequence", item.stored.sequence);
    if let Some(decision) = decision {
        attributes.decision(decision);
    }
    if let Entry::Outcome(outcome) = entry {
        attributes.text("spanner.outcome", outcome.class.as_str());
        attributes.count("http.response.status_code", outcome.status.map(u64::from));
        attributes.count("gen_ai.usage.input_tokens", outcome.tokens_in);
        attributes.count("gen_ai.usage.output_tokens", outcome.tokens_out);
        for (key, count) in [
            (
                "gen_ai.usage.cache_read.input_tokens",
                outcome.tokens_cached,
            ),
            (
                "gen_ai.usage.cache_creation.input_tokens",
                outcome.tokens_cache_written,
            ),
            (
                "gen_ai.usage.reasoning.output_tokens",
                outcome.tokens_reasoning,
            ),
            ("spanner.usage.total_tokens", outcome.tokens_total),
            ("spanner.usage.tool_tokens", outcome.tokens_tools),
            ("spanner.usage.search_units", outcome.search_units),
        ] {
            attributes.count(key, count);
        }
        if let Some(word) = &outcome.error_type {
            attributes.text("error.type", word);
        }
        if let Some(model) = &outcome.served {
            attributes.text("gen_ai.response.model", model);
        }
        if let Some(reason) = &outcome.reason {
            attributes.text("spanner.broken_off", reason);
        }
    }
    let (severity, text) = severity(entry);
    let trace = decision.and_then(|decision| decision.trace_id.as_deref());
    let record = LogRecord {
        time_unix_nano: nanos(item.time()?),
        observed_time_unix_nano: nanos(Timestamp::now()),
        severity_number: severity,
        severity_text: text.to_owned(),
        body: Some(value(&String::from_utf8_lossy(&item.stored.json))),
        attributes: attributes.0,
        trace_id: trace.and_then(trace_id).unwrap_or_default(),
        event_name: name(entry),
        ..LogRecord::default()
    };
    Some(record.encode_to_vec())
}

/// Encodes a batch as an export request.
pub(crate) fn request(messages: &[Message]) -> Vec<u8> {
    let records = messages
        .iter()
        .filter_map(|it| LogRecord::decode(&*it.bytes).ok());
    let mut resource = Attributes::default();
    resource.text("service.name", "spanner");
    let logs = ResourceLogs {
        resource: Some(Resource {
            attributes: resource.0,
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                name: "spanner.ledger".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            log_records: records.collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![logs],
    }
    .encode_to_vec()
}

/// Evaluates a 200 response, which may reject some of the records.
pub(crate) fn accepted(answer: Response) -> Result<(), DeliveryError> {
    let mut body = Vec::new();
    let read = answer.take(MAX_ANSWER).read_to_end(&mut body);
    read.map_err(DeliveryError::retry)?;
    // A collector that sends no valid response body accepted the batch by its status.
    let Ok(answer) = ExportLogsServiceResponse::decode(&*body) else {
        return Ok(());
    };
    match answer.partial_success {
        Some(partial) if partial.rejected_log_records > 0 => Err(DeliveryError::Rejected {
            reason: format!(
                "it rejected {} of the records",
                partial.rejected_log_records
            ),
        }),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, text: &str) {
        self.put(key, value(text));
    }

    fn number(&mut self, key: &str, number: u64) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.put(
            key,
            AnyValue {
                value: Some(any_value::Value::IntValue(number)),
            },
        );
    }

    fn count(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    fn put(&mut self, key: &str, value: AnyValue) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(value),
            ..KeyValue::default()
        });
    }

    fn decision(&mut self, decision: &Decision) {
        self.text("spanner.decision", &decision.id.to_string());
        self.text("spanner.environment", &decision.environment);
        self.text("spanner.service", &decision.service);
        let effect = match decision.effect {
            Effect::Allow => "allow",
            _ => "deny",
        };
        self.text("spanner.effect", effect);
        self.text("spanner.reason", &decision.reason);
        if decision.enforcement.is_external() {
            self.text("spanner.enforcement", "external");
        }
        if let Some(instance) = &decision.instance {
            self.text("service.instance.id", instance);
        }
        if let Some(route) = &decision.route {
            self.text("http.route", route);
        }
        if let Some(caller) = &decision.caller {
            self.text("spanner.caller", &caller.to_string());
        }
        let Some(pair) = decision.target.first() else {
            return;
        };
        self.text("spanner.action", pair.action.as_str());
        if let Some(model) = &pair.model {
            self.text("gen_ai.request.model", model);
        }
        if let Some(promotion) = served_under(decision, pair) {
            self.text("spanner.promotion", &promotion.to_string());
        }
        let route = decision.route.as_deref().unwrap_or_default();
        if let Some(operation) = pair.action.operation_name(route) {
            self.text("gen_ai.operation.name", operation);
        }
    }
}

fn value(text: &str) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(text.to_owned())),
    }
}

fn name(entry: &Entry) -> String {
    match entry {
        Entry::Event(event) => format!("spanner.{}", event.event),
        other => format!("spanner.{}", other.kind()),
    }
}

/// The values of `severity_number` and `severity_text`.
const fn severity(entry: &Entry) -> (i32, &'static str) {
    match entry {
        Entry::Decision(decision) => match decision.effect {
            Effect::Allow => (9, "INFO"),
            _ => (13, "WARN"),
        },
        Entry::Gap(_) => (17, "ERROR"),
        _ => (9, "INFO"),
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

fn trace_id(hexadecimal: &str) -> Option<Vec<u8>> {
    let number = u128::from_str_radix(hexadecimal, 16).ok()?;
    Some(number.to_be_bytes().to_vec())
}

/// A valid response is a few bytes long.
const MAX_ANSWER: u64 = 64 * 1024;
