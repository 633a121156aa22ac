//! Lost entries, and the acknowledgement of their loss.
//!
//! A ledger with missing or damaged entries does not open, so that the rest is not mistaken for
//! the whole. An operator without a copy acknowledges the loss ([`Builder::acknowledge`]). The
//! file `lost` then lists the entries to skip, and the entry `ledger.acknowledged`, which the
//! Merkle tree covers, lists them as well. The file alone has no effect: `verify` compares it
//! with the entry.
//!
//! [`Builder::acknowledge`]: crate::Builder::acknowledge

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::error::ReadError;
use crate::evidence::{MAX_NOTE_BYTES, put, read};
use crate::files::Files;
use crate::scan::segment_name;

/// A range of consecutive entries that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Missing {
    /// The first missing entry.
    pub from: u64,
    /// The last missing entry, as far as it is known.
    pub to: u64,
    /// Whether the loss was acknowledged, which allows the ledger to be opened.
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
pub(crate) struct LossList(Vec<Span>);

/// The entries from `from` up to, but not including, `end`. An empty span means that the bytes at
/// that position are not an entry and are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) end: u64,
}

impl Span {
    /// The parts of this span that no other span covers.
    pub(crate) fn without(self, others: &[Self]) -> Vec<Self> {
        let mut others = others.to_vec();
        others.sort_unstable();
        let (mut at, mut left) = (self.from, Vec::new());
        for other in others {
            if other.end <= at || other.from >= self.end {
                continue;
            }
            if other.from > at {
                let (from, end) = (at, other.from);
                left.push(Self { from, end });
            }
            at = other.end;
        }
        if at < self.end {
            let (from, end) = (at, self.end);
            left.push(Self { from, end });
        }
        left
    }

    /// Converts the span for readers.
    pub(crate) const fn missing(self, acknowledged: bool) -> Missing {
        Missing {
            from: self.from,
            to: self.end.saturating_sub(1),
            acknowledged,
        }
    }
}

impl LossList {
    /// Reads the file `lost`.
    pub(crate) fn read(files: &dyn Files) -> Result<Self, ReadError> {
        let bytes = read(files, LOST, MAX_NOTE_BYTES).map_err(|source| ReadError::Io {
            name: match source.kind() {
                io::ErrorKind::NotADirectory => files.place(),
                _ => LOST.to_owned(),
            },
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

    pub(crate) fn add(&mut self, span: Span) {
        self.0.push(span);
    }

    /// Whether the spans cover all entries from `from` up to `end`.
    pub(crate) fn covers(&self, from: u64, end: u64) -> bool {
        match from == end {
            true => self
                .0
                .iter()
                .any(|span| (span.from..=span.end).contains(&from)),
            false => Span { from, end }.without(&self.0).is_empty(),
        }
    }

    /// The missing entries from `from` up to `end`, in order, split into acknowledged and
    /// unacknowledged ones.
    pub(crate) fn missing(&self, from: u64, end: u64) -> Vec<Missing> {
        let whole = Span { from, end };
        let unknown = whole.without(&self.0);
        let known = whole.without(&unknown).into_iter();
        let known = known.map(|span| span.missing(true));
        let mut all: Vec<Missing> = known.collect();
        all.extend(unknown.into_iter().map(|span| span.missing(false)));
        all.sort_unstable_by_key(|missing| missing.from);
        all
    }
}

/// The first gap whose acknowledgement is not recorded in any entry.
pub(crate) fn undeclared(gaps: &[Missing], declared: &[Span]) -> Option<ReadError> {
    let left = |gap: &Missing| gap.span().without(declared).into_iter().next();
    let first = gaps.iter().find_map(left)?;
    Some(ReadError::Missing {
        from: first.from,
        to: first.end.saturating_sub(1),
        segment: segment_name(first.end),
    })
}

impl Missing {
    pub(crate) const fn span(&self) -> Span {
        Span {
            from: self.from,
            end: self.to + 1,
        }
    }
}

pub(crate) const LOST: &str = "lost";

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(from: u64, end: u64) -> Span {
        Span { from, end }
    }

    #[test]
    fn subtracts_spans() {
        let rows: [(&[Span], &[Span]); 6] = [
            (&[], &[span(10, 20)]),
            (&[span(0, 10), span(20, 30)], &[span(10, 20)]),
            (&[span(0, 30)], &[]),
            (&[span(15, 20), span(10, 15)], &[]),
            (&[span(12, 14), span(13, 16)], &[span(10, 12), span(16, 20)]),
            (&[span(10, 10), span(19, 25)], &[span(10, 19)]),
        ];
        for (others, expected) in rows {
            assert_eq!(span(10, 20).without(others), expected, "{others:?}");
        }
    }

    #[test]
    fn lists_missing_entries_in_order_with_their_acknowledgement() {
        let lost = LossList(vec![span(12, 15), span(30, 30)]);
        let told: Vec<_> = lost
            .missing(10, 20)
            .iter()
            .map(|it| (it.from, it.to, it.acknowledged))
            .collect();
        assert_eq!(told, [(10, 11, false), (12, 14, true), (15, 19, false)]);
        assert!(lost.covers(12, 15) && !lost.covers(12, 16) && lost.covers(30, 30));
        assert!(!lost.covers(29, 30) && !lost.covers(20, 20));
    }
}
