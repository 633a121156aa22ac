//! What the program says to whoever operates it, and what it does about a ledger that lost files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::binary;
use crate::process::{signal, start, start_logging};
use crate::support::{Model, PATIENCE, Stage, ask, chat, openai, prompt};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).env_remove("RUST_LOG").output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Nothing that a terminal obeys, and no word of the language that this is written in.
fn is_plain(said: &str) {
    let control = said.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{said:?}");
    for word in ["()`", "Os {", "kind:", "Err(", "Some(", "struct "] {
        assert!(!said.contains(word), "{word} in {said}");
    }
    let path = said
        .split("::")
        .skip(1)
        .find(|rest| rest.starts_with(char::is_alphabetic));
    assert_eq!(path, None, "{said}");
}

const ISSUER: &str =
    "[[issuer]]\nname = \"corp\"\nurl = \"https://id.example.com\"\naudiences = [\"m\"]\n";
const UPSTREAM: &str = "[[upstream]]\nsurface = \"openai\"\nurl = \"http://127.0.0.1:9\"\n";

/// A configuration whose parts are replaced, and what `check` says of it.
#[tokio::test]
async fn check_names_the_place_the_fault_and_what_to_do_whatever_is_wrong() {
    let stage = Stage::set().await;
    stage.write("latin.toml", "");
    fs::write(stage.path("latin.toml"), b"a = 1\nb = \"\xe9\"\n").unwrap();
    fs::create_dir(stage.path("folder")).unwrap();
    stage.write("empty", "");
    stage.write("file", "x");
    stage.write("list.toml", "[[token]]\nissuer = 7\n");
    stage.write("surface.toml", "dialect = \"none\"\nroutes = []\n");
    let top = "environment = \"production\"\n";
    let with = |more: &str| format!("{top}{ISSUER}{UPSTREAM}{more}");
    let issuer = |line: &str| format!("{top}{ISSUER}{line}\n{UPSTREAM}");
    let upstream = |line: &str| format!("{top}{ISSUER}{UPSTREAM}{line}\n");
    let rows: Vec<(String, &[&str])> = vec![
        (
            with("[access]\ndir = \"nowhere\"\n"),
            &[
                "spanner.toml:10:7: there is no directory `",
                "nowhere`; name the access directory",
            ],
        ),
        (
            with("[access]\ndir = \"file\"\n"),
            &["spanner.toml:10:7: `", "file` is no directory"],
        ),
        (
            with("[access]\nshadow = \"nowhere\"\n"),
            &["spanner.toml:10:10: there is no directory `"],
        ),
        (
            with("[access]\nmodels = \"nowhere\"\n"),
            &["nowhere: this is no folder; name the folder"],
        ),
        (
            with("[revocations]\nfile = \"nowhere\"\n"),
            &[
                "spanner.toml:10:8: `",
                "cannot be read: there is no such file; correct its path",
            ],
        ),
        (
            with("[revocations]\nfile = \"folder\"\n"),
            &["cannot be read: it is a directory; name a file"],
        ),
        (
            with("[revocations]\nfile = \"latin.toml\"\n"),
            &["cannot be read: it is not UTF-8; save it as UTF-8"],
        ),
        (
            with("[ledger]\nnote = \"ledger/note\"\n"),
            &["spanner.toml:10:8: the note is in the ledger's own directory"],
        ),
        (
            format!("public_probes = \"loud\"\n{}", with("")),
            &["spanner.toml:1:17: `public_probes` cannot be `loud`; write one of `brief`, `full`"],
        ),
        (
            issuer("jwks_url = \"http://keys.example.com\""),
            &[
                "spanner.toml:6:12: issuer `corp`, `jwks_url`: ",
                "must be https; http is for loopback addresses, with `danger_allow_http_loopback`; correct it",
            ],
        ),
        (
            issuer("jwks_file = \"nowhere\""),
            &["issuer `corp`, `jwks_file`: "],
        ),
        (
            issuer("shape = \"x\""),
            &["spanner.toml:6:1: unknown key `shape`; "],
        ),
        (
            upstream("credential = { file = \"nowhere\" }"),
            &["`credential`: `", "there is no such file"],
        ),
        (
            with("[[upstream]]\nsurface = \"surface.toml\"\nurl = \"http://127.0.0.1:9\"\n"),
            &[
                "surface.toml:1:11: `none` is no dialect",
                "; correct the surface",
            ],
        ),
        (
            with("[[upstream]]\nsurface = \"nowhere.toml\"\nurl = \"http://127.0.0.1:9\"\n"),
            &["spanner.toml:10:11: the surface `", "there is no such file"],
        ),
        (
            with("[[upstream]]\nsurface = \"folder/\"\nurl = \"http://127.0.0.1:9\"\n"),
            &["the surface `", "it is a directory"],
        ),
        ("a = \"\u{1b}[2J\"\n".to_owned(), &["; correct the TOML"]),
        (
            issuer("introspection = 7"),
            &["`introspection` must be a table, not a value of type integer"],
        ),
        (
            with("[revocations]\nfile = \"list.toml\"\n"),
            &["list.toml:2:10: `token`: wrong type: integer `7`, expected a string; correct it"],
        ),
        (
            with("[[ship]]\nto = \"syslog\"\naddress = \"tls://h:1\"\nca = \"nowhere\"\n"),
            &["spanner.toml:12:6: `ca`: `", "there is no such file"],
        ),
        (
            with("[ledger]\ndir = \"file\"\n"),
            &[
                "spanner.toml:10:7: the ledger in `",
                "it is no directory: name another, or remove it\n",
            ],
        ),
        (
            "\"\\u001b[2J\" = 1\n".to_owned(),
            &["unknown key `\\u{1b}[2J`"],
        ),
    ];
    for (text, expected) in rows {
        stage.write("spanner.toml", &text);
        let config = stage.path("spanner.toml");
        let output = run(&["check", "--config", config.to_str().unwrap()]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}\n{said}");
        is_plain(&said);
        for words in expected {
            assert!(
                said.contains(words),
                "{words} is not in\n{said}\nof\n{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_configuration_that_is_no_text_is_told_by_its_place() {
    let stage = Stage::set().await;
    let config = stage.configure(&openai("http://127.0.0.1:9"));
    let good = fs::read(&config).unwrap();
    let check = |name: &str| run(&["check", "--config", stage.path(name).to_str().unwrap()]);
    // What editors of another system write is no fault.
    let crlf = String::from_utf8(good.clone())
        .unwrap()
        .replace('\n', "\r\n");
    fs::write(&config, format!("\u{feff}{crlf}")).unwrap();
    assert!(
        check("spanner.toml").status.success(),
        "{:?}",
        check("spanner.toml")
    );
    let latin = [b"# ok\n# \xe9\n".as_slice(), &good].concat();
    fs::write(&config, latin).unwrap();
    fs::create_dir(stage.path("folder")).unwrap();
    for (name, expected) in [
        ("spanner.toml", "spanner.toml:2:3: `"),
        ("nowhere.toml", "nowhere.toml: `"),
        (
            "folder",
            "it is a directory; name the configuration with `--config`",
        ),
    ] {
        let output = check(name);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(
            said(&output).contains(expected),
            "{name}: {}",
            said(&output)
        );
        is_plain(&said(&output));
    }
    let shy = run(&["check", "--config", "/no\u{1b}[2Jwhere"]);
    is_plain(&said(&shy));
    for args in [
        &["\u{1b}[2J"][..],
        &["--listen", "\u{1b}[2J"],
        &["ledger", "show"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        is_plain(&said(&output));
    }
    let help = run(&["--help"]);
    assert!(
        help.status.success() && said(&help).contains("RUST_LOG"),
        "{help:?}"
    );
}

#[tokio::test]
async fn no_password_in_an_address_is_shown() {
    let stage = Stage::set().await;
    const SECRET: &str = "hunter2";
    let url = format!("https://user:{SECRET}@host.example.com/base");
    let (odd, bare) = (
        format!("https://user:{SECRET}/x@host"),
        format!("user:{SECRET}@host:1"),
    );
    for text in [
        format!("{ISSUER}[[upstream]]\nsurface = \"openai\"\nurl = \"{url}\"\n"),
        format!("{ISSUER}[[upstream]]\nsurface = \"openai\"\nurl = \"{odd}\"\n"),
        format!("{ISSUER}[[upstream]]\nsurface = \"openai\"\nurl = \"{bare}\"\n"),
        format!("{ISSUER}{UPSTREAM}host = \"{bare}\"\n"),
        format!("{ISSUER}{UPSTREAM}[ledger]\ncheckpoints = \"{url}\"\n"),
        format!("{ISSUER}{UPSTREAM}[ledger]\ncheckpoints = [{{ url = \"{url}\" }}]\n"),
        format!("{ISSUER}{UPSTREAM}[[ship]]\nto = \"ocsf\"\nurl = \"{url}\"\n"),
        format!("{ISSUER}{UPSTREAM}[[ship]]\nto = \"syslog\"\naddress = \"{bare}\"\n"),
        format!("{ISSUER}{UPSTREAM}[[ship]]\nto = \"syslog\"\naddress = \"tls://{bare}x\"\n"),
        format!("public_origin = \"{url}\"\n{ISSUER}{UPSTREAM}"),
        format!("listen = \"{url}\"\n{ISSUER}{UPSTREAM}"),
        format!("{ISSUER}jwks_url = \"{url}\"\n{UPSTREAM}"),
        format!(
            "{}{UPSTREAM}",
            ISSUER.replace("https://id.example.com", &url)
        ),
        format!(
            "{ISSUER}introspection = {{ url = \"{url}\", client_id = \"a\", client_secret = \"b\" }}\n{UPSTREAM}"
        ),
    ] {
        stage.write("spanner.toml", &text);
        let config = stage.path("spanner.toml");
        let output = run(&["check", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{text}\n{output:?}");
        let said = said(&output);
        assert!(!said.contains(SECRET), "{text}\n{said}");
        is_plain(&said);
    }
}

/// Each reason for which there is no answer, by its own words and with the upstream's name.
#[tokio::test]
async fn the_log_says_why_an_upstream_does_not_answer() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let plain = Model::start("model").await;
    let plain = plain.url.trim_start_matches("http://").to_owned();
    let rows = [
        (format!("http://{closed}"), "connection refused"),
        (
            "http://nobody.invalid:9".to_owned(),
            "name not resolved (DNS)",
        ),
        (format!("https://{plain}"), "TLS failed"),
    ];
    for (url, reason) in rows {
        let stage = Stage::set().await;
        let mut running = start_logging(&stage, &openai(&url), "").await;
        let token = stage.token("alice", &["support"]);
        let call = || {
            http::Request::post(format!("http://{}/v1/chat/completions", running.address))
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {token}"))
        };
        for _ in 0..3 {
            assert_eq!(ask(call(), prompt()).await.status, 502);
        }
        signal(&running.child, "-TERM").await;
        let mut lines = Vec::new();
        while let Some(line) = timeout(PATIENCE, running.log.next_line())
            .await
            .unwrap()
            .unwrap()
        {
            lines.push(line);
        }
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("no answer"))
            .collect();
        assert_eq!(told.len(), 1, "{lines:#?}");
        let host = url.split("://").nth(1).unwrap();
        assert!(
            told[0].contains(reason) && told[0].contains(host),
            "{told:?}"
        );
        assert!(told[0].contains("WARN"), "{told:?}");
    }
}

/// A ledger of three starts, and so of three segments, and its configuration.
async fn three(stage: &Stage) -> String {
    let model = Model::start("model").await;
    for _ in 0..3 {
        let service = stage.serve_before(&model.url).await;
        let token = stage.token("alice", &["support"]);
        ask(chat(&service, &token), prompt()).await;
        service.stop().await.unwrap();
    }
    stage.path("ledger").to_str().unwrap().to_owned()
}

fn segments(dir: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_lost_segment_is_told_read_past_and_acknowledged() {
    let stage = Stage::set().await;
    let dir = three(&stage).await;
    let all = segments(&dir);
    let number = |name: &str| name.trim_end_matches(".seg").parse::<u64>().unwrap();
    let (from, to) = (number(&all[1]), number(&all[2]) - 1);
    fs::remove_file(Path::new(&dir).join(&all[1])).unwrap();
    let missing = format!("entries {from} to {to} are missing");
    for args in [
        &["show"][..],
        &["show", "--json"],
        &["history"],
        &["summary"],
        &["summary", "--format", "json"],
        &["export"],
        &["export", "--format", "csv"],
    ] {
        let shown = run(&[&["ledger", args[0], &*dir], &args[1..]].concat());
        assert_eq!(shown.status.code(), Some(1), "{args:?}: {shown:?}");
        assert!(said(&shown).contains(&missing), "{args:?}: {shown:?}");
    }
    let shown = run(&["ledger", "show", &dir, "--json"]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count(), 2);
    let verified = run(&["ledger", "verify", &dir, "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let line: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(
        (&line["result"], &line["first_bad"]),
        (&"missing".into(), &from.into())
    );
    assert_eq!(line["missing"][0]["to"], to);
    // The start names the command that lets it go on.
    let config = stage.path("spanner.toml");
    let refused = run(&["--config", config.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let words = format!("spanner ledger acknowledge {dir} --reason");
    assert!(said(&refused).contains(&words), "{refused:?}");
    is_plain(&said(&refused));
    for reason in ["", " ", "\u{200b}"] {
        let refused = run(&["ledger", "acknowledge", &dir, "--reason", reason]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    let done = run(&["ledger", "acknowledge", &dir, "--reason", "the disk failed"]);
    assert!(
        done.status.success() && said(&done).contains(&missing),
        "{done:?}"
    );
    let again = run(&["ledger", "acknowledge", &dir, "--reason", "again"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let mut running = start(&stage, &openai("http://127.0.0.1:9")).await;
    signal(&running.child, "-TERM").await;
    timeout(PATIENCE, running.child.wait())
        .await
        .unwrap()
        .unwrap();
    let shown = run(&["ledger", "show", &dir]);
    assert!(
        shown.status.success() && said(&shown).contains("which was acknowledged"),
        "{shown:?}"
    );
    let history = run(&["ledger", "history", &dir]);
    let told = said(&history);
    assert!(
        told.contains("ledger.acknowledged") && told.contains("the disk failed"),
        "{told}"
    );
    let verified = run(&["ledger", "verify", &dir]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let accepted = run(&["ledger", "verify", &dir, "--accept-acknowledged"]);
    assert!(accepted.status.success(), "{accepted:?}");
    assert!(
        said(&verified).starts_with("acknowledged: "),
        "{verified:?}"
    );
}

#[tokio::test]
async fn a_cut_end_is_noticed_though_tiles_and_checkpoint_are_gone() {
    let stage = Stage::set().await;
    let dir = three(&stage).await;
    let last = segments(&dir).pop().unwrap();
    fs::remove_file(Path::new(&dir).join(last)).unwrap();
    fs::remove_file(Path::new(&dir).join("checkpoint")).unwrap();
    fs::remove_dir_all(Path::new(&dir).join("tile")).unwrap();
    let config = stage.path("spanner.toml");
    let refused = run(&["--config", config.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        said(&refused).contains("its end was cut off"),
        "{refused:?}"
    );
    // Without the note as well nothing can be compared, and that is said.
    fs::remove_file(stage.path("ledger.checkpoint")).unwrap();
    let mut running = start(&stage, &openai("http://127.0.0.1:9")).await;
    signal(&running.child, "-TERM").await;
    timeout(PATIENCE, running.child.wait())
        .await
        .unwrap()
        .unwrap();
    let verified = said(&run(&["ledger", "verify", &dir]));
    assert!(
        verified.contains("there was no checkpoint to compare them with"),
        "{verified}"
    );
}

#[tokio::test]
async fn a_removed_lock_lets_no_second_process_in() {
    let stage = Stage::set().await;
    let lines = openai("http://127.0.0.1:9");
    let mut running = start(&stage, &lines).await;
    fs::remove_file(stage.path("ledger/lock")).unwrap();
    let second = Command::new(binary())
        .args(["serve", "--config"])
        .arg(stage.path("spanner.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = said(&second);
    assert!(
        said.contains("written by somebody else") && said.contains("stop the other"),
        "{said}"
    );
    signal(&running.child, "-TERM").await;
    timeout(PATIENCE, running.child.wait())
        .await
        .unwrap()
        .unwrap();
    let dir = stage.path("ledger");
    assert!(
        run(&["ledger", "verify", dir.to_str().unwrap()])
            .status
            .success()
    );
}

#[tokio::test]
async fn a_wrong_log_filter_is_told_and_a_taken_port_is_named() {
    let stage = Stage::set().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = stage.configure(&openai("http://127.0.0.1:9"));
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("127.0.0.1:0", &address);
    fs::write(&config, text).unwrap();
    let mut child = tokio::process::Command::new(binary())
        .args(["serve", "--config"])
        .arg(&config)
        .env("RUST_LOG", "a=b=c")
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
        said.push_str(&line);
        said.push('\n');
    }
    assert!(
        said.contains("`RUST_LOG` cannot be read and does not count"),
        "{said}"
    );
    let named = format!("`listen = \"{address}\"` cannot be listened at");
    assert!(
        said.contains(&named) && said.contains("take another port"),
        "{said}"
    );
}
