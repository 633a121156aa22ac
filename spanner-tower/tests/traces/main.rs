//! What a trace says, in a process of its own: a span's callsite asks only once whether
//! anybody listens, and other tests do not.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

#[expect(dead_code, reason = "it is for other tests as well")]
#[path = "../guard/support.rs"]
mod support;

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use spanner_core::testing::MemorySink;
use tower::{Layer, ServiceExt};

use crate::support::{Behind, layer};

fn call(token: &str, path: &str, model: &str) -> Request<Full<bytes::Bytes>> {
    let body = format!(r#"{{"model": "{model}", "input": "x"}}"#);
    let mut request = Request::post(path).header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::from(body)).unwrap()
}

/// Where a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_trace_says_what_was_decided_and_nothing_that_a_caller_wrote() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .finish();
    let tracing = tracing::subscriber::set_default(subscriber);
    let reporting = Behind::new(|| {
        let usage = r#"{"model": "acme/a", "usage": {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 4}}}"#;
        let response = Response::builder().header("content-type", "application/json");
        response.body(Full::from(usage)).unwrap()
    });
    let service = layer(MemorySink::new()).layer(reporting);
    for (token, path, model) in [
        ("alice", "/v1/embeddings?canary=1", "acme/a"),
        ("forged", "/v1/embeddings", "acme/canary"),
        ("canary", "/v1/canary", "acme/canary"),
    ] {
        let reply = service.clone().oneshot(call(token, path, model)).await;
        // The span ends with the answer.
        let body = reply.unwrap().into_body().collect().await;
        drop(body.unwrap());
    }
    drop(tracing);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let closed: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(": close"))
        .collect();
    let [served, forged, lost] = &*closed else {
        panic!("three spans in {text}");
    };
    for (line, parts) in [
        (
            served,
            &[
                "surface=\"openai\"",
                "route=\"/v1/embeddings\"",
                "otel.name=\"/v1/embeddings\"",
                "effect=\"allow\"",
                "reason=\"granted\"",
                "http.response.status_code=200",
                "gen_ai.operation.name=\"embeddings\"",
                "gen_ai.request.model=acme/a",
                "gen_ai.response.model=\"acme/a\"",
                "gen_ai.usage.input_tokens=3",
                "gen_ai.usage.output_tokens=5",
                "gen_ai.usage.cache_read.input_tokens=2",
                "gen_ai.usage.reasoning.output_tokens=4",
            ][..],
        ),
        (
            forged,
            &[
                "surface=\"openai\"",
                "route=\"/v1/embeddings\"",
                "effect=\"deny\"",
                "reason=\"token.bad_signature\"",
                "error.type=\"token.bad_signature\"",
                "http.response.status_code=401",
            ],
        ),
        (
            lost,
            &[
                "guard{",
                "effect=\"deny\"",
                "reason=\"route.unmapped\"",
                "decision=",
            ],
        ),
    ] {
        for part in parts {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    assert!(!text.contains("canary"), "{text}");
}
