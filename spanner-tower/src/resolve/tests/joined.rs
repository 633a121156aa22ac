//! Surfaces that a server serves together, and frames of what is opened.

use std::collections::BTreeSet;

use spanner_core::Pair;

use super::*;
use crate::surface::{built_in, named};

const UPGRADE: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];

fn served(names: &[&str]) -> Routes {
    Routes::new(names.iter().map(|name| named(name).unwrap()).collect()).unwrap()
}

async fn touched(routes: &Routes, request: &str, body: &str) -> Result<Vec<String>, String> {
    let (parts, body) = (parts(request, &[JSON]), chunks([body.as_bytes()]));
    match resolve(routes, &parts, body, &Limits::default()).await {
        Ok((target, _)) => Ok(texts(&target)),
        Err(refusal) => Err(refusal.code().to_owned()),
    }
}

/// What a server serves as one.
const TOGETHER: [&[&str]; 16] = [
    &["litellm", "openai"],
    &["openai", "litellm"],
    &["litellm", "anthropic"],
    &["litellm", "openai", "anthropic", "cohere"],
    &["vllm", "openai"],
    &["openai", "anthropic"],
    &["vllm", "openai", "anthropic", "sagemaker-container"],
    &["sglang", "openai"],
    &["llama.cpp", "openai", "anthropic"],
    &["ollama", "openai", "anthropic"],
    &["azure-openai", "openai"],
    &["triton", "oip", "oip-grpc"],
    &["triton-openai", "triton", "oip", "oip-grpc"],
    &["kserve-openai", "kserve-v1", "oip", "oip-grpc"],
    &["hf-hub", "git-http"],
    &["tgi", "openai"],
];

#[test]
fn what_a_server_serves_goes_together() {
    for names in TOGETHER {
        let surfaces = names.iter().map(|name| named(name).unwrap()).collect();
        let joined = Routes::new(surfaces);
        assert!(joined.is_ok(), "{names:?}: {}", joined.unwrap_err());
    }
}

