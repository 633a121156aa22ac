//! What proves something about a ledger to somebody who does not have it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tlog_tiles::{Hash, check_record, check_tree, record_hash};

use super::{Checkpoint, CheckpointError, VerifierKey};

/// A proof, as JSON: whoever has it and the ledger's verifier key can check it, offline.
///
/// This is part of the compatibility promise: members are added, never changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proof {
    /// An entry stands in a ledger.
    Inclusion(Inclusion),
    /// A ledger still holds what it held before.
    Consistency(Consistency),
}

/// That an entry stands in the ledger that a checkpoint is about (RFC 6962, section 2.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inclusion {
    /// The entry's sequence.
    pub index: u64,
    /// How many entries the checkpoint covers.
    pub size: u64,
    /// The entry's JSON, byte for byte; empty if a fault lost it.
    pub entry: String,
    /// The hash of the entry as a leaf, in base64.
    pub leaf: String,
    /// The hashes beside the way from the leaf to the root, in base64.
    pub hashes: Vec<String>,
    /// The signed note.
    pub checkpoint: String,
}

/// That a ledger holds, unchanged, all that it held when an earlier checkpoint was made
/// (RFC 6962, section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Consistency {
    /// The earlier signed note.
    pub from: String,
    /// The later signed note.
    pub to: String,
    /// The hashes that it takes, in base64.
    pub hashes: Vec<String>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The checkpoint cannot be believed.
    #[error("the proof's checkpoint cannot be believed")]
    Checkpoint(#[source] CheckpointError),
    /// Something in it is not a hash in base64, or there are more than any tree needs.
    #[error("the proof's `{member}` is malformed")]
    Malformed {
        /// What.
        member: &'static str,
    },
    /// The leaf is not the hash of the entry.
    #[error("the proof's entry is not the one that it speaks of")]
    OtherEntry,
    /// The entry does not stand in that tree at that place.
    #[error("the entry does not stand at {index} in the ledger of that checkpoint")]
    NotIncluded {
        /// Where it should.
        index: u64,
    },
    /// The later checkpoint is about another history than the earlier one.
    #[error(
        "the ledger of the later checkpoint ({to} entries) does not begin with that of the earlier one ({from})"
    )]
    Inconsistent {
        /// The size of the earlier checkpoint.
        from: u64,
        /// The size of the later one.
        to: u64,
    },
}

impl Proof {
    /// Checks it with the verifier keys of the ledger. Answers with the checkpoint that it
    /// leads to.
    ///
    /// # Errors
    /// [`ProofError`] if it proves nothing.
    pub fn check(&self, keys: &[VerifierKey]) -> Result<Checkpoint, ProofError> {
        match self {
            Self::Inclusion(inclusion) => inclusion.check(keys),
            Self::Consistency(consistency) => consistency.check(keys).map(|(_, to)| to),
        }
    }
}

impl Inclusion {
    pub(crate) fn of(index: u64, entry: String, hashes: &[Hash], at: &Checkpoint) -> Self {
        Self {
            index,
            size: at.size(),
            leaf: encode(&record_hash(entry.as_bytes())),
            entry,
            hashes: hashes.iter().map(encode).collect(),
            checkpoint: at.note().to_owned(),
        }
    }

    /// Checks it with the verifier keys of the ledger. Answers with its checkpoint.
    ///
    /// # Errors
    /// [`ProofError`] if it proves nothing.
    pub fn check(&self, keys: &[VerifierKey]) -> Result<Checkpoint, ProofError> {
        let checkpoint = verified(&self.checkpoint, keys)?;
        let leaf = decode(&self.leaf, "leaf")?;
        if leaf != record_hash(self.entry.as_bytes()) {
            return Err(ProofError::OtherEntry);
        }
        if self.size != checkpoint.size() {
            return Err(ProofError::Malformed { member: "size" });
        }
        let hashes = decode_all(&self.hashes)?;
        let (size, root) = (checkpoint.size(), checkpoint.hash());
        let index = self.index;
        check_record(&hashes, size, root, index, leaf)
            .map_err(|_| ProofError::NotIncluded { index })?;
        Ok(checkpoint)
    }
}

impl Consistency {
    pub(crate) fn of(from: &Checkpoint, to: &Checkpoint, hashes: &[Hash]) -> Self {
        Self {
            from: from.note().to_owned(),
            to: to.note().to_owned(),
            hashes: hashes.iter().map(encode).collect(),
        }
    }

    /// Checks it with the verifier keys of the ledger. Answers with the earlier checkpoint and
    /// the later one.
    ///
    /// # Errors
    /// [`ProofError`] if it proves nothing.
    pub fn check(&self, keys: &[VerifierKey]) -> Result<(Checkpoint, Checkpoint), ProofError> {
        let (from, to) = (verified(&self.from, keys)?, verified(&self.to, keys)?);
        let hashes = decode_all(&self.hashes)?;
        if is_consistent(&from, &to, &hashes) {
            return Ok((from, to));
        }
        let (from, to) = (from.size(), to.size());
        Err(ProofError::Inconsistent { from, to })
    }
}

fn is_consistent(from: &Checkpoint, to: &Checkpoint, hashes: &Vec<Hash>) -> bool {
    let (size, earlier) = (to.size(), from.size());
    let same_log = from.origin() == to.origin();
    // Everything begins with nothing.
    let from_nothing = earlier == 0 && hashes.is_empty() && from.hash() == tlog_tiles::EMPTY_HASH;
    let proven = || check_tree(hashes, size, to.hash(), earlier, from.hash()).is_ok();
    same_log && (from_nothing || (earlier > 0 && proven()))
}

fn verified(note: &str, keys: &[VerifierKey]) -> Result<Checkpoint, ProofError> {
    Checkpoint::verify(note, keys).map_err(ProofError::Checkpoint)
}

fn encode(hash: &Hash) -> String {
    STANDARD.encode(hash.0)
}

fn decode(text: &str, member: &'static str) -> Result<Hash, ProofError> {
    let malformed = ProofError::Malformed { member };
    let bytes = STANDARD.decode(text).ok();
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Hash).ok_or(malformed)
}

fn decode_all(texts: &[String]) -> Result<Vec<Hash>, ProofError> {
    if texts.len() > MAX_HASHES {
        return Err(ProofError::Malformed { member: "hashes" });
    }
    texts.iter().map(|text| decode(text, "hashes")).collect()
}

/// A tree of 2^64 leaves needs no more on the way to its root.
const MAX_HASHES: usize = 65;
