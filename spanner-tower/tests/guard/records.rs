//! Whatever happens, one decision and one outcome, and no call without either.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use spanner_core::record::{Decision, Finish, Outcome, OutcomeClass};
use spanner_core::testing::{Fixed, MemorySink};
use spanner_core::{Action, Count, Pair, Resource, Share, SinkFault};
use spanner_tower::{Exhausted, GuardLayer, Limits, Reauthorize, RequestBody, surface};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{Behind, Book, Names, chat, guarded, layer, layer_at, send};

fn ends(sink: &MemorySink) -> (OutcomeClass, Finish) {
    assert_eq!(sink.decisions().len(), 1);
    let [outcome] = &*sink.outcomes() else {
        panic!("one outcome is due, not {:?}", sink.outcomes());
    };
    (outcome.class, outcome.finish)
}

#[tokio::test]
async fn nothing_is_served_that_cannot_be_recorded() {
    let faults: [fn(&MemorySink); 3] = [
        |sink| sink.fail(Some(SinkFault::Full)),
        |sink| sink.fail(Some(SinkFault::Closed)),
        |sink| sink.fail_late(Some(SinkFault::Closed)),
    ];
    for fault in faults {
        let (sink, behind) = (MemorySink::new(), Behind::serving());
        fault(&sink);
        let reply = send(&guarded(&sink, &behind), chat("alice", "acme/a")).await;
        assert_eq!(reply.parts.status, 503);
        assert_eq!(reply.header("spanner-fault"), Some("guard_unavailable"));
        assert_eq!(reply.header("retry-after"), Some("5"));
        assert!(behind.seen().is_empty());
    }
}

#[tokio::test]
async fn a_refusal_without_room_stays_a_refusal_and_is_counted() {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    sink.fail(Some(SinkFault::Full));
    let reply = send(&guarded(&sink, &behind), chat("forged", "acme/a")).await;
    assert_eq!(reply.parts.status, 401);
    assert_eq!(sink.counts(), [Count::ShedRefusal]);
    // There is no record that anybody could look up.
    assert_eq!(reply.header("spanner-decision"), None);
}

#[tokio::test]
async fn nothing_is_served_before_the_decision_is_durable() {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    sink.hang(true);
    let guarded = guarded(&sink, &behind);
    let waiting = send(&guarded, chat("alice", "acme/a")).now_or_never();
    assert!(waiting.is_none());
    assert!(behind.seen().is_empty());
    assert_eq!(sink.decisions().len(), 1);
    assert_eq!(
        sink.outcomes().len(),
        1,
        "the client left: the outcome is due"
    );
}

#[tokio::test]
async fn the_models_failure_is_told_from_a_refusal() {
    for (status, fault, class) in [
        (500, "model", OutcomeClass::ModelFailed),
        (503, "model", OutcomeClass::ModelFailed),
        (504, "model_timeout", OutcomeClass::ModelFailed),
        (403, "model", OutcomeClass::CallerError),
        (404, "model", OutcomeClass::CallerError),
    ] {
        let sink = MemorySink::new();
        let behind = Behind::new(move || {
            let forged = Response::builder()
                .status(status)
                .header("spanner-origin", "guard");
            forged.body(Full::from("the model's own words")).unwrap()
        });
        let reply = send(&guarded(&sink, &behind), chat("alice", "acme/a")).await;
        assert_eq!(reply.parts.status, status);
        assert_eq!(reply.header("spanner-fault"), Some(fault));
        assert_eq!(reply.header("spanner-origin"), None);
        assert_eq!(reply.text(), "the model's own words");
        let finish = match fault {
            "model_timeout" => Finish::TimedOut,
            _ => Finish::Complete,
        };
        assert_eq!(ends(&sink), (class, finish));
        let told = sink.outcomes()[0].fault.map(|fault| fault.as_str());
        assert_eq!(told, Some(fault));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_models_failure() {
    let sink = MemorySink::new();
    let failing = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        let frames = [
            Ok(Frame::data(Bytes::from("half"))),
            Err(std::io::Error::other("gone")),
        ];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    });
    let response = layer(sink.clone())
        .layer(failing)
        .oneshot(chat("alice", "acme/a"))
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(
        ends(&sink),
        (OutcomeClass::ModelFailed, Finish::ModelFailed)
    );
    assert_eq!(sink.outcomes()[0].bytes_out, 4);
}

