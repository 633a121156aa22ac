//! Stored entries are missing. The rest can be read, and the ledger opens again only after the
//! loss was acknowledged.

use std::sync::Arc;

use super::{Service, Shelf, block_on, edit, entries, open, options, reader};
use crate::files::Files;
use crate::files::sim::Sim;
use crate::scan::{parse_name, segment_name};
use crate::waiter::lock;
use crate::{
    AcknowledgeError, Builder, Checkpoint, CheckpointNote, Entry, Ledger, Missing, OpenError,
    ReadError, Reader, Selection, Verdict,
};

/// A closed ledger with several segments, and its shipped checkpoints.
fn closed() -> (Sim, Vec<Checkpoint>) {
    let (sim, shelf) = (Sim::default(), Shelf::default());
    let service = Service::of(options().checkpoints(shelf.clone()), &sim).unwrap();
    for _ in 0..20 {
        drop(service.allow().unwrap());
    }
    service.ledger.close().unwrap();
    assert!(firsts(&sim).len() > 3);
    let shipped = lock(&shelf.0).clone();
    (sim, shipped)
}

/// The first entries of the segments, and the sequence after the last entry.
fn firsts(sim: &Sim) -> Vec<u64> {
    let names = sim.names().unwrap();
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
    firsts.sort_unstable();
    firsts
}

fn files(sim: &Sim) -> Arc<dyn Files> {
    Arc::new(sim.clone())
}

fn end(sim: &Sim) -> u64 {
    reader(sim).verify().end.unwrap()
}

fn spans(missing: &[Missing]) -> Vec<(u64, u64)> {
    missing.iter().map(|it| (it.from, it.to)).collect()
}

/// A kind of damage, the checkpoints that were shipped, and the missing entries.
type Harmed = (&'static str, Sim, Vec<Checkpoint>, Vec<(u64, u64)>);

fn harms() -> Vec<Harmed> {
    let names = [
        "first", "middle", "last", "two", "cut", "empty", "flip", "header", "garbage", "copy",
    ];
    let harm = |name: &'static str| {
        let (sim, shipped) = closed();
        let (firsts, end) = (firsts(&sim), end(&sim));
        let segment = |at: usize| segment_name(firsts[at]);
        let last = firsts.len() - 1;
        let gone = match name {
            "first" => {
                sim.remove(&segment(0)).unwrap();
                vec![(0, firsts[1] - 1)]
            }
            "middle" => {
                sim.remove(&segment(1)).unwrap();
                vec![(firsts[1], firsts[2] - 1)]
            }
            "last" => {
                sim.remove(&segment(last)).unwrap();
                vec![(firsts[last], end - 1)]
            }
            "two" => {
                sim.remove(&segment(0)).unwrap();
                sim.remove(&segment(2)).unwrap();
                vec![(0, firsts[1] - 1), (firsts[2], firsts[3] - 1)]
            }
            "cut" => {
                edit(&sim, &segment(1), |entries| entries.truncate(1));
                vec![(firsts[1] + 1, firsts[2] - 1)]
            }
            "empty" => {
                sim.harm(&segment(1), Vec::clear);
                vec![(firsts[1], firsts[2] - 1)]
            }
            "flip" => {
                sim.harm(&segment(1), |bytes| bytes[100] ^= 1);
                vec![(firsts[1], firsts[2] - 1)]
            }
            "header" => {
                sim.harm(&segment(1), |bytes| bytes[0] ^= 1);
                vec![(firsts[1], firsts[2] - 1)]
            }
            "garbage" => {
                sim.harm(&segment(1), |bytes| bytes.extend([7; 40]));
                Vec::new()
            }
            _ => {
                let (mut copy, name) = (Vec::new(), segment_name(firsts[1] + 1));
                sim.harm(&segment(1), |bytes| copy.clone_from(bytes));
                drop(sim.create(&name).unwrap());
                sim.harm(&name, |bytes| *bytes = copy);
                Vec::new()
            }
        };
        (name, sim, shipped, gone)
    };
    names.into_iter().map(harm).collect()
}

