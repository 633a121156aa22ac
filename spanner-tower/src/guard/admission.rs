//! An admitted request: its way to the service, and the way of the response back.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use spanner_core::{
    Caller, Fault, Freshness, Outage, Permit, RecordId, Refusal, RequestFault, Settlement, Target,
};
use tower_service::Service;

use super::answer::{Realm, answer};
use super::body::{GuardBody, Head, WatchContext};
use super::classify::Passed;
use super::conversation::{self, Upgrade};
use super::credentials;
use super::fault::{fault_of, grpc_status};
use super::headers::{DECISION, FAULT, ORIGIN, WARNING, fault, set};
use super::permitted::{Access, Exhausted, Permitted};
use super::reauthorize::{GuardResponse, ReauthorizationRefused, Reauthorize};
use super::reply::Reply;
use super::shared::Shared;
use super::trace;
use super::vigil::Vigil;
use super::voice::Voice;
use crate::BoxError;
use crate::resolve::{
    BodyCut, BodyError, Broken, Limits, MessageResolver, Pace, RequestBody, remove_ours,
    remove_rewriting,
};
use crate::shares::CallerSlot;
use crate::surface::{Dialect, Reports, is_run};

/// A request that is allowed and whose decision is recorded.
///
/// A front door that forwards the request itself calls [`forward`](Self::forward), which also
/// watches the response. One whose gateway forwards it reads
/// [`header_changes`](Self::header_changes) and calls
/// [`into_settlement`](Self::into_settlement).
#[must_use = "dropping an admission abandons the request"]
pub struct Admission<B> {
    permit: Permit,
    request: Request<RequestBody<B>>,
    broken: Broken,
    vigil: Vigil,
    voice: Voice,
    upgrade: Option<Upgrade>,
    reports: Option<Arc<Reports>>,
    slot: Option<CallerSlot>,
    realm: Arc<Realm>,
}

/// The header changes that a gateway must make before it forwards a request. Remove first, then
/// set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderChanges {
    /// The headers to remove: credentials, and headers that only the guard may set.
    pub remove: Vec<HeaderName>,
    /// The headers to set, replacing all of the same name: the identity of the caller as the
    /// guard established it.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// The results of the earlier stages for an allowed request.
pub(super) struct Allowed<B> {
    pub(super) permit: Permit,
    pub(super) body: RequestBody<B>,
    pub(super) messages: Option<MessageResolver>,
    pub(super) reports: Option<Arc<Reports>>,
    pub(super) slot: Option<CallerSlot>,
}

impl<B> Admission<B> {
    /// Removes what the inner service must not see from the request, and adds what it may know.
    pub(super) fn new(
        allowed: Allowed<B>,
        mut parts: Parts,
        voice: Voice,
        shared: &Shared,
    ) -> Self {
        let Allowed {
            permit,
            mut body,
            messages,
            reports,
            slot,
        } = allowed;
        let (broken, outlive) = (Broken::default(), shared.limits.outlive);
        let pairs = permit.target().map_or(&[][..], Target::pairs);
        let inquiry = permit.inquiry();
        let vigil = Vigil::over(inquiry.clone(), pairs, broken.clone(), outlive);
        let pace = Pace::new(&shared.limits, voice == Voice::Grpc);
        body.attach(permit.meter(), inquiry.clone(), broken.clone(), pace);
        credentials::remove(&mut parts.headers, &[]);
        remove_ours(&mut parts.headers);
        remove_rewriting(&mut parts.headers);
        parts.extensions.remove::<Permitted>();
        parts.extensions.remove::<Reauthorize>();
        parts.extensions.insert(Passed);
        parts.extensions.remove::<Dialect>();
        if let Voice::Http { dialect, .. } = voice {
            parts.extensions.insert(dialect);
        }
        if let Some(permitted) = Permitted::of(&permit) {
            parts.extensions.insert(permitted);
        }
        let upgrade = messages.map(|messages| {
            let inquiry = inquiry.clone();
            conversation::offer(&mut parts.extensions, messages, pairs, inquiry, outlive)
        });
        if let Some(inquiry) = inquiry {
            parts.extensions.insert(Reauthorize::new(inquiry));
        }
        Self {
            permit,
            request: Request::from_parts(parts, body),
            broken,
            vigil,
            voice,
            upgrade,
            reports,
            slot,
            realm: Arc::clone(&shared.realm),
        }
    }