#[tokio::test]
async fn a_failure_within_a_good_answer_is_the_models() {
    let broken = "data: {\"choices\":[]}\n\ndata: {\"error\":{\"message\":\"a secret\",\"type\":\"server_error\"}}\n\n";
    let rows = [
        (200, "text/event-stream", broken, Some("server_error")),
        (
            200,
            "application/json",
            r#"{"error":{"message":"x","code":"boom"}}"#,
            Some("boom"),
        ),
        (200, "text/event-stream", "event: error\ndata: x\n\n", None),
    ];
    for (status, media, body, word) in rows {
        let sink = MemorySink::new();
        let behind = Behind::new(move || {
            let answer = Response::builder()
                .status(status)
                .header("content-type", media);
            answer.body(Full::from(body)).unwrap()
        });
        let reply = send(&guarded(&sink, &behind), chat("alice", "acme/a")).await;
        assert_eq!((reply.parts.status.as_u16(), reply.text()), (status, body));
        assert_eq!(
            ends(&sink),
            (OutcomeClass::ModelFailed, Finish::Complete),
            "{body}"
        );
        let outcome = &sink.outcomes()[0];
        assert_eq!(outcome.fault.map(|fault| fault.as_str()), Some("model"));
        assert_eq!(outcome.error_type.as_deref(), word);
    }
}

#[tokio::test]
async fn the_body_of_an_error_names_it_and_does_not_change_whose_it_is() {
    let sink = MemorySink::new();
    let behind = Behind::new(|| {
        let answer = Response::builder().status(429);
        let answer = answer.header("content-type", "application/json");
        let body = r#"{"error":{"message":"x","code":"rate_limit_exceeded"}}"#;
        answer.body(Full::from(body)).unwrap()
    });
    send(&guarded(&sink, &behind), chat("alice", "acme/a")).await;
    assert_eq!(ends(&sink), (OutcomeClass::CallerError, Finish::Complete));
    let word = sink.outcomes()[0].error_type.clone();
    assert_eq!(word.as_deref(), Some("rate_limit_exceeded"));
}

/// Clients raise an error as soon as they read of one, and hang up.
#[tokio::test]
async fn who_leaves_after_a_failure_was_reported_did_not_cause_it() {
    for (event, class) in [
        ("{\"error\":{\"type\":\"x\"}}", OutcomeClass::ModelFailed),
        ("{\"choices\":[]}", OutcomeClass::ClientLeft),
    ] {
        let sink = MemorySink::new();
        let streaming = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
            let first =
                Ok::<_, std::io::Error>(Frame::data(Bytes::from(format!("data: {event}\n"))));
            let frames = stream::iter([first]).chain(stream::pending());
            let answer = Response::builder().header("content-type", "text/event-stream");
            let answer = answer.body(StreamBody::new(frames)).unwrap();
            async { Ok::<_, Infallible>(answer) }
        });
        let guarded = layer(sink.clone()).layer(streaming);
        let response = guarded.oneshot(chat("alice", "acme/a")).await.unwrap();
        let mut body = Box::pin(response.into_body());
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(ends(&sink), (class, Finish::ClientLeft), "{event}");
    }
}

#[tokio::test]
async fn an_inner_error_is_the_models_failure() {
    let sink = MemorySink::new();
    let failing = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("connection refused"))
    });
    let answer = layer(sink.clone())
        .layer(failing)
        .oneshot(chat("alice", "acme/a"))
        .await;
    assert_eq!(answer.unwrap_err().to_string(), "connection refused");
    assert_eq!(
        ends(&sink),
        (OutcomeClass::ModelFailed, Finish::ModelFailed)
    );
}

