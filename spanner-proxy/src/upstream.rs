//! The model server behind a guard, as a service.
//!
//! The guard permitted every request that arrives here. It is forwarded without the caller's
//! credentials and with the upstream's own, and the response is streamed back. Neither body is
//! buffered as a whole.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_EXTENSIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use spanner_core::text::error_chain;
use spanner_core::{Principal, Share};
use spanner_tower::surface::Dialect;
use spanner_tower::{Conversation, Permitted, RequestBody, is_grpc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::addresses::{
    self, AddressForm, Addresses, CallerAddresses, RewrittenBody, UnreachableAddress,
};
use crate::admission::{Admission, CallerBody};
use crate::config::{LimitsConfig, UpstreamConfig};
use crate::connections::ConnectionHandle;
use crate::failure::{Failure, FailureFormat, FailureLog, cause};
use crate::headers::{self, Hop};
use crate::meters;
use crate::rejection;
use crate::slot_pool::SlotPool;
use crate::upstream_body::UpstreamBody;
use crate::upstream_lease::UpstreamLease;
use crate::upstream_pool::{TlsRoots, UpstreamPool, is_callers};
use crate::upstream_queue::{NoSlot, UpstreamQueue, UpstreamSlot};
use crate::websocket::{self, RelayTimeouts, WebSocketRelay, WebSocketRelays};

/// A model server. Cheap to clone; clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: UpstreamConfig,
    client: UpstreamPool,
    /// For requests to public routes, which share no connection with permitted requests.
    public_client: UpstreamPool,
    /// For requests of callers.
    slots: UpstreamQueue,
    /// For WebSockets.
    sockets: UpstreamQueue,
    /// For requests to public routes.
    public: SlotPool,
    stall: Duration,
    timeouts: RelayTimeouts,
    /// Its name in metrics.
    name: Arc<str>,
    relays: WebSocketRelays,
    addresses: Addresses,
    failures: FailureLog,
}

type PermittedBody = RequestBody<CallerBody>;
type Answer = Response<UpstreamBody>;

/// The addresses in the response to a request, and how the caller sees them.
struct ResponseAddresses {
    form: AddressForm,
    caller: CallerAddresses,
    method: Method,
}

impl Upstream {
    pub(crate) fn new(
        config: UpstreamConfig,
        limits: &LimitsConfig,
        relays: WebSocketRelays,
        addresses: Addresses,
        trust: &TlsRoots,
    ) -> Self {
        let requests = config.max_requests;
        let public = (requests / PUBLIC_SHARE).max(MIN_PUBLIC);
        let (connect, idle) = (config.connect_timeout, config.idle_timeout);
        let client = |requests| UpstreamPool::new(trust, connect, idle, requests);
        Self {
            shared: Arc::new(Shared {
                client: client(requests),
                public_client: client(public),
                slots: UpstreamQueue::new(requests),
                sockets: UpstreamQueue::new((requests / SOCKET_SHARE).max(1)),
                public: SlotPool::new(public),
                stall: limits.stall,
                timeouts: RelayTimeouts {
                    first: limits.body_wait,
                    idle: limits.idle,
                    stall: limits.stall,
                },
                name: config.origin.authority.as_str().into(),
                relays,
                addresses,
                failures: FailureLog::default(),
                config,
            }),
        }
    }

