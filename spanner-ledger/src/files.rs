//! An abstraction of the file system, so that tests can fail any call, discard unsynced data and
//! tear writes.

pub(crate) mod disk;
pub(crate) mod kind;
#[cfg(test)]
pub(crate) mod sim;

use std::fmt;
use std::io;

use kind::Doubt;

/// One directory of files.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// Why the file system's durability is in doubt, if it is.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// The directory's name for messages.
    fn place(&self) -> String {
        ".".to_owned()
    }

    /// Checks that the directory was not moved or replaced.
    ///
    /// # Errors
    /// An error that describes the change.
    fn inspect(&self) -> io::Result<()> {
        Ok(())
    }

    /// The names of the files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Reads a file from an offset on.
    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn io::Read + Send>>;

    /// The size of a file in bytes.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Creates a file, and the folders in its name. Fails if the file exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Opens a file for writing from an offset on.
    fn open(&self, name: &str, at: u64) -> io::Result<Box<dyn File>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file, and replaces an existing one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a folder recursively.
    fn remove_folder(&self, name: &str) -> io::Result<()>;

    /// Syncs the directory: creations, deletions and renamings become durable.
    fn sync(&self) -> io::Result<()>;

    /// Syncs a folder in the directory.
    fn sync_folder(&self, name: &str) -> io::Result<()>;
}

/// A file open for writing.
pub(crate) trait File: Send {
    /// Allocates space for a total of `bytes` bytes, which read as zeros.
    fn allocate(&mut self, bytes: u64) -> io::Result<()>;

    /// Writes all bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes written data durable. Fails if the path no longer refers to this file.
    fn sync(&mut self) -> io::Result<()>;

    /// Truncates the file to a length and syncs it.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}
