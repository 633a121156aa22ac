//! Signed entries are changed behind the ledger's back.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{Service, Shelf, block_on, edit, entries, open, options, payloads, reader, until};
use crate::files::Files;
use crate::files::sim::Sim;
use crate::frame::{HEADER_BYTES, Header};
use crate::waiter::lock;
use crate::{
    Checkpoint, CheckpointSink, Durability, Entry, Ledger, OpenError, Proof, ProofError, ReadError,
    SigningKey, Verdict,
};

const FIRST: &str = "00000000000000000000.seg";

/// A ledger at two points in time, and its shipped checkpoints.
struct Stage {
    sim: Sim,
    /// A copy after half of the requests.
    before: Sim,
    shelf: Shelf,
}

/// A closed ledger with one segment.
fn stage() -> Stage {
    let (sim, shelf) = (Sim::default(), Shelf::default());
    let builder = || options().segment_bytes(1 << 20).checkpoints(shelf.clone());
    let service = Service::of(builder(), &sim).unwrap();
    for _ in 0..6 {
        drop(service.allow().unwrap());
    }
    let half = service.ledger.checkpoint_now().unwrap();
    // A newer checkpoint may replace one that is not shipped yet.
    until(|| lock(&shelf.0).iter().any(|it| it.size() >= half.size()));
    let before = sim.after_kill();
    for _ in 0..6 {
        drop(service.allow().unwrap());
    }
    service.ledger.close().unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Clean);
    Stage { sim, before, shelf }
}

fn contents(sim: &Sim, name: &str) -> Vec<u8> {
    let mut found = Vec::new();
    sim.harm(name, |bytes| found.clone_from(bytes));
    found
}

/// Applies the attack of a row. Returns the inputs of the verification.
fn harm(stage: &Stage, harm: &str) -> (Sim, Vec<crate::VerifierKey>, Vec<Checkpoint>) {
    let sim = stage.sim.after_kill();
    let forged = || br#"{"kind":"event","time":"2026-01-01T00:00:00Z","event":"x"}"#.to_vec();
    let shipped = lock(&stage.shelf.0).clone();
    let entries = shipped.last().unwrap().size();
    let tile = format!("tile/0/000.p/{entries}");
    match harm {
        "kill" => sim.harm(FIRST, |bytes| bytes.extend([0xff; 30])),
        "flip" => {
            let before: usize = payloads_before(&sim, 7);
            sim.harm(FIRST, |bytes| bytes[before + 40] ^= 1);
        }
        "replace" => edit(&sim, FIRST, |entries| entries[7] = forged()),
        "delete" => edit(&sim, FIRST, |entries| drop(entries.remove(7))),
        "swap" => edit(&sim, FIRST, |entries| entries.swap(7, 9)),
        "duplicate" => edit(&sim, FIRST, |entries| entries.insert(8, entries[7].clone())),
        "insert" => edit(&sim, FIRST, |entries| {
            entries.insert(7, forged());
            entries.pop();
        }),
        "replace_last" => edit(&sim, FIRST, |entries| {
            *entries.last_mut().unwrap() = forged()
        }),
        "replace_with_tile" => {
            edit(&sim, FIRST, |entries| entries[7] = forged());
            let leaf = tlog_tiles::record_hash(&forged());
            sim.harm(&tile, |bytes| {
                bytes[7 * 32..8 * 32].copy_from_slice(&leaf.0)
            });
        }
        "call_lost" => {
            // The segment is split, and the second half claims that the first was abandoned.
            let mut header = Header::decode(&contents(&sim, FIRST)).unwrap();
            let all = payloads(&header.salt, &contents(&sim, FIRST));
            edit(&sim, FIRST, |entries| entries.truncate(8));
            (header.first, header.durable, header.after_fault) = (8, 7, true);
            let name = "00000000000000000008.seg";
            drop(sim.create(name).unwrap());
            sim.harm(name, |bytes| bytes.extend(header.encode()));
            edit(&sim, name, |entries| {
                entries.extend(all[8..].iter().cloned())
            });
        }
        "cut" => edit(&sim, FIRST, |entries| entries.truncate(entries.len() - 3)),
        "cut_with_checkpoint" => {
            let older = shipped
                .iter()
                .rfind(|older| older.size() < entries - 2)
                .unwrap();
            let size = usize::try_from(older.size()).unwrap();
            edit(&sim, FIRST, |entries| entries.truncate(size));
            sim.harm("checkpoint", |bytes| {
                *bytes = older.note().as_bytes().to_vec()
            });
        }
        "roll_back" => return (stage.before.after_kill(), Vec::new(), shipped),
        "fork" => {
            let sim = stage.before.after_kill();
            let service = Service::of(options(), &sim).unwrap();
            for _ in 0..20 {
                drop(service.allow().unwrap());
            }
            service.ledger.close().unwrap();
            return (sim, Vec::new(), shipped);
        }
        "new_key" => {
            let sim = Sim::default();
            let service = Service::of(options(), &sim).unwrap();
            drop(service.allow().unwrap());
            service.ledger.close().unwrap();
            return (sim, reader(&stage.sim).keys().unwrap(), Vec::new());
        }
        "no_checkpoint" => sim.remove("checkpoint").unwrap(),
        "huge_checkpoint" => sim.harm("checkpoint", |bytes| *bytes = vec![b'x'; 1 << 20]),
        "huge_size" => sim.harm("checkpoint", |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let size = format!("\n{entries}\n");
            *bytes = text.replace(&size, "\n9223372036854775808\n").into_bytes();
        }),
        "bad_tile" => sim.harm(&tile, |bytes| bytes.extend([7; 33])),
        "bad_segment" => sim.harm(FIRST, |bytes| bytes.fill(0xa5)),
        "hole" => {
            let mut header = Header::decode(&contents(&sim, FIRST)).unwrap();
            header.first = entries + 5;
            let name = crate::scan::segment_name(header.first);
            drop(sim.create(&name).unwrap());
            sim.harm(&name, |bytes| bytes.extend(header.encode()));
        }
        other => panic!("no such harm: {other}"),
    }
    (sim, Vec::new(), shipped)
}

