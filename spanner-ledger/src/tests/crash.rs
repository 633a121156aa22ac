//! The process dies, or the power fails, at every call to the disk.

use std::collections::HashSet;
use std::io::ErrorKind;

use proptest::prelude::*;
use spanner_core::record::OutcomeClass;
use spanner_core::{Permit, RecordId};

use super::{Service, entries, settled};
use crate::Ledger;
use crate::files::sim::{Dice, Kind, Sim, Trouble};

/// Requests of the trace; each is two entries.
const REQUESTS: usize = 50;

/// What the service was told, until nothing works any more. Some requests are still open.
fn trace(sim: &Sim) -> (HashSet<RecordId>, Vec<Permit>) {
    let mut open = Vec::new();
    let Ok(service) = Service::open(sim) else {
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

/// What was acknowledged is there, every decision has one outcome, and the ledger goes on.
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

/// A call fails, perhaps the file cannot be cut either, and perhaps the process dies soon.
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

    /// A sync that failed may have dropped what can still be read: neither going on nor
    /// reopening may take it for stored.
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
fn tells_what_it_closed() {
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
