//! Refuses fragments in request targets.
//!
//! A request target has no fragment (RFC 9112 §3.2, RFC 9113 §8.3.1), and servers disagree about
//! one that is sent. The HTTP libraries below drop it before the guard sees it. So it is looked
//! for in the bytes of the connection: a `#` in a target becomes a `>`, which no URI may contain,
//! and the libraries refuse the request: with 400 over HTTP/1.1, with a reset of the stream over
//! HTTP/2. No other byte changes.
//!
//! Requests are followed only as far as their targets require: over HTTP/1.1 by `Content-Length`
//! and chunks, over HTTP/2 by frames and header fields. A header field is recognised as `:path` by
//! its index in the static table (RFC 7541 §A), as clients send it. A client that spells the name
//! out instead gains nothing: its fragment is dropped before the decision, and what was decided
//! is what is forwarded.

use crate::http2::{FrameHeader, FrameReader, PREFACE, flag, kind};

/// Follows the requests of a connection, and replaces fragments in their targets.
#[derive(Debug, Default)]
pub(crate) struct TargetFilter(State);

/// The HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1, or what followed an upgrade.
    Http1,
    Http2,
}

/// The part of a connection that is read next.
#[derive(Debug)]
enum State {
    /// This many bytes match the preface of HTTP/2.
    Preface(usize),
    Http1(Http1),
    Http2(Http2),
    /// An upgraded connection, or one that the HTTP library refuses.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

impl TargetFilter {
    /// Replaces fragments in the next bytes of the connection. Calls `each` for every HTTP/2
    /// frame header in them.
    pub(crate) fn filter(&mut self, bytes: &mut [u8], mut each: impl FnMut(FrameHeader)) {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let skipped = self.0.skip(rest.len());
            at += skipped;
            if skipped == 0 {
                for byte in rest.iter_mut().take(1) {
                    self.0.take(byte).into_iter().for_each(&mut each);
                }
                at += 1;
            }
        }
    }

    /// The HTTP version; `None` until enough bytes have arrived to tell.
    pub(crate) const fn protocol(&self) -> Option<Protocol> {
        match &self.0 {
            State::Preface(_) => None,
            State::Http1(_) | State::Done => Some(Protocol::Http1),
            State::Http2(_) => Some(Protocol::Http2),
        }
    }
}

impl State {
    /// Skips content that has no target in it, at most `available` bytes.
    fn skip(&mut self, available: usize) -> usize {
        match self {
            Self::Http1(http1) => http1.skip(available),
            Self::Http2(http2) => http2.skip(available),
            Self::Done => available,
            Self::Preface(_) => 0,
        }
    }

    /// Takes a byte. Returns the HTTP/2 frame header that it completes.
    fn take(&mut self, byte: &mut u8) -> Option<FrameHeader> {
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
            Self::Http2(http2) => return http2.take(byte),
            Self::Done => {}
        }
        None
    }
}

/// Replaces a byte of a target if it begins a fragment.
const fn refuse(byte: &mut u8) {
    if *byte == b'#' {
        *byte = b'>';
    }
}

/// Follows the requests of an HTTP/1.1 connection.
#[derive(Debug, Default)]
struct Http1 {
    at: At,
    /// The line so far, up to [`MAX_LINE`].
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
    /// This many bytes of the body are still to come.
    Body(u64),
    ChunkSize,
    /// This many bytes of a chunk and its line end are still to come.
    Chunk(u64),
    Trailer,
}

/// How much of a line is kept: `Content-Length`, `Transfer-Encoding`, `Upgrade` and chunk sizes are
/// far shorter.
const MAX_LINE: usize = 256;

impl Http1 {
    /// Skips a body except for its last byte, after which the next part begins.
    fn skip(&mut self, available: usize) -> usize {
        let (At::Body(left) | At::Chunk(left)) = &mut self.at else {
            return 0;
        };
        let most = usize::try_from(left.saturating_sub(1)).unwrap_or(usize::MAX);
        let skipped = most.min(available);
        *left -= skipped as u64;
        skipped
    }

