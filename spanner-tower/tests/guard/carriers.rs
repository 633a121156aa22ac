//! Tokens in the places where APIs carry them, on routes that nobody knows; and identifiers in
//! the places where their clients look for them.

use http::Request;
use http_body_util::Full;
use spanner_core::testing::MemorySink;
use spanner_tower::{GuardLayer, surface};
use tower::Layer;

use crate::support::{Behind, Book, Guarded, Names, Reply, send};

fn guarded(surfaces: &[&str], sink: &MemorySink) -> Guarded {
    let mut guard =
        GuardLayer::builder(Names, Book, sink.clone()).environment("production".parse().unwrap());
    for name in surfaces {
        guard = guard.surface(surface::named(name).unwrap());
    }
    guard.build().unwrap().layer(Behind::serving())
}

async fn sent(surface: &str, target: &str, headers: &[(&str, &str)]) -> (Reply, MemorySink) {
    let sink = MemorySink::new();
    let mut request = Request::post(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).unwrap();
    (send(&guarded(&[surface], &sink), request).await, sink)
}

#[tokio::test]
async fn an_unknown_route_is_attributed_whatever_carries_the_token() {
    const PROTOCOL: &str = "realtime, openai-insecure-api-key.alice";
    let bearer = ("authorization", "Bearer alice");
    for (surface, headers) in [
        ("azure-openai", &[("api-key", "alice")][..]),
        ("azure-openai", &[bearer]),
        ("azure-openai", &[("api-key", "alice"), bearer]),
        ("anthropic", &[("x-api-key", "alice")]),
        ("gemini", &[("x-goog-api-key", "alice")]),
        ("vertex-ai", &[("x-goog-api-key", "alice")]),
        ("git-http", &[("authorization", "Basic dTphbGljZQ==")]),
        ("openai", &[("sec-websocket-protocol", PROTOCOL)]),
        ("vllm", &[("x-api-key", "alice")]),
        // No carrier of this API, and there is nobody to say so on a route that nobody knows.
        ("openai", &[("api-key", "alice")]),
        // Something else that an `Authorization` stands beside.
        ("openai", &[("x-api-key", "of-another-gateway"), bearer]),
    ] {
        let (reply, sink) = sent(surface, "/nobody/knows/this", headers).await;
        assert_eq!(reply.parts.status, 403, "{surface} {headers:?}");
        assert_eq!(reply.header("spanner-fault"), Some("unknown_route"));
        let decision = &sink.decisions()[0];
        assert_eq!(decision.reason, "route.unmapped");
        let caller = decision.caller.as_ref().unwrap();
        assert_eq!(caller.subject.subject, "alice", "{surface} {headers:?}");
    }
    for (headers, status) in [
        (&[][..], 401),
        (&[("api-key", "forged")], 401),
        (&[("api-key", "alice"), ("x-api-key", "bob")], 400),
    ] {
        let (reply, _) = sent("azure-openai", "/nobody/knows/this", headers).await;
        assert_eq!(reply.parts.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn the_identifier_stands_where_the_apis_clients_look() {
    for (surface, target, names) in [
        ("openai", "/v1/chat/completions", &["x-request-id"][..]),
        ("anthropic", "/v1/messages", &["x-request-id", "request-id"]),
        (
            "azure-openai",
            "/openai/deployments/d/chat/completions?api-version=1",
            &["x-request-id", "apim-request-id", "x-ms-request-id"],
        ),
        (
            "bedrock-runtime",
            "/model/acme.m/converse",
            &["x-request-id", "x-amzn-requestid"],
        ),
    ] {
        let (reply, sink) = sent(surface, target, &[]).await;
        assert_eq!(reply.parts.status, 401, "{surface}");
        let id = sink.decisions()[0].id.to_string();
        for name in names.iter().chain(&["spanner-decision"]) {
            assert_eq!(reply.header(name), Some(&*id), "{surface} {name}");
        }
        assert!(reply.text().contains(&id), "{surface}: {}", reply.text());
        let other = ["request-id", "apim-request-id", "x-amzn-requestid"];
        for name in other.iter().filter(|name| !names.contains(name)) {
            assert_eq!(reply.header(name), None, "{surface} {name}");
        }
    }
}

#[tokio::test]
async fn a_grpc_message_names_the_decision() {
    let sink = MemorySink::new();
    let request = Request::post("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("authorization", "Bearer forged")
        .body(Full::default())
        .unwrap();
    let reply = send(&guarded(&["oip-grpc"], &sink), request).await;
    let id = sink.decisions()[0].id.to_string();
    assert_eq!(reply.header("grpc-status"), Some("16"));
    assert!(reply.header("grpc-message").unwrap().contains(&id));
    assert_eq!(reply.header("x-request-id"), Some(&*id));
}
