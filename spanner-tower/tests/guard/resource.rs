//! Protected resource metadata: one document, whoever asks and whatever they say.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use spanner_core::Count;
use spanner_core::testing::MemorySink;
use spanner_tower::{GuardBuilder, GuardLayer, Problem, ProtectedResource, surface};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::Layer;

use crate::support::{Behind, Book, Guarded, Names, Reply, send};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

fn builder(sink: &MemorySink) -> GuardBuilder {
    GuardLayer::builder(Names, Book, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
}

fn resource(at: &str) -> ProtectedResource {
    ProtectedResource::new(at).authorization_server("https://id.example.com/realms/corp")
}

/// A guard that publishes this resource, and its sink and the service behind.
fn publishing(resource: ProtectedResource) -> (Guarded, MemorySink, Behind) {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    let layer = builder(&sink).protected_resource(resource).build().unwrap();
    (layer.layer(behind.clone()), sink, behind)
}

fn request(method: &str, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    request.body(Full::default()).unwrap()
}

fn document(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn says_what_was_configured_and_nothing_that_the_request_says() {
    let (guarded, sink, behind) = publishing(
        resource("https://models.example.com")
            .scope("models.infer")
            .scope("models.read")
            .name("Models")
            .documentation("https://docs.example.com/models")
            .dpop_signing_algorithm("ES256")
            .dpop_bound_access_tokens_required()
            .tls_client_certificate_bound_access_tokens(),
    );
    let mut ask = request("GET", WELL_KNOWN);
    for (name, value) in [
        ("host", "evil.example.com"),
        ("x-forwarded-host", "evil.example.com"),
        ("forwarded", "host=evil.example.com"),
        ("x-forwarded-prefix", "/evil"),
        ("authorization", "Bearer forged"),
    ] {
        ask.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = send(&guarded, ask).await;
    assert_eq!(reply.parts.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=3600"));
    assert_eq!(reply.header("spanner-origin"), Some("guard"));
    assert_eq!(reply.header("spanner-decision"), None);
    assert_eq!(
        document(&reply),
        json!({
            "resource": "https://models.example.com",
            "authorization_servers": ["https://id.example.com/realms/corp"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["models.infer", "models.read"],
            "resource_name": "Models",
            "resource_documentation": "https://docs.example.com/models",
            "dpop_signing_alg_values_supported": ["ES256"],
            "dpop_bound_access_tokens_required": true,
            "tls_client_certificate_bound_access_tokens": true,
        })
    );
    assert_eq!(sink.counts(), [Count::Public]);
    assert!(sink.decisions().is_empty() && sink.outcomes().is_empty());
    assert!(behind.seen().is_empty());
}

#[tokio::test]
async fn leaves_out_what_was_not_said() {
    let (guarded, ..) = publishing(resource("https://models.example.com/"));
    let reply = send(&guarded, request("GET", WELL_KNOWN)).await;
    assert_eq!(
        document(&reply),
        json!({
            "resource": "https://models.example.com/",
            "authorization_servers": ["https://id.example.com/realms/corp"],
            "bearer_methods_supported": ["header"],
        })
    );
}

#[tokio::test]
async fn is_where_clients_look_and_where_challenges_say() {
    let whole = "https://models.example.com:8443/team/v1";
    let suffixed = format!("{WELL_KNOWN}/team/v1");
    // The resource, a path, and whether the document is there.
    let rows = [
        ("https://models.example.com", WELL_KNOWN, true),
        ("https://models.example.com/", WELL_KNOWN, true),
        (
            "https://models.example.com",
            "/.well-known/oauth-protected-resource?x=1",
            true,
        ),
        ("https://models.example.com", &suffixed, false),
        (
            "https://models.example.com",
            "/.well-known/oauth-protected-resource/",
            false,
        ),
        (
            "https://models.example.com",
            "/.well-known/OAuth-protected-resource",
            false,
        ),
        (whole, &suffixed, true),
        (whole, WELL_KNOWN, true),
        (whole, "/.well-known/oauth-protected-resource/team", false),
        (
            whole,
            "/.well-known/oauth-protected-resource/team/v1/",
            false,
        ),
        (
            whole,
            "/.well-known/oauth-protected-resource/team%2Fv1",
            false,
        ),
    ];
    for (at, path, found) in rows {
        let (guarded, ..) = publishing(resource(at));
        let reply = send(&guarded, request("GET", path)).await;
        assert_eq!(reply.parts.status == 200, found, "{at} {path}");
        if found {
            assert_eq!(document(&reply)["resource"], at);
        }
    }
    let challenge = async |at| {
        let (guarded, ..) = publishing(resource(at));
        let reply = send(&guarded, request("GET", "/v1/models")).await;
        reply.header("www-authenticate").unwrap().to_owned()
    };
    let named = |url| format!("Bearer realm=\"spanner\", resource_metadata=\"{url}\"");
    assert_eq!(
        challenge("https://models.example.com").await,
        named("https://models.example.com/.well-known/oauth-protected-resource")
    );
    assert_eq!(
        challenge(whole).await,
        named("https://models.example.com:8443/.well-known/oauth-protected-resource/team/v1")
    );
}

#[tokio::test]
async fn can_only_be_read() {
    let (guarded, sink, behind) = publishing(resource("https://models.example.com"));
    let length = send(&guarded, request("GET", WELL_KNOWN)).await.body.len();
    let head = send(&guarded, request("HEAD", WELL_KNOWN)).await;
    assert_eq!((head.parts.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(&*length.to_string()));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let reply = send(&guarded, request(method, WELL_KNOWN)).await;
        assert_eq!(reply.parts.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        assert_eq!(reply.header("spanner-fault"), Some("unknown_route"));
    }
    assert_eq!(sink.counts(), [Count::Public; 7]);
    assert!(sink.decisions().is_empty() && behind.seen().is_empty());
}

/// One exchange over loopback with a server of axum's, whose router has no such route.
async fn exchange(method: &str) -> String {
    let layer = builder(&MemorySink::new())
        .protected_resource(resource("https://models.example.com"))
        .build()
        .unwrap();
    let router = Router::new().route("/", get(async || "")).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {WELL_KNOWN} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_string(&mut text));
    read.await.unwrap().unwrap();
    server.abort();
    text
}

#[tokio::test]
async fn is_served_over_http_where_the_service_has_no_such_route() {
    let (head, get) = (exchange("HEAD").await, exchange("GET").await);
    let (fields, document) = get.split_once("\r\n\r\n").unwrap();
    assert!(fields.starts_with("HTTP/1.1 200"), "{fields}");
    assert!(document.ends_with('}'), "{document}");
    let length = format!("content-length: {}\r\n", document.len());
    for fields in [&get, &head] {
        assert_eq!(fields.matches("content-length").count(), 1, "{fields}");
        assert!(fields.contains(&length), "{fields}");
    }
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn is_not_there_where_it_is_not_configured() {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    let guarded = builder(&sink).build().unwrap().layer(behind.clone());
    let reply = send(&guarded, request("GET", WELL_KNOWN)).await;
    assert_eq!(reply.parts.status, 401);
    assert_eq!(sink.decisions()[0].reason, "auth.missing");
    assert!(behind.seen().is_empty());
}

#[test]
fn every_problem_is_told_at_once() {
    let told = |resource: ProtectedResource| -> Vec<String> {
        let built = builder(&MemorySink::new())
            .protected_resource(resource)
            .build();
        let problems = built.err().map(|error| error.problems().to_vec());
        let tell = |problem| match problem {
            Problem::ProtectedResource(text) => text,
            other => other.to_string(),
        };
        problems.unwrap_or_default().into_iter().map(tell).collect()
    };
    for at in [
        "http://models.example.com",
        "models.example.com",
        "https://",
        "https://u:p@models.example.com",
        "https://models.example.com?x=1",
        "https://models.example.com/a#b",
        "https://models.example.com/a//b",
        "https://models.example.com/a/../b",
        "https://models.example.com/a%2Fb",
        "https://models.example.com/a;b",
        "",
    ] {
        assert_eq!(
            told(resource(at)).len(),
            1,
            "{at}: {:?}",
            told(resource(at))
        );
    }
    let problems = told(
        ProtectedResource::new("ftp://x")
            .scope("a b")
            .scope("c")
            .scope("c")
            .documentation("docs")
            .dpop_signing_algorithm("HS256")
            .dpop_signing_algorithm("none"),
    );
    let expected = [
        "the resource \"ftp://x\" is no address: write `https://` and a host, without credentials",
        "no authorization server is given, so nobody learns where to get a token: call `.authorization_server(..)`",
        "the documentation \"docs\" is no address: write `https://` and a host, without credentials",
        "\"a b\" is no scope: write one word, RFC 6749 §3.3",
        "\"HS256\" signs no DPoP proof: use one of ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512, EdDSA",
        "\"none\" signs no DPoP proof: use one of ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512, EdDSA",
        "the scope `c` is given twice",
    ];
    assert_eq!(problems, expected);
    let required = resource("https://x").dpop_bound_access_tokens_required();
    assert!(told(required)[0].contains("no algorithm"));
    let issuer = resource("https://x").authorization_server("https://id.example.com/?tenant=1");
    assert!(told(issuer)[0].contains("has a query or fragment"));
}

#[test]
fn it_is_described_in_one_place() {
    let error = builder(&MemorySink::new())
        .resource_metadata("https://x/.well-known/oauth-protected-resource")
        .protected_resource(resource("https://x"))
        .danger()
        .exempt(format!("GET {WELL_KNOWN}"))
        .build()
        .unwrap_err();
    let exempted = format!("`{WELL_KNOWN}` is exempted as well, and the guard serves it");
    assert_eq!(
        error.problems(),
        [Problem::TwoMetadata, Problem::ProtectedResource(exempted)]
    );
}
