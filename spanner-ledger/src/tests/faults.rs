//! Calls to the disk fail.

use std::io::ErrorKind;
use std::time::Duration;

use spanner_core::journal::{Append, Condition, Cursor, EventKind, Journal, JournalError, Scope};
use spanner_core::record::OutcomeClass;

use super::{Service, block_on, entries, options, settled, until};
use crate::files::sim::{Kind, Sim, Trouble};
use crate::{Durability, Entry};

/// AUD-11.
#[test]
fn a_failed_call_fails_exactly_the_waiting_requests() {
    let kinds = [Kind::Fail(ErrorKind::Other), Kind::Half];
    let mut failures = 0;
    for (at, kind) in (0..140).flat_map(|at| kinds.map(|kind| (at, kind))) {
        let sim = Sim::default();
        sim.trouble([Trouble { at, kind }]);
        let Ok(service) = Service::open(&sim) else {
            continue;
        };
        let failed = (0..30).filter(|_| service.allow().is_err()).count();
        failures += failed;
        assert!(failed <= 1, "{failed} failed at {at}");
        let (taken, acknowledged) = (service.taken(), service.acknowledged());
        service.ledger.close().unwrap();
        sim.trouble([]);
        let classes = settled(&sim);
        assert_eq!(classes.len(), 30, "each decision is recorded at last");
        for id in &taken {
            let served = classes[id] != OutcomeClass::GuardFailed;
            assert_eq!(served, acknowledged.contains(id), "at {at}");
        }
        let gaps = entries(&sim);
        let gaps = gaps.iter().filter(|entry| matches!(entry, Entry::Gap(_)));
        assert!(gaps.count() >= failed, "at {at}");
    }
    assert!(failures > 50);
}

#[test]
fn a_new_segment_begins_with_the_gap() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    drop(service.allow().unwrap());
    block_on(
        service
            .ledger
            .event("test.pause", serde_json::Value::Null)
            .unwrap(),
    )
    .unwrap();
    sim.trouble_in(1, Kind::Half);
    assert!(service.allow().is_err());
    service.ledger.close().unwrap();
    let entries = entries(&sim);
    let at = entries
        .iter()
        .position(|entry| matches!(entry, Entry::Gap(_)))
        .unwrap();
    let Entry::Gap(gap) = &entries[at] else {
        panic!("not a gap");
    };
    assert_eq!(
        (gap.segment, gap.uncertain, gap.entries),
        (Some(0), at as u64, 1)
    );
    assert!(matches!(entries[at + 1], Entry::Decision(_)));
}

#[test]
fn a_wait_is_bounded_while_the_disk_hangs() {
    let sim = Sim::default();
    let service = Service::of(options().wait(Duration::from_millis(5)), &sim).unwrap();
    // On a busy machine the first ones may wait longer than that.
    until(|| service.allow().is_ok());
    sim.stick(true);
    let refused = service.allow().unwrap_err();
    assert_eq!(refused.refusal().code(), "audit.unavailable");
    let id = refused.id().unwrap();
    drop(refused);
    assert!(!service.deny());
    sim.stick(false);
    until(|| service.allow().is_ok());
    service.ledger.close().unwrap();
    assert_eq!(settled(&sim)[&id], OutcomeClass::GuardFailed);
}

#[test]
fn a_full_disk_refuses_allowed_requests_records_refusals_and_recovers() {
    let sim = Sim::default();
    let service = Service::of(options().segment_bytes(64 * 1024), &sim).unwrap();
    sim.capacity(Some(sim.used()));
    let mut served = 0;
    while service.allow().is_ok() {
        served += 1;
    }
    assert!(served > 20, "what was allocated can be used: {served}");
    for _ in 0..50 {
        assert!(service.deny(), "a refusal is recorded from the reserve");
        assert!(service.allow().is_err());
    }
    assert!(service.ledger.is_full());
    let acknowledged = service.acknowledged();
    sim.capacity(None);
    until(|| service.allow().is_ok());
    assert!(!service.ledger.is_full());
    service.ledger.close().unwrap();
    let classes = settled(&sim);
    assert!(acknowledged.iter().all(|id| classes.contains_key(id)));
    let shed = entries(&sim).iter().fold(0, |shed, entry| match entry {
        Entry::Count(counts) => shed + counts.shed_refusal,
        _ => shed,
    });
    assert!(shed >= 50, "what was not even recorded was counted: {shed}");
}