    /// Logs that the body of a response broke off.
    pub(crate) fn broke_off(&self, error: &(dyn std::error::Error + 'static)) {
        let reason = "the response broke off before its end";
        self.shared
            .log_failure(Failure::Broken, reason, &error_chain(error));
    }

    async fn answer(self, request: Request<PermittedBody>) -> Answer {
        let name = &self.shared.name;
        // A gRPC call needs HTTP/2.
        let grpc = is_grpc(request.headers());
        let dialect = request.extensions().get::<Dialect>().copied();
        let method = request.method().clone();
        let began = Instant::now();
        let answered = self.shared.forward(request, grpc).await;
        match answered {
            Ok(answer) => {
                meters::answered(name, answer.status(), began.elapsed());
                if let Some(suppressed) = self.shared.failures.recovered() {
                    tracing::info!(upstream = %name, suppressed, "the upstream responds again");
                }
                let credential = self.shared.config.credential.is_some();
                let upstream = self.clone();
                answer.map(|body| body.with_source(upstream, credential))
            }
            Err(failure) => {
                meters::failed(name, failure);
                let format = match grpc {
                    true => FailureFormat::Grpc,
                    false => FailureFormat::Http(dialect.unwrap_or(Dialect::Problem), method),
                };
                let answer = failure.answer(format);
                answer.map(UpstreamBody::text)
            }
        }
    }
}

impl Shared {
    async fn forward(
        &self,
        mut request: Request<PermittedBody>,
        grpc: bool,
    ) -> Result<Answer, Failure> {
        let connection = request.extensions().get::<ConnectionHandle>().cloned();
        // The only upgrade that the guard permits is a WebSocket, whose messages it examines.
        let conversation = Conversation::take(request.extensions_mut())
            .map(|frames| (frames, hyper::upgrade::on(&mut request)));
        let caller = request
            .extensions()
            .get()
            .map(|Permitted(access)| Arc::clone(access));
        let mut lease = match &caller {
            Some(access) => {
                let caller = &access.caller.subject().principal;
                let slot = self.slot(&mut request, caller, conversation.is_some());
                UpstreamLease::for_caller(slot.await?, connection.map(ConnectionHandle::activate))
            }
            None => self.public(&mut request, connection).await?,
        };
        if let Some(admission) = request.extensions_mut().remove::<Admission>() {
            admission.end();
        }
        let addresses = self.addresses_for(&request);
        let mut request = self.addressed(request, grpc).ok_or(Failure::Broken)?;
        addresses.form.request_identity(request.headers_mut());
        if conversation.is_some() {
            websocket::upgrading(request.headers_mut());
        }
        let client = match caller {
            Some(_) => &self.client,
            None => &self.public_client,
        };
        let (sent, http2) = client.send(request, grpc);
        lease.hold(http2);
        let answered = timeout(self.config.response_timeout, sent);
        let answered = async {
            tokio::select! {
                answered = answered => Some(answered),
                () = poll_fn(|cx| lease.poll_evicted(cx)) => None,
            }
        };
        let Some(answered) = answered.await else {
            return Err(Failure::Share(Share::Public));
        };
        let response = match answered {
            Err(_) => {
                let cause = format!(
                    "no response began within {:?}",
                    self.config.response_timeout
                );
                self.log_failure(
                    Failure::TimedOut,
                    "no response within `response_timeout`",
                    &cause,
                );
                return Err(Failure::TimedOut);
            }
            Ok(Err(error)) if error.is_connect() => {
                self.log_failure(Failure::Unreachable, cause(&error), &error_chain(&error));
                return Err(Failure::Unreachable);
            }
            Ok(Err(error)) if is_callers(&error) => {
                tracing::debug!(upstream = %self.name, cause = error_chain(&error), "the caller left");
                return Err(Failure::CallerLeft);
            }
            Ok(Err(error)) => {
                self.log_failure(
                    Failure::Broken,
                    "the connection broke off before the response",
                    &error_chain(&error),
                );
                return Err(Failure::Broken);
            }
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.opened(response, conversation, lease);
        }
        self.responded(response, addresses, lease).await
    }

    /// The addresses in the response to a request.
    fn addresses_for(&self, request: &Request<PermittedBody>) -> ResponseAddresses {
        let dialect = request.extensions().get::<Dialect>().copied();
        ResponseAddresses {
            form: AddressForm::of(dialect, request.uri().path()),
            caller: self
                .addresses
                .for_caller(&self.config, request.extensions().get::<Hop>()),
            method: request.method().clone(),
        }
    }

