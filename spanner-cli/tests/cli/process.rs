//! The program itself: what the operating system tells it.

use std::process::Stdio;

use http::Request;
use spanner_core::record::Finish;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::binary;
use crate::support::{PATIENCE, Stage, openai, prompt, send, serve_pieces, until, whole};

pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) log: Lines<BufReader<ChildStderr>>,
    pub(crate) address: String,
}

pub(crate) async fn start(stage: &Stage, lines: &str) -> Running {
    start_logging(stage, lines, "info").await
}

/// Starts it with what `RUST_LOG` is to say.
pub(crate) async fn start_logging(stage: &Stage, lines: &str, log: &str) -> Running {
    stage.configure(lines);
    start_configured(stage, log).await
}

async fn start_configured(stage: &Stage, log: &str) -> Running {
    let mut child = Command::new(binary())
        .args(["serve", "--config"])
        .arg(stage.path("spanner.toml"))
        .env("RUST_LOG", log)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = waited(&mut log, "upstreams=").await;
    let address = line.split("address=").nth(1).unwrap();
    let address = address.split(' ').next().unwrap().to_owned();
    Running {
        child,
        log,
        address,
    }
}

/// The next line of the log with these words.
async fn waited(log: &mut Lines<BufReader<ChildStderr>>, words: &str) -> String {
    let reading = async {
        loop {
            let line = log.next_line().await.unwrap().expect("a line");
            if line.contains(words) {
                return line;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect(words)
}

pub(crate) async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args([name, &id]).status().await;
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn sigterm_drains_settles_and_exits_with_0() {
    let stage = Stage::set().await;
    let (url, pieces) = serve_pieces().await;
    let mut running = start(&stage, &openai(&url)).await;
    let request = Request::post(format!("http://{}/v1/chat/completions", running.address))
        .header("content-type", "application/json")
        .header(
            "authorization",
            format!("Bearer {}", stage.token("alice", &["support"])),
        );
    let response = send(request, prompt()).await;
    assert_eq!(response.status(), 200);
    signal(&running.child, "-TERM").await;
    let address = running.address.clone();
    until(async || TcpStream::connect(&address).await.is_err().then_some(())).await;
    pieces.send("data: last\n\n").unwrap();
    drop(pieces);
    assert_eq!(whole(response).await.body, "data: last\n\n");
    waited(&mut running.log, "every record is settled").await;
    let status = timeout(PATIENCE, running.child.wait()).await.unwrap();
    assert!(status.as_ref().unwrap().success(), "{status:?}");
    let outcome = stage.rows().pop().unwrap().outcome.unwrap();
    assert_eq!(outcome.finish, Finish::Complete);
}

#[tokio::test]
async fn sighup_reloads_the_access_and_logs_every_problem() {
    let stage = Stage::set().await;
    let mut running = start(&stage, &openai("http://127.0.0.1:9000")).await;
    stage.write(
        "access/models/acme/sentiment.toml",
        "owner = 7\nmodel = 8\n",
    );
    signal(&running.child, "-HUP").await;
    waited(&mut running.log, "start again").await;
    waited(&mut running.log, "sentiment.toml:1:9: ").await;
    waited(&mut running.log, "sentiment.toml:2:9: ").await;
    signal(&running.child, "-INT").await;
    let status = timeout(PATIENCE, running.child.wait()).await.unwrap();
    assert!(status.as_ref().unwrap().success(), "{status:?}");
}

/// What is read at start only is said loudly when it changes; a file with keys that cannot be
/// read is named with the mistake, and what was read before stays in use.
#[tokio::test]
async fn the_log_says_what_was_reloaded_and_what_needs_a_restart() {
    let stage = Stage::set().await;
    stage.write("keys.json", &stage.idp.jwks());
    stage.write("mine.toml", "dialect = \"openai\"\nroutes = []\n");
    stage.write("token", "one");
    let lines = "[[upstream]]\nsurface = [\"openai\", \"./mine.toml\"]\n\
                 url = \"http://127.0.0.1:9000\"\ncredential = { file = \"token\" }\n";
    let configured = stage.configure(lines);
    let text = std::fs::read_to_string(&configured).unwrap();
    let text = text + "jwks_file = \"keys.json\"\n";
    stage.write("spanner.toml", &text);
    let mut running = start_configured(&stage, "info").await;
    let mut sees = async |words: [&str; 2]| {
        let line = waited(&mut running.log, words[0]).await;
        assert!(line.contains(words[1]), "{line}");
    };

    stage.write("keys.json", "{}");
    sees([
        "cannot be read again; those before stay in use",
        "keys.json",
    ])
    .await;
    stage.write("token", "two words");
    sees(["the credential cannot be read again", "token"]).await;
    stage.write("token", "two");
    sees(["the credential changed; the new one is sent", "token"]).await;
    stage.write("mine.toml", "dialect = \"openai\"\nroutes = []\n# more\n");
    sees(["a surface changed, and is read at start only", "mine.toml"]).await;
    stage.write("spanner.toml", &format!("wrong = 7\n{text}"));
    sees([
        "the configuration changed, and is read at start only",
        "problems=1",
    ])
    .await;

    signal(&running.child, "-HUP").await;
    let mut sees = async |words: [&str; 2]| {
        let line = waited(&mut running.log, words[0]).await;
        assert!(line.contains(words[1]), "{line}");
    };
    sees(["SIGHUP: ", "start again"]).await;
    sees(["the credential is as before", "token"]).await;
    sees(["the configuration changed", "spanner.toml"]).await;
    sees(["a surface changed", "mine.toml"]).await;
    stage.write("spanner.toml", &text);
    sees([
        "the configuration is again as it was read at start",
        "spanner.toml",
    ])
    .await;
}

#[tokio::test]
async fn a_second_proxy_does_not_write_the_same_ledger() {
    let stage = Stage::set().await;
    let lines = openai("http://127.0.0.1:9000");
    let _running = start(&stage, &lines).await;
    let second = Command::new(binary())
        .args(["serve", "--config"])
        .arg(stage.path("spanner.toml"))
        .output();
    let second = timeout(PATIENCE, second).await.unwrap().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("written by somebody else"), "{said}");
}
