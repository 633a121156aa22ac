//! Bodies that are read: JSON documents and single gRPC messages.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::Body;
use spanner_core::Meter;

use super::*;
use crate::resolve::{Broken, Pace};

async fn check(body: &[u8], expected: RequestFault) {
    let found = chat(body, &[JSON]).await;
    assert_eq!(
        found,
        Err(fault(expected)),
        "{}",
        String::from_utf8_lossy(body)
    );
}

#[tokio::test]
async fn refuses_what_is_not_one_json_object_in_utf_8() {
    let rows: &[&[u8]] = &[
        b"\xEF\xBB\xBF{\"model\":\"a\"}",
        b"{\"model\":\"a\xFF\"}",
        b"{\"model\":\"a\",\"x\":\"\xC0\xAE\"}",
        b"\xFF\xFE{\0}\0",
        b"{\"model\":\"a\"}{\"model\":\"b\"}",
        b"{\"model\":\"a\"}\n{\"model\":\"b\"}",
        b"{\"model\":\"a\"} x",
        b"{\"model\":\"a\"",
        b"{\"model\":\"a\",}",
        b"{\"model\":\"a\" /* b */}",
        b"{'model':'a'}",
        b"{model:\"a\"}",
        b"{\"model\":\"a\",\"x\":NaN}",
        b"{\"model\":\"a\",\"x\":1e999999999}",
        b"{\"model\":\"a\",\"x\":\"\\ud800\"}",
        b"{\"model\":\"a\",\"\\ud800\":1}",
        b"{\"model\":\"a\",\"x\":{\"\\udc00\":1}}",
        b"[{\"model\":\"a\"}]",
        b"\"{\\\"model\\\":\\\"a\\\"}\"",
        b"null",
        b"model=cheap&x={\"model\":\"gpt-x\"}",
    ];
    for row in rows {
        check(row, RequestFault::Json).await;
    }
}

