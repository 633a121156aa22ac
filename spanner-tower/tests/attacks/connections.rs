//! Several requests on one connection: nobody inherits another's identity.

use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{PATIENCE, Stage};

/// HTP-19.
#[tokio::test]
async fn a_pipelined_request_without_a_token_is_nobodys() {
    let stage = Stage::start().await;
    let token = stage.token("alice");
    let both = format!(
        "GET /v1/models HTTP/1.1\r\nhost: models.test\r\nauthorization: Bearer {token}\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: models.test\r\nconnection: close\r\n\r\n"
    );
    let mut stream = stage.connect().await;
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut answers = String::new();
    let reading = stream.read_to_string(&mut answers);
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    let statuses: Vec<&str> = answers
        .matches("HTTP/1.1 200")
        .chain(answers.matches("HTTP/1.1 401"))
        .collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 401"], "{answers}");
    assert_eq!(stage.reasons(), ["granted", "auth.missing"]);
    assert_eq!(stage.seen.lock().unwrap().len(), 1);
}

/// HTP-20 and UPS-10: a hundred streams of two people at once.
#[tokio::test]
async fn each_stream_of_a_connection_has_its_own_caller() {
    let stage = Stage::start().await;
    let (alice, bob) = (stage.token("alice"), stage.token("bob"));
    let stream = TokioIo::new(stage.connect().await);
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let calls = (0..100).map(|n| {
        let mut client = client.clone();
        let token = if n % 2 == 0 { &alice } else { &bob };
        let request = Request::get("http://models.test/v1/models")
            .version(Version::HTTP_2)
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        async move {
            let response = client.send_request(request).await.unwrap();
            let decision = response.headers()["spanner-decision"]
                .to_str()
                .unwrap()
                .to_owned();
            response.into_body().collect().await.unwrap();
            (n, decision)
        }
    });
    let calls = futures_util::future::join_all(calls);
    let answers = tokio::time::timeout(PATIENCE, calls).await.unwrap();
    let decisions = stage.sink.decisions();
    for (n, id) in answers {
        let decision = decisions
            .iter()
            .find(|decision| decision.id.to_string() == id)
            .unwrap();
        let caller = decision.caller.as_ref().unwrap();
        let due = if n % 2 == 0 { "alice" } else { "bob" };
        assert_eq!(caller.subject.subject, due, "{n}");
    }
}

/// HTP-37 and HTP-38: whatever is wrong with a token that is not proved genuine, the answer is
/// the same; what a genuine one says of itself, its holder may hear.
#[tokio::test]
async fn a_token_that_is_not_genuine_learns_nothing_from_the_answer() {
    let stage = Stage::start().await;
    let good = stage.token("alice");
    let forge = |token: &str| format!("{}AAAA", token.get(..token.len() - 4).unwrap());
    let expired = stage
        .idp
        .token()
        .sub("alice\"\\\r\nx: y")
        .audience("models")
        .issued_ago(std::time::Duration::from_secs(7200))
        .expires_in(std::time::Duration::from_secs(60))
        .sign();
    let elsewhere = stage.idp.token().sub("alice").audience("other").sign();
    let mut answers = Vec::new();
    let tokens = [
        forge(&good),
        forge(&expired),
        forge(&elsewhere),
        "a.b.c".to_owned(),
        expired,
        elsewhere,
    ];
    for token in tokens {
        let request = format!(
            "GET /v1/models HTTP/1.1\r\nhost: models.test\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let answer = stage.exchange(request.as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        let decision = answer
            .lines()
            .find_map(|line| line.strip_prefix("spanner-decision: "));
        let answer = answer.replace(decision.unwrap(), "ID");
        let constant: Vec<&str> = answer
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect();
        answers.push(constant.join("\n"));
    }
    assert!(answers[0].starts_with("HTTP/1.1 401"), "{}", answers[0]);
    let told = answers.split_off(4);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    for (answer, says) in told
        .iter()
        .zip(["expired at 20", "meant for another audience"])
    {
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains(says), "{answer}");
    }
}
