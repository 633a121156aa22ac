//! Fragments in what is asked for.
//!
//! A request target has no fragment (RFC 9112 §3.2, RFC 9113 §8.3.1), and servers differ in
//! what they make of one. The libraries below drop it before anybody can see it, so it is
//! looked for in what a connection reads: a `#` of a target becomes a `>`, which no URI may
//! have, so that they refuse it: with 400 over HTTP/1.1, with a reset of the stream over
//! HTTP/2. Nothing else is changed.
//!
//! Requests are followed as far as it takes to find their targets: over HTTP/1.1 by
//! `Content-Length` and chunks, over HTTP/2 by frames and header fields. Of the fields, those
//! count that name `:path` by the static table (RFC 7541 §A), as clients do; a connection that
//! hides its paths from this gains nothing, since what is left of them is what is decided and
//! forwarded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of requests whose targets have no fragment.
#[derive(Debug)]
pub(crate) struct Targets<T> {
    stream: T,
    reader: Reader,
}

impl<T> Targets<T> {
    pub(crate) const fn new(stream: T) -> Self {
        let reader = Reader::Preface(0);
        Self { stream, reader }
    }
}

/// Where in a connection it is.
#[derive(Debug)]
enum Reader {
    /// So many bytes began as HTTP/2 does (RFC 9113 §3.4).
    Preface(usize),
    Http1(Http1),
    Http2(Http2),
    /// What follows is not HTTP, or nobody will read it.
    Done,
}

/// The bytes that begin HTTP/2 (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Reader {
    fn read(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let passed = self.pass(rest.len());
            at += passed;
            if passed == 0 {
                rest.iter_mut().take(1).for_each(|byte| self.take(byte));
                at += 1;
            }
        }
    }

    /// Goes past content that is none of its business, of which so much is there.
    fn pass(&mut self, there: usize) -> usize {
        match self {
            Self::Http1(http1) => http1.pass(there),
            Self::Http2(http2) => http2.pass(there),
            Self::Done => there,
            Self::Preface(_) => 0,
        }
    }

    fn take(&mut self, byte: &mut u8) {
        match self {
            Self::Preface(count) if PREFACE.get(*count) == Some(byte) => {
                *count += 1;
                if *count == PREFACE.len() {
                    *self = Self::Http2(Http2::default());
                }
            }
            Self::Preface(count) => {
                let mut http1 = Http1::default();
                let before = PREFACE.get(..*count).unwrap_or_default();
                let mut goes_on = true;
                for byte in before {
                    goes_on &= http1.take(&mut byte.clone());
                }
                goes_on &= http1.take(byte);
                *self = match goes_on {
                    true => Self::Http1(http1),
                    false => Self::Done,
                };
            }
            Self::Http1(http1) => {
                if !http1.take(byte) {
                    *self = Self::Done;
                }
            }
            Self::Http2(http2) => http2.take(byte),
            Self::Done => {}
        }
    }
}

/// Replaces what a target may not have.
const fn refuse(byte: &mut u8) {
    if *byte == b'#' {
        *byte = b'>';
    }
}

/// Follows requests of HTTP/1.1.
#[derive(Debug, Default)]
struct Http1 {
    at: At,
    /// The line so far, as much of it as matters.
    line: Vec<u8>,
    length: u64,
    chunked: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Method,
    Target,
    Version,
    Field,
    /// So much of a body is to come.
    Body(u64),
    ChunkSize,
    /// So much of a chunk is to come, with the line end behind it.
    Chunk(u64),
    Trailer,
}

/// The longest line that is looked at: the fields that matter are short.
const MAX_LINE: usize = 256;

impl Http1 {
    /// All of a body but its last byte, behind which something else begins.
    fn pass(&mut self, there: usize) -> usize {
        let (At::Body(left) | At::Chunk(left)) = &mut self.at else {
            return 0;
        };
        let passed = usize::try_from(left.saturating_sub(1)).map_or(there, |left| left.min(there));
        *left -= passed as u64;
        passed
    }

