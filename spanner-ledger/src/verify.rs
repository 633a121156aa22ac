//! Verifies offline, from files and public keys alone, that a ledger was not changed.
//!
//! 1. Every entry is read, hashed and compared with the Merkle tree. The tree is compared with
//!    the checkpoint in the directory and with shipped checkpoints.
//! 2. A [`Verdict`] classifies the result: a harmless crash, accidental damage, changed entries,
//!    a truncated end, or a forked history.
//! 3. Gaps and decisions without an outcome are counted. They record real failures and are not a
//!    fault of the ledger.
//! 4. Entries whose loss was acknowledged remain missing ([`Verdict::Acknowledged`]), provided
//!    that an entry in the tree lists them. No other fault is tolerated.
//!
//! # Caveats
//! Without a key and a checkpoint from elsewhere, a ledger is compared only with itself. An
//! attacker who can write to the whole directory, its key included, can forge a consistent
//! history.

mod check;

use std::sync::Arc;

use spanner_core::RecordId;
use tlog_tiles::{check_tree, prove_record, prove_tree};

use self::check::Check;
use crate::entry::Entry;
use crate::error::ReadError;
use crate::evidence::{
    Checkpoint, Consistency, Inclusion, Leaves, VerifierKey, keys_in, leaf, newest, tiles,
};
use crate::lost::Missing;
use crate::reader::Reader;
use crate::scan::{Stored, Walk};

/// The result of verifying a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// All signed entries are unchanged; see [`Verification::unsigned`].
    Clean,
    /// All signed entries are unchanged, and the ledger ends in an incomplete write. A crash
    /// leaves such bytes, which were never acknowledged. Above the checkpoint, they are
    /// indistinguishable from damage.
    TornTail,
    /// Entries are missing, and an operator acknowledged the loss ([`Builder::acknowledge`]). All
    /// other signed entries are unchanged.
    ///
    /// [`Builder::acknowledge`]: crate::Builder::acknowledge
    Acknowledged,
    /// Bytes are damaged, and checksums reveal it. Typically an accident.
    Corrupt,
    /// Entries are missing in the middle: a segment was removed or truncated.
    Missing,
    /// An entry was changed, moved, removed or inserted, with a valid checksum.
    Tampered,
    /// The end was truncated, or the whole ledger was reverted: a checkpoint covers more entries.
    MissingTail,
    /// The entries differ from those that a checkpoint covers.
    Forked,
    /// The checkpoint, a key or a tile is missing or damaged. No fault in the entries is known.
    Evidence,
    /// A file could not be read.
    Unreadable,
}

/// The findings of a verification.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// The overall result.
    pub verdict: Verdict,
    /// The first fault, with its location.
    pub fault: Option<ReadError>,
    /// The number of entries read.
    pub entries: u64,
    /// The sequence after the last entry, if all of them could be read.
    pub end: Option<u64>,
    /// Decisions without an outcome. While a service writes, these are open requests.
    pub open: u64,
    /// The number of recorded storage failures ([`Gap`](crate::Gap)).
    pub gaps: u64,
    /// The number of entries in a newer format.
    pub unknown: u64,
    /// The sequence below which entries were pruned, except for those that must survive.
    pub pruned: u64,
    /// The number of entries that the checkpoint in the directory covers, if there is a valid
    /// one.
    pub signed: Option<u64>,
    /// The number of bytes of an incomplete write at the end.
    pub torn_bytes: u64,
    /// Entries that are missing or unreadable.
    pub missing: Vec<Missing>,
    /// The number of entries that the ledger had when it was last opened without a checkpoint to
    /// compare them with; entries may have been removed before that without a trace. 0 if that
    /// never happened.
    pub uncompared: u64,
}

impl Verdict {
    /// The verdict as one stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::TornTail => "torn_tail",
            Self::Acknowledged => "acknowledged",
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
            Self::Tampered => "tampered",
            Self::MissingTail => "missing_tail",
            Self::Forked => "forked",
            Self::Evidence => "evidence",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether the verdict is `Clean` or `TornTail`.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        matches!(self, Self::Clean | Self::TornTail)
    }

    const fn of(fault: &ReadError) -> Self {
        match fault {
            ReadError::Corrupt { .. } | ReadError::Misnamed { .. } => Self::Corrupt,
            ReadError::Missing { .. } => Self::Missing,
            ReadError::Tampered { .. } => Self::Tampered,
            ReadError::Cut { .. } => Self::MissingTail,
            ReadError::Forked { .. } => Self::Forked,
            ReadError::Evidence { .. } => Self::Evidence,
            ReadError::Io { .. }
            | ReadError::Unknown { .. }
            | ReadError::NoEntry { .. }
            | ReadError::NotYetSigned { .. }
            | ReadError::Export { .. } => Self::Unreadable,
        }
    }
}

