//! The command line: `check`, and `ledger`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Model, Stage, ask, binary, chat, openai, prompt};

fn run(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn check_exits_with_1_and_every_problem_or_with_0() {
    let stage = Stage::set().await;
    let config = stage.configure(&openai("http://127.0.0.1:9000"));
    let config = config.to_str().unwrap();
    let good = run(&["check", "--config", config]);
    assert!(good.status.success(), "{good:?}");
    stage.configure("listen = 7\n[[upstream]]\nurl = 7\n");
    fs::write(config, "listen = 7\n[[upstream]]\nurl = 7\n").unwrap();
    let bad = run(&["--config", config, "check"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = text(&bad.stderr);
    for place in [
        "spanner.toml:1:10: ",
        "spanner.toml:3:7: ",
        "spanner.toml:2:1: ",
    ] {
        assert!(said.contains(place), "{place} is not in\n{said}");
    }
    assert!(!stage.path("ledger").exists());
}

/// A ledger with one call of alice's and one of tina's, who may not.
async fn ledger(stage: &Stage) -> String {
    let model = Model::start("model").await;
    let service = stage.serve_before(&model.url).await;
    for (who, group) in [("alice", "support"), ("tina", "qa")] {
        let token = stage.token(who, &[group]);
        ask(chat(&service, &token), prompt()).await;
    }
    service.stop().await.unwrap();
    stage.path("ledger").to_str().unwrap().to_owned()
}

#[tokio::test]
async fn show_finds_requests_by_who_what_and_where() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    for (filter, expected) in [
        (&[][..], 2),
        (&["--caller", "alice"], 1),
        (&["--caller", "corp/tina"], 1),
        (&["--caller", "user:corp/tina"], 1),
        (&["--caller", "agent:corp/tina"], 0),
        (&["--model", "acme/sentiment"], 2),
        (&["--model", "acme/other"], 0),
        (&["--environment", "production"], 2),
        (&["--environment", "staging"], 0),
        (&["--limit", "1"], 1),
        (&["--limit", "1", "--caller", "alice"], 1),
    ] {
        let mut args = vec!["ledger", "show", &*dir, "--json"];
        args.extend(filter);
        let shown = run(&args);
        assert!(shown.status.success(), "{shown:?}");
        let lines: Vec<Value> = text(&shown.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), expected, "{filter:?}");
        let whole = |line: &Value| line["outcome"]["id"] == line["decision"]["id"];
        assert!(lines.iter().all(whole));
    }
    let table = run(&["ledger", "show", &dir]);
    assert!(text(&table.stdout).contains("corp:tina"), "{table:?}");
    let history = run(&["ledger", "history", &dir]);
    for event in ["ledger.opened", "access.in_force", "ledger.closed"] {
        assert!(text(&history.stdout).contains(event), "{history:?}");
    }
}

#[tokio::test]
async fn verify_exits_with_1_where_anything_is_damaged() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    let clean = run(&["ledger", "verify", &dir]);
    assert!(clean.status.success(), "{clean:?}");
    assert!(text(&clean.stdout).starts_with("clean: "));
    damage(Path::new(&dir));
    let damaged = run(&["ledger", "verify", &dir, "--json"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let line: Value = serde_json::from_slice(&damaged.stdout).unwrap();
    assert_eq!(line["result"], "corrupt");
    let empty = stage.path("empty");
    fs::create_dir(&empty).unwrap();
    for dir in [empty.to_str().unwrap(), "/nowhere"] {
        assert_eq!(run(&["ledger", "verify", dir]).status.code(), Some(1));
    }
}

#[tokio::test]
async fn a_record_is_proved_to_somebody_who_has_only_the_key() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    let (vkey, newest) = (format!("{dir}/vkey"), format!("{dir}/checkpoint"));
    let id = stage.rows()[0].decision.id.to_string();
    let proofs = run(&["ledger", "prove", &dir, &id]);
    let proofs = text(&proofs.stdout).to_owned();
    assert_eq!(proofs.lines().count(), 2, "its decision and its outcome");
    stage.write("proofs", &proofs);
    stage.write("changed", &proofs.replacen("granted", "refused", 1));
    let check = |file: &str| {
        let file = stage.path(file);
        run(&[
            "ledger",
            "verify-proof",
            file.to_str().unwrap(),
            "--vkey",
            &vkey,
        ])
    };
    let whole = check("proofs");
    assert!(whole.status.success(), "{whole:?}");
    assert!(
        text(&whole.stdout).starts_with("proven: entry "),
        "{whole:?}"
    );
    let changed = check("changed");
    assert_eq!(changed.status.code(), Some(1), "{changed:?}");
    let since = run(&["ledger", "prove", &dir, "--since", &newest]);
    assert!(text(&since.stdout).contains("consistency"), "{since:?}");
    let args = [
        "ledger",
        "verify",
        &dir,
        "--checkpoint",
        &newest,
        "--vkey",
        &vkey,
    ];
    let verified = run(&args);
    assert!(
        text(&verified.stdout).starts_with("clean: "),
        "{verified:?}"
    );
    let nothing = run(&["ledger", "prove", &dir, "99999"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    let pruned = run(&["ledger", "prune", &dir, "--segments", "1"]);
    assert!(pruned.status.success(), "{pruned:?}");
    let verified = run(&["ledger", "verify", &dir, "--vkey", &vkey]);
    assert!(
        text(&verified.stdout).contains("were pruned"),
        "{verified:?}"
    );
    let aimless = run(&["ledger", "prune", &dir]);
    assert_eq!(aimless.status.code(), Some(1), "{aimless:?}");
}

/// Changes one letter in the middle of the first segment.
fn damage(dir: &Path) {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "seg"))
        .collect();
    names.sort();
    let mut bytes = fs::read(&names[0]).unwrap();
    let at = bytes.windows(5).position(|it| it == b"alice").unwrap();
    bytes[at] = b'A';
    fs::write(&names[0], bytes).unwrap();
}
