//! Reading in bounded memory, and reporting what is omitted.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Service, edit, options, reader, until};
use crate::files::sim::Sim;
use crate::log::{Log, SegmentSize};
use crate::{Durability, Reader, Retention, Row, Selection, Verdict};

/// Reads rows with a limit on those that wait for an outcome.
fn rows(reader: &Reader, most: usize) -> Vec<Row> {
    let mut rows = reader.rows(&Selection::new()).unwrap();
    rows.most = most;
    let mut all = Vec::new();
    while let Some(row) = rows.next() {
        all.push(row.unwrap());
        assert!(rows.waiting() <= most, "{} wait", rows.waiting());
    }
    all
}

#[test]
fn returns_rows_in_order_with_late_outcomes() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let mut permits: Vec<_> = (0..12).map(|_| service.allow().unwrap()).collect();
    let left = permits.remove(5);
    permits.reverse();
    let mut last = permits.split_off(4);
    permits.clear();
    drop(service.allow().unwrap());
    last.clear();
    let ended = |row: &Row| row.outcome.is_some();
    until(|| {
        reader(&sim)
            .show()
            .unwrap()
            .into_iter()
            .filter(ended)
            .count()
            == 12
    });
    let expected = rows(&reader(&sim), usize::MAX);
    assert!(expected.is_sorted_by_key(|row| row.sequence));
    let open: Vec<_> = expected
        .iter()
        .filter(|row| row.outcome.is_none())
        .map(|row| row.decision.id)
        .collect();
    assert_eq!((expected.len(), open), (13, vec![left.id()]));
    for most in 1..14 {
        assert_eq!(rows(&reader(&sim), most), expected, "{most}");
    }
    drop(left);
}

#[test]
fn an_externally_enforced_decision_needs_no_outcome() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let mut settlements: Vec<_> = (0..6).map(|_| service.external().forward()).collect();
    settlements[1].head(200);
    settlements[1].finish();
    settlements.clear();
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    let verified = reader(&sim).verify();
    assert_eq!((verified.verdict, verified.open), (Verdict::Clean, 0));
    let state = |rows: &[Row]| rows.iter().map(Row::state).collect::<Vec<_>>();
    let mut due = ["external"; 6].to_vec();
    due[1] = "ok";
    due.push("client_left");
    assert_eq!(state(&reader(&sim).show().unwrap()), due);
    let bounded = rows(&reader(&sim), 6);
    assert_eq!(bounded.len(), 7);
    // Reopening closes open decisions, but not these.
    let again = Service::open(&sim).unwrap();
    again.ledger.close().unwrap();
    assert_eq!(state(&reader(&sim).show().unwrap()), due);
}

#[test]
fn what_nobody_measured_is_empty_and_no_zero() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    let open = service.allow().unwrap();
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    std::mem::forget(open);
    Service::open(&sim).unwrap().ledger.close().unwrap();
    let rows = reader(&sim).show().unwrap();
    let [crashed, ended] = &*rows else {
        panic!("two requests are due, not {rows:?}");
    };
    assert_eq!(crashed.duration_us(), None);
    assert!(ended.duration_us().is_some());
}

/// Appends an entry of an unknown kind to a closed ledger.
fn prophesy(sim: &Sim) {
    let size = SegmentSize {
        bytes: 4096,
        age: None,
    };
    let next = reader(sim).entries().unwrap().count() as u64;
    let files = Arc::new(sim.clone());
    let mut log = Log::new(files, Durability::PowerLoss, size, next);
    log.append(&[br#"{"kind":"prophecy"}"#]).unwrap();
}

#[test]
fn omits_and_counts_entries_of_a_newer_version() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    prophesy(&sim);
    let (reader, all, now) = (reader(&sim), Selection::new(), Timestamp::now());
    assert_eq!(reader.show().unwrap().len(), 1);
    let mut rows = reader.rows(&all).unwrap();
    assert_eq!(rows.by_ref().count(), 1);
    assert_eq!(rows.notes().not_understood, 1);
    assert_eq!(reader.aging_credentials(now).unwrap(), []);
    let notes = reader.history(&all).unwrap().notes;
    let said = "1 entry of a newer version is left out: read it with that version";
    assert_eq!(notes.sentences(), [said]);
    let mut stored = reader.stored_entries(&all).unwrap();
    let kinds: Vec<bool> = stored
        .by_ref()
        .map(|it| it.unwrap().entry.is_some())
        .collect();
    assert_eq!(kinds.iter().filter(|known| !**known).count(), 1);
    assert_eq!(stored.notes().not_understood, 1);
}

#[test]
fn every_reading_notes_that_requests_were_pruned() {
    let sim = Sim::default();
    let service = Service::of(options(), &sim).unwrap();
    for _ in 0..40 {
        drop(service.allow().unwrap());
    }
    service.ledger.checkpoint_now().unwrap();
    let pruned = service.ledger.prune(&Retention::new().segments(1)).unwrap();
    service.ledger.close().unwrap();
    let (reader, all) = (reader(&sim), Selection::new());
    let said = format!("requests before entry {} were pruned", pruned.before);
    let rows = reader.rows(&all).unwrap();
    assert_eq!(rows.notes().sentences(), [said.as_str()]);
    assert_eq!(
        reader.history(&all).unwrap().notes.sentences(),
        [said.as_str()]
    );
    let mut stored = reader.stored_entries(&all).unwrap();
    stored.by_ref().for_each(drop);
    assert_eq!(stored.notes().pruned, pruned.before);
}

/// Only an attacker who writes the files can record an identifier twice.
#[test]
fn tolerates_a_duplicate_decision() {
    let sim = Sim::default();
    let service = Service::of(options().segment_bytes(1024 * 1024), &sim).unwrap();
    for _ in 0..20 {
        drop(service.allow().unwrap());
    }
    service.ledger.close().unwrap();
    edit(&sim, "00000000000000000000.seg", |entries| {
        entries.insert(1, entries[1].clone());
    });
    for most in 1..8 {
        assert_eq!(rows(&reader(&sim), most).len(), 21, "{most}");
    }
}
