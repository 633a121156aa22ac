//! Hashes entries in order and compares them with the tree.

use std::sync::Arc;

use tlog_tiles::{Hash, record_hash};

use super::tiles;
use super::tree::{Full, Tree, WIDTH};
use crate::error::ReadError;
use crate::files::Files;
use crate::scan::Stored;

/// The leaf of an entry. It is empty if a fault may have lost the entry.
pub(crate) fn leaf(stored: &Stored) -> Hash {
    match stored.uncertain {
        true => empty_leaf(),
        false => record_hash(&stored.payload),
    }
}

/// The leaf of a lost entry.
pub(crate) fn empty_leaf() -> Hash {
    record_hash(&[])
}

/// Grows a tree by the entries that follow its last one.
#[derive(Debug, Clone)]
pub(crate) struct Follower {
    pub(crate) tree: Tree,
}

/// The leaves stored in the tiles of a tree of a given size.
#[derive(Debug)]
pub(crate) struct Leaves {
    files: Arc<dyn Files>,
    size: u64,
    tile: Option<(u64, Vec<Hash>)>,
}

/// Roots that a tree must have at certain sizes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// The roots not reached yet, in descending order of size.
    ahead: Vec<(u64, Hash)>,
    /// The largest size at which the tree had the expected root.
    pub(crate) agreed: u64,
}

impl Follower {
    pub(crate) const fn of(tree: Tree) -> Self {
        Self { tree }
    }

    /// Adds an entry. Returns the tiles that became full.
    pub(crate) fn take(&mut self, sequence: u64, leaf: Hash) -> Vec<Full> {
        let mut full = Vec::new();
        while self.tree.size() < sequence {
            // A fault lost this entry.
            full.extend(self.tree.push(empty_leaf()));
        }
        if self.tree.size() == sequence {
            full.extend(self.tree.push(leaf));
        }
        full
    }
}

impl Leaves {
    pub(crate) fn of(files: Arc<dyn Files>, size: u64) -> Self {
        Self {
            files,
            size,
            tile: None,
        }
    }

    /// The leaf of an entry according to the tiles.
    pub(crate) fn at(&mut self, sequence: u64) -> Result<Option<Hash>, ReadError> {
        let index = sequence / WIDTH as u64;
        let place = usize::try_from(sequence % WIDTH as u64).unwrap_or_default();
        if self.tile.as_ref().is_none_or(|(at, _)| *at != index) {
            let hashes = tiles::read(&*self.files, self.size, 0, index)?;
            self.tile = Some((index, hashes));
        }
        let tile = self.tile.as_ref();
        Ok(tile.and_then(|(_, hashes)| hashes.get(place)).copied())
    }

    /// Whether the tiles have this leaf for an entry. Entries beyond the tree count as matching.
    pub(crate) fn has(&mut self, sequence: u64, leaf: Hash) -> Result<bool, ReadError> {
        if sequence >= self.size {
            return Ok(true);
        }
        Ok(self.at(sequence)? == Some(leaf))
    }
}

impl Expected {
    pub(crate) fn of(roots: impl IntoIterator<Item = (u64, Hash)>) -> Self {
        let mut ahead: Vec<_> = roots.into_iter().collect();
        ahead.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        Self { ahead, agreed: 0 }
    }

    /// Compares the tree with the root expected at its size. Returns the size on a mismatch.
    pub(crate) fn check(&mut self, tree: &Tree) -> Result<(), u64> {
        self.check_root(tree.size(), || tree.root())
    }

    fn check_root(&mut self, size: u64, root: impl Fn() -> Hash) -> Result<(), u64> {
        while let Some((_, expected)) = self.ahead.pop_if(|(at, _)| *at <= size) {
            if expected != root() {
                return Err(size);
            }
            self.agreed = size;
        }
        Ok(())
    }

    /// The largest size that the tree has not reached.
    pub(crate) fn unreached(&self) -> Option<u64> {
        self.ahead.first().map(|(size, _)| *size)
    }

    /// Removes and returns the roots expected at sizes below `size`.
    pub(crate) fn take_below(&mut self, size: u64) -> Vec<(u64, Hash)> {
        let at = self.ahead.partition_point(|(at, _)| *at >= size);
        self.ahead.split_off(at)
    }
}
