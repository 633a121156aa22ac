//! The process dies, or the power fails, at every call to the disk.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use spanner_core::record::OutcomeClass;
use spanner_core::{Permit, RecordId};

use super::{Service, Shelf, entries, options, reader, settled};
use crate::files::sim::{Dice, Kind, Sim, Trouble, User};
use crate::waiter::lock;
use crate::{Ledger, Verdict};

/// The number of requests in the trace. Each has two entries.
const REQUESTS: usize = 50;

/// The acknowledged decisions of a trace that runs until the disk fails. Some requests remain
/// open.
fn trace(sim: &Sim) -> (HashSet<RecordId>, Vec<Permit>) {
    trace_with(&Shelf::default(), sim)
}

fn trace_with(shelf: &Shelf, sim: &Sim) -> (HashSet<RecordId>, Vec<Permit>) {
    let mut open = Vec::new();
    let Ok(service) = Service::of(options().checkpoints(shelf.clone()), sim) else {
        return (HashSet::new(), open);
    };
    let mut failures = 0;
    for request in 0..REQUESTS {
        if request % 7 == 3 {
            failures += usize::from(!service.deny());
        } else {
            match service.allow() {
                Ok(permit) if request % 5 == 0 => open.push(permit),
                Ok(_) => {}
                Err(_) => failures += 1,
            }
        }
        // The disk is dead.
        if failures == 3 {
            break;
        }
    }
    (service.acknowledged(), open)
}

/// Checks that acknowledged decisions are stored, that every decision has one outcome, and that
/// the ledger can be continued.
fn check(sim: &Sim, acknowledged: &HashSet<RecordId>, what: &str) {
    let service = Service::open(sim).unwrap_or_else(|fault| panic!("{what}: {fault:?}"));
    let closed = service.ledger.recovery().closed;
    let classes = settled(sim);
    let unknown = classes
        .values()
        .filter(|class| **class == OutcomeClass::Unknown);
    assert!(unknown.count() as u64 >= closed, "{what}");
    assert!(
        acknowledged.iter().all(|id| classes.contains_key(id)),
        "{what}: an acknowledged decision is lost"
    );
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    assert_eq!(settled(sim).len(), classes.len() + 1, "{what}");
    let found = reader(sim).verify();
    assert_eq!(found.verdict, Verdict::Clean, "{what}: {found:?}");
    assert_eq!(found.signed, Some(found.entries), "{what}");
}

#[test]
fn loses_nothing_that_was_acknowledged_wherever_it_crashes() {
    let whole = Sim::default();
    let (acknowledged, open) = trace(&whole);
    assert_eq!(acknowledged.len(), REQUESTS);
    drop(open);
    let calls = whole.calls();
    assert!(calls > 150, "{calls}");
    let mut dice = Dice(1);
    for at in 0..calls {
        let sim = Sim::default();
        sim.trouble([Trouble {
            at,
            kind: Kind::Crash,
        }]);
        let (acknowledged, open) = trace(&sim);
        check(&sim.after_kill(), &acknowledged, &format!("killed at {at}"));
        for _ in 0..2 {
            let after = sim.after_power_loss(&mut dice);
            check(&after, &acknowledged, &format!("power lost at {at}"));
        }
        drop(open);
    }
}

/// No checkpoint covers more than what survives the crash.
#[test]
fn no_checkpoint_covers_more_than_survives_a_crash_of_its_signer() {
    let mut dice = Dice(4);
    let (mut at, mut shipped) = (0, 0);
    loop {
        let sim = Sim::default();
        let crash = Trouble {
            at,
            kind: Kind::Crash,
        };
        sim.used_by(User::Evidence).trouble([crash]);
        let shelf = Shelf::default();
        let (acknowledged, open) = trace_with(&shelf, &sim);
        shipped += lock(&shelf.0).len();
        let shelf = lock(&shelf.0).clone();
        for after in [sim.after_kill(), sim.after_power_loss(&mut dice)] {
            let what = format!("its call {at}");
            // Opening compares the ledger with the shipped checkpoints.
            let shipped = Shelf(Arc::new(Mutex::new(shelf.clone())));
            let opened = Service::of(options().checkpoints(shipped), &after);
            opened.unwrap_or_else(|fault| panic!("{what}: {fault:?}"));
            check(&after, &acknowledged, &what);
            let found = reader(&after).verify_against(&[], &shelf);
            assert_eq!(found.verdict, Verdict::Clean, "{what}: {found:?}");
        }
        drop(open);
        // The trace ended before that call.
        if sim.used_by(User::Evidence).calls() <= at {
            break;
        }
        at += 1;
    }
    assert!(at > 40 && shipped > at, "{at} calls, {shipped} shipped");
}

