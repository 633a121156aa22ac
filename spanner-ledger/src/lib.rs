//! Spanner's ledger: what was decided and what became of it, durably, in plain files.
//!
//! [`Ledger`] is the [`AuditSink`](spanner_core::AuditSink) that a guard records to. A
//! decision is stored before it has any effect, and its outcome when the response has ended.
//!
//! 1. One thread writes. Whatever waits is written together and synced once (group commit),
//!    so that a request waits for one sync and a thousand requests wait for the same one.
//! 2. A decision is acknowledged when it is as durable as configured ([`Durability`]), or
//!    fails after 250 ms at most, whatever the disk does.
//! 3. Room for the outcome is reserved with the decision. Without room there is no decision,
//!    and without a decision nothing is served.
//! 4. Entries are numbered from 0 without holes, and checked against damage. Reopening cuts
//!    what a crash left unfinished, refuses a ledger that is damaged, and gives each
//!    decision without an outcome the outcome `unknown`.
//! 5. After a failed write or sync the file is given up: exactly those who waited for it
//!    fail, and a new segment begins with a note ([`Gap`]).
//! 6. On a full disk nothing is allowed; refusals and outcomes are still recorded, from a
//!    reserve of 256 KiB, and service resumes by itself when there is space.
//! 7. Entries are the leaves of a Merkle tree (RFC 6962), whose root is signed every second
//!    ([`Checkpoint`]). Whoever keeps a checkpoint elsewhere ([`Builder::checkpoints`]) can
//!    tell later whether anything before it was changed ([`Reader::verify_against`]), and can
//!    have any entry proved ([`Reader::prove`]), offline and without secrets.
//! 8. Old segments go when they are told to ([`Ledger::prune`]); events, open decisions and
//!    all proofs stay.
//!
//! # Reading
//! [`Ledger::read`] gives a [`Reader`], also while somebody writes. [`Reader::history`] says
//! who approved what is served, [`Reader::rows`] which requests there were, each with the
//! promotion under which it was served; each says what it leaves out ([`Notes`]). [`EntryFollower`] reads on as
//! entries are written; the crate `spanner-ship` sends them elsewhere with it, and `spanner-report`
//! renders what is read for people.
//!
//! # Caveats
//! "Durable" means durable to what the operating system reports as stable storage; a virtual
//! disk may acknowledge from its host's memory. Damage to the entries after the last
//! checkpoint, a second's, cannot be told from an unfinished write. Whoever can write the
//! directory and read the key can rewrite the past, but for what a checkpoint elsewhere covers.
//!
//! # On disk
//! A directory (0700) of files (0600): segments `00000000000000000000.seg`, named for their
//! first entry; `<end>.kept`, what survived of those that were pruned; `checkpoint`, `vkey`,
//! `key`; the folder `tile`; `lock`; `reserve`; `lost`, where a loss was acknowledged
//! ([`Builder::acknowledge`]). The directory itself is locked while it is written. A segment holds JSON objects, each framed with
//! a checksum; [`Reader::json_lines`] gives them out as lines. `checkpoint` and `tile` are a
//! log of the C2SP specifications [tlog-tiles](https://c2sp.org/tlog-tiles) and
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint), without entry bundles: a leaf is the
//! JSON of an entry, byte for byte.

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
mod seen;
mod select;
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
pub use history::{Approval, ApprovalStanding, Happening, History, HistoryBuilder, Signed};
pub use ledger::{Builder, Durability, Ledger};
pub use lost::Missing;
pub use notes::Notes;
pub use reader::{Decisions, Entries, Numbered, Reader, Row, StoredEntries};
pub use recovery::Recovery;
pub use retention::{PruneError, Pruned, Retention};
pub use rotation::AgingCredential;
pub use rows::Rows;
pub use select::{RecordPrefix, RecordPrefixError, Selection, is_use, promotions_of, served_under};
pub use verify::{Verdict, Verification};
pub use visible::{visible_json, visible_line};

/// The greatest size of one entry, in bytes of JSON. A decision about a caller with a
/// thousand groups of 256 bytes takes a quarter of it.
pub const MAX_ENTRY_BYTES: usize = 1024 * 1024;

/// What framing adds to an entry, in bytes.
const OVERHEAD: usize = 24;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
