//! Streams whose messages name models, through a real gate.

use std::task::Poll;

use http::HeaderMap;
use spanner_core::record::Finish;
use spanner_core::testing::{Fixed, MemorySink, Rules};
use spanner_core::{Arrival, Caller, Gate, Question, SinkFault};

use super::*;
use crate::resolve::{BodyError, Broken, Pace};

/// What became of a stream.
struct End {
    passed: Vec<u8>,
    refused: bool,
    refusal: Option<Refusal>,
    sink: MemorySink,
}

fn call(name: &str) -> Vec<u8> {
    frame(&message([(1, name)]))
}

/// Only `a…` models may be used.
fn may_use(question: &Question<'_>) -> bool {
    question
        .resource
        .name()
        .is_some_and(|name| name.as_str().starts_with('a'))
}

/// Sends a stream through resolution, decision and forwarding.
async fn travel(frames: Vec<Chunk>, sink: MemorySink, late: Option<SinkFault>) -> End {
    let routes = routes(surface::open_inference());
    let parts = parts(
        "POST /inference.GRPCInferenceService/ModelStreamInfer",
        &[GRPC],
    );
    let body = StreamBody::new(stream::iter(frames));
    let (target, mut body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    let host = Fixed::at("2026-11-23T12:00:00Z");
    let gate = Gate::new(
        "test",
        "production".parse().unwrap(),
        Rules::allow(may_use),
        sink.clone(),
        host,
    );
    let decided = gate
        .open(Arrival::new())
        .decide(Caller::for_test("alice"), target);
    let permit = decided.recorded().await.unwrap();
    sink.fail_late(late);
    let broken = Broken::default();
    body.attach(
        permit.meter(),
        permit.inquiry(),
        broken.clone(),
        Pace::none(),
    );
    let mut settlement = permit.forward();
    let (mut passed, mut refused) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => passed.extend_from_slice(&data),
            Ok(Err(_)) => {}
            Err(BodyError::Refused) => refused = true,
            Err(BodyError::Body(_)) => break,
        }
    }
    drop(body);
    settlement.finish();
    drop(settlement);
    let refusal = std::future::poll_fn(|cx| match broken.poll_broken(cx) {
        Poll::Ready(refusal) => Poll::Ready(Some(refusal)),
        Poll::Pending => Poll::Ready(None),
    });
    End {
        passed,
        refused,
        refusal: refusal.await,
        sink,
    }
}

async fn sent(content: &[u8]) -> End {
    let frames = vec![Ok(Frame::data(Bytes::copy_from_slice(content)))];
    travel(frames, MemorySink::new(), None).await
}

fn codes(sink: &MemorySink) -> Vec<String> {
    sink.decisions()
        .into_iter()
        .map(|decision| decision.reason)
        .collect()
}

#[tokio::test]
async fn one_model_is_decided_once() {
    let content = [call("a1"), call("a1"), call("a1")].concat();
    let end = sent(&content).await;
    assert_eq!(end.passed, content);
    assert!(!end.refused && end.refusal.is_none());
    assert_eq!(codes(&end.sink), ["granted"]);
    assert_eq!(end.sink.outcomes()[0].bytes_in, content.len() as u64);
}

#[tokio::test]
async fn another_model_is_decided_and_recorded_on_its_own() {
    let content = [call("a1"), call("a2"), call("a1"), call("a2")].concat();
    let end = sent(&content).await;
    assert_eq!(end.passed, content);
    assert_eq!(codes(&end.sink), ["granted", "granted"]);
    let decisions = end.sink.decisions();
    assert_eq!(decisions[1].parent, Some(decisions[0].id));
    let outcomes = end.sink.outcomes();
    assert_eq!(outcomes.len(), 2);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.finish == Finish::Complete)
    );
}