/// If the evidence cannot be written, checkpoints are delayed and requests are not.
#[test]
fn a_failing_signer_fails_no_request() {
    let kinds = [Kind::Half, Kind::Fail(ErrorKind::StorageFull)];
    let mut opened = 0;
    for (at, kind) in (0..70).flat_map(|at| kinds.map(|kind| (at, kind))) {
        let sim = Sim::default();
        sim.used_by(User::Evidence).trouble([Trouble { at, kind }]);
        let (acknowledged, open) = trace(&sim);
        if acknowledged.is_empty() {
            // The ledger cannot be opened without a key.
            continue;
        }
        opened += 1;
        assert_eq!(acknowledged.len(), REQUESTS, "{at}");
        drop(open);
        check(&sim.after_kill(), &acknowledged, &format!("its call {at}"));
    }
    assert!(opened > 100, "{opened}");
}

#[test]
fn survives_a_crash_while_it_recovers_from_one() {
    let mut dice = Dice(2);
    for at in (20..200).step_by(12) {
        let sim = Sim::default();
        sim.trouble([Trouble {
            at,
            kind: Kind::Crash,
        }]);
        let (acknowledged, open) = trace(&sim);
        let mut sim = sim.after_power_loss(&mut dice);
        for calls in 0.. {
            sim.trouble_in(calls, Kind::Crash);
            let opened = Service::open(&sim).is_ok();
            sim = sim.after_power_loss(&mut dice);
            if opened {
                break;
            }
        }
        check(
            &sim,
            &acknowledged,
            &format!("crashed at {at} and while recovering"),
        );
        drop(open);
    }
}

/// A call fails. Optionally the file cannot be truncated either, and the process dies soon after.
fn fail(at: usize, kind: Kind, cannot_cut: bool, dies: Option<usize>) -> Vec<Trouble> {
    let kind_of_cut = Kind::Fail(ErrorKind::Other);
    let cut = cannot_cut.then_some(Trouble {
        at: at + 1,
        kind: kind_of_cut,
    });
    let death = dies.map(|calls| Trouble {
        at: at + calls,
        kind: Kind::Crash,
    });
    std::iter::once(Trouble { at, kind })
        .chain(cut)
        .chain(death)
        .collect()
}

#[test]
fn survives_a_death_at_every_call_after_a_failed_one() {
    let mut dice = Dice(3);
    for (at, dies) in (20..60).flat_map(|at| (2..9).map(move |dies| (at, dies))) {
        let sim = Sim::default();
        sim.trouble(fail(at, Kind::Half, true, Some(dies)));
        let (acknowledged, open) = trace(&sim);
        let what = format!("failed at {at} and died {dies} calls later");
        check(&sim.after_kill(), &acknowledged, &what);
        check(&sim.after_power_loss(&mut dice), &acknowledged, &what);
        drop(open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A failed sync may discard data that is still readable. Neither the writer nor a recovery
    /// may treat it as stored.
    #[test]
    fn failed_calls_and_a_later_crash_lose_nothing(
        at in 12usize..180,
        kind in prop::sample::select(vec![Kind::Half, Kind::Fail(ErrorKind::Other)]),
        cannot_cut: bool,
        dies in prop::option::of(1usize..12),
        killed_first: bool,
        seed: u64,
    ) {
        let sim = Sim::default();
        sim.trouble(fail(at, kind, cannot_cut, dies));
        let (acknowledged, open) = trace(&sim);
        let mut dice = Dice(seed);
        if killed_first {
            let killed = sim.after_kill();
            let service = Service::open(&killed).unwrap();
            let known: HashSet<_> = settled(&killed).into_keys().collect();
            prop_assert!(known.is_superset(&acknowledged));
            check(&killed.after_power_loss(&mut dice), &known, "killed, then power lost");
            drop(service);
        } else {
            check(&sim.after_power_loss(&mut dice), &acknowledged, "power lost");
        }
        drop(open);
    }
}

#[test]
fn reports_the_decisions_that_it_closed() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let permit = service.allow().unwrap();
    let after = sim.after_kill();
    drop(permit);
    let reopened = Service::open(&after).unwrap();
    let recovery = reopened.ledger.recovery();
    assert_eq!(
        (recovery.next, recovery.closed, recovery.torn_bytes),
        (2, 1, 0)
    );
    let kinds: Vec<_> = entries(&after).iter().map(|entry| entry.kind()).collect();
    assert_eq!(kinds, ["event", "decision", "outcome", "event"]);
}

#[test]
fn a_ledger_that_was_closed_has_nothing_to_recover() {
    let dir = tempfile::tempdir().unwrap();
    Ledger::open(dir.path()).unwrap().close().unwrap();
    let recovery = Ledger::open(dir.path()).unwrap().recovery();
    assert_eq!(
        (recovery.next, recovery.closed, recovery.torn_bytes),
        (2, 0, 0)
    );
}