    /// The response as the caller gets it: no address in it leads past the guard.
    async fn responded(
        &self,
        response: Response<Incoming>,
        addresses: ResponseAddresses,
        lease: UpstreamLease,
    ) -> Result<Answer, Failure> {
        let credential = self.config.credential.is_some();
        let time = self.config.response_timeout;
        let checked = rejection::check(response, credential, time).await;
        let response = checked.inspect_err(|failure| {
            let reason = match failure {
                Failure::Rejected => "it rejects the `credential` of its `[[upstream]]`",
                Failure::NoCredential => "it asks for a `credential` in its `[[upstream]]`",
                _ => "the body of its error response broke off",
            };
            self.log_failure(*failure, reason, "");
        })?;
        let unreachable = |UnreachableAddress| {
            let reason = "its response contains an address that callers cannot reach";
            self.log_failure(Failure::Astray, reason, "");
            Failure::Astray
        };
        let (mut parts, body) = response.into_parts();
        headers::to_caller(&mut parts.headers);
        addresses
            .caller
            .rewrite_headers(&mut parts.headers)
            .map_err(unreachable)?;
        let form = addresses
            .form
            .in_response(&addresses.method, parts.status, &parts.headers);
        let body = match form.map_err(unreachable)? {
            AddressForm::Nothing => UpstreamBody::open(Either::Left(body), lease, self.stall),
            AddressForm::Json => {
                addresses::remove_length(&mut parts.headers);
                let body = Either::Right(RewrittenBody::new(body, addresses.caller));
                UpstreamBody::open(body, lease, self.stall)
            }
            AddressForm::Batch => {
                addresses::remove_length(&mut parts.headers);
                let batch = addresses::rewrite_batch(body, &addresses.caller);
                let batch = timeout(time, batch).await;
                let batch = batch.map_err(|_| Failure::TimedOut)?.map_err(unreachable)?;
                UpstreamBody::text(Full::new(batch))
            }
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Completes an upgrade to a WebSocket, and starts its relay. There is no other upgrade: the
    /// guard refuses those.
    fn opened(
        &self,
        mut response: Response<Incoming>,
        conversation: Option<(Conversation, OnUpgrade)>,
        lease: UpstreamLease,
    ) -> Result<Answer, Failure> {
        let (frames, caller) = conversation.ok_or(Failure::Broken)?;
        if response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err(Failure::Broken);
        }
        self.relays.start(WebSocketRelay {
            conversation: frames,
            caller,
            model: hyper::upgrade::on(&mut response),
            lease,
            timeouts: self.timeouts,
        });
        let (mut parts, _) = response.into_parts();
        headers::to_caller(&mut parts.headers);
        websocket::upgrading(&mut parts.headers);
        let body = UpstreamBody::text(Full::default());
        Ok(Response::from_parts(parts, body))
    }

    /// Logs why there is no response, unless the same reason was logged a moment ago.
    fn log_failure(&self, failure: Failure, reason: &'static str, cause: &str) {
        if let Some(suppressed) = self.failures.note(reason) {
            tracing::warn!(
                upstream = %self.name, failure = failure.as_str(), reason, cause, suppressed, "no answer"
            );
        }
    }

    /// Waits until there is something to send, and then for a slot, at most `connect_timeout`.
    async fn slot(
        &self,
        request: &mut Request<PermittedBody>,
        caller: &Principal,
        websocket: bool,
    ) -> Result<UpstreamSlot, Failure> {
        let queue = match websocket {
            true => &self.sockets,
            false => &self.slots,
        };
        if !websocket {
            gather(request, 1).await?;
        }
        let slot = queue.take(caller, self.config.connect_timeout).await;
        slot.map_err(|none| match none {
            NoSlot::Busy => {
                let (wait, most) = (self.config.connect_timeout, self.config.max_requests);
                let cause =
                    format!("{most} requests are in progress, and none ended within {wait:?}");
                let reason = "as many requests as `max_requests` allows";
                self.log_failure(Failure::Busy, reason, &cause);
                Failure::Busy
            }
            NoSlot::Share => Failure::Share(Share::Upstream),
        })
    }

    /// Waits until a small request has arrived whole, and then for a slot among the requests to
    /// public routes.
    async fn public(
        &self,
        request: &mut Request<PermittedBody>,
        connection: Option<ConnectionHandle>,
    ) -> Result<UpstreamLease, Failure> {
        let share = match &connection {
            Some(connection) => Some(
                connection
                    .public_request()
                    .ok_or(Failure::Share(Share::Connection))?,
            ),
            None => None,
        };
        let whole = timeout(PUBLIC_WAIT, gather(request, MAX_PUBLIC));
        whole.await.map_err(|_| Failure::CallerLate)??;
        let token = CancellationToken::new();
        let slot = self.public.acquire(token.clone()).await;
        let slot = slot.ok_or(Failure::Share(Share::Public))?;
        Ok(UpstreamLease::for_public(
            slot,
            share,
            token,
            connection.map(ConnectionHandle::activate),
        ))
    }

    /// The request as the model server gets it.
    fn addressed(
        &self,
        request: Request<PermittedBody>,
        grpc: bool,
    ) -> Option<Request<PermittedBody>> {
        let (parts, body) = request.into_parts();
        let uri = &parts.uri;
        let target = headers::without_keys(uri.path(), uri.query());
        let mut forwarded = Request::new(body);
        *forwarded.method_mut() = parts.method.clone();
        *forwarded.uri_mut() = self.config.origin.uri(&target).ok()?;
        *forwarded.headers_mut() = self.headers(parts, grpc);
        Some(forwarded)
    }

    fn headers(&self, parts: Parts, grpc: bool) -> http::HeaderMap {
        let (mut headers, extensions) = (parts.headers, parts.extensions);
        headers::to_upstream(&mut headers, extensions.get::<Hop>(), grpc);
        if let Some(Permitted(access)) = extensions.get() {
            access.set_headers(&mut headers);
        }
        if let Some(credential) = &self.config.credential {
            headers.insert(AUTHORIZATION, credential.header());
        }
        headers
    }
}

impl Service<Request<PermittedBody>> for Upstream {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<PermittedBody>) -> Self::Future {
        let upstream = self.clone();
        Box::pin(async move { Ok(upstream.answer(request).await) })
    }
}

/// Waits for this many bytes of a request's body, or its end.
async fn gather(request: &mut Request<PermittedBody>, bytes: usize) -> Result<(), Failure> {
    let gathered = request.body_mut().gather(bytes).await;
    gathered.map_err(|_| Failure::CallerLeft)
}

/// WebSockets get a quarter as many slots as requests: a conversation takes one for minutes.
const SOCKET_SHARE: usize = 4;
/// Requests to public routes get a sixteenth as many slots: they are health checks and metadata,
/// and nobody is accountable for them.
const PUBLIC_SHARE: usize = 16;
/// A load balancer's probes need a few slots even at a small upstream.
const MIN_PUBLIC: usize = 4;
/// How much of a request to a public route must have arrived before it gets a slot, in bytes:
/// more than a probe or a form has.
const MAX_PUBLIC: usize = 64 * 1024;
/// How long to wait for that: a probe is sent at once, and a slow link sends 64 KiB in this time.
const PUBLIC_WAIT: Duration = Duration::from_secs(10);