fn payloads_before(sim: &Sim, count: usize) -> usize {
    let bytes = contents(sim, FIRST);
    let header = Header::decode(&bytes).unwrap();
    let payloads = payloads(&header.salt, &bytes);
    let before = payloads[..count]
        .iter()
        .map(|payload| payload.len() + crate::OVERHEAD);
    HEADER_BYTES + before.sum::<usize>()
}

/// The entry that a fault names.
fn index(fault: &ReadError) -> Option<u64> {
    match fault {
        ReadError::Tampered { sequence } | ReadError::Corrupt { sequence, .. } => Some(*sequence),
        _ => None,
    }
}

#[test]
fn classifies_every_attack() {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("data/audit.json")).unwrap();
    let stage = stage();
    for row in rows {
        let (sim, keys, shipped) = harm(&stage, row["harm"].as_str().unwrap());
        let found = reader(&sim).verify_against(&keys, &shipped);
        let word = found.verdict.as_str();
        match row["expected"].as_str().unwrap() {
            "torn_tail_or_clean" => assert!(found.verdict.is_sound(), "{row}: {found:?}"),
            expected => {
                assert_eq!(word, expected, "{row}: {found:?}");
                assert!(!found.verdict.is_sound());
            }
        }
        if let Some(expected) = row["index"].as_i64() {
            let last = i64::try_from(found.signed.unwrap_or(0)).unwrap();
            let expected = if expected < 0 {
                last + expected
            } else {
                expected
            };
            let named = found.fault.as_ref().and_then(index);
            assert_eq!(named, u64::try_from(expected).ok(), "{row}: {found:?}");
        }
    }
}

