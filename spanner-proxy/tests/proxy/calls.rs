//! One call: what the model server gets, and what the caller.

use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use http::Request;
use http_body_util::BodyExt;
use spanner_core::record::{Finish, OutcomeClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{
    Model, PATIENCE, Stage, ask, chat, openai, post, prompt, send, serve, serve_pieces, until,
    whole,
};

/// What a call is answered with, and whether the model server heard of it.
struct Expected {
    status: u16,
    origin: &'static str,
    fault: &'static str,
    served: usize,
}

#[tokio::test]
async fn the_response_head_names_whose_failure_it_is() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let support = || stage.token("alice", &["support"]);
    let served = Expected {
        status: 200,
        origin: "",
        fault: "",
        served: 1,
    };
    let refused = |status, fault| Expected {
        status,
        origin: "guard",
        fault,
        served: 0,
    };
    let upgrade = chat(&service, &support())
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let rows = [
        ("allowed", chat(&service, &support()), served),
        (
            "nobody",
            post(&service, "/v1/chat/completions"),
            refused(401, "credential"),
        ),
        (
            "another's token",
            chat(&service, "eyJ.eyJ.x"),
            refused(401, "credential"),
        ),
        (
            "not granted",
            chat(&service, &stage.token("tina", &["qa"])),
            refused(403, "permission"),
        ),
        (
            "unknown route",
            post(&service, "/v2/anything").header("authorization", format!("Bearer {}", support())),
            refused(403, "unknown_route"),
        ),
        (
            "a path to be read in two ways",
            post(&service, "/v1/../v1/chat/completions")
                .header("authorization", format!("Bearer {}", support())),
            refused(400, "ambiguous_request"),
        ),
        ("an upgrade", upgrade, refused(403, "ambiguous_request")),
    ];
    for (name, request, expected) in rows {
        let before = model.seen().len();
        let reply = ask(request, prompt()).await;
        assert_eq!(reply.status, expected.status, "{name}: {reply:?}");
        assert_eq!(reply.header("spanner-origin"), expected.origin, "{name}");
        assert_eq!(reply.header("spanner-fault"), expected.fault, "{name}");
        assert_eq!(reply.header("spanner-decision").len(), 36, "{name}");
        assert_eq!(model.seen().len() - before, expected.served, "{name}");
    }
    service.stop().await.unwrap();
    assert_eq!(stage.rows().len(), 7);
}