impl Verification {
    /// The first entry that is changed, missing or known to be in doubt.
    #[must_use]
    pub const fn first_bad(&self) -> Option<u64> {
        match &self.fault {
            Some(fault) => fault.first_bad(),
            None => None,
        }
    }

    /// The number of entries above the checkpoint in the directory, which no signature covers
    /// yet. At most one second's worth while a service writes.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        let end = self.end.unwrap_or_default();
        end.saturating_sub(self.signed.unwrap_or_default())
    }
}

/// The findings for a ledger that cannot be opened for reading.
impl From<ReadError> for Verification {
    fn from(fault: ReadError) -> Self {
        Self {
            verdict: Verdict::of(&fault),
            fault: Some(fault),
            ..Self::begin()
        }
    }
}

impl Verification {
    const fn begin() -> Self {
        Self {
            verdict: Verdict::Clean,
            fault: None,
            entries: 0,
            end: None,
            open: 0,
            gaps: 0,
            unknown: 0,
            pruned: 0,
            signed: None,
            torn_bytes: 0,
            missing: Vec::new(),
            uncompared: 0,
        }
    }
}

impl Reader {
    /// The verifier keys stored in the ledger's directory, the current one last. To avoid
    /// trusting the directory, obtain the keys from elsewhere.
    ///
    /// # Errors
    /// [`ReadError`] if they cannot be read.
    pub fn keys(&self) -> Result<Vec<VerifierKey>, ReadError> {
        keys_in(&**self.files())
    }

