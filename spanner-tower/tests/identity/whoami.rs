//! Hugging Face's own tokens.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use spanner_core::Freshness;
use spanner_tower::bearer::IssuerProblem;
use spanner_tower::{Authenticate, Bearer, Issuer};
use tokio::net::TcpListener;

use crate::{now, send};

const TOKEN: &str = "hf_0123456789abcdefABCDEF";

/// As Hugging Face answers: the holder, a fine-grained token, one organization.
fn alice() -> Value {
    json!({
        "type": "user", "id": "61c1a9d0", "name": "alice", "fullname": "Alice", "isPro": false,
        "orgs": [
            {"type": "org", "id": "5e67bd5b", "name": "acme", "fullname": "Acme AI", "roleInOrg": "contributor",
             "resourceGroups": [{"id": "66670e51", "name": "llm-team", "role": "write"}]},
            {"type": "org", "id": "5e67bd5c", "name": "beta", "roleInOrg": "admin"},
        ],
        "auth": {"type": "access_token", "accessToken": {
            "displayName": "ci", "role": "fineGrained", "createdAt": "2026-11-20T00:00:00.000Z",
            "fineGrained": {"canReadGatedRepos": true, "global": [], "scoped": []},
        }},
    })
}

async fn server(status: u16, body: Value) -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let status = StatusCode::from_u16(status).unwrap();
    let answer = async move |headers: HeaderMap| {
        let credentials = headers["authorization"].to_str().unwrap().to_owned();
        log.lock().unwrap().push(credentials);
        (status, axum::Json(body))
    };
    let app = Router::new().route("/api/whoami-v2", get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/whoami-v2", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

fn bearer(url: &str, organizations: &[&str]) -> Bearer {
    let issuer = Issuer::hugging_face_tokens_at(url, organizations.to_vec());
    let issuer = issuer.alias("hf").danger_allow_http_loopback();
    Bearer::builder().issuer(issuer).build().unwrap()
}

#[tokio::test]
async fn the_holder_is_who_hugging_face_says_in_the_listed_organizations() {
    let (url, seen) = server(200, alice()).await;
    let bearer = bearer(&url, &["acme"]);
    let request = http::Request::builder().header("authorization", format!("Bearer {TOKEN}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let caller = bearer.authenticate(&mut parts, now()).await.unwrap().caller;
    assert_eq!(caller.to_string(), "user:hf/61c1a9d0");
    let subject = caller.subject();
    let groups: Vec<_> = subject.groups.iter().map(|it| it.name.as_str()).collect();
    let roles: Vec<_> = subject.roles.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(groups, ["org:acme"]);
    assert_eq!(roles, ["acme:contributor", "acme/llm-team:write"]);
    assert_eq!(caller.scopes(), ["hf:fineGrained"]);
    let issued = caller.credential().issued_at.unwrap();
    assert_eq!(issued.to_string(), "2026-11-20T00:00:00Z");
    assert_eq!(caller.credential().freshness, Freshness::Fresh);
    assert_eq!(*seen.lock().unwrap(), [format!("Bearer {TOKEN}")]);
}

#[tokio::test]
async fn every_answer_gets_its_due() {
    let with = |change: fn(&mut Value)| {
        let mut said = alice();
        change(&mut said);
        said
    };
    let acme = &["acme"][..];
    for (status, body, organizations, due) in [
        (200, alice(), acme, "user:hf/61c1a9d0"),
        (200, alice(), &["other"][..], "token.inactive"),
        (
            200,
            with(|it| it["orgs"] = json!([])),
            acme,
            "token.inactive",
        ),
        (
            200,
            with(|it| it["orgs"] = json!("acme")),
            acme,
            "token.inactive",
        ),
        // The organization demands a sign-on that the person has not completed.
        (
            200,
            with(|it| it["orgs"][0]["securityRestrictions"] = json!(["sso"])),
            acme,
            "token.inactive",
        ),
        (
            200,
            with(|it| it["orgs"][0]["securityRestrictions"] = json!([])),
            acme,
            "user:hf/61c1a9d0",
        ),
        // A person who calls themselves like the organization.
        (
            200,
            with(|it| {
                it["name"] = json!("acme");
                it["orgs"] = json!([]);
            }),
            acme,
            "token.inactive",
        ),
        (
            200,
            with(|it| {
                it["type"] = json!("org");
                it["name"] = json!("acme");
                it["orgs"] = json!(null);
            }),
            acme,
            "token.inactive",
        ),
        (
            200,
            json!({"type": "org", "id": "5e67bd5b", "name": "acme", "auth": alice()["auth"]}),
            acme,
            "service:hf/5e67bd5b",
        ),
        (
            200,
            with(|it| it["type"] = json!("app")),
            acme,
            "unclassified:hf/61c1a9d0",
        ),
        (
            200,
            with(|it| it["id"] = json!(7)),
            acme,
            "token.claim_type",
        ),
        // A token that is older than a month, or of unknown age, must be replaced.
        (
            200,
            with(|it| it["auth"]["accessToken"]["createdAt"] = json!("2026-10-01T00:00:00.000Z")),
            acme,
            "token.lifetime",
        ),
        (
            200,
            with(|it| it["auth"]["accessToken"]["createdAt"] = json!("long ago")),
            acme,
            "token.missing_claim",
        ),
        (
            200,
            with(|it| it["iat"] = json!(now().as_second())),
            acme,
            "user:hf/61c1a9d0",
        ),
        (200, json!([]), acme, "introspection.unavailable"),
        (
            401,
            json!({"error": "Invalid username or password."}),
            acme,
            "token.inactive",
        ),
        (403, json!({}), acme, "token.inactive"),
        (429, json!({}), acme, "introspection.unavailable"),
        (500, json!({}), acme, "introspection.unavailable"),
    ] {
        let (url, _) = server(status, body.clone()).await;
        let found = send(&bearer(&url, organizations), TOKEN, now()).await;
        assert_eq!(found, due, "{status} {body}");
    }
}

#[tokio::test]
async fn other_tokens_are_not_shown_to_hugging_face() {
    let (url, seen) = server(200, alice()).await;
    let bearer = bearer(&url, &["acme"]);
    for (token, due) in [
        ("hg_0123456789abcdefABCDEF", "token.malformed"),
        ("e30.e30.e30", "token.malformed"),
        ("hf_short", "token.malformed"),
    ] {
        assert_eq!(send(&bearer, token, now()).await, due, "{token}");
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[test]
fn nobody_is_let_in_by_default() {
    let none: [&str; 0] = [];
    let built = Bearer::builder()
        .issuer(Issuer::hugging_face_tokens(none))
        .build();
    let problems = built.map(|_| ()).unwrap_err().problems().to_vec();
    assert!(matches!(
        problems.as_slice(),
        [IssuerProblem::NoOrganization { .. }]
    ));
    let text = "[providers.hf]\npreset = \"hugging_face_whoami\"\norganizations = \"acme\"";
    assert!(
        Bearer::builder()
            .issuers(Issuer::from_toml(text).unwrap())
            .build()
            .is_ok()
    );
}