/// AUD-25.
#[tokio::test]
async fn a_panic_behind_the_guard_is_recorded() {
    let sink = MemorySink::new();
    let guarded =
        layer(sink.clone()).layer(service_fn(async |request: Request<RequestBody<_>>| {
            let _: &RequestBody<Full<Bytes>> = request.body();
            if request.method() == "POST" {
                panic!("a bug in the handler");
            }
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
    let call = tokio::spawn(guarded.oneshot(chat("alice", "acme/a")));
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!(ends(&sink), (OutcomeClass::ModelFailed, Finish::Panicked));
}

#[tokio::test]
async fn a_client_that_leaves_while_the_model_works_is_recorded_once() {
    let sink = MemorySink::new();
    let guarded =
        layer(sink.clone()).layer(service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }));
    assert!(
        guarded
            .oneshot(chat("alice", "acme/a"))
            .now_or_never()
            .is_none()
    );
    assert_eq!(ends(&sink), (OutcomeClass::ClientLeft, Finish::ClientLeft));
}

/// AUD-24.
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_answer_is_recorded_once() {
    let sink = MemorySink::new();
    let endless = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        let frames = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from("more"))));
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames.boxed())))
    });
    let response = layer(sink.clone())
        .layer(endless)
        .oneshot(chat("alice", "acme/a"))
        .await
        .unwrap();
    let mut body = response.into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(sink.outcomes().is_empty(), "the answer goes on");
    drop(body);
    assert_eq!(ends(&sink), (OutcomeClass::ClientLeft, Finish::ClientLeft));
    assert_eq!(
        (sink.outcomes()[0].bytes_in, sink.outcomes()[0].bytes_out),
        (0, 12)
    );
}

#[tokio::test]
async fn a_body_that_nobody_polls_to_its_end_is_complete_when_all_its_bytes_were_sent() {
    let sink = MemorySink::new();
    let counted = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from("1234")))];
        let body = StreamBody::new(stream::iter(frames));
        let response = Response::builder().header("content-length", "4").body(body);
        Ok::<_, Infallible>(response.unwrap())
    });
    let response = layer(sink.clone())
        .layer(counted)
        .oneshot(chat("alice", "acme/a"))
        .await
        .unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(ends(&sink), (OutcomeClass::Ok, Finish::Complete));
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let sink = MemorySink::new();
        let behind = Behind::new(move || {
            Response::builder()
                .status(status)
                .body(Full::default())
                .unwrap()
        });
        let guarded = guarded(&sink, &behind);
        drop(guarded.oneshot(chat("alice", "acme/a")).await.unwrap());
        assert_eq!(ends(&sink), (OutcomeClass::Ok, Finish::Complete));
    }
}

#[tokio::test]
async fn the_service_behind_sees_who_was_allowed_and_not_the_credential() {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    let mut request = chat("alice", "acme/a");
    for name in ["spanner-decision", "spanner-anything"] {
        request
            .headers_mut()
            .insert(name, "forged".parse().unwrap());
    }
    send(&guarded(&sink, &behind), request).await;
    let [seen] = &*behind.seen() else {
        panic!("one call is due")
    };
    assert!(seen.headers.get("authorization").is_none());
    assert!(
        !seen
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("spanner-"))
    );
    assert_eq!(seen.body, r#"{"model": "acme/a"}"#);
    let access = &seen.permitted.as_ref().unwrap().0;
    assert_eq!(access.caller.to_string(), "user:test/alice");
    assert_eq!(
        access.target.as_ref().unwrap().pairs()[0].to_string(),
        "generate on acme/a"
    );
    assert_eq!(access.environment.as_str(), "production");
    assert_eq!(access.decision, sink.decisions()[0].id);
}

#[tokio::test]
async fn a_credential_near_its_age_is_warned_about() {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    let reply = send(&guarded(&sink, &behind), chat("old", "acme/a")).await;
    assert_eq!(
        reply.header("spanner-warning"),
        Some("credential-rotate-soon")
    );
}

#[tokio::test]
async fn the_record_keeps_context_and_no_payload() {
    let (sink, behind) = (MemorySink::new(), Behind::serving());
    let request = Request::post("/v1/chat/completions?secret=query")
        .header("authorization", "Bearer alice")
        .header("content-type", "application/json")
        .header("x-request-id", "r-1")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .header("x-secret", "header")
        .body(Full::from(
            r#"{"model": "acme/a", "messages": ["a secret prompt"]}"#,
        ))
        .unwrap();
    send(&guarded(&sink, &behind), request).await;
    let (decision, outcome) = (&sink.decisions()[0], &sink.outcomes()[0]);
    assert_eq!(decision.request_id.as_deref(), Some("r-1"));
    assert_eq!(
        decision.trace_id.as_deref(),
        Some("4bf92f3577b34da6a3ce929d0e0e4736")
    );
    assert_eq!(decision.surface.as_deref(), Some("openai"));
    assert_eq!(decision.route.as_deref(), Some("/v1/chat/completions"));
    let stored = serde_json::to_string(&(decision, outcome)).unwrap();
    assert!(
        !stored.contains("secret") && !stored.contains("Bearer"),
        "{stored}"
    );
    assert_eq!((outcome.bytes_in, outcome.bytes_out), (52, 6));
}

