//! The layer in tonic, unchanged: real gRPC over loopback.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use spanner_core::record::{Decision, Finish, OutcomeClass};
use spanner_core::testing::MemorySink;
use spanner_core::{AuditSink, Count, Effect, Receipt, SinkFault};
use spanner_tower::{GuardLayer, Permitted};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::support::layer;

/// The fields of `ModelInferRequest` that name a model.
#[derive(Clone, PartialEq, prost::Message)]
struct Infer {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
}

/// Field 1 of an answer of a stream is its error.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "3")]
    text: String,
}

/// Answers each message with its model's name, and keeps what it saw.
#[derive(Debug, Clone, Default)]
struct Inference {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Inference {
    fn answer(&self, infer: &Infer) -> Answer {
        self.seen.lock().unwrap().push(infer.model_name.clone());
        let text = infer.model_name.clone();
        Answer { text }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl NamedService for Inference {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl<B> Service<http::Request<B>> for Inference
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Answer, Infer>::default());
        Box::pin(async move {
            if request.uri().path().ends_with("/ModelInfer") {
                let unary = move |request: Request<Infer>| {
                    let guarded = request.extensions().get::<Permitted>().is_some();
                    let answer = guarded.then(|| Response::new(service.answer(request.get_ref())));
                    std::future::ready(answer.ok_or_else(|| Status::internal("not guarded")))
                };
                return Ok(grpc.unary(service_fn(unary), request).await);
            }
            let streaming = move |request: Request<Streaming<Infer>>| {
                let service = service.clone();
                let answers = request
                    .into_inner()
                    .map(move |infer| Ok(service.answer(&infer?)));
                std::future::ready(Ok::<_, Status>(Response::new(answers)))
            };
            Ok(grpc.streaming(service_fn(streaming), request).await)
        })
    }
}

/// A guarded server, and a channel to it.
async fn serve(sink: &MemorySink) -> (Inference, Channel) {
    serve_with(layer(sink.clone())).await
}

async fn serve_with(guard: GuardLayer) -> (Inference, Channel) {
    let inference = Inference::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder()
        .layer(guard)
        .add_service(inference.clone())
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    (inference, channel)
}

type Client = tonic::client::Grpc<Channel>;

async fn client(channel: Channel) -> Client {
    let mut client = Client::new(channel);
    client.ready().await.unwrap();
    client
}

fn as_somebody<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn infer(model: &str) -> Infer {
    let (model_name, model_version) = (model.to_owned(), String::new());
    Infer {
        model_name,
        model_version,
    }
}

fn method(name: &str) -> PathAndQuery {
    format!("/inference.GRPCInferenceService/{name}")
        .parse()
        .unwrap()
}

async fn unary(channel: Channel, token: &str, model: &str) -> Result<String, Status> {
    let codec = ProstCodec::<Infer, Answer>::default();
    let request = as_somebody(token, infer(model));
    let answer = client(channel)
        .await
        .unary(request, method("ModelInfer"), codec)
        .await?;
    Ok(answer.into_inner().text)
}

/// Sends a stream of messages; the answers, and how it ended.
async fn streamed(channel: Channel, token: &str, models: &[&str]) -> (Vec<String>, Option<Status>) {
    let codec = ProstCodec::<Infer, Answer>::default();
    let messages: Vec<Infer> = models.iter().map(|model| infer(model)).collect();
    let request = as_somebody(token, stream::iter(messages));
    let mut client = client(channel).await;
    let answers = client
        .streaming(request, method("ModelStreamInfer"), codec)
        .await;
    let mut answers = match answers {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), Some(status)),
    };
    let mut texts = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => texts.push(answer.text),
            Ok(None) => return (texts, None),
            Err(status) => return (texts, Some(status)),
        }
    }
}

/// Outcomes may follow the last byte that a client sees by a moment.
async fn settled(sink: &MemorySink, records: usize) {
    while sink.outcomes().len() < records {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (sink.decisions().len(), sink.outcomes().len()),
        (records, records)
    );
}

