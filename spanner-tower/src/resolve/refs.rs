//! Reads what a git push changes: the commands before its pack
//! (<https://git-scm.com/docs/gitprotocol-pack#_reference_update_request_and_packfile_transfer>).

use gix_packetline::PacketLineRef;
use gix_packetline::decode::{Stream, streaming};
use spanner_core::{RequestFault, Target};

/// The maximum size of all commands, in bytes: each takes a few hundred bytes, and at most as
/// many are read as a request may touch models.
const MAX_COMMANDS: usize = 64 * 1024;

/// Reads the commands of a push in pieces, and nothing of the pack after them.
#[derive(Debug, Default)]
pub(super) struct RefScan {
    arrived: Vec<u8>,
    done: bool,
    refs: Vec<String>,
    deleted: Vec<String>,
}

impl RefScan {
    /// The references that are created, moved or deleted.
    pub(super) fn refs(&self) -> &[String] {
        &self.refs
    }

    pub(super) fn deleted(&self) -> &[String] {
        &self.deleted
    }

    /// Whether all commands have been read.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Reads on.
    ///
    /// # Errors
    /// [`RequestFault::Push`] if the commands are malformed or ambiguous.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), RequestFault> {
        if self.done {
            return Ok(());
        }
        if self.arrived.len() + bytes.len() > MAX_COMMANDS {
            let room = MAX_COMMANDS.saturating_sub(self.arrived.len());
            self.arrived.extend(bytes.iter().take(room));
        } else {
            self.arrived.extend_from_slice(bytes);
        }
        let mut read = 0;
        while !self.done {
            let rest = self.arrived.get(read..).unwrap_or_default();
            match streaming(rest).map_err(|_| RequestFault::Push)? {
                Stream::Incomplete { .. } => break,
                Stream::Complete {
                    line: PacketLineRef::Data(line),
                    bytes_consumed,
                } => {
                    read += bytes_consumed;
                    let (name, deletes) = command(line)?;
                    self.refs.extend(name.clone());
                    self.deleted.extend(name.filter(|_| deletes));
                }
                Stream::Complete { .. } => self.done = true,
            }
        }
        self.arrived.drain(..read);
        let unread = !self.done && self.arrived.len() >= MAX_COMMANDS;
        match unread || self.refs.len() > Target::MAX_PAIRS {
            true => Err(RequestFault::TooManyModels),
            false => Ok(()),
        }
    }

    /// # Errors
    /// [`RequestFault::Push`] if the commands did not end.
    pub(super) const fn end(&self) -> Result<(), RequestFault> {
        match self.done {
            true => Ok(()),
            false => Err(RequestFault::Push),
        }
    }
}

/// Parses `<old> <new> <name>`, with capabilities after a NUL on the first line, or `shallow
/// <id>`. A signed push (`push-cert`) has its commands elsewhere and is refused.
fn command(line: &[u8]) -> Result<(Option<String>, bool), RequestFault> {
    let command = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = str::from_utf8(command).map_err(|_| RequestFault::Push)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.strip_prefix("shallow ").is_some_and(is_id) {
        return Ok((None, false));
    }
    let mut words = text.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(old), Some(new), Some(name)) if is_id(old) && is_id(new) && !name.is_empty() => {
            let deletes = new.bytes().all(|byte| byte == b'0');
            Ok((Some(name.to_owned()), deletes))
        }
        _ => Err(RequestFault::Push),
    }
}

/// Whether a text is a SHA-1 or SHA-256 object id.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
