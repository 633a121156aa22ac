//! Where entries go.

use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cursor::{create_folder, private};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// One entry, ready to be sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// What tells it from every other.
    pub key: String,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Why a batch was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The receiver is away or busy: all of it is sent again, later.
    Retry {
        /// What it said.
        reason: String,
        /// How long it asked to be left alone, if it did.
        after: Option<Duration>,
    },
    /// The receiver will never take it: each entry is sent alone, and what is refused alone
    /// is set aside if others are not.
    Rejected {
        /// What it said.
        reason: String,
    },
}

/// Takes batches of entries to where they are wanted.
///
/// Called by the thread of a [`Shipment`](crate::Shipment), one batch at a time; it may block
/// for some seconds.
///
/// # Security
/// What returns `Ok` counts as delivered and is never sent again: an implementation that
/// says so too early loses what an auditor was promised. Entries hold names of people.
pub trait Receiver: Send {
    /// Delivers all, or says why not. What was delivered in part is sent again.
    ///
    /// # Errors
    /// [`DeliveryError`].
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError>;
}

impl DeliveryError {
    /// The receiver is away or busy.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::Retry {
            reason: reason.to_string(),
            after: None,
        }
    }

    /// The receiver will never take it.
    pub fn rejected(reason: impl fmt::Display) -> Self {
        Self::Rejected {
            reason: reason.to_string(),
        }
    }
}

/// A file that lines are added to: private, synced before a batch counts. It is opened anew
/// for each batch, so that it can be moved away at any time.
#[derive(Debug, Clone)]
pub struct FileReceiver {
    path: PathBuf,
}

impl FileReceiver {
    /// A file, which is made if need be.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
        }
    }

    fn append(&self, messages: &[Message]) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|it| !it.as_os_str().is_empty()) {
            create_folder(folder)?;
        }
        let mut file = private(&self.path, true)?;
        cut_torn_line(&mut file)?;
        file.write_all(&lines(messages))?;
        file.sync_data()
    }
}

impl Receiver for FileReceiver {
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError> {
        let written = self.append(messages);
        written.map_err(|error| DeliveryError::retry(format!("`{}`: {error}", self.path.display())))
    }
}

/// Takes away half a line that a crash left; its entry is sent again.
pub(crate) fn cut_torn_line(file: &mut fs::File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        file.seek(SeekFrom::Start(start))?;
        let part = chunk.get_mut(..usize::try_from(end - start).unwrap_or(0));
        let part = part.unwrap_or_default();
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    match end < length {
        true => file.set_len(end),
        false => Ok(()),
    }
}

/// The standard output of the process.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct StdoutReceiver;

impl StdoutReceiver {
    /// The standard output.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Receiver for StdoutReceiver {
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError> {
        let mut out = io::stdout().lock();
        let written = out.write_all(&lines(messages)).and_then(|()| out.flush());
        written.map_err(DeliveryError::retry)
    }
}

/// Parcels as lines.
pub(crate) fn lines(messages: &[Message]) -> Vec<u8> {
    let mut lines = Vec::new();
    for message in messages {
        lines.extend_from_slice(&message.bytes);
        lines.push(b'\n');
    }
    lines
}

/// A syslog receiver over TCP or TLS, with octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3).
///
/// Syslog acknowledges nothing. So each batch has a connection of its own, and counts when
/// the receiver has read to its end and closed it in good order, over TLS with `close_notify`
/// (RFC 5425 §4.4).
///
/// # Caveats
/// Without TLS whoever is on the way reads along, and can take a batch away unnoticed: send to
/// this machine only. Over TLS the client has no certificate of its own.
#[derive(Debug, Clone)]
pub struct SyslogReceiver {
    address: String,
    patience: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl SyslogReceiver {
    /// A receiver at a host and a port, in the clear: `127.0.0.1:601`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            patience: PATIENCE,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// A receiver over TLS at a host and a port: `siem.example.com:6514`. Its certificate must
    /// be for the host, and the platform's roots must vouch for it.
    ///
    /// # Errors
    /// If the host can be in no certificate, or the platform's roots cannot be used.
    #[cfg(feature = "tls")]
    pub fn tls(address: impl Into<String>) -> io::Result<Self> {
        let plain = Self::new(address);
        let tls = Some(Tls::platform(&plain.address)?);
        Ok(Self { tls, ..plain })
    }

    /// Like [`tls`](Self::tls), but an authority in a PEM file must vouch for the certificate,
    /// and the platform's roots do not count.
    ///
    /// # Errors
    /// If the host can be in no certificate, or the file holds no certificates.
    #[cfg(feature = "tls")]
    pub fn tls_with_ca(address: impl Into<String>, ca: impl AsRef<Path>) -> io::Result<Self> {
        let plain = Self::new(address);
        let tls = Some(Tls::authorities(&plain.address, ca.as_ref())?);
        Ok(Self { tls, ..plain })
    }

    /// How long a connection, and each step of a batch, may take. Default: 10 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn send(&self, messages: &[Message]) -> io::Result<()> {
        let mut stream = self.connect()?;
        let bytes = counted(messages);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.send(stream, &bytes, self.patience);
        }
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.write_all(&bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        until_closed(&mut stream)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let addresses: Vec<SocketAddr> = self.address.to_socket_addrs()?.collect();
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.patience) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Receiver for SyslogReceiver {
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError> {
        let sent = self.send(messages);
        sent.map_err(|error| DeliveryError::retry(format!("`{}`: {error}", self.address)))
    }
}

/// Waits until the other side closes. Whatever it says is no part of syslog; its end is what
/// counts.
pub(crate) fn until_closed(stream: &mut impl Read) -> io::Result<()> {
    let mut rest = [0; 64];
    for _ in 0..MAX_SMALL_TALK {
        if stream.read(&mut rest)? == 0 {
            return Ok(());
        }
    }
    Err(io::Error::other("it talks instead of closing"))
}

/// Each message behind its length.
fn counted(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend_from_slice(format!("{} ", message.bytes.len()).as_bytes());
        bytes.extend_from_slice(&message.bytes);
    }
    bytes
}

/// Receivers write to disk before they close, at worst.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reads until a receiver that talks back is given up.
const MAX_SMALL_TALK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message {
            key: text.to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_torn_line_is_cut_before_a_file_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out/ship.jsonl");
        let mut file = FileReceiver::new(&path);
        file.receive(&[message("{1}"), message("{2}")]).unwrap();
        for torn in ["{2", &"x".repeat(10_000)] {
            let mut text = fs::read_to_string(&path).unwrap();
            text.push_str(torn);
            fs::write(&path, text).unwrap();
            file.receive(&[message("{3}")]).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{1}\n{2}\n{3}\n{3}\n");
        fs::write(&path, "no line at all").unwrap();
        file.receive(&[message("{4}")]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{4}\n");
    }
}
