//! The Merkle tree and the signed checkpoints, which reveal any change to entries that an earlier
//! checkpoint covers.
//!
//! 1. Entries are the leaves of a Merkle tree ([RFC 6962, section 2.1][rfc]), in order. A leaf is
//!    the JSON of its entry, byte for byte as stored. An entry that a storage fault lost is an
//!    empty leaf; that cannot happen with the durability `PowerLoss`.
//! 2. The tree is stored as [C2SP tiles][tiles]: `tile/<level>/<index>` with 256 hashes each, and
//!    partial tiles in `<index>.p/<width>`. There are no entry bundles: the segments hold the
//!    entries, and an entry may be larger than a bundle allows.
//! 3. The root is signed at least once per second while entries arrive, and on closing. The
//!    [checkpoint][checkpoint] is a [signed note][note] with Ed25519, stored in the file
//!    `checkpoint`. It covers synced entries only, and its tiles are written first.
//! 4. The key is generated when the ledger is created, unless one is supplied, and stored in the
//!    file `key` (mode 0600). The file `vkey` lists the verifier keys, one per line, the current
//!    one last.
//! 5. A separate thread hashes and signs, so that requests do not wait for it. If it cannot
//!    write, entries are still recorded and the checkpoint is delayed.
//! 6. Each sink ships checkpoints on its own thread and always ships the newest one. A slow or
//!    unavailable sink delays neither local checkpoints nor other sinks.
//! 7. Opening compares the checkpoints with the right edge of the tree and with the entries of
//!    the last segment. `verify` compares them with all entries.
//!
//! [rfc]: https://www.rfc-editor.org/rfc/rfc6962#section-2.1
//! [tiles]: https://c2sp.org/tlog-tiles
//! [checkpoint]: https://c2sp.org/tlog-checkpoint
//! [note]: https://c2sp.org/signed-note

mod checkpoint;
mod courier;
mod follower;
mod key;
mod notes;
mod opened;
mod progress;
mod proof;
mod signer;
mod sink;
pub(crate) mod tiles;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError};
pub(crate) use follower::{Expected, Follower, Leaves, empty_leaf, leaf};
pub use key::{KeyError, SigningKey, VerifierKey};
pub use notes::Checkpoints;
pub(crate) use opened::{Evidence, KeyFault, key as key_of, key_in, keys_in, newest};
pub(crate) use progress::{Progress, SharedProgress};
pub use proof::{Consistency, Inclusion, Proof, ProofError};
pub(crate) use signer::CheckpointSigner;
pub use sink::{CheckpointFile, CheckpointNote, CheckpointSink, CheckpointStdout};
pub(crate) use tree::Tree;

use std::io;

use crate::files::Files;

/// Replaces a small file atomically.
pub(crate) fn put(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = format!("{name}.new");
    write(files, &new, bytes)?;
    files.rename(&new, name)?;
    files.sync()
}

/// Writes and syncs a new file. The directory entry is not synced.
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

/// Reads at most `most + 1` bytes of a small file; `None` if it does not exist.
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
/// The maximum size of a checkpoint or of the file `vkey`. A checkpoint with a dozen witness
/// signatures takes two kilobytes.
pub(crate) const MAX_NOTE_BYTES: u64 = 64 * 1024;
/// The maximum number of entries in a tree: a million per second for a thousand years. Prevents
/// overflow with hostile sizes.
pub(crate) const MAX_SIZE: u64 = 1 << 55;
