//! The binary format of a segment: one header, then one frame per entry.
//!
//! ```text
//! header   magic 8 │ version u32 │ flags u32 │ salt 16 │ first u64 │ durable u64 │ zero 12 │ crc32c u32
//! frame    length u32 │ crc32c u32 │ sequence u64 │ durable u64 │ payload (JSON)
//! ```
//!
//! All numbers are little endian. A frame's checksum covers the segment's salt, the sequence,
//! `durable` and the payload, so stale bytes of an earlier file on the disk are never valid.
//! `durable` distinguishes a torn tail from damage: every entry below it was synced before this
//! frame was written, so an invalid entry below it cannot be an unfinished write.

use crate::{MAX_ENTRY_BYTES, OVERHEAD};

/// Random bytes, different for each segment.
pub(crate) type Salt = [u8; 16];

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) salt: Salt,
    /// The sequence of the first entry.
    pub(crate) first: u64,
    /// Every entry below this was synced before this segment began.
    pub(crate) durable: u64,
    /// Whether the previous segment was abandoned after a fault. It may then contain more or
    /// fewer entries than expected.
    pub(crate) after_fault: bool,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (body, check) = bytes.split_at_mut(HEADER_BYTES - 4);
        let parts = [
            MAGIC.as_slice(),
            &VERSION.to_le_bytes(),
            &u32::from(self.after_fault).to_le_bytes(),
            &self.salt,
            &self.first.to_le_bytes(),
            &self.durable.to_le_bytes(),
        ];
        body.iter_mut()
            .zip(parts.into_iter().flatten())
            .for_each(|(to, from)| *to = *from);
        check.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        bytes
    }

    /// Decodes a header; `None` if the bytes are not a valid header of this version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 4);
        let mut body = Cursor(body);
        if crc32c::crc32c(body.0).to_le_bytes() != check || body.take::<8>()? != MAGIC {
            return None;
        }
        let (version, flags) = (body.u32()?, body.u32()?);
        (version == VERSION && flags <= 1).then_some(Self {
            after_fault: flags == 1,
            salt: body.take()?,
            first: body.u64()?,
            durable: body.u64()?,
        })
    }
}

/// One entry in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    /// Every entry below this was synced before this frame was written.
    pub(crate) durable: u64,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn encode(&self, salt: &Salt, into: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(&self.checksum(salt).to_le_bytes());
        into.extend_from_slice(&self.sequence.to_le_bytes());
        into.extend_from_slice(&self.durable.to_le_bytes());
        into.extend_from_slice(self.payload);
    }

    /// Decodes the frame at the start of these bytes, if it is valid.
    pub(crate) fn decode(salt: &Salt, bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let length = frame_length(bytes)?;
        cursor.u32()?;
        let check = cursor.u32()?;
        let frame = Self {
            sequence: cursor.u64()?,
            durable: cursor.u64()?,
            payload: cursor.0.get(..length)?,
        };
        (frame.checksum(salt) == check).then_some(frame)
    }

    /// The size of the frame in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        OVERHEAD + self.payload.len()
    }

    fn checksum(&self, salt: &Salt) -> u32 {
        let mut check = crc32c::crc32c(salt);
        check = crc32c::crc32c_append(check, &self.sequence.to_le_bytes());
        check = crc32c::crc32c_append(check, &self.durable.to_le_bytes());
        crc32c::crc32c_append(check, self.payload)
    }
}

/// The payload length of a frame, if it is within the limits.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(Cursor(bytes).u32()?).ok()?;
    (1..=MAX_ENTRY_BYTES).contains(&length).then_some(length)
}

/// Reads numbers from the front of a slice.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"spanner\n";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = [7; 16];

    fn header() -> Header {
        Header {
            salt: SALT,
            first: 42,
            durable: 40,
            after_fault: true,
        }
    }

    fn frame() -> Vec<u8> {
        let mut bytes = Vec::new();
        let frame = Frame {
            sequence: 9,
            durable: 8,
            payload: br#"{"kind":"gap"}"#,
        };
        frame.encode(&SALT, &mut bytes);
        assert_eq!(bytes.len(), frame.bytes());
        assert_eq!(Frame::decode(&SALT, &bytes), Some(frame));
        bytes
    }

    #[test]
    fn reads_back_a_header() {
        assert_eq!(Header::decode(&header().encode()), Some(header()));
    }

    #[test]
    fn detects_every_flipped_bit() {
        let (header, frame) = (header().encode(), frame());
        for bit in 0..8 * HEADER_BYTES {
            let mut bytes = header;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), None, "bit {bit} of the header");
        }
        for bit in 0..8 * frame.len() {
            let mut bytes = frame.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(&SALT, &bytes), None, "bit {bit} of the frame");
        }
    }

    #[test]
    fn bytes_of_another_segment_never_validate() {
        assert_eq!(Frame::decode(&[8; 16], &frame()), None);
    }

    #[test]
    fn refuses_a_truncated_frame() {
        let frame = frame();
        for end in 0..frame.len() {
            assert_eq!(Frame::decode(&SALT, &frame[..end]), None, "{end} bytes");
        }
    }
}