/// Opening rejects every attack. The segment after the changed entry is consistent with its
/// header and is not at fault.
#[test]
fn reports_the_changed_entry_rather_than_the_next_segment() {
    type Edit = fn(&mut Vec<Vec<u8>>);
    let rows: [(Edit, u64); 3] = [
        (|entries| drop(entries.remove(3)), 3),
        (|entries| entries.insert(3, entries[2].clone()), 3),
        (|entries| entries.truncate(3), 3),
    ];
    for (index, (change, first_bad)) in rows.into_iter().enumerate() {
        let sim = Sim::default();
        let service = Service::open(&sim).unwrap();
        for _ in 0..30 {
            drop(service.allow().unwrap());
        }
        service.ledger.close().unwrap();
        edit(&sim, FIRST, change);
        let found = reader(&sim).verify();
        assert_eq!(found.first_bad(), Some(first_bad), "{index}: {found:?}");
        let tampered = matches!(found.verdict, Verdict::Tampered);
        assert_eq!(tampered, index < 2, "{index}: {found:?}");
        // Tiles without a signed root prove nothing against an entry.
        sim.harm("tile/0/000.p/62", |bytes| bytes[2 * 32] ^= 1);
        let found = reader(&sim).verify();
        assert_ne!(found.first_bad(), Some(2), "{index}: {found:?}");
    }
}

#[test]
fn refuses_to_open_a_ledger_that_contradicts_its_checkpoint() {
    let stage = stage();
    let rows = [
        "flip",
        "replace",
        "delete",
        "swap",
        "duplicate",
        "insert",
        "replace_last",
        "replace_with_tile",
        "cut",
        "hole",
        "bad_segment",
        "huge_checkpoint",
        "huge_size",
    ];
    for row in rows {
        let (sim, ..) = harm(&stage, row);
        let opened = open(options(), &sim);
        assert!(
            matches!(opened, Err(OpenError::Damaged { .. })),
            "{row}: {opened:?}"
        );
    }
    for row in ["cut_with_checkpoint", "roll_back", "fork"] {
        let (sim, ..) = harm(&stage, row);
        let opened = open(options().checkpoints(stage.shelf.clone()), &sim);
        assert!(
            matches!(opened, Err(OpenError::Damaged { .. })),
            "{row}: {opened:?}"
        );
    }
}

#[test]
fn names_the_entry_of_every_flipped_byte() {
    let sim = Sim::default();
    let service = Service::of(options(), &sim).unwrap();
    for _ in 0..14 {
        drop(service.allow().unwrap());
    }
    service.ledger.close().unwrap();
    let size = reader(&sim).verify().signed.unwrap();
    let mut files: Vec<String> = sim.names().unwrap();
    files.retain(|name| name.ends_with(".seg") || name == "checkpoint" || name == "vkey");
    files.push(format!("tile/0/000.p/{size}"));
    let mut flipped = 0;
    for name in &files {
        let bytes = contents(&sim, name);
        let places = Header::decode(&bytes).map(|header| places(&header, &bytes));
        for at in 0..bytes.len() {
            sim.harm(name, |bytes| bytes[at] ^= 0x20);
            let found = reader(&sim).verify();
            sim.harm(name, |bytes| bytes[at] ^= 0x20);
            flipped += 1;
            assert!(!found.verdict.is_sound(), "byte {at} of `{name}`");
            let fault = found.fault.unwrap();
            match &places {
                Some(places) => assert_eq!(index(&fault), Some(places[at]), "byte {at}: {fault}"),
                None => assert_eq!(found.verdict, Verdict::Evidence, "byte {at} of `{name}`"),
            }
        }
    }
    assert!(flipped > 10_000, "{flipped}");
}

/// The sequence of the entry at each byte of a segment.
fn places(header: &Header, bytes: &[u8]) -> Vec<u64> {
    let mut places = vec![header.first; HEADER_BYTES];
    for (sequence, payload) in (header.first..).zip(payloads(&header.salt, bytes)) {
        places.extend(vec![sequence; crate::OVERHEAD + payload.len()]);
    }
    assert_eq!(places.len(), bytes.len());
    places
}

