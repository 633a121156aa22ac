//! The right edge of a Merkle tree, which suffices to append leaves.

use tlog_tiles::{EMPTY_HASH, Hash, node_hash};

use super::MAX_SIZE;

/// A Merkle tree, represented by the hashes of its partial tiles: at most 255 per level.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    size: u64,
    /// The hashes per level, from the leaves upwards.
    levels: Vec<Vec<Hash>>,
}

/// A tile that just became full.
#[derive(Debug)]
pub(crate) struct Full {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
}

impl Tree {
    /// Creates a tree of a size from the hashes of its partial tiles.
    pub(crate) fn of(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The partial tiles: level, index and hashes.
    pub(crate) fn partial(&self) -> impl Iterator<Item = (u8, u64, &[Hash])> {
        let levels = (0u8..).zip(&self.levels);
        let partial = levels.filter(|(_, hashes)| !hashes.is_empty());
        partial.map(|(level, hashes)| {
            let index = shifted(self.size, u32::from(level) + 1);
            (level, index, hashes.as_slice())
        })
    }

    /// Appends a leaf. Returns the tiles that became full.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<Full> {
        let mut full = Vec::new();
        self.size = (self.size + 1).min(MAX_SIZE);
        let mut hash = leaf;
        for level in 0u8..MAX_LEVELS {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else {
                break;
            };
            hashes.push(hash);
            if hashes.len() < WIDTH {
                break;
            }
            let hashes = std::mem::take(hashes);
            hash = perfect(&hashes);
            let index = shifted(self.size, u32::from(level) + 1).saturating_sub(1);
            full.push(Full {
                level,
                index,
                hashes,
            });
        }
        full
    }

    /// The root over all leaves.
    pub(crate) fn root(&self) -> Hash {
        // Larger subtrees are further left, so they come last in this iteration.
        let subtrees = self.levels.iter().flat_map(|hashes| {
            let mut rest = hashes.as_slice();
            let mut roots = Vec::new();
            for bit in 0..8 {
                if hashes.len() & (1 << bit) != 0 {
                    let (left, last) = rest.split_at(rest.len() - (1 << bit));
                    roots.push(perfect(last));
                    rest = left;
                }
            }
            roots
        });
        let root = subtrees.reduce(|right, left| node_hash(left, right));
        root.unwrap_or(EMPTY_HASH)
    }
}

/// The root over a number of hashes that is a power of two.
fn perfect(hashes: &[Hash]) -> Hash {
    let mut hashes = hashes.to_vec();
    while hashes.len() > 1 {
        hashes = hashes
            .chunks(2)
            .filter_map(|pair| Some(node_hash(*pair.first()?, *pair.get(1)?)))
            .collect();
    }
    hashes.first().copied().unwrap_or(EMPTY_HASH)
}

/// The number of complete subtrees that are `tiles` tiles high.
pub(crate) fn shifted(size: u64, tiles: u32) -> u64 {
    size.checked_shr(8 * tiles).unwrap_or(0)
}

/// The number of hashes in a full tile.
pub(crate) const WIDTH: usize = 256;
/// Enough levels for `MAX_SIZE` leaves.
const MAX_LEVELS: u8 = 8;

#[cfg(test)]
mod tests {
    use tlog_tiles::record_hash;

    use super::*;

    /// The definition in RFC 6962, verbatim.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(defined(left), defined(right))
            }
        }
    }

    #[test]
    fn the_root_matches_the_definition_in_the_rfc() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        assert_eq!(tree.root(), defined(&leaves));
        for size in 1u32..1100 {
            let leaf = record_hash(&size.to_le_bytes());
            leaves.push(leaf);
            tree.push(leaf);
            assert_eq!(tree.root(), defined(&leaves), "{size}");
        }
    }

    #[test]
    fn tiles_fill_level_by_level() {
        let mut tree = Tree::default();
        let mut seen = Vec::new();
        for _ in 0..70_000 {
            let full = tree.push(Hash([1; 32]));
            seen.extend(full.iter().map(|full| (full.level, full.index)));
        }
        assert_eq!(seen.len(), 273 + 1);
        assert_eq!(seen[255..258], [(0, 255), (1, 0), (0, 256)]);
        let partial: Vec<_> = tree
            .partial()
            .map(|(l, n, hashes)| (l, n, hashes.len()))
            .collect();
        // The example of the specification.
        assert_eq!(partial, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
    }
}
