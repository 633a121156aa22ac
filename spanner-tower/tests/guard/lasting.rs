//! What outlives the credential or the grant that it began with.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use spanner_core::record::{Finish, OutcomeClass};
use spanner_core::testing::{Fixed, MemorySink};
use spanner_core::{
    Action, Authorize, Caller, Credential, Obstacle, Pair, Question, Refusal, Resource, Timestamp,
    TokenFault, Verdict, VerdictReason, Verdicts, Vouch,
};
use spanner_tower::surface::Surface;
use spanner_tower::{
    Authenticate, Authentication, AuthenticationError, BodyError, BoxFuture, Conversation,
    GuardLayer, Limits, Reauthorize, RequestBody, surface,
};
use tower::{Layer, ServiceExt, service_fn};

const NOW: &str = "2026-11-24T12:00:00Z";
const EXPIRES: &str = "2026-11-24T12:10:00Z";

/// What changes while a conversation lasts.
#[derive(Clone, Default)]
struct World {
    revoked: Arc<AtomicBool>,
    removed: Arc<AtomicBool>,
}

/// What ends a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Revoked,
    Removed,
    Expired,
}

impl Loss {
    const ALL: [Self; 3] = [Self::Revoked, Self::Removed, Self::Expired];

    fn happens(self, world: &World, host: &Fixed) {
        match self {
            Self::Revoked => world.revoked.store(true, Ordering::SeqCst),
            Self::Removed => world.removed.store(true, Ordering::SeqCst),
            Self::Expired => host.advance(Duration::from_secs(3600)),
        }
    }

    /// What the caller is told.
    fn says(self) -> &'static str {
        match self {
            Self::Revoked => "the access token was revoked",
            Self::Removed => "may not generate on `acme/m`",
            Self::Expired => "the access token expired at 2026-11-24T12:10:00Z",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Revoked => "token.revoked",
            Self::Removed => "authz.no_permit",
            Self::Expired => "token.expired",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Removed => 403,
            Self::Revoked | Self::Expired => 401,
        }
    }
}

impl Authenticate for World {
    fn authenticate<'a>(
        &'a self,
        _: &'a mut Parts,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>> {
        let mut credential = Credential::unknown();
        credential.expires_at = Some(EXPIRES.parse().unwrap());
        let alice = Caller::for_test("alice").subject().principal.clone();
        let caller = Caller::assertion(alice).credential(credential).caller();
        let world = Arc::new(self.clone());
        Box::pin(async move { Ok(Authentication::vouched(caller.unwrap(), world)) })
    }
}

impl Vouch for World {
    fn check(&self, _: &Caller, _: Timestamp) -> Result<(), Refusal> {
        let (fault, time) = (TokenFault::Revoked, None);
        match self.revoked.load(Ordering::SeqCst) {
            true => Err(Obstacle::Genuine { fault, time }.into()),
            false => Ok(()),
        }
    }
}

impl Authorize for World {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        let verdict = |_: &Question<'_>| match self.removed.load(Ordering::SeqCst) {
            true => Verdict::deny(VerdictReason::NoGrant),
            false => Verdict::allow(vec!["grant".into()]),
        };
        Verdicts::new("book".into(), questions.iter().map(verdict).collect())
    }
}

fn layer(world: &World, sink: &MemorySink, host: Fixed) -> GuardLayer {
    layer_of(surface::openai(), world, sink, host)
}

