//! The model server behind a guard, as a service.
//!
//! What comes here was permitted. It is sent on as it is, without the caller's credentials
//! and with the upstream's own; what comes back is passed on as it comes. Nothing is kept in
//! between.

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
use spanner_core::{Principal, Share};
use spanner_tower::surface::Dialect;
use spanner_tower::{Conversation, Permitted, RequestBody, is_grpc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::addresses::{self, Addresses, Facing, Names, Rewriting, Stray};
use crate::answered::UpstreamBody;
use crate::client::{Client, Trust, is_callers};
use crate::config::{LimitsConfig, UpstreamConfig};
use crate::connections::Line;
use crate::crowd::Crowd;
use crate::failure::{Complaints, Failure, Voice, cause};
use crate::headers::{self, Hop};
use crate::held::Held;
use crate::meters;
use crate::places::{NoPlace, Place, Places};
use crate::rejection;
use crate::talk::{self, Patience, Talk, Talks};
use crate::turn::{CallerBody, Turn};
use spanner_core::text::error_chain;

/// A model server. Cheap to clone; clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: UpstreamConfig,
    client: Client,
    /// For requests to public routes: they share no connection with those that were decided.
    public_client: Client,
    /// For requests of callers.
    places: Places,
    /// For WebSockets.
    sockets: Places,
    /// For requests to public routes.
    public: Crowd,
    stall: Duration,
    patience: Patience,
    /// What it is called in metrics.
    name: Arc<str>,
    talks: Talks,
    addresses: Addresses,
    complaints: Complaints,
}

type PermittedBody = RequestBody<CallerBody>;
type Answer = Response<UpstreamBody>;

/// What a reply may name, and as the caller sees it.
struct Named {
    names: Names,
    facing: Facing,
    method: Method,
}

impl Upstream {
    pub(crate) fn new(
        config: UpstreamConfig,
        limits: &LimitsConfig,
        talks: Talks,
        addresses: Addresses,
        trust: &Trust,
    ) -> Self {
        let requests = config.max_requests;
        let public = (requests / 16).max(4);
        let (connect, idle) = (config.connect_timeout, config.idle_timeout);
        let client = |requests| Client::new(trust, connect, idle, requests);
        Self {
            shared: Arc::new(Shared {
                client: client(requests),
                public_client: client(public),
                places: Places::new(requests),
                sockets: Places::new((requests / 4).max(1)),
                public: Crowd::new(public),
                stall: limits.stall,
                patience: Patience {
                    first: limits.body_wait,
                    idle: limits.idle,
                    stall: limits.stall,
                },
                name: config.origin.authority.as_str().into(),
                talks,
                addresses,
                complaints: Complaints::default(),
                config,
            }),
        }
    }

