//! How far a shipment has come, in a small file that is replaced as a whole.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
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
    pub(crate) place: Place,
    /// Whether the file says something older than the place.
    pub(crate) unsaved: bool,
}

impl Cursor {
    /// Reads the cursor of a shipment, or begins one.
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        create_folder(folder)?;
        let path = folder.join(format!("{name}.cursor"));
        let place: Option<Place> = match fs::read(&path) {
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
        let is_new = place.is_none();
        let place = place.unwrap_or_else(Place::begin);
        let mut cursor = Self {
            path,
            place,
            unsaved: false,
        };
        if is_new {
            // Before anything goes out under its origin.
            cursor.save(cursor.place.clone())?;
        }
        Ok(cursor)
    }

    /// Goes to a place, durably: after a crash the file says this or what it said before.
    pub(crate) fn save(&mut self, place: Place) -> io::Result<()> {
        self.write(&place)?;
        if let Some(folder) = self.path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        self.place = place;
        self.unsaved = false;
        Ok(())
    }

    /// Goes to a place, and does not write that down yet. Until then the file says an earlier
    /// one, from which some entries go twice and none is left out.
    pub(crate) fn go(&mut self, place: Place) {
        self.place = place;
        self.unsaved = true;
    }

    /// Writes down where it is, unless that is done. After a failure of the power the file may
    /// still say an earlier place.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        if self.unsaved {
            self.write(&self.place)?;
            self.unsaved = false;
        }
        Ok(())
    }

    fn write(&self, place: &Place) -> io::Result<()> {
        let text = serde_json::to_vec(place)?;
        let beside = self.path.with_extension("cursor.new");
        let mut file = private(&beside, false)?;
        file.set_len(0)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&beside, &self.path)
    }
}

impl Place {
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
        let place = Place {
            next: 7,
            last: Some(3),
            ..cursor.place.clone()
        };
        cursor.save(place.clone()).unwrap();
        let again = Cursor::open(folder.path(), "siem").unwrap();
        assert_eq!(again.place, place);
        // What is not written down counts all the same, and is written later.
        let in_the_way = folder.path().join("siem.cursor.new");
        fs::create_dir(&in_the_way).unwrap();
        let further = Place {
            next: 9,
            ..place.clone()
        };
        cursor.go(further.clone());
        assert!(cursor.catch_up().is_err());
        assert_eq!((&cursor.place, cursor.unsaved), (&further, true));
        assert_eq!(Cursor::open(folder.path(), "siem").unwrap().place, place);
        fs::remove_dir(in_the_way).unwrap();
        cursor.catch_up().unwrap();
        assert_eq!(Cursor::open(folder.path(), "siem").unwrap().place, further);
        fs::write(folder.path().join("siem.cursor"), "{").unwrap();
        let fault = Cursor::open(folder.path(), "siem").unwrap_err();
        assert!(fault.to_string().contains("remove it"), "{fault}");
    }
}
