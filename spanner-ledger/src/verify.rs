//! Whether a ledger is what it was: offline, from its files and public keys alone.
//!
//! 1. Every entry is read, hashed, and held against the tree, and the tree against the
//!    checkpoint in the directory and those that were shipped.
//! 2. What is found is told apart ([`Verdict`]): a benign end of a crash, damage by accident,
//!    entries changed by somebody, a cut end, another history.
//! 3. Gaps and open decisions are counted. They are what happened, not a fault of the ledger.
//! 4. Entries whose loss was acknowledged stay missing ([`Verdict::Acknowledged`]), if an entry
//!    under the tree says so; of the rest nothing else is forgiven.
//!
//! # Caveats
//! Without a key from elsewhere, and without a checkpoint from elsewhere, a ledger is compared
//! with itself: whoever can write the whole directory, its key included, can write another
//! history that agrees with itself.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use spanner_core::RecordId;
use tlog_tiles::{Hash, check_tree, prove_record, prove_tree};

use crate::acknowledge::spans;
use crate::entry::{Entry, Event};
use crate::error::ReadError;
use crate::evidence::{
    Checkpoint, Consistency, Expected, Follower, Inclusion, Leaves, Tree, VerifierKey, empty_leaf,
    keys_in, leaf, newest, tiles,
};
use crate::files::Files;
use crate::head::Head;
use crate::lost::{self, Missing, Span};
use crate::reader::Reader;
use crate::recovery::UNCOMPARED;
use crate::retention::PRUNED;
use crate::scan::{Stored, Walk, kept_name};

/// What a ledger is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// What it was, to the last byte that is signed; see [`Verification::unsigned`].
    Clean,
    /// What it was, and unfinished bytes at the end. A crash leaves such, which were never
    /// acknowledged; above the checkpoint they cannot be told from damage.
    TornTail,
    /// Entries are missing, and somebody acknowledged that ([`Builder::acknowledge`]); what is
    /// there is what was signed.
    ///
    /// [`Builder::acknowledge`]: crate::Builder::acknowledge
    Acknowledged,
    /// Bytes are not what they were; nobody took the trouble to hide it.
    Corrupt,
    /// Entries are missing in the middle: a segment was removed or cut.
    Missing,
    /// An entry was changed, moved, removed or put in, and made to look whole.
    Tampered,
    /// The end was cut off, or the whole set back: a checkpoint covers more.
    MissingTail,
    /// It holds another history than a checkpoint says.
    Forked,
    /// The checkpoint, a key or a tile is missing or damaged. The entries are not at fault so
    /// far as can be told.
    Evidence,
    /// A file could not be read.
    Unreadable,
}

/// What verifying a ledger found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// What it is.
    pub verdict: Verdict,
    /// What is wrong, with the first place where it is.
    pub fault: Option<ReadError>,
    /// Entries read.
    pub entries: u64,
    /// The sequence after the last entry, if all of them could be read.
    pub end: Option<u64>,
    /// Decisions without an outcome: open requests, while the ledger is written.
    pub open: u64,
    /// Failures of the storage that were noted.
    pub gaps: u64,
    /// Entries that a newer version wrote.
    pub unknown: u64,
    /// Entries below this were pruned, but for those that must be kept.
    pub pruned: u64,
    /// How many entries the checkpoint in the directory covers, if there is one that can be
    /// believed.
    pub signed: Option<u64>,
    /// Unfinished bytes at the end.
    pub torn_bytes: u64,
    /// Entries that are not there, or cannot be read.
    pub missing: Vec<Missing>,
    /// How many entries stood there when the ledger was opened without any checkpoint to hold
    /// them against: whether there had been more of them cannot be told. 0 if that never was so.
    pub uncompared: u64,
}

impl Verdict {
    /// One stable word.
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

    /// Whether nothing is wrong: clean, or a torn tail.
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
    /// The first entry that is not what was stored, missing, or known to be in doubt.
    #[must_use]
    pub const fn first_bad(&self) -> Option<u64> {
        match &self.fault {
            Some(fault) => fault.first_bad(),
            None => None,
        }
    }

