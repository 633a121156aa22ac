//! Limits, counts, events and closing.

use spanner_core::record::{Outcome, OutcomeClass};
use spanner_core::{AuditSink, Count, SinkFault};

use super::{Service, block_on, entries, options, reader, settled, until};
use crate::files::sim::Sim;
use crate::queue::MAX_OUTCOME_BYTES;
use crate::{Entry, Ledger, MAX_ENTRY_BYTES, OpenError};

#[test]
fn reserves_room_for_the_outcome_of_an_open_request() {
    let sim = Sim::default();
    let service = Service::of(options().queue(3), &sim).unwrap();
    let first = service.allow().unwrap();
    let refused = service.allow().unwrap();
    assert_eq!(
        service.allow().unwrap_err().refusal().code(),
        "audit.unavailable"
    );
    drop((first, refused));
    until(|| service.allow().is_ok());
    service.ledger.close().unwrap();
    assert!(settled(&sim).len() >= 3);
}

#[test]
fn records_counts() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    for what in [
        Count::Public,
        Count::Public,
        Count::Exempt,
        Count::ShedRefusal,
    ] {
        service.ledger.count(what);
    }
    let total = |sim: &Sim| {
        entries(sim)
            .iter()
            .fold((0, 0, 0), |sum, entry| match entry {
                Entry::Count(c) => (sum.0 + c.public, sum.1 + c.exempt, sum.2 + c.shed_refusal),
                _ => sum,
            })
    };
    until(|| total(&sim) == (2, 1, 1));
    service.ledger.count(Count::Public);
    service.ledger.close().unwrap();
    assert_eq!(total(&sim), (3, 1, 1));
}

#[test]
fn records_unidentified_refusals_up_to_a_budget_and_counts_the_rest() {
    let sim = Sim::default();
    let service = Service::of(options().unidentified_per_second(0), &sim).unwrap();
    for _ in 0..10 {
        service.stray();
    }
    drop(service.allow().unwrap());
    assert!(service.deny());
    service.ledger.close().unwrap();
    assert_eq!(settled(&sim).len(), 2);
    let shed = entries(&sim).iter().fold(0, |shed, entry| match entry {
        Entry::Count(counts) => shed + counts.shed_refusal,
        _ => shed,
    });
    assert_eq!(shed, 10);
}

#[test]
fn a_flood_of_unidentified_refusals_stays_below_a_mebibyte_and_is_counted_exactly() {
    let sim = Sim::default();
    let builder = options()
        .segment_bytes(16 << 20)
        .unidentified_per_second(1_000_000);
    let service = Service::of(builder, &sim).unwrap();
    for _ in 0..3000 {
        service.stray();
    }
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    let recorded = settled(&sim).len() as u64 - 1;
    let shed = entries(&sim).iter().fold(0, |shed, entry| match entry {
        Entry::Count(counts) => shed + counts.shed_refusal,
        _ => shed,
    });
    assert_eq!(recorded + shed, 3000);
    let bytes = sim.size_of("00000000000000000000.seg");
    assert!(
        recorded > 500 && bytes < 1024 * 1024,
        "{recorded} took {bytes} bytes"
    );
}

#[test]
fn a_closed_ledger_refuses_entries() {
    let service = Service::open(&Sim::default()).unwrap();
    let ledger = service.ledger.clone();
    ledger.close().unwrap();
    ledger.close().unwrap();
    assert_eq!(
        service.allow().unwrap_err().refusal().code(),
        "audit.unavailable"
    );
    let event = ledger.event("test.late", serde_json::Value::Null);
    assert_eq!(event.err(), Some(SinkFault::Closed));
}

#[test]
fn closing_waits_for_outstanding_outcomes() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let permit = service.allow().unwrap();
    let ledger = service.ledger.clone();
    let closing = std::thread::spawn(move || ledger.close());
    until(|| service.allow().is_err());
    drop(permit);
    closing.join().unwrap().unwrap();
    let left = |class: &&OutcomeClass| **class == OutcomeClass::ClientLeft;
    assert!(settled(&sim).values().filter(left).count() >= 1);
}