fn layer_of(surface: Surface, world: &World, sink: &MemorySink, host: Fixed) -> GuardLayer {
    let mut limits = Limits::default();
    limits.outlive = Duration::from_secs(20);
    // Only what ends with the credential is looked at here.
    limits.body_pause = Duration::from_secs(20_000);
    limits.body_wait = Duration::from_secs(20_000);
    limits.idle = Duration::from_secs(20_000);
    GuardLayer::builder(world.clone(), world.clone(), sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface)
        .limits(limits)
        .websockets()
        .host(host)
        .build()
        .unwrap()
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A piece, and then nothing for ever.
fn unending(piece: &'static str) -> Body {
    let piece = Ok(Frame::data(Bytes::from_static(piece.as_bytes())));
    let frames = stream::iter([piece]).chain(stream::pending());
    StreamBody::new(frames).boxed_unsync()
}

fn post(path: &str, body: &'static str) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::from(body).boxed_unsync())
        .unwrap()
}

/// What of an answer in this form is received when it is ended, whole or not; and its trailers.
async fn ended(
    path: &str,
    media_type: &'static str,
    piece: &'static str,
    loss: Loss,
) -> (String, Option<String>, MemorySink) {
    let (world, sink, host) = (World::default(), MemorySink::new(), Fixed::at(NOW));
    let inner = service_fn(move |_: Request<RequestBody<Body>>| async move {
        let response = Response::builder().header("content-type", media_type);
        Ok::<_, Infallible>(response.body(unending(piece)).unwrap())
    });
    let surface = match (path, media_type) {
        ("/v1/messages", _) => surface::named("anthropic").unwrap(),
        (_, "application/grpc") => surface::open_inference(),
        _ => surface::openai(),
    };
    let guarded = layer_of(surface, &world, &sink, host.clone()).layer(inner);
    let request = match media_type {
        "application/grpc" => Request::post(path)
            .header("content-type", media_type)
            .body(Full::from(&b"\0\0\0\0\x08\x0a\x06acme/m"[..]).boxed_unsync())
            .unwrap(),
        _ => post(path, r#"{"model": "acme/m", "max_tokens": 1}"#),
    };
    let response = guarded.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let mut body = Box::pin(response.into_body());
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, piece);
    // As long as nothing is lost, it goes on: hours, by a clock that jumps while all wait.
    let waiting = tokio::time::timeout(Duration::from_secs(7200), body.frame()).await;
    assert!(waiting.is_err(), "{path}");
    loss.happens(&world, &host);
    let lost = tokio::time::Instant::now();
    let mut said = String::new();
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => said.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    let message = trailers.get("grpc-message").unwrap().to_str().unwrap();
                    assert!(trailers.contains_key("spanner-fault"));
                    break Some(message.to_owned());
                }
            },
            Some(Err(error)) => break Some(error.to_string()),
            None => break None,
        }
    };
    assert!(lost.elapsed() <= Duration::from_secs(20), "{path} {loss:?}");
    (said, end, sink)
}

