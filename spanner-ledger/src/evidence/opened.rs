//! The keys, checkpoints and tree of a ledger that is being opened.

use std::io;
use std::sync::Arc;

use super::VerifierKey;
use super::follower::{Expected, Follower, Leaves, leaf};
use super::tree::Tree;
use super::{CHECKPOINT, Checkpoint, KEY, KeyError, MAX_NOTE_BYTES, SigningKey, VKEY};
use super::{put, read, tiles};
use crate::error::ReadError;
use crate::files::Files;
use crate::scan::{Stored, Walk};

/// The signing key, the existing checkpoints, and the tree.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) key: SigningKey,
    /// The verifier keys: the current one and its predecessors.
    keys: Vec<VerifierKey>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The tree over the entries that the checkpoint covers; empty if its tiles are damaged.
    pub(crate) tree: Tree,
    /// Checkpoints from outside the directory that the ledger must agree with.
    shipped: Vec<Checkpoint>,
    /// Whether a different key signed before.
    pub(crate) is_key_new: bool,
    /// Notes by other keys, found in the place of this ledger's note.
    pub(crate) foreign_notes: Vec<String>,
}

/// Compares the entries with the checkpoints while opening. Writes nothing: the checkpoint signer
/// writes the tree over unsigned entries.
#[derive(Debug)]
pub(crate) struct OpeningCheck {
    follower: Follower,
    leaves: Leaves,
    expected: Expected,
    /// Entries below this sequence are not checked.
    from: u64,
    /// Entries below this sequence are in the tree.
    have: u64,
    signed: u64,
}

impl Evidence {
    /// Reads the checkpoint and the right edge of the tree, and compares them.
    pub(crate) fn open(files: Arc<dyn Files>, key: SigningKey) -> Result<Self, ReadError> {
        let before = keys_in(&*files)?;
        if before.is_empty() && exists(&*files, CHECKPOINT)? {
            tracing::warn!("the ledger's file `vkey` is missing; writing it again from `key`");
        }
        let is_key_new = before.last().is_some_and(|before| before != key.verifier());
        if is_key_new {
            tracing::warn!(
                vkey = %key.verifier(),
                "the ledger's signing key changed: if this was intended, give the new verifier key to those who verify the ledger"
            );
        }
        let keys = listed(&files, before, &key)?;
        let checkpoint = newest(&*files, &keys)?;
        let size = checkpoint.as_ref().map_or(0, Checkpoint::size);
        let edge = tiles::edge(&*files, size, size);
        let tree = match (&checkpoint, edge) {
            (None, _) => Tree::default(),
            (Some(checkpoint), Ok(tree)) if tree.root() == checkpoint.hash() => tree,
            (Some(_), Err(fault @ ReadError::Io { .. })) => return Err(fault),
            (Some(checkpoint), _) => {
                tracing::warn!("the tiles of the ledger's tree are damaged; writing them again");
                recount(&files, checkpoint)?;
                Tree::default()
            }
        };
        Ok(Self {
            files,
            key,
            keys,
            checkpoint,
            tree,
            shipped: Vec::new(),
            is_key_new,
            foreign_notes: Vec::new(),
        })
    }

    /// Adds notes from outside the directory to the comparison. Notes of other ledgers are only
    /// remembered.
    pub(crate) fn expect_notes(&mut self, notes: Vec<String>) {
        for note in notes {
            match Checkpoint::verify(&note, &self.keys) {
                Ok(checkpoint) => self.shipped.push(checkpoint),
                Err(_) => self.foreign_notes.push(note),
            }
        }
    }

    /// Whether there is any checkpoint to compare the entries with.
    pub(crate) fn is_compared(&self) -> bool {
        self.checkpoint.is_some() || !self.shipped.is_empty()
    }

    /// The notes from outside the directory.
    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = self.shipped.iter().map(|it| it.note().to_owned());
        notes.chain(self.foreign_notes.iter().cloned()).collect()
    }

    /// The largest number of entries that any checkpoint covers.
    pub(crate) fn signed(&self) -> u64 {
        let shipped = self.shipped.iter().map(Checkpoint::size).max();
        self.size().max(shipped.unwrap_or(0))
    }

    /// Adds a shipped checkpoint to the comparison.
    pub(crate) fn expect(&mut self, note: &str) -> Result<(), ReadError> {
        let shipped = Checkpoint::verify(note, &self.keys);
        self.shipped
            .push(shipped.map_err(|fault| ReadError::Evidence {
                name: "a checkpoint that was shipped".to_owned(),
                problem: fault.to_string(),
            })?);
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, Checkpoint::size)
    }

    /// Starts comparing the entries.
    pub(crate) fn opening(&self, walk: &Walk) -> Result<OpeningCheck, ReadError> {
        let have = self.tree.size();
        let (below, above): (Vec<_>, Vec<_>) =
            (self.shipped.iter()).partition(|shipped| shipped.size() <= have);
        for shipped in below {
            if tiles::root(&self.files, have, shipped.size())? != shipped.hash() {
                let (size, agreed) = (shipped.size(), 0);
                return Err(ReadError::Forked { size, agreed });
            }
        }
        let above = above.iter().map(|shipped| (shipped.size(), shipped.hash()));
        Ok(OpeningCheck {
            follower: Follower::of(self.tree.clone()),
            leaves: Leaves::of(Arc::clone(&self.files), have),
            expected: Expected::of(above),
            from: walk.last_segment().min(have),
            have,
            signed: self.size(),
        })
    }
}