#[test]
fn reads_the_remaining_entries_and_reports_the_missing_ones() {
    for (name, sim, _, gone) in harms() {
        let whole = reader(&closed().0).show().unwrap().len();
        let left = Reader::partial_of(Arc::new(sim.clone()));
        let mut rows = left.rows(&Selection::new()).unwrap();
        let found: Vec<u64> = rows.by_ref().map(|row| row.unwrap().sequence).collect();
        let notes = rows.notes();
        assert_eq!(spans(&notes.missing), gone, "{name}");
        assert_eq!(notes.is_damaged(), !gone.is_empty(), "{name}");
        assert_eq!(found.len() < whole, !gone.is_empty(), "{name}");
        assert!(!found.is_empty(), "{name}");
        let inside = |at: &u64| gone.iter().any(|(from, to)| (from..=to).contains(&at));
        assert!(!found.iter().any(inside), "{name}: {found:?}");
        let told = left.history(&Selection::new()).unwrap().notes;
        assert_eq!(told.missing, notes.missing, "{name}");
        let sentences = notes.sentences().join("\n");
        for (from, to) in gone {
            let numbers = format!("entries {from} to {to} are missing");
            assert!(sentences.contains(&numbers), "{name}: {sentences}");
        }
    }
}

#[test]
fn an_acknowledged_loss_is_recorded_and_the_ledger_goes_on() {
    for (name, sim, shipped, gone) in harms() {
        let damaged = open(options(), &sim).map(drop);
        assert!(
            matches!(damaged, Err(OpenError::Damaged { .. })),
            "{name}: {damaged:?}"
        );
        let done = options().acknowledge_in(&files(&sim), "the disk was changed");
        let done = done.unwrap();
        assert_eq!(spans(&done.missing), gone, "{name}");
        let service = Service::open(&sim).unwrap();
        drop(service.allow().unwrap());
        service.ledger.close().unwrap();
        let found = reader(&sim).verify_against(&[], &shipped);
        let expected = match gone.is_empty() {
            true => Verdict::Clean,
            false => Verdict::Acknowledged,
        };
        assert_eq!(found.verdict, expected, "{name}: {found:?}");
        assert_eq!(spans(&found.missing), gone, "{name}");
        assert!(found.missing.iter().all(|it| it.acknowledged), "{name}");
        let told = reader(&sim).entries().unwrap().find_map(|numbered| {
            let numbered = numbered.unwrap();
            match numbered.entry {
                Entry::Event(event) if event.event == "ledger.acknowledged" => {
                    Some((numbered.sequence, event.body))
                }
                _ => None,
            }
        });
        let (sequence, body) = told.unwrap();
        assert_eq!(sequence, done.sequence, "{name}");
        assert_eq!(body["reason"], "the disk was changed");
        let lost: Vec<[u64; 2]> = serde_json::from_value(body["lost"].clone()).unwrap();
        let lost: Vec<(u64, u64)> = lost.iter().map(|[from, to]| (*from, *to)).collect();
        assert_eq!(lost, gone, "{name}");
        let again = options().acknowledge_in(&files(&sim), "again");
        assert!(
            matches!(again, Err(AcknowledgeError::Nothing)),
            "{name}: {again:?}"
        );
        // The tree still proves entries that were proved before the loss.
        let last = reader(&sim).checkpoint().unwrap().unwrap();
        for from in &shipped {
            assert!(reader(&sim).consistency(from, &last).is_ok(), "{name}");
        }
    }
}

#[test]
fn a_later_loss_needs_its_own_acknowledgement() {
    let (sim, shipped) = closed();
    let all = firsts(&sim);
    for at in [1, 2] {
        sim.remove(&segment_name(all[at])).unwrap();
        assert!(open(options(), &sim).is_err(), "{at}");
        let done = options().acknowledge_in(&files(&sim), "lost").unwrap();
        assert_eq!(spans(&done.missing), [(all[at], all[at + 1] - 1)], "{at}");
        open(options(), &sim).unwrap().close().unwrap();
    }
    let found = reader(&sim).verify_against(&[], &shipped);
    assert_eq!(found.verdict, Verdict::Acknowledged, "{found:?}");
    assert_eq!(spans(&found.missing), [(all[1], all[3] - 1)]);
}

#[test]
fn the_file_of_lost_entries_alone_has_no_effect() {
    let (sim, _) = closed();
    let all = firsts(&sim);
    sim.remove(&segment_name(all[1])).unwrap();
    drop(sim.create("lost").unwrap());
    let list = format!("[{{\"from\":{},\"end\":{}}}]", all[1], all[2]);
    sim.harm("lost", |bytes| bytes.extend(list.as_bytes()));
    let opened = open(options(), &sim).map(drop);
    assert!(
        matches!(opened, Err(OpenError::Damaged { .. })),
        "{opened:?}"
    );
    assert_eq!(reader(&sim).verify().verdict, Verdict::Missing);
    // The operator can acknowledge it.
    options().acknowledge_in(&files(&sim), "lost").unwrap();
    open(options(), &sim).unwrap().close().unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Acknowledged);
    sim.harm("lost", Vec::clear);
    assert!(open(options(), &sim).is_err());
}

