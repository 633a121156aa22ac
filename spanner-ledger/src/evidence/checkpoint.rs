//! Checkpoints: signed statements about the contents of a ledger.

use std::fmt;
use std::io::{self, BufRead};

use signed_note::{Note, Verifier, VerifierList};
use tlog_tiles::Hash;

use super::key::{SigningKey, VerifierKey};
use super::notes::Notes;
use super::{Checkpoints, MAX_NOTE_BYTES, MAX_SIZE};

/// A statement, signed by a ledger, of the root hash over its first `size` entries: a [C2SP
/// checkpoint](https://c2sp.org/tlog-checkpoint). A value of this type has a verified signature.
///
/// A stored checkpoint reveals whether the ledger still contains the same entries.
#[derive(Clone, PartialEq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    note: String,
}

/// Why a checkpoint was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It is not a signed note with an origin, a size and a root.
    #[error("this is no checkpoint: a signed note with an origin, a size and a root")]
    Malformed,
    /// It exceeds the maximum size of a checkpoint.
    #[error("this is no checkpoint: it has more than {MAX_NOTE_BYTES} bytes")]
    TooLarge,
    /// An I/O error occurred.
    #[error("the checkpoints cannot be read: {kind}")]
    Unreadable {
        /// The kind of the I/O error.
        kind: io::ErrorKind,
    },
    /// None of the supplied keys signed it.
    #[error("the checkpoint of `{}` is signed by none of the keys given", .origin.escape_debug())]
    UnknownKey {
        /// The ledger's name in the checkpoint.
        origin: String,
    },
    /// It names a known key, but the signature is not that key's.
    #[error("the signature of the checkpoint is not that of the key it names")]
    Forged,
    /// Signing it failed.
    #[error("the checkpoint could not be signed")]
    Unsigned,
}

impl Checkpoint {
    /// The maximum size of a checkpoint with all its signatures, in bytes.
    pub const MAX_BYTES: u64 = MAX_NOTE_BYTES;

    /// Parses a checkpoint and verifies its signature with one of the keys, whose name must equal
    /// the checkpoint's origin. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// [`CheckpointError`] if the text is not a checkpoint, or none of the keys signed it.
    pub fn verify(note: &str, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        if note.len() as u64 > MAX_NOTE_BYTES {
            return Err(CheckpointError::Malformed);
        }
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        let head = tlog_tiles::Checkpoint::from_bytes(parsed.text())
            .map_err(|_| CheckpointError::Malformed)?;
        if head.size() > MAX_SIZE {
            return Err(CheckpointError::Malformed);
        }
        let known = keys.iter().filter(|key| key.origin() == head.origin());
        let known: Vec<Box<dyn Verifier>> = known
            .map(|key| Box::new(key.verifier()) as Box<dyn Verifier>)
            .collect();
        match parsed.verify(&VerifierList::new(known)) {
            Ok(_) => Ok(Self {
                origin: head.origin().to_owned(),
                size: head.size(),
                root: *head.hash(),
                note: note.to_owned(),
            }),
            Err(signed_note::NoteError::UnverifiedNote) => Err(CheckpointError::UnknownKey {
                origin: head.origin().to_owned(),
            }),
            Err(_) => Err(CheckpointError::Forged),
        }
    }

