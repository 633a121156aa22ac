//! What a handler learns about the request that reached it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use spanner_core::{Caller, Environment, Permit, RecordId, Share, Target};

use super::headers::set;

/// Reports that a share is used up. The guard then refuses the request in the error format of
/// the API, with 429 or 503, `Retry-After` and a message that names the share.
///
/// A server in front of the guard that limits its connections puts it into the request's
/// extensions; the guard then refuses without authenticating. A service behind the guard that
/// has no capacity left puts it into the response's extensions.
///
/// ```
/// use http::Response;
/// use spanner_core::Share;
/// use spanner_tower::Exhausted;
///
/// fn full() -> Response<String> {
///     let mut response = Response::default();
///     response.extensions_mut().insert(Exhausted(Share::Upstream));
///     response
/// }
/// # assert!(full().extensions().get::<Exhausted>().is_some());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted(pub Share);

/// The decision on a request: who may do what in which environment, and its record.
///
/// A handler cannot construct one, so its presence proves that the guard admitted the request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Access {
    /// The caller.
    pub caller: Caller,
    /// The allowed actions and models; `None` on routes that touch no model.
    pub target: Option<Target>,
    /// The environment that the decision applies to.
    pub environment: Environment,
    /// The id of the record, as in `spanner-decision`.
    pub decision: RecordId,
}

impl Access {
    /// Sets headers that identify the caller, for a trusted server: `spanner-subject`,
    /// `spanner-kind`, `spanner-actor` and `spanner-decision`. `%` and everything that is not
    /// visible ASCII is percent-encoded.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        let subject = &self.caller.subject().principal;
        let actor = self.caller.actor().map(|actor| &actor.principal);
        set_escaped(headers, "spanner-subject", &subject.to_string());
        set_escaped(headers, "spanner-kind", subject.kind.as_str());
        set_escaped(headers, "spanner-decision", &self.decision.to_string());
        if let Some(actor) = actor {
            set_escaped(headers, "spanner-actor", &actor.to_string());
        }
    }
}

/// Everything that is not visible ASCII, and `%`, so that values can be decoded.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Sets a header to a text and percent-encodes the characters that headers do not allow.
fn set_escaped(headers: &mut HeaderMap, name: &'static str, text: &str) {
    let escaped = utf8_percent_encode(text, ESCAPED).to_string();
    set(headers, HeaderName::from_static(name), &escaped);
}

/// The [`Access`] of a request, in its extensions. In axum it is an extractor; in tonic,
/// ask `request.extensions().get::<Permitted>()`.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use spanner_tower::Permitted;
///
/// async fn chat(Permitted(access): Permitted) -> String {
///     format!("good day, {}", access.caller)
/// }
/// # let _ = axum::routing::post(chat).with_state::<()>(());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Permitted(pub Arc<Access>);

impl Permitted {
    /// The access that a permit grants; `None` on public and exempted routes, which have no
    /// authenticated caller.
    pub(super) fn of(permit: &Permit) -> Option<Self> {
        let caller = permit.caller()?.clone();
        Some(Self(Arc::new(Access {
            caller,
            target: permit.target().cloned(),
            environment: permit.environment().clone(),
            decision: permit.id(),
        })))
    }
}

/// A handler extracts [`Permitted`] on a route that is public or not behind a guard. The
/// response is 500, because the service is assembled incorrectly.
#[cfg(feature = "axum")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this route is not guarded: add the guard's layer after the route")]
pub struct NotGuarded;

#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for NotGuarded {
    fn into_response(self) -> axum_core::response::Response {
        (http::StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

#[cfg(feature = "axum")]
impl<S: Send + Sync> axum_core::extract::FromRequestParts<S> for Permitted {
    type Rejection = NotGuarded;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, NotGuarded> {
        parts.extensions.get::<Self>().cloned().ok_or(NotGuarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_characters_can_stand_in_headers() {
        let mut headers = HeaderMap::new();
        set_escaped(&mut headers, "spanner-subject", "user:corp/zoë 100%\r\n");
        assert_eq!(
            headers["spanner-subject"],
            "user:corp/zo%C3%AB%20100%25%0D%0A"
        );
    }
}