#[tokio::test]
async fn what_a_client_claims_is_kept_apart_and_only_where_it_was_asked_for() {
    let sink = MemorySink::new();
    let layer = GuardLayer::builder(Names, Book, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .instance("pod-7")
        .asserted_baggage("tenant")
        .build()
        .unwrap();
    let (mut parts, body) = chat("alice", "acme/a").into_parts();
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7, the secret"),
        ("baggage", "tenant=acme,note=secret"),
        ("x-forwarded-user", "root-secret"),
    ] {
        parts.headers.insert(name, value.parse().unwrap());
    }
    send(
        &layer.layer(Behind::serving()),
        Request::from_parts(parts, body),
    )
    .await;
    let decision = &sink.decisions()[0];
    assert_eq!(decision.instance.as_deref(), Some("pod-7"));
    let stored = serde_json::to_value(decision).unwrap();
    assert_eq!(
        stored["asserted"],
        serde_json::json!({"addresses": ["192.0.2.7"], "baggage": {"tenant": "acme"}})
    );
    assert_eq!(stored["caller"]["subject"], "alice");
    assert!(!stored.to_string().contains("secret"), "{stored}");
}

#[test]
fn a_record_of_an_earlier_version_is_still_read() {
    let decision = r#"{"id":"019a3c5e-0000-7000-8000-000000000001","time":"2026-11-23T12:00:00Z",
        "service":"chat","environment":"production","effect":"allow","reason":"granted"}"#;
    let decision: Decision = serde_json::from_str(decision).unwrap();
    assert!(decision.instance.is_none() && decision.asserted.is_empty());
    let outcome = r#"{"id":"019a3c5e-0000-7000-8000-000000000001","time":"2026-11-23T12:00:01Z",
        "class":"ok","finish":"complete","duration_us":1,"bytes_in":0,"bytes_out":0}"#;
    let outcome: Outcome = serde_json::from_str(outcome).unwrap();
    assert!(outcome.served.is_none() && outcome.fault.is_none());
}

#[tokio::test]
async fn the_duration_runs_from_arrival_to_the_end_of_the_body() {
    let (sink, host) = (MemorySink::new(), Fixed::at("2026-11-24T12:00:00Z"));
    let guarded = layer_at(sink.clone(), host.clone()).layer(Behind::serving());
    let response = guarded.oneshot(chat("alice", "acme/a")).await.unwrap();
    host.advance(Duration::from_millis(250));
    response.into_body().collect().await.unwrap();
    assert_eq!(sink.outcomes()[0].duration_us, 250_000);
}

#[tokio::test]
async fn trailers_carry_neither_credentials_nor_words_of_the_guard() {
    let trailers = |names: &[&'static str]| {
        let named = names
            .iter()
            .map(|name| (name.parse().unwrap(), "x".parse().unwrap()));
        Frame::<Bytes>::trailers(named.collect())
    };
    let sink = MemorySink::new();
    let echo = service_fn(move |request: Request<RequestBody<_>>| async move {
        let seen = request.into_body().collect().await.unwrap();
        let seen = seen.trailers().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(seen, ["x-checksum"]);
        let frames = [Ok::<_, Infallible>(trailers(&[
            "spanner-origin",
            "x-checksum",
        ]))];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    });
    let sent = [
        "authorization",
        "spanner-origin",
        "spanner_fault",
        "x-original-url",
        "x-checksum",
    ];
    let frames = [Ok::<_, Infallible>(trailers(&sent))];
    let request = chat("alice", "acme/a").map(|body| {
        let body = body.map_err(|never| match never {}).into_data_stream();
        let body = body.map(|data| data.map(Frame::data));
        StreamBody::new(body.chain(stream::iter(frames)))
    });
    let response = layer(sink.clone())
        .layer(echo)
        .oneshot(request)
        .await
        .unwrap();
    let answer = response.into_body().collect().await.unwrap();
    let seen: Vec<_> = answer.trailers().unwrap().keys().cloned().collect();
    assert_eq!(seen, ["x-checksum"]);
}