    /// Whether it goes on.
    fn take(&mut self, byte: &mut u8) -> bool {
        match self.at {
            // Empty lines before a request do not count (RFC 9112 §2.2).
            At::Method if matches!(byte, b'\r' | b'\n') => {}
            At::Method if *byte == b' ' => self.at = At::Target,
            At::Method => {}
            At::Target if *byte == b' ' => self.at = At::Version,
            At::Target | At::Version if *byte == b'\n' => self.at = At::Field,
            At::Target => refuse(byte),
            At::Version => {}
            At::Body(_) => *self = Self::default(),
            At::Chunk(_) => self.at = At::ChunkSize,
            At::Field | At::ChunkSize | At::Trailer if *byte == b'\n' => return self.end_line(),
            At::Field | At::ChunkSize | At::Trailer => {
                if self.line.len() < MAX_LINE {
                    self.line.push(*byte);
                }
            }
        }
        true
    }

    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        match self.at {
            At::ChunkSize => {
                let size = line.split(';').next().unwrap_or_default().trim();
                let Ok(size) = u64::from_str_radix(size, 16) else {
                    return false;
                };
                self.at = match size {
                    0 => At::Trailer,
                    size => At::Chunk(size.saturating_add(2)),
                };
            }
            At::Trailer if line.is_empty() => *self = Self::default(),
            At::Trailer => {}
            _ if line.is_empty() => {
                self.at = match (self.chunked, self.length) {
                    (true, _) => At::ChunkSize,
                    (false, 0) => At::Method,
                    (false, length) => At::Body(length),
                };
            }
            _ => return self.field(line),
        }
        true
    }

    fn field(&mut self, line: &str) -> bool {
        let Some((name, value)) = line.split_once(':') else {
            return true;
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let Ok(length) = value.parse() else {
                return false;
            };
            self.length = length;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.chunked = true;
        }
        // What follows an upgrade is not HTTP.
        !name.eq_ignore_ascii_case("upgrade")
    }
}

/// Follows frames of HTTP/2 (RFC 9113 §4.1).
#[derive(Debug, Default)]
struct Http2 {
    head: [u8; HEAD],
    have: usize,
    /// What is to come of the frame, and how much of it are fields.
    payload: usize,
    /// What comes before the fields: the length of the padding and the priority.
    before: usize,
    padded: bool,
    padding: usize,
    fields: bool,
    block: Block,
}

const HEAD: usize = 9;

impl Http2 {
    /// All that is left of a frame without header fields.
    fn pass(&mut self, there: usize) -> usize {
        if self.fields {
            return 0;
        }
        let passed = self.payload.min(there);
        self.payload -= passed;
        passed
    }

    fn take(&mut self, byte: &mut u8) {
        if self.payload == 0 {
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
            }
            self.have += 1;
            if self.have == HEAD {
                self.have = 0;
                self.begin();
            }
            return;
        }
        self.payload -= 1;
        if self.before > 0 {
            if std::mem::take(&mut self.padded) {
                self.padding = usize::from(*byte);
            }
            self.before -= 1;
        } else if self.fields && self.payload >= self.padding {
            self.block.take(byte);
        }
    }

    fn begin(&mut self) {
        const HEADERS: u8 = 0x1;
        const CONTINUATION: u8 = 0x9;
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.payload = usize::try_from(length).unwrap_or(usize::MAX);
        let headers = kind == HEADERS;
        self.fields = headers || kind == CONTINUATION;
        self.padded = headers && flags & 0x8 != 0;
        self.padding = 0;
        let priority = headers && flags & 0x20 != 0;
        self.before = usize::from(self.padded) + 5 * usize::from(priority);
        if headers {
            self.block = Block::default();
        }
    }
}

/// Follows header fields (RFC 7541 §6), which may go on in the next frame.
#[derive(Debug, Default)]
struct Block {
    at: Part,
    number: u64,
    shift: u32,
    is_path: bool,
    coded: bool,
    code: Code,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Field,
    /// The rest of a number that says nothing more.
    Index,
    /// The rest of a number that names a field, whose value follows.
    Name,
    NameLength,
    NameText(u64),
    ValueLength,
    ValueText(u64),
    /// The rest of a length of a name, or of a value.
    MoreNameLength,
    MoreValueLength,
}