#[tokio::test]
async fn a_deep_document_is_refused_and_not_recursed_into() {
    for depth in [129, 1_000_000] {
        let bomb = format!(
            "{{\"model\":\"a\",\"x\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        );
        check(bomb.as_bytes(), RequestFault::Json).await;
    }
    let deep = format!(
        "{{\"model\":\"a\",\"x\":{}{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    assert!(chat(deep.as_bytes(), &[JSON]).await.is_ok());
}

#[tokio::test]
async fn many_members_are_bounded() {
    let members: Vec<String> = (0..1_100).map(|n| format!("\"k{n}\":0")).collect();
    let flat = format!("{{\"model\":\"a\",{}}}", members.join(","));
    check(flat.as_bytes(), RequestFault::Json).await;
    let nested = format!("{{\"model\":\"a\",\"metadata\":{{{}}}}}", members.join(","));
    assert!(chat(nested.as_bytes(), &[JSON]).await.is_ok());
}

#[tokio::test]
async fn many_models_are_bounded() {
    let names = |count| {
        (0..count)
            .map(|n| format!("\"m{n}\""))
            .collect::<Vec<_>>()
            .join(",")
    };
    let body = |count| format!("{{\"model\":\"a\",\"models\":[{}]}}", names(count));
    assert_eq!(chat(body(63).as_bytes(), &[JSON]).await.unwrap().len(), 64);
    check(body(64).as_bytes(), RequestFault::TooManyModels).await;
    check(body(65).as_bytes(), RequestFault::TooManyModels).await;
}

#[tokio::test]
async fn a_model_behind_megabytes_is_found() {
    let padding = "x".repeat(7 << 20);
    let body = format!("{{\"image\":\"{padding}\",\"model\":\"a\"}}");
    assert_eq!(
        chat(body.as_bytes(), &[JSON]).await.unwrap(),
        ["generate on a"]
    );
}

#[tokio::test]
async fn a_body_whose_model_comes_after_the_limit_is_refused_however_it_arrives() {
    let limits = Limits {
        body: 20,
        hold: 0,
        ..Limits::default()
    };
    let routes = routes(surface::openai());
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let refused = Err(fault(RequestFault::TooLarge { limit: 20 }));
    let within = br#"{"x":1,"model":"ab"}"#;
    let over = br#"{"x":1,"model": "abcdefgh"}"#;
    for at in 0..=within.len() {
        let (first, second) = within.split_at(at);
        let found = resolve(&routes, &parts, chunks([first, second]), &limits).await;
        assert!(found.is_ok(), "{at}");
        let (first, second) = over.split_at(at);
        let found = resolve(&routes, &parts, chunks([first, second]), &limits).await;
        assert_eq!(found.map(|_| ()), refused, "{at}");
    }
    let announced = http_body_util::Full::new(Bytes::from_static(over));
    let found = routes
        .classify(&parts)
        .unwrap()
        .target(&parts, announced, &limits, Default::default())
        .await;
    assert_eq!(found.map(|_| ()), refused);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    struct Silent;
    impl Body for Silent {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Chunk>> {
            std::task::Poll::Pending
        }
    }
    let limits = Limits {
        body_wait: Duration::from_secs(5),
        ..Limits::default()
    };
    let rows = [
        ("POST /v1/chat/completions", JSON, surface::openai()),
        (
            "POST /inference.GRPCInferenceService/ModelInfer",
            GRPC,
            surface::open_inference(),
        ),
    ];
    for (request, header, surface) in rows {
        let parts = parts(request, &[header]);
        let found = routes(surface).classify(&parts).unwrap();
        let refusal = found
            .target(&parts, Silent, &limits, Default::default())
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refusal.code(), "request.slow");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let frames: Vec<Chunk> = vec![
        Ok(Frame::data(Bytes::from_static(b"{\"model\":"))),
        Err(std::io::Error::other("reset")),
    ];
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let body = StreamBody::new(stream::iter(frames));
    let found = resolve(&routes(surface::openai()), &parts, body, &Limits::default()).await;
    assert_eq!(found.map(|_| ()), Err(fault(RequestFault::Incomplete)));
}

#[tokio::test]
async fn what_was_read_is_forwarded_with_its_trailers() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    let content = b"{\"model\" :\"a\",\"\\u0078\":1.0}";
    let frames: Vec<Chunk> = vec![
        Ok(Frame::data(Bytes::from_static(content))),
        Ok(Frame::trailers(trailers.clone())),
    ];
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let body = StreamBody::new(stream::iter(frames));
    let routes = routes(surface::openai());
    let (_, body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    assert_eq!(body.size_hint().exact(), Some(content.len() as u64));
    assert!(!body.is_end_stream());
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), content.as_slice());
}

