//! What is read again while the proxy serves.

use spanner_ledger::{Entry, Ledger};
use spanner_proxy::{Loaded, Service};

use crate::support::{MANIFEST, Model, Stage, ask, chat, get, openai, prompt, until};

#[tokio::test]
async fn a_change_of_access_takes_effect_and_a_broken_one_does_not() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let token = stage.token("tina", &["qa"]);
    let status = async || ask(chat(&service, &token), prompt()).await.status;
    let state = async || get(&service, "/spanner/ready").await.json()["access"]["state"].clone();
    assert_eq!(status().await, 403);

    let manifest = "access/models/acme/sentiment.toml";
    let granted = MANIFEST.replacen(
        "[\"group:support\"]",
        "[\"group:support\", \"group:qa\"]",
        1,
    );
    stage.write(manifest, &granted);
    until(async || (status().await == 200).then_some(())).await;

    stage.write(manifest, "model = \"acme/sentiment\"\nowner = 7\n");
    until(async || (state().await == "stale").then_some(())).await;
    assert_eq!(status().await, 200);
    assert_eq!(get(&service, "/spanner/ready").await.status, 200);

    stage.write(manifest, MANIFEST);
    until(async || (status().await == 403).then_some(())).await;
    assert_eq!(state().await, "current");
    service.stop().await.unwrap();

    let entries = Ledger::read(stage.path("ledger"))
        .unwrap()
        .entries()
        .unwrap();
    let events: Vec<String> = entries
        .filter_map(|numbered| match numbered.unwrap().entry {
            Entry::Event(event) => Some(event.event),
            _ => None,
        })
        .filter(|event| event.starts_with("access."))
        .collect();
    let expected = [
        "access.in_force",
        "access.reloaded",
        "access.reload_refused",
        "access.reloaded",
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_revocation_takes_effect_and_a_broken_list_does_not() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    stage.write("revocations.toml", "");
    let lines = format!(
        "[revocations]\nfile = \"revocations.toml\"\n{}",
        openai(&model.url)
    );
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    let status = async || ask(chat(&service, &token), prompt()).await.status;
    let list = async || get(&service, "/spanner/ready").await.json()["revocations"].clone();
    assert_eq!(status().await, 200);

    let entry = "[[subject]]\nissuer = \"corp\"\nsubject = \"alice\"\n\
                 issued_until = \"2999-01-01T00:00:00Z\"\n";
    stage.write("revocations.toml", entry);
    until(async || (status().await == 401).then_some(())).await;

    stage.write("revocations.toml", "[[subject]]\nissuer = \"corp\"\n");
    until(async || (list().await["state"] == "stale").then_some(())).await;
    assert_eq!(list().await["entries"], 1);
    assert_eq!(status().await, 401);
    service.stop().await.unwrap();
}

/// Serves with keys of a file; what stands in `lines` is of the only upstream.
async fn serve_with_keys(stage: &Stage, lines: &str) -> Service {
    stage.write("keys.json", &stage.idp.jwks());
    let configured = stage.configure(lines);
    let text = std::fs::read_to_string(&configured).unwrap();
    stage.write("spanner.toml", &(text + "jwks_file = \"keys.json\"\n"));
    Service::start(Loaded::read(&configured).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_removed_from_its_file_is_no_longer_trusted() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!("public_probes = \"full\"\n{}", openai(&model.url));
    let service = serve_with_keys(&stage, &lines).await;
    let status = async |token: &str| ask(chat(&service, token), prompt()).await.status;
    let old = stage.token("alice", &["support"]);
    for _ in 0..3 {
        assert_eq!(status(&old).await, 200);
    }
    stage.idp.rotate();
    stage.idp.retire();
    stage.write("keys.json", &stage.idp.jwks());
    let new = stage.token("alice", &["support"]);
    until(async || (status(&old).await == 401).then_some(())).await;
    assert_eq!(status(&new).await, 200);

    // A mistake in the file changes nothing, and readiness names it.
    stage.write("keys.json", "{");
    let problem = async || {
        let page = get(&service, "/spanner/ready").await.json();
        page["issuers"][0]["last_error"].as_str().map(str::to_owned)
    };
    let problem = until(problem).await;
    assert!(problem.contains("keys.json"), "{problem}");
    assert_eq!(status(&new).await, 200);
    assert_eq!(status(&old).await, 401);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_credential_is_reloaded_from_its_file() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    stage.write("token", "one\n");
    let lines = openai(&model.url) + "credential = { file = \"token\" }\n";
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    let sent = async || {
        assert_eq!(ask(chat(&service, &token), prompt()).await.status, 200);
        let seen = model.seen();
        let sent = &seen.last().unwrap().headers["authorization"];
        sent.to_str().unwrap().to_owned()
    };
    assert_eq!(sent().await, "Bearer one");
    stage.write("token", "two");
    until(async || (sent().await == "Bearer two").then_some(())).await;
    // What is no token leaves the one before in use.
    stage.write("token", "");
    stage.write("access/organization.toml", "environments = 7\n");
    let stale = async || {
        let page = get(&service, "/spanner/ready").await.json();
        (page["access"]["state"] == "stale").then_some(())
    };
    until(stale).await;
    assert_eq!(sent().await, "Bearer two");
    service.stop().await.unwrap();
}
