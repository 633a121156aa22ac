//! Evidence: that nobody changed what a ledger says, for whoever holds an older checkpoint.
//!
//! 1. Entries are the leaves of a Merkle tree ([RFC 6962, section 2.1][rfc]), in order. A leaf
//!    is the JSON of its entry, byte for byte as it is stored. An entry that a fault of the
//!    storage lost (possible only where the durability is not `PowerLoss`) is an empty leaf.
//! 2. The tree is kept as [C2SP tiles][tiles] below the ledger's directory: `tile/<level>/<index>`,
//!    256 hashes each, and partial ones in `<index>.p/<width>`. There are no entry bundles: the
//!    segments hold the entries, and an entry may be larger than a bundle allows.
//! 3. The root is signed ([checkpoint][checkpoint], a [signed note][note] with Ed25519) at least
//!    every second while entries come, and at the close. It stands in `checkpoint`. It covers
//!    synced entries only, and its tiles are on the disk before it.
//! 4. The key is made when the ledger is first opened, unless one is given, and stands in `key`
//!    (0600). `vkey` holds the keys that verify, one a line, the one in use last.
//! 5. A thread of its own hashes, off the way of requests; if it cannot write, entries go on
//!    being recorded and the checkpoint comes later.
//! 6. Checkpoints go elsewhere on further threads, one for each sink, the newest first: a sink
//!    that is slow or away delays neither the ledger's own checkpoints nor the other sinks.
//! 7. Opening compares what is signed with the right edge of the tree and with the entries of
//!    the last segment; `verify` compares it with all.
//!
//! [rfc]: https://www.rfc-editor.org/rfc/rfc6962#section-2.1
//! [tiles]: https://c2sp.org/tlog-tiles
//! [checkpoint]: https://c2sp.org/tlog-checkpoint
//! [note]: https://c2sp.org/signed-note

mod checkpoint;
mod courier;
mod follower;
mod keeper;
mod key;
mod notes;
mod opened;
mod progress;
mod proof;
mod sink;
pub(crate) mod tiles;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError};
pub(crate) use follower::{Expected, Follower, Leaves, empty_leaf, leaf};
pub(crate) use keeper::Keeper;
pub use key::{KeyError, SigningKey, VerifierKey};
pub use notes::Checkpoints;
pub(crate) use opened::{Evidence, KeyFault, key as key_of, key_in, keys_in, newest};
pub(crate) use progress::{Progress, SharedProgress};
pub use proof::{Consistency, Inclusion, Proof, ProofError};
pub use sink::{CheckpointFile, CheckpointNote, CheckpointSink, CheckpointStdout};
pub(crate) use tree::Tree;

use std::io;

use crate::files::Files;

/// Replaces a small file: after a crash it is the old or the new one, whole.
pub(crate) fn put(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = format!("{name}.new");
    write(files, &new, bytes)?;
    files.rename(&new, name)?;
    files.sync()
}

/// Writes a file anew and syncs it; its name is not yet durable.
pub(crate) fn write(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let created = match files.create(name) {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            files.remove(name)?;
            files.create(name)
        }
        created => created,
    };
    let mut file = created?;
    file.write(bytes)?;
    file.sync()
}

/// A small file; `None` if there is none. Reads no more than `most` bytes and one.
pub(crate) fn read(files: &dyn Files, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
    let reader = match files.read(name, 0) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        reader => reader?,
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(reader, most + 1), &mut bytes)?;
    Ok(Some(bytes))
}

pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const KEY: &str = "key";
pub(crate) const VKEY: &str = "vkey";
pub(crate) const TILES: &str = "tile";
/// What is read of a checkpoint or a file of keys: a checkpoint with a dozen of witnesses'
/// signatures takes two kilobytes.
pub(crate) const MAX_NOTE_BYTES: u64 = 64 * 1024;
/// Entries of a tree that this code will reckon with: a thousand years of a million a second
/// would be less. Keeps hostile sizes from overflowing anything.
pub(crate) const MAX_SIZE: u64 = 1 << 55;