    /// How many entries stand above the checkpoint in the directory, so that nothing that is
    /// signed vouches for them yet: a second's, of a ledger that is written.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        let end = self.end.unwrap_or_default();
        end.saturating_sub(self.signed.unwrap_or_default())
    }
}

/// Of a ledger that cannot even be opened for reading.
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
    /// The verifier keys that stand beside the ledger, the one in use last. Whoever does not
    /// trust the directory takes them from elsewhere.
    ///
    /// # Errors
    /// [`ReadError`] if they cannot be read.
    pub fn keys(&self) -> Result<Vec<VerifierKey>, ReadError> {
        keys_in(&**self.files())
    }

    /// The checkpoint that stands in the directory.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read or its signature is not that of a key beside it.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, ReadError> {
        newest(&**self.files(), &self.keys()?)
    }

    /// Verifies the ledger against itself; see [`Reader::verify_against`].
    #[must_use]
    pub fn verify(&self) -> Verification {
        self.verify_against(&[], &[])
    }

    /// Verifies the ledger against its tree and its checkpoint, and against checkpoints that
    /// were shipped. Without keys it takes those beside the ledger.
    ///
    /// Reads all of it, in bounded memory but for the identifiers of open decisions.
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

    /// As [`verify_against`](Self::verify_against), against any number of checkpoints: the ledger is
    /// read once for every 100,000 of them, and no more are in memory. Ends with the first
    /// verification that is not sound. Returns it with the number of checkpoints so far.
    ///
    /// # Errors
    /// The error of the first checkpoint that cannot be had.
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

    /// What is not there of entries of which so many were signed, as far as that can be read.
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
    /// [`ReadError`] if something is damaged or cannot be read.
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

    /// Proves that an entry stands in the ledger, against a checkpoint: that in the directory,
    /// or an earlier one.
    ///
    /// # Errors
    /// [`ReadError`] if there is no such entry, if the checkpoint does not cover it, or if
    /// what is there does not prove it.
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

    /// Proves that the ledger of a later checkpoint begins with that of an earlier one.
    ///
    /// # Errors
    /// [`ReadError::Forked`] if it does not; others if the tree cannot be read.
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

    /// The size of the tree on the disk, which must be at least as large as the one asked for.
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

/// One going over a ledger.
struct Check<'a> {
    files: &'a Arc<dyn Files>,
    found: &'a mut Verification,
    walk: Walk,
    follower: Follower,
    leaves: Leaves,
    expected: Expected,
    local: Checkpoint,
    open: HashSet<RecordId>,
    /// Over what is kept of the entries that were pruned.
    kept: Tree,
    /// What the last `ledger.pruned` says of it.
    said: Option<String>,
    /// The entries of which an entry says that they are lost.
    declared: Vec<Span>,
    /// The first entry, or tile, that does not fit.
    suspect: Option<ReadError>,
}

impl<'a> Check<'a> {
    fn of(
        files: &'a Arc<dyn Files>,
        keys: &[VerifierKey],
        shipped: &[Checkpoint],
        found: &'a mut Verification,
    ) -> Result<Self, ReadError> {
        let beside;
        let keys = match keys {
            [] => {
                beside = keys_in(&**files)?;
                &beside
            }
            keys => keys,
        };
        let local = newest(&**files, keys)?.ok_or_else(|| ReadError::Evidence {
            name: "checkpoint".to_owned(),
            problem: "it is missing: nothing here is signed".to_owned(),
        })?;
        found.signed = Some(local.size());
        let walk = Walk::new(files)?;
        found.pruned = walk.pruned();
        let tree = match walk.pruned() {
            0 => Tree::default(),
            pruned => tiles::edge(&**files, local.size(), pruned)?,
        };
        let roots = shipped.iter().chain([&local]);
        Ok(Self {
            files,
            found,
            walk,
            follower: Follower::of(tree),
            leaves: Leaves::of(Arc::clone(files), local.size()),
            expected: Expected::of(roots.map(|root| (root.size(), root.hash()))),
            local,
            open: HashSet::new(),
            kept: Tree::default(),
            said: None,
            declared: Vec::new(),
            suspect: None,
        })
    }

