//! What operators see: metrics, traces, and a service that is guarded twice or not at all.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use http_body_util::Full;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use spanner_core::testing::MemorySink;
use spanner_tower::self_check::unguarded;
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

/// Callers choose names, models and paths; none of them makes a series of its own.
#[tokio::test]
async fn metrics_count_what_happened_with_few_labels() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let recording = metrics::set_default_local_recorder(&recorder);
    let sink = MemorySink::new();
    let service = layer(sink.clone()).layer(Behind::serving());
    let mut sent = 0;
    for at in 0..20 {
        for (token, path, model) in [
            ("alice", "/v1/embeddings", format!("acme/m{at}")),
            ("alice", "/v1/embeddings", format!("other/m{at}")),
            (
                &*format!("nobody{at}"),
                "/v1/embeddings",
                "acme/a".to_owned(),
            ),
            ("forged", "/v1/embeddings", "acme/a".to_owned()),
            ("old", "/v1/embeddings", "acme/a".to_owned()),
            ("alice", &*format!("/v1/unknown/{at}"), "acme/a".to_owned()),
        ] {
            let response = service
                .clone()
                .oneshot(call(token, path, &model))
                .await
                .unwrap();
            let body = http_body_util::BodyExt::collect(response.into_body()).await;
            drop(body);
            sent += 1;
        }
    }
    drop(recording);
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut in_flight = None;
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let name = key.key().name().to_owned();
        for label in key.key().labels() {
            let values = labels.entry(label.key().to_owned()).or_default();
            values.insert(label.value().to_owned());
        }
        match value {
            DebugValue::Counter(count) => *totals.entry(name).or_default() += count,
            DebugValue::Histogram(values) => {
                *totals.entry(name).or_default() += values.len() as u64;
            }
            DebugValue::Gauge(value) => in_flight = Some(value.into_inner()),
        }
    }
    assert_eq!(totals["spanner_decisions_total"], sent);
    assert_eq!(totals["spanner_outcomes_total"], sent);
    assert_eq!(totals["spanner_request_seconds"], sent);
    assert_eq!(totals["spanner_record_seconds"], sent);
    assert_eq!(totals["spanner_rotate_soon_total"], 20);
    assert_eq!(in_flight, Some(0.0));
    let values = |label: &str| labels[label].iter().cloned().collect::<Vec<_>>();
    assert_eq!(values("service"), ["tests"]);
    assert_eq!(values("environment"), ["production"]);
    assert_eq!(values("surface"), ["none", "openai"]);
    assert_eq!(values("issuer"), ["none", "test"]);
    assert_eq!(values("effect"), ["allow", "deny"]);
    assert_eq!(
        values("reason"),
        [
            "authz.no_permit",
            "granted",
            "route.unmapped",
            "token.bad_signature"
        ]
    );
    assert_eq!(values("class"), ["ok", "refused"]);
    assert_eq!(values("action"), ["embed", "none"]);
    // Those of `other/` are refused, and those that strangers name are as well.
    let named = values("model");
    let allowed = |name: &String| name == "none" || name.starts_with("acme/");
    assert!(named.iter().all(allowed), "{named:?}");
    assert_eq!(labels.len(), 9, "{labels:?}");
}

/// CFG-10: the outer guard takes the credential, so the inner one must not say that there
/// was none.
#[tokio::test]
async fn a_service_that_is_guarded_twice_says_so() {
    let (outer, inner) = (MemorySink::new(), MemorySink::new());
    let behind = Behind::serving();
    // The bodies of the two layers are of different types, as with axum they are not.
    let within = layer(inner.clone()).layer(behind.clone());
    let within = tower::service_fn(
        move |request: Request<spanner_tower::RequestBody<Full<bytes::Bytes>>>| {
            let within = within.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = http_body_util::BodyExt::collect(body)
                    .await
                    .unwrap()
                    .to_bytes();
                within
                    .oneshot(Request::from_parts(parts, Full::from(body)))
                    .await
            }
        },
    );
    let stacked = layer(outer.clone()).layer(within);
    let request = call("alice", "/v1/embeddings", "acme/a");
    let response = stacked.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(inner.decisions()[0].reason, "guard.stacked");
    assert_eq!(behind.seen().len(), 0);
}

/// CFG-10: what stands beside the layer is found by a test.
#[tokio::test]
async fn routes_beside_the_guard_are_found() {
    let guard = layer(MemorySink::new());
    let app = ::axum::Router::new()
        .route("/v1/embeddings", ::axum::routing::post(async || "served"))
        .layer(guard)
        .route("/v1/completions", ::axum::routing::post(async || "served"));
    let routes = [
        "POST /v1/embeddings",
        "POST /v1/completions",
        "POST /v1/nothing",
    ];
    assert_eq!(
        unguarded(app, routes).await,
        ["POST /v1/completions: answered with 200 OK, not by the guard",]
    );
}

#[tokio::test]
async fn a_reply_says_what_is_wrong_with_a_credential_that_was_accepted() {
    let service = layer(MemorySink::new()).layer(Behind::serving());
    for (token, due) in [
        ("alice", &[][..]),
        ("old", &["credential-rotate-soon"]),
        ("many", &["groups-incomplete"]),
    ] {
        let request = call(token, "/v1/embeddings", "acme/a");
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{token}");
        let warnings = response.headers().get_all("spanner-warning").iter();
        let warnings: Vec<_> = warnings.map(|it| it.to_str().unwrap()).collect();
        assert_eq!(warnings, due, "{token}");
    }
}
