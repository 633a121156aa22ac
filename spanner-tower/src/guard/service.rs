//! The road of one request.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use spanner_core::{
    Arrival, Attempt, Caller, Count, Fault, Freshness, Gate, Outage, Permit, RecordId, Refusal,
    Refused, Settlement, Target, UnknownRoute,
};
use tower_service::Service;
use tracing::Instrument as _;

use super::answer::{DECISION, FAULT, ORIGIN, Realm, Voice, WARNING, answer, fault, set};
use super::asserted::asserted;
use super::body::{GuardBody, Head, Watching, grpc_status};
use super::conversation::{self, Upgrade};
use super::credentials;
use super::exempt::Exempt;
use super::permitted::{Exhausted, Permitted};
use super::reauthorize::{GuardResponse, ReauthorizationRefused, Reauthorize};
use super::resource::Published;
use super::trace;
use super::vigil::Vigil;
use crate::BoxError;
use crate::authenticate::{Authenticate, Authentication, Peer};
use crate::resolve::{
    Broken, Limits, Match, Pace, RequestBody, RouteClass, Routes, Talk, refuse_detours,
    remove_ours, remove_rewriting,
};
use crate::shares::{BodyBudget, Shares, Taken};
use crate::surface::{Credential, Dialect, Reports, is_run};

/// The guard around an inner service. Made by [`GuardLayer`](super::GuardLayer).
#[derive(Clone)]
pub struct GuardService<S> {
    guard: Arc<Guard>,
    inner: S,
}

/// What all services of one layer share.
pub(super) struct Guard {
    gate: Gate,
    callers: Box<dyn Authenticate>,
    routes: Routes,
    exempt: Vec<Exempt>,
    limits: Limits,
    shares: Arc<Shares>,
    realm: Arc<Realm>,
    published: Option<Published>,
    websockets: bool,
    /// The members of baggage that records keep.
    baggage: Vec<String>,
}

/// Marks a request that has passed a guard.
#[derive(Clone)]
struct Guarded;

/// A request that may be forwarded.
struct Admitted<B> {
    permit: Permit,
    request: Request<RequestBody<B>>,
    broken: Broken,
    vigil: Vigil,
    method: Method,
    voice: Voice,
    upgrade: Option<Upgrade>,
    reports: Option<Arc<Reports>>,
    share: Option<Taken>,
}

/// What a request turned out to ask.
enum Asked {
    /// Nothing that needs an answer.
    Pass(Count),
    /// To be let in as somebody.
    Admit(Caller),
    /// To do something with a model.
    Decide(Caller, Target),
}

impl Guard {
    pub(super) fn new(
        gate: Gate,
        callers: Box<dyn Authenticate>,
        routes: Routes,
        exempt: Vec<Exempt>,
        limits: Limits,
        realm: Realm,
    ) -> Self {
        Self {
            gate,
            callers,
            routes,
            exempt,
            shares: Shares::new(&limits, BodyBudget::new(limits.bytes)),
            limits,
            realm: Arc::new(realm),
            published: None,
            websockets: false,
            baggage: Vec::new(),
        }
    }

    /// Lets WebSockets be opened whose frames are examined behind.
    pub(super) fn talking(self, websockets: bool) -> Self {
        Self { websockets, ..self }
    }

    /// Counts what waits of bodies in this budget.
    pub(super) fn holding(self, budget: Option<BodyBudget>) -> Self {
        match budget {
            Some(budget) => Self {
                shares: Shares::new(&self.limits, budget),
                ..self
            },
            None => self,
        }
    }

    /// Keeps what clients claim in these members of baggage.
    pub(super) fn keeping(self, baggage: Vec<String>) -> Self {
        Self { baggage, ..self }
    }

    /// Answers requests for the protected resource metadata as well.
    pub(super) fn publishing(self, published: Option<Published>) -> Self {
        Self { published, ..self }
    }

