//! A directory of the real file system.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::FileExt;

use super::kind::{self, Doubt};
use super::{File, Files};
use crate::evidence::KEY;

/// A directory on disk. It is created with mode 0700, and its files with mode 0600.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    /// Held for the lifetime of this value. The operating system releases it when the process
    /// ends.
    lock: Option<Lock>,
}

/// The lock against a second writer.
///
/// The directory itself is locked, because removing or replacing the file `lock` must not admit a
/// second writer. The file is locked as well, for file systems that cannot lock directories (NFS)
/// and for older versions that locked only the file.
#[derive(Debug)]
struct Lock {
    /// The directory that was locked, even if its path now refers to another one.
    home: Option<fs::File>,
    _file: fs::File,
}

impl Disk {
    /// Opens a directory for reading, alongside a writer.
    pub(crate) fn reading(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            lock: None,
        }
    }

    /// Checks whether a directory can be written, without writing. `None` if it does not exist.
    pub(crate) fn checked(dir: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(dir) {
            Ok(found) => check_dir(dir, &found).map(|()| Some(Self::reading(dir))),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Opens a directory for writing. `None` if another process has it open for writing.
    pub(crate) fn writing(dir: &Path) -> io::Result<Option<Self>> {
        create_dir(dir)?;
        let home = open_dir(dir)?;
        if let Some(home) = &home {
            match home.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(fault)) => tracing::debug!(
                    %fault, "this file system cannot lock directories; only the file `lock` is locked"
                ),
            }
        }
        let file = private(
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false),
        )
        .open(dir.join(LOCK))
        .map_err(|fault| named(LOCK, &fault))?;
        regular(&file).map_err(|fault| named(LOCK, &fault))?;
        match file.try_lock() {
            Ok(()) => {
                let lock = Some(Lock { home, _file: file });
                let dir = dir.to_owned();
                Ok(Some(Self { dir, lock }))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(fault)) => Err(named(LOCK, &fault)),
        }
    }

    /// Checks that the path still refers to the locked directory. A reader has no lock.
    fn at_home(&self) -> io::Result<()> {
        let home = self.lock.as_ref().and_then(|lock| lock.home.as_ref());
        home.map_or(Ok(()), |home| {
            let is_same = match fs::symlink_metadata(&self.dir) {
                Ok(found) => same_file(&home.metadata()?, &found),
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => false,
                Err(fault) => return Err(fault),
            };
            match is_same {
                true => Ok(()),
                false => Err(io::Error::other(
                    "the ledger's directory was removed, renamed or replaced: put it back",
                )),
            }
        })
    }
}