#[test]
fn an_exhausted_reserve_refuses_and_loses_nothing_acknowledged() {
    let sim = Sim::default();
    let builder = options()
        .segment_bytes(64 * 1024)
        .wait(Duration::from_millis(20));
    let service = Service::of(builder, &sim).unwrap();
    sim.capacity(Some(sim.used()));
    while service.allow().is_ok() {}
    while service.deny() {}
    assert!(service.allow().is_err());
    let acknowledged = service.acknowledged();
    sim.capacity(None);
    until(|| service.allow().is_ok());
    service.ledger.close().unwrap();
    let classes = settled(&sim);
    assert!(acknowledged.iter().all(|id| classes.contains_key(id)));
}

#[test]
fn a_wait_is_bounded_behind_a_batch_that_cannot_be_stored() {
    let sim = Sim::default();
    let service = Service::of(options().wait(Duration::from_millis(5)), &sim).unwrap();
    sim.trouble_in(0, Kind::Crash);
    let great = || serde_json::Value::from("x".repeat(900_000));
    let waiting: Vec<_> = (0..4)
        .map(|_| service.ledger.event("test.great", great()).unwrap())
        .collect();
    for acknowledged in waiting {
        assert!(block_on(acknowledged).is_err());
    }
    sim.trouble([]);
    until(|| service.allow().is_ok());
    service.ledger.close().unwrap();
    assert!(entries(&sim).len() >= 4 + 3, "they are stored all the same");
}

#[test]
fn closing_on_a_dead_disk_reports_the_lost_entries() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    sim.trouble_in(0, Kind::Crash);
    assert!(service.allow().is_err());
    let fault = service.ledger.close().unwrap_err();
    assert_eq!(fault.lost, 2, "{fault}");
}

#[test]
fn lesser_durabilities_survive_a_kill_or_nothing() {
    let rows = [
        (Durability::PowerLoss, true, true),
        (Durability::ProcessCrash, true, false),
        (Durability::Relaxed, false, false),
    ];
    for (durability, kill, power) in rows {
        let sim = Sim::default();
        let mut builder = options().durability(durability);
        builder.pace.sync = Duration::from_secs(3600);
        let service = Service::of(builder, &sim).unwrap();
        let permit = service.allow().unwrap();
        let id = permit.id();
        let killed = sim.after_kill();
        let dark = sim.after_power_loss(&mut crate::files::sim::Dice(5));
        let knows = |sim: &Sim| {
            Service::open(sim).unwrap();
            settled(sim).contains_key(&id)
        };
        assert!(!kill || knows(&killed), "{durability:?}");
        assert!(!power || knows(&dark), "{durability:?}");
        drop(permit);
        service.ledger.close().unwrap();
        let dark = sim.after_power_loss(&mut crate::files::sim::Dice(5));
        assert!(knows(&dark), "closing syncs with {durability:?}");
    }
}

#[test]
fn an_unacknowledged_event_blocks_the_next_append() {
    let sim = Sim::default();
    let service = Service::of(options().wait(Duration::from_secs(1)), &sim).unwrap();
    let append = |number: u32| {
        let kind = EventKind::new("promotion.tested").unwrap();
        let body = serde_json::json!({ "number": number });
        let only_if = Condition::Unchanged {
            since: Cursor::default(),
            scope: Scope::Everything,
        };
        let append = Append::new(kind, Scope::Everything, body).only_if(only_if);
        block_on(service.ledger.append(append))
    };
    drop(service.allow().unwrap());
    // Read before the disk hangs, so that only the append waits for it.
    block_on(service.ledger.read(&Cursor::default())).unwrap();
    sim.stick(true);
    let first = append(1);
    assert!(
        matches!(first, Err(JournalError::Unacknowledged { .. })),
        "{first:?}"
    );
    let second = append(2);
    assert!(
        matches!(second, Err(JournalError::Unavailable { .. })),
        "{second:?}"
    );
    sim.stick(false);
    // The event was stored, so it precedes the next one.
    until(|| match append(2) {
        Err(JournalError::Overtaken { by }) => by.body["number"] == 1,
        Err(_) => false,
        Ok(appended) => panic!("{appended:?} was appended after an event that it did not know"),
    });
    service.ledger.close().unwrap();
}
