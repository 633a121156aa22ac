//! The guard's own responses.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use spanner_core::{Permit, RecordId, Refusal, Refused};

use super::answer::{Realm, answer};
use super::trace;
use super::voice::Voice;

/// The guard's own response to a request that is not forwarded: a refusal in the error format of
/// the API, or the protected resource metadata.
#[must_use = "the caller waits for it, and the record for its end"]
pub struct Reply(Kind);

enum Kind {
    Refused {
        refused: Refused,
        voice: Voice,
        realm: Arc<Realm>,
    },
    Published(Box<(Response<Bytes>, Permit)>),
}

impl Reply {
    pub(super) fn refused(refused: Refused, voice: Voice, realm: &Arc<Realm>) -> Self {
        let realm = Arc::clone(realm);
        Self(Kind::Refused {
            refused,
            voice,
            realm,
        })
    }

    pub(super) fn published(document: Response<Bytes>, permit: Permit) -> Self {
        Self(Kind::Published(Box::new((document, permit))))
    }

    /// Why the request is refused; `None` if the reply is not a refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.0 {
            Kind::Refused { refused, .. } => Some(refused.refusal()),
            Kind::Published(_) => None,
        }
    }

    /// The id of the refusal's record; `None` if the refusal was only counted.
    #[must_use]
    pub fn decision(&self) -> Option<RecordId> {
        match &self.0 {
            Kind::Refused { refused, .. } => refused.id(),
            Kind::Published(_) => None,
        }
    }

    /// Whether the reply is a gRPC response: HTTP 200 without a body, with `grpc-status` and
    /// `grpc-message` in the head.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        match &self.0 {
            Kind::Refused { voice, .. } => matches!(voice, Voice::Grpc),
            Kind::Published(_) => false,
        }
    }

    /// The response to send. This settles the record, unless another point enforces the
    /// decision.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        match self.0 {
            Kind::Refused {
                refused,
                voice,
                realm,
            } => {
                let response = answer(refused.refusal(), refused.id(), voice, &realm);
                let bytes = u64::try_from(response.body().len()).unwrap_or(u64::MAX);
                trace::refused(refused.refusal(), refused.id(), response.status());
                tracing::debug!("refused");
                refused.settle(response.status().as_u16(), bytes);
                response
            }
            Kind::Published(published) => {
                let (response, permit) = *published;
                let mut settlement = permit.forward();
                settlement.head(response.status().as_u16());
                settlement.finish();
                response
            }
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("refusal", &self.refusal())
            .field("decision", &self.decision())
            .finish_non_exhaustive()
    }
}
