//! Reads the cursors of shipments, which retention respects.
//!
//! Each shipment of a ledger stores a file `ship/NAME.cursor`: a JSON object whose member `next`
//! is the sequence of the first entry that the shipment has not delivered.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Cursor {
    next: u64,
}

/// The shipment that is furthest behind, and the first entry that it has not delivered. An
/// unreadable cursor or folder counts as a shipment that has delivered nothing.
pub(crate) fn undelivered(ledger: &Path) -> Option<(String, u64)> {
    let nothing = |name: &str| (name.to_owned(), 0);
    let folder = match fs::read_dir(ledger.join("ship")) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => return Some(nothing("?")),
    };
    let cursors = folder.filter_map(|file| {
        let Ok(file) = file else {
            return Some(nothing("?"));
        };
        let name = file.file_name();
        let name = name.to_str()?.strip_suffix(".cursor")?;
        let text = fs::read(file.path()).ok();
        let cursor = text.and_then(|text| serde_json::from_slice::<Cursor>(&text).ok());
        Some((name.to_owned(), cursor.map_or(0, |cursor| cursor.next)))
    });
    cursors.min_by_key(|(_, next)| *next)
}
