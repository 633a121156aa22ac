//! A guard with a service behind it, and callers who are who their token says.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use spanner_core::testing::{Fixed, MemorySink};
use spanner_core::{
    Advice, AuditSink, Authorize, Caller, CallerKind, Credential, Freshness, IssuerAlias, Obstacle,
    Outage, Principal, Question, Refusal, Resource, StepUp, SubjectId, Timestamp, TokenFault,
    Verdict, VerdictReason, Verdicts,
};
use spanner_tower::{
    Authenticate, Authentication, AuthenticationError, BoxFuture, GuardBody, GuardLayer,
    GuardService, Limits, Permitted, RequestBody, surface,
};
use tower::{Layer, Service, ServiceExt};

/// Who calls is what the bearer token says: a name, `<agent>-for-<name>`,
/// `<agent>-after-<earlier agent>-for-<name>`, or a way to fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>> {
        let header = parts.headers.get("authorization");
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let caller = token
            .map(str::to_owned)
            .ok_or_else(|| Obstacle::Missing.into())
            .and_then(|t| who(&t));
        Box::pin(async move { Ok(caller?.into()) })
    }
}

fn who(token: &str) -> Result<Caller, Refusal> {
    let user = |name| principal(CallerKind::User, name);
    Ok(match token {
        "malformed" => return Err(Obstacle::Malformed.into()),
        "forged" => return Err(TokenFault::BadSignature.into()),
        "expired" => return Err(TokenFault::Expired.into()),
        "outage" => return Err(Outage::Keys { retry_after: None }.into()),
        "stranger" => Caller::assertion(principal(CallerKind::Unclassified, "stranger")),
        "old" => {
            let mut credential = Credential::unknown();
            credential.freshness = Freshness::RotateSoon;
            Caller::assertion(user("alice")).credential(credential)
        }
        "many" => Caller::assertion(user("alice")).groups_incomplete(),
        name => match name.split_once("-for-") {
            Some((agents, name)) => {
                let agents = agents.split("-after-");
                let agents = agents.map(|agent| principal(CallerKind::Agent, agent));
                Caller::assertion(user(name)).actors(agents)
            }
            None => Caller::assertion(user(name)),
        },
    }
    .caller()
    .unwrap())
}

fn principal(kind: CallerKind, name: &str) -> Principal {
    let issuer = IssuerAlias::new("test").unwrap();
    Principal::new(issuer, kind, SubjectId::new(name).unwrap())
}

/// Alice and the copilot may everything with `acme` models and the server; policies about
/// `broken` ones cannot be evaluated. Whoever is `stale`, or asks for `acme/fresh`, must sign
/// in again; whoever is `narrow` needs another scope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Book;

impl Authorize for Book {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        Verdicts::new("book".into(), questions.iter().map(verdict).collect())
    }
}

fn verdict(question: &Question<'_>) -> Verdict {
    let name = question.party.principal.subject.as_str();
    let model = match question.resource {
        Resource::Model { name, .. } => name.as_str(),
        _ => "acme",
    };
    match (name, model) {
        (_, model) if model.starts_with("broken") => Verdict::deny(VerdictReason::PolicyError),
        ("stale", _) | (_, "acme/fresh") => forbidden(|advice| {
            let values = ["urn:example:phr", "urn:example:mfa"].map(str::to_owned);
            advice.reason = Some("this takes a \"fresh\" sign-in".to_owned());
            advice.step_up = Some(StepUp::new(values.into(), Some(Duration::from_secs(300))));
        }),
        ("narrow", _) => forbidden(|advice| {
            advice.scopes = ["models.infer", "models.read"].map(str::to_owned).into();
        }),
        ("alice" | "copilot", model) if model.starts_with("acme") => {
            Verdict::allow(vec!["book/acme".into()])
        }
        _ => {
            let mut verdict = Verdict::deny(VerdictReason::NoGrant);
            let mut advice = Advice::default();
            advice.role = Some("caller".to_owned());
            advice.owner = Some("group:test/nlp".to_owned());
            verdict.advice = advice;
            verdict
        }
    }
}

fn forbidden(advise: impl Fn(&mut Advice)) -> Verdict {
    let mut verdict = Verdict::deny(VerdictReason::Forbidden);
    advise(&mut verdict.advice);
    verdict
}

/// A request as the service behind saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) headers: http::HeaderMap,
    pub(crate) permitted: Option<Permitted>,
    pub(crate) body: Bytes,
}

/// A service that reads the whole request, keeps it, and answers as it is told.
#[derive(Clone)]
pub(crate) struct Behind {
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<dyn Fn() -> Response<Full<Bytes>> + Send + Sync>,
}

impl Behind {
    pub(crate) fn new(answer: impl Fn() -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let seen = Arc::default();
        let answer = Arc::new(answer);
        Self { seen, answer }
    }

    pub(crate) fn serving() -> Self {
        Self::new(|| Response::new(Full::from("served")))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Service<Request<RequestBody<Full<Bytes>>>> for Behind {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Full<Bytes>>>) -> Self::Future {
        let behind = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|all| all.to_bytes());
            behind.seen.lock().unwrap().push(Seen {
                headers: parts.headers,
                permitted: parts.extensions.get().cloned(),
                body: body.unwrap_or_default(),
            });
            Ok((behind.answer)())
        })
    }
}

/// The layer of these tests, over a sink.
pub(crate) fn layer(sink: impl AuditSink) -> GuardLayer {
    layer_at(sink, Fixed::at("2026-11-24T12:00:00Z"))
}

pub(crate) fn layer_at(sink: impl AuditSink, host: Fixed) -> GuardLayer {
    let mut limits = Limits::default();
    limits.body = 256;
    limits.hold = 0;
    GuardLayer::builder(Names, Book, sink)
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .surface(surface::open_inference())
        .service("tests")
        .realm("models")
        .resource_metadata("https://models.example.com/.well-known/oauth-protected-resource")
        .limits(limits)
        .host(host)
        .danger()
        .exempt("GET /healthz")
        .build()
        .unwrap()
}

pub(crate) type Guarded = GuardService<Behind>;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) parts: http::response::Parts,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) async fn send(guarded: &Guarded, request: Request<Full<Bytes>>) -> Reply {
    let response: Response<GuardBody<Full<Bytes>>> =
        guarded.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { parts, body }
}

/// A chat with a model as somebody.
pub(crate) fn chat(token: &str, model: &str) -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::from(format!("{{\"model\": \"{model}\"}}")))
        .unwrap()
}

pub(crate) fn guarded(sink: &MemorySink, behind: &Behind) -> Guarded {
    layer(sink.clone()).layer(behind.clone())
}