    /// The road: authenticate, resolve, decide, record, forward, record.
    async fn serve<S, B, R>(
        &self,
        inner: S,
        request: Request<B>,
    ) -> Result<Response<GuardBody<R>>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
        R: Body<Data = Bytes>,
    {
        if let Some(published) = &self.published
            && published.is_at(request.uri().path())
        {
            let (parts, _) = request.into_parts();
            return Ok(self.publish(published, &parts).await);
        }
        match self.admit(request).await {
            Ok(admitted) => forward(inner, admitted, &self.realm).await,
            Err((refused, voice)) => Ok(reply(refused, voice, &self.realm)),
        }
    }

    /// Answers with what is public of the service. No inner service is reached.
    async fn publish<R>(&self, published: &Published, parts: &Parts) -> Response<GuardBody<R>> {
        let attempt = self.gate.open(self.arrival(parts));
        let response = match attempt.pass(Count::Public).recorded().await {
            Ok(permit) => {
                let response = published.answer(&parts.method);
                let mut settlement = permit.forward();
                settlement.head(response.status().as_u16());
                settlement.finish();
                response
            }
            Err(refused) => {
                return reply(
                    refused,
                    Voice::of_stranger(parts, &self.routes),
                    &self.realm,
                );
            }
        };
        response.map(GuardBody::answer)
    }

