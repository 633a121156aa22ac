//! The body of a request about which a gateway asks.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a request as a gateway passed it on to be checked: whole, only its beginning, or
/// none of it.
///
/// A request whose model stands in the body is decided only if the body is whole: the part that
/// is missing could name another model. It is refused with 413 otherwise.
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
    /// A body that is all there. One that is known to be empty is whole.
    #[must_use]
    pub fn whole(body: impl Into<Bytes>) -> Self {
        let seen = body.into();
        Self {
            seen,
            is_whole: true,
        }
    }

    /// The beginning of a body. More may follow that is not known here.
    #[must_use]
    pub fn cut(beginning: impl Into<Bytes>) -> Self {
        let seen = beginning.into();
        Self {
            seen,
            is_whole: false,
        }
    }

    /// A body of which nothing is known, not even whether there is one.
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

/// What a [`CheckBody`] ends with that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodyCut;

impl fmt::Display for BodyCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway did not pass on the whole body")
    }
}

impl std::error::Error for BodyCut {}
