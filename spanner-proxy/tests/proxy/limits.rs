//! Places, turns and connections: who has nothing to do holds none of what others need.

use axum::Router;
use axum::body::Body as AnswerBody;
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use spanner_proxy::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{
    Model, PATIENCE, Stage, ask, chat, get, openai, post, prompt, send, serve, until, whole,
};

/// Serves with these lines, and a ledger that waits for no disk: what is tested is not it.
async fn serving(stage: &Stage, lines: &str) -> Service {
    let ledger = "[ledger]\ndurability = \"relaxed\"\n";
    stage.serve(&format!("{lines}{ledger}")).await
}

/// A body that begins and never ends.
fn held(beginning: &'static str) -> BoxBody<Bytes, std::io::Error> {
    use futures_util::StreamExt;
    let first = Ok(Frame::data(Bytes::from_static(beginning.as_bytes())));
    let first = futures_util::stream::iter((!beginning.is_empty()).then_some(first));
    BoxBody::new(StreamBody::new(
        first.chain(futures_util::stream::pending()),
    ))
}

/// Sends a request whose body is held, on a connection of its own.
fn hold(
    request: http::request::Builder,
    http2: bool,
    beginning: &'static str,
) -> JoinHandle<Response<Incoming>> {
    let version = if http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    let request = request.version(version).body(held(beginning)).unwrap();
    let client = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http();
    tokio::spawn(async move {
        let answer = timeout(PATIENCE, client.request(request)).await;
        answer.expect("an answer in time").unwrap()
    })
}

#[tokio::test]
async fn a_caller_over_its_share_is_refused_and_others_are_served() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!("{}[limits]\nrequests_per_caller = 2\n", openai(&model.url));
    let service = serving(&stage, &lines).await;
    let (alice, mallory) = (
        stage.token("alice", &["support"]),
        stage.token("mallory", &[]),
    );
    assert_eq!(ask(chat(&service, &alice), prompt()).await.status, 200);
    let held = [("{", true), ("", false), ("{", false)];
    let held = held.map(|(body, http2)| hold(chat(&service, &mallory), http2, body));
    let (refused, _, others) = futures_util::future::select_all(held).await;
    let refused = whole(refused.unwrap()).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("spanner-fault"), "guard_unavailable");
    assert_eq!(refused.header("spanner-origin"), "guard");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.body.contains("one caller may have"), "{refused:?}");
    assert_eq!(ask(chat(&service, &alice), prompt()).await.status, 200);
    service.stop().await.unwrap();
    drop(others);
    let rows = stage.rows();
    assert!(rows.iter().any(|row| row.decision.reason == "share.caller"));
}

#[tokio::test]
async fn a_request_whose_body_does_not_arrive_is_evicted() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = serving(&stage, &format!("max_requests = 2\n{}", openai(&model.url))).await;
    let alice = stage.token("alice", &["support"]);
    for (path, http2) in [
        ("/v1/chat/completions", true),
        ("/v1/chat/completions", false),
        ("/spanner/v1/explain", true),
    ] {
        let hold = |name: &str| {
            let token = stage.token(name, &[]);
            let request = post(&service, path).header("authorization", format!("Bearer {token}"));
            hold(request, http2, "{")
        };
        let mut held = [hold("a"), hold("b"), hold("c"), hold("d")];
        let mut taken_back = Vec::new();
        // Two of four are there; the honest call takes the place of a third.
        for _ in 0..2 {
            assert_eq!(ask(chat(&service, &alice), prompt()).await.status, 200);
        }
        for held in &mut held {
            if let Ok(answer) = timeout(std::time::Duration::from_millis(200), held).await {
                taken_back.push(answer.unwrap().status());
            }
        }
        assert!(taken_back.len() >= 2, "{path} {taken_back:?}");
        assert!(
            taken_back
                .iter()
                .all(|it| [408, 503].contains(&it.as_u16()))
        );
    }
    service.stop().await.unwrap();
    assert_eq!(model.seen().len(), 6);
}

#[tokio::test]
async fn a_probe_takes_a_slot_once_it_has_arrived() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!(
        "[[upstream]]\nsurface = [\"generic\", \"openai\"]\nurl = \"{}\"\nmax_requests = 1\n",
        model.url
    );
    let service = serving(&stage, &lines).await;
    let address = service.address();
    let probe = || {
        Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
    };
    let _held: Vec<_> = (0..8).map(|_| hold(probe(), true, "\0")).collect();
    let alice = stage.token("alice", &["support"]);
    assert_eq!(ask(chat(&service, &alice), prompt()).await.status, 200);
    let health = get(&service, "/healthz").await;
    assert_eq!(
        (health.status.as_u16(), health.header("spanner-decision")),
        (200, "")
    );
    let paths: Vec<String> = model.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/healthz"]);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn one_connection_has_few_probes_in_progress() {
    let stage = Stage::set().await;
    let lines = "[[upstream]]\nsurface = \"generic\"\nurl = \"http://127.0.0.1:9\"\n";
    let service = serving(&stage, lines).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let address = service.address();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..33 {
        let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .body(held("\0"))
            .unwrap();
        let client = client.clone();
        calls.spawn(async move { client.request(request).await.unwrap() });
    }
    let first = timeout(PATIENCE, calls.join_next()).await.unwrap();
    let refused = whole(first.unwrap().unwrap()).await;
    assert_eq!(refused.header("grpc-status"), "8");
    assert_eq!(refused.header("spanner-fault"), "guard_unavailable");
    assert!(
        refused
            .header("grpc-message")
            .starts_with("this connection has")
    );
    drop(calls);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_for_a_new_one() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = serving(
        &stage,
        &format!("max_connections = 2\n{}", openai(&model.url)),
    )
    .await;
    let alice = stage.token("alice", &["support"]);
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(TcpStream::connect(service.address()).await.unwrap());
        assert_eq!(ask(chat(&service, &alice), prompt()).await.status, 200);
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_at_its_connection_limit_gets_a_response() {
    let stage = Stage::set().await;
    let url = serve(Router::new().fallback(endless)).await;
    let lines = format!("{}[limits]\nconnections_per_peer = 1\n", openai(&url));
    let service = serving(&stage, &lines).await;
    let alice = stage.token("alice", &["support"]);
    let open = send(chat(&service, &alice), prompt()).await;
    let mut second = TcpStream::connect(service.address()).await.unwrap();
    second
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut told = String::new();
    let read = timeout(PATIENCE, second.read_to_string(&mut told)).await;
    read.unwrap().unwrap();
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(
        told.contains("spanner-fault: guard_unavailable\r\n"),
        "{told}"
    );
    assert!(told.contains("connections of your address"), "{told}");
    let mut third = TcpStream::connect(service.address()).await.unwrap();
    third
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut told = Vec::new();
    let read = timeout(PATIENCE, third.read_to_end(&mut told)).await;
    read.unwrap().unwrap();
    assert_eq!(
        told.last(),
        Some(&11),
        "GOAWAY with ENHANCE_YOUR_CALM: {told:?}"
    );
    drop(open);
    service.stop().await.unwrap();
}

