//! Why a ledger could not be opened, read or closed.

use std::io;
use std::path::PathBuf;

use crate::evidence::KeyError;

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused.
    #[error("`{name}` cannot be read")]
    Io {
        /// The file, or the directory.
        name: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Bytes that had been stored are not what they were. Not the torn tail that a crash
    /// leaves, which is cut in silence.
    #[error(
        "segment `{segment}` is damaged at byte {offset}: entry {sequence} is not what was stored"
    )]
    Corrupt {
        /// The file.
        segment: String,
        /// Where in it, in bytes.
        offset: u64,
        /// The first entry that is damaged.
        sequence: u64,
    },
    /// A segment does not bear the name of its first entry.
    #[error(
        "segment `{segment}` holds the entries from {holds} on: it was renamed or copied, and is to be called `{name}`"
    )]
    Misnamed {
        /// The file.
        segment: String,
        /// The entry that its name says it begins with.
        sequence: u64,
        /// The entry that it begins with.
        holds: u64,
        /// The name that it should have.
        name: String,
    },
    /// Entries are missing: a segment was removed or cut.
    #[error("entries {from} to {to} are missing before segment `{segment}`")]
    Missing {
        /// The first missing entry.
        from: u64,
        /// The last missing entry.
        to: u64,
        /// The file that follows them.
        segment: String,
    },
    /// An entry is whole, and it is not the one that the ledger signed: somebody changed it.
    #[error("entry {sequence} is not the one that was signed")]
    Tampered {
        /// The first such entry.
        sequence: u64,
    },
    /// The entries are not those of a checkpoint, and which of them differ cannot be told from
    /// what is there.
    #[error(
        "the ledger's first {size} entries are not those of its checkpoint of that size; below {agreed} they are"
    )]
    Forked {
        /// How many entries the checkpoint covers.
        size: u64,
        /// The size of the largest checkpoint at hand that agrees.
        agreed: u64,
    },
    /// The ledger ends before its checkpoint does: its end was cut off.
    #[error(
        "the ledger ends at entry {entries}, and a checkpoint covers {signed}: its end was cut off"
    )]
    Cut {
        /// How many entries there are.
        entries: u64,
        /// How many were signed.
        signed: u64,
    },
    /// A file of evidence is missing or not what it should be, and the entries are not at
    /// fault so far as can be told.
    #[error("`{name}`: {problem}")]
    Evidence {
        /// The file.
        name: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// There is no such entry.
    #[error("there is no entry {sequence}")]
    NoEntry {
        /// What was asked for.
        sequence: u64,
    },
    /// An entry is not yet under a checkpoint: ask again in a second.
    #[error(
        "entry {sequence} is not yet under a checkpoint of {size} entries: ask again in a second"
    )]
    NotYetSigned {
        /// The entry.
        sequence: u64,
        /// How many entries the checkpoint covers.
        size: u64,
    },
    /// An entry is whole and its JSON is not known here: a newer version wrote it. Reading
    /// goes on after it.
    #[error("entry {sequence} cannot be understood by this version")]
    Unknown {
        /// The entry.
        sequence: u64,
        /// What its JSON lacks.
        #[source]
        source: serde_json::Error,
    },
    /// What was read could not be passed on.
    #[error("the entries cannot be written out")]
    Export {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// An error with its causes: its own text is often short of the reason.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl ReadError {
    /// The first entry that is not what was stored, missing, or known to be in doubt.
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
    /// Another process, or another `Ledger` in this one, writes to this directory.
    #[error("the ledger in `{}` is being written by somebody else", .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory or a file in it could not be made, read or written.
    #[error("the ledger in `{}` cannot be opened", .dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The ledger is not what it was. It is not opened, so that nothing is written after a
    /// loss and nobody takes the rest for the whole.
    #[error(
        "the ledger in `{}` is damaged ({source}); restore it from a copy, acknowledge the loss, or keep it for the auditor and begin a new one in another directory",
        .dir.display()
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is damaged, and where.
        #[source]
        source: ReadError,
    },
    /// The signing key cannot be used.
    #[error("the ledger in `{}` has no usable signing key in `key`", .dir.display())]
    Key {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: KeyError,
    },
    /// An option has a value that it cannot have.
    #[error("`{option}` must be at least {least}, not {given}")]
    Option {
        /// The builder's method.
        option: &'static str,
        /// The least value.
        least: u64,
        /// The value given.
        given: u64,
    },
}

/// A ledger that could not store everything before it was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{lost} entries could not be stored before the ledger was closed: {reason}")]
#[non_exhaustive]
pub struct CloseError {
    /// How many entries. None of them had been acknowledged.
    pub lost: u64,
    /// What the operating system said.
    pub reason: String,
}
