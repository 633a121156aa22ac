//! What nobody may keep: strings that stand in every place of a request and of an answer, and
//! are then looked for wherever Spanner writes.

use std::fs;
use std::path::Path;

use axum::Router;
use http::Request;
use serde_json::json;
use spanner_ledger::{Ledger, Selection};
use spanner_report::{Summary, csv, history, table};
use spanner_ship::{Format, Producer, export};

use crate::process::{signal, start_logging};
use crate::support::{Stage, ask, openai, serve};

/// Each place has one of its own, so that a hit says where it came from.
const PLACES: [&str; 14] = [
    "token",
    "query",
    "path",
    "prompt",
    "completion",
    "header",
    "cookie",
    "agent",
    "baggage",
    "forwarded",
    "answer-header",
    "basic",
    "user-member",
    "trailing",
];

fn canary(place: &str) -> String {
    format!("canary-{place}-7f3a9c")
}

/// AUD-07.
#[tokio::test]
async fn no_secret_gets_into_records_exports_logs_metrics_or_refusals() {
    let stage = Stage::set().await;
    let model = serve(Router::new().fallback(async || {
        let said = json!({"model": "acme/sentiment", "choices": [{"message": {"content": canary("completion")}}]});
        (
            [("content-type", "application/json".to_owned()), ("x-answer", canary("answer-header"))],
            said.to_string(),
        )
    }))
    .await;
    let ships: String = ["ocsf", "jsonl"]
        .map(|to| format!("[[ship]]\nto = \"{to}\"\nfile = \"out/{to}\"\n"))
        .concat();
    let lines = format!("asserted_baggage = [\"tenant\"]\n{ships}{}", openai(&model));
    let log = "trace,hyper=debug,h2=debug,hyper_util=debug";
    let mut running = start_logging(&stage, &lines, log).await;
    let address = running.address.clone();
    let logging = tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(line)) = running.log.next_line().await {
            text.push_str(&line);
            text.push('\n');
        }
        text
    });
    let mut refusals = String::new();
    let mut served = 0;
    for (authorization, path, body) in requests(&stage) {
        let request = Request::post(format!("http://{address}{path}"))
            .header("authorization", authorization)
            .header("content-type", "application/json")
            .header("x-anything", canary("header"))
            .header("cookie", format!("session={}", canary("cookie")))
            .header("user-agent", canary("agent"))
            .header("baggage", format!("tenant=acme,note={}", canary("baggage")))
            .header(
                "x-forwarded-for",
                format!("192.0.2.7, {}", canary("forwarded")),
            )
            .header("x-forwarded-user", canary("forwarded"));
        let reply = ask(request, body).await;
        if reply.status == 200 {
            served += 1;
            assert!(reply.body.contains(&canary("completion")));
        } else {
            refusals.push_str(&format!("{:?}{}", reply.headers, reply.body));
        }
    }
    assert_eq!(served, 1);
    let mut written = vec![("refusals", refusals)];
    for page in ["/spanner/metrics", "/spanner/ready"] {
        let request = Request::get(format!("http://{address}{page}"));
        written.push((page, ask(request, "").await.body));
    }
    signal(&running.child, "-TERM").await;
    assert!(running.child.wait().await.unwrap().success());
    written.push(("log", logging.await.unwrap()));
    written.extend(readings(&stage));
    for place in PLACES {
        let needle = canary(place);
        for (name, text) in &written {
            let at = text.find(&needle);
            let near = at.map(|at| text.get(at.saturating_sub(200)..at + 60));
            assert!(
                at.is_none(),
                "what stood in `{place}` is in {name}: {near:?}"
            );
        }
    }
    // It was looked for where something is: what may be there, is.
    let ledger = &written
        .iter()
        .find(|(name, _)| *name == "ledger")
        .unwrap()
        .1;
    for kept in [
        "alice",
        "192.0.2.7",
        "\"tenant\":\"acme\"",
        "acme/sentiment",
    ] {
        assert!(ledger.contains(kept), "{kept} is not in the ledger");
    }
}

/// Authorization, path and body: one request that is served, and refusals of every stage.
fn requests(stage: &Stage) -> Vec<(String, String, String)> {
    let bearer = |token: &str| format!("Bearer {token}");
    let alice = bearer(&stage.token("alice", &["support"]));
    let tina = bearer(&stage.token("tina", &["qa"]));
    let chat = format!("/v1/chat/completions?q={}", canary("query"));
    let body = json!({
        "model": "acme/sentiment",
        "user": canary("user-member"),
        "messages": [{"role": "user", "content": canary("prompt")}],
    })
    .to_string();
    let torn = format!("{{\"model\": \"acme/sentiment\", \"{}", canary("trailing"));
    let twice = format!(
        "{{\"model\": \"acme/sentiment\", \"model\": \"acme/sentiment\", \"p\": \"{}\"}}",
        canary("prompt")
    );
    let forged = alice
        .rsplit_once('.')
        .map(|(token, _)| format!("{token}.{}", canary("token")));
    [
        (alice.clone(), chat.clone(), body.clone()),
        (tina, chat.clone(), body.clone()),
        (bearer(&canary("token")), chat.clone(), body.clone()),
        (forged.unwrap(), chat.clone(), body.clone()),
        (
            format!("Basic {}", canary("basic")),
            chat.clone(),
            body.clone(),
        ),
        (
            alice.clone(),
            format!("/v1/{}/x", canary("path")),
            body.clone(),
        ),
        (
            alice.clone(),
            format!("/v1/%2e%2e/{}", canary("path")),
            body,
        ),
        (alice.clone(), chat.clone(), torn),
        (alice, chat, twice),
    ]
    .into()
}

/// Everything that is written of the ledger, in every form.
fn readings(stage: &Stage) -> Vec<(&'static str, String)> {
    let reader = Ledger::read(stage.path("ledger")).unwrap();
    let all = Selection::new();
    let rows = reader.select(&all).unwrap();
    let summary = Summary::read(&reader, &all, jiff::Timestamp::now()).unwrap();
    let exported = |format| {
        let mut out = Vec::new();
        export(
            &reader,
            format,
            &Producer::default(),
            &Selection::new(),
            &mut out,
        )
        .unwrap();
        String::from_utf8_lossy(&out).into_owned()
    };
    vec![
        ("ledger", contents(&stage.path("ledger"))),
        ("what was shipped", contents(&stage.path("out"))),
        ("json lines", exported(Format::JsonLines)),
        ("ocsf", exported(Format::Ocsf)),
        ("syslog", exported(Format::Syslog)),
        ("otlp", exported(Format::Otlp)),
        ("csv", csv(&rows)),
        ("the table", table(&rows)),
        (
            "the history",
            history(&reader.history(&all).unwrap()).text(),
        ),
        ("the summary", summary.page().markdown()),
        ("the summary's page", summary.page().html()),
        ("the summary's JSON", summary.json().to_string()),
    ]
}

/// All files below a folder, as one text.
fn contents(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => text.push_str(&contents(&path)),
            false => text.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap())),
        }
    }
    text
}
