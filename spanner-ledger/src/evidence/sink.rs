//! Ships checkpoints out of reach of an attacker on the ledger's machine.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::notes::Notes;
use super::{Checkpoint, MAX_NOTE_BYTES, VerifierKey};

/// Ships checkpoints to a place that an attacker with write access to the ledger's directory
/// cannot change, such as another machine, an append-only log, or a mailbox.
///
/// The ledger calls a sink on a thread of its own, after it has stored the checkpoint in its
/// directory, and once more on closing, which waits at most five seconds for all sinks together.
/// A sink may block; it then skips intermediate checkpoints, and nothing else waits for it. A
/// failed shipment is retried every second with the newest checkpoint, which covers all earlier
/// ones.
///
/// # Security
/// A sink that stores checkpoints next to the ledger proves nothing about the operator of the
/// machine. A sink that drops checkpoints hides a truncation of the ledger.
pub trait CheckpointSink: Send + std::fmt::Debug {
    /// Ships one checkpoint.
    ///
    /// # Errors
    /// The error that prevented shipment.
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()>;

    /// Returns the text of the newest checkpoint that the sink received, if the sink can be
    /// queried. The ledger is not opened if it is shorter than this checkpoint or contradicts it.
    /// Opening the ledger calls this and waits for the result.
    ///
    /// # Errors
    /// The error that prevented the query.
    fn newest(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// Appends checkpoints to a file, separated by blank lines, and syncs it.
///
/// Use a file on another machine's disk, or have it collected. [`Checkpoint::read`] reads it.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    file: fs::File,
}

impl CheckpointFile {
    /// Opens a file for appending, and creates it if it does not exist. Truncates an incomplete
    /// checkpoint at its end.
    ///
    /// # Errors
    /// The operating system's error, or [`io::ErrorKind::InvalidData`] if the file ends in
    /// anything but a checkpoint or a part of one. In that case the file is not changed.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)?;
        let end = End::of(&path)?;
        let whole = whole(&end.text) as u64;
        let torn = end.text.len() as u64 - whole;
        if torn > MAX_NOTE_BYTES {
            // No crash leaves that many bytes, so the file may have another purpose.
            let what = format!("`{}` does not end in a checkpoint", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if torn > 0 {
            file.set_len(end.start + whole)?;
            file.sync_all()?;
        }
        Ok(Self { path, file })
    }
}

impl CheckpointSink for CheckpointFile {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let text = format!("{}\n", checkpoint.note());
        let before = self.file.metadata()?.len();
        let shipped = self.file.write_all(text.as_bytes());
        let shipped = shipped.and_then(|()| self.file.sync_data());
        if shipped.is_err() {
            // A partial checkpoint would spoil the next one. If truncation fails, the sink fails
            // as well.
            self.file.set_len(before)?;
        }
        shipped
    }

    fn newest(&mut self) -> io::Result<Option<String>> {
        let end = End::of(&self.path)?.text;
        // The text may begin in the middle of a checkpoint.
        let notes = Notes::of(end.get(..whole(&end)).unwrap_or_default());
        Ok(notes.flatten().last())
    }
}

/// Stores the newest checkpoint of a ledger in one small file, which is replaced atomically.
///
/// A service stores it next to the ledger's directory ([`Builder::note`](crate::Builder::note)).
/// It proves nothing against an attacker who can write both. It reveals at the next start that
/// the directory was truncated, reverted to an older copy, or replaced by another ledger.
/// [`Checkpoint::read`] reads the file. It also retains the last eight notes of other ledgers
/// that used the same file, the newest last.
#[derive(Clone)]
pub struct CheckpointNote {
    path: PathBuf,
}

impl std::fmt::Debug for CheckpointNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.path.display())
    }
}

