//! The road of one request: [`Guard::check`].

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use spanner_core::record::Enforcement;
use spanner_core::{Attempt, Caller, Count, Outage, Refusal, Target, UnknownRoute};
use tower_service::Service;
use tracing::Instrument as _;

use super::admission::{Admission, Allowed};
use super::arrival::arrival;
use super::body::GuardBody;
use super::classify::{Classification, Guarded, Kind, Open};
use super::credentials;
use super::reply::Reply;
use super::shared::Shared;
use super::trace;
use super::voice::Voice;
use crate::BoxError;
use crate::authenticate::Authentication;
use crate::resolve::{MessageResolver, RequestBody, refuse_detours};
use crate::shares::CallerSlot;

/// Authorizes requests for a front door, such as the tower service of a
/// [`GuardLayer`](super::GuardLayer) or an adapter for another server or gateway. Cheap to
/// clone.
///
/// [`GuardLayer::guard`](super::GuardLayer::guard) returns it. A front door that forwards
/// requests itself calls [`check`](Self::check) and [forwards](Admission::forward) what is
/// admitted. A front door that only answers a gateway (Envoy's `ext_authz`, nginx's
/// `auth_request`) calls the same function of an [`external`](Self::external) guard, and tells
/// the gateway which [headers](Admission::header_changes) to change:
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use spanner_core::testing::{MemorySink, Rules};
/// # use spanner_tower::mock_idp::MockIdp;
/// # use spanner_tower::{Bearer, GuardLayer, surface};
/// use spanner_tower::{CheckBody, Guard};
///
/// /// What the gateway is told: the headers to set and to remove, or the reply to send.
/// async fn answer(guard: &Guard, request: Request<CheckBody>) -> Result<String, Response<Bytes>> {
///     let original = request.headers().clone();
///     let admission = guard.check(request).await.map_err(|reply| reply.into_response())?;
///     let changes = admission.header_changes(&original);
///     // Nobody here learns how the request ends.
///     drop(admission.into_settlement());
///     Ok(format!("set {:?}, remove {:?}", changes.set, changes.remove))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let idp = MockIdp::new();
/// # let callers = Bearer::builder().issuer(idp.issuer_config().audience("models")).build()?;
/// # let rules = Rules::allow(|question| question.party.principal.subject.as_str() == "alice");
/// # let ledger = MemorySink::new();
/// let guard = GuardLayer::builder(callers, rules, ledger.clone())
///     .environment("production".parse()?)
///     .surface(surface::openai())
///     .build()?
///     .guard()
///     .external();
/// # let request = |who: &str, body: CheckBody| {
/// #     let token = idp.token().sub(who).audience("models").sign();
/// #     Request::post("/v1/embeddings")
/// #         .header("authorization", format!("Bearer {token}"))
/// #         .header("content-type", "application/json")
/// #         .body(body)
/// #         .unwrap()
/// # };
/// let body = CheckBody::whole(r#"{"model": "acme/sentiment", "input": "hello"}"#);
/// let allowed = answer(&guard, request("alice", body.clone())).await.unwrap();
/// assert!(allowed.contains(r#"("spanner-subject", "user:mock/alice")"#));
/// assert!(allowed.ends_with(r#"remove ["authorization"]"#));
///
/// assert_eq!(answer(&guard, request("mallory", body)).await.unwrap_err().status(), 403);
///
/// // The gateway passed on the beginning of the body only.
/// let cut = CheckBody::cut(r#"{"model": "acme/sentiment", "inp"#);
/// assert_eq!(answer(&guard, request("alice", cut)).await.unwrap_err().status(), 413);
///
/// // Each decision is a complete record: how the requests ended is known to the gateway.
/// assert_eq!((ledger.decisions().len(), ledger.outcomes().len()), (3, 0));
/// # Ok(()) }
/// # main().unwrap();
/// ```
///
/// # Security
/// The forwarded request must be the checked request. A gateway that rewrites the path, merges
/// headers or re-encodes the body after the check forwards a request that was not authorized.
#[derive(Clone)]
pub struct Guard {
    pub(super) shared: Arc<Shared>,
    pub(super) enforcement: Enforcement,
}

