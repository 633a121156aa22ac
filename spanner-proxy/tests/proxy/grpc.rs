//! gRPC over HTTP/2 without TLS, to its trailers.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use spanner_proxy::Service;

use crate::support::{Reply, Stage, serve, whole};

/// A message with `model_name`, framed.
fn infer(model: &str) -> Bytes {
    let mut message = vec![0x0A, u8::try_from(model.len()).unwrap()];
    message.extend(model.as_bytes());
    let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    framed.extend(message);
    framed.into()
}

/// Answers with the message and a status in trailers, over HTTP/2 only.
async fn inference(request: axum::extract::Request) -> axum::response::Response {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["te"], "trailers");
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-path", path.parse().unwrap());
    trailers.insert("spanner-fault", HeaderValue::from_static("permission"));
    let frames = [Frame::data(body), Frame::trailers(trailers)].map(Ok::<_, axum::Error>);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

async fn call(service: &Service, token: &str, model: &str) -> Reply {
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let request = Request::post(format!("http://{}{path}", service.address()))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(infer(model)))
        .unwrap();
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    whole(client.request(request).await.unwrap()).await
}

fn lines(url: &str) -> String {
    format!("[[upstream]]\nsurface = \"open-inference\"\nurl = \"{url}\"\n")
}

#[tokio::test]
async fn a_call_is_forwarded_with_its_trailers() {
    let stage = Stage::set().await;
    let url = serve(Router::new().fallback(inference)).await;
    let service = stage.serve(&lines(&url)).await;
    let token = stage.token("alice", &["support"]);
    let reply = call(&service, &token, "acme/sentiment").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body.as_bytes(), infer("acme/sentiment"));
    assert_eq!(reply.trailers["grpc-status"], "0");
    let path = "/inference.GRPCInferenceService/ModelInfer";
    assert_eq!(reply.trailers["x-path"], path);
    assert!(!reply.trailers.contains_key("spanner-fault"));

    let refused = call(&service, &token, "acme/other").await;
    assert_eq!(refused.header("grpc-status"), "7");
    assert_eq!(refused.header("spanner-fault"), "permission");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let stage = Stage::set().await;
    let service = stage.serve(&lines("http://127.0.0.1:9")).await;
    let token = stage.token("alice", &["support"]);
    let reply = call(&service, &token, "acme/sentiment").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("grpc-status"), "14");
    assert_eq!(reply.header("spanner-fault"), "model");
    assert_eq!(reply.header("spanner-origin"), "");
    service.stop().await.unwrap();
}

/// Answers with a message and then with the status of a bad credential, or with it at once.
async fn rejecting(request: axum::extract::Request) -> axum::response::Response {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut rejection = HeaderMap::new();
    rejection.insert("grpc-status", HeaderValue::from_static("16"));
    rejection.insert("grpc-message", HeaderValue::from_static("bad token"));
    rejection.insert("www-authenticate", HeaderValue::from_static("Bearer"));
    let at_once = !body.ends_with(b"late");
    let frames = match at_once {
        true => Vec::new(),
        false => vec![Frame::data(body), Frame::trailers(rejection.clone())],
    };
    let frames = frames.into_iter().map(Ok::<_, axum::Error>);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let mut response = http::Response::new(body);
    response.headers_mut().extend(match at_once {
        true => rejection,
        false => HeaderMap::new(),
    });
    let media_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", media_type);
    response
}

#[tokio::test]
async fn a_rejection_of_the_proxys_credential_is_not_the_callers() {
    let stage = Stage::set().await;
    let manifest = crate::support::MANIFEST.replace("acme/sentiment", "acme/late");
    stage.write("access/models/acme/late.toml", &manifest);
    let url = serve(Router::new().fallback(rejecting)).await;
    let service = stage.serve(&lines(&url)).await;
    let token = stage.token("alice", &["support"]);
    for model in ["acme/sentiment", "acme/late"] {
        let reply = call(&service, &token, model).await;
        let said = match model {
            "acme/late" => &reply.trailers,
            _ => &reply.headers,
        };
        assert_eq!(said["grpc-status"], "14", "{model}");
        let message = said["grpc-message"].to_str().unwrap();
        assert!(message.contains("operator"), "{model}: {message}");
        assert_eq!(said["spanner-fault"], "model", "{model}");
        assert!(!said.contains_key("www-authenticate"), "{model}");
    }
    service.stop().await.unwrap();
    for row in stage.rows() {
        let outcome = row.outcome.unwrap();
        assert_eq!(
            outcome.class,
            spanner_core::record::OutcomeClass::ModelFailed
        );
        assert_eq!(outcome.grpc_status, Some(14));
    }
}
