//! The rows of core's `token.toml` again, each as a request to a guard: what the caller is
//! told, what the record says, and that nothing behind the guard was called.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

#[path = "../../../spanner-core/tests/token/row.rs"]
#[expect(dead_code, reason = "core's own test reads the rest")]
mod row;
#[path = "../../../spanner-core/tests/token/support.rs"]
#[expect(dead_code, reason = "core's own test uses the rest")]
mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use spanner_core::testing::{Fixed, MemorySink, Rules};
use spanner_tower::{Bearer, GuardLayer, Issuer, RequestBody, surface};
use tower::{Layer, ServiceExt, service_fn};

use row::{Row, rows};
use support::TestKeys;

/// What is seen of one request from outside and from inside.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    challenge: Option<String>,
    body: String,
    reason: String,
    calls: usize,
}

async fn send(row: &Row, keys: &TestKeys, token: HeaderValue) -> Seen {
    let named: Vec<_> = row.key_names().iter().map(|name| keys.jwk(name)).collect();
    let issuer = Issuer::oidc("https://id.example.com").alias("corp");
    let issuer = issuer.audience("models").audience("models-too");
    let issuer = issuer.static_jwks(json!({ "keys": named }).to_string());
    let callers = Bearer::builder().issuer(issuer).build().unwrap();
    callers.warm_up(Duration::from_secs(5)).await.unwrap();
    let (sink, host) = (MemorySink::new(), Fixed::at("2027-01-15T08:00:00Z"));
    host.set(row.now());
    let guard = GuardLayer::builder(callers, Rules::allow(|_| true), sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .host(host)
        .build()
        .unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let behind = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::from("served"))))
    });
    let mut request = Request::post("/v1/embeddings")
        .header("content-type", "application/json")
        .body(Full::from(r#"{"model": "acme/sentiment"}"#))
        .unwrap();
    request.headers_mut().insert("authorization", token);
    let response = guard.layer(behind).oneshot(request).await.unwrap();
    let challenge = response.headers().get("www-authenticate").cloned();
    let decision = response.headers().get("spanner-decision").cloned();
    let decision = decision.unwrap().to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let (decisions, outcomes) = (sink.decisions(), sink.outcomes());
    assert_eq!((decisions.len(), outcomes.len()), (1, 1), "{}", row.id);
    Seen {
        status,
        challenge: challenge.map(|value| value.to_str().unwrap().replace(&decision, "ID")),
        body: String::from_utf8(body.to_vec())
            .unwrap()
            .replace(&decision, "ID"),
        reason: decisions[0].reason.clone(),
        calls: calls.load(Ordering::SeqCst),
    }
}

/// Whether the token is one word, so that it is the verifier's business.
fn is_one_word(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_graphic() && b != b',') && token.bytes().any(|b| b != b'.')
}

#[tokio::test]
async fn every_row_gets_the_reply_and_the_record_that_are_due() {
    let keys = TestKeys::read();
    let (mut served, mut refused, mut told, mut uniform) = (0, 0, 0, None);
    for row in rows()
        .iter()
        .filter(|row| row.rules == row::Rules::default())
    {
        let (token, what) = (row.token(&keys), format!("{}: {}", row.id, row.about));
        let Ok(header) = HeaderValue::try_from(format!("Bearer {token}")) else {
            assert!(row.due.is_some(), "{what}");
            continue;
        };
        let seen = send(row, &keys, header).await;
        match &row.due {
            None => {
                assert_eq!((seen.status, seen.calls), (200, 1), "{what}: {seen:?}");
                assert_eq!(
                    (&*seen.reason, &*seen.body),
                    ("granted", "served"),
                    "{what}"
                );
                served += 1;
            }
            Some(_) if !is_one_word(&token) => {
                assert_eq!((seen.status, seen.calls), (400, 0), "{what}: {seen:?}");
                assert_eq!(seen.reason, "auth.malformed", "{what}");
            }
            Some(due) => {
                assert_eq!((seen.status, seen.calls), (401, 0), "{what}: {seen:?}");
                assert_eq!(seen.reason, *due, "{what}");
                let said = (seen.challenge.unwrap(), seen.body);
                let start = "Bearer realm=\"spanner\", error=\"invalid_token\"";
                assert!(said.0.starts_with(start), "{what}: {}", said.0);
                refused += 1;
                match says(due) {
                    Some(says) if said.1.contains(says) => told += 1,
                    // Of no verified signature, or nothing that is told.
                    _ => assert_eq!(uniform.get_or_insert_with(|| said.clone()), &said, "{what}"),
                }
            }
        }
    }
    assert!(
        served >= 10 && refused >= 80 && told >= 10,
        "{served} served, {refused} refused, {told} of them told why"
    );
}

/// What the holder of a genuine token is told that is refused for this.
fn says(due: &str) -> Option<&'static str> {
    Some(match due {
        "token.expired" => "the access token expired at ",
        "token.not_yet_valid" => "it begins at ",
        "token.iat_future" => "which is in the future here",
        "token.lifetime" => "is older, or made to live longer, than is accepted here",
        "token.aud" => "is meant for another audience",
        "token.typ" => "is of another type than an access token",
        "token.groups_overage" => "does not list all groups",
        "token.pop_required" => "is bound to a key or certificate of its holder",
        due if due.starts_with("token.delegation") => "somebody acts for its subject",
        due if due.starts_with("token.claim") || due == "token.missing_claim" => "is genuine, and",
        _ => "is genuine, and",
    })
}