impl CheckpointNote {
    /// Uses a file, which is created by the first checkpoint.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { path }
    }

    /// The file next to a directory with the same name: `ledger.checkpoint` for `ledger`. `None`
    /// for a directory without a name, such as `/`.
    #[must_use]
    pub fn beside(dir: impl AsRef<Path>) -> Option<PathBuf> {
        let dir = dir.as_ref();
        let whole;
        let dir = match dir.file_name() {
            Some(_) => dir,
            None => {
                whole = dir.canonicalize().ok()?;
                &whole
            }
        };
        let mut name = dir.file_name()?.to_owned();
        name.push(".checkpoint");
        Some(dir.with_file_name(name))
    }

    /// The notes in the file, of any ledger. Empty if the file does not exist.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn notes(&self) -> io::Result<Vec<String>> {
        let file = match fs::File::open(&self.path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        if !file.metadata()?.is_file() {
            let what = format!("`{}` is no regular file", self.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut text = Vec::new();
        file.take(MAX_NOTES * MAX_NOTE_BYTES)
            .read_to_end(&mut text)?;
        let whole = whole(&text);
        let notes = Notes::of(text.get(..whole).unwrap_or_default());
        Ok(notes.flatten().collect())
    }

    /// The checkpoints in the file that one of the keys signed, and the origins of all others,
    /// which belong to ledgers that used the same file before.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn checkpoints(&self, keys: &[VerifierKey]) -> io::Result<(Vec<Checkpoint>, Vec<String>)> {
        let (mut own, mut foreign_origins) = (Vec::new(), Vec::new());
        for note in self.notes()? {
            match Checkpoint::verify(&note, keys) {
                Ok(checkpoint) => own.push(checkpoint),
                Err(_) => foreign_origins.push(note.lines().next().unwrap_or_default().to_owned()),
            }
        }
        Ok((own, foreign_origins))
    }

    /// Replaces the contents of the file.
    pub(crate) fn write(&self, notes: &[String]) -> io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            let unfollowed = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            options.mode(0o600).custom_flags(unfollowed);
        }
        let mut file = options.open(&new)?;
        for note in notes {
            file.write_all(format!("{note}\n").as_bytes())?;
        }
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}

impl CheckpointSink for CheckpointNote {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let is_other = |note: &String| note.lines().next() != Some(checkpoint.origin());
        let mut notes: Vec<String> = self.notes()?.into_iter().filter(is_other).collect();
        let superfluous = notes.len().saturating_sub(MAX_NOTES as usize - 1);
        notes.drain(..superfluous);
        notes.push(checkpoint.note().to_owned());
        self.write(&notes)
    }
}

/// One note of this ledger and up to eight of earlier ledgers.
const MAX_NOTES: u64 = 9;

/// The end of a file, long enough to contain the last checkpoint.
struct End {
    start: u64,
    text: Vec<u8>,
}

impl End {
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(2 * MAX_NOTE_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        file.take(2 * MAX_NOTE_BYTES).read_to_end(&mut text)?;
        Ok(Self { start, text })
    }
}

/// The length of the complete checkpoints in a text: up to the last signature and a blank line.
fn whole(text: &[u8]) -> usize {
    let (mut at, mut whole) = (0, 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_signature = line.starts_with("\u{2014} ".as_bytes()) && line.ends_with(b"\n");
        let is_blank = line == b"\n" && whole == at;
        at += line.len();
        if is_signature || is_blank {
            whole = at;
        }
    }
    whole
}

/// Writes checkpoints to standard output, for a log collector.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CheckpointStdout;

impl CheckpointStdout {
    /// Creates a sink for this process's standard output.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl CheckpointSink for CheckpointStdout {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", checkpoint.note())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::Hash;

    use super::*;
    use crate::SigningKey;

