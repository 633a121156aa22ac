//! Rewrites the addresses in a JSON body as a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::{CallerAddresses, UnreachableAddress};
use crate::rejection::Received;

pin_project! {
    /// A JSON body whose addresses are rewritten. Bytes that may begin an address are held back, at
    /// most twice [`HELD`] and a scheme.
    pub(crate) struct RewrittenBody {
        #[pin]
        body: Received,
        held: BytesMut,
        caller: CallerAddresses,
        trailers: Option<Frame<Bytes>>,
        ended: bool,
    }
}

/// How much is held back, in bytes: longer than any address up to its base path. Text without
/// delimiters, such as an image, is passed on beyond that.
const HELD: usize = 4096;
/// The longest scheme that is recognised: those in use are shorter than 10 bytes.
const MAX_SCHEME: usize = 64;

type Error = Box<dyn std::error::Error + Send + Sync>;

impl RewrittenBody {
    pub(crate) fn new(body: Received, caller: CallerAddresses) -> Self {
        Self {
            body,
            held: BytesMut::new(),
            caller,
            trailers: None,
            ended: false,
        }
    }
}

impl Body for RewrittenBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        loop {
            if *this.ended {
                return Poll::Ready(this.trailers.take().map(Ok));
            }
            let piece = match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        let data = data.copy_to_bytes(data.remaining());
                        this.held.extend_from_slice(&data);
                        let length = complete(this.held);
                        this.held.split_to(length)
                    }
                    Err(trailers) => {
                        *this.trailers = Some(trailers);
                        continue;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    *this.ended = true;
                    this.held.split()
                }
            };
            if piece.is_empty() {
                continue;
            }
            return Poll::Ready(Some(match rewritten(piece.freeze(), this.caller) {
                Ok(bytes) => Ok(Frame::data(bytes)),
                Err(error) => {
                    *this.ended = true;
                    Err(error.into())
                }
            }));
        }
    }
}

/// How many of the held bytes cannot be within the first [`HELD`] bytes of an address.
fn complete(held: &[u8]) -> usize {
    let is_end = |byte: &u8| matches!(byte, b'"' | b',' | b' ' | b'\n' | b'}' | b']');
    let end = held.iter().rposition(is_end).map_or(0, |at| at);
    let cut = held.len().saturating_sub(HELD);
    if cut <= end {
        return end;
    }
    // An address that began longer ago than this has its host and base path before the cut.
    let from = end.max(cut.saturating_sub(HELD));
    let begun = (from..held.len().min(cut + MAX_SCHEME + 1)).find_map(|at| {
        let (before, after) = held.split_at_checked(at)?;
        let slashes = after.starts_with(b"//") || after.starts_with(b"\\/\\/");
        slashes.then(|| begin(before)).flatten()
    });
    begun.map_or(cut, |begun| begun.clamp(end, cut))
}

/// Where an address begins whose two slashes come next; `None` if they are within a path.
fn begin(before: &[u8]) -> Option<usize> {
    let is_scheme = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
    match before.split_last() {
        Some((b':', scheme)) => {
            let letters = scheme.iter().rev().take(MAX_SCHEME);
            Some(scheme.len() - letters.take_while(is_scheme).count())
        }
        Some((last, _)) => b" <\"'=,;(".contains(last).then_some(before.len()),
        None => Some(0),
    }
}

fn rewritten(piece: Bytes, caller: &CallerAddresses) -> Result<Bytes, UnreachableAddress> {
    let mut out = BytesMut::new();
    let mut rest: &[u8] = &piece;
    // Bytes that are not UTF-8 contain no address and are not changed.
    while !rest.is_empty() {
        let (valid, invalid) = match std::str::from_utf8(rest) {
            Ok(text) => (text, 0),
            Err(error) => {
                let text = rest.get(..error.valid_up_to()).unwrap_or_default();
                let skipped = error.error_len().unwrap_or(rest.len() - text.len());
                (std::str::from_utf8(text).unwrap_or_default(), skipped)
            }
        };
        let written = caller.absolute(valid)?;
        if matches!(written, std::borrow::Cow::Borrowed(_)) && invalid == 0 && out.is_empty() {
            return Ok(piece);
        }
        out.extend_from_slice(written.as_bytes());
        let after = valid.len() + invalid;
        out.extend_from_slice(rest.get(valid.len()..after).unwrap_or_default());
        rest = rest.get(after..).unwrap_or_default();
    }
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_still_arriving_is_held_back() {
        for (held, expected) in [
            (r#"{"a":"http://h"#, 5),
            (r#"{"a":"http://h/x","#, 17),
            (r#"{"a":"#, 3),
            ("", 0),
        ] {
            assert_eq!(complete(held.as_bytes()), expected, "{held}");
        }
        assert_eq!(complete(&vec![b'A'; HELD + 10]), 10);
    }

    #[test]
    fn no_cut_is_within_an_address() {
        for address in [
            "http://127.0.0.1:9000/x",
            r"http:\/\/127.0.0.1:9000\/x",
            "//h/x",
        ] {
            let text = format!("\"{}<{address}", "A".repeat(10));
            for cut in 1..text.len() {
                let rest = "a".repeat(HELD + cut - text.len());
                let held = format!("{text}{rest}");
                let expected = cut.min("\"<".len() + 10);
                assert_eq!(complete(held.as_bytes()), expected, "{address} {cut}");
            }
        }
        // What is held is bounded, and a long address passes at last.
        let long = format!("\"http://{}", "a".repeat(3 * HELD));
        assert_eq!(complete(long.as_bytes()), long.len() - HELD);
    }
}