#[test]
fn a_renamed_segment_is_no_loss_and_its_original_name_is_reported() {
    let (sim, shipped) = closed();
    let all = firsts(&sim);
    let (name, other) = (segment_name(all[1]), segment_name(all[1] + 1));
    sim.rename(&name, &other).unwrap();
    for found in [
        open(options(), &sim).map(drop),
        options()
            .acknowledge_in(&files(&sim), "renamed")
            .map(drop)
            .map_err(|fault| match fault {
                AcknowledgeError::Open(fault) => fault,
                AcknowledgeError::Nothing => panic!("it cannot be opened"),
            }),
    ] {
        let Err(OpenError::Damaged { source, .. }) = found else {
            panic!("{found:?}");
        };
        assert!(source.to_string().contains(&name), "{source}");
        assert!(matches!(source, ReadError::Misnamed { .. }), "{source:?}");
    }
    sim.rename(&other, &name).unwrap();
    open(options(), &sim).unwrap().close().unwrap();
    let found = reader(&sim).verify_against(&[], &shipped);
    assert_eq!(found.verdict, Verdict::Clean, "{found:?}");
}

#[test]
fn changed_entries_are_no_loss() {
    let (sim, _) = closed();
    let last = *firsts(&sim).last().unwrap();
    edit(&sim, &segment_name(last), |entries| {
        entries[0] = br#"{"kind":"event","time":"2026-01-01T00:00:00Z","event":"x"}"#.to_vec();
    });
    let refused = options().acknowledge_in(&files(&sim), "changed");
    let Err(AcknowledgeError::Open(OpenError::Damaged { source, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(source, ReadError::Tampered { .. }), "{source:?}");
}

#[test]
fn an_intact_ledger_and_an_empty_directory_have_nothing_to_acknowledge() {
    let (sim, _) = closed();
    for sim in [sim, Sim::default()] {
        let before = entries(&sim).len();
        let done = options().acknowledge_in(&files(&sim), "nothing");
        assert!(matches!(done, Err(AcknowledgeError::Nothing)), "{done:?}");
        assert_eq!(entries(&sim).len(), before);
    }
}

/// A closed ledger with a note outside its directory.
fn noted(path: &std::path::Path) -> Sim {
    let sim = Sim::default();
    let service = Service::of(options().note(path), &sim).unwrap();
    for _ in 0..20 {
        drop(service.allow().unwrap());
    }
    service.ledger.close().unwrap();
    sim
}

fn opened_with(builder: Builder, sim: &Sim) -> Result<(), OpenError> {
    open(builder, sim).map(|ledger| ledger.close().unwrap())
}

#[test]
fn the_note_outside_reveals_a_truncated_end_without_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.checkpoint");
    for evidence in [
        &["checkpoint"][..],
        &["checkpoint", "vkey"],
        &["checkpoint", "vkey", "key"],
    ] {
        let _ = std::fs::remove_file(&path);
        let sim = noted(&path);
        assert!(opened_with(options().note(&path), &sim).is_ok());
        let last = *firsts(&sim).last().unwrap();
        sim.remove(&segment_name(last)).unwrap();
        sim.remove_folder("tile").unwrap();
        for name in evidence {
            sim.remove(name).unwrap();
        }
        let refused = opened_with(options().note(&path), &sim);
        assert!(
            matches!(refused, Err(OpenError::Damaged { .. })),
            "{evidence:?}: {refused:?}"
        );
        let done = options().note(&path).acknowledge_in(&files(&sim), "cut");
        let done = done.unwrap();
        assert_eq!(done.superseded.len(), 1, "{evidence:?}");
        opened_with(options().note(&path), &sim).unwrap();
        opened_with(options().note(&path), &sim).unwrap();
        let found = reader(&sim).verify();
        assert!(found.uncompared > 0, "{evidence:?}: {found:?}");
        assert_eq!(CheckpointNote::new(&path).notes().unwrap().len(), 1);
    }
}

#[test]
fn the_note_outside_reveals_an_older_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.checkpoint");
    let sim = noted(&path);
    let copy = sim.after_kill();
    let service = Service::of(options().note(&path), &sim).unwrap();
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    let (before, after) = (end(&copy), end(&sim));
    let refused = opened_with(options().note(&path), &copy);
    let Err(OpenError::Damaged { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(source, ReadError::Cut { .. }), "{source:?}");
    let done = options()
        .note(&path)
        .acknowledge_in(&files(&copy), "restored");
    // Sequences of lost entries are not reused.
    assert_eq!(spans(&done.unwrap().missing), [(before, after - 1)]);
    opened_with(options().note(&path), &copy).unwrap();
    assert_eq!(reader(&copy).verify().verdict, Verdict::Acknowledged);
}

#[test]
fn records_that_nothing_could_be_compared_without_a_note() {
    let (sim, _) = closed();
    let last = *firsts(&sim).last().unwrap();
    sim.remove(&segment_name(last)).unwrap();
    sim.remove_folder("tile").unwrap();
    sim.remove("checkpoint").unwrap();
    let ledger = open(options(), &sim).unwrap();
    assert_eq!(ledger.recovery().uncompared, last);
    ledger.close().unwrap();
    let found = reader(&sim).verify();
    assert_eq!((found.verdict, found.uncompared), (Verdict::Clean, last));
    // A new ledger has nothing to compare.
    let new = Sim::default();
    let ledger = open(options(), &new).unwrap();
    assert_eq!(ledger.recovery().uncompared, 0);
    ledger.close().unwrap();
    assert_eq!(reader(&new).verify().uncompared, 0);
}

#[test]
fn opens_and_reports_a_new_ledger_in_the_place_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.checkpoint");
    noted(&path);
    let new = Sim::default();
    opened_with(options().note(&path), &new).unwrap();
    let told = entries(&new).into_iter().find_map(|entry| match entry {
        Entry::Event(event) if event.event == "ledger.opened" => Some(event.body),
        _ => None,
    });
    let others = told.unwrap()["notes_of_others"].clone();
    assert_eq!(others.as_array().map(Vec::len), Some(1), "{others}");
    // An unreadable note does not prevent opening.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    opened_with(options().note(&path), &new).unwrap();
}

