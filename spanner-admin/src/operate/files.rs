//! Detects changed files.
//!
//! Files are compared by size and times at intervals. That works on every file system, and also
//! if a link to a directory is replaced, as Kubernetes does for mounted configuration. A change
//! counts once two consecutive comparisons agree, so that files that are written together take
//! effect together.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;

/// Watches a file, or all files below a directory, for changes since they were read.
#[derive(Debug, Clone)]
pub struct FileWatch {
    path: PathBuf,
    wanted: Wanted,
    read: u64,
    last: u64,
    /// The number of calls since the last comparison.
    asked: u32,
}

/// The files below a path that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// `access.toml` outside of hidden folders. Folders of models contain many other files.
    Manifests,
}

/// The recommended interval between calls of [`FileWatch::changed`].
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Folders of models may contain many files, so only every fourth call compares them.
const MODELS_EVERY: u32 = 4;
/// The maximum depth of directories, because a link may form a cycle.
const MAX_DEPTH: usize = 16;
/// The maximum number of files and folders, the same as for an access directory.
const MAX_ENTRIES: usize = 500_000;

impl FileWatch {
    /// Starts watching now. Create the watch before reading the files, so that a change in
    /// between is detected.
    #[must_use]
    pub fn before_reading(path: &Path) -> Self {
        Self::before_reading_of(path, Wanted::All)
    }

    /// Watches a folder that contains a folder for each model, and compares only manifests.
    #[must_use]
    pub fn before_reading_models(path: &Path) -> Self {
        Self::before_reading_of(path, Wanted::Manifests)
    }

    /// Watches files that were read before, and reports them as changed once.
    #[must_use]
    pub fn unread(path: &Path) -> Self {
        let mut watch = Self::before_reading(path);
        watch.read = 0;
        watch
    }

    fn before_reading_of(path: &Path, wanted: Wanted) -> Self {
        let now = look(path, wanted);
        Self {
            path: path.to_owned(),
            wanted,
            read: now,
            last: now,
            asked: 0,
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the files changed since they were read and were the same in the last two
    /// comparisons. A change is reported once.
    pub async fn changed(&mut self) -> bool {
        self.asked += 1;
        if self.wanted == Wanted::Manifests && self.asked < MODELS_EVERY {
            return false;
        }
        self.asked = 0;
        let (path, wanted) = (self.path.clone(), self.wanted);
        let Ok(now) = spawn_blocking(move || look(&path, wanted)).await else {
            return false;
        };
        let settled = now == self.last;
        let changed = settled && now != self.read;
        self.last = now;
        if changed {
            self.read = now;
        }
        changed
    }
}

fn look(path: &Path, wanted: Wanted) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut walk = Walk {
        root: path.canonicalize().ok(),
        wanted,
        left: MAX_ENTRIES,
    };
    walk.print(path, MAX_DEPTH, &mut hasher);
    hasher.finish()
}

/// A walk over all files below a directory.
struct Walk {
    root: Option<PathBuf>,
    wanted: Wanted,
    /// The remaining number of files and folders to compare.
    left: usize,
}

impl Walk {
    /// Hashes the size and the times of a file, or of all files below a directory.
    fn print(&mut self, path: &Path, depth: usize, hasher: &mut DefaultHasher) {
        path.hash(hasher);
        let Some(left) = self.left.checked_sub(1) else {
            return;
        };
        self.left = left;
        let Ok(metadata) = fs::metadata(path) else {
            return;
        };
        if !metadata.is_dir() {
            metadata.len().hash(hasher);
            metadata.modified().ok().hash(hasher);
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                let changed = (metadata.ctime(), metadata.ctime_nsec());
                (metadata.dev(), metadata.ino(), changed).hash(hasher);
            }
            return;
        }
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let wanted = self.wanted;
        let entries = entries.filter(|entry| wanted.takes(entry));
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| self.holds(path, depth + 1 == MAX_DEPTH))
            .collect();
        paths.sort();
        for path in paths {
            self.print(&path, depth, hasher);
        }
    }

    /// Whether a path is compared. The target of a link that leads outside of the directory is
    /// not, unless it is the folder of a model.
    fn holds(&self, path: &Path, is_at_the_top: bool) -> bool {
        if !path.is_symlink() {
            return true;
        }
        let (Some(root), Ok(target)) = (&self.root, path.canonicalize()) else {
            return true;
        };
        let own = self.wanted == Wanted::Manifests && is_at_the_top;
        target.starts_with(root) || (own && !root.starts_with(&target))
    }
}

impl Wanted {
    /// Whether an entry is compared, judging by its name and type.
    fn takes(self, entry: &fs::DirEntry) -> bool {
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        match self {
            Self::All => true,
            Self::Manifests if is_file => name == "access.toml",
            Self::Manifests => !name.to_string_lossy().starts_with('.'),
        }
    }
}
