//! Reopens a ledger after a loss of entries, by an explicit and recorded acknowledgement.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::entry::{Entry, Event};
use crate::error::{OpenError, ReadError};
use crate::evidence::{CHECKPOINT, Evidence, VKEY};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::ledger::{Builder, Durability};
use crate::log::{Log, SegmentSize};
use crate::lost::{LOST, LossList, Missing, Span};
use crate::recovery::Failure;
use crate::scan::{Walk, parse_kept, parse_name, read_header, segment_name};

/// The result of [`Builder::acknowledge`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgment {
    /// The entries that are skipped from now on.
    pub missing: Vec<Missing>,
    /// Unusable files, by their new names.
    pub set_aside: Vec<String>,
    /// Checkpoints outside the directory that contradict the remaining entries.
    pub superseded: Vec<String>,
    /// The sequence of the entry that records the acknowledgement.
    pub sequence: u64,
}

/// Why the loss was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// No entry is missing, so the ledger can be opened.
    #[error("no entry is missing: the ledger can be opened")]
    Nothing,
    /// Entries were changed, or the directory cannot be used, so there is no loss to acknowledge.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Builder {
    /// Makes a ledger usable although entries are missing: after segments were removed or
    /// damaged, after the end was truncated, or after restoring a copy that is older than the
    /// note outside the directory ([`Builder::note`]).
    ///
    /// Sequences of lost entries are not reused. Unreadable bytes stay in their file; a file that
    /// is in the way is renamed to `<name>.damaged`. The entry `ledger.acknowledged` records the
    /// lost entries, the reason and the operating system's user id. From then on,
    /// [`Reader::verify`] reports that entries are missing and that the loss was acknowledged.
    ///
    /// [`Reader::verify`]: crate::Reader::verify
    ///
    /// # Security
    /// The lost entries no longer have any effect: a decision may lack its outcome, and a
    /// promotion its approvals or its rollback. Review the history before serving.
    /// a promotion without its approvals or its roll-back. Look at the history before serving.
    ///
    /// # Errors
    /// [`AcknowledgeError`] if no entry is missing, if another process has the ledger open for
    /// writing, or if entries were changed rather than lost. Preserve such a ledger for the
    /// auditor and begin a new one.
    pub fn acknowledge(self, reason: &str) -> Result<Acknowledgment, AcknowledgeError> {
        let found = Disk::checked(&self.dir).map_err(|source| self.failed(source))?;
        if found.is_none() {
            return Err(AcknowledgeError::Nothing);
        }
        let disk = Disk::writing(&self.dir).map_err(|source| self.failed(source))?;
        match disk {
            Some(disk) => {
                let files: Arc<dyn Files> = Arc::new(disk);
                self.acknowledge_in(&files, reason)
            }
            None => Err(OpenError::Locked { dir: self.dir }.into()),
        }
    }

    pub(crate) fn acknowledge_in(
        mut self,
        files: &Arc<dyn Files>,
        reason: &str,
    ) -> Result<Acknowledgment, AcknowledgeError> {
        let mut repair = Repair::default();
        let read = repair.read(files);
        read.map_err(|failure| self.not_recovered(failure))?;
        let evidence = self.usable_evidence(files, &mut repair)?;
        let superseded = superseded(files, &evidence);
        let superseded = superseded.map_err(|fault| self.not_recovered(Failure::Read(fault)))?;
        let next = repair.end.max(evidence.signed());
        if next > repair.end {
            let (from, end) = (repair.end, next);
            repair.lose(Span { from, end });
        }
        if repair.is_idle() && superseded.is_empty() {
            return Err(AcknowledgeError::Nothing);
        }
        let done = Acknowledgment {
            missing: repair.acknowledged(),
            set_aside: repair.set_aside.clone(),
            superseded,
            sequence: next,
        };
        self.carry_out(files, &repair, &done, reason)
            .map_err(|source| self.failed(source))?;
        Ok(done)
    }

    /// Opens the evidence and sets aside files that cannot be used.
    fn usable_evidence(
        &mut self,
        files: &Arc<dyn Files>,
        repair: &mut Repair,
    ) -> Result<Evidence, OpenError> {
        let mut tries = 0..3;
        loop {
            let source = match self.evidence(Arc::clone(files)) {
                Err(OpenError::Damaged { source, .. }) if tries.next().is_some() => source,
                opened => return opened,
            };
            let name = match &source {
                ReadError::Evidence { name, .. } if name == VKEY => VKEY,
                ReadError::Evidence { name, .. } if name == CHECKPOINT => CHECKPOINT,
                // The tiles are missing as well, or the remaining entries are not those that were
                // signed.
                ReadError::Forked { .. }
                | ReadError::Cut { .. }
                | ReadError::Missing { .. }
                | ReadError::Corrupt { .. } => CHECKPOINT,
                _ => return Err(self.not_recovered(Failure::Read(source))),
            };
            repair
                .set_aside(&**files, name)
                .map_err(|source| self.failed(source))?;
        }
    }

    fn carry_out(
        &self,
        files: &Arc<dyn Files>,
        repair: &Repair,
        done: &Acknowledgment,
        reason: &str,
    ) -> io::Result<()> {
        repair.lost.write(&**files)?;
        let spans: Vec<_> = done.missing.iter().map(|it| [it.from, it.to]).collect();
        let mut body = json!({
            "reason": reason, "lost": spans, "set_aside": done.set_aside,
            "superseded": done.superseded,
        });
        if let (Some(user), Some(body)) = (user(), body.as_object_mut()) {
            body.insert("uid".to_owned(), user);
        }
        let payload = Entry::event(ACKNOWLEDGED, body).payload()?;
        let size = SegmentSize {
            bytes: u64::MAX,
            age: None,
        };
        let files = Arc::clone(files);
        let mut log = Log::new(files, Durability::PowerLoss, size, done.sequence);
        log.append(&[&payload])?;
        log.finish()?;
        match (&self.note, done.superseded.is_empty()) {
            (Some(note), false) => note.write(&[]),
            _ => Ok(()),
        }
    }
}

