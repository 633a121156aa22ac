//! Proofs about a ledger, verifiable without the ledger.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tlog_tiles::{Hash, check_record, check_tree, record_hash};

use super::{Checkpoint, CheckpointError, VerifierKey};

/// A proof in JSON. It can be checked offline with the ledger's verifier key.
///
/// The format is part of the compatibility promise: members may be added, but are never changed
/// or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proof {
    /// Proves that an entry is in a ledger.
    Inclusion(Inclusion),
    /// Proves that a ledger begins with an earlier state of itself.
    Consistency(Consistency),
}

/// A proof that an entry is in the ledger that a checkpoint covers (RFC 6962, section 2.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inclusion {
    /// The entry's sequence.
    pub index: u64,
    /// The number of entries that the checkpoint covers.
    pub size: u64,
    /// The entry's JSON, byte for byte; empty if a fault lost it.
    pub entry: String,
    /// The hash of the entry as a leaf, in base64.
    pub leaf: String,
    /// The sibling hashes on the path from the leaf to the root, in base64.
    pub hashes: Vec<String>,
    /// The signed note of the checkpoint.
    pub checkpoint: String,
}

/// A proof that a ledger contains, unchanged, all entries that an earlier checkpoint covers (RFC
/// 6962, section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Consistency {
    /// The signed note of the earlier checkpoint.
    pub from: String,
    /// The signed note of the later checkpoint.
    pub to: String,
    /// The hashes of the proof, in base64.
    pub hashes: Vec<String>,
}

/// Why a proof is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Its checkpoint is not valid.
    #[error("the proof's checkpoint is not valid")]
    Checkpoint(#[source] CheckpointError),
    /// A member is not a base64 hash, or there are more hashes than any tree needs.
    #[error("the proof's `{member}` is malformed")]
    Malformed {
        /// The name of the member.
        member: &'static str,
    },
    /// The leaf hash is not that of the entry.
    #[error("the proof's entry does not match its leaf hash")]
    OtherEntry,
    /// The entry is not in the tree at this position.
    #[error("the entry is not number {index} in the ledger of that checkpoint")]
    NotIncluded {
        /// The position that the proof claims.
        index: u64,
    },
    /// The later checkpoint's ledger does not begin with the earlier one's.
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
    /// Checks the proof with the ledger's verifier keys. Returns the checkpoint that it refers
    /// to.
    ///
    /// # Errors
    /// [`ProofError`] if the proof is not valid.
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

    /// Checks the proof with the ledger's verifier keys. Returns its checkpoint.
    ///
    /// # Errors
    /// [`ProofError`] if the proof is not valid.
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

    /// Checks the proof with the ledger's verifier keys. Returns the earlier and the later
    /// checkpoint.
    ///
    /// # Errors
    /// [`ProofError`] if the proof is not valid.
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
    // Every ledger is consistent with the empty one.
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

/// The length of the longest proof, for a tree of 2^64 leaves.
const MAX_HASHES: usize = 65;
