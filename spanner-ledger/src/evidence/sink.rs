//! Where checkpoints go, so that whoever holds the machine cannot rewrite what came before.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::notes::Notes;
use super::{Checkpoint, MAX_NOTE_BYTES, VerifierKey};

/// Takes each checkpoint to a place that whoever can write the ledger's directory cannot
/// change: another machine, a log that only grows, somebody's mail.
///
/// Called on a thread of its own, after the checkpoint stands in the ledger's directory, and at
/// the ledger's close, which waits for all sinks together for five seconds. It may block: then
/// it gets later checkpoints later, some of them never, and nothing else waits. What fails is
/// tried again each second with the newest checkpoint, which says all that those before it said.
///
/// # Security
/// A sink that keeps its checkpoints beside the ledger proves nothing to anybody who doubts
/// the machine's owner. One that drops them makes a cut end of the ledger look like its end.
pub trait CheckpointSink: Send + std::fmt::Debug {
    /// Takes one.
    ///
    /// # Errors
    /// What kept it from doing so.
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()>;

    /// The text of the newest checkpoint that it took, if it can be asked. The ledger is not
    /// opened if it contradicts this checkpoint or is shorter. Called where the ledger is
    /// opened, which waits for the answer.
    ///
    /// # Errors
    /// What kept it from answering.
    fn newest(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// Appends checkpoints to a file, synced, with blank lines between them.
///
/// [`Checkpoint::read`] reads it. Put it on another machine's disk, or have it
/// collected.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    file: fs::File,
}

impl CheckpointFile {
    /// Appends to a file, which is made if need be. Cuts a last checkpoint that a crash left
    /// unfinished.
    ///
    /// # Errors
    /// What the operating system said, or that the file ends in something else than a
    /// checkpoint or a part of one: then it is left as it is.
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
            // No crash left that, and it may be somebody else's.
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
            // Half of it would spoil the next one. If even that fails, so does what follows.
            self.file.set_len(before)?;
        }
        shipped
    }

    fn newest(&mut self) -> io::Result<Option<String>> {
        let end = End::of(&self.path)?.text;
        // What stands before it may be half of another.
        let notes = Notes::of(end.get(..whole(&end)).unwrap_or_default());
        Ok(notes.flatten().last())
    }
}

/// Keeps the newest checkpoint of a ledger in one small file, replaced whole each time.
///
/// It is what a ledger's service keeps beside the ledger's directory
/// ([`Builder::note`](crate::Builder::note)): no proof against somebody who can write both, but
/// enough to notice at the next start that the directory lost its end, was set back to an older
/// copy, or is another ledger. [`Checkpoint::read`] reads it. Of other ledgers that stood in the
/// same place it keeps the last eight notes, the newest last.
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
    /// In a file, which is made if need be.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { path }
    }

    /// The file beside a directory that is called like it: `ledger.checkpoint` beside `ledger`.
    /// `None` for a directory without a name of its own, such as `/`.
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

    /// The notes in it, of whatever ledger; none if it is not there.
    ///
    /// # Errors
    /// What the operating system said.
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

    /// The checkpoints in it that one of these keys signed, and the origins of all others: of ledgers
    /// that were in the same place before.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn checkpoints(&self, keys: &[VerifierKey]) -> io::Result<(Vec<Checkpoint>, Vec<String>)> {
        let (mut own, mut strangers) = (Vec::new(), Vec::new());
        for note in self.notes()? {
            match Checkpoint::verify(&note, keys) {
                Ok(checkpoint) => own.push(checkpoint),
                Err(_) => strangers.push(note.lines().next().unwrap_or_default().to_owned()),
            }
        }
        Ok((own, strangers))
    }

    /// Replaces all that it holds.
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

/// Of how many ledgers a note is kept.
const MAX_NOTES: u64 = 9;

/// What stands at the end of a file: enough to hold the last checkpoint.
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

/// How much of a text is whole checkpoints: up to the last signature and a blank line.
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

/// Writes checkpoints to the standard output, for whatever collects it.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CheckpointStdout;

impl CheckpointStdout {
    /// To this process's standard output.
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
    fn half_a_checkpoint_is_taken_back_when_writing_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let key = SigningKey::generate("example.com/ledger").unwrap();
        let keys = [key.verifier().clone()];
        let mut file = CheckpointFile::append(&path).unwrap();
        let sign = |size| Checkpoint::sign(&key, size, Hash([1; 32])).unwrap();
        file.ship(&sign(1)).unwrap();
        let whole = fs::read(&path).unwrap();
        // Opened for reading only, it cannot be written.
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
    fn a_checkpoint_that_a_crash_cut_is_cut_off() {
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
    fn a_file_of_something_else_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let text = "no checkpoint\n".repeat(1 << 14);
        fs::write(&path, &text).unwrap();
        let fault = CheckpointFile::append(&path).unwrap_err();
        assert!(fault.to_string().ends_with("does not end in a checkpoint"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_note_is_replaced_and_those_of_other_ledgers_stay() {
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
        // What a crash left of one is not read, and is in nobody's way.
        fs::write(&path, &expected[1].as_bytes()[..40]).unwrap();
        assert!(note.notes().unwrap().is_empty());
        note.ship(&sign(&key, 3)).unwrap();
        assert_eq!(note.notes().unwrap().len(), 1);
    }

    #[test]
    fn answers_with_the_newest() {
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