#[test]
fn verifies_as_sound_while_it_is_written() {
    let sim = Sim::default();
    let ledger = open(options().segment_bytes(1 << 16), &sim).unwrap();
    ledger.checkpoint_now().unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for _ in 0..400 {
                block_on(ledger.event("test.event", 7.into()).unwrap()).unwrap();
            }
        });
        while !writing.is_finished() {
            let found = reader(&sim).verify();
            assert!(found.verdict.is_sound(), "{found:?}");
        }
    });
    ledger.close().unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Clean);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// AUD-31: with arbitrary file contents, reading and opening terminate without a panic.
    #[test]
    fn hostile_files_cause_an_error_and_no_panic(
        which in 0usize..100,
        at in 0usize..20_000,
        with in prop::collection::vec(any::<u8>(), 0..200),
        cut: bool,
    ) {
        let sim = HOSTILE.with(Sim::after_kill);
        let mut names = sim.names().unwrap();
        names.retain(|name| !name.starts_with("reserve"));
        let name = names[which % names.len()].clone();
        sim.harm(&name, |bytes| {
            let at = at % (bytes.len() + 1);
            if cut {
                bytes.truncate(at);
                bytes.extend(&with);
            } else {
                let end = bytes.len().min(at + with.len());
                bytes[at..end].copy_from_slice(&with[..end - at]);
            }
        });
        let found = reader(&sim).verify();
        prop_assert_eq!(found.fault.is_none(), found.verdict.is_sound());
        if let Ok(Some(checkpoint)) = reader(&sim).checkpoint() {
            for index in [0, 7, checkpoint.size().saturating_sub(1)] {
                if let Ok(proof) = reader(&sim).prove(index, &checkpoint) {
                    prop_assert!(proof.check(&reader(&sim).keys().unwrap()).is_ok());
                }
            }
        }
        drop(open(options(), &sim));
    }
}

thread_local! {
    static HOSTILE: Sim = stage().sim;
}

#[test]
fn rebuilds_lost_tiles_with_the_same_contents() {
    let stage = stage();
    let whole = reader(&stage.sim).checkpoint().unwrap().unwrap();
    for harm in ["remove", "spoil"] {
        let sim = stage.sim.after_kill();
        match harm {
            "remove" => sim.remove_folder("tile").unwrap(),
            _ => sim.harm(&format!("tile/0/000.p/{}", whole.size()), |bytes| {
                bytes.fill(1)
            }),
        }
        let service = Service::of(options(), &sim).unwrap();
        service.ledger.close().unwrap();
        let found = reader(&sim).verify_against(&[], &lock(&stage.shelf.0));
        assert_eq!(found.verdict, Verdict::Clean, "{harm}: {found:?}");
    }
}

#[test]
fn signs_a_ledger_without_evidence_on_opening() {
    let sim = stage().sim;
    for name in ["checkpoint", "key", "vkey"] {
        sim.remove(name).unwrap();
    }
    sim.remove_folder("tile").unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Evidence);
    open(options(), &sim).unwrap().close().unwrap();
    let found = reader(&sim).verify();
    assert_eq!(
        (found.verdict, found.signed),
        (Verdict::Clean, Some(found.entries))
    );
}

#[test]
fn proves_every_entry_with_the_key_alone() {
    let sim = Sim::default();
    let shelf = Shelf::default();
    let ledger = open(options().checkpoints(shelf.clone()), &sim).unwrap();
    let events = || (0..300).map(|at| ledger.event("test.event", at.into()).unwrap());
    events().for_each(drop);
    let early = ledger.checkpoint_now().unwrap();
    events().for_each(drop);
    ledger.close().unwrap();
    let reader = reader(&sim);
    let (keys, last) = (
        reader.keys().unwrap(),
        reader.checkpoint().unwrap().unwrap(),
    );
    assert_eq!(reader.verify().verdict, Verdict::Clean);
    for at in [&early, &last] {
        for index in (0..at.size()).step_by(7).chain([at.size() - 1]) {
            let proof = Proof::Inclusion(reader.prove(index, at).unwrap());
            let json = serde_json::to_string(&proof).unwrap();
            let read: Proof = serde_json::from_str(&json).unwrap();
            assert_eq!(read.check(&keys), Ok(at.clone()), "{index}");
        }
    }
    let early_end = reader.prove(early.size(), &early);
    assert!(matches!(early_end, Err(ReadError::NotYetSigned { .. })));
    let far = reader.prove(last.size(), &last);
    assert!(matches!(far, Err(ReadError::NotYetSigned { .. })));
    for from in lock(&shelf.0).iter() {
        let proof = reader.consistency(from, &last).unwrap();
        assert_eq!(proof.check(&keys), Ok((from.clone(), last.clone())));
    }
}