#[tokio::test]
async fn the_end_of_a_read_body_is_known_at_once() {
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let body = chunks([br#"{"model":"a"}"#.as_slice()]);
    let routes = routes(surface::openai());
    let (_, mut body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_body_cut_at_any_byte_says_the_same() {
    let json = br#"{"tools":[{"model":"b"}],"x":"\u00e9","model":"a"}"#.to_vec();
    let message = frame(&message([(1, "acme"), (2, "3")]));
    let rows = [
        ("POST /v1/chat/completions", JSON, surface::openai(), json),
        (
            "POST /inference.GRPCInferenceService/ModelInfer",
            GRPC,
            surface::open_inference(),
            message.clone(),
        ),
        (
            "POST /inference.GRPCInferenceService/ModelStreamInfer",
            GRPC,
            surface::open_inference(),
            [message.clone(), message].concat(),
        ),
    ];
    for (request, header, surface, content) in rows {
        let (routes, parts) = (routes(surface), parts(request, &[header]));
        let whole = resolve(
            &routes,
            &parts,
            chunks([content.as_slice()]),
            &Limits::default(),
        )
        .await;
        let expected = whole.unwrap().0;
        for at in 0..=content.len() {
            let (first, second) = content.split_at(at);
            let body = chunks([first, second]);
            let (target, body) = resolve(&routes, &parts, body, &Limits::default())
                .await
                .unwrap();
            assert_eq!(target, expected, "{request} {at}");
            assert_eq!(forwarded(body).await, content, "{request} {at}");
        }
    }
}

fn zstd_in_window(log: u32, content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_zstd_frame_gets_no_more_memory_than_the_encoding_may_ask_for() {
    let headers = [JSON, ("content-encoding", "zstd")];
    let body = |log| zstd_in_window(log, b"{\"model\":\"a\"}");
    let found = chat(&body(23), &headers).await;
    assert_eq!(found.unwrap(), ["generate on a"]);
    let found = chat(&body(24), &headers).await;
    assert_eq!(found, Err(fault(RequestFault::Encoding)));
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn gzipped(compressed: &[u8], limit: usize) -> Result<Vec<String>, RequestFault> {
    let mut content = frame(compressed);
    content[0] = 1;
    let limits = Limits {
        grpc_message: limit,
        hold: 0,
        ..Limits::default()
    };
    let parts = parts(
        "POST /inference.GRPCInferenceService/ModelInfer",
        &[GRPC, ("grpc-encoding", "gzip")],
    );
    let routes = routes(surface::open_inference());
    match resolve(&routes, &parts, chunks([content.as_slice()]), &limits).await {
        Ok((target, body)) => {
            assert_eq!(forwarded(body).await, content);
            Ok(texts(&target))
        }
        Err(Refusal::Request(fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_gzipped_message_is_read_and_forwarded_as_it_is() {
    let plain = message([(1, "acme")]);
    let compressed = gzip(&plain);
    assert_eq!(
        gzipped(&compressed, 1 << 20).await,
        Ok(vec!["predict on acme".to_owned()])
    );
    let two = [compressed.clone(), gzip(&message([(1, "other")]))].concat();
    assert_eq!(gzipped(&two, 1 << 20).await, Err(RequestFault::Message));
    let cut = &compressed[..compressed.len() - 1];
    assert_eq!(gzipped(cut, 1 << 20).await, Err(RequestFault::Message));
    assert_eq!(gzipped(&plain, 1 << 20).await, Err(RequestFault::Message));
}

#[tokio::test]
async fn a_gzip_bomb_stops_at_the_limit() {
    let bomb = gzip(&vec![0; 4 << 20]);
    let limit = 64 << 10;
    assert!(bomb.len() < limit);
    assert_eq!(
        gzipped(&bomb, limit).await,
        Err(RequestFault::TooLarge { limit })
    );
}

#[tokio::test]
async fn a_second_message_where_there_is_one_breaks_the_body_off() {
    let first = frame(&message([(1, "cheap")]));
    let second = frame(&message([(1, "gpt-x")]));
    let parts = parts("POST /inference.GRPCInferenceService/ModelInfer", &[GRPC]);
    let routes = routes(surface::open_inference());
    let body = chunks([first.as_slice(), &[], second.as_slice()]);
    let (_, mut body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    let broken = Broken::default();
    body.attach(Meter::default(), None, broken.clone(), Pace::none());
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        first
    );
    assert!(
        body.frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .is_empty()
    );
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
    let refusal = std::future::poll_fn(|cx| broken.poll_broken(cx)).await;
    assert_eq!(refusal, fault(RequestFault::Message));
}

#[tokio::test]
async fn a_body_that_names_no_model_is_not_touched() {
    let content = b"anything \xFF at all";
    let parts = parts("POST /v2/models/acme/infer", &[("content-encoding", "br")]);
    let routes = routes(surface::open_inference());
    let body = chunks([content.as_slice()]);
    let (_, body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    assert_eq!(forwarded(body).await, content);
}

#[tokio::test]
async fn reading_and_forwarding_may_change_tasks() {
    let resolving = async {
        let parts = parts("POST /v1/chat/completions", &[JSON]);
        let routes = routes(surface::openai());
        let body = chunks([br#"{"model":"a"}"#.as_slice()]);
        resolve(&routes, &parts, body, &Limits::default()).await
    };
    let (_, body) = tokio::spawn(resolving).await.unwrap().unwrap();
    let sent = tokio::spawn(forwarded(body)).await.unwrap();
    assert_eq!(sent, br#"{"model":"a"}"#);
}

/// A body of pieces with pauses before them, in seconds; what became of it.
async fn paced(pieces: &'static [(u64, usize)], messages: bool, answered: bool) -> (usize, bool) {
    let body = stream::unfold(pieces.iter(), |mut pieces| async {
        let (pause, bytes) = pieces.next()?;
        tokio::time::sleep(Duration::from_secs(*pause)).await;
        let piece: Chunk = Ok(Frame::data(vec![b'x'; *bytes].into()));
        Some((piece, pieces))
    });
    let mut body = RequestBody::unread(StreamBody::new(body));
    let broken = Broken::default();
    if answered {
        broken.answered();
    }
    let pace = Pace::new(&Limits::default(), messages);
    body.attach(Meter::default(), None, broken.clone(), pace);
    let mut passed = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => passed += frame.into_data().unwrap().len(),
            Err(_) => {
                let refusal = std::future::poll_fn(|cx| broken.poll_broken(cx)).await;
                assert_eq!(refusal, fault(RequestFault::Slow));
                return (passed, true);
            }
        }
    }
    (passed, false)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_forwarded_keeps_a_pace() {
    const DRIP: &[(u64, usize)] = &[(10, 1), (10, 1), (10, 1), (10, 1), (10, 1)];
    const PAUSE: &[(u64, usize)] = &[(1, 10_000), (21, 10_000)];
    const STEADY: &[(u64, usize)] = &[(10, 10_000), (19, 10_000), (19, 10_000)];
    const LATER: &[(u64, usize)] = &[
        (19, 500_000),
        (19, 500_000),
        (10, 1),
        (10, 1),
        (10, 1),
        (10, 1),
    ];
    const CONVERSATION: &[(u64, usize)] = &[(500, 1), (500, 1)];
    const SILENCE: &[(u64, usize)] = &[(500, 1), (601, 1)];
    for (pieces, messages, answered, expected) in [
        (DRIP, false, false, (2, true)),
        (DRIP, true, false, (5, false)),
        (PAUSE, false, false, (10_000, true)),
        (PAUSE, true, false, (10_000, true)),
        (STEADY, false, false, (30_000, false)),
        (LATER, false, false, (1_000_002, true)),
        (PAUSE, false, true, (20_000, false)),
        (CONVERSATION, true, true, (2, false)),
        (SILENCE, true, true, (1, true)),
    ] {
        let became = paced(pieces, messages, answered).await;
        assert_eq!(became, expected, "{pieces:?} {messages} {answered}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_before_it_is_decided_is_refused_before_the_whole_wait() {
    let limits = Limits::default();
    let frames = stream::unfold(0, |came| async move {
        if came > 0 {
            tokio::time::sleep(Duration::from_secs(25)).await;
        }
        let piece: Chunk = Ok(Frame::data(Bytes::from_static(b"{")));
        Some((piece, came + 1))
    });
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let began = tokio::time::Instant::now();
    let found = routes(surface::openai()).classify(&parts).unwrap();
    let body = Box::pin(StreamBody::new(frames));
    let refused = found
        .target(&parts, body, &limits, Default::default())
        .await;
    assert_eq!(refused.map(|_| ()), Err(fault(RequestFault::Slow)));
    assert_eq!(began.elapsed(), limits.body_pause);
}

/// A form with a file of so many bytes in front of the model.
fn behind_a_file(bytes: usize) -> Vec<u8> {
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let tail = "\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--b--\r\n";
    [head.as_bytes(), &vec![b'x'; bytes], tail.as_bytes()].concat()
}

#[tokio::test]
async fn a_model_behind_as_much_as_its_api_takes_is_found_and_behind_more_is_not() {
    const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
    let image = |bytes: usize| {
        let padding = "x".repeat(bytes);
        format!("{{\"messages\":[{{\"image\":\"{padding}\"}}],\"model\":\"a\"}}").into_bytes()
    };
    let rows = [
        (
            "openai",
            "POST /v1/audio/transcriptions",
            FORM,
            behind_a_file(25 << 20),
            true,
        ),
        (
            "openai",
            "POST /v1/audio/transcriptions",
            FORM,
            behind_a_file(27 << 20),
            false,
        ),
        (
            "openai",
            "POST /v1/images/edits",
            FORM,
            behind_a_file(50 << 20),
            true,
        ),
        (
            "azure-openai",
            "POST /openai/v1/audio/transcriptions",
            FORM,
            behind_a_file(25 << 20),
            true,
        ),
        (
            "litellm",
            "POST /audio/transcriptions",
            FORM,
            behind_a_file(25 << 20),
            true,
        ),
        (
            "vllm",
            "POST /v1/audio/transcriptions",
            FORM,
            behind_a_file(25 << 20),
            true,
        ),
        (
            "openai",
            "POST /v1/chat/completions",
            JSON,
            image(30 << 20),
            true,
        ),
        (
            "anthropic",
            "POST /v1/messages",
            JSON,
            image(32 << 20),
            true,
        ),
        (
            "anthropic",
            "POST /v1/messages",
            JSON,
            image(34 << 20),
            false,
        ),
        (
            "ollama",
            "POST /v1/chat/completions",
            JSON,
            image(20 << 20),
            true,
        ),
    ];
    for (surface, request, header, content, found) in rows {
        let parts = parts(request, &[header]);
        let routes = routes(surface::named(surface).unwrap());
        let body = chunks(content.chunks(1 << 20));
        let what = format!("{surface} {request} {}", content.len());
        match resolve(&routes, &parts, body, &Limits::default()).await {
            Ok((target, body)) => {
                assert!(found, "{what}");
                assert_eq!(target.pairs().len(), 1, "{what}");
                assert!(forwarded(body).await == content, "{what}");
            }
            Err(refusal) => {
                assert_eq!(
                    (refusal.code(), found),
                    ("request.too_large", false),
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_has_named_its_model_is_not_kept_beyond_the_limit() {
    let limits = Limits {
        body: 1 << 20,
        ..Limits::default()
    };
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let routes = routes(surface::openai());
    let content = format!("{{\"model\":\"a\",\"image\":\"{}\"}}", "x".repeat(4 << 20));
    let body = chunks(content.as_bytes().chunks(64 << 10));
    let (_, mut body) = resolve(&routes, &parts, body, &limits).await.unwrap();
    let left = body.size_hint().lower();
    assert!(left <= (1 << 20) + (128 << 10), "{left}");
    let mut came = 0;
    while let Some(frame) = body.frame().await {
        came += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(came, content.len());
}

#[tokio::test]
async fn small_pieces_are_kept_together() {
    let mut content = br#"{"x":""#.to_vec();
    content.extend(vec![b'y'; 200_000]);
    content.extend(br#"","model":"a"}"#);
    let parts = parts("POST /v1/chat/completions", &[JSON]);
    let routes = routes(surface::openai());
    let body = chunks(content.chunks(10));
    let (_, mut body) = resolve(&routes, &parts, body, &Limits::default())
        .await
        .unwrap();
    let (mut pieces, mut came) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        came.extend(frame.unwrap().into_data().unwrap());
        pieces += 1;
    }
    assert_eq!(came, content);
    assert!(pieces < 8, "{pieces}");
}

#[tokio::test]
async fn one_message_is_as_large_as_its_api_takes_and_each_of_a_stream_is_not() {
    let mut tensors = message([(1, "acme")]);
    let length = 20_u32 << 20;
    // Field 7, `raw_input_contents`.
    tensors.push(7 << 3 | 2);
    let mut left = length;
    while left >= 0x80 {
        tensors.push(u8::try_from(left & 0x7F).unwrap() | 0x80);
        left >>= 7;
    }
    tensors.push(u8::try_from(left).unwrap());
    tensors.resize(tensors.len() + length as usize, 0);
    let content = frame(&tensors);
    let routes = routes(surface::open_inference());
    for (method, found) in [("ModelInfer", true), ("ModelStreamInfer", false)] {
        let path = format!("POST /inference.GRPCInferenceService/{method}");
        let body = chunks(content.chunks(1 << 20));
        match resolve(&routes, &parts(&path, &[GRPC]), body, &Limits::default()).await {
            Ok((target, body)) => {
                assert_eq!(texts(&target), ["predict on acme"]);
                assert!(found && forwarded(body).await == content, "{method}");
            }
            Err(refusal) => {
                assert_eq!(
                    (refusal.code(), found),
                    ("request.too_large", false),
                    "{method}"
                );
            }
        }
    }
}
