//! Entries that are not there any more, and whose loss somebody acknowledged.
//!
//! A ledger of which a segment is missing or damaged is not opened, so that nobody takes the rest
//! for the whole. Who has no copy of it and has to go on says so ([`Builder::acknowledge`]): the
//! file `lost` then names the entries that are passed over from now on, and the entry
//! `ledger.acknowledged` says the same, under the tree. The file alone counts for nothing:
//! `verify` holds it against the entry.
//!
//! [`Builder::acknowledge`]: crate::Builder::acknowledge

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::error::ReadError;
use crate::evidence::{MAX_NOTE_BYTES, put, read};
use crate::files::Files;
use crate::scan::segment_name;

/// Entries in a row that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Missing {
    /// The first of them.
    pub from: u64,
    /// The last of them, as far as that is known.
    pub to: u64,
    /// Whether somebody acknowledged that they are lost, so that the ledger could be opened
    /// again.
    pub acknowledged: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.to {
            true => write!(f, "entry {} is missing", self.from)?,
            false => write!(f, "entries {} to {} are missing", self.from, self.to)?,
        }
        f.write_str(match self.acknowledged {
            true => ", which was acknowledged",
            false => " or damaged",
        })
    }
}

/// The entries whose loss was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lost(Vec<Span>);

/// From one entry to another, both lost; nothing but what stands behind `from` if `to` comes
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: u64,
    end: u64,
}

impl Lost {
    /// What the directory names.
    pub(crate) fn read(files: &dyn Files) -> Result<Self, ReadError> {
        let bytes = read(files, LOST, MAX_NOTE_BYTES).map_err(|source| ReadError::Io {
            name: LOST.to_owned(),
            source,
        })?;
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        let spans = serde_json::from_slice(&bytes);
        spans.map(Self).map_err(|fault| ReadError::Evidence {
            name: LOST.to_owned(),
            problem: format!("this is no list of entries that were acknowledged: {fault}"),
        })
    }

    pub(crate) fn write(&self, files: &dyn Files) -> io::Result<()> {
        put(files, LOST, &serde_json::to_vec(&self.0)?)
    }

    /// Adds the entries from one up to another, which is not lost.
    pub(crate) fn add(&mut self, from: u64, end: u64) {
        self.0.push(Span { from, end });
    }

    /// Whether all entries from one up to another, which may be the same, are lost.
    pub(crate) fn covers(&self, from: u64, end: u64) -> bool {
        let covers = |span: &Span| span.from <= from && end <= span.end;
        self.0.iter().any(covers)
    }
}

/// What is missing, and only the file says that this was acknowledged.
pub(crate) fn undeclared(gap: &Missing) -> ReadError {
    ReadError::Missing {
        from: gap.from,
        to: gap.to,
        segment: segment_name(gap.to + 1),
    }
}

pub(crate) const LOST: &str = "lost";