#[tokio::test]
async fn the_model_server_learns_who_calls_and_never_their_credentials() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    stage.write("upstream-token", "of-the-proxy\n");
    let lines = format!(
        "public_origin = \"https://models.example.com\"\n{}\
         credential = {{ file = \"upstream-token\" }}\n",
        openai(&format!("{}/base", model.url))
    );
    let service = stage.serve(&lines).await;
    let token = stage.token("zoë", &["support"]);
    let request = post(
        &service,
        "/v1/chat/completions?alt=1&key=canary&access_token=canary",
    )
    .header("authorization", format!("Bearer {token}"))
    .header("x-api-key", "canary")
    .header("api-key", "canary")
    .header("x-goog-api-key", "canary")
    .header("cookie", "a=1; token=canary")
    .header("spanner-subject", "user:corp/root")
    .header("spanner_actor", "user:corp/root")
    .header("x-forwarded-for", "203.0.113.9")
    .header("x-real-ip", "203.0.113.9")
    .header("connection", "x-hop, authorization, spanner-subject")
    .header("x-hop", "1")
    .header("host", "models.example.com");
    let reply = ask(request, prompt()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen = model.seen().pop().unwrap();
    assert_eq!(seen.target, "/base/v1/chat/completions?alt=1");
    assert_eq!(seen.body, prompt());
    let mut headers: Vec<(&str, &str)> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    let length = prompt().len().to_string();
    let expected = [
        ("authorization", "Bearer of-the-proxy"),
        ("content-length", &*length),
        ("content-type", "application/json"),
        ("cookie", "a=1"),
        ("host", model.url.trim_start_matches("http://")),
        ("spanner-decision", reply.header("spanner-decision")),
        ("spanner-kind", "user"),
        ("spanner-subject", "user:corp/zo%C3%AB"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "models.example.com"),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(headers, expected);
    // And the caller learns nothing of the connection behind, or from a forged name.
    for name in ["spanner-subject", "x-internal", "connection"] {
        assert_eq!(reply.header(name), "", "{name}");
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn the_model_server_learns_the_agent_and_the_person_it_acts_for() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let manifest = "model = \"acme/sentiment\"\nowner = \"group:support\"\n\
                    [grants.production]\ncaller = [\"group:support\", \"agent:copilot\"]\n";
    stage.write("access/models/acme/sentiment.toml", manifest);
    let service = stage.serve_before(&model.url).await;
    let token = stage.idp.token().sub("alice").audience("models");
    let token = token.groups(["support"]).act("copilot").sign();
    let reply = ask(chat(&service, &token), prompt()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen = model.seen().pop().unwrap();
    assert_eq!(seen.headers["spanner-subject"], "user:corp/alice");
    assert_eq!(seen.headers["spanner-actor"], "agent:corp/copilot");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_model_that_does_not_respond_is_no_refusal() {
    let stage = Stage::set().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = format!("http://{}", silent.local_addr().unwrap());
    let rude = serve_rude().await;
    for (url, status, fault, code, class) in [
        (
            down,
            502,
            "model",
            "model_unreachable",
            OutcomeClass::ModelFailed,
        ),
        (
            slow,
            504,
            "model_timeout",
            "model_timeout",
            OutcomeClass::ModelFailed,
        ),
        (
            rude,
            502,
            "model",
            "model_broke_off",
            OutcomeClass::ModelFailed,
        ),
    ] {
        let lines = format!("{}response_timeout = \"100ms\"\n", openai(&url));
        let service = stage.serve(&lines).await;
        let reply = ask(
            chat(&service, &stage.token("alice", &["support"])),
            prompt(),
        )
        .await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("spanner-fault"), fault);
        assert_eq!(reply.header("spanner-origin"), "");
        assert_eq!(reply.json()["error"]["code"], code);
        service.stop().await.unwrap();
        let outcome = stage.rows().pop().unwrap().outcome.unwrap();
        assert_eq!((outcome.class, outcome.status), (class, Some(status)));
    }
}

#[tokio::test]
async fn a_model_that_is_down_is_reported_in_the_format_of_its_api() {
    let stage = Stage::set().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let lines = format!(
        "{}host = \"openai\"\n\
         [[upstream]]\nsurface = \"anthropic\"\nurl = \"{down}\"\nhost = \"anthropic\"\n\
         [[upstream]]\nsurface = \"hf-hub\"\nurl = \"{down}\"\nhost = \"hub\"\n",
        openai(&down)
    );
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    for (host, path, text_at) in [
        ("openai", "/v1/chat/completions", "/error/message"),
        ("anthropic", "/v1/messages", "/error/message"),
        ("hub", "/api/models/acme/sentiment/like", "/error"),
    ] {
        let address = format!("http://{}{path}", service.address());
        let request = Request::post(address)
            .header("host", host)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let reply = ask(request, prompt()).await;
        assert_eq!(reply.status, 502, "{path}");
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
        let text = reply.json().pointer(text_at).unwrap().to_string();
        assert!(text.contains("cannot be reached"), "{path}: {text}");
    }
    service.stop().await.unwrap();
}

/// A server that closes every connection as soon as something comes.
async fn serve_rude() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    url
}

#[tokio::test]
async fn a_stream_arrives_in_pieces_and_its_record_when_it_ends() {
    let stage = Stage::set().await;
    let (url, pieces) = serve_pieces().await;
    let service = stage.serve_before(&url).await;
    let token = stage.token("alice", &["support"]);
    let mut response = send(chat(&service, &token), prompt()).await;
    for piece in ["data: one\n\n", "data: two\n\n"] {
        // The second is sent only when the first has arrived.
        pieces.send(piece).unwrap();
        let frame = tokio::time::timeout(PATIENCE, response.body_mut().frame()).await;
        let frame = frame.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    assert!(stage.rows()[0].outcome.is_none());
    drop(pieces);
    assert_eq!(whole(response).await.body, "");
    service.stop().await.unwrap();
    let outcome = stage.rows().pop().unwrap().outcome.unwrap();
    assert_eq!((outcome.class, outcome.bytes_out), (OutcomeClass::Ok, 22));
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_call_of_the_model_server() {
    let stage = Stage::set().await;
    let (url, pieces) = serve_pieces().await;
    let service = stage.serve_before(&url).await;
    let token = stage.token("alice", &["support"]);
    let mut response = send(chat(&service, &token), prompt()).await;
    pieces.send("data: one\n\n").unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    // The model server's side of the stream is closed with it.
    until(async || pieces.send("data: more\n\n").is_err().then_some(())).await;
    service.stop().await.unwrap();
    let outcome = stage.rows().pop().unwrap().outcome.unwrap();
    assert_eq!(outcome.class, OutcomeClass::ClientLeft);
    assert_eq!(outcome.finish, Finish::ClientLeft);
}

#[tokio::test]
async fn requests_of_unauthenticated_clients_are_limited() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let long = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: 1\r\n".repeat(120)
    );
    for (name, request) in [("a long head", long), ("many headers", many)] {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer));
        // It may be reset before all that was sent is read.
        let _ = read.await.expect("closed in time");
        let refused = answer.starts_with("HTTP/1.1 431 ") || answer.is_empty();
        assert!(refused, "{name}: {answer}");
    }
    service.stop().await.unwrap();
    assert!(model.seen().is_empty());
}