#[test]
fn refuses_a_modified_proof() {
    let stage = stage();
    let reader = reader(&stage.sim);
    let keys = reader.keys().unwrap();
    let last = reader.checkpoint().unwrap().unwrap();
    let whole = reader.prove(5, &last).unwrap();
    let stranger = SigningKey::generate("example.com/other").unwrap();
    let foreign_notes = [stranger.verifier().clone()];
    assert!(matches!(
        whole.check(&foreign_notes),
        Err(ProofError::Checkpoint(_))
    ));
    let mut rows = vec![whole.clone(); 6];
    rows[0].index = 6;
    rows[1].size += 1;
    rows[2].entry = rows[2].entry.replace("production", "staging");
    rows[3].hashes.pop();
    rows[4].hashes = vec![rows[4].leaf.clone(); 100_000];
    rows[5].index = u64::MAX;
    for (at, row) in rows.iter().enumerate() {
        assert!(row.check(&keys).is_err(), "{at}");
    }
    assert!(whole.check(&keys).is_ok());
    let earlier = lock(&stage.shelf.0).first().unwrap().clone();
    let mut proof = reader.consistency(&earlier, &last).unwrap();
    assert!(proof.check(&keys).is_ok());
    proof.hashes.reverse();
    proof.hashes.push(whole.leaf);
    assert!(proof.check(&keys).is_err());
}

#[test]
fn a_lost_entry_is_an_empty_leaf_and_the_others_are_proved() {
    for durability in [Durability::ProcessCrash, Durability::Relaxed] {
        for at in 20..60 {
            let sim = Sim::default();
            let builder = options().durability(durability);
            let service = Service::of(builder, &sim).unwrap();
            sim.trouble_in(at - 20, crate::files::sim::Kind::Half);
            for _ in 0..30 {
                drop(service.allow());
            }
            // The fault may occur only now.
            drop(service.ledger.close());
            sim.trouble([]);
            open(options(), &sim).unwrap().close().unwrap();
            let found = reader(&sim).verify();
            assert_eq!(
                found.verdict,
                Verdict::Clean,
                "{durability:?} at {at}: {found:?}"
            );
            let dark = sim.after_power_loss(&mut crate::files::sim::Dice(at as u64));
            open(options(), &dark).unwrap().close().unwrap();
            let found = reader(&dark).verify();
            assert_eq!(
                found.verdict,
                Verdict::Clean,
                "{durability:?} at {at}: {found:?}"
            );
        }
    }
}

#[test]
fn accepts_a_new_key_and_lists_both() {
    let sim = stage().sim;
    let first = reader(&sim).keys().unwrap();
    let key = SigningKey::generate("example.com/ledger").unwrap();
    let builder = options().signing_key(key.clone());
    open(builder, &sim).unwrap().close().unwrap();
    let keys = reader(&sim).keys().unwrap();
    assert_eq!(keys, [first[0].clone(), key.verifier().clone()]);
    let found = reader(&sim).verify_against(&[key.verifier().clone()], &[]);
    assert_eq!(found.verdict, Verdict::Clean, "{found:?}");
    let opened = |entry: &Entry| match entry {
        Entry::Event(event) if event.event == "ledger.opened" => Some(event.body["vkey"].clone()),
        _ => None,
    };
    let told: Vec<_> = entries(&sim).iter().filter_map(opened).collect();
    assert_eq!(told.last(), Some(&key.verifier().to_string().into()));
}

/// AUD-21.
#[test]
fn replaces_a_missing_key_under_the_same_origin_and_records_it() {
    let sim = Sim::default();
    Service::open(&sim).unwrap().ledger.close().unwrap();
    let before = reader(&sim).keys().unwrap();
    sim.remove("key").unwrap();
    let service = Service::open(&sim).unwrap();
    drop(service.allow().unwrap());
    service.ledger.close().unwrap();
    let keys = reader(&sim).keys().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| key.origin() == before[0].origin()));
    let opened: Vec<bool> = entries(&sim)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) if event.event == "ledger.opened" => Some(event.body),
            _ => None,
        })
        .map(|body| body["new_key"] == true)
        .collect();
    assert_eq!(opened, [false, true]);
    assert!(reader(&sim).verify().verdict.is_sound());
}

