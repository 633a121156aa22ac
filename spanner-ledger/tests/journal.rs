//! The ledger as a journal of life-cycle events.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::cell::RefCell;

use serde_json::json;
use spanner_core::journal::{Append, Cursor, EventKind, Item, Journal, JournalError, Page, Scope};
use spanner_core::testing::{block_on, check_journal};
use spanner_ledger::{Durability, Ledger};
use tempfile::TempDir;

fn event(word: &str, body: serde_json::Value) -> Append {
    Append::new(EventKind::new(word).unwrap(), Scope::Everything, body)
}

fn read(journal: &dyn Journal) -> Result<Page, JournalError> {
    block_on(journal.read(&Cursor::default()))
}

#[test]
fn the_ledger_conforms_with_every_durability() {
    for durability in [Durability::PowerLoss, Durability::Relaxed] {
        let folders: RefCell<Vec<TempDir>> = RefCell::default();
        let open = |dir: &std::path::Path| {
            let builder = Ledger::builder(dir).durability(durability);
            builder
                .wait(std::time::Duration::from_secs(20))
                .open()
                .unwrap()
        };
        let fresh = || {
            let folder = tempfile::tempdir().unwrap();
            let ledger = open(&folder.path().join("ledger"));
            // Other entries of the ledger are not part of the journal.
            drop(ledger.event("access.reloaded", json!({})).unwrap());
            folders.borrow_mut().push(folder);
            ledger
        };
        check_journal(fresh, |ledger| {
            let dir = ledger.dir().to_owned();
            ledger.close().unwrap();
            drop(ledger);
            open(&dir)
        });
    }
}

#[test]
fn a_reader_returns_the_same_events_and_appends_none() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    for number in 0..3 {
        let appended = ledger.append(event("promotion.proposed", json!({"number": number})));
        block_on(appended).unwrap();
        drop(ledger.event("access.reloaded", json!({})).unwrap());
    }
    let reader = Ledger::read(&dir).unwrap();
    let page = read(&reader).unwrap();
    assert_eq!(page.items.len(), 3);
    assert_eq!(page, read(&ledger).unwrap());
    let refused = block_on(reader.append(event("promotion.proposed", json!({}))));
    assert_eq!(refused, Err(JournalError::ReadOnly));
    block_on(reader.wait(&Cursor::default())).unwrap();
}

#[test]
fn reads_events_that_were_recorded_without_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path().join("ledger")).unwrap();
    block_on(ledger.append(event("promotion.proposed", json!({"number": 1})))).unwrap();
    let passed = ledger.event("promotion.withdrawn", json!({"number": 2}));
    block_on(passed.unwrap()).unwrap();
    assert_eq!(read(&ledger).unwrap().items.len(), 2);
}

#[test]
fn marks_a_loss_at_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    Ledger::open(&dir).unwrap().close().unwrap();
    let ledger = Ledger::open(&dir).unwrap();
    block_on(ledger.append(event("promotion.proposed", json!({})))).unwrap();
    ledger.close().unwrap();
    drop(ledger);
    std::fs::remove_file(dir.join("00000000000000000000.seg")).unwrap();
    Ledger::builder(&dir).acknowledge("a disk failed").unwrap();
    let ledger = Ledger::open(&dir).unwrap();
    for page in [read(&ledger), read(&Ledger::read(&dir).unwrap())] {
        let items = page.unwrap().items;
        assert!(
            matches!(items.as_slice(), [Item::Lost, Item::Event(_)]),
            "{items:?}"
        );
    }
}