    /// An answer that had begun broke off.
    pub(crate) fn broke_off(&self, error: &(dyn std::error::Error + 'static)) {
        let reason = "the answer broke off in its middle";
        self.shared.complain(Failure::Broken, reason, &error_chain(error));
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
                if let Some(untold) = self.shared.complaints.settle() {
                    tracing::info!(upstream = %name, untold, "the upstream answers again");
                }
                let credential = self.shared.config.credential.is_some();
                let upstream = self.clone();
                answer.map(|body| body.of(upstream, credential))
            }
            Err(failure) => {
                meters::failed(name, failure);
                let voice = match grpc {
                    true => Voice::Grpc,
                    false => Voice::Http(dialect.unwrap_or(Dialect::Problem), method),
                };
                let answer = failure.answer(voice);
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
        let line = request.extensions().get::<Line>().cloned();
        // What the guard lets through to be upgraded is a WebSocket whose frames it decides.
        let conversation = Conversation::take(request.extensions_mut())
            .map(|frames| (frames, hyper::upgrade::on(&mut request)));
        let caller = request
            .extensions()
            .get()
            .map(|Permitted(access)| Arc::clone(access));
        let mut held = match &caller {
            Some(access) => {
                let caller = &access.caller.subject().principal;
                let place = self.place(&mut request, caller, conversation.is_some());
                Held::of_caller(place.await?, line.map(Line::work))
            }
            None => self.public(&mut request, line).await?,
        };
        if let Some(turn) = request.extensions_mut().remove::<Turn>() {
            turn.end();
        }
        let named = self.named(&request);
        let mut request = self.addressed(request, grpc).ok_or(Failure::Broken)?;
        named.names.ask(request.headers_mut());
        if conversation.is_some() {
            talk::upgrading(request.headers_mut());
        }
        let client = match caller {
            Some(_) => &self.client,
            None => &self.public_client,
        };
        let (sent, on_lane) = client.send(request, grpc);
        held.on_lane(on_lane);
        let answered = timeout(self.config.response_timeout, sent);
        let answered = async {
            tokio::select! {
                answered = answered => Some(answered),
                () = poll_fn(|cx| held.poll_taken_back(cx)) => None,
            }
        };
        let Some(answered) = answered.await else {
            return Err(Failure::Share(Share::Public));
        };
        let response = match answered {
            Err(_) => {
                let cause = format!("nothing came within {:?}", self.config.response_timeout);
                self.complain(
                    Failure::TimedOut,
                    "no answer within `response_timeout`",
                    &cause,
                );
                return Err(Failure::TimedOut);
            }
            Ok(Err(error)) if error.is_connect() => {
                self.complain(Failure::Unreachable, cause(&error), &error_chain(&error));
                return Err(Failure::Unreachable);
            }
            Ok(Err(error)) if is_callers(&error) => {
                tracing::debug!(upstream = %self.name, cause = error_chain(&error), "the caller left");
                return Err(Failure::CallerLeft);
            }
            Ok(Err(error)) => {
                self.complain(
                    Failure::Broken,
                    "the answer broke off",
                    &error_chain(&error),
                );
                return Err(Failure::Broken);
            }
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.opened(response, conversation, held);
        }
        self.replied(response, named, held).await
    }

    /// What the reply to a request may name.
    fn named(&self, request: &Request<PermittedBody>) -> Named {
        let dialect = request.extensions().get::<Dialect>().copied();
        Named {
            names: Names::of(dialect, request.uri().path()),
            facing: self
                .addresses
                .facing(&self.config, request.extensions().get::<Hop>()),
            method: request.method().clone(),
        }
    }

    /// The reply as the caller gets it: no address in it leads past the guard.
    async fn replied(
        &self,
        response: Response<Incoming>,
        named: Named,
        held: Held,
    ) -> Result<Answer, Failure> {
        let credential = self.config.credential.is_some();
        let patience = self.config.response_timeout;
        let looked = rejection::look(response, credential, patience).await;
        let response = looked.inspect_err(|failure| {
            let reason = match failure {
                Failure::Rejected => "it rejects the `credential` of its `[[upstream]]`",
                Failure::NoCredential => "it asks for a `credential` in its `[[upstream]]`",
                _ => "an error that it began to say broke off",
            };
            self.complain(*failure, reason, "");
        })?;
        let stray = |Stray| {
            let reason = "it answered with an address of its own";
            self.complain(Failure::Astray, reason, "");
            Failure::Astray
        };
        let (mut parts, body) = response.into_parts();
        headers::to_caller(&mut parts.headers);
        named.facing.headers(&mut parts.headers).map_err(stray)?;
        let names = named
            .names
            .in_reply(&named.method, parts.status, &parts.headers);
        let body = match names.map_err(stray)? {
            Names::Nothing => UpstreamBody::open(Either::Left(body), held, self.stall),
            Names::Json => {
                addresses::without_length(&mut parts.headers);
                let body = Either::Right(Rewriting::new(body, named.facing));
                UpstreamBody::open(body, held, self.stall)
            }
            Names::Batch => {
                addresses::without_length(&mut parts.headers);
                let batch = addresses::lead_batch_back(body, &named.facing);
                let batch = timeout(patience, batch).await;
                let batch = batch.map_err(|_| Failure::TimedOut)?.map_err(stray)?;
                UpstreamBody::text(Full::new(batch))
            }
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Passes an upgrade on, and begins the conversation behind it. Nobody else asked to
    /// switch protocols: the guard refuses other upgrades.
    fn opened(
        &self,
        mut response: Response<Incoming>,
        conversation: Option<(Conversation, OnUpgrade)>,
        place: Held,
    ) -> Result<Answer, Failure> {
        let (frames, caller) = conversation.ok_or(Failure::Broken)?;
        if response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err(Failure::Broken);
        }
        self.talks.begin(Talk {
            frames,
            caller,
            model: hyper::upgrade::on(&mut response),
            place,
            patience: self.patience,
        });
        let (mut parts, _) = response.into_parts();
        headers::to_caller(&mut parts.headers);
        talk::upgrading(&mut parts.headers);
        let body = UpstreamBody::text(Full::default());
        Ok(Response::from_parts(parts, body))
    }

    /// Logs why there is no answer, unless that was just said.
    fn complain(&self, failure: Failure, reason: &'static str, cause: &str) {
        if let Some(untold) = self.complaints.tell(reason) {
            tracing::warn!(
                upstream = %self.name, failure = failure.as_str(), reason, cause, untold, "no answer"
            );
        }
    }

    /// Waits until there is something to send, and then for a place, as long as for a
    /// connection.
    async fn place(
        &self,
        request: &mut Request<PermittedBody>,
        caller: &Principal,
        talks: bool,
    ) -> Result<Place, Failure> {
        let places = match talks {
            true => &self.sockets,
            false => &self.places,
        };
        if !talks {
            gather(request, 1).await?;
        }
        let place = places.take(caller, self.config.connect_timeout).await;
        place.map_err(|none| match none {
            NoPlace::Busy => {
                let (wait, most) = (self.config.connect_timeout, self.config.max_requests);
                let cause =
                    format!("{most} requests are under way, and none ended within {wait:?}");
                let reason = "as many requests as `max_requests` allows";
                self.complain(Failure::Busy, reason, &cause);
                Failure::Busy
            }
            NoPlace::Share => Failure::Share(Share::Upstream),
        })
    }

    /// Waits until all of a small request is there, and then for a place among the requests to
    /// public routes.
    async fn public(
        &self,
        request: &mut Request<PermittedBody>,
        line: Option<Line>,
    ) -> Result<Held, Failure> {
        let share = match &line {
            Some(line) => Some(line.public().ok_or(Failure::Share(Share::Connection))?),
            None => None,
        };
        let whole = timeout(PUBLIC_WAIT, gather(request, MAX_PUBLIC));
        whole.await.map_err(|_| Failure::CallerLate)??;
        let token = CancellationToken::new();
        let seat = self.public.sit(token.clone()).await;
        let seat = seat.ok_or(Failure::Share(Share::Public))?;
        Ok(Held::of_public(seat, share, token, line.map(Line::work)))
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

/// How much of a request to a public route must be there before it gets a place, in bytes:
/// more than a probe or a form has.
const MAX_PUBLIC: usize = 64 * 1024;
/// How long to wait for that.
const PUBLIC_WAIT: Duration = Duration::from_secs(10);