    /// Takes a byte. Returns whether HTTP/1.1 continues after it.
    fn take(&mut self, byte: &mut u8) -> bool {
        match self.at {
            // Empty lines before a request are ignored (RFC 9112 §2.2).
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

/// Follows the frames of HTTP/2, and the header fields in them.
#[derive(Debug, Default)]
struct Http2 {
    frames: FrameReader,
    /// Bytes of the payload before the fields: the length of the padding, and the priority.
    before: usize,
    padded: bool,
    padding: usize,
    /// Whether the frame has header fields.
    fields: bool,
    block: Block,
}

impl Http2 {
    /// Skips the rest of a frame without header fields.
    fn skip(&mut self, available: usize) -> usize {
        match self.fields {
            true => 0,
            false => self.frames.skip(available),
        }
    }

    fn take(&mut self, byte: &mut u8) -> Option<FrameHeader> {
        if self.frames.skip(1) == 0 {
            let header = self.frames.take(*byte)?;
            self.begin(header);
            return Some(header);
        }
        if self.before > 0 {
            if std::mem::take(&mut self.padded) {
                self.padding = usize::from(*byte);
            }
            self.before -= 1;
        } else if self.fields && self.frames.payload() >= self.padding {
            self.block.take(byte);
        }
        None
    }

    fn begin(&mut self, header: FrameHeader) {
        /// The length of the priority fields (RFC 9113 §6.2).
        const PRIORITY: usize = 5;
        let headers = header.kind == kind::HEADERS;
        self.fields = headers || header.kind == kind::CONTINUATION;
        self.padded = headers && header.has(flag::PADDED);
        self.padding = 0;
        let priority = headers && header.has(flag::PRIORITY);
        self.before = usize::from(self.padded) + PRIORITY * usize::from(priority);
        if headers {
            self.block = Block::default();
        }
    }
}

/// Follows a block of header fields (RFC 7541 §6), which may continue in the next frame.
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
    /// More bytes of an index whose field has no value here.
    Index,
    /// More bytes of the index of a name, after which the value follows.
    Name,
    NameLength,
    NameText(u64),
    ValueLength,
    ValueText(u64),
    /// More bytes of the length of a name, or of a value.
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

    /// Begins an integer with a prefix of this many bits (RFC 7541 §5.1).
    fn number(&mut self, byte: u8, bits: u32, done: Part, more: Part) {
        let most = (1_u8 << bits) - 1;
        self.number = u64::from(byte & most);
        self.shift = 0;
        self.at = if byte & most == most { more } else { done };
    }

    /// Continues an integer. Returns whether it is complete.
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

    /// The index of the field's name is known.
    fn named(&mut self) {
        const PATH: [u64; 2] = [4, 5];
        self.is_path = PATH.contains(&self.number);
        self.at = match self.number {
            0 => Part::NameLength,
            _ => Part::ValueLength,
        };
    }

    /// The length of a name or value is known.
    fn length(&mut self) {
        self.at = match (self.at, self.number) {
            (Part::NameLength, 0) => Part::ValueLength,
            (Part::NameLength, length) => Part::NameText(length),
            (_, 0) => Part::Field,
            (_, length) => Part::ValueText(length),
        };
    }
}

/// Follows a string in the Huffman code of RFC 7541 §B. The code is canonical, so the number of codes
/// of each length determines where each code ends.
#[derive(Debug, Clone, Copy, Default)]
struct Code {
    code: u32,
    length: usize,
    /// The first code of this length.
    first: u32,
}

/// How many codes there are of each length in bits.
const CODES: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
/// The code of `#`, which differs in one bit from that of `>`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::frame;

    /// The filtered bytes, which are the same for pieces of any size.
    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        for piece in [1, 2, 7, 1_000] {
            let (mut filter, mut read) = (TargetFilter::default(), bytes.to_vec());
            for bytes in read.chunks_mut(piece) {
                filter.filter(bytes, |_| {});
            }
            assert!(found.is_empty() || found == read, "{piece}");
            found = read;
        }
        found
    }

    #[test]
    fn a_fragment_in_a_target_becomes_invalid() {
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
            // Bodies do not change, and the request after one is found.
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

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [PREFACE.to_vec(), frame(4, 0, b""), frames.concat()].concat()
    }

    #[test]
    fn a_fragment_is_found_wherever_the_path_is_among_the_fields() {
        let path = |text: &[u8]| {
            let fields: &[u8] = &[
                // An indexed field, a change of the table's size, a literal with a literal name.
                &[0x82, 0x3F, 0xE1, 0x1F, 0x00, 1, b'x', 2, b'#', b'#'],
                &[0x44, u8::try_from(text.len()).unwrap()][..],
                text,
                // Another field with a `#`.
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
    fn a_fragment_is_found_in_huffman_coded_fields() {
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
        // Longer codes, and codes with the same beginning, are no fragment.
        let other = [(0x1FF9, 13), (0x7FFFF0, 23), (0x3FF, 10), b];
        assert_eq!(read(&coded(&other)), coded(&other));
    }
}
