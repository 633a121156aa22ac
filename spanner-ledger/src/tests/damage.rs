//! Stored bytes are changed behind the ledger's back.

use std::collections::BTreeSet;

use super::{Service, reader};
use crate::files::Files;
use crate::files::sim::Sim;
use crate::{OpenError, ReadError};

const FIRST: &str = "00000000000000000000.seg";

/// A closed ledger with several segments.
fn closed() -> Sim {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    for _ in 0..20 {
        drop(service.allow().unwrap());
    }
    service.ledger.close().unwrap();
    assert!(segments(&sim).len() > 2);
    sim
}

fn segments(sim: &Sim) -> Vec<String> {
    let names = sim.names().unwrap();
    names
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect()
}

#[test]
fn refuses_every_flipped_byte_except_in_the_last_entry() {
    let sim = closed();
    let names = segments(&sim);
    let last = names.last().unwrap();
    let mut cut = BTreeSet::new();
    for name in &names {
        let mut length = 0;
        sim.harm(name, |bytes| length = bytes.len());
        for at in 0..length {
            sim.harm(name, |bytes| bytes[at] ^= 0x40);
            let read = reader(&sim).show();
            sim.harm(name, |bytes| bytes[at] ^= 0x40);
            if read.is_ok() {
                assert_eq!(name, last);
                cut.insert(length - at);
            }
        }
    }
    // Only damage to the last entry, `ledger.closed`, can go undetected.
    assert!(cut.len() < 120 && cut.last() == Some(&cut.len()), "{cut:?}");
}

#[test]
fn names_the_segment_and_offset_and_does_not_open() {
    let sim = closed();
    sim.harm(FIRST, |bytes| bytes[200] ^= 1);
    let Err(OpenError::Damaged { source, .. }) = Service::open(&sim).map(drop) else {
        panic!("it must not open");
    };
    let text = source.to_string();
    assert!(text.contains(FIRST) && text.contains("byte"), "{text}");
    assert!(matches!(source, ReadError::Corrupt { .. }));
}

#[test]
fn detects_missing_entries() {
    let check = |harm: &dyn Fn(&Sim, &[String])| {
        let sim = closed();
        harm(&sim, &segments(&sim));
        let read = reader(&sim).show();
        assert!(matches!(read, Err(ReadError::Missing { .. })), "{read:?}");
    };
    check(&|sim, names| sim.remove(&names[0]).unwrap());
    check(&|sim, names| sim.remove(&names[1]).unwrap());
    check(&|sim, names| sim.harm(&names[0], |bytes| bytes.truncate(64)));
}

#[test]
fn reordered_entries_are_damage() {
    let sim = closed();
    let names = segments(&sim);
    let mut first = Vec::new();
    sim.harm(&names[0], |bytes| first = bytes.clone());
    sim.harm(&names[1], |bytes| *bytes = first);
    assert!(matches!(
        reader(&sim).show(),
        Err(ReadError::Misnamed { .. })
    ));
}

#[test]
fn truncates_and_reports_a_torn_tail() {
    let sim = Sim::default();
    let service = Service::open(&sim).unwrap();
    drop(service.allow().unwrap());
    let after = sim.after_kill();
    let mut length = 0;
    after.harm(FIRST, |bytes| {
        length = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[length..length + 30].fill(0xff);
    });
    let reopened = Service::open(&after).unwrap();
    assert!(reopened.ledger.recovery().torn_bytes >= 30);
}