impl Block {
    fn take(&mut self, byte: &mut u8) {
        match self.at {
            Part::Field => match *byte {
                0x80.. => self.number(*byte, 7, Part::Field, Part::Index),
                0x40.. => self.name(*byte, 6),
                0x20.. => self.number(*byte, 5, Part::Field, Part::Index),
                _ => self.name(*byte, 4),
            },
            Part::Index => {
                if self.more(*byte) {
                    self.at = Part::Field;
                }
            }
            Part::Name => {
                if self.more(*byte) {
                    self.named();
                }
            }
            Part::NameLength | Part::ValueLength => {
                self.coded = *byte & 0x80 != 0;
                self.code = Code::default();
                let more = match self.at {
                    Part::NameLength => Part::MoreNameLength,
                    _ => Part::MoreValueLength,
                };
                let (at, first) = (self.at, *byte);
                self.number(first, 7, at, more);
                if self.at == at {
                    self.length();
                }
            }
            Part::MoreNameLength | Part::MoreValueLength => {
                if self.more(*byte) {
                    self.at = match self.at {
                        Part::MoreNameLength => Part::NameLength,
                        _ => Part::ValueLength,
                    };
                    self.length();
                }
            }
            Part::NameText(left) => {
                self.at = match left {
                    0 | 1 => Part::ValueLength,
                    left => Part::NameText(left - 1),
                };
            }
            Part::ValueText(left) => {
                match (self.is_path, self.coded) {
                    (true, true) => self.code.take(byte),
                    (true, false) => refuse(byte),
                    (false, _) => {}
                }
                self.at = match left {
                    0 | 1 => Part::Field,
                    left => Part::ValueText(left - 1),
                };
            }
        }
    }

    /// Begins a number with a prefix of so many bits (RFC 7541 §5.1).
    fn number(&mut self, byte: u8, bits: u32, done: Part, more: Part) {
        let most = (1_u8 << bits) - 1;
        self.number = u64::from(byte & most);
        self.shift = 0;
        self.at = if byte & most == most { more } else { done };
    }

    /// Goes on with a number; whether it is whole.
    fn more(&mut self, byte: u8) -> bool {
        let part = u64::from(byte & 0x7F).checked_shl(self.shift);
        self.number = self.number.saturating_add(part.unwrap_or(u64::MAX));
        self.shift = self.shift.saturating_add(7);
        byte & 0x80 == 0
    }

    fn name(&mut self, byte: u8, bits: u32) {
        self.number(byte, bits, Part::ValueLength, Part::Name);
        if self.at == Part::ValueLength {
            self.named();
        }
    }

    /// A field's name has this index.
    fn named(&mut self) {
        const PATH: [u64; 2] = [4, 5];
        self.is_path = PATH.contains(&self.number);
        self.at = match self.number {
            0 => Part::NameLength,
            _ => Part::ValueLength,
        };
    }

    /// A text has this length.
    fn length(&mut self) {
        self.at = match (self.at, self.number) {
            (Part::NameLength, 0) => Part::ValueLength,
            (Part::NameLength, length) => Part::NameText(length),
            (_, 0) => Part::Field,
            (_, length) => Part::ValueText(length),
        };
    }
}

/// Follows a text in the code of RFC 7541 §B, which is canonical: how many codes there are of
/// each length says where each ends.
#[derive(Debug, Clone, Copy, Default)]
struct Code {
    code: u32,
    length: usize,
    /// The first code of this length.
    first: u32,
}

/// How many codes have so many bits.
const CODES: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
/// `#`, which is one bit away from `>`.
const FRAGMENT: u32 = 0xFFA;
const FRAGMENT_BITS: usize = 12;

