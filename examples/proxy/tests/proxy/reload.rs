//! What is read again while the proxy serves.

use spanner_ledger::{Entry, Ledger};

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
