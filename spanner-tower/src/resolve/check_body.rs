//! The body of a request that a gateway has checked.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a request as a gateway sent it for the check: whole, only its beginning, or none
/// of it.
///
/// A request whose model is named in the body is decided only if the body is whole, because the
/// missing part could name another model. Otherwise it is refused with 413.
///
/// ```
/// use spanner_tower::CheckBody;
///
/// let whole = CheckBody::whole(r#"{"model": "acme/sentiment"}"#);
/// // Envoy says so with `x-envoy-auth-partial-body: true`.
/// let beginning = CheckBody::cut(r#"{"model": "acme/sen"#);
/// // nginx's `auth_request` passes on the head alone.
/// let none = CheckBody::unseen();
/// # let _ = (whole, beginning, none);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckBody {
    seen: Bytes,
    is_whole: bool,
}

impl CheckBody {
    /// A complete body. A body that is known to be empty is complete.
    #[must_use]
    pub fn whole(body: impl Into<Bytes>) -> Self {
        let seen = body.into();
        Self {
            seen,
            is_whole: true,
        }
    }

    /// The beginning of a body. The rest is unknown.
    #[must_use]
    pub fn cut(beginning: impl Into<Bytes>) -> Self {
        let seen = beginning.into();
        Self {
            seen,
            is_whole: false,
        }
    }

    /// A body about which nothing is known, not even whether there is one.
    #[must_use]
    pub const fn unseen() -> Self {
        Self {
            seen: Bytes::new(),
            is_whole: false,
        }
    }
}

impl Body for CheckBody {
    type Data = Bytes;
    type Error = BodyCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyCut>>> {
        let seen = std::mem::take(&mut self.seen);
        Poll::Ready(match (seen.is_empty(), self.is_whole) {
            (false, _) => Some(Ok(Frame::data(seen))),
            (true, true) => None,
            (true, false) => Some(Err(BodyCut)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole && self.seen.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = u64::try_from(self.seen.len()).unwrap_or(u64::MAX);
        match self.is_whole {
            true => SizeHint::with_exact(length),
            false => {
                let mut hint = SizeHint::new();
                hint.set_lower(length);
                hint
            }
        }
    }
}

/// The error at the end of a [`CheckBody`] that is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyCut;

impl fmt::Display for BodyCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway did not pass on the whole body")
    }
}

impl std::error::Error for BodyCut {}