#[tokio::test]
async fn a_model_server_gets_at_most_max_requests() {
    let stage = Stage::set().await;
    let (url, pieces) = serve_pieces().await;
    let lines = format!(
        "{}max_requests = 1\nconnect_timeout = \"50ms\"\n",
        openai(&url)
    );
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    let first = send(chat(&service, &token), prompt()).await;
    let second = ask(chat(&service, &token), prompt()).await;
    assert_eq!(second.status, 503);
    assert_eq!(second.header("spanner-fault"), "model");
    assert_eq!(second.header("retry-after"), "1");
    drop(pieces);
    assert_eq!(whole(first).await.status, 200);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_stops_waits_for_open_requests() {
    let stage = Stage::set().await;
    let (url, pieces) = serve_pieces().await;
    let service = stage.serve_before(&url).await;
    let address = service.address();
    let token = stage.token("alice", &["support"]);
    let response = send(chat(&service, &token), prompt()).await;
    let stopping = tokio::spawn(service.stop());
    until(async || TcpStream::connect(address).await.is_err().then_some(())).await;
    pieces.send("data: last\n\n").unwrap();
    drop(pieces);
    assert_eq!(whole(response).await.body, "data: last\n\n");
    let stopped = tokio::time::timeout(Duration::from_secs(10), stopping).await;
    stopped.unwrap().unwrap().unwrap();
    let outcome = stage.rows().pop().unwrap().outcome.unwrap();
    assert_eq!(outcome.finish, Finish::Complete);
}

#[tokio::test]
async fn an_absolute_target_names_the_same_host_or_is_refused() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let token = stage.token("alice", &["support"]);
    for (target, host, status) in [
        (
            "http://models.example.com/v1/models",
            "models.example.com",
            "403",
        ),
        (
            "http://models.example.com/v1/models",
            "other.example.com",
            "400",
        ),
        ("/v1/models", "models.example.com", "403"),
    ] {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{target} {host}: {answer}");
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_rejects_the_proxys_credential_is_not_the_callers_failure() {
    for (status, credential, due, says) in [
        (401, true, 502, "rejects this proxy's own credential"),
        (401, false, 502, "asks this proxy for a credential"),
        (407, true, 502, "rejects this proxy's own credential"),
        (403, true, 403, ""),
    ] {
        let stage = Stage::set().await;
        stage.write("upstream.key", "the-proxys-own");
        let answer = move || async move {
            let challenge = match status {
                407 => ("proxy-authenticate", "Basic"),
                401 => ("www-authenticate", "Bearer realm=\"upstream\""),
                _ => ("x-reason", "policy"),
            };
            let status = http::StatusCode::from_u16(status).unwrap();
            (status, [challenge], "no").into_response()
        };
        let url = serve(Router::new().fallback(answer)).await;
        let mut lines = openai(&url);
        if credential {
            lines.push_str("credential = { file = \"upstream.key\" }\n");
        }
        let service = stage.serve(&lines).await;
        let token = stage.token("alice", &["support"]);
        let reply = ask(chat(&service, &token), prompt()).await;
        assert_eq!(reply.status, due, "{status}");
        assert_eq!(reply.header("spanner-fault"), "model");
        assert!(reply.body.contains(says), "{}", reply.body);
        for challenge in ["www-authenticate", "proxy-authenticate"] {
            assert_eq!(reply.header(challenge), "", "{status}");
        }
        service.stop().await.unwrap();
        let outcome = stage.rows().pop().unwrap().outcome.unwrap();
        let class = match due {
            502 => OutcomeClass::ModelFailed,
            _ => OutcomeClass::CallerError,
        };
        assert_eq!((outcome.class, outcome.status), (class, Some(due)));
    }
}