#[tokio::test]
async fn a_refused_message_is_never_seen() {
    let first = call("a1");
    let end = sent(&[first.clone(), call("b"), call("a1")].concat()).await;
    assert_eq!(end.passed, first);
    assert!(end.refused);
    assert_eq!(end.refusal.unwrap().code(), "authz.no_permit");
    assert_eq!(codes(&end.sink), ["granted", "authz.no_permit"]);
    assert_eq!(end.sink.outcomes().len(), 2);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_never_seen() {
    let rows: &[(Vec<u8>, &str)] = &[
        (frame(&message([(3, "x")])), "request.no_model"),
        (frame(&message([(1, "a b")])), "request.bad_model"),
        (
            frame(&message([(1, "a1"), (1, "b")])),
            "request.duplicate_field",
        ),
        (frame(b"\x0a\x05a"), "request.bad_message"),
        (b"\x01\0\0\0\x01x".to_vec(), "request.bad_message"),
        (b"\0\xFF\xFF\xFF\xFFx".to_vec(), "request.too_large"),
        (b"\0\0\0".to_vec(), "request.incomplete"),
        (call("a1")[..6].to_vec(), "request.incomplete"),
    ];
    for (second, code) in rows {
        let first = call("a1");
        let end = sent(&[first.clone(), second.clone()].concat()).await;
        assert_eq!(end.passed, first, "{code}");
        assert!(end.refused, "{code}");
        assert_eq!(end.refusal.unwrap().code(), *code);
        assert_eq!(codes(&end.sink), ["granted", code]);
        assert_eq!(end.sink.outcomes().len(), 2, "{code}");
    }
}

#[tokio::test]
async fn the_decision_is_the_same_wherever_the_stream_is_cut() {
    let content = [call("a1"), call("a2"), call("b")].concat();
    for at in 0..=content.len() {
        let (first, second) = content.split_at(at);
        let frames = [first, second].map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
        let end = travel(frames.into(), MemorySink::new(), None).await;
        assert_eq!(end.passed, [call("a1"), call("a2")].concat(), "{at}");
        assert_eq!(
            codes(&end.sink),
            ["granted", "granted", "authz.no_permit"],
            "{at}"
        );
    }
}

#[tokio::test]
async fn a_decision_that_cannot_be_recorded_passes_nothing() {
    let frames = vec![Ok(Frame::data(Bytes::from(
        [call("a1"), call("a2")].concat(),
    )))];
    let end = travel(frames, MemorySink::new(), Some(SinkFault::Closed)).await;
    assert_eq!(end.passed, call("a1"));
    assert_eq!(end.refusal.unwrap().code(), "audit.unavailable");
}

#[tokio::test]
async fn too_many_models_on_one_stream_are_refused() {
    let calls: Vec<Vec<u8>> = (0..65).map(|n| call(&format!("a{n}"))).collect();
    let end = sent(&calls.concat()).await;
    assert_eq!(end.passed, calls[..64].concat());
    assert_eq!(end.refusal.unwrap().code(), "request.too_many_models");
}

#[tokio::test]
async fn trailers_and_failures_of_a_stream_pass() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    let frames: Vec<Chunk> = vec![
        Ok(Frame::data(call("a1").into())),
        Ok(Frame::trailers(trailers)),
    ];
    let end = travel(frames, MemorySink::new(), None).await;
    assert!(!end.refused && end.refusal.is_none());
    let frames: Vec<Chunk> = vec![
        Ok(Frame::data(call("a1").into())),
        Err(std::io::Error::other("reset")),
    ];
    let end = travel(frames, MemorySink::new(), None).await;
    assert!(!end.refused && end.refusal.is_none());
}

#[tokio::test]
async fn without_an_inquiry_only_the_first_model_passes() {
    let routes = routes(surface::open_inference());
    let parts = parts(
        "POST /inference.GRPCInferenceService/ModelStreamInfer",
        &[GRPC],
    );
    let content = [call("a1"), call("a1"), call("a2")].concat();
    let body = chunks([content.as_slice()]);
    let (_, mut body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    assert!(body.frame().await.unwrap().is_ok());
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_response_is_woken_when_the_request_breaks_off() {
    let broken = Broken::default();
    let waiting = tokio::spawn({
        let broken = broken.clone();
        async move { std::future::poll_fn(|cx| broken.poll_broken(cx)).await }
    });
    tokio::task::yield_now().await;
    broken.set(fault(RequestFault::Message));
    broken.set(fault(RequestFault::NoModel));
    assert_eq!(waiting.await.unwrap(), fault(RequestFault::Message));
}
