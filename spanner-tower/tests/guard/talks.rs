//! WebSockets: what opens one, and what each frame asks for.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use spanner_core::record::OutcomeClass;
use spanner_core::testing::MemorySink;
use spanner_tower::{Conversation, GuardLayer, RequestBody, surface};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{Book, Names};

/// What is said in a socket: texts, and whether they are sent as binary messages.
type Said = &'static [(&'static str, bool)];

/// What became of each frame.
type Heard = Arc<Mutex<Vec<Result<(), String>>>>;

/// Opens a socket, says these things in it, and closes it; what was heard of each, the
/// status, and the sink.
async fn talk(
    token: &str,
    target: &str,
    frames: Said,
) -> (Vec<Result<(), String>>, u16, MemorySink) {
    talk_with(token, target, frames, |talk| talk.sent(7)).await
}

/// What the model says.
type Answer = fn(&mut Conversation);

/// The same, with what the model says at the end.
async fn talk_with(
    token: &str,
    target: &str,
    frames: Said,
    answer: Answer,
) -> (Vec<Result<(), String>>, u16, MemorySink) {
    let sink = MemorySink::new();
    let guard = GuardLayer::builder(Names, Book, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .surface(surface::named("gemini").unwrap())
        .websockets()
        .build()
        .unwrap();
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    let inner = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let told = Arc::clone(&told);
        async move {
            let (mut parts, _) = request.into_parts();
            let talk = Conversation::take(&mut parts.extensions);
            // As the pump of an upgraded connection: it goes on when the response is sent.
            tokio::spawn(async move {
                let mut talk = talk.unwrap();
                tokio::task::yield_now().await;
                for (frame, binary) in frames {
                    let examined = talk.examine(frame.as_bytes(), *binary).await;
                    let stop = examined.is_err();
                    told.lock().unwrap().push(examined.map_err(|refused| {
                        assert!(refused.reason().len() <= 123);
                        refused.to_string()
                    }));
                    if stop {
                        return;
                    }
                }
                answer(&mut talk);
                talk.finish();
            });
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            Ok::<_, Infallible>(response)
        }
    });
    let request = Request::get(target)
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = guard.layer(inner).oneshot(request).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let heard = heard.lock().unwrap().clone();
    (heard, response.status().as_u16(), sink)
}

#[tokio::test]
async fn a_socket_whose_address_names_a_model_is_decided_when_it_is_opened() {
    let (heard, status, sink) = talk(
        "alice",
        "/v1/realtime?model=acme/voice",
        &[
            (
                r#"{"type":"session.update","session":{"voice":"x"}}"#,
                false,
            ),
            ("\u{1}sound", true),
        ],
    )
    .await;
    assert_eq!((status, heard), (101, vec![Ok(()), Ok(())]));
    assert_eq!(sink.decisions().len(), 1);
    let outcome = &sink.outcomes()[0];
    assert_eq!((outcome.status, outcome.bytes_out), (Some(101), 7));

    let (heard, status, _) = talk("alice", "/v1/realtime?model=gpt-x", &[]).await;
    assert_eq!((status, heard), (403, vec![]));
}