#[test]
fn detects_files_that_vanish_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    type Harm = fn(&std::path::Path, &str) -> std::io::Result<()>;
    let rows: [(&str, Harm); 5] = [
        ("removed", |dir, name| std::fs::remove_file(dir.join(name))),
        ("renamed", |dir, name| {
            std::fs::rename(dir.join(name), dir.join(name).with_extension("old"))
        }),
        ("cut", |dir, name| {
            std::fs::OpenOptions::new()
                .write(true)
                .open(dir.join(name))?
                .set_len(80)
        }),
        ("directory removed", |dir, _| std::fs::remove_dir_all(dir)),
        ("directory renamed", |dir, _| {
            std::fs::rename(dir, dir.with_extension("old"))
        }),
    ];
    for (row, (name, harm)) in rows.into_iter().enumerate() {
        for at in [0, 1, 2] {
            let place = dir.path().join(format!("ledger-{row}-{at}"));
            let ledger = Ledger::builder(&place).segment_bytes(4096).open().unwrap();
            for _ in 0..60 {
                block_on(ledger.event("test.event", "x".repeat(200).into()).unwrap()).unwrap();
            }
            ledger.inspect().unwrap();
            let mut firsts: Vec<u64> = std::fs::read_dir(&place)
                .unwrap()
                .filter_map(|file| parse_name(file.unwrap().file_name().to_str()?))
                .collect();
            firsts.sort_unstable();
            assert!(firsts.len() > 2);
            // The first segment, a middle one, and the current one, which grows and is not
            // compared by size.
            let at = [0, firsts.len() / 2, firsts.len() - 1][at];
            if name == "cut" && at == firsts.len() - 1 {
                continue;
            }
            harm(&place, &segment_name(firsts[at])).unwrap();
            let fault = ledger.inspect().unwrap_err();
            if name == "removed" {
                let next = firsts
                    .get(at + 1)
                    .copied()
                    .unwrap_or_else(|| ledger.written());
                let expected = (firsts[at], next - 1);
                let ReadError::Missing { from, to, .. } = fault else {
                    panic!("{fault:?}");
                };
                assert_eq!((from, to), expected, "{name}");
            }
            assert!(ledger.inspect().is_err(), "{name}: it stays so");
            drop(ledger.close());
        }
    }
}

#[test]
fn pruning_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::builder(dir.path().join("ledger"))
        .segment_bytes(4096)
        .open()
        .unwrap();
    for _ in 0..60 {
        block_on(ledger.event("test.event", "x".repeat(200).into()).unwrap()).unwrap();
    }
    ledger.inspect().unwrap();
    ledger.prune(&crate::Retention::new().segments(2)).unwrap();
    ledger.inspect().unwrap();
    ledger.close().unwrap();
}
