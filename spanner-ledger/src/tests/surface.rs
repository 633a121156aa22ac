//! What people and other programs get to see.

use spanner_core::testing::{Fixed, Rules};
use spanner_core::{
    Action, Arrival, Caller, CallerKind, Gate, IssuerAlias, Pair, Permit, Principal, Refused,
    Resource, SubjectId, Target,
};

use super::{Service, block_on, options, reader};
use crate::files::Files;
use crate::files::sim::Sim;
use crate::{Ledger, ReadError, table};

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
fn shows_one_line_per_request() {
    let sim = Sim::default();
    let ledger = options().open_in(std::sync::Arc::new(sim.clone())).unwrap();
    let host = Fixed::at("2026-11-23T12:00:00Z");
    let rules = Rules::allow(|question| question.action == Action::Generate);
    let environment = "production".parse().unwrap();
    let gate = Gate::new("chat", environment, rules, ledger.clone(), host.clone());

    let alice = || Caller::assertion(principal(CallerKind::User, "alice"));
    let one = [(Action::Generate, "acme/sentiment")];
    let mut served = ask(&gate, alice().caller().unwrap(), &one)
        .unwrap()
        .forward();
    served.head(200);
    host.advance(std::time::Duration::from_micros(12_345));
    served.finish();
    drop(served);
    let two = [(Action::Deploy, "acme/a"), (Action::Deploy, "acme/b")];
    let copilot = alice().actors([principal(CallerKind::Agent, "copilot")]);
    let refused = ask(&gate, copilot.caller().unwrap(), &two).unwrap_err();
    refused.settle(403, 0);
    let _open = ask(&gate, alice().caller().unwrap(), &one).unwrap();

    let shown = table(&reader(&sim).show().unwrap());
    let expected = "\
time                     │ who                         │ what                    │ where      │ decision │ why             │ outcome     │   ms
─────────────────────────┼─────────────────────────────┼─────────────────────────┼────────────┼──────────┼─────────────────┼─────────────┼─────
2026-11-23T12:00:00.000Z │ acme:alice                  │ generate acme/sentiment │ production │ allow    │ granted         │ ok 200      │ 12.3
2026-11-23T12:00:00.012Z │ acme:copilot for acme:alice │ deploy acme/a +1        │ production │ deny     │ authz.no_permit │ refused 403 │  0.0
2026-11-23T12:00:00.012Z │ acme:alice                  │ generate acme/sentiment │ production │ allow    │ granted         │ open        │    -
";
    assert_eq!(shown, expected, "\n{shown}");
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
fn an_entry_of_a_newer_version_is_reported_and_passed_over() {
    let sim = Sim::default();
    let ledger = options().open_in(std::sync::Arc::new(sim.clone())).unwrap();
    drop(ledger.event("test.old", serde_json::Value::Null).unwrap());
    ledger.close().unwrap();
    drop(ledger);
    let files = std::sync::Arc::new(sim.clone());
    let durability = crate::Durability::PowerLoss;
    let mut log = crate::log::Log::new(files, durability, 4096, 3);
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
fn a_directory_without_a_ledger_is_empty_and_without_being_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let reader = Ledger::read(dir.path()).unwrap();
    assert_eq!(reader.show().unwrap(), []);
    let nowhere = Ledger::read(dir.path().join("nowhere"));
    assert!(matches!(nowhere, Err(ReadError::Io { .. })));
}

#[test]
fn a_segment_that_is_taken_away_costs_one_batch_and_is_noticed() {
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
fn a_closed_ledger_takes_no_more_space_than_it_needs() {
    let sim = Sim::default();
    let service = Service::of(options().segment_bytes(1 << 20), &sim).unwrap();
    drop(service.allow().unwrap());
    assert!(sim.used() > 1 << 20);
    service.ledger.close().unwrap();
    sim.remove("reserve").unwrap();
    assert!(sim.used() < 4096, "{}", sim.used());
}
