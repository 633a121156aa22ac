//! The layer in axum, unchanged.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::Request;
use http_body_util::BodyExt;
use spanner_core::testing::MemorySink;
use spanner_tower::Permitted;
use tower::ServiceExt;

use crate::support::layer;

async fn chat(Permitted(access): Permitted, body: String) -> String {
    format!("{} sent {} bytes", access.caller, body.len())
}

fn app(sink: &MemorySink) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(async || "[]"))
        .layer(layer(sink.clone()))
        .route("/late", get(async |_: Permitted| "never"))
}

async fn text(app: Router, request: Request<Body>) -> (u16, String) {
    let response = app.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn guards_a_router_and_tells_the_handler_who_calls() {
    let sink = MemorySink::new();
    let request = |token: &str| {
        Request::post("/v1/chat/completions")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(r#"{"model": "acme/a"}"#))
            .unwrap()
    };
    let answer = text(app(&sink), request("alice")).await;
    assert_eq!(answer, (200, "user:test/alice sent 19 bytes".to_owned()));
    let (status, _) = text(app(&sink), request("mallory")).await;
    assert_eq!(status, 403);
    assert_eq!(sink.decisions().len(), 2);
    assert_eq!(sink.outcomes().len(), 2);
}

#[tokio::test]
async fn a_handler_that_asks_for_permitted_without_a_guard_fails_closed() {
    let request = Request::get("/late").body(Body::empty()).unwrap();
    let (status, text) = text(app(&MemorySink::new()), request).await;
    assert_eq!(status, 500);
    assert!(text.contains("not guarded"), "{text}");
}
