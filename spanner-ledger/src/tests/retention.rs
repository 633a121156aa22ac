//! Old segments are deleted, and entries that must survive remain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use spanner_core::RecordId;
use spanner_core::record::OutcomeClass;

use super::{Service, Shelf, block_on, options, reader, until};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::files::sim::{Dice, Kind, Sim, User};
use crate::waiter::lock;
use crate::{Entry, Ledger, NumberedEntry, OpenError, Proof, ReadError, Retention, Verdict};

/// Entries with their sequences, which may have gaps.
fn numbered(sim: &Sim) -> Vec<NumberedEntry> {
    reader(sim)
        .entries()
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn events(sim: &Sim) -> Vec<(u64, String)> {
    let entries = numbered(sim).into_iter();
    let event = |numbered: NumberedEntry| match numbered.entry {
        Entry::Event(event) => Some((numbered.sequence, event.event)),
        _ => None,
    };
    entries.filter_map(event).collect()
}

fn segments(sim: &Sim) -> usize {
    let names = sim.names().unwrap();
    names.iter().filter(|name| name.ends_with(".seg")).count()
}

/// The newest file of surviving entries.
fn kept(sim: &Sim) -> Option<String> {
    let names = sim.names().unwrap().into_iter();
    names.filter(|name| name.ends_with(".kept")).max()
}

/// Writes many segments, with a promotion in the first one and a request that remains open.
fn fill(service: &Service) -> spanner_core::Permit {
    let event = service.ledger.event("promotion.approved", Value::from(7));
    drop(event.unwrap());
    let open = service.allow().unwrap();
    for _ in 0..40 {
        drop(service.allow().unwrap());
    }
    open
}

#[test]
fn keeps_events_open_decisions_and_every_proof() {
    let (sim, shelf) = (Sim::default(), Shelf::default());
    let service = Service::of(options().checkpoints(shelf.clone()), &sim).unwrap();
    let open = fill(&service);
    let id = open.id();
    service.ledger.checkpoint_now().unwrap();
    let before = numbered(&sim);
    let (many, all) = (segments(&sim), before.len());
    assert!(many > 6);
    let pruned = service.ledger.prune(&Retention::new().segments(3)).unwrap();
    assert_eq!(pruned.segments, many as u64 - 3);
    // The event, the open request, and possibly a request whose outcome is in another segment.
    assert!((2..=3).contains(&pruned.kept), "{pruned:?}");
    assert_eq!(segments(&sim), 3);
    let left = numbered(&sim);
    assert!(left.len() < all / 2);
    // The remaining entries are unchanged and have the same sequences.
    let mut known = left.iter().filter(|left| left.sequence < all as u64);
    assert!(known.all(|left| before.contains(left)));
    assert!(
        left.iter()
            .any(|numbered| matches!(&numbered.entry, Entry::Decision(d) if d.id == id))
    );
    drop(open);
    service.ledger.close().unwrap();
    let reader = reader(&sim);
    let found = reader.verify_against(&[], &lock(&shelf.0));
    assert_eq!(found.verdict, Verdict::Clean, "{found:?}");
    assert_eq!((found.pruned, found.open), (pruned.before, 0));
    let told = events(&sim);
    assert_eq!(told[0].1, "promotion.approved");
    assert!(
        told.iter()
            .any(|(at, event)| *at > pruned.before && event == "ledger.pruned")
    );
    let (keys, last) = (
        reader.keys().unwrap(),
        reader.checkpoint().unwrap().unwrap(),
    );
    for NumberedEntry { sequence, .. } in numbered(&sim) {
        let proof = Proof::Inclusion(reader.prove(sequence, &last).unwrap());
        assert_eq!(proof.check(&keys), Ok(last.clone()), "{sequence}");
    }
    for from in lock(&shelf.0).iter() {
        assert!(
            reader
                .consistency(from, &last)
                .unwrap()
                .check(&keys)
                .is_ok()
        );
    }
    // `ledger.opened` was deleted.
    assert!(matches!(
        reader.prove(0, &last),
        Err(ReadError::NoEntry { .. })
    ));
}

#[test]
fn prunes_again_and_deletes_decisions_that_have_ended() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let open = fill(&service);
    let id = open.id();
    let first = service.ledger.prune(&Retention::new().segments(2)).unwrap();
    drop(open);
    drop(fill(&service));
    let second = service.ledger.prune(&Retention::new().segments(2)).unwrap();
    assert!(second.before > first.before);
    let nothing = service
        .ledger
        .prune(&Retention::new().segments(100))
        .unwrap();
    assert_eq!(nothing.segments, 0);
    service.ledger.close().unwrap();
    let is_its = |entry: &Entry| match entry {
        Entry::Decision(decision) => decision.id == id,
        Entry::Outcome(outcome) => outcome.id == id,
        _ => false,
    };
    assert!(
        !numbered(&sim)
            .iter()
            .any(|numbered| is_its(&numbered.entry))
    );
    let told: Vec<_> = events(&sim).into_iter().map(|(_, event)| event).collect();
    let count = |word: &str| told.iter().filter(|event| *event == word).count();
    assert_eq!(
        (count("promotion.approved"), count("ledger.pruned")),
        (2, 2)
    );
    let found = reader(&sim).verify();
    assert_eq!(found.verdict, Verdict::Clean, "{found:?}");
    // The ledger opens and continues.
    let service = Service::open(&sim).unwrap();
    assert_eq!(service.ledger.recovery().closed, 0);
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Clean);
}

