//! Errors of opening, reading and closing a ledger.

use std::io;
use std::path::PathBuf;

use crate::evidence::KeyError;

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An I/O error occurred.
    #[error("`{name}` cannot be read")]
    Io {
        /// The name of the file or directory.
        name: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// Stored bytes are damaged. Does not include the torn tail of a crash, which is truncated
    /// silently.
    #[error(
        "segment `{segment}` is damaged at byte {offset}: entry {sequence} is not what was stored"
    )]
    Corrupt {
        /// The name of the file.
        segment: String,
        /// The position of the damage, in bytes.
        offset: u64,
        /// The first entry that is damaged.
        sequence: u64,
    },
    /// A segment is not named after its first entry.
    #[error(
        "segment `{segment}` holds the entries from {holds} on: it was renamed or copied; its name should be `{name}`"
    )]
    Misnamed {
        /// The name of the file.
        segment: String,
        /// The first entry according to the name.
        sequence: u64,
        /// The actual first entry.
        holds: u64,
        /// The correct name.
        name: String,
    },
    /// Entries are missing: a segment was removed or truncated.
    #[error("entries {from} to {to} are missing before segment `{segment}`")]
    Missing {
        /// The first missing entry.
        from: u64,
        /// The last missing entry.
        to: u64,
        /// The file that follows them.
        segment: String,
    },
    /// An entry has a valid checksum, but differs from the one that was signed.
    #[error("entry {sequence} is not the one that was signed")]
    Tampered {
        /// The first such entry.
        sequence: u64,
    },
    /// The entries differ from those that a checkpoint covers, and it is unknown which of them
    /// differ.
    #[error(
        "the ledger's first {size} entries differ from those of its checkpoint of that size; the first {agreed} agree"
    )]
    Forked {
        /// The number of entries that the checkpoint covers.
        size: u64,
        /// The size of the largest available checkpoint that agrees.
        agreed: u64,
    },
    /// The ledger is shorter than a checkpoint says: its end was truncated.
    #[error(
        "the ledger ends at entry {entries}, and a checkpoint covers {signed}: its end was cut off"
    )]
    Cut {
        /// The number of entries in the ledger.
        entries: u64,
        /// The number of entries that the checkpoint covers.
        signed: u64,
    },
    /// A checkpoint, key or tile is missing or damaged. No fault in the entries is known.
    #[error("`{name}`: {problem}")]
    Evidence {
        /// The name of the file.
        name: String,
        /// The problem and its remedy.
        problem: String,
    },
    /// There is no such entry.
    #[error("there is no entry {sequence}")]
    NoEntry {
        /// The requested sequence.
        sequence: u64,
    },
    /// No checkpoint covers the entry yet. Retry in a second.
    #[error(
        "entry {sequence} is not yet under a checkpoint of {size} entries: ask again in a second"
    )]
    NotYetSigned {
        /// The entry's sequence.
        sequence: u64,
        /// How many entries the checkpoint covers.
        size: u64,
    },
    /// An entry is valid, but its format is newer than this version. Reading continues after it.
    #[error("entry {sequence} cannot be understood by this version")]
    Unknown {
        /// The entry's sequence.
        sequence: u64,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The output could not be written.
    #[error("the entries cannot be written out")]
    Export {
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
}

impl ReadError {
    /// The first entry that is changed, missing or known to be in doubt.
    pub(crate) const fn first_bad(&self) -> Option<u64> {
        match self {
            Self::Corrupt { sequence, .. }
            | Self::Misnamed { sequence, .. }
            | Self::Tampered { sequence }
            | Self::Missing { from: sequence, .. }
            | Self::Cut {
                entries: sequence, ..
            }
            | Self::Forked {
                agreed: sequence, ..
            } => Some(*sequence),
            _ => None,
        }
    }
}

/// Why a ledger could not be opened for writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another [`Ledger`](crate::Ledger) in this process, has it open for
    /// writing.
    #[error("the ledger in `{}` is being written by somebody else", .dir.display())]
    Locked {
        /// The ledger's directory.
        dir: PathBuf,
    },
    /// The directory or a file in it could not be created, read or written.
    #[error("the ledger in `{}` cannot be opened", .dir.display())]
    Io {
        /// The ledger's directory.
        dir: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The ledger is damaged. It is not opened, so that nothing is appended after a loss.
    #[error(
        "the ledger in `{}` is damaged ({source}); restore it from a copy, acknowledge the loss, or keep it for the auditor and begin a new one in another directory",
        .dir.display()
    )]
    Damaged {
        /// The ledger's directory.
        dir: PathBuf,
        /// The damage and its location.
        #[source]
        source: ReadError,
    },
    /// The signing key cannot be used.
    #[error("the ledger in `{}` has no usable signing key in `key`", .dir.display())]
    Key {
        /// The ledger's directory.
        dir: PathBuf,
        /// The problem with the key.
        #[source]
        source: KeyError,
    },
    /// An option is out of range.
    #[error("`{option}` must be at least {least}, not {given}")]
    Option {
        /// The name of the builder's method.
        option: &'static str,
        /// The minimum.
        least: u64,
        /// The supplied value.
        given: u64,
    },
}

/// Entries could not be stored before the ledger was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{lost} entries could not be stored before the ledger was closed: {reason}")]
#[non_exhaustive]
pub struct CloseError {
    /// The number of entries. None of them had been acknowledged.
    pub lost: u64,
    /// The operating system's error.
    pub reason: String,
}