#[tokio::test]
async fn a_frame_that_names_another_model_is_decided_by_itself() {
    let (heard, status, sink) = talk(
        "alice",
        "/v1/responses",
        &[
            (r#"{"type":"response.create","model":"acme/a"}"#, false),
            (r#"{"type":"response.create","model":"acme/b"}"#, false),
            (r#"{"type":"response.create","model":"acme/a"}"#, false),
            (r#"{"type":"response.create","model":"gpt-x"}"#, false),
        ],
    )
    .await;
    assert_eq!(status, 101);
    assert!(heard[..3].iter().all(Result::is_ok), "{heard:?}");
    let refused = heard[3].as_ref().unwrap_err();
    assert!(refused.contains("may not generate on `gpt-x`"), "{refused}");
    let asked: Vec<Vec<Option<String>>> = sink
        .decisions()
        .into_iter()
        .map(|decision| decision.target.into_iter().map(|pair| pair.model).collect())
        .collect();
    let named = |name: &str| vec![Some(name.to_owned())];
    assert_eq!(
        asked,
        [vec![], named("acme/a"), named("acme/b"), named("gpt-x")]
    );
    assert_eq!(sink.outcomes().len(), 4);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_or_not_at_all_ends_the_conversation() {
    let rows: &[(&str, Said, &str)] = &[
        (
            "/v1/responses",
            &[(r#"{"type":"response.create"}"#, false)],
            "names no model",
        ),
        ("/v1/responses", &[("sound", true)], "names no model"),
        (
            "/v1/responses",
            &[("hello", false)],
            "not one JSON document",
        ),
        (
            "/v1/responses",
            &[(r#"{"model":"acme/a","model":"acme/b"}"#, false)],
            "stands twice",
        ),
        (
            "/v1/responses",
            &[(r#"{"model":"acme/a","previous_response_id":"r"}"#, false)],
            "cannot be traced",
        ),
        (
            "/v1/realtime?model=acme/a",
            &[(r#"{"session":{"model":"acme/b"}}"#, false)],
            "different models",
        ),
        (
            "/v1/realtime?model=acme/a",
            &[(
                r#"{"session":{"audio":{"input":{"transcription":{"model":"gpt-x"}}}}}"#,
                false,
            )],
            "gpt-x",
        ),
        (
            "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            &[(r#"{"setup":{"model":"models/gpt-x"}}"#, true)],
            "gpt-x",
        ),
    ];
    for (target, frames, due) in rows {
        let (heard, status, sink) = talk("alice", target, frames).await;
        assert_eq!(status, 101, "{target}");
        let refused = heard.last().unwrap().as_ref().unwrap_err();
        assert!(refused.contains(due), "{target} {frames:?}: {refused}");
        assert_eq!(sink.decisions().len(), sink.outcomes().len(), "{target}");
    }
}

#[tokio::test]
async fn nobody_opens_a_socket_without_a_token_or_on_a_route_without_frames() {
    let (_, status, _) = talk("forged", "/v1/realtime?model=acme/voice", &[]).await;
    assert_eq!(status, 401);
    let (_, status, _) = talk("alice", "/v1/models", &[]).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn what_the_model_reports_in_a_conversation_is_recorded() {
    let target = "/v1/realtime?model=acme/a";
    let frames: Said = &[(r#"{"type":"response.create"}"#, false)];
    let done = |talk: &mut Conversation| {
        for _ in 0..2 {
            talk.heard(br#"{"type":"response.done","response":{"status":"completed","usage":{"input_tokens":20,"output_tokens":10,"total_tokens":30}}}"#);
        }
        talk.closing(1000);
    };
    let (_, _, sink) = talk_with("alice", target, frames, done).await;
    let outcomes = sink.outcomes();
    let [ended] = outcomes.as_slice() else {
        panic!("one outcome is due, not {outcomes:?}");
    };
    let tokens = (ended.tokens_in, ended.tokens_out, ended.tokens_total);
    assert_eq!(tokens, (Some(40), Some(20), Some(60)));
    assert_eq!(ended.class, OutcomeClass::Ok);
    assert!(ended.bytes_out > 200);
}

#[tokio::test]
async fn a_conversation_in_which_the_model_fails_is_its_failure() {
    let target = "/v1/realtime?model=acme/a";
    let frames: Said = &[(r#"{"type":"response.create"}"#, false)];
    let rows: [(Answer, &str); 3] = [
        (
            |talk| {
                talk.heard(br#"{"type":"response.done","response":{"status":"failed","status_details":{"error":{"code":"internal_error"}}}}"#)
            },
            "internal_error",
        ),
        (
            |talk| talk.heard(br#"{"type":"error","error":{"type":"server_error","code":null}}"#),
            "server_error",
        ),
        (|talk| talk.closing(1011), "close:1011"),
    ];
    for (answer, word) in rows {
        let (_, _, sink) = talk_with("alice", target, frames, answer).await;
        let ended = &sink.outcomes()[0];
        assert_eq!(ended.class, OutcomeClass::ModelFailed, "{word}");
        assert_eq!(ended.error_type.as_deref(), Some(word));
        assert_eq!(ended.fault, Some(spanner_core::Fault::Model));
    }
}