    /// Reads a sequence of checkpoints separated by blank lines, as
    /// [`CheckpointFile`](crate::CheckpointFile) writes them. Holds only one of them in memory,
    /// whatever the input contains.
    ///
    /// ```no_run
    /// # let keys = [];
    /// use std::fs::File;
    /// use std::io::BufReader;
    /// use spanner_ledger::Checkpoint;
    ///
    /// let file = BufReader::new(File::open("/mnt/other/spanner")?);
    /// for checkpoint in Checkpoint::read(file, &keys) {
    ///     println!("{}", checkpoint?.size());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read<R: BufRead>(reader: R, keys: &[VerifierKey]) -> Checkpoints<R> {
        Checkpoints::of(reader, keys)
    }

    /// Returns the last note in a text, if there is one. It has the form of a checkpoint, but
    /// **its signature is not verified**. Intended for
    /// [`CheckpointSink::newest`](crate::CheckpointSink::newest), whose result the ledger
    /// verifies.
    ///
    /// # Errors
    /// [`CheckpointError`] if the text exceeds the maximum size, or the last note is not a
    /// checkpoint.
    pub fn last_unverified(text: &str) -> Result<Option<String>, CheckpointError> {
        let note = Notes::of(text.as_bytes()).last().transpose()?;
        match &note {
            Some(note) if Self::verify(note, &[]) == Err(CheckpointError::Malformed) => {
                Err(CheckpointError::Malformed)
            }
            _ => Ok(note),
        }
    }

    /// Reads all checkpoints of a text; see [`Checkpoint::read`].
    ///
    /// # Errors
    /// The [`CheckpointError`] of the first one that is malformed or not signed by one of the
    /// keys.
    pub fn verify_all(text: &str, keys: &[VerifierKey]) -> Result<Vec<Self>, CheckpointError> {
        Self::read(text.as_bytes(), keys).collect()
    }

    pub(crate) fn sign(key: &SigningKey, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        let unsigned = |_| CheckpointError::Unsigned;
        let head = tlog_tiles::Checkpoint::new(key.origin(), size, root, "");
        let head = head.map_err(|_| CheckpointError::Unsigned)?;
        let mut note = Note::new(&head.to_bytes(), &[]).map_err(unsigned)?;
        note.add_sigs(&[key.signer()]).map_err(unsigned)?;
        let note = String::from_utf8(note.to_bytes()).map_err(|_| CheckpointError::Unsigned)?;
        Ok(Self {
            origin: key.origin().to_owned(),
            size,
            root,
            note,
        })
    }

    /// The ledger's name (its origin).
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of entries that it covers: those with sequences below this number.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root hash of the tree over these entries (SHA-256).
    #[must_use]
    pub const fn root(&self) -> [u8; 32] {
        self.root.0
    }

    /// The text of the signed note, for storage or transfer.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    pub(crate) const fn hash(&self) -> Hash {
        self.root
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("origin", &self.origin)
            .field("size", &self.size)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate("example.com/ledger").unwrap()
    }

    fn signed(key: &SigningKey, size: u64) -> Checkpoint {
        Checkpoint::sign(key, size, Hash([7; 32])).unwrap()
    }

    #[test]
    fn reads_back_a_signed_checkpoint() {
        let key = key();
        let keys = [key.verifier().clone()];
        let checkpoint = signed(&key, 42);
        assert_eq!(Checkpoint::verify(checkpoint.note(), &keys), Ok(checkpoint));
    }

    #[test]
    fn splits_a_file_into_its_checkpoints() {
        let key = key();
        let keys = [key.verifier().clone()];
        let text: String = (1..4).map(|size| signed(&key, size).note + "\n").collect();
        let sizes = Checkpoint::verify_all(&text, &keys).unwrap();
        let sizes: Vec<_> = sizes.iter().map(Checkpoint::size).collect();
        assert_eq!(sizes, [1, 2, 3]);
        let cut: String = text.chars().take(text.chars().count() - 60).collect();
        assert!(Checkpoint::verify_all(&cut, &keys).is_err());
    }

    #[test]
    fn detects_every_flipped_bit() {
        let key = key();
        let keys = [key.verifier().clone()];
        let checkpoint = signed(&key, 42);
        let note = checkpoint.note().as_bytes();
        for bit in 0..8 * note.len() {
            let mut note = note.to_vec();
            note[bit / 8] ^= 1 << (bit % 8);
            let text = String::from_utf8_lossy(&note);
            let read = Checkpoint::verify(&text, &keys);
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn distinguishes_an_unknown_key_from_a_forged_signature() {
        let (key, other) = (key(), key());
        let checkpoint = signed(&other, 42);
        let stranger = Checkpoint::verify(checkpoint.note(), &[key.verifier().clone()]);
        assert!(matches!(stranger, Err(CheckpointError::UnknownKey { .. })));
        let forged = checkpoint.note().replace("\n42\n", "\n43\n");
        let forged = Checkpoint::verify(&forged, &[other.verifier().clone()]);
        assert_eq!(forged, Err(CheckpointError::Forged));
    }

    #[test]
    fn refuses_malformed_checkpoints() {
        let key = key();
        let keys = [key.verifier().clone()];
        let note = signed(&key, 42).note;
        let rows = [
            String::new(),
            "\n".to_owned(),
            note.replace("\n42\n", "\n042\n"),
            note.replace("\n42\n", "\n-1\n"),
            note.replace("\n42\n", "\n99999999999999999999\n"),
            note.replace("\n42\n", "\n18446744073709551615\n"),
            note.replacen("\n\n", "\n", 1),
            "x".repeat(70_000),
        ];
        for row in rows {
            let read = Checkpoint::verify(&row, &keys);
            assert_eq!(read, Err(CheckpointError::Malformed), "{row}");
        }
    }
}
