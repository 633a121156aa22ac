//! Entries go elsewhere, and nobody's request waits for that.

use std::fs;

use serde_json::Value;

use crate::support::{Model, Stage, ask, chat, get, openai, prompt, until};

#[tokio::test]
async fn every_entry_arrives_before_the_service_has_ended() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!(
        "public_probes = \"full\"\ninstance = \"pod-7\"\n[[ship]]\nto = \"ocsf\"\nfile = \"out/ocsf.jsonl\"\n\
         [[ship]]\nto = \"jsonl\"\nname = \"copy\"\nfile = \"out/copy.jsonl\"\n{}",
        openai(&model.url)
    );
    let service = stage.serve(&lines).await;
    for (who, group) in [("alice", "support"), ("tina", "qa")] {
        ask(chat(&service, &stage.token(who, &[group])), prompt()).await;
    }
    let ready = get(&service, "/spanner/ready").await.json();
    assert_eq!(ready["ship"][0]["name"], "ocsf");
    assert_eq!(ready["ship"][0]["state"], "shipping");
    let page = get(&service, "/spanner/metrics").await.body;
    assert!(
        page.contains("spanner_ship_lag_seconds{shipment=\"copy\"}"),
        "{page}"
    );
    service.stop().await.unwrap();
    let read = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(stage.path(name)).unwrap();
        text.lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    };
    let (ocsf, copy) = (read("out/ocsf.jsonl"), read("out/copy.jsonl"));
    let kinds: Vec<&str> = copy.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    for (kind, count) in [("decision", 2), ("outcome", 2)] {
        assert_eq!(
            kinds.iter().filter(|it| **it == kind).count(),
            count,
            "{kinds:?}"
        );
    }
    assert_eq!(copy.last().unwrap()["event"], "ledger.closed");
    assert_eq!(ocsf.len(), copy.len());
    let decided = ocsf
        .iter()
        .find(|it| it["actor"]["user"]["uid"] == "alice")
        .unwrap();
    assert_eq!(decided["api"]["service"]["uid"], "pod-7");
    let sequences: Vec<u64> = copy
        .iter()
        .map(|it| it["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, (0..copy.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_that_is_down_delays_no_request_and_is_shown() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    // Nobody listens there: the port was given back.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let lines = format!(
        "public_probes = \"full\"\n[[ship]]\nto = \"otlp\"\nurl = \"http://{address}/v1/logs\"\n\
         [[ship]]\nto = \"syslog\"\naddress = \"{address}\"\n{}",
        openai(&model.url)
    );
    let service = stage.serve(&lines).await;
    let reply = ask(
        chat(&service, &stage.token("alice", &["support"])),
        prompt(),
    )
    .await;
    assert_eq!(reply.status, 200);
    let ready = until(async || {
        let ready = get(&service, "/spanner/ready").await.json();
        let ships = ready["ship"].as_array().unwrap();
        let failing = ships.iter().all(|it| it["state"] == "failing");
        failing.then_some(ready)
    })
    .await;
    assert_eq!(ready["ready"], true, "{ready}");
    let page = get(&service, "/spanner/metrics").await.body;
    assert!(
        page.contains("spanner_ship_failing{shipment=\"otlp\"} 1"),
        "{page}"
    );
    service.stop().await.unwrap();
}
