//! What people and other programs see of a ledger.

use spanner_core::testing::{Fixed, Rules};
use std::time::Duration;

use spanner_core::{
    Action, Arrival, Caller, CallerKind, Credential, Gate, Host, IssuerAlias, Pair, Permit,
    Principal, Refused, Resource, SubjectId, Target,
};

use super::{Service, block_on, open, options, reader};
use crate::files::Files;
use crate::files::sim::Sim;
use crate::{Ledger, ReadError};

fn principal(kind: CallerKind, subject: &str) -> Principal {
    let alias = IssuerAlias::new("acme").unwrap();
    Principal::new(alias, kind, SubjectId::new(subject).unwrap())
}

fn ask(gate: &Gate, caller: Caller, pairs: &[(Action, &str)]) -> Result<Permit, Refused> {
    let pairs = pairs
        .iter()
        .map(|(action, model)| Pair::new(*action, Resource::model(model.parse().unwrap())));
    let target = Target::of(pairs).unwrap();
    block_on(gate.open(Arrival::new()).decide(caller, target).recorded())
}

#[test]
fn exports_every_entry_as_one_line_of_json() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    drop(service.allow().unwrap());
    let body = serde_json::json!({ "text": "one\ntwo\u{2028}three" });
    drop(service.ledger.event("test.lines", body.clone()).unwrap());
    service.ledger.close().unwrap();
    let mut out = Vec::new();
    let lines = reader(&sim).json_lines(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(lines as usize, text.lines().count());
    let values: Vec<serde_json::Value> = (text.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (index, value) in values.iter().enumerate() {
        assert_eq!(value["sequence"], index);
    }
    assert_eq!(values[1]["kind"], "decision");
    assert_eq!(values[1]["caller"]["subject"], "alice");
    let event = values.iter().find(|value| value["event"] == "test.lines");
    assert_eq!(event.unwrap()["body"], body);
}

#[test]
fn reports_and_skips_an_entry_of_a_newer_version() {
    let sim = Sim::default();
    let ledger = open(options(), &sim).unwrap();
    drop(ledger.event("test.old", serde_json::Value::Null).unwrap());
    ledger.close().unwrap();
    drop(ledger);
    let files = std::sync::Arc::new(sim.clone());
    let durability = crate::Durability::PowerLoss;
    let size = crate::log::SegmentSize {
        bytes: 4096,
        age: None,
    };
    let mut log = crate::log::Log::new(files, durability, size, 3);
    log.append(&[
        br#"{"kind":"prophecy"}"#,
        br#"{"kind":"event","time":"2026-11-23T12:00:00Z","event":"test.new"}"#,
    ])
    .unwrap();
    let read: Vec<_> = reader(&sim).entries().unwrap().collect();
    assert_eq!(read.len(), 5);
    assert!(matches!(
        read[3],
        Err(ReadError::Unknown { sequence: 3, .. })
    ));
    assert!(read[4].is_ok());
    Service::open(&sim).unwrap();
}

#[test]
fn reads_an_empty_directory_and_refuses_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let reader = Ledger::read(dir.path()).unwrap();
    assert_eq!(reader.show().unwrap(), []);
    let nowhere = Ledger::read(dir.path().join("nowhere"));
    assert!(matches!(nowhere, Err(ReadError::Io { .. })));
}

#[test]
fn detects_a_removed_segment_and_loses_at_most_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let event = || {
        let event = ledger.event("test.event", serde_json::Value::Null).unwrap();
        block_on(event)
    };
    event().unwrap();
    std::fs::remove_file(dir.path().join("00000000000000000000.seg")).unwrap();
    event().unwrap_err();
    event().unwrap();
    ledger.close().unwrap();
    let read = Ledger::read(dir.path());
    assert!(matches!(
        read,
        Err(ReadError::Missing { from: 0, to: 1, .. })
    ));
}

#[test]
fn a_closed_ledger_releases_preallocated_space() {
    let sim = Sim::default();
    let service = Service::of(options().segment_bytes(1 << 20), &sim).unwrap();
    drop(service.allow().unwrap());
    assert!(sim.used() > 1 << 20);
    service.ledger.close().unwrap();
    sim.remove("reserve").unwrap();
    assert!(sim.used() < 4096, "{}", sim.used());
}

/// A credential by hash and age, in days before the calls.
fn credential(hash: &str, age: u64, max_age: Option<u64>, lives: u64) -> Credential {
    let day = Duration::from_secs(86_400);
    let now: jiff::Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let days = |count: u64| day * u32::try_from(count).unwrap();
    let mut credential = Credential::unknown();
    credential.token_id = Some(format!("t-{hash}"));
    credential.token_hash = Some(hash.to_owned());
    credential.issued_at = Some(now - days(age));
    credential.expires_at = Some(now - days(age) + days(lives));
    credential.max_age = max_age.map(days);
    credential
}

#[test]
fn reports_credentials_that_must_be_replaced_soon() {
    let sim = Sim::default();
    let ledger = open(options(), &sim).unwrap();
    let host = Fixed::at("2026-11-23T12:00:00Z");
    let environment = "production".parse().unwrap();
    let gate = Gate::new(
        "chat",
        environment,
        Rules::allow(|_| true),
        ledger.clone(),
        host.clone(),
    );
    let used = [
        ("fresh", "a", credential("f", 20, Some(30), 365), 1),
        ("soon", "b", credential("s", 24, Some(30), 365), 2),
        ("sooner", "c", credential("u", 29, Some(30), 365), 1),
        ("expires first", "d", credential("e", 20, Some(30), 22), 1),
        ("never", "e", credential("n", 900, None, 9_999), 1),
        ("grows\nold", "f", credential("g", 22, Some(30), 365), 3),
    ];
    for (client, subject, credential, times) in used {
        for _ in 0..times {
            let caller = Caller::assertion(principal(CallerKind::Service, subject))
                .client(client)
                .credential(credential.clone());
            let one = [(Action::Generate, "acme/sentiment")];
            drop(ask(&gate, caller.caller().unwrap(), &one).unwrap());
        }
    }
    ledger.close().unwrap();
    let due = |days: u64| {
        let now = host.now() + Duration::from_secs(86_400 * days);
        let found = reader(&sim).aging_credentials(now).unwrap();
        let short: Vec<_> = found
            .iter()
            .map(|it| {
                format!(
                    "{} {} {}",
                    it.subject.subject,
                    it.token_hash.as_ref().unwrap(),
                    it.uses
                )
            })
            .collect();
        short
    };
    // The third one expires in two days, long before it reaches its maximum age.
    assert_eq!(due(0), ["c u 1", "d e 1", "b s 2"]);
    // Two days later, two are refused, and another one has aged without being used.
    assert_eq!(due(2), ["b s 2", "f g 3"]);
    assert_eq!(due(400), Vec::<String>::new());
}

#[test]
fn a_closed_ledger_releases_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("ledger");
    let ledger = Ledger::open(&place).unwrap();
    let another = ledger.clone();
    assert!(Ledger::open(&place).is_err());
    ledger.close().unwrap();
    Ledger::open(&place).unwrap().close().unwrap();
    assert!(another.prune(&crate::Retention::new().segments(1)).is_err());
}