    /// The checkpoint stored in the directory.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read, or is not signed by a key in the directory.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, ReadError> {
        newest(&**self.files(), &self.keys()?)
    }

    /// Verifies the ledger against its own checkpoint and keys; see [`Reader::verify_against`].
    #[must_use]
    pub fn verify(&self) -> Verification {
        self.verify_against(&[], &[])
    }

    /// Verifies the ledger against its Merkle tree, its checkpoint and shipped checkpoints. If
    /// `keys` is empty, uses the keys in the ledger's directory.
    ///
    /// Reads the whole ledger. Memory is bounded except for the identifiers of decisions without
    /// an outcome.
    #[must_use]
    pub fn verify_against(&self, keys: &[VerifierKey], shipped: &[Checkpoint]) -> Verification {
        let mut found = Verification::begin();
        let checked = Check::of(self.files(), keys, shipped, &mut found);
        found.fault = checked.and_then(Check::run).err();
        if let Some(fault) = &found.fault
            && fault.first_bad().is_some()
        {
            found.missing = self.missing(found.signed);
        }
        found.verdict = match &found.fault {
            Some(fault) => Verdict::of(fault),
            None if !found.missing.is_empty() => Verdict::Acknowledged,
            None if found.torn_bytes > 0 => Verdict::TornTail,
            None => Verdict::Clean,
        };
        found
    }

    /// Like [`verify_against`](Self::verify_against), for any number of checkpoints. Reads the
    /// ledger once per 100,000 checkpoints and holds at most that many in memory. Stops at the
    /// first verification that is not sound. Returns the last verification and the number of
    /// checkpoints compared.
    ///
    /// # Errors
    /// The first error that the iterator yields.
    pub fn verify_against_all<E>(
        &self,
        keys: &[VerifierKey],
        mut shipped: impl Iterator<Item = Result<Checkpoint, E>>,
    ) -> Result<(Verification, usize), E> {
        let mut count = 0;
        loop {
            let some = shipped.by_ref().take(MAX_CHECKPOINTS);
            let some: Vec<Checkpoint> = some.collect::<Result<_, _>>()?;
            let found = self.verify_against(keys, &some);
            count += some.len();
            if some.len() < MAX_CHECKPOINTS || !found.verdict.is_sound() {
                return Ok((found, count));
            }
        }
    }

    /// The missing entries of a ledger of which `signed` entries were signed, as far as they can
    /// be determined.
    fn missing(&self, signed: Option<u64>) -> Vec<Missing> {
        let Ok(mut walk) = Walk::partial(self.files()) else {
            return Vec::new();
        };
        while let Ok(Some(_)) = walk.step() {}
        walk.missing_of(signed.unwrap_or(0))
    }

    /// The sequences of a record's entries: its decision and, if it has ended, its outcome.
    ///
    /// # Errors
    /// [`ReadError`] if the ledger is damaged or cannot be read.
    pub fn sequences_of(&self, id: RecordId) -> Result<Vec<u64>, ReadError> {
        let mut found = Vec::new();
        for numbered in self.entries()? {
            let numbered = match numbered {
                Err(ReadError::Unknown { .. }) => continue,
                numbered => numbered?,
            };
            let is_its = match &numbered.entry {
                Entry::Decision(decision) => decision.id == id,
                Entry::Outcome(outcome) => outcome.id == id,
                Entry::Gap(_) | Entry::Count(_) | Entry::Event(_) => false,
            };
            if is_its {
                found.push(numbered.sequence);
            }
        }
        Ok(found)
    }

    /// Proves that an entry is in the ledger, for the checkpoint in the directory or an earlier
    /// one.
    ///
    /// # Errors
    /// [`ReadError`] if there is no such entry, if the checkpoint does not cover it, or if the
    /// stored tree does not prove it.
    pub fn prove(&self, sequence: u64, at: &Checkpoint) -> Result<Inclusion, ReadError> {
        let (size, have) = (at.size(), self.tree_size(at)?);
        if sequence >= size {
            return Err(ReadError::NotYetSigned { sequence, size });
        }
        let stored = self.stored(sequence)?;
        let tree = tiles::Stored::of(self.files(), have);
        let leaf = leaf(&stored);
        if !Leaves::of(Arc::clone(self.files()), have).has(sequence, leaf)? {
            return Err(ReadError::Tampered { sequence });
        }
        let hashes = prove_record(size, sequence, &tree).map_err(|fault| tree.fault(&fault))?;
        tlog_tiles::check_record(&hashes, size, at.hash(), sequence, leaf)
            .map_err(|_| ReadError::Forked { size, agreed: 0 })?;
        let entry = if stored.uncertain {
            Vec::new()
        } else {
            stored.payload
        };
        let entry = String::from_utf8(entry).map_err(|_| ReadError::Tampered { sequence })?;
        Ok(Inclusion::of(sequence, entry, &hashes, at))
    }

    /// Proves that the ledger of the larger checkpoint begins with the ledger of the smaller one.
    ///
    /// # Errors
    /// [`ReadError::Forked`] if it does not; other variants if the tree cannot be read.
    pub fn consistency(
        &self,
        from: &Checkpoint,
        to: &Checkpoint,
    ) -> Result<Consistency, ReadError> {
        let (from, to) = if from.size() <= to.size() {
            (from, to)
        } else {
            (to, from)
        };
        let hashes = match from.size() {
            0 => Vec::new(),
            earlier => {
                let tree = tiles::Stored::of(self.files(), self.tree_size(to)?);
                prove_tree(to.size(), earlier, &tree).map_err(|fault| tree.fault(&fault))?
            }
        };
        let (size, agreed) = (from.size(), 0);
        if size > 0 {
            check_tree(&hashes, to.size(), to.hash(), size, from.hash())
                .map_err(|_| ReadError::Forked { size, agreed })?;
        }
        Ok(Consistency::of(from, to, &hashes))
    }

    /// The size of the stored tree. Fails if the checkpoint covers more.
    fn tree_size(&self, at: &Checkpoint) -> Result<u64, ReadError> {
        let have = self.checkpoint()?.as_ref().map_or(0, Checkpoint::size);
        let (entries, signed) = (have, at.size());
        match have < signed {
            true => Err(ReadError::Cut { entries, signed }),
            false => Ok(have),
        }
    }

    fn stored(&self, sequence: u64) -> Result<Stored, ReadError> {
        let mut walk = Walk::from(Arc::clone(self.files()), sequence)?;
        while let Some(stored) = walk.step()? {
            if stored.sequence == sequence {
                return Ok(stored);
            }
            if stored.sequence > sequence {
                break;
            }
        }
        Err(ReadError::NoEntry { sequence })
    }
}

/// Slightly more than one day of checkpoints at one per second, and about 40 MiB of memory.
const MAX_CHECKPOINTS: usize = 100_000;
