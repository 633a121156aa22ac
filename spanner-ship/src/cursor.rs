//! How far a shipment has come, in a small file that is replaced as a whole.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Tells this ledger's entries from any other's.
    pub(crate) origin: String,
    /// The entry that is next.
    pub(crate) next: u64,
    /// The checksum of the one before, by which a ledger that lost its end is known.
    #[serde(default)]
    pub(crate) last: Option<u32>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Cursor {
    path: PathBuf,
    pub(crate) position: Position,
    /// Whether the file says something older than the position.
    pub(crate) unsaved: bool,
}

impl Cursor {
    /// Reads the cursor of a shipment, or begins one.
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        create_folder(folder)?;
        let path = folder.join(format!("{name}.cursor"));
        let position: Option<Position> = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| {
                let what = format!(
                    "`{}` is no cursor ({error}); remove it to ship everything again",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_new = position.is_none();
        let position = position.unwrap_or_else(Position::begin);
        let mut cursor = Self {
            path,
            position,
            unsaved: false,
        };
        if is_new {
            // Before anything goes out under its origin.
            cursor.save(cursor.position.clone())?;
        }
        Ok(cursor)
    }

    /// Goes to a position, durably: after a crash the file says this or what it said before.
    pub(crate) fn save(&mut self, position: Position) -> io::Result<()> {
        self.write(&position)?;
        if let Some(folder) = self.path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        self.position = position;
        self.unsaved = false;
        Ok(())
    }

    /// Goes to a position, and does not write that down yet. Until then the file says an earlier
    /// one, from which some entries go twice and none is left out.
    pub(crate) fn go(&mut self, position: Position) {
        self.position = position;
        self.unsaved = true;
    }

    /// Writes down where it is, unless that is done. After a failure of the power the file may
    /// still say an earlier position.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        if self.unsaved {
            self.write(&self.position)?;
            self.unsaved = false;
        }
        Ok(())
    }

    fn write(&self, position: &Position) -> io::Result<()> {
        let text = serde_json::to_vec(position)?;
        let beside = self.path.with_extension("cursor.new");
        let mut file = private(&beside, false)?;
        file.set_len(0)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&beside, &self.path)
    }
}

impl Position {
    /// The beginning of a ledger that is not known yet.
    pub(crate) fn begin() -> Self {
        Self {
            origin: new_origin(),
            next: 0,
            last: None,
        }
    }
}

fn new_origin() -> String {
    let mut random = [0; 8];
    // Without randomness the time still tells two ledgers apart.
    let number = match getrandom::fill(&mut random) {
        Ok(()) => u64::from_le_bytes(random),
        Err(_) => u64::try_from(spanner_core::Timestamp::now().as_microsecond()).unwrap_or(0),
    };
    format!("{number:016x}")
}

pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A file that only this user reads: new, or to be written on at its end or from its
/// beginning.
pub(crate) fn private(path: &Path, append: bool) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(append).create(true);
    match append {
        true => options.append(true),
        false => options.write(true).truncate(false),
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_where_it_was_and_a_torn_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::open(folder.path(), "siem").unwrap();
        let position = Position {
            next: 7,
            last: Some(3),
            ..cursor.position.clone()
        };
        cursor.save(position.clone()).unwrap();
        let again = Cursor::open(folder.path(), "siem").unwrap();
        assert_eq!(again.position, position);
        // What is not written down counts all the same, and is written later.
        let in_the_way = folder.path().join("siem.cursor.new");
        fs::create_dir(&in_the_way).unwrap();
        let further = Position {
            next: 9,
            ..position.clone()
        };
        cursor.go(further.clone());
        assert!(cursor.catch_up().is_err());
        assert_eq!((&cursor.position, cursor.unsaved), (&further, true));
        assert_eq!(
            Cursor::open(folder.path(), "siem").unwrap().position,
            position
        );
        fs::remove_dir(in_the_way).unwrap();
        cursor.catch_up().unwrap();
        assert_eq!(
            Cursor::open(folder.path(), "siem").unwrap().position,
            further
        );
        fs::write(folder.path().join("siem.cursor"), "{").unwrap();
        let fault = Cursor::open(folder.path(), "siem").unwrap_err();
        assert!(fault.to_string().contains("remove it"), "{fault}");
    }
}
