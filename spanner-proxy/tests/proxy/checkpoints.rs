//! Checkpoints go to whoever is to believe the record.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use spanner_ledger::{Checkpoint, Ledger};
use spanner_proxy::{Loaded, Service};

use crate::support::{Model, Stage, openai};

/// Keeps what it is sent, and gives out the newest.
async fn witness(taken: Arc<Mutex<Vec<String>>>) -> String {
    let newest = Arc::clone(&taken);
    let give = async move || match newest.lock().unwrap().last() {
        Some(note) => (StatusCode::OK, note.clone()),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    let take = async move |headers: HeaderMap, note: String| {
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["authorization"], "Bearer of-the-witness");
        taken.lock().unwrap().push(note);
    };
    let router = Router::new().route("/ledger", get(give).post(take));
    crate::support::serve(router).await
}

#[tokio::test]
async fn checkpoints_reach_every_sink_and_the_ledger_is_verified_against_them() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let taken = Arc::default();
    let url = witness(Arc::clone(&taken)).await;
    stage.write("secret", "of-the-witness\n");
    let lines = |required| {
        format!(
            "public_probes = \"full\"\n[ledger]\ncheckpoints = [\"shipped\", {{ url = \"{url}/ledger\", required = {required}, \
             credential = {{ file = \"secret\" }} }}]\n{}",
            openai(&model.url)
        )
    };
    stage.serve(&lines(false)).await.stop().await.unwrap();
    let service = stage.serve(&lines(true)).await;
    let page = crate::support::get(&service, "/spanner/metrics").await.body;
    service.stop().await.unwrap();
    let place = format!("spanner_checkpoint_entries{{place=\"{url}/ledger\"}}");
    assert!(page.contains(&place), "{page}");
    let reader = Ledger::read(stage.path("ledger")).unwrap();
    let keys = reader.keys().unwrap();
    let newest = reader.checkpoint().unwrap().unwrap();
    let file = std::fs::read_to_string(stage.path("shipped")).unwrap();
    let file = Checkpoint::verify_all(&file, &keys).unwrap();
    let notes = taken.lock().unwrap().clone();
    let mut sent = notes
        .iter()
        .map(|note| Checkpoint::verify(note, &keys).unwrap());
    assert_eq!(file.last(), Some(&newest));
    assert_eq!(sent.next_back(), Some(newest));
    // The record is put away, and another is begun in its place.
    std::fs::rename(stage.path("ledger"), stage.path("away")).unwrap();
    std::fs::remove_file(stage.path("shipped")).unwrap();
    let loaded = Loaded::read(&stage.configure(&lines(false))).unwrap();
    let started = Service::start(loaded).await.map(drop).unwrap_err();
    assert!(started.to_string().contains("is damaged"), "{started}");
}

#[tokio::test]
async fn a_witness_that_is_down_prevents_a_start_only_if_required() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ledger", gone.local_addr().unwrap());
    drop(gone);
    let upstream = openai(&model.url);
    let lines =
        format!("[ledger]\ncheckpoints = {{ url = \"{url}\", required = true }}\n{upstream}");
    let loaded = Loaded::read(&stage.configure(&lines)).unwrap();
    assert!(Service::start(loaded).await.is_err());
    let lines = format!("public_probes = \"full\"\n[ledger]\ncheckpoints = \"{url}\"\n{upstream}");
    let service = stage.serve(&lines).await;
    let page = crate::support::until(async || {
        let page = crate::support::get(&service, "/spanner/metrics").await.body;
        page.contains("spanner_checkpoint_unshipped")
            .then_some(page)
    });
    let place = format!("spanner_checkpoint_unshipped{{place=\"{url}\"}} 1");
    let page = page.await;
    assert!(page.contains(&place), "{page}");
    service.stop().await.unwrap();
}
