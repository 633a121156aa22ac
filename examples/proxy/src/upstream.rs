//! The model server behind a guard, as a service.
//!
//! What comes here was permitted. It is sent on as it is, without the caller's credentials
//! and with the upstream's own; what comes back is passed on as it comes. Nothing is kept in
//! between.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, SEC_WEBSOCKET_EXTENSIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use spanner_tower::surface::Dialect;
use spanner_tower::{Frames, Permitted, RequestBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use crate::addresses::{self, Addresses, Facing, Names, Rewriting, Stray};
use crate::client::{Client, ClientError, is_callers};
use crate::config::UpstreamConfig;
use crate::failure::{Failure, Voice};
use crate::headers::{self, Hop};
use crate::meters;
use crate::rejection::{self, Received};
use crate::talk::{self, Talk, Talks};

/// A model server. Cheap to clone; clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: UpstreamConfig,
    client: Client,
    /// As many as it may have requests.
    places: Arc<Semaphore>,
    /// What it is called in metrics.
    name: Arc<str>,
    talks: Talks,
    addresses: Addresses,
}

pin_project! {
    /// The body of an answer. The upstream's place is free for another when it is dropped.
    pub(crate) struct UpstreamBody {
        #[pin]
        body: Either<Either<Received, Rewriting>, Full<Bytes>>,
        place: Option<OwnedSemaphorePermit>,
        // Whether the upstream was sent one.
        credential: bool,
    }
}

type PermittedBody = RequestBody<Incoming>;
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
        talks: Talks,
        addresses: Addresses,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            shared: Arc::new(Shared {
                client: Client::new(config.connect_timeout)?,
                places: Arc::new(Semaphore::new(config.max_requests)),
                name: config.origin.authority.as_str().into(),
                talks,
                addresses,
                config,
            }),
        })
    }

    async fn answer(self, request: Request<PermittedBody>) -> Answer {
        let name = &self.shared.name;
        let grpc = is_grpc(&request);
        let dialect = request.extensions().get::<Dialect>().copied();
        let began = Instant::now();
        let answered = self.shared.forward(request, grpc).await;
        match answered {
            Ok(answer) => {
                meters::answered(name, answer.status(), began.elapsed());
                answer
            }
            Err(failure) => {
                meters::failed(name, failure);
                match failure {
                    Failure::Rejected => tracing::error!(
                        upstream = %name,
                        "the model server rejects the `credential` of its `[[upstream]]`: mend it"
                    ),
                    Failure::NoCredential => tracing::error!(
                        upstream = %name,
                        "the model server asks for a credential: write `credential` into its `[[upstream]]`"
                    ),
                    failure => {
                        tracing::warn!(upstream = %name, failure = failure.as_str(), "no answer");
                    }
                }
                let voice = match grpc {
                    true => Voice::Grpc,
                    false => Voice::Http(dialect.unwrap_or(Dialect::Problem)),
                };
                let answer = failure.answer(voice);
                answer.map(|text| UpstreamBody {
                    body: Either::Right(text),
                    place: None,
                    credential: false,
                })
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
        let place = self.place().await?;
        // What the guard lets through to be upgraded is a WebSocket whose frames it decides.
        let conversation = Frames::take(request.extensions_mut())
            .map(|frames| (frames, hyper::upgrade::on(&mut request)));
        let named = self.named(&request);
        let mut request = self.addressed(request, grpc).ok_or(Failure::Broken)?;
        named.names.ask(request.headers_mut());
        if conversation.is_some() {
            talk::upgrading(request.headers_mut());
        }
        let answered = timeout(
            self.config.response_timeout,
            self.client.send(request, grpc),
        );
        let response = match answered.await {
            Err(_) => return Err(Failure::TimedOut),
            Ok(Err(error)) if error.is_connect() => {
                tracing::debug!(upstream = %self.name, ?error, "no connection");
                return Err(Failure::Unreachable);
            }
            Ok(Err(error)) if is_callers(&error) => return Err(Failure::CallerLeft),
            Ok(Err(error)) => {
                tracing::debug!(upstream = %self.name, ?error, "broken off");
                return Err(Failure::Broken);
            }
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.opened(response, conversation, place);
        }
        self.replied(response, named, place).await
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
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Failure> {
        let stray = |Stray| Failure::Astray;
        let credential = self.config.credential.is_some();
        let patience = self.config.response_timeout;
        let response = rejection::look(response, credential, patience).await?;
        let (mut parts, body) = response.into_parts();
        headers::to_caller(&mut parts.headers);
        named.facing.headers(&mut parts.headers).map_err(stray)?;
        let names = named
            .names
            .in_reply(&named.method, parts.status, &parts.headers);
        let body = match names.map_err(stray)? {
            Names::Nothing => Either::Left(Either::Left(body)),
            Names::Json => {
                addresses::without_length(&mut parts.headers);
                Either::Left(Either::Right(Rewriting::new(body, named.facing)))
            }
            Names::Batch => {
                addresses::without_length(&mut parts.headers);
                let batch = addresses::lead_batch_back(body, &named.facing);
                let batch = timeout(patience, batch).await;
                let batch = batch.map_err(|_| Failure::TimedOut)?.map_err(stray)?;
                Either::Right(Full::new(batch))
            }
        };
        let place = Some(place);
        let body = UpstreamBody {
            body,
            place,
            credential,
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Passes an upgrade on, and begins the conversation behind it. Nobody else asked to
    /// switch protocols: the guard refuses other upgrades.
    fn opened(
        &self,
        mut response: Response<Incoming>,
        conversation: Option<(Frames, OnUpgrade)>,
        place: OwnedSemaphorePermit,
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
        });
        let (mut parts, _) = response.into_parts();
        headers::to_caller(&mut parts.headers);
        talk::upgrading(&mut parts.headers);
        let nothing = Either::Right(Full::default());
        let body = UpstreamBody {
            body: nothing,
            place: None,
            credential: false,
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Waits for a place, as long as for a connection.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = Arc::clone(&self.places).acquire_owned();
        match timeout(self.config.connect_timeout, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Failure::Busy),
        }
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
            headers::identify(&mut headers, access);
        }
        if let Some(credential) = &self.config.credential {
            headers.insert(AUTHORIZATION, credential.clone());
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

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let mut polled = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            rejection::look_at_trailers(trailers, *this.credential);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamBody")
    }
}

/// Whether a request is a gRPC call, which needs HTTP/2.
fn is_grpc(request: &Request<PermittedBody>) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let media_type = request.headers().get(CONTENT_TYPE);
    let start = media_type.and_then(|value| value.as_bytes().get(..GRPC.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}
