//! A model's name means the same wherever it is written.

use http::Request;
use serde_json::{Value, json};

use crate::support::{Model, Stage, ask, get, post, prompt, until};
use crate::{path, printed};

/// What the command prints, and its exit code.
fn run(args: &[&str]) -> (String, i32) {
    let output = crate::run(args);
    (printed(&output), output.status.code().unwrap())
}

fn ollama(lines: &str) -> String {
    format!("[[upstream]]\nsurface = \"ollama\"\nurl = \"http://127.0.0.1:9\"\n{lines}")
}

const FORBID: &str = "@id(\"gemma\") @reason(\"not reviewed\")\nforbid (principal, action, resource in Spanner::Model::\"gemma3:latest\");\n";

#[tokio::test]
async fn a_name_that_a_surface_folds_is_refused_with_the_spelling_that_works() {
    let stage = Stage::set().await;
    let config = stage.configure(&ollama(""));
    let config = config.to_str().unwrap();
    assert_eq!(run(&["check", "--config", config]).1, 0);

    let manifest = crate::support::MANIFEST.replace("acme/sentiment", "Gemma3:latest");
    stage.write("access/models/gemma.toml", &manifest);
    stage.write("access/policies/gemma.cedar", FORBID);
    let (text, code) = run(&["check", "--config", config]);
    assert_eq!(code, 1, "{text}");
    for words in [
        "policies/gemma.cedar:2:56: no request through the surface `ollama` is ever about `gemma3:latest`; write `gemma3`",
        "models/gemma.toml:2:9: no request through the surface `ollama` in `production` is ever about `Gemma3:latest`; write `gemma3`",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    std::fs::remove_file(stage.path("access/models/gemma.toml")).unwrap();

    // What names a directory itself is told how to have its names compared.
    let access = path(&stage, "access");
    let explain = |args: &[&str]| {
        let question = [
            "access",
            "explain",
            "--caller",
            "user:corp/ann",
            "--action",
            "generate",
            "--environment",
            "production",
            "--model",
            "gemma3:latest",
        ];
        run(&[&question, args].concat())
    };
    let (text, code) = explain(&[&access]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("names are compared as they are written"),
        "{text}"
    );
    let (text, code) = explain(&[&access, "--config", config]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("write `gemma3`"), "{text}");
    stage.write(
        "access/policies/gemma.cedar",
        &FORBID.replace(":latest", ""),
    );
    let (text, code) = explain(&["--config", config]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("is ever about `gemma3:latest`; write `gemma3`"),
        "{text}"
    );
    let next = path(&stage, "access");
    let (text, code) = run(&["access", "diff", &access, &next, "--config", config]);
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn the_model_of_an_upstream_has_the_spelling_of_its_surface() {
    let stage = Stage::set().await;
    for (surface, model, advice) in [
        ("ollama", "Gemma3:latest", "write `gemma3`"),
        ("gemini", "models/g", "write `g`"),
        ("hf-router", "acme/m:together", "write `acme/m`"),
        ("vertex-ai", "google/g@001", "write `google/g`"),
        ("sglang", "base:lora", "write `base` or `lora`"),
        ("ollama", "gemma3:local", "write `gemma3`"),
        ("git-http", "acme/m.git", "write `acme/m`"),
        ("git-http", "models/acme/m", "write `acme/m`"),
        ("hf-hub", "datasets/acme/m", "write `acme/m`"),
        ("hf-hub", "spaces/acme/m.git", "write `acme/m`"),
    ] {
        let lines = format!(
            "[[upstream]]\nsurface = \"{surface}\"\nurl = \"http://127.0.0.1:9\"\nmodel = \"{model}\"\n"
        );
        let config = stage.configure(&lines);
        let (text, code) = run(&["check", "--config", config.to_str().unwrap()]);
        assert_eq!(code, 1, "{text}");
        let due = format!(
            "spanner.toml:6:9: no request through the surface `{surface}` is ever about `{model}`; {advice}"
        );
        assert!(text.contains(&due), "{due} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_administration_and_the_ledger_know_the_spelling() {
    let stage = Stage::set().await;
    let service = stage.serve(&ollama("")).await;
    let bearer = format!("Bearer {}", stage.token("ann", &["support"]));
    let posted = |path: &str, body: Value| {
        let request = post(&service, path).header("authorization", &bearer);
        ask(request, body.to_string())
    };
    let explained = posted(
        "/spanner/v1/explain",
        json!({"model": "Gemma3:latest", "action": "generate"}),
    );
    let explained = explained.await;
    assert_eq!(explained.status, 400);
    assert!(
        explained.body.contains("write `gemma3`"),
        "{}",
        explained.body
    );
    let right = posted(
        "/spanner/v1/explain",
        json!({"model": "gemma3", "action": "generate"}),
    );
    assert_eq!(right.await.status, 200);
    let read = |path: &str| {
        let uri = format!("http://{}/spanner/v1/models/{path}", service.address());
        ask(Request::get(uri).header("authorization", &bearer), "")
    };
    for path in ["Gemma3/access", "gemma3:latest/history"] {
        let reply = read(path).await;
        assert_eq!(reply.status, 400, "{path} {}", reply.body);
        assert!(reply.body.contains("write `gemma3`"), "{}", reply.body);
    }
    // A name that is a path stands there with its slashes escaped.
    let reply = read("%2Fmodels%2Fx/access").await;
    assert_eq!(reply.status, 403, "{}", reply.body);
    assert!(reply.body.contains("`/models/x`"), "{}", reply.body);

    let config = path(&stage, "spanner.toml");
    let ledger = path(&stage, "ledger");
    let (text, _) = run(&[
        "ledger", "show", &ledger, "--model", "Gemma3", "--config", &config,
    ]);
    assert!(
        text.contains("the surface `ollama` reads `Gemma3` as `gemma3`"),
        "{text}"
    );
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_model_may_be_named_by_its_path() {
    let stage = Stage::set().await;
    let model = Model::start("vllm").await;
    let manifest = crate::support::MANIFEST.replace("acme/sentiment", "/models/x");
    stage.write("access/models/models/x.toml", &manifest);
    stage.write(
        "access/policies/x.cedar",
        "@id(\"x\") @reason(\"not today\")\nforbid (principal, action == Spanner::Action::\"embed\", resource == Spanner::Endpoint::\"production//models/x\");\n",
    );
    let lines = format!(
        "[[upstream]]\nsurface = \"vllm\"\nurl = \"{}\"\n",
        model.url
    );
    let service = stage.serve(&lines).await;
    let bearer = format!("Bearer {}", stage.token("ann", &["support"]));
    let call = |path: &str, name: &str| {
        let request = post(&service, path).header("authorization", &bearer);
        ask(
            request,
            json!({"model": name, "input": "x", "messages": []}).to_string(),
        )
    };
    assert_eq!(call("/v1/chat/completions", "/models/x").await.status, 200);
    let refused = call("/v1/embeddings", "/models/x").await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("not today"), "{}", refused.body);
    for (name, says) in [
        ("C:\\models\\x", "must not contain '\\\\' (at byte 2)"),
        ("my model", "must not contain ' ' (at byte 2)"),
        ("x[1]", "must not contain '[' (at byte 1)"),
        ("/models//x", "`..` part between its slashes"),
    ] {
        let reply = call("/v1/chat/completions", name).await;
        assert_eq!(reply.status, 400, "{name}");
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(says), "{message}");
    }
    let alike = call("/v1/chat/completions", "/models/\u{445}").await;
    assert_eq!(alike.status, 403);
    assert!(alike.body.contains("U+0445 (at byte 8)"), "{}", alike.body);
    assert!(stage.rows().iter().any(|row| {
        let mut pairs = row.decision.target.iter();
        pairs.any(|pair| pair.model.as_deref() == Some("/models/x"))
    }));
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_broken_manifest_of_a_team_fails_alone() {
    let stage = Stage::set().await;
    let model = Model::start("openai").await;
    let own = crate::support::MANIFEST.replace("acme/sentiment", "team/own");
    stage.write("hub/own/access.toml", &own);
    let lines = format!(
        "[access]\nmodels = \"hub\"\n{}",
        crate::support::openai(&model.url)
    );
    let service = stage.serve(&lines).await;
    let bearer = format!("Bearer {}", stage.token("ann", &["support"]));
    let call = || {
        let request = post(&service, "/v1/chat/completions").header("authorization", &bearer);
        ask(request, prompt())
    };
    assert_eq!(call().await.status, 200);
    stage.write("hub/own/access.toml", "model = ");
    let removed = crate::support::MANIFEST.replace("caller = [\"group:support\"]", "");
    stage.write("access/models/acme/sentiment.toml", &removed);
    until(async || (call().await.status == 403).then_some(())).await;
    until(async || {
        let ready = get(&service, "/spanner/ready").await.json();
        (ready["access"]["broken_manifests"] == 1).then_some(())
    })
    .await;
    let own = |name: &str| {
        let request = post(&service, "/v1/chat/completions").header("authorization", &bearer);
        ask(request, json!({"model": name, "messages": []}).to_string())
    };
    assert_eq!(own("team/own").await.status, 200, "as it was before");
    service.stop().await.unwrap();
    let config = path(&stage, "spanner.toml");
    let (text, code) = run(&["check", "--config", &config]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("hub/own/access.toml:1:9: "), "{text}");
    // After a start it grants nothing; everything else is served.
    let loaded = spanner_proxy::Loaded::read(&stage.path("spanner.toml"));
    assert!(loaded.is_ok(), "{loaded:?}");
    let closed = lines.replace(
        "models = \"hub\"",
        "models = \"hub\"\nbroken_manifests = \"refuse\"",
    );
    let refused = spanner_proxy::Loaded::read(&stage.configure(&closed));
    assert!(refused.is_err());
}
