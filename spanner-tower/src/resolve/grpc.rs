//! gRPC messages, each with a flag and a length in front
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::GzDecoder;
use http::{HeaderMap, HeaderName};
use spanner_core::RequestFault;

use super::head::single;
use super::wire;
use crate::surface::FieldPath;

/// The size of flag and length, in bytes.
const PREFIX: usize = 5;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The encoding of messages whose flag is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Reads `grpc-encoding`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, RequestFault> {
        match single(headers, &GRPC_ENCODING) {
            Ok(None | Some("identity")) => Ok(Self::Identity),
            Ok(Some("gzip")) => Ok(Self::Gzip),
            Ok(Some(_)) | Err(()) => Err(RequestFault::MessageEncoding),
        }
    }
}

/// Reads messages of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) encoding: Encoding,
    /// The largest message, before and after decoding.
    pub(super) limit: usize,
}

impl Framing {
    /// The length of the first frame with its prefix; `None` until the prefix is there.
    pub(super) fn frame_length(self, bytes: &[u8]) -> Result<Option<usize>, RequestFault> {
        let Some([flag, a, b, c, d]) = bytes.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        match (flag, self.encoding) {
            (0, _) | (1, Encoding::Gzip) if length <= self.limit => Ok(Some(PREFIX + length)),
            (0, _) | (1, Encoding::Gzip) => Err(RequestFault::TooLarge { limit: self.limit }),
            _ => Err(RequestFault::Message),
        }
    }

    /// The texts of some fields of a complete, framed message.
    pub(super) fn texts(
        self,
        frame: &[u8],
        fields: &[FieldPath],
    ) -> Result<Vec<Vec<String>>, RequestFault> {
        let (prefix, message) = frame
            .split_at_checked(PREFIX)
            .ok_or(RequestFault::Message)?;
        let message = match prefix.first() {
            Some(0) => Cow::Borrowed(message),
            _ => Cow::Owned(self.inflate(message)?),
        };
        fields
            .iter()
            .map(|path| wire::texts(&message, path))
            .collect()
    }

    /// Decodes one gzip member. A second one is refused, because only some decoders read it.
    fn inflate(self, compressed: &[u8]) -> Result<Vec<u8>, RequestFault> {
        let mut decoder = GzDecoder::new(compressed);
        let mut message = Vec::new();
        let bound = u64::try_from(self.limit)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        decoder
            .by_ref()
            .take(bound)
            .read_to_end(&mut message)
            .map_err(|_| RequestFault::Message)?;
        if message.len() > self.limit {
            return Err(RequestFault::TooLarge { limit: self.limit });
        }
        match decoder.into_inner().is_empty() {
            true => Ok(message),
            false => Err(RequestFault::Message),
        }
    }
}