    /// The caller and what it is allowed to do; `None` on public and exempted routes.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        let permitted = self.request.extensions().get::<Permitted>();
        permitted.map(|Permitted(access)| &**access)
    }

    /// The request in the form in which it may be forwarded.
    #[must_use]
    pub const fn request(&self) -> &Request<RequestBody<B>> {
        &self.request
    }

    /// Compares the headers that a gateway sent for the check with those that may be forwarded,
    /// and returns the changes that the gateway must make.
    #[must_use]
    pub fn header_changes(&self, original: &HeaderMap) -> HeaderChanges {
        let mut due = self.request.headers().clone();
        credentials::KEY_HEADERS.iter().for_each(|name| {
            due.remove(*name);
        });
        if let Some(access) = self.access() {
            access.set_headers(&mut due);
        }
        let mut changes = HeaderChanges::default();
        let names = original.keys().filter(|name| !due.contains_key(*name));
        changes.remove.extend(names.cloned());
        for name in due.keys() {
            if !due.get_all(name).iter().eq(original.get_all(name)) {
                let values = due.get_all(name).iter().cloned();
                changes
                    .set
                    .extend(values.map(|value| (name.clone(), value)));
            }
        }
        changes
    }

    /// Spends the permit when a gateway forwards the request. If the gateway reports how the
    /// request ended, enter that into the settlement; otherwise drop it.
    pub fn into_settlement(self) -> Settlement {
        self.permit.forward()
    }
}

impl<B> Admission<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Examines what an inline guard examines while it forwards: the rest of a large body, and
    /// the later messages of a stream.
    ///
    /// # Errors
    /// The reply to send, if the rest contradicts the decision or is incomplete.
    pub(super) async fn examined(mut self, limits: &Limits) -> Result<Self, Reply> {
        let most = limits.bytes_per_caller;
        let refusal = match self.request.body_mut().examine(most).await {
            Ok(true) => return Ok(self),
            Ok(false) => RequestFault::TooLarge { limit: most }.into(),
            Err(error) => match (self.broken.refusal(), error) {
                (Some(refusal), _) => refusal.clone(),
                (None, BodyError::Body(error)) if error.is::<BodyCut>() => RequestFault::Cut.into(),
                (None, _) => RequestFault::Incomplete.into(),
            },
        };
        let refused = self.permit.revoke(refusal);
        Err(Reply::refused(refused, self.voice, &self.realm))
    }
}

impl<B> Admission<B> {
    /// Forwards the request and watches the response, whose end settles the record. It takes the
    /// permit by value, so no request is forwarded twice or without one.
    ///
    /// # Errors
    /// The errors of the inner service.
    pub async fn forward<S, R>(self, mut inner: S) -> Result<Response<GuardBody<R>>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        R: Body<Data = Bytes>,
    {
        let Self {
            permit,
            request,
            broken,
            mut vigil,
            voice,
            upgrade,
            reports,
            slot,
            realm,
        } = self;
        let recorded = permit.caller().is_some();
        let pairs = permit.target().map_or(&[][..], Target::pairs);
        let runs = pairs.iter().any(|pair| is_run(pair.action));
        let warnings = permit.caller().map(warnings).unwrap_or_default();
        let (id, method) = (permit.id(), request.method().clone());
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
            Err(refusal) => return Ok(refuse(&refusal, Some(id), settlement, voice, &realm)),
        };
        if let Some(refused) = parts.extensions.remove::<ReauthorizationRefused>() {
            let id = refused.decision();
            return Ok(refuse(refused.refusal(), id, settlement, voice, &realm));
        }
        if let Some(Exhausted(share)) = parts.extensions.remove() {
            let (refusal, id) = (Outage::Share(share).into(), recorded.then_some(id));
            return Ok(refuse(&refusal, id, settlement, voice, &realm));
        }
        broken.answered();
        let decision = mark(&mut parts, &mut settlement).unwrap_or(id);
        if recorded {
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
                upgrade.opened(settlement, slot);
                GuardBody::answer(Bytes::new())
            }
            _ => {
                let watching = WatchContext {
                    broken,
                    vigil,
                    voice,
                    realm,
                    slot,
                };
                GuardBody::forwarded(body, &head, settlement, watching)
            }
        };
        Ok(Response::from_parts(parts, body))
    }
}

impl<B> fmt::Debug for Admission<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

/// Sets `spanner-fault` and `spanner-origin` in a response's head. Returns the id of the
/// decision that the response is about, if it is not the request's own.
fn mark(parts: &mut http::response::Parts, settlement: &mut Settlement) -> Option<RecordId> {
    remove_ours(&mut parts.headers);
    let ours = parts.extensions.remove::<GuardResponse>();
    let whose = match &ours {
        Some(ours) => ours.fault,
        None => fault_of(parts.status, grpc_status(&parts.headers)),
    };
    if let Some(whose) = whose {
        settlement.blame(whose);
        parts.headers.insert(FAULT, fault(whose));
    }
    let ours = ours?;
    let model = matches!(ours.fault, Some(Fault::Model | Fault::ModelTimeout));
    if ours.fault.is_some() && !model {
        settlement.declined(parts.status.as_u16(), ours.reason);
    }
    parts
        .headers
        .insert(ORIGIN, HeaderValue::from_static("guard"));
    ours.decision
}

/// Replaces the response of the inner service by a refusal, when the caller must not see that
/// response.
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

/// The warnings about an accepted credential that the caller should see.
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

/// Calls the inner service until it responds or the request is aborted. The response to an
/// aborted request is dropped.
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