    fn run(mut self) -> Result<(), ReadError> {
        let earlier = self.expected.take_below(self.found.pruned);
        let read = self.read();
        self.found.open = self.open.len() as u64;
        read.map_err(|fault| self.sooner(fault))?;
        self.check_end()?;
        self.check_earlier(&earlier)?;
        self.check_kept()?;
        // The entries are those that were signed; so it is the tiles that are wrong.
        self.suspect.map_or(Ok(()), |suspect| {
            Err(match suspect {
                ReadError::Tampered { sequence } => ReadError::Evidence {
                    name: tiles::name(0, sequence / 256, 256),
                    problem: format!(
                        "the tile's hash of entry {sequence} is wrong, and the entries are those that were signed: remove the folder `tile`, and opening the ledger makes it anew"
                    ),
                },
                suspect => suspect,
            })
        })
    }

    fn read(&mut self) -> Result<(), ReadError> {
        while let Some(stored) = self.walk.step()? {
            self.found.entries += 1;
            let (sequence, leaf) = (stored.sequence, leaf(&stored));
            self.grow_past_lost(sequence)?;
            self.note(&stored, leaf);
            match self.leaves.has(sequence, leaf) {
                Ok(true) => {}
                Ok(false) => {
                    self.suspect.get_or_insert(ReadError::Tampered { sequence });
                }
                Err(fault) => {
                    self.suspect.get_or_insert(fault);
                }
            }
            self.grow(sequence, leaf)?;
        }
        self.found.end = Some(self.walk.next());
        let tail = self.walk.tail();
        self.found.torn_bytes = tail.map_or(0, |tail| tail.torn);
        if let Some(fault) = lost::undeclared(self.walk.gaps(), &self.declared) {
            return Err(fault);
        }
        self.found.missing = self.walk.gaps().to_vec();
        Ok(())
    }

    /// Of entries whose loss was acknowledged the tree has the leaves, which the root of the
    /// checkpoint vouches for.
    fn grow_past_lost(&mut self, sequence: u64) -> Result<(), ReadError> {
        loop {
            let at = self.follower.tree.size();
            if at >= sequence || !self.walk.is_lost(at) {
                return Ok(());
            }
            let signed = match at < self.local.size() {
                true => self.leaves.at(at).unwrap_or_default(),
                false => None,
            };
            self.grow(at, signed.unwrap_or_else(empty_leaf))?;
        }
    }

    fn grow(&mut self, sequence: u64, leaf: Hash) -> Result<(), ReadError> {
        for tile in self.follower.take(sequence, leaf) {
            if tile.level > 0 {
                self.check_tile(tile.level, tile.index, &tile.hashes);
            }
        }
        if self.follower.tree.size() == self.local.size() {
            let partial: Vec<_> = self.follower.tree.partial().collect();
            let partial: Vec<_> = partial
                .into_iter()
                .filter(|(level, ..)| *level > 0)
                .map(|(level, index, hashes)| (level, index, hashes.to_vec()))
                .collect();
            for (level, index, hashes) in partial {
                self.check_tile(level, index, &hashes);
            }
        }
        let agreed = self.expected.agreed;
        let checked = self.expected.check(&self.follower.tree);
        checked.map_err(|size| {
            // The entry that does not fit its tile is the one that was changed.
            let suspect = self.suspect.take();
            let tampered = suspect.filter(|fault| matches!(fault, ReadError::Tampered { .. }));
            tampered.unwrap_or(ReadError::Forked { size, agreed })
        })
    }

    /// What is wrong first. Where entries cannot be read on, those before may have been changed
    /// all the same, and the tree says so if it is the one that was signed.
    fn sooner(&mut self, fault: ReadError) -> ReadError {
        let suspect = self.suspect.take_if(|suspect| match suspect {
            ReadError::Tampered { sequence } => {
                fault.first_bad().is_none_or(|bad| *sequence < bad)
                    && is_signed(self.files, &self.local, *sequence)
            }
            _ => false,
        });
        suspect.unwrap_or(fault)
    }

