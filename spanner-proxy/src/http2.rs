//! HTTP/2 framing: the connection preface and the frame headers (RFC 9113 §3.4, §4.1).

/// The bytes that begin an HTTP/2 connection (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 §6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const CONTINUATION: u8 = 0x9;
}

/// Flags of DATA and HEADERS frames (RFC 9113 §6.1, §6.2).
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The length of a frame header, in bytes.
const HEADER: usize = 9;

/// The header of a frame, without its stream identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u8,
    flags: u8,
    /// The length of the payload, in bytes.
    pub(crate) length: usize,
}

/// Follows the frames in one direction of a connection, whatever the pieces in which they arrive.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    header: [u8; HEADER],
    /// How many bytes of the header have arrived.
    received: usize,
    /// How many bytes of the payload are still to come.
    payload: usize,
}

impl FrameHeader {
    pub(crate) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl FrameReader {
    /// How many bytes of the current payload are still to come.
    pub(crate) const fn payload(&self) -> usize {
        self.payload
    }

    /// Skips payload, at most `available` bytes of it. Returns how many were skipped.
    pub(crate) fn skip(&mut self, available: usize) -> usize {
        let skipped = self.payload.min(available);
        self.payload -= skipped;
        skipped
    }

    /// Takes a byte of a frame header. Returns the header once it is complete.
    pub(crate) fn take(&mut self, byte: u8) -> Option<FrameHeader> {
        if let Some(slot) = self.header.get_mut(self.received) {
            *slot = byte;
        }
        self.received += 1;
        if self.received < HEADER {
            return None;
        }
        self.received = 0;
        let [a, b, c, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.payload = usize::try_from(length).unwrap_or(usize::MAX);
        Some(FrameHeader {
            kind,
            flags,
            length: self.payload,
        })
    }

    /// Reads a piece of the connection, and calls `each` for every frame header that ends in it.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(FrameHeader)) {
        loop {
            let skipped = self.skip(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            if let Some(header) = self.take(*byte) {
                each(header);
            }
        }
    }
}

/// A frame on the first stream.
#[cfg(test)]
pub(crate) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_headers_are_found_in_pieces_of_any_size() {
        let sent = [
            frame(kind::HEADERS, flag::PRIORITY, b"fields"),
            frame(kind::DATA, 0, b""),
            frame(kind::DATA, flag::END_STREAM, &[0; 200]),
        ]
        .concat();
        for piece in [1, 7, 1_000] {
            let (mut reader, mut found) = (FrameReader::default(), Vec::new());
            for bytes in sent.chunks(piece) {
                reader.read(bytes, |header| found.push(header));
            }
            let lengths: Vec<usize> = found.iter().map(|header| header.length).collect();
            assert_eq!(lengths, [6, 0, 200], "{piece}");
            assert!(found[0].has(flag::PRIORITY) && found[2].has(flag::END_STREAM));
        }
    }
}