#[test]
fn dropping_the_last_handle_stores_pending_entries() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    for _ in 0..20 {
        drop(service.ledger.event("test.event", 7.into()).unwrap());
    }
    drop(service);
    assert_eq!(entries(&sim).len(), 22);
}

#[test]
fn refuses_an_entry_that_is_too_large() {
    let service = Service::open(&Sim::default()).unwrap();
    let great = "x".repeat(MAX_ENTRY_BYTES);
    let event = service.ledger.event("test.great", great.into());
    assert!(matches!(event.err(), Some(SinkFault::NotDurable { .. })));
    let fits = "x".repeat(MAX_ENTRY_BYTES - 200);
    block_on(service.ledger.event("test.great", fits.into()).unwrap()).unwrap();
}

#[test]
fn the_longest_outcome_fits_into_its_room() {
    let id = spanner_core::RecordId::from_u128(u128::MAX);
    let outcome = Outcome::crashed(id, jiff::Timestamp::MIN);
    let mut longest = serde_json::to_value(Entry::Outcome(Box::new(outcome))).unwrap();
    for (name, value) in [
        ("class", serde_json::json!("model_failed")),
        ("finish", serde_json::json!("model_failed")),
        ("reason", serde_json::json!("token.delegation_not_allowed")),
        ("status", serde_json::json!(u16::MAX)),
        ("grpc_status", serde_json::json!(u8::MAX)),
        (
            "time",
            serde_json::json!("-009999-01-02T01:59:59.999999999Z"),
        ),
        ("fault", serde_json::json!("guard_unavailable")),
        ("served", serde_json::json!("m".repeat(256))),
        (
            "error_type",
            serde_json::json!("e".repeat(Outcome::MAX_ERROR_TYPE_BYTES)),
        ),
    ] {
        longest[name] = value;
    }
    for name in [
        "duration_us",
        "first_byte_us",
        "bytes_in",
        "bytes_out",
        "tokens_in",
        "tokens_out",
        "tokens_total",
        "tokens_cached",
        "tokens_cache_written",
        "tokens_reasoning",
        "tokens_tools",
        "search_units",
    ] {
        longest[name] = serde_json::json!(u64::MAX);
    }
    let Entry::Outcome(outcome) = serde_json::from_value(longest).unwrap() else {
        panic!("not an outcome");
    };
    let bytes = Entry::Outcome(outcome).payload().unwrap().len();
    assert!(bytes <= MAX_OUTCOME_BYTES, "{bytes}");
}

#[test]
fn reads_while_it_is_written() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let writing = std::thread::scope(|scope| {
        let writing = scope.spawn(|| (0..300).all(|_| service.allow().is_ok()));
        let mut seen = 0;
        while !writing.is_finished() {
            let rows = reader(&sim).show().unwrap().len();
            assert!(rows >= seen, "{rows} after {seen}");
            seen = rows;
        }
        writing.join().unwrap()
    });
    assert!(writing);
    assert_eq!(reader(&sim).show().unwrap().len(), 300);
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Ledger::open(dir.path()).unwrap();
    assert!(matches!(
        Ledger::open(dir.path()),
        Err(OpenError::Locked { .. })
    ));
    drop(first);
    Ledger::open(dir.path()).unwrap();
}

#[test]
fn names_options_that_are_out_of_range() {
    let options = || Ledger::builder("never made");
    let rows = [
        ("segment_bytes", options().segment_bytes(4095)),
        ("queue", options().queue(1)),
        ("queue_bytes", options().queue_bytes(1024)),
        ("wait", options().wait(std::time::Duration::ZERO)),
    ];
    for (name, builder) in rows {
        let fault = builder.open().unwrap_err();
        assert!(
            matches!(fault, OpenError::Option { option, .. } if option == name),
            "{name}"
        );
    }
}
