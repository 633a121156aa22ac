//! Tests of the OCSF format.

use std::collections::HashMap;

use super::*;
use crate::keyed::Joiner;
use crate::{EncodeError, Format};
use spanner_ledger::StoredEntry;

/// All entries of both example files, which contain every kind.
fn items() -> Vec<KeyedEntry> {
    let lines = [
        include_str!("../../../spanner-ledger/tests/data/story.jsonl"),
        include_str!("../../../spanner-ledger/tests/data/entries.jsonl"),
    ];
    let mut joiner = Joiner::default();
    let lines = lines.iter().flat_map(|text| text.lines()).zip(0..);
    lines
        .map(|(line, sequence)| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            // The ledger sets the time of an event.
            if value["time"].is_null() {
                value["time"] = json!("2026-11-24T10:00:00Z");
            }
            let stored = StoredEntry::new(sequence, value.to_string().into_bytes());
            joiner.join("0123456789abcdef", stored)
        })
        .collect()
}

#[test]
fn reports_usage_and_errors() {
    let events: Vec<Value> = items()
        .iter()
        .filter_map(|it| event(it, &Producer::default()))
        .collect();
    let told = |event: &&Value| event["message_context"]["total_tokens"] == 8;
    let event = events.iter().find(told).unwrap();
    let context = &event["message_context"];
    assert_eq!(context["prompt_tokens"], 3);
    assert_eq!(context["completion_tokens"], 5);
    let rest = &event["unmapped"];
    for (key, due) in [
        ("tokens_cached", json!(2)),
        ("tokens_cache_written", json!(1)),
        ("tokens_reasoning", json!(4)),
        ("tokens_tools", json!(1)),
        ("search_units", json!(1)),
        ("error_type", json!("overloaded_error")),
    ] {
        assert_eq!(rest[key], due, "{key}: {event}");
    }
}

/// Also writes the events to `SPANNER_OCSF_OUT`, for an independent validator.
#[test]
fn every_entry_is_an_event_of_the_class() {
    let mut out = String::new();
    let mut by_sequence = HashMap::new();
    for item in items() {
        let Some(event) = event(&item, &Producer::default()) else {
            assert_eq!(item.stored.entry, None);
            continue;
        };
        assert_eq!(event["class_uid"], 6003);
        assert_eq!(event["metadata"]["uid"], item.key);
        assert_eq!(event["metadata"]["product"]["vendor_name"], "Spanner");
        let activity = event["activity_id"].as_u64().unwrap();
        assert_eq!(event["type_uid"], 600_300 + activity);
        assert!(event["time"].as_i64().unwrap() > 1_700_000_000_000);
        out.push_str(&format!("{event}\n"));
        by_sequence.insert(item.stored.sequence, event);
    }
    assert_eq!(by_sequence.len(), items().len() - 1);
    if let Some(path) = std::env::var_os("SPANNER_OCSF_OUT") {
        std::fs::write(path, out).unwrap();
    }
}

#[test]
fn an_outcome_names_the_caller_the_action_and_the_result() {
    let of = |id: &str, kind: &str| {
        let items = items();
        let is = |it: &&KeyedEntry| {
            let text = String::from_utf8_lossy(&it.stored.json);
            text.contains(id) && text.contains(kind)
        };
        event(items.iter().find(is).unwrap(), &Producer::default()).unwrap()
    };
    let ended = of("019a3c60-0000-7000-8000-000000000001", "\"outcome\"");
    assert_eq!(
        ended["metadata"]["correlation_uid"],
        "019a3c60-0000-7000-8000-000000000001"
    );
    assert_eq!(ended["actor"]["app_name"], "agent:corp/copilot");
    assert_eq!(ended["ai_model"]["name"], "acme/a");
    assert_eq!(ended["ai_model"]["ai_provider"], "acme");
    assert_eq!(ended["message_context"]["completion_tokens"], 5);
    assert_eq!(
        (&ended["status_id"], &ended["duration"]),
        (&json!(1), &json!(12))
    );
    assert_eq!(
        ended["http_request"],
        json!({"x_forwarded_for": ["192.0.2.1"]})
    );
    let refused = of("019a3c5f-0000-7000-8000-000000000002", "\"decision\"");
    assert_eq!(
        (&refused["action_id"], &refused["status_id"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(refused["status_code"], "authz.no_permit");
    let emergency = of("019a3c5e-0000-7000-8000-000000000002", "\"emergency\"");
    assert_eq!(emergency["severity_id"], 4);
    assert_eq!(emergency["actor"]["user"]["uid"], "root");
}

#[test]
fn the_vendor_and_the_enterprise_number_are_the_configured_ones() {
    let producer = Producer::default()
        .vendor("Example Corp")
        .enterprise_number(12345);
    let item = &items()[0];
    let event = event(item, &producer).unwrap();
    assert_eq!(event["metadata"]["product"]["vendor_name"], "Example Corp");
    for (producer, id) in [
        (producer, "[spanner@12345 "),
        (Producer::default(), "[spanner@32473 "),
    ] {
        let message = Format::Syslog.encode(item, &producer).unwrap();
        assert!(String::from_utf8(message).unwrap().contains(id));
    }
}

#[test]
fn encodes_entries_of_a_newer_version_as_json_lines_only() {
    let newer = items().pop().unwrap();
    assert_eq!(
        Format::Ocsf.encode(&newer, &Producer::default()),
        Err(EncodeError)
    );
    assert_eq!(
        Format::Syslog.encode(&newer, &Producer::default()),
        Err(EncodeError)
    );
    let line = Format::JsonLines
        .encode(&newer, &Producer::default())
        .unwrap();
    let line: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(line["kind"], "a_later_kind");
}

#[test]
fn unverified_claims_appear_only_in_their_own_members() {
    for item in items() {
        let Some(mut event) = event(&item, &Producer::default()) else {
            continue;
        };
        event["http_request"] = Value::Null;
        event["unmapped"]["asserted"] = Value::Null;
        let text = event.to_string();
        assert!(
            !text.contains("192.0.2.1\"") && !text.contains("\"tenant\":\"acme\""),
            "{text}"
        );
    }
}