    /// Authenticate, resolve, decide, record. What comes out may be forwarded.
    async fn admit<B>(&self, request: Request<B>) -> Result<Admitted<B>, (Refused, Voice)>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        // Until it is known what is asked.
        let mut voice = Voice::http(&parts, Dialect::Problem, &[]);
        let mut attempt = self.gate.open(self.arrival(&parts));
        let mut share = None;
        let asking = self.ask(&mut attempt, &mut parts, body, &mut voice, &mut share);
        let (asked, body) = match asking.await {
            Ok(asked) => asked,
            Err(refusal) => return Err((attempt.refuse(refusal).refused().await, voice)),
        };
        let decided = match asked {
            Asked::Decide(caller, target) => attempt.decide(caller, target),
            Asked::Admit(caller) => attempt.admit(caller),
            Asked::Pass(count) => attempt.pass(count),
        };
        let permit = decided
            .recorded()
            .await
            .map_err(|refused| (refused, voice))?;
        let pace = Pace::new(&self.limits, voice == Voice::Grpc);
        let outlive = self.limits.outlive;
        let mut admitted = Admitted::of(permit, parts, body, voice, (pace, outlive));
        admitted.share = share;
        Ok(admitted)
    }

    fn arrival(&self, parts: &Parts) -> Arrival {
        let mut arrival = Arrival::new();
        arrival.peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        arrival.request_id = request_id(&parts.headers);
        arrival.trace_id = trace_id(&parts.headers);
        arrival.asserted = asserted(&parts.headers, &self.baggage);
        if arrival.request_id.is_none() && parts.headers.contains_key("x-request-id") {
            arrival.asserted.leave_out();
        }
        arrival
    }

    /// Who is calling, and what do they want?
    async fn ask<B>(
        &self,
        attempt: &mut Attempt,
        parts: &mut Parts,
        body: B,
        voice: &mut Voice,
        share: &mut Option<Taken>,
    ) -> Result<(Asked, RequestBody<B>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if self.exempt.iter().any(|exempt| exempt.is(parts)) {
            *voice = Voice::of_stranger(parts, &self.routes);
            refuse_detours(parts, &[])?;
            return Ok((Asked::Pass(Count::Exempt), RequestBody::unread(body)));
        }
        let route = match self.routes.classify(parts) {
            Ok(route) => Some(route),
            Err(refusal) => {
                // All routes are compared with the path, so this is not for every request.
                *voice = Voice::of_stranger(parts, &self.routes);
                match refusal {
                    Refusal::Route(_) => None,
                    refusal => return Err(refusal),
                }
            }
        };
        if let Some(route) = &route {
            *voice = Voice::of(parts, route);
            attempt.route(route.surface(), route.template());
            parts.extensions.insert(route.reports());
            trace::route(&route.surface(), &route.template());
        }
        if let Some(Exhausted(share)) = parts.extensions.remove() {
            return Err(Outage::Share(share).into());
        }
        if let Some(route) = &route
            && route.class() == RouteClass::Public
        {
            refuse_detours(parts, &[])?;
            credentials::remove(&mut parts.headers, route.credentials());
            return Ok((Asked::Pass(Count::Public), RequestBody::unread(body)));
        }
        if parts.extensions.get::<Guarded>().is_some() {
            tracing::error!(
                "this service is guarded twice: the outer guard takes the credential, so the inner one refuses everybody; remove one of the layers"
            );
            return Err(Outage::Stacked.into());
        }
        match &route {
            Some(route) => credentials::present(&mut parts.headers, route.credentials())?,
            None => credentials::present_anywhere(&mut parts.headers)?,
        }
        let authenticated = self.callers.authenticate(parts, self.gate.now()).await;
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
        let taken = self.shares.take(&caller.subject().principal);
        let taken = share.insert(taken.map_err(Outage::Share)?);
        let route = route.ok_or(UnknownRoute)?;
        credentials::remove(&mut parts.headers, route.credentials());
        if route.class() == RouteClass::Whoami {
            refuse_detours(parts, &[])?;
            return Ok((Asked::Admit(caller), RequestBody::unread(body)));
        }
        if self.websockets
            && let Some((talk, target)) = route.talk(parts)?
        {
            parts.extensions.insert(talk);
            let asked = match target {
                Some(target) => {
                    trace::asked(&target, &route.template());
                    Asked::Decide(caller, target)
                }
                // The first frame names the model.
                None => Asked::Admit(caller),
            };
            return Ok((asked, RequestBody::unread(body)));
        }
        let (target, body) = route
            .target(parts, body, &self.limits, taken.room())
            .await?;
        trace::asked(&target, &route.template());
        Ok((Asked::Decide(caller, target), body))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl<B> Admitted<B> {
    /// Takes from the request what the inner service must not see and adds what it may
    /// know.
    fn of(
        permit: Permit,
        mut parts: Parts,
        mut body: RequestBody<B>,
        voice: Voice,
        (pace, outlive): (Pace, Duration),
    ) -> Self {
        let broken = Broken::default();
        let allowed = permit.target().map_or(&[][..], Target::pairs);
        let vigil = Vigil::over(permit.inquiry(), allowed, broken.clone(), outlive);
        body.attach(permit.meter(), permit.inquiry(), broken.clone(), pace);
        credentials::remove(&mut parts.headers, &[]);
        remove_ours(&mut parts.headers);
        remove_rewriting(&mut parts.headers);
        parts.extensions.remove::<Permitted>();
        parts.extensions.remove::<Reauthorize>();
        parts.extensions.insert(Guarded);
        parts.extensions.remove::<Dialect>();
        if let Voice::Http { dialect, .. } = voice {
            parts.extensions.insert(dialect);
        }
        if let Some(permitted) = Permitted::of(&permit) {
            parts.extensions.insert(permitted);
        }
        if let Some(inquiry) = permit.inquiry() {
            parts.extensions.insert(Reauthorize::new(inquiry));
        }
        let upgrade = parts.extensions.remove::<Talk>().map(|talk| {
            let inquiry = permit.inquiry();
            conversation::offer(&mut parts.extensions, talk, allowed, inquiry, outlive)
        });
        let method = parts.method.clone();
        let reports = parts.extensions.remove::<Arc<Reports>>();
        Self {
            upgrade,
            reports,
            vigil,
            permit,
            request: Request::from_parts(parts, body),
            broken,
            method,
            voice,
            share: None,
        }
    }
}

/// Forwards a request and watches what comes back. Takes the permit by value: *one road*.
async fn forward<S, B, R>(
    mut inner: S,
    admitted: Admitted<B>,
    realm: &Arc<Realm>,
) -> Result<Response<GuardBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let Admitted {
        permit,
        request,
        broken,
        mut vigil,
        method,
        voice,
        upgrade,
        reports,
        share,
    } = admitted;
    let recorded = permit.caller().is_some();
    let pairs = permit.target().map_or(&[][..], Target::pairs);
    let runs = pairs.iter().any(|pair| is_run(pair.action));
    let warnings = permit.caller().map(warnings).unwrap_or_default();
    let id = permit.id();
    if recorded {
        trace::allowed(id, pairs);
    }
    let mut settlement = permit.forward();
    let (mut parts, body) = match call(&mut inner, request, &broken, &mut vigil).await {
        Ok(Ok(response)) => response.into_parts(),
        Ok(Err(error)) => {
            settlement.broke();
            return Err(error);
        }
        Err(refusal) => return Ok(refuse(&refusal, Some(id), settlement, voice, realm)),
    };
    if let Some(refused) = parts.extensions.remove::<ReauthorizationRefused>() {
        let id = refused.decision();
        return Ok(refuse(refused.refusal(), id, settlement, voice, realm));
    }
    if let Some(Exhausted(share)) = parts.extensions.remove() {
        let (refusal, id) = (Outage::Share(share).into(), recorded.then_some(id));
        return Ok(refuse(&refusal, id, settlement, voice, realm));
    }
    broken.answered();
    remove_ours(&mut parts.headers);
    let ours = parts.extensions.remove::<GuardResponse>();
    if let Some(whose) = match &ours {
        Some(ours) => ours.fault,
        None => fault_of(parts.status, grpc_status(&parts.headers)),
    } {
        settlement.blame(whose);
        parts.headers.insert(FAULT, fault(whose));
    }
    if let Some(ours) = &ours {
        let model = matches!(ours.fault, Some(Fault::Model | Fault::ModelTimeout));
        if ours.fault.is_some() && !model {
            settlement.declined(parts.status.as_u16(), ours.reason);
        }
        let guard = HeaderValue::from_static("guard");
        parts.headers.insert(ORIGIN, guard);
    }
    if recorded {
        let decision = ours.and_then(|ours| ours.decision).unwrap_or(id);
        set(&mut parts.headers, DECISION, &decision.to_string());
    }
    for warning in warnings {
        let warning = HeaderValue::from_static(warning);
        parts.headers.append(WARNING, warning);
    }
    trace::answered(parts.status);
    let head = Head {
        method: &method,
        status: parts.status,
        headers: &parts.headers,
        reports: reports.as_ref(),
        runs,
    };
    let body = match upgrade {
        Some(upgrade) if parts.status == StatusCode::SWITCHING_PROTOCOLS => {
            upgrade.opened(settlement, share);
            GuardBody::answer(Bytes::new())
        }
        _ => {
            let watching = Watching {
                broken,
                vigil,
                voice,
                realm,
                share,
            };
            GuardBody::forwarded(body, &head, settlement, watching)
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// Answers in the place of an inner service whose answer is not for the caller.
fn refuse<R>(
    refusal: &Refusal,
    id: Option<RecordId>,
    mut settlement: Settlement,
    voice: Voice,
    realm: &Realm,
) -> Response<GuardBody<R>> {
    let response = answer(refusal, id, voice, realm).map(GuardBody::answer);
    trace::broken_off(refusal, response.status());
    settlement.head(response.status().as_u16());
    settlement.grpc_status(refusal.notice().status.grpc());
    settlement.refused(refusal);
    response
}

/// What a caller should hear of its credential though it was accepted.
fn warnings(caller: &Caller) -> Vec<&'static str> {
    let soon = caller.credential().freshness == Freshness::RotateSoon;
    [
        (soon, "credential-rotate-soon"),
        (!caller.groups_complete(), "groups-incomplete"),
    ]
    .into_iter()
    .filter_map(|(applies, warning)| applies.then_some(warning))
    .collect()
}

/// Calls the inner service until it answers or the request is broken off. What a service
/// answers to a request that was broken off is not for the caller.
async fn call<S, B>(
    inner: &mut S,
    request: Request<RequestBody<B>>,
    broken: &Broken,
    vigil: &mut Vigil,
) -> Result<Result<S::Response, S::Error>, Refusal>
where
    S: Service<Request<RequestBody<B>>>,
{
    let mut calling = pin!(inner.call(request));
    poll_fn(|cx| {
        let answered = calling.as_mut().poll(cx);
        if answered.is_pending() {
            vigil.watch(cx);
        }
        match broken.poll_broken(cx) {
            Poll::Ready(refusal) => Poll::Ready(Err(refusal)),
            Poll::Pending => answered.map(Ok),
        }
    })
    .await
}

/// Answers a refusal and settles its record.
fn reply<R>(refused: Refused, voice: Voice, realm: &Realm) -> Response<GuardBody<R>> {
    let response = answer(refused.refusal(), refused.id(), voice, realm);
    let bytes = u64::try_from(response.body().len()).unwrap_or(u64::MAX);
    trace::refused(refused.refusal(), refused.id(), response.status());
    tracing::debug!("refused");
    refused.settle(response.status().as_u16(), bytes);
    response.map(GuardBody::answer)
}

/// Whose failure a response of the inner service reports, if it is one.
pub(super) fn fault_of(status: StatusCode, grpc: Option<u8>) -> Option<Fault> {
    const DEADLINE_EXCEEDED: u8 = 4;
    match (status, grpc) {
        (_, Some(DEADLINE_EXCEEDED)) => Some(Fault::ModelTimeout),
        (_, Some(1..)) => Some(Fault::Model),
        (StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT, _) => Some(Fault::ModelTimeout),
        (status, _) if status.is_client_error() || status.is_server_error() => Some(Fault::Model),
        _ => None,
    }
}

/// `x-request-id`, if it is short and printable.
fn request_id(headers: &HeaderMap) -> Option<String> {
    const MAX_BYTES: usize = 128;
    let text = headers.get("x-request-id")?.to_str().ok()?;
    let acceptable = text.len() <= MAX_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
    acceptable.then(|| text.to_owned())
}

/// The trace of a `traceparent` (W3C Trace Context §3.2).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let valid = trace.len() == 32
        && trace
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && trace.bytes().any(|b| b != b'0');
    valid.then(|| trace.to_owned())
}

impl Voice {
    /// How to answer a request to a route of this dialect. A route that is no gRPC method
    /// answers with an HTTP status, whatever the request says of itself.
    fn of(parts: &Parts, route: &Match) -> Self {
        match asks_for_grpc(parts) && route.is_grpc() {
            true => Self::Grpc,
            false => Self::http(parts, route.dialect(), route.credentials()),
        }
    }

    /// How to answer a request to an unknown route.
    fn of_stranger(parts: &Parts, routes: &Routes) -> Self {
        if asks_for_grpc(parts) {
            return Self::Grpc;
        }
        let likeness = routes.likeness(parts.uri.path());
        let (dialect, places) = likeness.unwrap_or((Dialect::Problem, &[]));
        Self::http(parts, dialect, places)
    }

    fn http(parts: &Parts, dialect: Dialect, places: &[Credential]) -> Self {
        Self::Http {
            dialect,
            basic: places.contains(&Credential::Basic),
            head: parts.method == Method::HEAD,
            bearer: credentials::is_bearer(&parts.headers),
            azure: places.contains(&Credential::ApiKey),
        }
    }
}

fn asks_for_grpc(parts: &Parts) -> bool {
    let media_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(is_grpc)
}

/// Whether a media type is gRPC's (`application/grpc`, with a codec behind `+`), and not that
/// of gRPC-Web, whose clients look for errors elsewhere.
fn is_grpc(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = media_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

impl<S> GuardService<S> {
    pub(super) const fn new(guard: Arc<Guard>, inner: S) -> Self {
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
        let guard = Arc::clone(&self.guard);
        Box::pin(async move { guard.serve(ready, request).await }.instrument(trace::span()))
    }
}

impl<S> fmt::Debug for GuardService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardService")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