/// An authenticated caller, and its slot among the requests that it may have in progress.
struct Identity {
    caller: Caller,
    slot: CallerSlot,
}

/// The resolved request of an authenticated caller.
struct Question<B> {
    /// The target to decide; `None` where every authenticated caller is admitted.
    target: Option<Target>,
    body: RequestBody<B>,
    /// Set if the request opens a WebSocket whose messages are authorized.
    messages: Option<MessageResolver>,
}

impl Guard {
    /// The same guard for a front door that only answers whether a request may be forwarded. Its
    /// records have [`Enforcement::External`].
    ///
    /// The whole request is examined before it is admitted, because the guard does not see what
    /// follows. Requests that need watching while they last, which are upgrades to WebSockets,
    /// are refused.
    #[must_use]
    pub fn external(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            enforcement: Enforcement::External,
        }
    }

    /// The road: authenticate, resolve, decide, record. An admitted request may be forwarded.
    ///
    /// It reads [`Peer`](crate::Peer) and [`Exhausted`](crate::Exhausted) from the request's
    /// extensions, and whatever the authenticator reads there.
    ///
    /// # Errors
    /// [`Reply`]: the guard answers instead of the service, mostly with a refusal in the error
    /// format of the API.
    pub async fn check<B>(&self, request: Request<B>) -> Result<Admission<B>, Reply>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let arrival = arrival(&parts, &self.shared.baggage, self.enforcement);
        let mut attempt = self.shared.gate.open(arrival);
        let Classification { kind, voice } =
            self.shared
                .classify(&mut parts, &mut attempt, self.enforcement);
        let guarded = match kind {
            Kind::Refused(refusal) => return Err(self.refuse(attempt, refusal, voice).await),
            Kind::Open(open) => return self.pass(attempt, open, (parts, body), voice).await,
            Kind::Guarded(guarded) => guarded,
        };
        let identity = match self.authenticate(&mut attempt, &guarded, &mut parts).await {
            Ok(identity) => identity,
            Err(refusal) => return Err(self.refuse(attempt, refusal, voice).await),
        };
        let question = match self.resolve(&guarded, &identity, &mut parts, body).await {
            Ok(question) => question,
            Err(refusal) => return Err(self.refuse(attempt, refusal, voice).await),
        };
        let Identity { caller, slot } = identity;
        let decided = match question.target {
            Some(target) => attempt.decide(caller, target),
            None => attempt.admit(caller),
        };
        let permit = match decided.recorded().await {
            Ok(permit) => permit,
            Err(refused) => return Err(Reply::refused(refused, voice, &self.shared.realm)),
        };
        let allowed = Allowed {
            permit,
            body: question.body,
            messages: question.messages,
            reports: guarded.route().map(|route| route.reports()),
            slot: Some(slot),
        };
        let admission = Admission::new(allowed, parts, voice, &self.shared);
        match self.enforcement.is_external() {
            true => Box::pin(admission.examined(&self.shared.limits)).await,
            false => Ok(admission),
        }
    }

    /// Admits a request that needs no authentication.
    async fn pass<B>(
        &self,
        attempt: Attempt,
        open: Open,
        (mut parts, body): (Parts, B),
        voice: Voice,
    ) -> Result<Admission<B>, Reply> {
        let (count, route) = match &open {
            Open::Metadata => (Count::Public, None),
            Open::Exempt => (Count::Exempt, None),
            Open::Public(route) => (Count::Public, Some(route)),
        };
        let published = match open {
            Open::Metadata => self.shared.published.as_ref(),
            Open::Exempt | Open::Public(_) => None,
        };
        if published.is_none()
            && let Err(fault) = refuse_detours(&parts, &[])
        {
            return Err(self.refuse(attempt, fault.into(), voice).await);
        }
        if let Some(route) = route {
            credentials::remove(&mut parts.headers, route.credentials());
        }
        let permit = match attempt.pass(count).recorded().await {
            Ok(permit) => permit,
            Err(refused) => return Err(Reply::refused(refused, voice, &self.shared.realm)),
        };
        if let Some(published) = published {
            return Err(Reply::published(published.answer(&parts.method), permit));
        }
        let allowed = Allowed {
            permit,
            body: RequestBody::unread(body),
            messages: None,
            reports: route.map(|route| route.reports()),
            slot: None,
        };
        Ok(Admission::new(allowed, parts, voice, &self.shared))
    }

    /// Authenticates the caller. No byte of the body has been read yet.
    async fn authenticate(
        &self,
        attempt: &mut Attempt,
        guarded: &Guarded,
        parts: &mut Parts,
    ) -> Result<Identity, Refusal> {
        match guarded.route() {
            Some(route) => credentials::present(&mut parts.headers, route.credentials())?,
            None => credentials::present_anywhere(&mut parts.headers)?,
        }
        let now = self.shared.gate.now();
        let authenticated = self.shared.callers.authenticate(parts, now).await;
        let Authentication { caller, vouch } = authenticated.map_err(|error| {
            if let Some(credential) = error.credential {
                attempt.refused_credential(credential);
            }
            error.refusal
        })?;
        attempt.identify(&caller);
        if let Some(vouch) = vouch {
            attempt.vouch(vouch);
        }
        let slot = self.shared.shares.take(&caller.subject().principal);
        let slot = slot.map_err(Outage::Share)?;
        Ok(Identity { caller, slot })
    }

    /// Resolves what the request touches.
    async fn resolve<B>(
        &self,
        guarded: &Guarded,
        identity: &Identity,
        parts: &mut Parts,
        body: B,
    ) -> Result<Question<B>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let route = guarded.route().ok_or(UnknownRoute)?;
        credentials::remove(&mut parts.headers, route.credentials());
        let (target, body, messages) = match guarded {
            Guarded::Unknown => return Err(UnknownRoute.into()),
            Guarded::Whoami(_) => {
                refuse_detours(parts, &[])?;
                (None, RequestBody::unread(body), None)
            }
            Guarded::Conversation(route) => {
                // If there is no target, the first message names the model.
                let (messages, target) = route.conversation(parts)?;
                (target, RequestBody::unread(body), Some(messages))
            }
            Guarded::Action(route) => {
                let limits = &self.shared.limits;
                let room = identity.slot.room();
                let (target, body) = route.target(parts, body, limits, room).await?;
                (Some(target), body, None)
            }
        };
        if let Some(target) = &target {
            trace::asked(target, &route.template());
        }
        Ok(Question {
            target,
            body,
            messages,
        })
    }

    async fn refuse(&self, attempt: Attempt, refusal: Refusal, voice: Voice) -> Reply {
        let refused = attempt.refuse(refusal).refused().await;
        Reply::refused(refused, voice, &self.shared.realm)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("gate", &self.shared.gate)
            .field("enforcement", &self.enforcement)
            .finish_non_exhaustive()
    }
}

/// An inner service behind a guard, made by [`GuardLayer`](super::GuardLayer).
#[derive(Clone)]
pub struct GuardService<S> {
    guard: Guard,
    inner: S,
}

impl<S> GuardService<S> {
    pub(super) const fn new(guard: Guard, inner: S) -> Self {
        Self { guard, inner }
    }
}

impl<S, B, R> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<GuardBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        let road = async move {
            match guard.check(request).await {
                Ok(admission) => admission.forward(ready).await,
                Err(reply) => Ok(reply.into_response().map(GuardBody::answer)),
            }
        };
        Box::pin(road.instrument(trace::span()))
    }
}

impl<S> fmt::Debug for GuardService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardService")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
