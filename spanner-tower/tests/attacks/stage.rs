//! A guarded service behind a real server, and somebody who may use some of it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use spanner_core::testing::{MemorySink, Rules};
use spanner_core::token::Algorithm;
use spanner_tower::mock_idp::{MockIdp, Serving};
use spanner_tower::{Bearer, GuardLayer, RequestBody, surface};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The service, running.
pub(crate) struct Stage {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) sink: MemorySink,
    pub(crate) idp: MockIdp,
    /// The requests that came through, as the service saw them.
    pub(crate) seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    _provider: Serving,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let (idp, provider) = MockIdp::serve(Algorithm::Es256).await;
        let sink = MemorySink::new();
        let issuer = idp.issuer_config().audience("models");
        let callers = Bearer::builder().issuer(issuer).build().unwrap();
        let rules = Rules::allow(|question| {
            let name = question.resource.name().map(ToString::to_string);
            name.is_none_or(|name| name.starts_with("acme"))
        });
        let guard = GuardLayer::builder(callers, rules, sink.clone())
            .environment("production".parse().unwrap())
            .surface(surface::openai())
            .surface(surface::open_inference())
            .surface(surface::named("azure-openai").unwrap())
            .build()
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let saw = Arc::clone(&seen);
        let inner = service_fn(move |request: Request<RequestBody<Incoming>>| {
            let saw = Arc::clone(&saw);
            async move {
                let (parts, body) = request.into_parts();
                let whole = body.collect().await.is_ok();
                if whole {
                    let target = parts.uri.to_string();
                    saw.lock().unwrap().push((target, parts.headers));
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("served"))))
            }
        });
        let service = guard.layer(inner);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http1().max_headers(100);
                    let served = server.serve_connection(TokioIo::new(stream), service);
                    drop(served.await);
                });
            }
        });
        Self {
            address,
            sink,
            idp,
            seen,
            _provider: provider,
        }
    }

    pub(crate) fn token(&self, of: &str) -> String {
        let token = self.idp.token().sub(of).audience("models").sign();
        if of != "great header" {
            return token;
        }
        let (_, rest) = token.split_once('.').unwrap();
        let lists = "[0,0,0,0],".repeat(400);
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","x":[{lists}0]}}"#);
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, and takes whatever comes until the other side is silent or gone.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let stream = self.connect().await;
        let (mut from, mut to) = stream.into_split();
        let bodiless = bytes.starts_with(b"HEAD");
        let bytes = bytes.to_vec();
        // A server that refuses at once may close before everything was sent.
        let sending = tokio::spawn(async move {
            drop(to.write_all(&bytes).await);
            to
        });
        let mut answer = Vec::new();
        let reading = async {
            let mut piece = [0; 4096];
            loop {
                match from.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => answer.extend_from_slice(&piece[..read]),
                }
                if is_whole(&answer, bodiless) {
                    break;
                }
            }
        };
        // A server that waits for more has not answered, which the caller sees.
        drop(tokio::time::timeout(PATIENCE, reading).await);
        sending.abort();
        answer
    }

    /// The reasons in the record, in order.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.sink
            .decisions()
            .into_iter()
            .map(|decision| decision.reason)
            .collect()
    }
}

/// Whether a response has come to the end of its body, if it has one.
fn is_whole(answer: &[u8], bodiless: bool) -> bool {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    if head.starts_with("http/1.1 100") {
        return false;
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let length = if bodiless { 0 } else { length };
    answer.len() >= end + 4 + length
}