    fn check_tile(&mut self, level: u8, index: u64, hashes: &[Hash]) {
        let signed = tiles::read(&**self.files, self.local.size(), level, index);
        let fault = match signed {
            Ok(signed) if signed.get(..hashes.len()) == Some(hashes) => return,
            Ok(_) => ReadError::Evidence {
                name: tiles::name(level, index, hashes.len()),
                problem: "this tile of the tree is not that of the entries, which are those that were signed: remove the folder `tile`, and opening the ledger makes it anew".to_owned(),
            },
            Err(fault) => fault,
        };
        self.suspect.get_or_insert(fault);
    }

    /// Whether all is there that was signed.
    fn check_end(&mut self) -> Result<(), ReadError> {
        let entries = self.walk.next();
        let Some(signed) = self.expected.unreached() else {
            return Ok(());
        };
        let cut_short = |fault: &ReadError| matches!(fault, ReadError::Tampered { .. });
        if let Some(suspect) = self.suspect.take_if(|fault| cut_short(fault)) {
            return Err(suspect);
        }
        match self.walk.tail() {
            Some(tail) if tail.torn > 0 => Err(tail.corrupt(entries)),
            _ => Err(ReadError::Cut { entries, signed }),
        }
    }

    /// What was shipped before the pruned entries went.
    fn check_earlier(&self, earlier: &[(u64, Hash)]) -> Result<(), ReadError> {
        let (have, root) = (self.local.size(), self.local.hash());
        for (size, expected) in earlier.iter().copied().filter(|(size, _)| *size > 0) {
            let tree = tiles::Stored::of(self.files, have);
            let hashes = prove_tree(have, size, &tree).map_err(|fault| tree.fault(&fault))?;
            let agreed = 0;
            check_tree(&hashes, have, root, size, expected)
                .map_err(|_| ReadError::Forked { size, agreed })?;
        }
        Ok(())
    }

    /// Whether all is there that was to be kept.
    fn check_kept(&self) -> Result<(), ReadError> {
        let kept = self.kept.root().to_string();
        if self.found.pruned == 0 || self.said.as_deref() == Some(&*kept) {
            return Ok(());
        }
        Err(ReadError::Evidence {
            name: kept_name(self.found.pruned),
            problem: "this is not all that the entry `ledger.pruned` says was kept".to_owned(),
        })
    }

    fn note(&mut self, stored: &Stored, leaf: Hash) {
        if stored.sequence < self.found.pruned {
            self.kept.push(leaf);
        }
        match Head::of(&stored.payload) {
            Head::Decision(id) => {
                self.open.insert(id);
            }
            Head::Outcome(id) => {
                self.open.remove(&id);
            }
            Head::Gap => self.found.gaps += 1,
            Head::External(_) | Head::Count => {}
            Head::Event => self.note_event(&stored.payload),
            Head::Unknown => self.found.unknown += 1,
        }
    }

    fn note_event(&mut self, payload: &[u8]) {
        self.declared.extend(spans(payload));
        let Ok(Entry::Event(event)) = serde_json::from_slice(payload) else {
            return;
        };
        if event.event == "ledger.opened"
            && let Some(entries) = member(&event, UNCOMPARED).and_then(Value::as_u64)
        {
            self.found.uncompared = self.found.uncompared.max(entries);
        }
        let of_these = member(&event, "before") == Some(&self.found.pruned.into());
        if event.event == PRUNED && of_these {
            let root = member(&event, "kept_root").and_then(Value::as_str);
            self.said = root.map(str::to_owned);
        }
    }
}

/// Whether the tile's hash of an entry is under the root of a checkpoint.
fn is_signed(files: &Arc<dyn Files>, at: &Checkpoint, sequence: u64) -> bool {
    let size = at.size();
    let tree = tiles::Stored::of(files, size);
    let proof = prove_record(size, sequence, &tree);
    let leaf = Leaves::of(Arc::clone(files), size).at(sequence);
    match (proof, leaf) {
        (Ok(proof), Ok(Some(leaf))) => {
            tlog_tiles::check_record(&proof, size, at.hash(), sequence, leaf).is_ok()
        }
        _ => false,
    }
}

fn member<'a>(event: &'a Event, name: &str) -> Option<&'a Value> {
    event.body.get(name)
}

/// A bit more than a day's; some 40 MiB.
const MAX_CHECKPOINTS: usize = 100_000;
