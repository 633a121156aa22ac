//! The proxy is killed under load, and what its callers were told is joined to its ledger.
//!
//! `SPANNER_KILLS=1000 cargo test -p spanner-cli --test cli kills` for the long run, which
//! prints how many answers were joined.

use std::collections::HashMap;
use std::fs;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use spanner_core::RecordId;
use spanner_core::record::OutcomeClass;
use spanner_ledger::{Checkpoint, Ledger, Verdict};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::process::start;
use crate::support::{Model, PATIENCE, Stage, openai, prompt};

const CALLERS: usize = 16;
/// As many as fit into an ordinary run.
const KILLS: usize = 50;
/// Then a new ledger is begun, so that reading all of it after each kill stays cheap.
const KILLS_OF_ONE_LEDGER: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_has_its_decision_whenever_the_proxy_is_killed() {
    let kills = std::env::var("SPANNER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut kill, mut answers, mut unknown) = (0, 0, 0);
    while kill < kills {
        let stage = Stage::set().await;
        let model = Model::start("model").await;
        let lines = format!(
            "{}[ledger]\ncheckpoints = \"shipped\"\n",
            openai(&model.url)
        );
        let mut told = HashMap::new();
        for _ in 0..KILLS_OF_ONE_LEDGER.min(kills - kill) {
            load_and_kill(&stage, &lines, 1 + kill * 7 % 61, &mut told).await;
            unknown += check(&stage, &told);
            kill += 1;
        }
        answers += told.len();
    }
    println!("{kill} kills, {answers} answers, {unknown} decisions closed as unknown");
    assert!(answers > kills * 10, "{answers}");
    assert!(unknown > 0, "no request was open at any kill");
}

/// Calls until so many answers came, and kills it; takes down what each answer said.
async fn load_and_kill(
    stage: &Stage,
    lines: &str,
    answers: usize,
    told: &mut HashMap<RecordId, u16>,
) {
    let mut running = start(stage, lines).await;
    let url = format!("http://{}/v1/chat/completions", running.address);
    let (sender, mut receiver) = unbounded_channel();
    let mut callers = JoinSet::new();
    for index in 0..CALLERS {
        // One in four may not call.
        let token = match index % 4 {
            0 => stage.token("tina", &["qa"]),
            _ => stage.token("alice", &["support"]),
        };
        callers.spawn(call(url.clone(), token, sender.clone()));
    }
    drop(sender);
    for _ in 0..answers {
        let (id, status) = timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap();
        told.insert(id, status);
    }
    running.child.kill().await.unwrap();
    while let Some((id, status)) = receiver.recv().await {
        told.insert(id, status);
    }
    callers.join_all().await;
}

/// Until nobody answers any more.
async fn call(url: String, token: String, told: UnboundedSender<(RecordId, u16)>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    loop {
        let request = Request::post(&url)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::from(prompt())));
        let Ok(response) = client.request(request.unwrap()).await else {
            return;
        };
        let id = response.headers()["spanner-decision"].to_str().unwrap();
        let id = id.parse().unwrap();
        told.send((id, response.status().as_u16())).unwrap();
        if response.into_body().collect().await.is_err() {
            return;
        }
    }
}

/// Whether the ledger knows all that was told; opens it once, as the next start would.
fn check(stage: &Stage, told: &HashMap<RecordId, u16>) -> u64 {
    let dir = stage.path("ledger");
    let killed = Ledger::read(&dir).unwrap();
    let shipped = fs::read_to_string(stage.path("shipped")).unwrap();
    let shipped = Checkpoint::verify_all(&shipped, &killed.keys().unwrap());
    let shipped = shipped.unwrap_or_default();
    let found = killed.verify_against(&[], &shipped);
    assert!(found.verdict.is_sound(), "after a kill: {found:?}");
    let open = found.open;
    let reopened = Ledger::open(&dir).unwrap();
    assert_eq!(reopened.recovery().closed, open);
    reopened.close().unwrap();
    let found = Ledger::read(&dir).unwrap().verify_against(&[], &shipped);
    assert_eq!(found.verdict, Verdict::Clean, "{found:?}");
    assert_eq!(found.open, 0);
    let rows: HashMap<_, _> = (stage.rows().into_iter())
        .map(|row| (row.decision.id, row.outcome))
        .collect();
    for (id, status) in told {
        let outcome = rows.get(id);
        assert!(outcome.is_some(), "{id} ({status}) is lost");
        let outcome = outcome.and_then(Option::as_ref).expect("an outcome");
        let known = outcome.class != OutcomeClass::Unknown;
        assert!(
            !known || outcome.status == Some(*status),
            "{id}: {outcome:?}"
        );
    }
    open
}
