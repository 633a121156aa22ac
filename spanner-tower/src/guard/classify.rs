//! Classifies a request by its head alone. No other place tells the kinds of requests apart.

use http::request::Parts;
use spanner_core::record::Enforcement;
use spanner_core::{Attempt, Outage, Refusal};

use super::permitted::Exhausted;
use super::shared::Shared;
use super::trace;
use super::voice::Voice;
use crate::resolve::{Match, RouteClass};

/// The kind of a request, and how a refusal of it is written.
pub(super) struct Classification {
    pub(super) kind: Kind,
    pub(super) voice: Voice,
}

/// The kind of a request.
pub(super) enum Kind {
    /// It is refused before authentication: it is ambiguous, or the server in front has no
    /// capacity for it.
    Refused(Refusal),
    /// It needs no authentication.
    Open(Open),
    /// It needs an authenticated caller.
    Guarded(Guarded),
}

/// A request without authentication.
pub(super) enum Open {
    /// The protected resource metadata, which the guard serves itself.
    Metadata,
    /// A route that the operator exempted.
    Exempt,
    /// A route that a surface declares public.
    Public(Match),
}

/// A request that needs an authenticated caller.
pub(super) enum Guarded {
    /// A question about the caller itself, open to every authenticated caller.
    Whoami(Match),
    /// A WebSocket whose messages name models.
    Conversation(Match),
    /// An action on models.
    Action(Match),
    /// A request that no surface knows. It is refused after authentication, so that the record
    /// names the caller.
    Unknown,
}

/// Marks a request that has passed a guard.
#[derive(Clone)]
pub(super) struct Passed;

impl Shared {
    /// Classifies a request by its head and notes the route in the record. It removes the marks
    /// that a server in front left in the extensions.
    pub(super) fn classify(
        &self,
        parts: &mut Parts,
        attempt: &mut Attempt,
        enforcement: Enforcement,
    ) -> Classification {
        let path = parts.uri.path();
        if self.published.as_ref().is_some_and(|it| it.is_at(path)) {
            return Kind::Open(Open::Metadata).answered(Voice::of_stranger(parts, &self.routes));
        }
        if self.exempt.iter().any(|exempt| exempt.is(parts)) {
            return Kind::Open(Open::Exempt).answered(Voice::of_stranger(parts, &self.routes));
        }
        let (route, voice) = match self.routes.classify(parts) {
            Ok(route) => {
                let voice = Voice::of(parts, &route);
                attempt.route(route.surface(), route.template());
                trace::route(&route.surface(), &route.template());
                (Some(route), voice)
            }
            // All routes are compared with the path in this case only, to guess the client.
            Err(Refusal::Route(_)) => (None, Voice::of_stranger(parts, &self.routes)),
            Err(refusal) => {
                let voice = Voice::of_stranger(parts, &self.routes);
                return Kind::Refused(refusal).answered(voice);
            }
        };
        if let Some(Exhausted(share)) = parts.extensions.remove() {
            return Kind::Refused(Outage::Share(share).into()).answered(voice);
        }
        let guarded = match route {
            None => Guarded::Unknown,
            Some(route) => match route.class() {
                RouteClass::Public => return Kind::Open(Open::Public(route)).answered(voice),
                RouteClass::Whoami => Guarded::Whoami(route),
                RouteClass::Guarded if self.opens_conversation(&route, parts, enforcement) => {
                    Guarded::Conversation(route)
                }
                RouteClass::Guarded => Guarded::Action(route),
            },
        };
        if parts.extensions.get::<Passed>().is_some() {
            tracing::error!(
                "this service is guarded twice: the outer guard takes the credential, so the inner one refuses everybody; remove one of the layers"
            );
            return Kind::Refused(Outage::Stacked.into()).answered(voice);
        }
        Kind::Guarded(guarded).answered(voice)
    }

    /// Whether the request opens a WebSocket whose messages the service has examined. Only an
    /// inline guard has messages to examine.
    fn opens_conversation(&self, route: &Match, parts: &Parts, enforcement: Enforcement) -> bool {
        enforcement.is_inline() && self.websockets && route.opens_conversation(parts)
    }
}

impl Kind {
    const fn answered(self, voice: Voice) -> Classification {
        Classification { kind: self, voice }
    }
}

impl Guarded {
    /// The route; `None` if no surface knows it.
    pub(super) const fn route(&self) -> Option<&Match> {
        match self {
            Self::Whoami(route) | Self::Conversation(route) | Self::Action(route) => Some(route),
            Self::Unknown => None,
        }
    }
}