impl Files for Disk {
    fn doubt(&self) -> Option<Doubt> {
        kind::doubt(&self.dir)
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn inspect(&self) -> io::Result<()> {
        self.at_home()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|file| file.map(|file| file.file_name()));
        names
            .filter_map(|name| name.map(|name| name.into_string().ok()).transpose())
            .collect()
    }

    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let path = self.dir.join(name);
        let file = unfollowed(fs::OpenOptions::new().read(true)).open(&path);
        let mut file = file.map_err(|fault| link(&path, fault))?;
        regular(&file)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.dir.join(name))?.len())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.at_home()?;
        let path = self.dir.join(name);
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.create_folder(folder)?;
        }
        let file = private(fs::OpenOptions::new().write(true).create_new(true)).open(&path)?;
        lock_segment(name, &file)?;
        Ok(Box::new(DiskFile { file, path, end: 0 }))
    }

    fn open(&self, name: &str, at: u64) -> io::Result<Box<dyn File>> {
        self.at_home()?;
        let path = self.dir.join(name);
        let file = unfollowed(fs::OpenOptions::new().write(true)).open(&path);
        let mut file = file.map_err(|fault| link(&path, fault))?;
        regular(&file)?;
        lock_segment(name, &file)?;
        file.seek(SeekFrom::Start(at))?;
        Ok(Box::new(DiskFile {
            file,
            path,
            end: at,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.at_home()?;
        fs::remove_file(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.at_home()?;
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.at_home()?;
        fs::remove_dir_all(self.dir.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }

    fn sync_folder(&self, name: &str) -> io::Result<()> {
        sync_dir(&self.dir.join(name))
    }
}

impl Disk {
    /// Creates a folder in the directory and makes it durable.
    fn create_folder(&self, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        if path.is_dir() {
            return Ok(());
        }
        let above = match name.rsplit_once('/') {
            Some((above, _)) => {
                self.create_folder(above)?;
                self.dir.join(above)
            }
            None => self.dir.clone(),
        };
        private_dir(&path)?;
        sync_dir(&above)
    }
}

struct DiskFile {
    file: fs::File,
    path: PathBuf,
    end: u64,
}

impl DiskFile {
    /// Checks that the path still refers to this file and that the file was not truncated.
    fn check(&self) -> io::Result<()> {
        let gone =
            || io::Error::other("the segment was removed, renamed or truncated from outside");
        let mine = self.file.metadata()?;
        let theirs = fs::symlink_metadata(&self.path).map_err(|fault| match fault.kind() {
            io::ErrorKind::NotFound => gone(),
            _ => fault,
        })?;
        match mine.len() < self.end || !same_file(&mine, &theirs) {
            true => Err(gone()),
            false => Ok(()),
        }
    }
}

impl File for DiskFile {
    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        self.check()?;
        self.file.allocate(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Writing beyond the end of a truncated file would hide the truncation.
        self.check()?;
        self.file.write_all(bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.check()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.end = self.end.min(bytes);
        self.file.sync_all()
    }
}

/// Locks a segment while it is open. The lock also holds after the file was moved to another
/// directory.
fn lock_segment(name: &str, file: &fs::File) -> io::Result<()> {
    if !name.ends_with(SEGMENT) {
        return Ok(());
    }
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            format!("`{name}` is being written by another process: stop that first"),
        )),
        // Such a file system cannot lock directories either.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(()),
    }
}

/// Adds the file name to an error.
fn named(name: &str, fault: &io::Error) -> io::Error {
    io::Error::new(fault.kind(), format!("`{name}`: {fault}"))
}

/// Replaces the system's error for a symbolic link by a uniform one.
fn link(path: &Path, fault: io::Error) -> io::Error {
    let found = fs::symlink_metadata(path);
    match found.is_ok_and(|found| found.is_symlink()) {
        true => io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a symbolic link, which is not followed: put the file itself there",
        ),
        false => fault,
    }
}

/// Checks that an existing directory is safe for a ledger.
#[cfg(unix)]
fn check_dir(dir: &Path, found: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = found.permissions().mode() & 0o777;
    let refused = if found.is_symlink() {
        Some("it is a symbolic link, which could be redirected: name the directory itself")
    } else if !found.is_dir() {
        Some("it is no directory: name another, or remove it")
    } else if mode & 0o002 != 0 {
        Some("everybody may write to it: take that away (`chmod o-w`), or name another")
    } else {
        None
    };
    if let Some(why) = refused {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if mode & 0o077 != 0 {
        tracing::warn!(dir = %dir.display(), mode = %format_args!("{mode:o}"),
            "other users may read or change the ledger's directory");
    }
    let key = fs::symlink_metadata(dir.join(KEY));
    if key.is_ok_and(|key| key.permissions().mode() & 0o077 != 0) {
        tracing::warn!(dir = %dir.display(), "other users may read the ledger's signing key: `chmod 600 key`");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_dir(_: &Path, found: &fs::Metadata) -> io::Result<()> {
    match found.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

#[cfg(unix)]
fn create_dir(dir: &Path) -> io::Result<()> {
    if let Ok(found) = fs::symlink_metadata(dir) {
        return check_dir(dir, &found);
    }
    private_dir(dir)?;
    dir.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), sync_dir)
}

#[cfg(unix)]
fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(unix)]
fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    unfollowed(std::os::unix::fs::OpenOptionsExt::mode(options, 0o600))
}

/// Does not follow a symbolic link, and does not block on a named pipe.
#[cfg(unix)]
fn unfollowed(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    use rustix::fs::OFlags;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.cast_signed())
}

/// Checks that this is a regular file.
fn regular(file: &fs::File) -> io::Result<()> {
    match file.metadata()?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file: remove it, or restore the ledger from a copy",
        )),
    }
}

#[cfg(unix)]
fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Opens the directory itself, for locking.
#[cfg(unix)]
fn open_dir(dir: &Path) -> io::Result<Option<fs::File>> {
    use rustix::fs::OFlags;
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags);
    options.open(dir).map(Some)
}

/// Directories cannot be opened as files here, and cannot be moved while a file in them is open.
#[cfg(not(unix))]
fn open_dir(_: &Path) -> io::Result<Option<fs::File>> {
    Ok(None)
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn create_dir(dir: &Path) -> io::Result<()> {
    private_dir(dir)
}

#[cfg(not(unix))]
fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(not(unix))]
fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

#[cfg(not(unix))]
fn unfollowed(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

#[cfg(not(unix))]
fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    one.len() == other.len()
}

/// Directories cannot be synced here; the file system's journal must suffice.
#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

const LOCK: &str = "lock";
const SEGMENT: &str = ".seg";

#[cfg(unix)]
#[cfg(test)]
mod tests;