/// BOD-08, BOD-09, BOD-36: a service that falls back to another model asks again.
#[tokio::test]
async fn a_model_that_the_request_did_not_name_is_decided_when_the_service_asks() {
    let sink = MemorySink::new();
    let inner = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let further = Reauthorize::of(request.extensions()).unwrap().clone();
        let pair = |name: &str| Pair::new(Action::Generate, Resource::model(name.parse().unwrap()));
        let allowed = further.ask([pair("acme/larger")]).await;
        let refused = further.ask([pair("secret/x")]).await.unwrap_err();
        assert_eq!(allowed, Ok(()));
        assert_eq!(refused.notice().status.http(), 403);
        let text = format!("{refused}");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
    });
    let guarded = layer(sink.clone()).layer(inner);
    let response = guarded.oneshot(chat("alice", "acme/small")).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("may not generate on `secret/x`"), "{text}");
    let decisions = sink.decisions();
    let reasons: Vec<&str> = decisions.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["granted", "granted", "authz.no_permit"]);
    assert!(
        decisions[1..]
            .iter()
            .all(|it| it.parent == Some(decisions[0].id))
    );
    assert_eq!(sink.outcomes().len(), 3);
}

#[tokio::test]
async fn a_share_that_is_used_up_is_told_and_recorded() {
    let limits = || {
        let mut limits = Limits::default();
        limits.per_caller = 1;
        limits
    };
    let rows = [
        (Share::Connection, 429, "share.connection"),
        (Share::Requests, 503, "share.requests"),
    ];
    for (share, status, reason) in rows {
        let (sink, behind) = (MemorySink::new(), Behind::serving());
        let mut request = chat("alice", "acme/a");
        request.extensions_mut().insert(Exhausted(share));
        let reply = send(&guarded(&sink, &behind), request).await;
        assert_eq!(reply.parts.status, status);
        assert_eq!(reply.header("spanner-fault"), Some("guard_unavailable"));
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(sink.decisions()[0].reason, reason);
        assert!(behind.seen().is_empty());
    }
    // Behind the guard: what was allowed is refused after all.
    let sink = MemorySink::new();
    let full = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        let mut response = Response::new(Full::<Bytes>::default());
        let share = Exhausted(Share::Upstream);
        response.extensions_mut().insert(share);
        Ok::<_, Infallible>(response)
    });
    let guard = GuardLayer::builder(Names, Book, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .limits(limits())
        .build()
        .unwrap();
    let service = guard.layer(full);
    // The second needs what the first gave back.
    for _ in 0..2 {
        let response = service
            .clone()
            .oneshot(chat("alice", "acme/a"))
            .await
            .unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["spanner-fault"], "guard_unavailable");
        assert!(response.headers().contains_key("spanner-decision"));
        drop(response);
    }
    let classes: Vec<OutcomeClass> = sink.outcomes().iter().map(|it| it.class).collect();
    assert_eq!(classes, [OutcomeClass::Refused; 2]);
}

#[tokio::test]
async fn a_caller_has_its_share_until_its_answer_has_ended() {
    let sink = MemorySink::new();
    let mut limits = Limits::default();
    limits.per_caller = 1;
    let endless = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        let pieces = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from("x"))));
        Ok::<_, Infallible>(Response::new(StreamBody::new(pieces)))
    });
    let guard = GuardLayer::builder(Names, Book, sink.clone())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .limits(limits)
        .build()
        .unwrap();
    let service = guard.layer(endless);
    let ask = async |who: &str| service.clone().oneshot(chat(who, "acme/a")).await.unwrap();
    let first = ask("alice").await;
    assert_eq!(first.status(), 200);
    let second = ask("alice").await;
    assert_eq!(second.status(), 429);
    assert_eq!(second.headers()["retry-after"], "1");
    // An agent that acts for her counts as she does; others do not.
    assert_eq!(ask("copilot-for-alice").await.status(), 429);
    assert_ne!(ask("bob").await.status(), 429);
    drop(first);
    assert_eq!(ask("alice").await.status(), 200);
    let reasons: Vec<String> = sink
        .decisions()
        .iter()
        .map(|it| it.reason.clone())
        .collect();
    assert_eq!(reasons[1..3], ["share.caller", "share.caller"]);
}