#[tokio::test]
async fn a_call_is_decided_by_the_model_in_its_message() {
    let sink = MemorySink::new();
    let (inference, channel) = serve(&sink).await;
    assert_eq!(
        unary(channel.clone(), "alice", "acme/a").await.unwrap(),
        "acme/a"
    );
    let denied = unary(channel.clone(), "alice", "secret/weights")
        .await
        .unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(
        denied
            .message()
            .contains("`user:test/alice` may not predict on `secret/weights`")
    );
    assert!(denied.metadata().get("spanner-decision").is_some());
    let unknown = unary(channel, "forged", "acme/a").await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
    assert!(unknown.metadata().get("www-authenticate").is_some());
    assert_eq!(inference.seen(), ["acme/a"]);
    settled(&sink, 3).await;
}

#[tokio::test]
async fn a_stream_whose_models_are_all_allowed_is_served() {
    let sink = MemorySink::new();
    let (_, channel) = serve(&sink).await;
    let models = ["acme/a", "acme/b", "acme/a", "acme/b"];
    assert_eq!(streamed(channel, "alice", &models).await.0, models);
    settled(&sink, 2).await;
    let [first, second] = &*sink.decisions() else {
        panic!("one record per model is due")
    };
    assert_eq!(second.parent, Some(first.id));
    assert!(
        sink.outcomes()
            .iter()
            .all(|outcome| outcome.class == OutcomeClass::Ok)
    );
}

/// A sink that acknowledges only a while later, as a disk does.
#[derive(Debug, Clone)]
struct Late(MemorySink);

impl AuditSink for Late {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        let Receipt {
            acknowledged, room, ..
        } = self.0.record(decision)?;
        let acknowledged = Box::pin(async move {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            acknowledged.await
        });
        Ok(Receipt { acknowledged, room })
    }

    fn count(&self, what: Count) {
        self.0.count(what);
    }
}

#[tokio::test]
async fn a_message_that_names_another_model_never_reaches_the_service() {
    let sink = MemorySink::new();
    refuses_a_later_message(&sink, sink.clone()).await;
    let sink = MemorySink::new();
    refuses_a_later_message(&sink, Late(sink.clone())).await;
}

async fn refuses_a_later_message(sink: &MemorySink, recording: impl AuditSink) {
    let (inference, channel) = serve_with(layer(recording)).await;
    let models = ["acme/a", "acme/a", "secret/weights", "acme/a"];
    let (_, status) = streamed(channel, "alice", &models).await;
    let status = status.unwrap();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("secret/weights"), "{status:?}");
    assert!(!inference.seen().contains(&"secret/weights".to_owned()));
    settled(sink, 2).await;
    let denied = &sink.decisions()[1];
    assert_eq!(
        (denied.effect, &*denied.reason),
        (Effect::Deny, "authz.no_permit")
    );
    let parent = sink.decisions()[0].id;
    let outcomes = sink.outcomes();
    let outcome = outcomes
        .iter()
        .find(|outcome| outcome.id == parent)
        .unwrap();
    assert_eq!(
        (outcome.class, outcome.finish),
        (OutcomeClass::Refused, Finish::Refused)
    );
}

#[tokio::test]
async fn a_later_message_that_takes_a_fresh_sign_in_is_challenged() {
    let sink = MemorySink::new();
    let (inference, channel) = serve(&sink).await;
    let (_, status) = streamed(channel, "alice", &["acme/a", "acme/fresh"]).await;
    let status = status.unwrap();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let challenge = status.metadata().get("www-authenticate").unwrap();
    let challenge = challenge.to_str().unwrap();
    assert!(
        challenge.starts_with("Bearer realm=\"models\", error=\"insufficient_user_auth"),
        "{challenge}"
    );
    assert!(!inference.seen().contains(&"acme/fresh".to_owned()));
    settled(&sink, 2).await;
    assert_eq!(sink.decisions()[1].reason, "authz.step_up");
}

#[tokio::test]
async fn the_first_message_of_a_stream_is_decided_like_any_other() {
    let sink = MemorySink::new();
    let (inference, channel) = serve(&sink).await;
    let (texts, status) = streamed(channel, "alice", &["secret/weights"]).await;
    assert_eq!(
        (texts.len(), status.unwrap().code()),
        (0, Code::PermissionDenied)
    );
    assert!(inference.seen().is_empty());
    settled(&sink, 1).await;
}
