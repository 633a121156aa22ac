//! Undoes a body's content encoding for the eyes of the guard; what is forwarded stays as it
//! came.

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
    /// Of responses only, by which nothing is decided: several members (RFC 1952 §2.2) in a
    /// row, of which some servers would read the first of a request and others all.
    Gzips(Box<MultiGzDecoder<Vec<u8>>>),
    /// Of responses only: no model API takes requests so.
    Brotli(Box<DecompressorWriter<Bounded>>),
}

/// What a piece unfolds to, so long as that is little enough to be kept.
#[derive(Default)]
pub(super) struct Bounded(Vec<u8>);

impl Decoder {
    /// The encoding that the headers name.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] for several, and for one that is not known.
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

    /// The encoding of a response.
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

    /// Nothing, where bodies must not be encoded.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if this one is.
    pub(super) fn none(self) -> Result<(), RequestFault> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(_) | Self::Gzips(_) | Self::Deflate(_) | Self::Zstd(_) | Self::Brotli(_) => {
                Err(RequestFault::Encoding)
            }
        }
    }

    /// Decodes a piece and hands it on, a little at a time, so that a bomb is noticed before
    /// it has unfolded.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if it is not encoded so; whatever `take` refuses.
    pub(super) fn feed(
        &mut self,
        encoded: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), RequestFault>,
    ) -> Result<(), RequestFault> {
        /// 256 bytes unfold to 256 KiB at most with gzip and deflate, and to some
        /// megabytes with zstd.
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

    /// The body is over: what is left is handed on.
    ///
    /// # Errors
    /// [`RequestFault::Encoding`] if it is not whole.
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
        /// A few bytes of Brotli can stand for 16 MiB (RFC 7932 §9.2).
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
    /// 8 MiB, which is what may be asked of who decodes this content encoding (RFC 9659 §3).
    /// A frame that asks for more would have as much kept.
    const MAX_WINDOW_LOG: u32 = 23;
    let mut decoder = zstd::stream::write::Decoder::new(Vec::new())?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

/// Writes all of a piece. A decoder that takes nothing more has met its end: what follows is
/// read by some decoders and not by others.
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
