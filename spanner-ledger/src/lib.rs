//! Spanner's ledger: a durable, tamper-evident record of decisions and outcomes in plain files.
//!
//! [`Ledger`] is the [`AuditSink`](spanner_core::AuditSink) that a guard records to. It stores a
//! decision before the decision takes effect, and the outcome when the response has ended.
//!
//! 1. A single thread writes. It appends all pending entries together and syncs once (group
//!    commit), so concurrent requests share one fsync.
//! 2. A decision is acknowledged when it is as durable as configured ([`Durability`]). If that
//!    takes longer than 250 ms (configurable), it fails.
//! 3. Admitting a decision reserves room for its outcome. Without room the decision fails, and
//!    without a decision no request is served.
//! 4. Entries are numbered from 0 without gaps and carry checksums. Opening a ledger truncates an
//!    incomplete write at its end, rejects a damaged ledger, and appends the outcome `unknown`
//!    for each decision that has none.
//! 5. After a failed write or fsync, the segment is abandoned. Exactly the requests that waited
//!    for it fail, and the next segment begins with a [`Gap`] entry.
//! 6. When the disk is full, the ledger refuses decisions that allow. It still records refusals
//!    and outcomes, in a reserve of 256 KiB, and resumes when space is available.
//! 7. Entries are the leaves of a Merkle tree (RFC 6962) whose root is signed every second
//!    ([`Checkpoint`]). A checkpoint that is stored elsewhere ([`Builder::checkpoints`]) reveals
//!    any later change to the entries that it covers ([`Reader::verify_against`]), and lets any
//!    of those entries be proved ([`Reader::prove`]), offline and without secrets.
//! 8. Old segments are deleted only on request or by a configured retention ([`Ledger::prune`]).
//!    Events, decisions without an outcome and all proofs remain.
//!
//! # Reading
//! [`Ledger::read`] returns a [`Reader`], which also works while a service writes.
//! [`Reader::history`] reports who approved the models that are served. [`Reader::rows`] reports
//! the requests, each with the promotion under which it was served. Both list what they omit
//! ([`Notes`]). [`EntryFollower`] reads new entries as they are written. The crate `spanner-ship`
//! uses it to ship entries, and `spanner-report` renders reports.
//!
//! # Caveats
//! "Durable" means that the operating system reports the data as being on stable storage. A
//! virtual disk may acknowledge from its host's memory. Damage to entries newer than the last
//! checkpoint (at most one second's worth) is indistinguishable from an unfinished write. An
//! attacker who can write to the directory and read the key can rewrite all history that no
//! checkpoint elsewhere covers.
//!
//! # On disk
//! A directory (mode 0700) of files (mode 0600):
//! - `00000000000000000000.seg`: segments, named after their first entry.
//! - `<end>.kept`: the entries that survived pruning.
//! - `checkpoint`, `vkey`, `key`: the newest checkpoint, the public keys and the signing key.
//! - `tile`: a folder with the tiles of the Merkle tree.
//! - `lock` and `reserve`: the lock file, and the space that is freed when the disk is full.
//! - `lost`: present if a loss of entries was acknowledged ([`Builder::acknowledge`]).
//!
//! The directory itself is locked while a service writes to it. A segment holds JSON objects,
//! each framed with a checksum; [`Reader::json_lines`] returns them as lines. `checkpoint` and
//! `tile` form a log as specified by C2SP [tlog-tiles](https://c2sp.org/tlog-tiles) and
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint), without entry bundles: a leaf is the JSON
//! of an entry, byte for byte.

mod acknowledge;
mod clock;
mod cursors;
mod entry;
mod error;
mod evidence;
mod files;
mod follow;
mod frame;
mod head;
mod history;
mod journal;
mod ledger;
mod log;
mod lost;
mod notes;
mod queue;
mod reader;
mod recovery;
mod retention;
mod rotation;
mod rows;
mod scan;
mod select;
mod snapshot;
#[cfg(test)]
mod tests;
mod verify;
mod visible;
mod waiter;
mod writer;

pub use acknowledge::{AcknowledgeError, Acknowledgment};
pub use entry::{Counts, Entry, Event, Gap, StoredEntry};
pub use error::{CloseError, OpenError, ReadError};
pub use evidence::{
    Checkpoint, CheckpointError, CheckpointFile, CheckpointNote, CheckpointSink, CheckpointStdout,
    Checkpoints, Consistency, Inclusion, KeyError, Proof, ProofError, SigningKey, VerifierKey,
};
pub use follow::EntryFollower;
pub use history::{
    History, HistoryBuilder, HistoryEvent, PromotionHistory, PromotionState, PromotionStep,
};
pub use ledger::{Builder, Durability, Ledger};
pub use lost::Missing;
pub use notes::Notes;
pub use reader::{Decisions, Entries, NumberedEntry, Reader, Row, StoredEntries};
pub use recovery::Recovery;
pub use retention::{PruneError, PruneReport, Retention};
pub use rotation::AgingCredential;
pub use rows::Rows;
pub use select::{RecordPrefix, RecordPrefixError, Selection, is_use, promotions_of, served_under};
pub use verify::{Verdict, Verification};
pub use visible::{visible_json, visible_line};

/// The maximum size of one entry, in bytes of JSON. A decision about a caller with a thousand
/// groups of 256 bytes uses a quarter of it.
pub const MAX_ENTRY_BYTES: usize = 1024 * 1024;

/// The number of bytes that framing adds to an entry.
const OVERHEAD: usize = 24;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
