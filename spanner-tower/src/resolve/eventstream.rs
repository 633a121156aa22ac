//! The messages of AWS event streams (`application/vnd.amazon.eventstream`), as Bedrock and
//! `SageMaker` answer streams
//! (<https://smithy.io/2.0/aws/amazon-eventstream.html>).
//!
//! A message consists of its length and its headers' length (4 bytes each), a checksum (4), the
//! headers, the payload, and a checksum (4). Checksums are not verified, because no decision
//! depends on these messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Bytes of the two lengths and their checksum, 4 each.
const PRELUDE: usize = 12;
/// Bytes of the checksum at the end.
const TRAILER: usize = 4;

/// The content of a message.
pub(super) enum Event<'m> {
    /// An exception or an error, by its name.
    Failure(&'m str),
    /// A JSON document.
    Document(&'m [u8]),
}

/// Reads messages in pieces.
#[derive(Debug)]
pub(super) struct EventStream {
    limit: usize,
    message: Vec<u8>,
    /// The bytes of a message that are still to be skipped.
    skip: usize,
}

/// The payload of a `chunk` of `InvokeModelWithResponseStream`: the model's own document.
#[derive(Deserialize)]
struct Chunk {
    bytes: String,
}

impl EventStream {
    /// Messages of more than `limit` bytes are skipped.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            message: Vec::new(),
            skip: 0,
        }
    }

    /// Reads a piece; `false` if these are not messages.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&Event<'_>)) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip -= skipped.len();
                bytes = rest;
                continue;
            }
            let length = match number(&self.message) {
                Some(length) if length < PRELUDE + TRAILER => return false,
                Some(length) if length > self.limit => {
                    self.skip = length.saturating_sub(self.message.len());
                    self.message.clear();
                    continue;
                }
                Some(length) => length,
                None => size_of::<u32>(),
            };
            let missing = length.saturating_sub(self.message.len());
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.message.extend_from_slice(part);
            bytes = rest;
            if number(&self.message) == Some(self.message.len()) {
                read(&self.message, &mut take);
                self.message.clear();
            }
        }
        true
    }
}

/// The big-endian number at the beginning.
fn number(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*bytes)).ok()
}

fn read(message: &[u8], take: &mut impl FnMut(&Event<'_>)) {
    let headers = message.get(4..).and_then(number).unwrap_or_default();
    let Some(end) = PRELUDE.checked_add(headers) else {
        return;
    };
    let payload = message.get(end..message.len().saturating_sub(TRAILER));
    let (Some(headers), Some(payload)) = (message.get(PRELUDE..end), payload) else {
        return;
    };
    let named = |name: &str| header(headers, name);
    match named(":message-type") {
        Some("exception" | "error") => {
            let word = named(":exception-type").or_else(|| named(":error-code"));
            take(&Event::Failure(word.unwrap_or_default()));
        }
        _ if named(":event-type") == Some("chunk") => {
            let chunk: Option<Chunk> = serde_json::from_slice(payload).ok();
            if let Some(document) = chunk.and_then(|chunk| STANDARD.decode(chunk.bytes).ok()) {
                take(&Event::Document(&document));
            }
        }
        _ if payload.first() == Some(&b'{') => take(&Event::Document(payload)),
        _ => {}
    }
}

/// The value of a string header.
fn header<'m>(mut headers: &'m [u8], due: &str) -> Option<&'m str> {
    // The type of a header whose value is a string.
    const TEXT: u8 = 7;
    loop {
        let (length, rest) = headers.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let (size, rest) = match kind {
            // True and false, then numbers of 1, 2, 4 and 8 bytes.
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            // Bytes and texts.
            6 | &TEXT => {
                let (size, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*size)), rest)
            }
            9 => (16, rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(size)?;
        if *kind == TEXT && name == due.as_bytes() {
            return str::from_utf8(value).ok();
        }
        headers = rest;
    }
}
