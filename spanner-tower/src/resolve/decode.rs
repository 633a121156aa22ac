//! Decodes a body's content encoding for the guard's examination. The forwarded body stays
//! encoded.

use std::fmt;
use std::io::Write;

use brotli_decompressor::DecompressorWriter;
use flate2::write::{GzDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use spanner_core::RequestFault;

use super::head::single;

/// One content encoding (RFC 9110 §8.4.1, RFC 8878), in pieces.
pub(super) enum Decoder {
    Identity,
    Gzip(Box<GzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
    /// For responses only, which affect no decision: several members in a row (RFC 1952 §2.2).
    /// In a request, some servers would read only the first of them.
    Gzips(Box<MultiGzDecoder<Vec<u8>>>),
    /// For responses only: no model API accepts requests in this encoding.
    Brotli(Box<DecompressorWriter<Bounded>>),
}

/// The decoded bytes of a piece, up to a limit.
#[derive(Default)]
pub(super) struct Bounded(Vec<u8>);

impl Decoder {
    /// The decoder for the encoding in the headers.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if there are several encodings, or an unknown one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, RequestFault> {
        let refused = RequestFault::Encoding;
        if headers.contains_key("x-body-compressed") {
            return Err(refused);
        }
        let named = single(headers, &CONTENT_ENCODING).map_err(|()| refused.clone())?;
        let name = named.map(|name| name.trim().to_ascii_lowercase());
        match name.as_deref() {
            None | Some("identity") => Ok(Self::Identity),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip(Box::new(GzDecoder::new(Vec::new())))),
            Some("deflate") => Ok(Self::Deflate(Box::new(ZlibDecoder::new(Vec::new())))),
            Some("zstd") => zstd_decoder()
                .map(|decoder| Self::Zstd(Box::new(decoder)))
                .map_err(|_| refused),
            Some(_) => Err(refused),
        }
    }

    /// The decoder for the encoding of a response.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn of_response(headers: &HeaderMap) -> Result<Self, RequestFault> {
        const BUFFER: usize = 4096;
        match single(headers, &CONTENT_ENCODING) {
            Ok(Some(name)) if name.trim().eq_ignore_ascii_case("br") => {
                let decoder = DecompressorWriter::new(Bounded::default(), BUFFER);
                Ok(Self::Brotli(Box::new(decoder)))
            }
            _ => Ok(match Self::of(headers)? {
                Self::Gzip(_) => Self::Gzips(Box::new(MultiGzDecoder::new(Vec::new()))),
                other => other,
            }),
        }
    }

    /// Checks that the body is not encoded.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if the body is encoded.
    pub(super) fn none(self) -> Result<(), RequestFault> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(_) | Self::Gzips(_) | Self::Deflate(_) | Self::Zstd(_) | Self::Brotli(_) => {
                Err(RequestFault::Encoding)
            }
        }
    }

    /// Decodes a piece and passes it to `take` in small parts, so that a decompression bomb is
    /// noticed early.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if the encoding is invalid, and the errors of `take`.
    pub(super) fn feed(
        &mut self,
        encoded: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), RequestFault>,
    ) -> Result<(), RequestFault> {
        /// The size of one part: 256 bytes decode to at most 256 KiB with gzip and deflate, and
        /// to some megabytes with zstd.
        const PIECE: usize = 256;
        if let Self::Identity = self {
            return take(encoded);
        }
        for piece in encoded.chunks(PIECE) {
            let written = match self {
                Self::Identity => Ok(()),
                Self::Gzip(decoder) => all(&mut **decoder, piece),
                Self::Gzips(decoder) => all(&mut **decoder, piece),
                Self::Deflate(decoder) => all(&mut **decoder, piece),
                Self::Zstd(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
                Self::Brotli(decoder) => all(&mut **decoder, piece),
            };
            written.map_err(|_| RequestFault::Encoding)?;
            let decoded = match self {
                Self::Identity => continue,
                Self::Gzip(decoder) => decoder.get_mut(),
                Self::Gzips(decoder) => decoder.get_mut(),
                Self::Deflate(decoder) => decoder.get_mut(),
                Self::Zstd(decoder) => decoder.get_mut(),
                Self::Brotli(decoder) => &mut decoder.get_mut().0,
            };
            let taken = take(decoded);
            decoded.clear();
            taken?;
        }
        Ok(())
    }

    /// Ends the body and passes on the rest.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if the encoded body is incomplete.
    pub(super) fn end(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), RequestFault>,
    ) -> Result<(), RequestFault> {
        let ended = match self {
            Self::Identity => return Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Gzips(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
            Self::Zstd(decoder) => decoder.flush(),
            Self::Brotli(decoder) => decoder.close(),
        };
        ended.map_err(|_| RequestFault::Encoding)?;
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(decoder) => take(decoder.get_ref()),
            Self::Gzips(decoder) => take(decoder.get_ref()),
            Self::Deflate(decoder) => take(decoder.get_ref()),
            Self::Zstd(decoder) => take(decoder.get_ref()),
            Self::Brotli(decoder) => take(&decoder.get_ref().0),
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        /// The limit for one piece: a few bytes of Brotli can decode to 16 MiB (RFC 7932 §9.2).
        const MAX_UNFOLDED: usize = 8 << 20;
        if self.0.len().saturating_add(bytes.len()) > MAX_UNFOLDED {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn zstd_decoder() -> std::io::Result<zstd::stream::write::Decoder<'static, Vec<u8>>> {
    /// The largest zstd window: 8 MiB, which every decoder of this content encoding must support
    /// (RFC 9659 §3). A larger window would occupy more memory.
    const MAX_WINDOW_LOG: u32 = 23;
    let mut decoder = zstd::stream::write::Decoder::new(Vec::new())?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

/// Writes all of a piece. A decoder that accepts no more bytes has reached its end; some
/// decoders read data after that, and others do not.
fn all(decoder: &mut impl Write, piece: &[u8]) -> std::io::Result<()> {
    decoder.write_all(piece)?;
    decoder.flush()
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Gzip(_) | Self::Gzips(_) => "gzip",
            Self::Deflate(_) => "deflate",
            Self::Zstd(_) => "zstd",
            Self::Brotli(_) => "br",
        })
    }
}
