//! A proxy between a provider, a model server and a client, all over loopback sockets.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::post as route;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use spanner_core::token::Algorithm;
use spanner_ledger::{Ledger, Row};
use spanner_proxy::{Loaded, Service};
use spanner_tower::mock_idp::{MockIdp, Serving};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Longer than anything takes that goes well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the model server saw of a request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A model server that keeps what it saw, and answers with its name and the body.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    name: &'static str,
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Model {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let model = Self {
            name,
            url: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(model.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        model
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(model): State<Model>, request: axum::extract::Request) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    let Parts { uri, headers, .. } = parts;
    let target = uri.path_and_query().unwrap().to_string();
    let length = body.len();
    model.seen.lock().unwrap().push(Seen {
        target,
        headers,
        body,
    });
    Response::builder()
        .header("spanner-subject", "user:corp/forged")
        .header("connection", "x-internal")
        .header("x-internal", "1")
        .body(format!("{} got {length} bytes", model.name).into())
        .unwrap()
}

/// A router as a model server of its own; returns its address.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A folder with an access and a configuration, and the provider that it names.
pub(crate) struct Stage {
    pub(crate) idp: MockIdp,
    serving: Option<Serving>,
    pub(crate) folder: TempDir,
}

/// The access: alice and bob are in `support`, and may call the model in production.
const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
groups = ["support", "qa"]
issuers = ["corp"]
"#;
pub(crate) const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:support"
[grants.production]
caller = ["group:support"]
[grants.staging]
caller = ["group:qa"]
"#;

impl Stage {
    pub(crate) async fn set() -> Self {
        let (idp, serving) = MockIdp::serve(Algorithm::Es256).await;
        let stage = Self {
            idp,
            serving: Some(serving),
            folder: tempfile::tempdir().unwrap(),
        };
        stage.write("access/organization.toml", ORGANIZATION);
        stage.write("access/models/acme/sentiment.toml", MANIFEST);
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The provider goes away.
    pub(crate) fn take_down_provider(&mut self) {
        self.serving = None;
    }

    /// Writes a configuration: what every one needs, and these lines.
    pub(crate) fn configure(&self, lines: &str) -> PathBuf {
        let issuer = self.idp.issuer();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nenvironment = \"production\"\n{lines}\n\
             [[issuer]]\nname = \"corp\"\nurl = \"{issuer}\"\naudiences = [\"models\"]\n\
             danger_allow_http_loopback = true\n"
        );
        self.write("spanner.toml", &text);
        self.path("spanner.toml")
    }

    /// Serves with these lines of configuration.
    pub(crate) async fn serve(&self, lines: &str) -> Service {
        let loaded = Loaded::read(&self.configure(lines)).unwrap();
        Service::start(loaded).await.unwrap()
    }

    /// Serves before one model server of the `openai` surface.
    pub(crate) async fn serve_before(&self, url: &str) -> Service {
        self.serve(&openai(url)).await
    }

    pub(crate) fn token(&self, who: &str, groups: &[&str]) -> String {
        let token = self.idp.token().sub(who).audience("models");
        token.groups(groups.iter().copied()).sign()
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        Ledger::read(self.path("ledger")).unwrap().show().unwrap()
    }
}

/// One upstream of the `openai` surface, as lines of a configuration.
pub(crate) fn openai(url: &str) -> String {
    format!("[[upstream]]\nsurface = \"openai\"\nurl = \"{url}\"\n")
}

/// What the proxy answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: HeaderMap,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A call of the chat route.
pub(crate) fn chat(service: &Service, token: &str) -> http::request::Builder {
    post(service, "/v1/chat/completions").header("authorization", format!("Bearer {token}"))
}

pub(crate) fn post(service: &Service, path: &str) -> http::request::Builder {
    Request::post(format!("http://{}{path}", service.address()))
        .header("content-type", "application/json")
}

pub(crate) fn prompt() -> String {
    let message = json!({"role": "user", "content": "hello"});
    json!({"model": "acme/sentiment", "messages": [message]}).to_string()
}

/// Sends a request over HTTP/1.1 and gets the head of the answer.
pub(crate) async fn send(
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> Response<Incoming> {
    let request = request.body(Full::new(body.into())).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    timeout(PATIENCE, client.request(request))
        .await
        .expect("an answer in time")
        .unwrap()
}

/// Sends a request and gets the whole answer.
pub(crate) async fn ask(request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
    whole(send(request, body).await).await
}

pub(crate) async fn get(service: &Service, path: &str) -> Reply {
    let request = Request::get(format!("http://{}{path}", service.address()));
    ask(request, "").await
}

pub(crate) async fn whole(response: Response<Incoming>) -> Reply {
    let (parts, body) = response.into_parts();
    let collected = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body,
        trailers,
    }
}

/// Asks again until the answer is as expected; a bounded wait.
pub(crate) async fn until<T>(mut asked: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = asked().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("it comes in time")
}

/// A server that streams what it is given.
pub(crate) async fn serve_pieces() -> (String, mpsc::UnboundedSender<&'static str>) {
    let (sender, receiver) = mpsc::unbounded_channel::<&'static str>();
    let receiver = Mutex::new(Some(receiver));
    let handler = async move || {
        let receiver = receiver.lock().unwrap().take().unwrap();
        let stream = UnboundedReceiverStream::new(receiver);
        let frame = |piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(piece)));
        let body = StreamBody::new(futures_util::StreamExt::map(stream, frame));
        ([("content-type", "text/event-stream")], Body::new(body)).into_response()
    };
    let handler = Arc::new(handler);
    let router = Router::new().route(
        "/v1/chat/completions",
        route(move || {
            let handler = Arc::clone(&handler);
            async move { handler().await }
        }),
    );
    (serve(router).await, sender)
}
