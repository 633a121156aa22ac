//! The seam to the file system, so that tests can fail the n-th call, lose what was not
//! synced and tear what was written.

pub(crate) mod disk;
pub(crate) mod kind;
#[cfg(test)]
pub(crate) mod sim;

use std::fmt;
use std::io;

use kind::Doubt;

/// One directory of files.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// What there is to doubt about the file system.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// What people call the directory.
    fn place(&self) -> String {
        ".".to_owned()
    }

    /// Whether the directory is still the one that is written.
    ///
    /// # Errors
    /// What became of it.
    fn inspect(&self) -> io::Result<()> {
        Ok(())
    }

    /// The names in it.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Reads a file from a byte on.
    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn io::Read + Send>>;

    /// How many bytes a file has.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Creates a file that must not exist, and the folders in its name.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Opens a file for writing from a byte on.
    fn open(&self, name: &str, at: u64) -> io::Result<Box<dyn File>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a folder with all that is in it.
    fn remove_folder(&self, name: &str) -> io::Result<()>;

    /// Makes creations, removals and renamings in the directory itself durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes creations and removals in a folder of it durable.
    fn sync_folder(&self, name: &str) -> io::Result<()>;
}

/// One file that is written from its cursor on.
pub(crate) trait File: Send {
    /// Makes sure that there is space for so many bytes in all; they read as zeros.
    fn allocate(&mut self, bytes: u64) -> io::Result<()>;

    /// Writes all of these bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable, and notices if the file is no longer the one that a
    /// reader would open.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to a length and makes that durable.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}