#[test]
fn prunes_by_bytes_and_by_age() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    drop(fill(&service));
    let ancient = Timestamp::from_second(0).unwrap();
    let none = service
        .ledger
        .prune(&Retention::new().before(ancient))
        .unwrap();
    assert_eq!(none.segments, 0);
    let some = service
        .ledger
        .prune(&Retention::new().bytes(12_000))
        .unwrap();
    assert!(some.segments > 2 && segments(&sim) >= 2, "{some:?}");
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let all = service
        .ledger
        .prune(&Retention::new().before(later))
        .unwrap();
    // The current segment remains, and possibly a new one that records the pruning.
    assert!(all.segments > 0 && segments(&sim) <= 2, "{all:?}");
    service.ledger.close().unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Clean);
}

#[test]
fn loses_nothing_wherever_it_crashes() {
    let mut dice = Dice(9);
    let (mut calls, mut pruned_at_last) = (0, false);
    while !pruned_at_last {
        let sim = Sim::default();
        let mut builder = options();
        // After a crash of the signer, no checkpoint is signed.
        builder.pace.patience = Duration::from_millis(200);
        let service = Service::of(builder, &sim).unwrap();
        let open = fill(&service);
        let id: RecordId = open.id();
        service.ledger.checkpoint_now().unwrap();
        sim.used_by(User::Evidence).trouble_in(calls, Kind::Crash);
        pruned_at_last = service.ledger.prune(&Retention::new().segments(2)).is_ok();
        for after in [sim.after_kill(), sim.after_power_loss(&mut dice)] {
            let service = Service::open(&after);
            let service = service.unwrap_or_else(|fault| panic!("{calls}: {fault:?}"));
            service.ledger.close().unwrap();
            let told = events(&after);
            assert_eq!(
                told.iter()
                    .filter(|(_, event)| event == "promotion.approved")
                    .count(),
                1
            );
            let ends = |numbered: &NumberedEntry| match &numbered.entry {
                Entry::Outcome(outcome) => {
                    outcome.id == id && outcome.class == OutcomeClass::Unknown
                }
                _ => false,
            };
            assert_eq!(
                numbered(&after).iter().filter(|entry| ends(entry)).count(),
                1,
                "{calls}"
            );
            let found = reader(&after).verify();
            assert_eq!(found.verdict, Verdict::Clean, "{calls}: {found:?}");
        }
        drop(open);
        calls += 1;
    }
    assert!(calls > 20, "{calls}");
}

#[test]
fn surviving_entries_cannot_be_changed_or_dropped() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    drop(fill(&service));
    service.ledger.prune(&Retention::new().segments(2)).unwrap();
    service.ledger.close().unwrap();
    let names = sim.names().unwrap();
    let kept = names.iter().find(|name| name.ends_with(".kept")).unwrap();
    let mut length = 0;
    sim.harm(kept, |bytes| length = bytes.len());
    for at in 0..length {
        sim.harm(kept, |bytes| bytes[at] ^= 0x10);
        let found = reader(&sim).verify();
        sim.harm(kept, |bytes| bytes[at] ^= 0x10);
        assert_eq!(found.verdict, Verdict::Corrupt, "byte {at}: {found:?}");
    }
    let without = sim.after_kill();
    without.harm(kept, |bytes| bytes.truncate(crate::frame::HEADER_BYTES));
    let found = reader(&without).verify();
    assert_eq!(found.verdict, Verdict::Evidence, "{found:?}");
    without.remove(kept).unwrap();
    assert_eq!(reader(&without).verify().verdict, Verdict::Missing);
    assert!(matches!(
        Service::open(&without),
        Err(OpenError::Damaged { .. })
    ));
    // The tiles cannot be rebuilt from the remaining entries.
    sim.remove_folder("tile").unwrap();
    assert!(matches!(
        Service::open(&sim),
        Err(OpenError::Damaged { .. })
    ));
}

