//! A front door that is no tower service: it asks the guard, and a gateway forwards.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use spanner_core::Action;
use spanner_core::record::{Enforcement, OutcomeClass};
use spanner_core::testing::MemorySink;
use spanner_tower::{CheckBody, Exhausted, Guard, GuardLayer, Limits, surface};

use crate::support::{Book, Names};

/// What the gateway is told to do.
#[derive(Debug)]
enum Told {
    /// Forward the request with these headers.
    Forward(HeaderMap),
    /// Send this to the caller.
    Reply(Response<Bytes>),
}

/// The whole adapter.
async fn ask(guard: &Guard, request: Request<CheckBody>) -> Told {
    let mut headers = request.headers().clone();
    let admission = match guard.check(request).await {
        Ok(admission) => admission,
        Err(reply) => return Told::Reply(reply.into_response()),
    };
    let changes = admission.header_changes(&headers);
    for name in changes.remove {
        headers.remove(name);
    }
    for (name, value) in changes.set {
        headers.insert(name, value);
    }
    drop(admission.into_settlement());
    Told::Forward(headers)
}

fn guard(sink: &MemorySink) -> Guard {
    let mut limits = Limits::default();
    (limits.body, limits.hold) = (1024, 1024);
    GuardLayer::builder(Names, Book, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .surface(surface::open_inference())
        .limits(limits)
        .danger()
        .exempt("GET /healthz")
        .websockets()
        .build()
        .unwrap()
        .guard()
        .external()
}

fn chat(who: &str, body: CheckBody) -> Request<CheckBody> {
    Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {who}"))
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

fn naming(model: &str) -> CheckBody {
    CheckBody::whole(format!(r#"{{"model": "{model}", "messages": []}}"#))
}

#[tokio::test]
async fn admits_with_the_headers_that_the_gateway_must_change() {
    let sink = MemorySink::new();
    let mut request = chat("alice", naming("acme/a"));
    for (name, value) in [
        ("spanner-subject", "user:test/root"),
        ("x-spanner-kind", "admin"),
        ("x-api-key", "secret"),
        ("x-original-url", "/admin"),
        ("x-kept", "1"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let Told::Forward(headers) = ask(&guard(&sink), request).await else {
        panic!("alice may");
    };
    let decision = sink.decisions().pop().unwrap();
    let due = [
        ("content-type", "application/json"),
        ("spanner-decision", &decision.id.to_string()),
        ("spanner-kind", "user"),
        ("spanner-subject", "user:test/alice"),
        ("x-kept", "1"),
    ];
    let mut found: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, due);
    assert_eq!(decision.enforcement, Enforcement::External);
    assert_eq!(decision.target[0].action, Action::Generate);
    assert!(sink.outcomes().is_empty());
}

#[tokio::test]
async fn refuses_with_the_reply_that_the_gateway_must_send() {
    let large = format!(
        r#"{{"messages": "{}", "model": "acme/a"}}"#,
        "x".repeat(4096)
    );
    let contradictory = format!(
        r#"{{"model": "acme/a", "messages": "{}", "model": "other/b"}}"#,
        "x".repeat(4096)
    );
    let beginning = r#"{"model": "acme/a", "messages": ["#;
    let mut busy = chat("alice", naming("acme/a"));
    let exhausted = Exhausted(spanner_core::Share::Connection);
    busy.extensions_mut().insert(exhausted);
    let socket = Request::get("/v1/realtime?model=acme/a")
        .header("authorization", "Bearer alice")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(CheckBody::unseen());
    let rows = [
        (
            "other model",
            chat("alice", naming("other/b")),
            403,
            "authz.no_permit",
        ),
        (
            "nobody",
            chat("forged", naming("acme/a")),
            401,
            "token.bad_signature",
        ),
        ("unknown route", put("/v1/nothing"), 403, "route.unmapped"),
        ("two readings", put("/v1//models"), 400, "request.bad_path"),
        (
            "cut",
            chat("alice", CheckBody::cut(beginning)),
            413,
            "request.cut",
        ),
        (
            "cut at its end",
            chat("alice", cut_at_its_end()),
            413,
            "request.cut",
        ),
        (
            "unseen",
            chat("alice", CheckBody::unseen()),
            413,
            "request.cut",
        ),
        ("no room", busy, 429, "share.connection"),
        ("a socket", socket.unwrap(), 403, "request.opaque"),
        (
            "late name",
            chat("alice", CheckBody::whole(large)),
            413,
            "request.too_large",
        ),
    ];
    for (what, request, status, reason) in rows {
        let sink = MemorySink::new();
        let Told::Reply(response) = ask(&guard(&sink), request).await else {
            panic!("{what} is admitted");
        };
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(response.headers()["spanner-origin"], "guard");
        let decision = sink.decisions().pop().unwrap();
        assert_eq!(decision.reason, reason, "{what}");
        let id = &response.headers()["spanner-decision"];
        assert_eq!(*id, decision.id.to_string());
        assert!(sink.outcomes().is_empty(), "{what}");
    }
    // What was allowed by its beginning is refused by its end, and the record says so.
    let sink = MemorySink::new();
    let request = chat("alice", CheckBody::whole(contradictory));
    let Told::Reply(response) = ask(&guard(&sink), request).await else {
        panic!("the body contradicts itself");
    };
    assert_eq!(response.status(), 400);
    let outcome = sink.outcomes().pop().unwrap();
    assert_eq!(outcome.class, OutcomeClass::Refused);
    assert_eq!(outcome.reason.as_deref(), Some("request.duplicate_member"));
    assert_eq!(sink.decisions()[0].id, outcome.id);
}

/// A whole document of which the gateway does not know that it is whole.
fn cut_at_its_end() -> CheckBody {
    CheckBody::cut(r#"{"model": "acme/a", "messages": []}"#)
}

fn put(path: &str) -> Request<CheckBody> {
    let request = Request::put(path).header("authorization", "Bearer alice");
    request.body(CheckBody::unseen()).unwrap()
}

#[tokio::test]
async fn decides_by_the_head_alone_where_the_body_names_nothing() {
    for (method, path) in [("GET", "/v1/models/acme/a"), ("GET", "/healthz")] {
        let sink = MemorySink::new();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "Bearer alice")
            .body(CheckBody::unseen())
            .unwrap();
        let told = ask(&guard(&sink), request).await;
        assert!(matches!(told, Told::Forward(_)), "{path}: {told:?}");
    }
}

#[tokio::test]
async fn answers_grpc_in_grpc() {
    // A protobuf message whose field 1 is the model's name (`ModelInferRequest`).
    let message = |model: &str| {
        let mut message = vec![0x0a, u8::try_from(model.len()).unwrap()];
        message.extend_from_slice(model.as_bytes());
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat()
    };
    let call = |who: &str, body: CheckBody| {
        Request::post("/inference.GRPCInferenceService/ModelInfer")
            .header("authorization", format!("Bearer {who}"))
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap()
    };
    let sink = MemorySink::new();
    let guard = guard(&sink);
    let allowed = call("alice", CheckBody::whole(message("acme")));
    assert!(matches!(ask(&guard, allowed).await, Told::Forward(_)));
    let twice = [message("acme"), message("acme")].concat();
    for (request, code) in [
        (call("alice", CheckBody::whole(message("other"))), "7"),
        (call("forged", CheckBody::whole(message("acme"))), "16"),
        (call("alice", CheckBody::cut(message("acme"))), "8"),
        (call("alice", CheckBody::whole(twice)), "3"),
    ] {
        let reply = guard.check(request).await.unwrap_err();
        assert!(reply.is_grpc());
        let response = reply.into_response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], code);
        assert!(response.body().is_empty());
    }
}

#[tokio::test]
async fn a_report_of_the_gateway_becomes_the_outcome() {
    let sink = MemorySink::new();
    let request = chat("alice", naming("acme/a"));
    let admission = guard(&sink).check(request).await.unwrap();
    let decision = admission.access().unwrap().decision;
    let mut settlement = admission.into_settlement();
    settlement.head(503);
    settlement.finish();
    drop(settlement);
    let outcome = sink.outcomes().pop().unwrap();
    assert_eq!(outcome.id, decision);
    assert_eq!(outcome.class, OutcomeClass::ModelFailed);
}
