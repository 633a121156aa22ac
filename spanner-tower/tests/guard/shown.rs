//! Where the official clients of each API look for the reason of a refusal.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use spanner_core::testing::MemorySink;
use spanner_tower::surface::Dialect;
use spanner_tower::{GuardLayer, surface};
use tower::Layer;

use crate::support::{Behind, Book, Names, Reply, send};

/// What a guard of these surfaces answers.
async fn ask(surfaces: &[&str], request: &str, headers: &[(&str, &str)]) -> Reply {
    let mut builder = GuardLayer::builder(Names, Book, MemorySink::new())
        .environment("production".parse().unwrap());
    for name in surfaces {
        builder = builder.surface(surface::named(name).unwrap());
    }
    let guarded = builder.build().unwrap().layer(Behind::serving());
    let (method, target) = request.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = r#"{"model": "acme/secret", "name": "secret", "organization": "acme"}"#;
    let body = Full::<Bytes>::from(body);
    send(&guarded, request.body(body).unwrap()).await
}

const CAROL: (&str, &str) = ("authorization", "Bearer carol");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A surface, a request that is refused, the status, and where the sentence stands: a pointer
/// into the body, a header, or nothing for the body's text.
#[tokio::test]
async fn the_reason_stands_where_clients_look() {
    let chat = "POST /v1/chat/completions";
    let rows: [(&[&str], &str, u16, &str); 22] = [
        (&["openai"], chat, 403, "/error/message"),
        (&["openai"], "POST /v1/nowhere", 403, "/error/message"),
        (&["hf-router"], chat, 403, "/message"),
        (&["hf-router"], chat, 403, "x-error-message"),
        (&["hf-router"], "POST /nowhere/at/all", 403, "/message"),
        (&["tgi"], chat, 403, "/message"),
        (&["tgi"], "POST /nowhere", 403, "/error"),
        (&["triton"], "GET /v2/models/m/nowhere", 403, "/error"),
        (&["openai", "oip"], "GET /v2/nowhere", 403, "/error"),
        (&["openai", "oip"], "GET /v1/nowhere", 403, "/error/message"),
        // Whose client asks is seen by the path, whatever is served.
        (&["openai"], "GET /v2/models/m/ready", 403, "/error"),
        (&["openai"], "POST /v1/messages", 403, "/error/message"),
        (&["openai"], "POST /api/embed", 403, "/error"),
        (&["ollama"], "POST /v2/chat", 403, "/message"),
        (
            &["anthropic"],
            "GET /somewhere/at/all",
            403,
            "/error/message",
        ),
        (&["ollama"], "POST /api/nowhere", 403, "/error"),
        (&["ollama"], "POST /v1/nowhere", 403, "/error/message"),
        (&["anthropic"], "POST /v1/nowhere", 403, "/error/message"),
        (&["bedrock-runtime"], "POST /nowhere", 403, "/message"),
        (
            &["hf-hub"],
            "GET /api/nowhere/at/all",
            403,
            "x-error-message",
        ),
        (
            &["hf-hub"],
            "POST /api/repos/create",
            404,
            "x-error-message",
        ),
        (&["git-http"], "GET /acme/secret/nowhere/at/all", 403, ""),
    ];
    for (surfaces, request, status, place) in rows {
        let reply = ask(surfaces, request, &[CAROL, JSON]).await;
        let is = format!("{surfaces:?} {request}: {:?} {}", reply.parts, reply.text());
        assert_eq!(reply.parts.status, status, "{is}");
        let text = match place {
            "" => reply.text().to_owned(),
            pointer if pointer.starts_with('/') => {
                let body: Value = serde_json::from_slice(&reply.body).unwrap();
                let text = body.pointer(pointer).and_then(Value::as_str);
                text.unwrap_or_else(|| panic!("{is}")).to_owned()
            }
            header => reply
                .header(header)
                .unwrap_or_else(|| panic!("{is}"))
                .to_owned(),
        };
        let says = ["may not", "not part of any model API"];
        assert!(says.iter().any(|words| text.contains(words)), "{is}");
    }
}

#[tokio::test]
async fn the_hub_is_told_of_what_it_shows_in_answers_to_head() {
    let path = "/acme/secret/resolve/main/config.json";
    let rows = [
        (format!("HEAD {path}"), 403, Some("GatedRepo")),
        (format!("GET {path}"), 403, Some("GatedRepo")),
        (
            "HEAD /api/nowhere/at/all".to_owned(),
            403,
            Some("GatedRepo"),
        ),
        ("GET /api/nowhere/at/all".to_owned(), 403, None),
        ("POST /api/repos/create".to_owned(), 404, None),
    ];
    for (request, status, code) in rows {
        let reply = ask(&["hf-hub"], &request, &[CAROL, JSON]).await;
        assert_eq!(reply.parts.status, status, "{request}");
        assert_eq!(reply.header("x-error-code"), code, "{request}");
        assert!(reply.header("x-error-message").is_some(), "{request}");
    }
}

#[test]
fn a_server_that_is_down_is_named_in_answers_to_head_too() {
    let text = "the model's server cannot be reached";
    for (method, code) in [(Method::HEAD, Some("GatedRepo")), (Method::GET, None)] {
        let status = StatusCode::BAD_GATEWAY;
        let answer = Dialect::HuggingFace.failure_to(&method, status, "unreachable", text);
        let header = |name| answer.headers().get(name).map(|it| it.to_str().unwrap());
        assert_eq!(answer.status(), status);
        assert_eq!(header("x-error-code"), code, "{method}");
        assert_eq!(header("x-error-message"), Some(text), "{method}");
    }
}

/// To a 401 git asks its user for a name, and shows no reason.
#[tokio::test]
async fn git_is_asked_for_credentials_only_where_that_helps() {
    let fetch = "GET /acme/secret/info/refs?service=git-upload-pack";
    let forged = "Bearer forged";
    // user:forged
    let basic = "Basic dXNlcjpmb3JnZWQ=";
    for (credential, status) in [(None, 401), (Some(basic), 401), (Some(forged), 403)] {
        let headers = credential.map(|text| ("authorization", text));
        let headers: Vec<_> = headers.into_iter().collect();
        let reply = ask(&["git-http"], fetch, &headers).await;
        assert_eq!(reply.parts.status, status, "{credential:?}");
        assert_eq!(reply.header("spanner-fault"), Some("credential"));
        let media = reply.header("content-type").unwrap();
        assert!(media.starts_with("text/plain"), "{media}");
        assert!(!reply.text().is_empty());
    }
}