fn check_outcome(sink: &MemorySink, loss: Loss, status: u16) {
    let outcomes = sink.outcomes();
    assert_eq!((sink.decisions().len(), outcomes.len()), (1, 1));
    let outcome = &outcomes[0];
    assert_eq!(
        (outcome.class, outcome.finish, outcome.status),
        (OutcomeClass::Refused, Finish::Refused, Some(status))
    );
    assert_eq!(outcome.reason.as_deref(), Some(loss.code()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_says_why_it_ends() {
    for loss in Loss::ALL {
        for (path, start) in [
            ("/v1/chat/completions", "\n\ndata: {\"error\":{"),
            ("/v1/messages", "\n\nevent: error\ndata: {"),
        ] {
            let (said, end, sink) = ended(path, "text/event-stream", "data: {}\n\n", loss).await;
            assert!(said.starts_with(start), "{said}");
            assert!(
                said.ends_with("\n\n") && said.contains(loss.says()),
                "{said}"
            );
            let id = sink.decisions()[0].id.to_string();
            assert!(said.contains(&id), "{said}");
            assert_eq!(end, None);
            check_outcome(&sink, loss, 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lines_say_why_they_end_and_everything_else_breaks_off() {
    let path = "/v1/chat/completions";
    for loss in Loss::ALL {
        for (piece, start) in [("{}\n", "{\"error\""), ("{\"", "\n{\"error\"")] {
            let (said, end, sink) = ended(path, "application/x-ndjson", piece, loss).await;
            assert!(said.starts_with(start) && said.ends_with('\n'), "{said}");
            assert!(said.contains(loss.says()), "{said}");
            assert_eq!(end, None);
            check_outcome(&sink, loss, 200);
        }
        let (said, end, sink) = ended(path, "application/octet-stream", "abc", loss).await;
        assert_eq!(said, "");
        let end = end.unwrap();
        assert!(end.contains("the guard broke the answer off"), "{end}");
        assert!(end.contains(loss.says()), "{end}");
        check_outcome(&sink, loss, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_ends_with_a_status() {
    let path = "/inference.GRPCInferenceService/ModelInfer";
    for loss in Loss::ALL {
        let (said, end, sink) = ended(path, "application/grpc", "\0\0\0\0\0", loss).await;
        assert_eq!(said, "");
        let end = end.unwrap();
        let says = if loss == Loss::Removed {
            "may not "
        } else {
            loss.says()
        };
        assert!(end.contains(says), "{end}");
        check_outcome(&sink, loss, 200);
        let grpc = if loss == Loss::Removed { 7 } else { 16 };
        assert_eq!(sink.outcomes()[0].grpc_status, Some(grpc));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_answer_is_refused_and_its_body_ends() {
    for loss in Loss::ALL {
        let (world, sink, host) = (World::default(), MemorySink::new(), Fixed::at(NOW));
        let read = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&read);
        let inner = service_fn(move |request: Request<RequestBody<Body>>| {
            let seen = Arc::clone(&seen);
            // As an HTTP client does: the body is sent by a task of its own.
            tokio::spawn(async move {
                let found = request.into_body().collect().await;
                *seen.lock().unwrap() = Some(found.map(|_| ()));
            });
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let guarded = layer(&world, &sink, host.clone()).layer(inner);
        let request = post("/v1/chat/completions", r#"{"model": "acme/m"}"#);
        let mut calling = Box::pin(guarded.oneshot(request));
        let waiting = tokio::time::timeout(Duration::from_secs(7200), &mut calling).await;
        assert!(waiting.is_err());
        loss.happens(&world, &host);
        let answer = calling.await.unwrap();
        assert_eq!(answer.status(), loss.status());
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&said).contains(loss.says()));
        check_outcome(&sink, loss, loss.status());
        assert!(matches!(*read.lock().unwrap(), Some(Ok(()))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_to_the_model_ends_too() {
    let (world, sink, host) = (World::default(), MemorySink::new(), Fixed::at(NOW));
    let read = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&read);
    let inner = service_fn(move |request: Request<RequestBody<Body>>| {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let found = request.into_body().collect().await;
            *seen.lock().unwrap() = Some(found.map(|_| ()));
        });
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let guarded = layer(&world, &sink, host).layer(inner);
    // Larger than what is read to find the model: it is forwarded while it arrives.
    let mut text = String::from(r#"{"model": "acme/m", "input": ""#);
    text.push_str(&"x".repeat(9 << 20));
    let text: &'static str = text.leak();
    let request = Request::post("/v1/embeddings")
        .header("content-type", "application/json")
        .body(unending(text))
        .unwrap();
    let mut calling = Box::pin(guarded.oneshot(request));
    let waiting = tokio::time::timeout(Duration::from_secs(100), &mut calling).await;
    assert!(waiting.is_err());
    assert!(read.lock().unwrap().is_none());
    Loss::Revoked.happens(&world, &Fixed::at(NOW));
    assert_eq!(calling.await.unwrap().status(), 401);
    tokio::task::yield_now().await;
    let read = read.lock().unwrap().take();
    assert!(matches!(read, Some(Err(BodyError::Refused))), "{read:?}");
    check_outcome(&sink, Loss::Revoked, 401);
}

#[tokio::test(start_paused = true)]
async fn a_further_decision_looks_at_the_credential_again() {
    for loss in Loss::ALL {
        let (world, sink, host) = (World::default(), MemorySink::new(), Fixed::at(NOW));
        let lost = (world.clone(), host.clone());
        let inner = service_fn(move |request: Request<RequestBody<Body>>| {
            let (world, host) = lost.clone();
            async move {
                let further = Reauthorize::of(request.extensions()).unwrap().clone();
                let pair = |name: &str| {
                    Pair::new(Action::Generate, Resource::model(name.parse().unwrap()))
                };
                further.ask([pair("acme/n")]).await.unwrap();
                let here = "production".parse().unwrap();
                assert!(further.would_permit(&here, pair("acme/o")));
                loss.happens(&world, &host);
                assert!(!further.would_permit(&here, pair("acme/o")));
                let refused = further.ask([pair("acme/o")]).await.unwrap_err();
                let response = refused.into_response::<Full<Bytes>>();
                Ok::<_, Infallible>(response.map(BodyExt::boxed_unsync))
            }
        });
        let guarded = layer(&world, &sink, host.clone()).layer(inner);
        let request = post("/v1/chat/completions", r#"{"model": "acme/m"}"#);
        let answer: Response<_> = guarded.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), loss.status());
        let last = sink.decisions().pop().unwrap();
        assert_eq!(last.reason, loss.code());
        assert_eq!(last.caller.unwrap().subject.subject, "alice");
        assert_eq!(last.target[0].model.as_deref(), Some("acme/o"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_socket_ends_though_nothing_is_said_and_decides_nothing_more() {
    for (loss, silent) in Loss::ALL
        .into_iter()
        .flat_map(|loss| [(loss, true), (loss, false)])
    {
        let (world, sink, host) = (World::default(), MemorySink::new(), Fixed::at(NOW));
        let told = Arc::new(Mutex::new(None));
        let (lost, tell) = ((world.clone(), host.clone()), Arc::clone(&told));
        let inner = service_fn(move |request: Request<RequestBody<Body>>| {
            let ((world, host), tell) = (lost.clone(), Arc::clone(&tell));
            let (mut parts, _) = request.into_parts();
            let mut frames = Conversation::take(&mut parts.extensions).unwrap();
            tokio::spawn(async move {
                let create = |model| format!(r#"{{"type":"response.create","model":"{model}"}}"#);
                frames
                    .examine(create("acme/m").as_bytes(), false)
                    .await
                    .unwrap();
                loss.happens(&world, &host);
                let refused = match silent {
                    true => frames.ending().wait().await,
                    false => {
                        let more = create("acme/n");
                        frames.examine(more.as_bytes(), false).await.unwrap_err()
                    }
                };
                drop(frames);
                *tell.lock().unwrap() = Some(refused);
            });
            let mut response = Response::new(Full::default().boxed_unsync());
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let request = Request::get("/v1/responses")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .body(Full::default().boxed_unsync())
            .unwrap();
        let guarded = layer(&world, &sink, host.clone()).layer(inner);
        let answer: Response<_> = guarded.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 101);
        let began = tokio::time::Instant::now();
        while told.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(began.elapsed() <= Duration::from_secs(21), "{loss:?}");
        let refused = told.lock().unwrap().take().unwrap();
        assert!(
            refused
                .reason()
                .contains(loss.says().split("`acme").next().unwrap()),
            "{refused}"
        );
        // The socket, its first message, and, where something more was said, the refusal.
        let decisions = sink.decisions();
        assert_eq!(decisions.len(), if silent { 2 } else { 3 }, "{loss:?}");
        if !silent {
            assert_eq!(decisions[2].reason, loss.code());
        }
        let socket = sink
            .outcomes()
            .into_iter()
            .find(|it| it.id == decisions[0].id);
        let socket = socket.unwrap();
        assert_eq!(socket.finish, Finish::Refused);
        assert_eq!(socket.reason.as_deref(), Some(loss.code()));
    }
}

/// An issuer that cannot be asked again ends nothing.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_again_goes_on() {
    struct Away;
    impl Vouch for Away {
        fn check(&self, _: &Caller, _: Timestamp) -> Result<(), Refusal> {
            Err(spanner_core::Outage::Introspection { retry_after: None }.into())
        }
    }
    struct Callers;
    impl Authenticate for Callers {
        fn authenticate<'a>(
            &'a self,
            _: &'a mut Parts,
            _: Timestamp,
        ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>> {
            // Asked before each decision, it would refuse; so it is told after the first.
            struct Later(AtomicBool);
            impl Vouch for Later {
                fn check(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal> {
                    match self.0.swap(true, Ordering::SeqCst) {
                        false => Ok(()),
                        true => Away.check(caller, now),
                    }
                }
            }
            let later = Arc::new(Later(AtomicBool::new(false)));
            Box::pin(async { Ok(Authentication::vouched(Caller::for_test("alice"), later)) })
        }
    }
    let sink = MemorySink::new();
    let guard = GuardLayer::builder(Callers, World::default(), sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .host(Fixed::at(NOW))
        .build()
        .unwrap();
    let inner = service_fn(|_: Request<RequestBody<Body>>| async {
        Ok::<_, Infallible>(Response::new(unending("x")))
    });
    let request = post("/v1/chat/completions", r#"{"model": "acme/m"}"#);
    let answer = guard.layer(inner).oneshot(request).await.unwrap();
    let mut body = Box::pin(answer.into_body());
    body.frame().await.unwrap().unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(3600), body.frame()).await;
    assert!(waiting.is_err());
}

/// A credential that ends while the body is read is not decided by.
#[tokio::test(start_paused = true)]
async fn a_decision_looks_at_the_credential_when_it_is_made() {
    for loss in Loss::ALL {
        let (world, sink, host) = (World::default(), MemorySink::new(), Fixed::at(NOW));
        let lost = (world.clone(), host.clone());
        let body = stream::once(async move {
            let (world, host) = lost;
            loss.happens(&world, &host);
            Ok::<_, Infallible>(Frame::data(Bytes::from(r#"{"model": "acme/m"}"#)))
        });
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(StreamBody::new(body).boxed_unsync())
            .unwrap();
        let inner = service_fn(|_: Request<RequestBody<Body>>| async {
            Ok::<_, Infallible>(Response::new(unending("x")))
        });
        let guarded = layer(&world, &sink, host.clone()).layer(inner);
        let answer = guarded.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), loss.status());
        assert_eq!(sink.decisions()[0].reason, loss.code());
    }
}