#[test]
fn stores_evidence_in_private_files_and_the_secret_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::builder(dir.path().join("ledger"))
        .origin("example.com/ledger")
        .open()
        .unwrap();
    block_on(ledger.event("test.event", 1.into()).unwrap()).unwrap();
    let checkpoint = ledger.checkpoint_now().unwrap();
    assert_eq!(
        (checkpoint.origin(), checkpoint.size()),
        ("example.com/ledger", 2)
    );
    ledger.close().unwrap();
    let read = |name: &str| std::fs::read(ledger.dir().join(name)).unwrap();
    let secret = String::from_utf8(read("key")).unwrap();
    // PRIVATE, KEY, name, id and secret. The secret may contain a plus sign.
    let secret = secret.trim().splitn(5, '+').nth(4).unwrap();
    let secret = secret.as_bytes();
    assert!(secret.len() > 32);
    for name in [FIRST, "vkey", "checkpoint"] {
        let found = read(name).windows(secret.len()).any(|part| part == secret);
        assert!(!found, "{name}");
    }
    #[cfg(unix)]
    for name in ["key", "checkpoint", "tile/0/000.p/3"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(ledger.dir().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let origin = Ledger::builder(dir.path().join("other"))
        .origin("two words")
        .open();
    assert!(matches!(origin, Err(OpenError::Key { .. })));
}

/// A sink that blocks or fails on command, and stores checkpoints.
#[derive(Debug, Clone)]
struct Moody {
    shelf: Shelf,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Block,
    Fail,
    Panic,
    Take,
}

impl CheckpointSink for Moody {
    fn ship(&mut self, checkpoint: &Checkpoint) -> std::io::Result<()> {
        loop {
            let mood = *lock(&self.mood);
            match mood {
                Mood::Block => std::thread::yield_now(),
                Mood::Fail => return Err(std::io::ErrorKind::TimedOut.into()),
                Mood::Panic => panic!("a sink may panic"),
                Mood::Take => return self.shelf.ship(checkpoint),
            }
        }
    }
}

#[test]
fn a_sink_that_blocks_fails_or_panics_delays_no_other_and_gets_the_newest_later() {
    for mood in [Mood::Block, Mood::Fail, Mood::Panic] {
        let (sim, shelf) = (Sim::default(), Shelf::default());
        let moody = Moody {
            shelf: Shelf::default(),
            mood: Arc::new(Mutex::new(mood)),
        };
        let builder = options().checkpoints(moody.clone());
        let ledger = open(builder.checkpoints(shelf.clone()), &sim).unwrap();
        let has = |shelf: &Shelf, size| lock(&shelf.0).iter().any(|it| it.size() == size);
        for _ in 0..3 {
            block_on(ledger.event("test.event", 7.into()).unwrap()).unwrap();
            let size = ledger.checkpoint_now().unwrap().size();
            until(|| has(&shelf, size));
        }
        assert!(lock(&moody.shelf.0).is_empty());
        *lock(&moody.mood) = Mood::Take;
        ledger.close().unwrap();
        let last = reader(&sim).checkpoint().unwrap().unwrap();
        for shelf in [&shelf, &moody.shelf] {
            assert_eq!(lock(&shelf.0).last(), Some(&last), "{mood:?}");
        }
        let got: Vec<u64> = lock(&moody.shelf.0).iter().map(Checkpoint::size).collect();
        assert!(got.is_sorted(), "{got:?}");
    }
}

#[test]
fn closing_does_not_wait_for_a_blocked_sink() {
    let sim = Sim::default();
    let moody = Moody {
        shelf: Shelf::default(),
        mood: Arc::new(Mutex::new(Mood::Block)),
    };
    let ledger = open(options().checkpoints(moody.clone()), &sim).unwrap();
    ledger.close().unwrap();
    assert_eq!(reader(&sim).verify().verdict, Verdict::Clean);
    *lock(&moody.mood) = Mood::Take;
}