#[test]
fn every_surface_goes_with_one_like_it_and_not_with_itself() {
    for name in built_in() {
        let surface = named(name).unwrap();
        let like = Surface::join("like", &surface, &[]);
        assert!(Routes::new(vec![surface.clone(), like]).is_ok(), "{name}");
        assert!(
            Routes::new(vec![surface.clone(), surface]).is_err(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_first_says_what_is_done_and_what_any_reads_is_read() {
    let rows = [
        // LiteLLM's names are several, separated by commas.
        (
            ["litellm", "openai"],
            r#"{"model":"a,b"}"#,
            Ok(vec!["generate on a", "generate on b"]),
        ),
        // Whoever is named first: what the other one would run is found.
        (
            ["openai", "litellm"],
            r#"{"model":"a","user_config":{"x":1}}"#,
            Err("request.opaque"),
        ),
        (
            ["litellm", "openai"],
            r#"{"model":"a","user_config":{"x":1}}"#,
            Err("request.opaque"),
        ),
        (
            ["vllm", "openai"],
            r#"{"model":"a","tools":[{"type":"image_generation","model":"b"}]}"#,
            Ok(vec!["generate on a", "generate on b"]),
        ),
        (
            ["sglang", "openai"],
            r#"{"model":"a:l","lora_path":"k","tools":[{"function":{"parameters":{"x":{"model":"Golf"}}}}]}"#,
            Ok(vec!["generate on a", "generate on l", "generate on k"]),
        ),
        (
            ["openai", "sglang"],
            r#"{"model":"a","lora_path":"k"}"#,
            Ok(vec!["generate on a", "generate on k"]),
        ),
    ];
    for (names, body, due) in rows {
        let found = touched(&served(&names), "POST /v1/chat/completions", body).await;
        let due = due.map_err(str::to_owned);
        let due = due.map(|pairs| pairs.into_iter().map(str::to_owned).collect());
        assert_eq!(found, due, "{names:?} {body}");
    }
}

#[tokio::test]
async fn what_only_one_has_is_served() {
    let routes = served(&["litellm", "openai"]);
    let evals = r#"{"testing_criteria":[{"model":"a"}]}"#;
    assert_eq!(
        touched(&routes, "POST /v1/evals", evals).await,
        Ok(vec!["generate on a".to_owned()])
    );
    let provider = touched(&routes, "POST /vertex_ai/v1/x", "{}").await;
    assert_eq!(provider, Ok(vec!["administer on the server".to_owned()]));
}

#[tokio::test]
async fn of_two_routes_of_which_none_is_more_exact_the_first_named_counts() {
    let surface = |name: &str, path: &str, action: &str| {
        let row = format!(
            "dialect = \"problem\"\n[[routes]]\nmethod = \"POST\"\npath = \"{path}\"\naction = \"{action}\"\nmodel = \"path:x\"\n"
        );
        Surface::from_toml(name, &row).unwrap()
    };
    let one = surface("one", "/a/{x}/c", "generate");
    let two = surface("two", "/a/b/{x}", "predict");
    for (surfaces, due) in [
        (vec![one.clone(), two.clone()], "generate on b"),
        (vec![two, one], "predict on c"),
    ] {
        let routes = Routes::new(surfaces).unwrap();
        let found = touched(&routes, "POST /a/b/c", "{}").await;
        assert_eq!(found, Ok(vec![due.to_owned()]));
    }
}

#[test]
fn what_is_open_in_one_and_guarded_in_the_other_does_not_go_together() {
    let surface = |action: &str, model: &str| {
        let row = format!(
            "dialect = \"problem\"\n[[routes]]\nmethod = \"POST\"\npath = \"/x\"\naction = \"{action}\"\n{model}"
        );
        Surface::from_toml(action, &row).unwrap()
    };
    let (public, whoami) = (surface("public", ""), surface("whoami", ""));
    let model = "model = \"json:/model\"\n";
    let (run, deploy) = (surface("predict", model), surface("deploy", model));
    let rows = [
        (&public, &public, true),
        (&public, &whoami, false),
        (&public, &run, false),
        (&run, &public, false),
        (&run, &run, true),
        (&run, &surface("embed", model), true),
        (&run, &deploy, true),
        (&deploy, &deploy, true),
    ];
    for (first, second, due) in rows {
        let other = Surface::join("other", second, &[]);
        let joined = Routes::new(vec![first.clone(), other]);
        assert_eq!(joined.is_ok(), due, "{} {}", first.name(), second.name());
    }
}

#[tokio::test]
async fn where_two_do_different_things_both_must_be_allowed() {
    let routes = served(&["litellm", "anthropic"]);
    let parts = parts("POST /v1/files?model=a", &[]);
    let (target, _) = resolve(&routes, &parts, chunks([]), &Limits::default())
        .await
        .unwrap();
    assert_eq!(texts(&target), ["generate on a", "upload on the server"]);
}

/// What a frame touches.
fn said(routes: &Routes, request: &str, frame: &str) -> Result<Vec<String>, RequestFault> {
    let found = routes.classify(&parts(request, &UPGRADE)).unwrap();
    let (messages, _) = found.conversation(&parts(request, &UPGRADE)).unwrap();
    let pairs = messages.pairs(frame.as_bytes(), false)?;
    Ok(pairs.iter().map(Pair::to_string).collect())
}

#[test]
fn tools_of_a_session_are_the_callers_own_and_models_of_a_session_are_not() {
    let schema =
        r#"{"properties":{"car":{"default":{"model":"Golf"},"examples":[{"Model":"Golf"}]}}}"#;
    let tools = format!(r#"[{{"type":"function","name":"f","parameters":{schema}}}]"#);
    let rows = [
        (
            "GET /v1/realtime?model=a",
            format!(r#"{{"type":"session.update","session":{{"tools":{tools},"tracing":{{"metadata":{{"model":"Golf"}}}}}}}}"#),
            vec!["generate on a"],
        ),
        (
            "GET /v1/realtime?model=a",
            r#"{"session":{"audio":{"input":{"transcription":{"model":"w"}}}}}"#.to_owned(),
            vec!["generate on a", "generate on w"],
        ),
        (
            "GET /v1/realtime?model=a",
            format!(r#"{{"type":"response.create","response":{{"tools":{tools},"metadata":{{"model":"Golf"}},"prompt":{{"id":"p","variables":{{"model":"Golf"}}}}}}}}"#),
            vec!["generate on a"],
        ),
        (
            "GET /v1/responses",
            format!(r#"{{"type":"response.create","model":"a","tools":{tools}}}"#),
            vec!["generate on a"],
        ),
        (
            "GET /v1/responses",
            r#"{"type":"response.create","model":"a","tools":[{"type":"image_generation","model":"b"}]}"#.to_owned(),
            vec!["generate on a", "generate on b"],
        ),
    ];
    let openai = served(&["openai"]);
    for (request, frame, due) in &rows {
        assert_eq!(
            said(&openai, request, frame),
            Ok(due.iter().map(ToString::to_string).collect()),
            "{frame}"
        );
    }
    let azure = served(&["azure-openai"]);
    let (_, frame, _) = &rows[0];
    assert_eq!(
        said(&azure, "GET /openai/realtime?deployment=a", frame),
        Ok(vec!["generate on a".to_owned()])
    );
    let (_, frame, _) = &rows[2];
    for (routes, request) in [
        (&azure, "GET /openai/realtime?deployment=a"),
        (&served(&["litellm"]), "GET /v1/realtime?model=a"),
    ] {
        assert_eq!(
            said(routes, request, frame),
            Ok(vec!["generate on a".to_owned()])
        );
    }
    let stored = r#"{"type":"response.create","model":"a","previous_response_id":"r"}"#;
    assert_eq!(
        said(&openai, "GET /v1/responses", stored),
        Err(RequestFault::Opaque)
    );
}

#[test]
fn a_session_that_only_transcribes_names_its_model_there() {
    let transcribes = r#"{"type":"session.update","session":{"type":"transcription","audio":{"input":{"transcription":{"model":"w"}}}}}"#;
    let older = r#"{"type":"transcription_session.update","session":{"input_audio_transcription":{"model":"w"}}}"#;
    let both = r#"{"type":"session.update","session":{"type":"transcription","model":"a","audio":{"input":{"transcription":{"model":"w"}}}}}"#;
    let speaks = r#"{"type":"session.update","session":{"type":"realtime","audio":{"input":{"transcription":{"model":"w"}}}}}"#;
    for (surface, path) in [
        ("openai", "/v1/realtime"),
        ("azure-openai", "/openai/realtime"),
        ("azure-openai", "/openai/v1/realtime"),
        ("litellm", "/realtime"),
        ("litellm", "/openai/v1/realtime"),
    ] {
        let routes = served(&[surface]);
        let request = format!("GET {path}?intent=transcription");
        for (frame, due) in [
            (transcribes, Ok(&["generate on w"][..])),
            (older, Ok(&["generate on w"])),
            (both, Ok(&["generate on w", "generate on a"])),
            (speaks, Err(RequestFault::NoModel)),
        ] {
            let due = due.map(|due| due.iter().map(ToString::to_string).collect());
            let said = said(&routes, &request, frame);
            let said: Result<BTreeSet<String>, _> = said.map(|pairs| pairs.into_iter().collect());
            assert_eq!(said, due, "{surface} {path} {frame}");
        }
    }
}

#[test]
fn a_null_in_a_frame_is_no_name_and_hides_none() {
    let openai = served(&["openai"]);
    for (request, frame, due) in [
        (
            "?model=a",
            r#"{"session":{"model":null}}"#,
            Ok("generate on a"),
        ),
        (
            "",
            r#"{"session":{"model":null}}"#,
            Err(RequestFault::NoModel),
        ),
        (
            "",
            r#"{"model":"b","session":{"model":null}}"#,
            Ok("generate on b"),
        ),
        (
            "?model=a",
            r#"{"model":"b","session":{"model":null}}"#,
            Err(RequestFault::SelectorConflict),
        ),
        (
            "?model=a",
            r#"{"session":{"model":null,"model":"b"}}"#,
            Err(RequestFault::DuplicateMember),
        ),
        (
            "?model=a",
            r#"{"session":{"model":1}}"#,
            Err(RequestFault::Model),
        ),
    ] {
        let due = due.map(|due| vec![due.to_owned()]);
        let request = format!("GET /v1/realtime{request}");
        assert_eq!(said(&openai, &request, frame), due, "{request} {frame}");
    }
}
