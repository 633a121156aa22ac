//! The command line: `access`. And an access that is tried out while another one decides.

use std::process::{Command, Output};

use serde_json::Value;
use spanner_ledger::{Entry, Ledger};

use crate::support::{MANIFEST, Model, Stage, ask, chat, get, openai, prompt, until};
use crate::{binary, path, printed};

fn run(args: &[&str]) -> Output {
    crate::run(&[&["access"], args].concat())
}

/// What the command prints, and its exit code.
fn said(args: &[&str]) -> (String, i32) {
    let output = run(args);
    (printed(&output), output.status.code().unwrap())
}

#[track_caller]
fn check(args: &[&str], code: i32, expected: &[&str]) {
    let (text, exit) = said(args);
    assert_eq!(exit, code, "{args:?}\n{text}");
    for words in expected {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

const WIDER: &str = "caller = [\"group:support\", \"group:qa\"]";

/// A stage with a second access, in which `qa` may call in production as well.
async fn stage() -> Stage {
    let stage = Stage::set().await;
    let organization = std::fs::read_to_string(stage.path("access/organization.toml")).unwrap();
    stage.write("next/organization.toml", &organization);
    let wider = MANIFEST.replacen("caller = [\"group:support\"]", WIDER, 1);
    stage.write("next/models/acme/sentiment.toml", &wider);
    stage
}

#[tokio::test]
async fn review_prints_the_matrix_in_four_formats() {
    let stage = stage().await;
    let dir = path(&stage, "access");
    let grant = "grant/production/acme/sentiment/caller/group:corp/support";
    check(
        &["review", &dir],
        0,
        &["| production | acme/sentiment |", grant],
    );
    check(
        &["review", &dir, "--format", "csv"],
        0,
        &["environment,model,", grant],
    );
    check(
        &["review", &dir, "--format", "html"],
        0,
        &["<!doctype html>", grant],
    );
    let (json, _) = said(&["review", &dir, "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["grants"].as_array().unwrap().len(), 2);
    let config = stage.configure(&openai("http://127.0.0.1:9000"));
    check(
        &["review", "--config", config.to_str().unwrap()],
        0,
        &[grant],
    );
    check(
        &["review", "/nowhere"],
        1,
        &["there is no directory `/nowhere`; name the access directory"],
    );
    stage.write("access/models/b.toml", MANIFEST);
    check(
        &["review", &dir],
        1,
        &["access/models/b.toml:2:9: `acme/sentiment` already has a manifest"],
    );
    check(
        &["review", "--config", "/nowhere.toml"],
        1,
        &["or name the access directory itself"],
    );
}

#[tokio::test]
async fn diff_exits_with_1_if_a_caller_gains_access() {
    let stage = stage().await;
    let (old, new) = (path(&stage, "access"), path(&stage, "next"));
    let gains = "production acme/sentiment group:corp/qa: + list, read, embed, generate, predict";
    check(
        &["diff", &old, &old],
        0,
        &["nobody gains or loses anything"],
    );
    check(&["diff", &old, &new], 1, &[gains]);
    check(&["diff", &new, &old], 0, &[&gains.replace('+', "-")]);
    check(&["diff", &new, &old, "--fail-on", "any"], 1, &[]);
    check(&["diff", &old, &new, "--fail-on", "never"], 0, &[gains]);
    let (json, code) = said(&["diff", &old, &new, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &json["changes"][0]["holder"]),
        (1, &"group:corp/qa".into())
    );
}

#[tokio::test]
async fn test_exits_with_1_if_a_case_fails_or_there_is_none() {
    let stage = stage().await;
    let (old, new) = (path(&stage, "access"), path(&stage, "next"));
    check(&["test", &old], 1, &["there is no case"]);
    let case = "[[case]]\ncaller = \"user:tina\"\ngroups = [\"qa\"]\naction = \"generate\"\nmodel = \"acme/sentiment\"\nenvironment = \"production\"\nexpect = \"deny\"\n";
    stage.write("access/cases/c.toml", case);
    stage.write("next/cases/c.toml", case);
    check(&["test", &old], 0, &["1 case, as expected"]);
    check(
        &["test", &new],
        1,
        &[
            "cases/c.toml:1: user:corp/tina",
            "expected  deny",
            "found     allow (granted)",
        ],
    );
    check(&["test", &new, "--json"], 1, &["\"expected\": \"deny\""]);
    stage.write("access/cases/c.toml", &case.replace("tina", ""));
    check(
        &["test", &old],
        1,
        &["cases/c.toml:2:10: `user:` is no principal"],
    );
}

#[tokio::test]
async fn explain_prints_the_decision_and_what_would_change_it() {
    let stage = stage().await;
    let dir = path(&stage, "access");
    let model = ["--model", "acme/sentiment", "--environment", "production"];
    let ask = |who: &[&str]| {
        let args = [&["explain", &dir], who, &model].concat();
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let check = |who: &[&str], code: i32, expected: &[&str]| {
        let args = ask(who);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        check(&args, code, expected);
    };
    let tina = [
        "--caller",
        "user:tina",
        "--group",
        "qa",
        "--action",
        "generate",
    ];
    check(
        &tina,
        0,
        &[
            "user:corp/tina: generate on acme/sentiment in production",
            "refused: nothing grants it",
            "the role caller would allow it; held by group:corp/support",
            "ask group:corp/support",
        ],
    );
    let agent = [
        "--caller",
        "user:sam",
        "--group",
        "support",
        "--actor",
        "agent:copilot",
        "--action",
        "generate",
    ];
    check(
        &agent,
        0,
        &[
            "agent:corp/copilot: generate",
            "as if it called directly",
            "all of them together: deny",
        ],
    );
    let json = [&tina[..], &["--json"]].concat();
    check(&json, 0, &["\"reason\":\"authz.no_permit\""]);
    let bad = [
        "--caller",
        "group:qa",
        "--group",
        "qq",
        "--action",
        "generat",
        "--token-age",
        "x",
    ];
    check(
        &bad,
        1,
        &[
            "`group:qa` is no party",
            "did you mean `qa`?",
            "did you mean `generate`?",
            "`x` is not a duration",
        ],
    );
}

#[tokio::test]
async fn schema_prints_a_json_schema_for_editors() {
    for kind in ["organization", "manifest", "case"] {
        let (text, code) = said(&["schema", kind]);
        assert_eq!(code, 0);
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["type"], "object");
    }
}

/// Calls of alice's, who may, and of tina's, who may not.
async fn call(stage: &Stage, lines: &str) {
    let service = stage.serve(lines).await;
    for (who, group) in [("alice", "support"), ("tina", "qa")] {
        let token = stage.token(who, &[group]);
        ask(chat(&service, &token), prompt()).await;
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn replay_and_review_read_the_recorded_requests() {
    let stage = stage().await;
    let model = Model::start("model").await;
    call(&stage, &openai(&model.url)).await;
    let [ledger, old, new] = ["ledger", "access", "next"].map(|name| path(&stage, name));
    check(
        &["replay", &ledger, &old],
        0,
        &["0 of 2 decisions would be others"],
    );
    let change = "user:corp/tina: generate on acme/sentiment in production: refused (authz.no_permit), would be allowed (granted)";
    check(
        &["replay", &ledger, &new],
        1,
        &[change, "1 of 2 decisions would be others"],
    );
    check(
        &["replay", &ledger, &new, "--fail-on", "never"],
        0,
        &[change],
    );
    let (json, code) = said(&["replay", &ledger, &new, "--json", "--fail-on", "widen"]);
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, lines.len()), (1, 2));
    assert_eq!(
        (&lines[0]["caller"], &lines[1]["widens"]),
        (&"user:corp/tina".into(), &true.into())
    );
    let (json, _) = said(&["review", &old, "--ledger", &ledger, "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let unused = "grant/staging/acme/sentiment/caller/group:corp/qa";
    assert_eq!(json["hygiene"]["unused"], serde_json::json!([unused]));
    check(&["replay", "/nowhere", &new], 1, &["/nowhere"]);
}

#[tokio::test]
async fn a_candidate_access_is_evaluated_and_reloaded() {
    let stage = stage().await;
    let model = Model::start("model").await;
    let lines = format!("[access]\nshadow = \"next\"\n{}", openai(&model.url));
    let service = stage.serve(&lines).await;
    let token = stage.token("tina", &["qa"]);
    let status = async || ask(chat(&service, &token), prompt()).await.status;
    assert_eq!(status().await, 403);
    // Once the candidate refuses, too, records say nothing of it.
    stage.write("next/models/acme/sentiment.toml", MANIFEST);
    let told = || {
        let rows = stage.rows();
        let differs = |it: &spanner_ledger::Row| it.decision.candidate.is_some();
        (
            rows.first().is_some_and(differs),
            rows.last().is_some_and(differs),
        )
    };
    until(async || {
        assert_eq!(status().await, 403);
        (told() == (true, false)).then_some(())
    })
    .await;
    // A broken candidate breaks nothing.
    stage.write("next/models/acme/sentiment.toml", "owner = 7");
    let events = || {
        let entries = Ledger::read(stage.path("ledger"))
            .unwrap()
            .entries()
            .unwrap();
        let events = entries.filter_map(|numbered| match numbered.unwrap().entry {
            Entry::Event(event) => Some(event.event),
            _ => None,
        });
        events.collect::<Vec<String>>()
    };
    let refused = || events().contains(&"candidate.reload_refused".to_owned());
    until(async || refused().then_some(())).await;
    let ready = get(&service, "/spanner/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["access"]["state"]),
        (http::StatusCode::OK, &"current".into())
    );
    service.stop().await.unwrap();
    let told = events();
    let wanted = [
        "access.in_force",
        "candidate.tried_out",
        "candidate.reloaded",
    ];
    assert!(
        wanted.iter().all(|it| told.contains(&(*it).to_owned())),
        "{told:?}"
    );
}

#[tokio::test]
async fn manifests_may_be_in_the_models_folders() {
    let stage = Stage::set().await;
    let model = Model::start("model").await;
    std::fs::remove_file(stage.path("access/models/acme/sentiment.toml")).unwrap();
    stage.write("hub/acme/sentiment/access.toml", MANIFEST);
    let lines = format!("[access]\nmodels = \"hub\"\n{}", openai(&model.url));
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    let status = async || ask(chat(&service, &token), prompt()).await.status;
    assert_eq!(status().await, 200);
    let narrower = MANIFEST.replace("caller = [\"group:support\"]", "caller = []");
    stage.write("hub/acme/sentiment/access.toml", &narrower);
    until(async || (status().await == 403).then_some(())).await;
    service.stop().await.unwrap();
    stage.write("hub/acme/sentiment/access.toml", "owner = 7");
    let config = stage.path("spanner.toml");
    let output = Command::new(binary())
        .args(["check", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("/hub/acme/sentiment/access.toml:1:1: the key `model` is missing"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}
