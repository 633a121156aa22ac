//! What the record says of a credential that was refused: whose it is, if that is known, and
//! how to find it; never how to use it.

use http::Request;
use serde_json::{Value, json};
use spanner_core::testing::{Fixed, MemorySink, Rules};
use spanner_tower::bearer::Revocation;
use spanner_tower::mock_idp::MockHolder;
use spanner_tower::{Bearer, GuardLayer, RequestBody, surface};
use tower::{Layer, ServiceExt, service_fn};

use crate::{idp, now, token};

type Body = http_body_util::Full<bytes::Bytes>;

/// The decision about one call.
async fn decision(bearer: &Bearer, authorization: Option<&str>) -> Value {
    let sink = MemorySink::new();
    let rules = Rules::allow(|question| question.party.principal.subject.as_str() == "alice");
    let guard = GuardLayer::builder(bearer.clone(), rules, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .host(Fixed::at(crate::NOW))
        .build()
        .unwrap();
    let service = guard.layer(service_fn(|_: Request<RequestBody<Body>>| {
        let response = http::Response::new(Body::from("served"));
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    }));
    let mut request = Request::post("/v1/embeddings").header("content-type", "application/json");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let body = Body::from(r#"{"model": "acme/sentiment", "input": "hello"}"#);
    drop(service.oneshot(request.body(body).unwrap()).await.unwrap());
    let decisions = sink.decisions();
    assert_eq!(decisions.len(), 1);
    serde_json::to_value(&decisions[0]).unwrap()
}

#[tokio::test]
async fn a_refused_credential_is_recorded_as_far_as_it_is_known() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    let of = |subject: &str, id: &str| token(&idp).sub(subject).claim("jti", id);
    let revoked = of("alice", "t-1").claim("client_id", "app").sign();
    let bound = of("bob", "t-2").bound_to(&MockHolder::new()).sign();
    let good = of("alice", "t-3").sign();
    let denied = of("mallory", "t-4").sign();
    let forged = format!("{}A", of("alice", "t-5").sign());
    let hours = std::time::Duration::from_secs(7200);
    let minute = std::time::Duration::from_secs(60);
    let expired = of("alice", "t-6")
        .issued_ago(hours)
        .expires_in(minute)
        .sign();
    let elsewhere = idp.token().header("typ", "JWT").audience("other");
    let elsewhere = elsewhere.sub("bob").claim("jti", "t-7").sign();
    // Expired, too, and nobody knows who wrote it.
    let late = format!("{}AAAA", expired.get(..expired.len() - 4).unwrap());
    // What only verified keys tell is told once they are at hand: nobody fetches for it.
    bearer.warm_up(minute).await.unwrap();
    let revocation = Revocation::Token {
        issuer: "mock".parse().unwrap(),
        id: "t-1".into(),
        until: None,
    };
    bearer.revocations().revoke(revocation, now()).unwrap();

    let owner = |subject: &str| json!({"issuer": "mock", "kind": "user", "subject": subject});
    for (about, sent, reason, credential, caller) in [
        (
            "revoked",
            Some(&revoked),
            "token.revoked",
            json!({"owner": owner("alice"), "client": "app", "token_id": "t-1", "key_id": "k1"}),
            Value::Null,
        ),
        (
            "without its proof",
            Some(&bound),
            "token.pop_required",
            json!({"owner": owner("bob"), "token_id": "t-2", "key_id": "k1"}),
            Value::Null,
        ),
        (
            "forged",
            Some(&forged),
            "token.bad_signature",
            json!({}),
            Value::Null,
        ),
        (
            "expired",
            Some(&expired),
            "token.expired",
            json!({"owner": owner("alice"), "token_id": "t-6", "key_id": "k1"}),
            Value::Null,
        ),
        (
            "for another audience",
            Some(&elsewhere),
            "token.aud",
            json!({"owner": owner("bob"), "token_id": "t-7", "key_id": "k1"}),
            Value::Null,
        ),
        (
            "expired and forged",
            Some(&late),
            "token.expired",
            json!({}),
            Value::Null,
        ),
        (
            "garbage",
            Some(&"garbage".to_owned()),
            "token.malformed",
            json!({}),
            Value::Null,
        ),
        ("none", None, "auth.missing", Value::Null, Value::Null),
        ("good", Some(&good), "granted", Value::Null, json!("alice")),
        (
            "good, and not granted",
            Some(&denied),
            "authz.no_permit",
            Value::Null,
            json!("mallory"),
        ),
    ] {
        let authorization = sent.map(|token| format!("Bearer {token}"));
        let mut record = decision(&bearer, authorization.as_deref()).await;
        assert_eq!(record["reason"], reason, "{about}");
        assert_eq!(record["caller"]["subject"], caller, "{about}");
        let text = record.to_string();
        for secret in sent.iter().flat_map(|token| token.split('.')) {
            assert!(
                secret.len() < 8 || !text.contains(secret),
                "{about}: {text}"
            );
        }
        let mut found = record["credential"].take();
        if let Some(members) = found.as_object_mut() {
            let hash = members.remove("token_hash").unwrap();
            assert_eq!(hash.as_str().unwrap().len(), 32, "{about}");
        }
        assert_eq!(found, credential, "{about}");
    }
}
