//! One verification of a ledger.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use spanner_core::RecordId;
use tlog_tiles::{Hash, check_tree, prove_record, prove_tree};

use super::Verification;
use crate::acknowledge::spans;
use crate::entry::{Entry, Event};
use crate::error::ReadError;
use crate::evidence::{
    Checkpoint, Expected, Follower, Leaves, Tree, VerifierKey, empty_leaf, keys_in, leaf, newest,
    tiles,
};
use crate::files::Files;
use crate::head::Head;
use crate::lost::{self, Span};
use crate::recovery::UNCOMPARED;
use crate::retention::PRUNED;
use crate::scan::{Stored, Walk, kept_name};

/// The state of one verification.
pub(super) struct Check<'a> {
    files: &'a Arc<dyn Files>,
    found: &'a mut Verification,
    walk: Walk,
    follower: Follower,
    leaves: Leaves,
    expected: Expected,
    local: Checkpoint,
    open: HashSet<RecordId>,
    /// The tree over the entries that survived pruning.
    survivors: Tree,
    /// The root of that tree according to the last `ledger.pruned`.
    declared_root: Option<String>,
    /// The entries that an entry in the ledger declares as lost.
    declared: Vec<Span>,
    /// The first entry or tile that does not match.
    suspect: Option<ReadError>,
}

impl<'a> Check<'a> {
    pub(super) fn of(
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
            problem: "it is missing: no entry in this directory is signed".to_owned(),
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
            survivors: Tree::default(),
            declared_root: None,
            declared: Vec::new(),
            suspect: None,
        })
    }

    pub(super) fn run(mut self) -> Result<(), ReadError> {
        let earlier = self.expected.take_below(self.found.pruned);
        let read = self.read();
        self.found.open = self.open.len() as u64;
        read.map_err(|fault| self.earlier_of(fault))?;
        self.check_end()?;
        self.check_earlier(&earlier)?;
        self.check_survivors()?;
        // The signed root matches the entries, so the tiles are wrong.
        self.suspect.map_or(Ok(()), |suspect| {
            Err(match suspect {
                ReadError::Tampered { sequence } => ReadError::Evidence {
                    name: tiles::name(0, sequence / 256, 256),
                    problem: format!(
                        "the tile's hash of entry {sequence} is wrong, although the entries are those that were signed: remove the folder `tile`; opening the ledger creates it again"
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

    /// Adds the leaves of entries whose loss was acknowledged. The tiles still hold them, and the
    /// checkpoint's root covers them.
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
            // The entry that does not match its tile is the one that was changed.
            let suspect = self.suspect.take();
            let tampered = suspect.filter(|fault| matches!(fault, ReadError::Tampered { .. }));
            tampered.unwrap_or(ReadError::Forked { size, agreed })
        })
    }

    /// Returns the earlier fault. An entry before an unreadable one may have been changed as
    /// well. The tree reveals that if its root is the signed one.
    fn earlier_of(&mut self, fault: ReadError) -> ReadError {
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
                problem: "this tile does not match the entries, although the entries are those that were signed: remove the folder `tile`; opening the ledger creates it again".to_owned(),
            },
            Err(fault) => fault,
        };
        self.suspect.get_or_insert(fault);
    }

    /// Checks that all signed entries are present.
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

    /// Checks the shipped checkpoints that are smaller than the pruned part.
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

    /// Checks that all entries that must survive pruning are present.
    fn check_survivors(&self) -> Result<(), ReadError> {
        let kept = self.survivors.root().to_string();
        if self.found.pruned == 0 || self.declared_root.as_deref() == Some(&*kept) {
            return Ok(());
        }
        Err(ReadError::Evidence {
            name: kept_name(self.found.pruned),
            problem: "the file lacks entries that must survive pruning according to the entry `ledger.pruned`".to_owned(),
        })
    }

    fn note(&mut self, stored: &Stored, leaf: Hash) {
        if stored.sequence < self.found.pruned {
            self.survivors.push(leaf);
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
            self.declared_root = root.map(str::to_owned);
        }
    }
}

/// Whether the tile's hash of an entry is included in a checkpoint's root.
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
