//! The position of a shipment, stored in a small file that is replaced atomically.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The contents of a cursor file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// A random identifier that distinguishes the entries of this ledger from those of others.
    pub(crate) origin: String,
    /// The sequence of the next entry to ship.
    pub(crate) next: u64,
    /// The checksum of the previous entry. It reveals a ledger that lost its end.
    #[serde(default)]
    pub(crate) last: Option<u32>,
}

/// A cursor file and the current position.
#[derive(Debug)]
pub(crate) struct Cursor {
    path: PathBuf,
    pub(crate) position: Position,
    /// Whether the file contains an older position.
    pub(crate) unsaved: bool,
}

impl Cursor {
    /// Reads the cursor of a shipment, or creates one.
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
            // The origin must be durable before entries are shipped under it.
            cursor.save(cursor.position.clone())?;
        }
        Ok(cursor)
    }

    /// Moves to a position and saves it atomically and durably.
    pub(crate) fn save(&mut self, position: Position) -> io::Result<()> {
        self.write(&position)?;
        if let Some(folder) = self.path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        self.position = position;
        self.unsaved = false;
        Ok(())
    }

    /// Moves to a position without saving it. After a crash, some entries are shipped again and
    /// none is omitted.
    pub(crate) fn go(&mut self, position: Position) {
        self.position = position;
        self.unsaved = true;
    }

    /// Saves the position if necessary. After a power failure, the file may still contain an
    /// earlier position.
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
    /// The beginning of an unknown ledger.
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
    // Without random bytes, the current time distinguishes two ledgers.
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

/// Opens a file that only this user can read, for appending or for overwriting. Creates it if it
/// does not exist.
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
    fn resumes_a_cursor_and_refuses_a_torn_one() {
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
        // An unsaved position is used, and saved later.
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
