//! Requests that are refused before their bodies are read: the connection stays usable, or the
//! answer says that it does not.

use std::time::Duration;

use spanner_proxy::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{Model, PATIENCE, Stage};

/// The head of a call of the chat route.
fn head(token: &str, length: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\n{length}\r\n\r\n"
    )
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.address()).await.unwrap()
}

/// Reads one answer; its head in lower case.
async fn answer(stream: &mut TcpStream) -> String {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).await.expect("a body");
        head
    };
    timeout(PATIENCE, read).await.expect("an answer in time")
}

const PROMPT: &str = r#"{"model":"acme/sentiment","messages":[]}"#;

#[tokio::test]
async fn a_connection_is_used_again_after_a_refusal() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let alice = stage.token("alice", &["support"]);
    let length = format!("content-length: {}", PROMPT.len());
    let mut stream = connect(&service).await;
    for _ in 0..10 {
        for (token, path, status) in [
            ("none", "/v1/chat/completions", "401"),
            (&alice, "/v1/unknown", "403"),
            (&alice, "/v1/chat/completions", "200"),
        ] {
            let head = head(token, &length).replace("/v1/chat/completions", path);
            stream.write_all(head.as_bytes()).await.unwrap();
            // The body comes after the refusal.
            sleep(Duration::from_millis(5)).await;
            stream.write_all(PROMPT.as_bytes()).await.unwrap();
            let answer = answer(&mut stream).await;
            assert!(
                answer.starts_with(&format!("http/1.1 {status} ")),
                "{answer}"
            );
            assert!(!answer.contains("connection: close"), "{answer}");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_a_long_body_is_readable_and_closes_the_connection() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let alice = stage.token("alice", &["support"]);
    // More than is kept until it is decided.
    let size = 12 << 20;
    let mut body = br#"{"model":"acme/other","user":""#.to_vec();
    body.resize(size, b'a');
    for (token, status) in [("none", "401"), (&alice, "403")] {
        let mut stream = connect(&service).await;
        let head = head(token, &format!("content-length: {size}"));
        stream.write_all(head.as_bytes()).await.unwrap();
        // As clients do that read nothing before all is sent.
        stream.write_all(&body).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
        let ended = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(ended.expect("closed in time").unwrap(), 0);
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_body_of_unknown_length_or_without_a_continue_closes_the_connection() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    for length in [
        "transfer-encoding: chunked",
        "content-length: 10\r\nexpect: 100-continue",
    ] {
        let mut stream = connect(&service).await;
        let head = head("none", length);
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("http/1.1 401 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        // Nothing more is sent, so the connection is closed after a while.
        let ended = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(ended.expect("closed in time").unwrap(), 0);
    }
    service.stop().await.unwrap();
}
