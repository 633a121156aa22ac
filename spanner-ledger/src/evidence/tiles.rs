//! The tiles of the tree on disk.

use std::io;
use std::sync::Arc;

use tlog_tiles::{HASH_SIZE, Hash, HashReader, Tile, tree_hash};

use super::TILES;
use super::tree::{Tree, WIDTH, shifted};
use crate::error::ReadError;
use crate::files::Files;

/// The file name of a tile, as specified by C2SP tlog-tiles.
pub(crate) fn name(level: u8, index: u64, width: usize) -> String {
    let width = u32::try_from(width.clamp(1, WIDTH)).unwrap_or(1);
    let path = Tile::new(HEIGHT, level.min(63), index, width, false).path();
    // Tiles of a height other than 8 have the height in their name.
    path.replacen("tile/8/", "tile/", 1)
}

/// The folder of the partial tiles that a full tile supersedes.
pub(crate) fn partial_folder(level: u8, index: u64) -> String {
    name(level, index, WIDTH) + ".p"
}

pub(crate) fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile in a tree of `size` leaves.
///
/// Falls back to the full tile if the partial one is missing, because the signer may delete it at
/// any time.
pub(crate) fn read(
    files: &dyn Files,
    size: u64,
    level: u8,
    index: u64,
) -> Result<Vec<Hash>, ReadError> {
    let hashes = shifted(size, level.into()).saturating_sub(index.saturating_mul(WIDTH as u64));
    let width = usize::try_from(hashes).unwrap_or(WIDTH).min(WIDTH);
    let full = name(level, index, WIDTH);
    let name = if width == 0 {
        full.clone()
    } else {
        name(level, index, width)
    };
    let lacks = |problem: String| ReadError::Evidence {
        name: name.clone(),
        problem,
    };
    let found = match super::read(files, &name, TILE_BYTES) {
        Ok(None) if width < WIDTH => super::read(files, &full, TILE_BYTES),
        found => found,
    };
    let bytes = found
        .map_err(|source| ReadError::Io {
            name: name.clone(),
            source,
        })?
        .ok_or_else(|| lacks(format!(
                "this tile of the tree is missing: restore it, or remove the folder `{TILES}`; opening the ledger creates it again"
            )))?;
    let (hashes, rest) = bytes.as_chunks::<HASH_SIZE>();
    let whole = rest.is_empty() && (hashes.len() == width || hashes.len() == WIDTH);
    match hashes.get(..width).filter(|_| whole) {
        Some(hashes) => Ok(hashes.iter().copied().map(Hash).collect()),
        None => Err(lacks(format!(
            "this tile of the tree has {} bytes",
            bytes.len()
        ))),
    }
}

/// The right edge of a tree of `size` leaves, from the tiles of a tree of `have` leaves.
pub(crate) fn edge(files: &dyn Files, have: u64, size: u64) -> Result<Tree, ReadError> {
    let mut levels = Vec::new();
    for level in 0u8.. {
        let hashes = shifted(size, level.into());
        if hashes == 0 {
            break;
        }
        let (index, width) = (hashes / WIDTH as u64, hashes % WIDTH as u64);
        levels.push(match width {
            0 => Vec::new(),
            width => {
                let mut hashes = read(files, have, level, index)?;
                hashes.truncate(usize::try_from(width).unwrap_or_default());
                hashes
            }
        });
    }
    Ok(Tree::of(size, levels))
}

/// The root of an earlier state of the tree.
pub(crate) fn root(files: &Arc<dyn Files>, size: u64, earlier: u64) -> Result<Hash, ReadError> {
    let stored = Stored::of(files, size);
    let root = tree_hash(earlier, &stored);
    root.map_err(|fault| stored.fault(&fault))
}

/// Reads single hashes of a tree of a given size.
pub(crate) struct Stored {
    files: Arc<dyn Files>,
    size: u64,
    /// The last read error, which the trait's error type cannot carry.
    fault: std::cell::RefCell<Option<ReadError>>,
}

impl Stored {
    pub(crate) fn of(files: &Arc<dyn Files>, size: u64) -> Self {
        Self {
            files: Arc::clone(files),
            size,
            fault: std::cell::RefCell::default(),
        }
    }

    /// The read error, or the tree's own error.
    pub(crate) fn fault(&self, fault: &tlog_tiles::Error) -> ReadError {
        let stored = self.fault.take();
        stored.unwrap_or_else(|| ReadError::Evidence {
            name: "tile".to_owned(),
            problem: fault.to_string(),
        })
    }

    fn hash(&self, at: u64) -> Result<Hash, tlog_tiles::Error> {
        let least = Tile::from_index(HEIGHT, at);
        let tile = least.parent(0, self.size);
        let tile = tile.ok_or(tlog_tiles::Error::IndexesNotInTree)?;
        let hashes = read(&*self.files, self.size, tile.level(), tile.level_index());
        match hashes {
            Ok(hashes) => tile.hash_at_index(&bytes(&hashes), at),
            Err(fault) => {
                self.fault.replace(Some(fault));
                Err(tlog_tiles::Error::InvalidTile)
            }
        }
    }
}

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes.iter().map(|at| self.hash(*at)).collect()
    }
}

/// Wraps an I/O error of a file.
pub(crate) fn failed(name: &str, source: io::Error) -> ReadError {
    ReadError::Io {
        name: name.to_owned(),
        source,
    }
}

const HEIGHT: u8 = 8;
const TILE_BYTES: u64 = (WIDTH * HASH_SIZE) as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tiles_as_specified() {
        let rows = [
            ((0, 0, 256), "tile/0/000"),
            ((0, 273, 112), "tile/0/273.p/112"),
            ((1, 1_234_067, 256), "tile/1/x001/x234/067"),
        ];
        for ((level, index, width), expected) in rows {
            assert_eq!(name(level, index, width), expected);
        }
        assert_eq!(partial_folder(0, 1273), "tile/0/x001/273.p");
    }
}
