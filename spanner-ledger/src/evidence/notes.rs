//! Reads a sequence of signed notes, one at a time.

use std::io::{BufRead, Read};

use super::{Checkpoint, CheckpointError, MAX_NOTE_BYTES, VerifierKey};

/// An iterator over a sequence of checkpoints that verifies each one. Holds only one in memory.
/// Ends after the first error. Created by [`Checkpoint::read`].
#[derive(Debug)]
pub struct Checkpoints<R> {
    notes: Notes<R>,
    keys: Vec<VerifierKey>,
    ended: bool,
}

impl<R: BufRead> Checkpoints<R> {
    pub(super) fn of(reader: R, keys: &[VerifierKey]) -> Self {
        Self {
            notes: Notes::of(reader),
            keys: keys.to_owned(),
            ended: false,
        }
    }
}

impl<R: BufRead> Iterator for Checkpoints<R> {
    type Item = Result<Checkpoint, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let note = self.notes.next()?;
        let checkpoint = note.and_then(|note| Checkpoint::verify(&note, &self.keys));
        self.ended = checkpoint.is_err();
        Some(checkpoint)
    }
}

/// Splits its input after each group of signatures.
#[derive(Debug)]
pub(super) struct Notes<R> {
    reader: R,
    note: Vec<u8>,
}

impl<R: BufRead> Notes<R> {
    pub(super) const fn of(reader: R) -> Self {
        let note = Vec::new();
        Self { reader, note }
    }

    /// The next line without its line break; `None` at the end of the input.
    fn line(&mut self) -> Result<Option<Vec<u8>>, CheckpointError> {
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(MAX_NOTE_BYTES + 1)
            .read_until(b'\n', &mut line);
        read.map_err(|error| CheckpointError::Unreadable { kind: error.kind() })?;
        if (self.note.len() + line.len()) as u64 > MAX_NOTE_BYTES {
            return Err(CheckpointError::TooLarge);
        }
        if line.is_empty() {
            return Ok(None);
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        Ok(Some(text.strip_suffix(b"\r").unwrap_or(text).to_vec()))
    }

    /// Returns the current note and begins the next one.
    fn cut(&mut self) -> Result<String, CheckpointError> {
        let note = std::mem::take(&mut self.note);
        String::from_utf8(note).map_err(|_| CheckpointError::Malformed)
    }
}

impl<R: BufRead> Iterator for Notes<R> {
    type Item = Result<String, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut signed = false;
        loop {
            let line = match self.line() {
                Ok(Some(line)) => line,
                Ok(None) if self.note.is_empty() => return None,
                Ok(None) => return Some(self.cut()),
                Err(fault) => return Some(Err(fault)),
            };
            let is_signature = line.starts_with("\u{2014} ".as_bytes());
            let cut = (signed && !is_signature).then(|| self.cut());
            if !(self.note.is_empty() && line.is_empty()) {
                self.note.extend_from_slice(&line);
                self.note.push(b'\n');
            }
            if cut.is_some() {
                return cut;
            }
            signed |= is_signature;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader};

    use tlog_tiles::Hash;

    use super::*;
    use crate::SigningKey;

    #[test]
    fn bounds_the_memory_for_malformed_checkpoints() {
        let key = SigningKey::generate("example.com/ledger").unwrap();
        let keys = [key.verifier().clone()];
        let good = Checkpoint::sign(&key, 1, Hash([1; 32])).unwrap();
        // Both inputs are endless.
        let line = io::repeat(b'x');
        let lines = io::Cursor::new("x\n".repeat(1 << 20));
        let endless: [Box<dyn Read>; 2] = [Box::new(line), Box::new(lines)];
        for endless in endless {
            let text = format!("{}\n", good.note());
            let both = io::Cursor::new(text).chain(endless);
            let mut read = Checkpoint::read(BufReader::new(both), &keys);
            assert_eq!(read.next(), Some(Ok(good.clone())));
            assert_eq!(read.next(), Some(Err(CheckpointError::TooLarge)));
            assert_eq!(read.next(), None);
        }
    }

    #[test]
    fn a_note_ends_after_its_signatures() {
        let rows = [
            ("", vec![]),
            ("\n\r\n\n", vec![]),
            ("a\n\n\u{2014} s\n", vec!["a\n\n\u{2014} s\n"]),
            (
                "a\r\n\r\n\u{2014} s\r\n\u{2014} t\r\n\r\n\r\nb",
                vec!["a\n\n\u{2014} s\n\u{2014} t\n", "b\n"],
            ),
            (
                "a\n\u{2014} s\nb\n\u{2014} t",
                vec!["a\n\u{2014} s\n", "b\n\u{2014} t\n"],
            ),
        ];
        for (text, expected) in rows {
            let notes: Vec<String> = Notes::of(text.as_bytes()).map(Result::unwrap).collect();
            assert_eq!(notes, expected, "{text:?}");
        }
    }
}
