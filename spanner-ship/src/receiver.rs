//! Receivers of entries.

use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cursor::{create_folder, private};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// One encoded entry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// The entry's globally unique key.
    pub key: String,
    /// The encoded entry.
    pub bytes: Vec<u8>,
}

/// Why a batch was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The receiver is unavailable or busy. The whole batch is sent again later.
    Retry {
        /// The receiver's error.
        reason: String,
        /// The delay that the receiver requested, if any.
        after: Option<Duration>,
    },
    /// The receiver will never accept the batch. Each entry is sent on its own; those that are
    /// rejected on their own are set aside, provided that the receiver accepts others.
    Rejected {
        /// The receiver's error.
        reason: String,
    },
}

/// Delivers batches of entries to a destination.
///
/// A [`Shipment`](crate::Shipment) calls it from its own thread, one batch at a time. It may
/// block for some seconds.
///
/// # Security
/// After `Ok`, a batch counts as delivered and is never sent again. An implementation that
/// returns `Ok` too early loses audit records. Entries contain personal data.
pub trait Receiver: Send {
    /// Delivers all messages. After an error, the whole batch is sent again, even if a part of it
    /// was delivered.
    ///
    /// # Errors
    /// The [`DeliveryError`] that determines whether the batch is retried or split.
    fn receive(&mut self, messages: &[Message]) -> Result<(), DeliveryError>;
}

impl DeliveryError {
    /// Creates an error for a receiver that is unavailable or busy.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::Retry {
            reason: reason.to_string(),
            after: None,
        }
    }

    /// Creates an error for a batch that the receiver will never accept.
    pub fn rejected(reason: impl fmt::Display) -> Self {
        Self::Rejected {
            reason: reason.to_string(),
        }
    }
}

/// Appends lines to a file with mode 0600 and syncs it before a batch counts as delivered. It
/// opens the file for each batch, so log rotation may move the file at any time.
#[derive(Debug, Clone)]
pub struct FileReceiver {
    path: PathBuf,
}

impl FileReceiver {
    /// Uses a file, which is created if it does not exist.
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

/// Removes an incomplete line that a crash left. Its entry is sent again.
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

/// Writes lines to standard output.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct StdoutReceiver;

impl StdoutReceiver {
    /// Creates a receiver for this process's standard output.
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

/// Joins messages as lines.
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
/// Syslog has no acknowledgements. Each batch therefore uses its own connection, and counts as
/// delivered when the receiver has read it to the end and closed the connection properly; over
/// TLS that requires `close_notify` (RFC 5425 §4.4).
///
/// # Caveats
/// Without TLS, an attacker on the network can read the entries and drop a batch unnoticed. Use
/// plain TCP only on the local machine. Over TLS, the client presents no certificate.
#[derive(Debug, Clone)]
pub struct SyslogReceiver {
    address: String,
    patience: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl SyslogReceiver {
    /// Sends in plain text to a host and port such as `127.0.0.1:601`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            patience: PATIENCE,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sends over TLS to a host and port such as `siem.example.com:6514`. The server's
    /// certificate must match the host and chain to a root of the platform.
    ///
    /// # Errors
    /// If the host is not a valid server name, or the platform's roots cannot be loaded.
    #[cfg(feature = "tls")]
    pub fn tls(address: impl Into<String>) -> io::Result<Self> {
        let plain = Self::new(address);
        let tls = Some(Tls::platform(&plain.address)?);
        Ok(Self { tls, ..plain })
    }

    /// Like [`tls`](Self::tls), but the certificate must chain to an authority in a PEM file. The
    /// platform's roots are not used.
    ///
    /// # Errors
    /// If the host is not a valid server name, or the file contains no certificates.
    #[cfg(feature = "tls")]
    pub fn tls_with_ca(address: impl Into<String>, ca: impl AsRef<Path>) -> io::Result<Self> {
        let plain = Self::new(address);
        let tls = Some(Tls::authorities(&plain.address, ca.as_ref())?);
        Ok(Self { tls, ..plain })
    }

    /// Sets the timeout for connecting and for each step of a batch. Default: 10 s.
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

/// Waits until the peer closes the connection, and ignores any data from it.
pub(crate) fn until_closed(stream: &mut impl Read) -> io::Result<()> {
    let mut rest = [0; 64];
    for _ in 0..MAX_UNEXPECTED_READS {
        if stream.read(&mut rest)? == 0 {
            return Ok(());
        }
    }
    Err(io::Error::other(
        "the receiver sends data instead of closing the connection",
    ))
}

/// Prefixes each message with its length.
fn counted(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend_from_slice(format!("{} ", message.bytes.len()).as_bytes());
        bytes.extend_from_slice(&message.bytes);
    }
    bytes
}

/// A receiver may sync its data to disk before it closes the connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of reads after which a receiver that sends data has failed; a proper receiver sends
/// none.
const MAX_UNEXPECTED_READS: usize = 64;

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
    fn removes_a_torn_line_before_appending() {
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