#[test]
fn prunes_automatically_by_size() {
    let sim = Sim::default();
    let mut builder = options();
    builder.prune_limits.bytes = Some(3 * 4096);
    let service = Service::of(builder, &sim).unwrap();
    let open = fill(&service);
    // A reader may fail while segments are deleted; listing names does not.
    until(|| kept(&sim).is_some() && segments(&sim) <= 3);
    drop(open);
    service.ledger.close().unwrap();
    assert!(reader(&sim).verify().verdict.is_sound());
    for word in ["promotion.approved", "ledger.pruned"] {
        assert!(
            events(&sim).iter().any(|(_, event)| event == word),
            "{word}"
        );
    }
}

#[test]
fn prunes_automatically_by_age_and_ends_segments_for_it() {
    let sim = Sim::default();
    let mut builder = options().segment_bytes(1024 * 1024);
    builder.prune_limits.age = Some(Duration::from_millis(80));
    let service = Service::of(builder, &sim).unwrap();
    let mut pruned = BTreeSet::new();
    until(|| {
        drop(service.allow().unwrap());
        pruned.extend(kept(&sim));
        pruned.len() > 1
    });
    service.ledger.close().unwrap();
    let found = reader(&sim).verify();
    assert!(found.verdict.is_sound() && found.pruned > 0, "{found:?}");
}

#[test]
fn does_not_automatically_prune_undelivered_entries() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    let cursor = |next: &str| {
        std::fs::create_dir_all(dir.join("ship")).unwrap();
        std::fs::write(dir.join("ship/siem.cursor"), next).unwrap();
    };
    let mut builder = Ledger::builder(&dir).segment_bytes(4096);
    builder.pace = options().pace;
    builder.prune_limits.bytes = Some(4096);
    let disk = Arc::new(Disk::writing(&dir).unwrap().unwrap());
    cursor("what is this?");
    let ledger = builder.open_in(disk.clone(), disk).unwrap();
    let happens = || block_on(ledger.event("test.happened", Value::Null).unwrap()).unwrap();
    let pruned = || Ledger::read(&dir).unwrap().verify().pruned;
    (0..100).for_each(|_| happens());
    cursor(r#"{"origin": "00", "next": 3}"#);
    (0..100).for_each(|_| happens());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(pruned(), 0);
    cursor(r#"{"origin": "00", "next": 150}"#);
    until(|| pruned() > 0);
    ledger.close().unwrap();
    assert!(pruned() <= 150);
    assert!(Ledger::read(&dir).unwrap().verify().verdict.is_sound());
}

/// The entries beside it have times in 1970, before the clock was set. That makes nothing old.
#[test]
fn a_wrong_clock_ages_no_entry() {
    let sim = Sim::default();
    let service = Service::at(options(), &sim, 0).unwrap();
    drop(fill(&service));
    service.ledger.checkpoint_now().unwrap();
    let year: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let pruned = service
        .ledger
        .prune(&Retention::new().before(year))
        .unwrap();
    assert_eq!(pruned.segments, 0, "its first entry is of today");
    service.ledger.close().unwrap();
}

#[test]
fn pruning_relieves_a_full_disk() {
    let sim = Sim::default();
    let mut builder = options();
    builder.prune_limits.bytes = Some(1024 * 1024);
    builder.pace.prune = Duration::from_secs(3600);
    let service = Service::of(builder, &sim).unwrap();
    drop(fill(&service));
    sim.capacity(Some(sim.used()));
    until(|| service.allow().is_err() && service.ledger.is_full());
    let pruned = service.ledger.prune(&Retention::new().segments(2)).unwrap();
    assert!(pruned.segments > 3, "{pruned:?}");
    // Segments of this size do not free enough space for the reserve.
    sim.capacity(None);
    until(|| service.allow().is_ok());
    service.ledger.close().unwrap();
    assert!(reader(&sim).verify().verdict.is_sound());
}
