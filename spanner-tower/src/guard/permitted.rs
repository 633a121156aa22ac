//! What a handler learns of the request that reached it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use spanner_core::{Caller, Environment, Permit, RecordId, Share, Target};

use super::headers::set;

/// Says that a share is used up: the guard refuses the request in the words of the API, with
/// 429 or 503, `Retry-After` and a sentence that says which.
///
/// A server in front of the guard that counts what its connections hold puts it into a
/// request's extensions; the guard then asks nobody. A service behind it that cannot take one
/// more puts it into the response's extensions.
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

/// The answered question: who may do what where, and under which record.
///
/// A handler cannot make one, so having one says that the guard let this request pass.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Access {
    /// Who was allowed.
    pub caller: Caller,
    /// What was allowed; `None` on routes that touch no model.
    pub target: Option<Target>,
    /// Where.
    pub environment: Environment,
    /// The record's identifier, the same as in `spanner-decision`.
    pub decision: RecordId,
}

impl Access {
    /// Says in the headers of a request who is calling, for a server that is trusted to be told:
    /// `spanner-subject`, `spanner-kind`, `spanner-actor` and `spanner-decision`. What is no
    /// visible ASCII, and `%`, is percent-encoded.
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

/// What is no visible character of ASCII, and `%`, so that it can be decoded.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Sets a header to a text, whose characters that cannot stand there are escaped.
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
    /// Says what a permit allows; `None` on public and exempted routes, whose callers
    /// nobody has asked who they are.
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

/// A handler asked for [`Permitted`] on a route that the guard does not stand before, or
/// that is public. Answered with 500: the service is put together wrongly.
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