/// What is missing from a ledger, and how to repair it.
#[derive(Debug, Default)]
struct Repair {
    lost: LossList,
    missing: Vec<Span>,
    set_aside: Vec<String>,
    /// The sequence after the last entry.
    end: u64,
    /// Whether segments have extra bytes after their last entry.
    is_untidy: bool,
}

impl Repair {
    /// Reads all entries that are readable.
    fn read(&mut self, files: &Arc<dyn Files>) -> Result<(), Failure> {
        match LossList::read(&**files) {
            Ok(lost) => self.lost = lost,
            Err(ReadError::Evidence { .. }) => self.set_aside(&**files, LOST)?,
            Err(fault) => return Err(fault.into()),
        }
        self.set_aside_headless(&**files)?;
        let mut walk = Walk::partial(files)?;
        let mut declared = Vec::new();
        while let Some(stored) = walk.step()? {
            declared.extend(spans(&stored.payload));
        }
        self.end = walk.next();
        // The file `lost` alone proves nothing; only a recorded entry acknowledges a loss.
        let gaps = walk.gaps().iter();
        for span in gaps.flat_map(|gap| gap.span().without(&declared)) {
            self.lose(span);
        }
        for end in walk.trailing().iter().copied() {
            self.is_untidy = true;
            self.lost.add(Span { from: end, end });
        }
        Ok(self.lost.write(&**files)?)
    }

    fn lose(&mut self, span: Span) {
        self.missing.push(span);
        self.lost.add(span);
    }

    /// Renames segments whose header cannot be read.
    fn set_aside_headless(&mut self, files: &dyn Files) -> Result<(), Failure> {
        let names = files.names()?;
        let pruned = names.iter().filter_map(|name| parse_kept(name)).max();
        let firsts = names.iter().filter_map(|name| parse_name(name));
        for first in firsts.filter(|first| pruned.is_none_or(|pruned| *first >= pruned)) {
            match read_header(files, first) {
                Ok(Some(_)) => {}
                Err(fault @ ReadError::Io { .. }) => return Err(fault.into()),
                // No entry is lost: the operator can give the file its name back.
                Err(fault) if is_only_renamed(&fault, &names) => return Err(fault.into()),
                Ok(None) | Err(_) => self.set_aside(files, &segment_name(first))?,
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, files: &dyn Files, name: &str) -> io::Result<()> {
        let names = files.names()?;
        let other = |count: u32| match count {
            0 => format!("{name}.damaged"),
            _ => format!("{name}.damaged.{count}"),
        };
        let free = (0..).map(other).find(|other| !names.contains(other));
        let free = free.ok_or(io::ErrorKind::AlreadyExists)?;
        files.rename(name, &free)?;
        files.sync()?;
        self.set_aside.push(free);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.missing.is_empty() && self.set_aside.is_empty() && !self.is_untidy
    }

    fn acknowledged(&self) -> Vec<Missing> {
        let missing = self.missing.iter();
        missing.map(|span| span.missing(true)).collect()
    }
}

/// Whether a segment was only renamed, and its original name is free.
fn is_only_renamed(fault: &ReadError, names: &[String]) -> bool {
    matches!(fault, ReadError::Misnamed { name, .. } if !names.contains(name))
}

/// The notes outside the directory that contradict the remaining entries.
fn superseded(files: &Arc<dyn Files>, evidence: &Evidence) -> Result<Vec<String>, ReadError> {
    let mut walk = Walk::partial(files)?;
    let agrees = evidence.opening(&walk).and_then(|mut opening| {
        while let Some(stored) = walk.step()? {
            opening.take(&stored)?;
        }
        Ok(opening.is_satisfied())
    });
    match agrees {
        Ok(true) if evidence.is_compared() => Ok(Vec::new()),
        // The note belongs to another ledger.
        Ok(true) => Ok(evidence.foreign_notes.clone()),
        Ok(false) | Err(ReadError::Forked { .. }) => Ok(evidence.notes()),
        Err(fault) => Err(fault),
    }
}

/// The entries that a stored entry declares as lost.
pub(crate) fn spans(payload: &[u8]) -> Vec<Span> {
    if !payload.starts_with(br#"{"kind":"event""#) {
        return Vec::new();
    }
    let Ok(Entry::Event(event)) = serde_json::from_slice(payload) else {
        return Vec::new();
    };
    spans_of(&event)
}

/// The entries that an event declares as lost.
pub(crate) fn spans_of(event: &Event) -> Vec<Span> {
    if event.event != ACKNOWLEDGED {
        return Vec::new();
    }
    let spans = event.body.get("lost").and_then(Value::as_array);
    let span = |span: &Value| {
        let (from, to) = (span.get(0)?.as_u64()?, span.get(1)?.as_u64()?);
        let end = to.checked_add(1)?;
        Some(Span { from, end })
    };
    spans.into_iter().flatten().filter_map(span).collect()
}

/// The id of the user that runs this process.
#[cfg(unix)]
fn user() -> Option<Value> {
    Some(rustix::process::getuid().as_raw().into())
}

#[cfg(not(unix))]
fn user() -> Option<Value> {
    None
}

pub(crate) const ACKNOWLEDGED: &str = "ledger.acknowledged";