impl OpeningCheck {
    /// Compares the next entry.
    pub(crate) fn take(&mut self, stored: &Stored) -> Result<(), ReadError> {
        let signed = (self.from..self.have).contains(&stored.sequence);
        let awaited = stored.sequence >= self.have && self.expected.unreached().is_some();
        if !signed && !awaited {
            return Ok(());
        }
        let (sequence, leaf) = (stored.sequence, leaf(stored));
        if !self.leaves.has(sequence, leaf)? {
            return Err(ReadError::Tampered { sequence });
        }
        self.follower.take(sequence, leaf);
        let checked = self.expected.check(&self.follower.tree);
        checked.map_err(|size| ReadError::Forked {
            size,
            agreed: self.signed.min(size),
        })
    }

    /// Whether no checkpoint covers more than the entries compared.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.expected.unreached().is_none()
    }

    /// Checks that the ledger does not end too early.
    pub(crate) fn end(self, entries: u64) -> Result<(), ReadError> {
        let signed = self.expected.unreached().unwrap_or(0).max(self.signed);
        match entries < signed {
            true => Err(ReadError::Cut { entries, signed }),
            false => Ok(()),
        }
    }
}

/// Why there is no signing key.
#[derive(Debug)]
pub(crate) enum KeyFault {
    Key(KeyError),
    Io(io::Error),
}

/// Returns the ledger's key: the supplied one, the stored one, or a new one.
pub(crate) fn key(
    files: &dyn Files,
    given: Option<SigningKey>,
    origin: Option<&str>,
) -> Result<SigningKey, KeyFault> {
    if let Some(given) = given {
        return Ok(given);
    }
    if let Some(found) = key_in(files)? {
        return Ok(found);
    }
    let before = keys_in(files).unwrap_or_default();
    if let Some(before) = before.last() {
        tracing::warn!(
            origin = before.origin(),
            "the ledger's signing key is missing; generating a new one"
        );
    }
    let origin = match (origin, before.last()) {
        (Some(origin), _) => origin.to_owned(),
        (None, Some(before)) => before.origin().to_owned(),
        (None, None) => new_origin().map_err(KeyFault::Io)?,
    };
    let key = SigningKey::generate(&origin).map_err(KeyFault::Key)?;
    let text = format!("{}\n", key.secret_text());
    put(files, KEY, text.as_bytes()).map_err(KeyFault::Io)?;
    Ok(key)
}

/// The key in a ledger's directory, if there is one.
pub(crate) fn key_in(files: &dyn Files) -> Result<Option<SigningKey>, KeyFault> {
    let text = read(files, KEY, MAX_NOTE_BYTES).map_err(KeyFault::Io)?;
    let key = text.map(|text| SigningKey::from_text(&String::from_utf8_lossy(&text)));
    key.transpose().map_err(KeyFault::Key)
}

/// A random, unique origin.
fn new_origin() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(
        "spanner/ledger/{:016x}",
        u64::from_be_bytes(random)
    ))
}

/// Adds the current key to the verifier keys, last, and writes the list to the directory.
fn listed(
    files: &Arc<dyn Files>,
    mut keys: Vec<VerifierKey>,
    key: &SigningKey,
) -> Result<Vec<VerifierKey>, ReadError> {
    if keys.last() != Some(key.verifier()) {
        keys.retain(|known| known != key.verifier());
        keys.push(key.verifier().clone());
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        put(&**files, VKEY, text.as_bytes()).map_err(|source| tiles::failed(VKEY, source))?;
    }
    Ok(keys)
}

/// The verifier keys in a ledger's directory.
pub(crate) fn keys_in(files: &dyn Files) -> Result<Vec<VerifierKey>, ReadError> {
    let text = read(files, VKEY, MAX_NOTE_BYTES).map_err(|source| tiles::failed(VKEY, source))?;
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Result<Vec<VerifierKey>, _> = lines.map(str::parse).collect();
    keys.map_err(|fault| ReadError::Evidence {
        name: VKEY.to_owned(),
        problem: fault.to_string(),
    })
}

fn exists(files: &dyn Files, name: &str) -> Result<bool, ReadError> {
    let found = read(files, name, 0).map_err(|source| tiles::failed(name, source))?;
    Ok(found.is_some())
}

/// The verified checkpoint in a ledger's directory.
pub(crate) fn newest(
    files: &dyn Files,
    keys: &[VerifierKey],
) -> Result<Option<Checkpoint>, ReadError> {
    let note = read(files, CHECKPOINT, MAX_NOTE_BYTES)
        .map_err(|source| tiles::failed(CHECKPOINT, source))?;
    let Some(note) = note else {
        return Ok(None);
    };
    let lacks = |problem| ReadError::Evidence {
        name: CHECKPOINT.to_owned(),
        problem,
    };
    let note = String::from_utf8(note).map_err(|fault| lacks(fault.to_string()))?;
    let checkpoint = Checkpoint::verify(&note, keys);
    checkpoint
        .map(Some)
        .map_err(|fault| lacks(fault.to_string()))
}

/// Checks without tiles that the entries have the root of a checkpoint.
fn recount(files: &Arc<dyn Files>, checkpoint: &Checkpoint) -> Result<(), ReadError> {
    let mut follower = Follower::of(Tree::default());
    let mut walk = Walk::new(files)?;
    if walk.pruned() > 0 {
        return Err(ReadError::Evidence {
            name: "tile".to_owned(),
            problem: "the tiles are damaged, and the entries below them were pruned: restore the folder from a copy".to_owned(),
        });
    }
    let mut expected = Expected::of([(checkpoint.size(), checkpoint.hash())]);
    while follower.tree.size() < checkpoint.size() {
        let Some(stored) = walk.step()? else {
            let (entries, signed) = (walk.next(), checkpoint.size());
            return Err(ReadError::Cut { entries, signed });
        };
        follower.take(stored.sequence, leaf(&stored));
    }
    let checked = expected.check(&follower.tree);
    checked.map_err(|size| ReadError::Forked { size, agreed: 0 })
}