    #[test]
    fn removes_a_partial_checkpoint_after_a_failed_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let key = SigningKey::generate("example.com/ledger").unwrap();
        let keys = [key.verifier().clone()];
        let mut file = CheckpointFile::append(&path).unwrap();
        let sign = |size| Checkpoint::sign(&key, size, Hash([1; 32])).unwrap();
        file.ship(&sign(1)).unwrap();
        let whole = fs::read(&path).unwrap();
        // The file is replaced by a read-only handle, so that writing fails.
        let writable = std::mem::replace(&mut file.file, fs::File::open(&path).unwrap());
        assert!(file.ship(&sign(2)).is_err());
        file.file = writable;
        assert_eq!(fs::read(&path).unwrap(), whole);
        file.ship(&sign(3)).unwrap();
        let read = fs::read_to_string(&path).unwrap();
        let sizes = Checkpoint::verify_all(&read, &keys).unwrap();
        assert_eq!(
            sizes.iter().map(Checkpoint::size).collect::<Vec<_>>(),
            [1, 3]
        );
    }

    #[test]
    fn truncates_a_checkpoint_that_a_crash_left_incomplete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let key = SigningKey::generate("example.com/ledger").unwrap();
        let keys = [key.verifier().clone()];
        let ship = |size| {
            let checkpoint = Checkpoint::sign(&key, size, Hash([1; 32])).unwrap();
            let mut file = CheckpointFile::append(&path).unwrap();
            file.ship(&checkpoint).unwrap();
        };
        ship(1);
        ship(2);
        let text = fs::read_to_string(&path).unwrap();
        let start = text.len() / 2;
        for cut in start..=text.len() {
            fs::write(&path, &text.as_bytes()[..cut]).unwrap();
            ship(3);
            let read = fs::read_to_string(&path).unwrap();
            let sizes = Checkpoint::verify_all(&read, &keys).unwrap();
            let sizes: Vec<_> = sizes.iter().map(Checkpoint::size).collect();
            let whole = cut >= text.len() - 1;
            assert_eq!(
                sizes,
                if whole { vec![1, 2, 3] } else { vec![1, 3] },
                "{cut}"
            );
        }
    }

    #[test]
    fn refuses_to_append_to_a_file_of_another_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let text = "no checkpoint\n".repeat(1 << 14);
        fs::write(&path, &text).unwrap();
        let fault = CheckpointFile::append(&path).unwrap_err();
        assert!(fault.to_string().ends_with("does not end in a checkpoint"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn replaces_its_own_note_and_retains_those_of_other_ledgers() {
        let dir = tempfile::tempdir().unwrap();
        let path = CheckpointNote::beside(dir.path().join("ledger")).unwrap();
        assert_eq!(path, dir.path().join("ledger.checkpoint"));
        let mut note = CheckpointNote::new(&path);
        assert!(note.notes().unwrap().is_empty());
        let (key, other) = (
            SigningKey::generate("example.com/ledger").unwrap(),
            SigningKey::generate("example.com/other").unwrap(),
        );
        let sign = |key, size| Checkpoint::sign(key, size, Hash([1; 32])).unwrap();
        for (key, size) in [(&other, 9), (&key, 1), (&key, 2)] {
            note.ship(&sign(key, size)).unwrap();
        }
        let expected = [
            sign(&other, 9).note().to_owned(),
            sign(&key, 2).note().to_owned(),
        ];
        assert_eq!(note.notes().unwrap(), expected);
        // An incomplete note, as after a crash, is neither read nor in the way.
        fs::write(&path, &expected[1].as_bytes()[..40]).unwrap();
        assert!(note.notes().unwrap().is_empty());
        note.ship(&sign(&key, 3)).unwrap();
        assert_eq!(note.notes().unwrap().len(), 1);
    }

    #[test]
    fn returns_the_newest_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::generate("example.com/ledger").unwrap();
        let mut file = CheckpointFile::append(dir.path().join("checkpoints")).unwrap();
        assert_eq!(file.newest().unwrap(), None);
        for size in 1..3 {
            let checkpoint = Checkpoint::sign(&key, size, Hash([1; 32])).unwrap();
            file.ship(&checkpoint).unwrap();
            assert_eq!(file.newest().unwrap().as_deref(), Some(checkpoint.note()));
        }
    }
}