impl Code {
    fn take(&mut self, byte: &mut u8) {
        for bit in (0..8).rev() {
            let next = u32::from(*byte >> bit & 1);
            let shorter = CODES.get(self.length).copied().unwrap_or_default();
            self.first = self.first.saturating_add(shorter) << 1;
            self.code = self.code << 1 | next;
            self.length += 1;
            let count = CODES.get(self.length).copied().unwrap_or_default();
            if self.code.wrapping_sub(self.first) < count {
                if (self.code, self.length) == (FRAGMENT, FRAGMENT_BITS) {
                    *byte |= 1 << bit;
                }
                *self = Self::default();
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Targets<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            let bytes = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            self.reader.read(bytes);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Targets<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, in pieces of any size.
    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        for piece in [1, 2, 7, 1_000] {
            let (mut reader, mut read) = (Reader::Preface(0), bytes.to_vec());
            read.chunks_mut(piece).for_each(|bytes| reader.read(bytes));
            assert!(found.is_empty() || found == read, "{piece}");
            found = read;
        }
        found
    }

    #[test]
    fn a_fragment_of_a_target_becomes_what_no_uri_may_have() {
        for (sent, due) in [
            (
                "GET /a#b HTTP/1.1\r\nx: #\r\n\r\n",
                "GET /a>b HTTP/1.1\r\nx: #\r\n\r\n",
            ),
            (
                "\r\nPUT /a?b#c HTTP/1.1\r\n\r\n",
                "\r\nPUT /a?b>c HTTP/1.1\r\n\r\n",
            ),
            ("PRIX # HTTP/1.1\r\n\r\n", "PRIX > HTTP/1.1\r\n\r\n"),
            // Bodies are left as they are, and the request behind them is found.
            (
                "POST /a HTTP/1.1\r\ncontent-length: 9\r\n\r\nGET /# HTGET /# HTTP/1.1\r\n\r\n",
                "POST /a HTTP/1.1\r\ncontent-length: 9\r\n\r\nGET /# HTGET /> HTTP/1.1\r\n\r\n",
            ),
            (
                "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7;x=#\r\nGET /# \r\n0\r\nt: #\r\n\r\nGET /# HTTP/1.1\r\n\r\n",
                "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7;x=#\r\nGET /# \r\n0\r\nt: #\r\n\r\nGET /> HTTP/1.1\r\n\r\n",
            ),
            (
                "GET /a HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET /# HTTP/1.1\r\n\r\n",
                "GET /a HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET /# HTTP/1.1\r\n\r\n",
            ),
        ] {
            let found = read(sent.as_bytes());
            assert_eq!(String::from_utf8(found).unwrap(), due, "{sent}");
        }
    }

    /// A frame of HTTP/2 on the first stream.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(payload);
        frame
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [PREFACE.to_vec(), frame(4, 0, b""), frames.concat()].concat()
    }

    #[test]
    fn a_fragment_is_found_wherever_the_path_stands_among_fields() {
        let path = |text: &[u8]| {
            let fields: &[u8] = &[
                // Indexed, a change of the table's size, a literal with a name of its own.
                &[0x82, 0x3F, 0xE1, 0x1F, 0x00, 1, b'x', 2, b'#', b'#'],
                &[0x44, u8::try_from(text.len()).unwrap()][..],
                text,
                // Another field that has one.
                &[0x10, 0x83, 1, 2, 3, 1, b'#'],
            ]
            .concat();
            fields.to_vec()
        };
        let (sent, due) = (path(b"/a#b"), path(b"/a>b"));
        assert_eq!(
            read(&connection(&[frame(1, 5, &sent)])),
            connection(&[frame(1, 5, &due)])
        );
        // Padded, with a priority, in two frames.
        let split = |fields: &[u8]| {
            let (one, other) = fields.split_at(14);
            let padded = [&[3][..], &[0, 0, 0, 0, 9], one, b"###"].concat();
            connection(&[
                frame(1, 0x28, &padded),
                frame(9, 4, other),
                frame(0, 1, b"/#"),
            ])
        };
        assert_eq!(read(&split(&sent)), split(&due));
    }

    /// `/a#b` and `/a>b`, as RFC 7541 §B codes them.
    #[test]
    fn a_fragment_is_found_in_the_code_of_fields() {
        let coded = |symbols: &[(u32, u32)]| {
            let (mut bits, mut count) = (0_u64, 0);
            for (code, length) in symbols {
                bits = bits << length | u64::from(*code);
                count += length;
            }
            let fill = count.next_multiple_of(8) - count;
            bits = bits << fill | ((1 << fill) - 1);
            let length = usize::try_from((count + fill) / 8).unwrap();
            let bytes = bits.to_be_bytes()[8 - length..].to_vec();
            let head = [0x82, 0x04, 0x80 | u8::try_from(length).unwrap()];
            connection(&[frame(1, 5, &[&head[..], &bytes].concat())])
        };
        let (slash, a, b) = ((0x18, 6), (0x3, 5), (0x23, 6));
        let (fragment, refused) = ((0xFFA, 12), (0xFFB, 12));
        assert_eq!(
            read(&coded(&[slash, a, fragment, b])),
            coded(&[slash, a, refused, b])
        );
        assert_eq!(read(&coded(&[fragment])), coded(&[refused]));
        // What is longer, and what begins as it does, is told from it.
        let other = [(0x1FF9, 13), (0x7FFFF0, 23), (0x3FF, 10), b];
        assert_eq!(read(&coded(&other)), coded(&other));
    }
}