/// An answer that goes on for ever.
async fn endless() -> Response<AnswerBody> {
    let piece = Bytes::from(vec![b'x'; 65_536]);
    let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    Response::new(AnswerBody::from_stream(pieces))
}

#[tokio::test]
async fn a_caller_that_does_not_read_loses_its_slot() {
    let stage = Stage::set().await;
    let url = serve(Router::new().fallback(endless)).await;
    let lines = format!(
        "{}max_requests = 1\n[limits]\nstall = \"100ms\"\n",
        openai(&url)
    );
    let service = serving(&stage, &lines).await;
    let bob = stage.token("bob", &["support"]);
    let unread = send(chat(&service, &bob), prompt()).await;
    let alice = stage.token("alice", &["support"]);
    let served = until(async || {
        let answer = send(chat(&service, &alice), prompt()).await;
        (answer.status() == 200).then_some(())
    });
    served.await;
    drop(unread);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_with_only_frames_without_content_is_closed() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = serving(&stage, &openai(&model.url)).await;
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    said.extend(b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x10".repeat(10_000));
    let closed = async {
        // It may be closed before all is sent.
        let _ = stream.write_all(&said).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    };
    timeout(PATIENCE, closed).await.expect("closed");
    let alice = stage.token("alice", &["support"]);
    assert_eq!(ask(chat(&service, &alice), prompt()).await.status, 200);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_upstream_connection_is_not_used_after_its_idle_timeout() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut came = vec![0; 65_536];
                while stream.read(&mut came).await.unwrap_or(0) > 0 {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    let stage = Stage::set().await;
    let alice = stage.token("alice", &["support"]);
    let calls = async |service: &Service| {
        let before = opened.load(Ordering::SeqCst);
        assert_eq!(ask(chat(service, &alice), prompt()).await.status, 200);
        opened.load(Ordering::SeqCst) - before
    };
    let timed = |time: &str| format!("{}idle_timeout = \"{time}\"\n", openai(&url));
    let service = serving(&stage, &timed("1ms")).await;
    for _ in 0..3 {
        assert_eq!(calls(&service).await, 1);
        // Its time passes.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    service.stop().await.unwrap();
    let service = serving(&stage, &timed("1h")).await;
    until(async || (calls(&service).await == 0).then_some(())).await;
    service.stop().await.unwrap();
}

/// A model server that opens every WebSocket, and then says nothing and reads nothing.
async fn silent() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 16_384];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].ends_with(b"\r\n\r\n"));
            // For the key of the example in RFC 6455 §1.3, which the proxy passes on.
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            open.push(stream);
        }
    });
    url
}

/// Opens a WebSocket, says this, and reads to its end; what came after the head.
async fn converse(service: &Service, token: &str, path: &str, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let mut came = Vec::new();
    let talking = async {
        // It may be closed before all is sent.
        let _ = stream.write_all(said).await;
        let _ = stream.read_to_end(&mut came).await;
    };
    timeout(PATIENCE, talking).await.expect("closed in time");
    came
}

fn holds(came: &[u8], text: &str) -> bool {
    came.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let stage = Stage::set().await;
    let url = silent().await;
    let lines = "[limits]\nidle = \"300ms\"\nbody_wait = \"300ms\"\n";
    let service = serving(&stage, &format!("{}{lines}", openai(&url))).await;
    let alice = stage.token("alice", &["support"]);
    let path = "/v1/realtime?model=acme/sentiment";
    let came = converse(&service, &alice, path, b"").await;
    assert!(holds(&came, "nothing was said for too long"), "{came:?}");
    service.stop().await.unwrap();
    let row = stage.rows().pop().unwrap();
    assert_eq!(row.outcome.unwrap().status, Some(101));
}

#[tokio::test]
async fn pings_are_answered_one_by_one_up_to_a_limit() {
    let stage = Stage::set().await;
    let url = silent().await;
    let service = serving(&stage, &openai(&url)).await;
    let alice = stage.token("alice", &["support"]);
    let path = "/v1/realtime?model=acme/sentiment";
    let ping = b"\x89\x84\0\0\0\0ping";
    let came = converse(&service, &alice, path, &ping.repeat(5_000)).await;
    let pongs = came
        .windows(6)
        .filter(|part| part == b"\x8A\x04ping")
        .count();
    // What was still on its way is lost with the connection.
    assert!((1..2_500).contains(&pongs), "{pongs}");
    service.stop().await.unwrap();
}
