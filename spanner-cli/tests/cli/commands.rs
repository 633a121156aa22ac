//! The command line: `check`, `resolve`, and `ledger`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use spanner_ledger::Ledger;

use crate::support::{Model, Stage, ask, chat, openai, prompt};
use crate::{binary, run};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn check_prints_every_problem_and_exits_with_1() {
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

/// What `resolve` says of a raw request.
fn resolve(config: &str, request: &[u8]) -> Value {
    let mut process = Command::new(binary())
        .args(["resolve", "--config", config])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(request).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn resolve_prints_the_actions_and_models_of_a_request() {
    let stage = Stage::set().await;
    let lines = format!(
        "{}[[upstream]]\nsurface = \"oip-grpc\"\nurl = \"http://127.0.0.1:9000\"\nhost = \"grpc\"\n",
        openai("http://127.0.0.1:9000")
    );
    let config = stage.configure(&lines);
    let config = config.to_str().unwrap();
    let chat = |host: &str, body: &str| {
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\n{host}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let seen = json!({
        "pairs": [{"action": "generate", "model": "acme/a", "revision": null}],
        "surface": "openai",
        "route": "/v1/chat/completions",
    });
    let body = r#"{"model":"acme/a"}"#;
    // What is written by hand may leave `Host` out.
    for host in ["host: models\r\n", ""] {
        assert_eq!(resolve(config, chat(host, body).as_bytes()), seen, "{host}");
    }
    for (request, class, status) in [
        (
            chat("host: m\r\n", r#"{"model":"a","model":"b"}"#),
            "ambiguous_request",
            400,
        ),
        (chat("host: m\r\n", "{}"), "ambiguous_request", 403),
        (chat("host: grpc\r\n", body), "unknown_route", 403),
        (
            "GET /none HTTP/1.1\r\nhost: m\r\n\r\n".to_owned(),
            "unknown_route",
            403,
        ),
        ("what is this\r\n\r\n".to_owned(), "ambiguous_request", 400),
    ] {
        let seen = resolve(config, request.as_bytes());
        assert_eq!(
            (&seen["refused"], &seen["status"]),
            (&json!(class), &json!(status)),
            "{request}"
        );
    }
    let mut call = b"POST /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\nhost: grpc\r\ncontent-type: application/grpc\r\ncontent-length: 13\r\n\r\n".to_vec();
    call.extend(b"\0\0\0\0\x08\x0A\x06acme/a");
    let seen = resolve(config, &call);
    assert_eq!(seen["pairs"][0]["action"], "predict");
    assert_eq!(seen["pairs"][0]["model"], "acme/a");
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
async fn show_filters_by_caller_model_and_environment() {
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
    assert!(text(&table.stdout).contains("user:corp/tina"), "{table:?}");
    let history = run(&["ledger", "history", &dir]);
    for event in ["ledger.opened", "access.in_force", "ledger.closed"] {
        assert!(text(&history.stdout).contains(event), "{history:?}");
    }
}

#[tokio::test]
async fn show_finds_the_record_that_a_response_names() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    let id = stage.rows()[0].decision.id.to_string();
    let show = |record: &str| run(&["ledger", "show", &dir, "--record", record]);
    // The first digits are the time, the last ones chance.
    for record in [
        &*id,
        id.get(..35).unwrap(),
        &id.to_uppercase(),
        &id.replace('-', ""),
    ] {
        let shown = show(record);
        assert_eq!(
            text(&shown.stdout).lines().count(),
            3,
            "{record}: {shown:?}"
        );
        assert!(text(&shown.stdout).trim_end().ends_with(&id), "{shown:?}");
    }
    let several = show(id.get(..1).unwrap());
    assert_eq!(several.status.code(), Some(1), "{several:?}");
    assert!(text(&several.stderr).contains("write more of it"));
    let none = show("00000000-0000-7000-8000-000000000000");
    assert!(none.status.success(), "{none:?}");
    assert!(text(&none.stderr).contains("nothing in this ledger"));
    let wrong = show("acme/sentiment");
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[tokio::test]
async fn an_empty_selection_is_noted_with_its_reason() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    for (args, said) in [
        (
            &["show", "--environment", "prodction"][..],
            "environment `prodction` never occurs in it",
        ),
        (
            &["show", "--json", "--caller", ""],
            "caller `` never occurs in it",
        ),
        (
            &["history", "--model", "acme/sentimen"],
            "model `acme/sentimen` never occurs in it",
        ),
        (
            &["history", "--json", "--requests", "--caller", "bob"],
            "caller `bob` never occurs in it",
        ),
        (
            &["summary", "--since", "1h", "--until", "2h"],
            "the span of time ends before it begins",
        ),
        (
            &["export", "--format", "csv", "--until", "2020-01-01"],
            "nothing in this ledger is what was selected\n",
        ),
        (
            &["export", "--model", "acme/sentiment", "--until", "520w"],
            "nothing in this ledger is what was selected\n",
        ),
    ] {
        let shown = run(&[&["ledger", args[0], &*dir], &args[1..]].concat());
        assert!(shown.status.success(), "{args:?}: {shown:?}");
        assert!(text(&shown.stderr).contains(said), "{args:?}: {shown:?}");
    }
    let all = run(&["ledger", "show", &dir]);
    assert!(all.stderr.is_empty(), "{all:?}");
}

#[test]
fn history_prints_what_is_in_force_without_recent_events() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ledger");
    let ledger = Ledger::open(&dir).unwrap();
    let adopted = json!({
        "promotion": "019a3c5e-0000-7000-8000-000000000001", "time": "2026-11-24T10:01:00Z",
        "step": "adopted", "into": "production", "manifest": "model = \"acme/a\"",
        "candidate": {
            "model": "acme/a",
            "manifest": "sha256:6fc23c3c6ebfcbf646aa62256507ec5ae95a7be3e8b3896d8d4b8fa8fe157d6b",
        },
    });
    drop(ledger.event("promotion.adopted", adopted).unwrap());
    ledger.close().unwrap();
    let dir = dir.to_str().unwrap();
    let told = run(&["ledger", "history", dir, "--json", "--since", "2030-01-01"]);
    let line: Value = serde_json::from_slice(&told.stdout).unwrap();
    let approval = &line["approval"];
    assert_eq!(
        (&approval["standing"], &approval["model"]),
        (&json!("in_force"), &json!("acme/a"))
    );
    assert_eq!(approval["steps"][0]["step"], "adopted");
    assert!(told.stderr.is_empty(), "{told:?}");
}

#[tokio::test]
async fn times_have_several_notations() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    for (since, expected) in [
        ("1w", 2),
        ("1d", 2),
        ("1h", 2),
        ("30m", 2),
        ("0m", 0),
        ("2020-02-29", 2),
        ("2020-02-29T03:18:10", 2),
        ("2020-02-29 03:18:10.5", 2),
        ("2020-02-29T03:18:10+01:00", 2),
        ("2999-01-01T00:00:00", 0),
    ] {
        let shown = run(&["ledger", "show", &dir, "--json", "--since", since]);
        let lines = text(&shown.stdout).lines().count();
        assert_eq!(lines, expected, "{since}: {shown:?}");
    }
    for (since, said) in [
        ("-5d", "without a minus"),
        ("1y", "write `2026-"),
        ("2020-02-30", "write `2026-"),
        ("2020-02-29T03:18:10[Europe/Berlin]", "write `2026-"),
    ] {
        let refused = run(&["ledger", "show", &dir, "--since", since]);
        assert_eq!(refused.status.code(), Some(2), "{since}");
        assert!(text(&refused.stderr).contains(said), "{since}: {refused:?}");
    }
}

#[tokio::test]
async fn invisible_characters_are_escaped_in_output() {
    let stage = Stage::set().await;
    let model = Model::start("model").await;
    let service = stage.serve_before(&model.url).await;
    let token = stage.token("ali\u{e0041}ce\u{3164}", &["support"]);
    ask(chat(&service, &token), prompt()).await;
    service.stop().await.unwrap();
    let dir = stage.path("ledger").to_str().unwrap().to_owned();
    for args in [
        &["show", "--json"][..],
        &["history", "--requests", "--json"],
        &["summary", "--format", "json"],
        &["export"],
        &["export", "--format", "ocsf"],
        &["export", "--format", "csv"],
        &["show"],
        &["summary"],
    ] {
        let shown = run(&[&["ledger", args[0], &*dir], &args[1..]].concat());
        let shown = text(&shown.stdout);
        assert!(!shown.contains(['\u{e0041}', '\u{3164}']), "{shown}");
        let escaped = [
            r"ali\udb40\udc41ce\u3164",
            r"ali\u{e0041}ce\u{3164}",
            r"ali\\u{e0041}ce",
        ];
        assert!(
            escaped.iter().any(|it| shown.contains(it)),
            "{args:?}: {shown}"
        );
    }
}

#[tokio::test]
async fn a_ledger_is_summarized_and_exported() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    for (args, said) in [
        (&["summary", "--since", "1d"][..], "**1** request allowed"),
        (&["summary", "--format", "html"], "<td>authz."),
        (
            &["summary", "--format", "json", "--caller", "tina"],
            "\"refused\": 1,",
        ),
        (
            &["summary", "--until", "2020-01-01"],
            "**0** requests allowed",
        ),
        (&["export", "--format", "ocsf"], "\"class_uid\":6003"),
        (&["export", "--format", "syslog"], "[spanner@32473 key="),
        (&["export"], "\"kind\":\"decision\""),
        (
            &["export", "--format", "csv", "--caller", "alice"],
            "\"user:corp/alice\"",
        ),
        (
            &["history", "--requests", "--model", "acme/sentiment"],
            "nobody approved it here",
        ),
        (
            &["history", "--requests", "--caller", "alice"],
            "user:corp/alice",
        ),
    ] {
        let mut line = vec!["ledger", args[0], &*dir];
        line.extend(&args[1..]);
        let shown = run(&line);
        assert!(shown.status.success(), "{args:?}: {shown:?}");
        let text = text(&shown.stdout);
        assert!(text.contains(said), "{args:?}: {said} is not in\n{text}");
    }
    for args in [
        &["summary", "--since", "soon"][..],
        &["summary", "--since", "99999999999999999999d"],
        &["export", "--format", "xml"],
    ] {
        let mut line = vec!["ledger", args[0], &*dir];
        line.extend(&args[1..]);
        let refused = run(&line);
        assert!(
            !refused.status.success() && refused.stdout.is_empty(),
            "{args:?}"
        );
        assert!(!refused.stderr.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn verify_exits_with_1_if_anything_is_damaged() {
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
    let empty = empty.to_str().unwrap();
    let key = &["--vkey", "no key"][..];
    for (dir, more, code) in [(empty, &[][..], 1), ("/nowhere", &[], 2), (&dir, key, 2)] {
        let mut line = vec!["ledger", "verify", dir];
        line.extend(more);
        let ended = run(&line);
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    }
    // Damage that keeps it from being opened has a verdict as well.
    let segment = Path::new(&dir).join("00000000000000000000.seg");
    let bytes = fs::read(&segment).unwrap();
    let harms: [&dyn Fn(); 2] = [
        &|| {
            let mut bytes = bytes.clone();
            bytes[20] ^= 1;
            fs::write(&segment, bytes).unwrap();
        },
        &|| fs::rename(&segment, segment.with_file_name("00000000000000000001.seg")).unwrap(),
    ];
    for harm in harms {
        harm();
        let damaged = run(&["ledger", "verify", &dir, "--json"]);
        assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
        let line: Value = serde_json::from_slice(&damaged.stdout).unwrap();
        assert_eq!(line["result"], "corrupt");
        assert!(
            line["problem"].is_string() && line["first_bad"].is_u64(),
            "{line}"
        );
    }
}

/// `check` says what the start would.
#[cfg(unix)]
#[tokio::test]
async fn check_reports_a_ledger_that_cannot_be_opened() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    let dir = Path::new(&dir);
    let config = stage.configure(&openai("http://127.0.0.1:9000"));
    let check = || run(&["check", "--config", config.to_str().unwrap()]);
    assert!(check().status.success(), "{:?}", check());
    let told = |what: &str| {
        let output = check();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
        assert!(said.contains(what), "{what} is not in\n{said}");
    };
    let mode = |mode| fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    told("everybody may write to it");
    mode(0o700);
    let key = fs::read(dir.join("key")).unwrap();
    fs::write(dir.join("key"), "PRIVATE+KEY+nothing").unwrap();
    told("restore `key` from a copy");
    fs::write(dir.join("key"), key).unwrap();
    damage(dir);
    fs::rename(dir, stage.path("elsewhere")).unwrap();
    for target in ["elsewhere", "nowhere"] {
        symlink(stage.path(target), dir).unwrap();
        told("it is a symbolic link");
        fs::remove_file(dir).unwrap();
    }
    fs::write(dir, "").unwrap();
    told("it is no directory");
}

#[tokio::test]
async fn a_proof_of_a_record_is_checked_with_only_the_key() {
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
    let twice = fs::read_to_string(&newest).unwrap().repeat(2);
    stage.write("twice", &twice);
    stage.write("hostile", &(twice + &"x".repeat(100_000)));
    let against = |file: &str| {
        let file = stage.path(file);
        run(&[
            "ledger",
            "verify",
            &dir,
            "--checkpoint",
            file.to_str().unwrap(),
        ])
    };
    let verified = against("twice");
    assert!(
        text(&verified.stdout).contains(" 2 shipped checkpoints"),
        "{verified:?}"
    );
    let hostile = against("hostile");
    assert_eq!(hostile.status.code(), Some(2), "{hostile:?}");
    assert!(
        text(&hostile.stderr)
            .contains("hostile`: this is no checkpoint: it has more than 65536 bytes"),
        "{hostile:?}"
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

#[tokio::test]
async fn every_reader_skips_entries_of_a_newer_version_and_notes_it() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    prophesy(Path::new(&dir));
    let access = stage.path("access").to_str().unwrap().to_owned();
    for (args, is_for_people) in [
        (&["ledger", "show", &*dir][..], true),
        (&["ledger", "show", &dir, "--json"], false),
        (&["ledger", "history", &dir], true),
        (&["ledger", "history", &dir, "--json"], false),
        (&["ledger", "summary", &dir, "--format", "json"], false),
        (&["ledger", "export", &dir, "--caller", "alice"], false),
        (&["ledger", "export", &dir, "--format", "ocsf"], false),
        (&["ledger", "export", &dir, "--format", "csv"], false),
        (&["access", "review", &access, "--ledger", &dir], false),
    ] {
        let shown = run(args);
        assert!(shown.status.success(), "{args:?}: {shown:?}");
        assert!(!shown.stdout.is_empty(), "{args:?}");
        let stream = match is_for_people {
            true => &shown.stdout,
            false => &shown.stderr,
        };
        let said = "note: 1 entry of a newer version is left out";
        assert!(text(stream).contains(said), "{args:?}: {shown:?}");
    }
    let summary = run(&["ledger", "summary", &dir]);
    let row = "| entries not understood | **1** |";
    let text = text(&summary.stdout).replace("| 1 |", "| **1** |");
    assert!(text.contains(row), "{summary:?}");
}

#[tokio::test]
async fn every_reader_notes_that_requests_were_pruned() {
    let stage = Stage::set().await;
    let dir = ledger(&stage).await;
    let pruned = run(&["ledger", "prune", &dir, "--segments", "1"]);
    assert!(pruned.status.success(), "{pruned:?}");
    for (args, is_for_people) in [
        (&["show"][..], true),
        (&["show", "--json"], false),
        (&["history"], true),
        (&["history", "--json"], false),
        (&["summary"], true),
        (&["summary", "--format", "json"], false),
        (&["export"], false),
        (&["export", "--format", "csv"], false),
    ] {
        let shown = run(&[&["ledger", args[0], &*dir], &args[1..]].concat());
        let stream = match is_for_people {
            true => &shown.stdout,
            false => &shown.stderr,
        };
        assert!(text(stream).contains("were pruned"), "{args:?}: {shown:?}");
    }
}

/// Changes one letter in the middle of the first segment.
fn damage(dir: &Path) {
    let path = first_segment(dir);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|it| it == b"alice").unwrap();
    bytes[at] = b'A';
    fs::write(&path, bytes).unwrap();
}

fn first_segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let segments = paths.filter(|path| path.extension().is_some_and(|it| it == "seg"));
    segments.min().unwrap()
}

/// Makes the first entry one of a kind that nobody knows yet, as a newer version would write it.
fn prophesy(dir: &Path) {
    let path = first_segment(dir);
    let mut bytes = fs::read(&path).unwrap();
    let (header, frame) = bytes.split_at_mut(64);
    let length = u32::from_le_bytes(*frame.first_chunk().unwrap());
    let end = 24 + usize::try_from(length).unwrap();
    assert!(frame[24..].starts_with(br#"{"kind":"event""#));
    frame[33..38].copy_from_slice(b"omens");
    let checked: Vec<u8> = [&header[16..32], &frame[8..end]].concat();
    frame[4..8].copy_from_slice(&crc32c(&checked).to_le_bytes());
    fs::write(&path, bytes).unwrap();
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |check: u32, _| (check >> 1) ^ (0x82f6_3b78 * (check & 1));
    let byte = |check: u32, byte: &u8| (0..8).fold(check ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, byte)
}

#[tokio::test]
async fn options_before_the_command_are_accepted() {
    let stage = Stage::set().await;
    stage.write("spanner.toml", "listen = 7\n");
    let config = stage.path("spanner.toml");
    let config = config.to_str().unwrap();
    for args in [&["--config", config, "check"][..], &["--config", config]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = text(&output.stderr);
        assert!(said.contains("spanner.toml:1:"), "{said}");
    }
    let served = run(&["--config", config]);
    assert!(text(&served.stderr).contains("write `spanner serve …`"));
}

#[test]
fn the_version_names_the_commit() {
    let output = run(&["--version"]);
    let said = text(&output.stdout);
    let version = env!("CARGO_PKG_VERSION");
    let rest = said.strip_prefix(&format!("spanner {version}")).unwrap();
    let commit = rest
        .trim()
        .strip_prefix('(')
        .and_then(|it| it.strip_suffix(')'));
    assert!(commit.is_none_or(|it| it.len() == 12 && it.bytes().all(|it| it.is_ascii_hexdigit())));
    assert_eq!(commit.is_none(), rest.trim().is_empty(), "{said}");
}

#[test]
fn completions_and_manual_pages_have_every_command() {
    let commands = ["serve", "check", "resolve", "access", "ledger"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        let missing = commands.iter().find(|it| !script.contains(**it));
        assert_eq!(missing, None, "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man");
    assert!(
        run(&["man", "--dir", dir.to_str().unwrap()])
            .status
            .success()
    );
    for page in ["spanner.1", "spanner-serve.1", "spanner-ledger-verify.1"] {
        let page = fs::read_to_string(dir.join(page)).unwrap();
        assert!(page.contains(".SH NAME"));
    }
    let page = run(&["man"]);
    assert!(text(&page.stdout).contains("RUST_LOG"));
}

#[test]
fn only_commands_that_read_a_configuration_have_the_option() {
    for (command, has) in [
        (&["serve"][..], true),
        (&["check"], true),
        (&["resolve"], true),
        (&["access", "test"], true),
        (&["ledger", "show"], true),
        (&["ledger", "verify"], false),
        (&["ledger", "prove"], false),
        (&["access", "schema"], false),
        (&["completions"], false),
        (&["man"], false),
    ] {
        let output = run(&[command, &["--help"]].concat());
        assert_eq!(
            text(&output.stdout).contains("--config"),
            has,
            "{command:?}"
        );
    }
}
