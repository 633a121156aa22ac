//! HTTP/2 frames that no client library writes: HTP-17, HTP-18, HTP-22, HTP-32, BOD-34, PTH-17.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{PATIENCE, Stage};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields without compression (RFC 7541 §6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1 with a prefix of seven bits.
fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// What the server answers to some frames, as (kind, stream, payload), until it closes or
/// has answered stream 1.
async fn exchange(stage: &Stage, frames: &[Vec<u8>]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut stream = stage.connect().await;
    let bytes = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frames.concat(),
    ]
    .concat();
    drop(stream.write_all(&bytes).await);
    let mut answers = Vec::new();
    let reading = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).await.is_err() {
                return;
            }
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let (kind, flags) = (head[3], head[4]);
            answers.push((kind, id, payload));
            if kind == GOAWAY || kind == RST_STREAM || (id == 1 && flags & END_STREAM != 0) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    answers
}

/// Whether the server gave the stream or the connection up.
fn is_error(answers: &[(u8, u32, Vec<u8>)]) -> bool {
    answers
        .iter()
        .any(|(kind, _, _)| matches!(*kind, RST_STREAM | GOAWAY))
}

#[tokio::test]
async fn a_malformed_request_is_a_stream_error_and_reaches_nothing() {
    let stage = Stage::start().await;
    let token = format!("Bearer {}", stage.token("alice"));
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v1/models"),
        (":authority", "models.test"),
        ("authorization", token.as_str()),
    ];
    let with = |further: &[(&'static str, &'static str)]| {
        let all: Vec<(&str, &str)> = good.iter().chain(further).copied().collect();
        fields(&all)
    };
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("a line feed in a value", with(&[("x", "a\r\nb")])),
        ("a capital in a name", with(&[("X-Upper", "a")])),
        (
            "a header of the connection",
            with(&[("connection", "close")]),
        ),
        (
            "a transfer coding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        (
            "a pseudo-header twice",
            with(&[(":path", "/v1/organization/users")]),
        ),
        (
            "a pseudo-header after the others",
            with(&[(":protocol", "websocket")]),
        ),
        ("no method", fields(&good[1..])),
    ];
    for (name, block) in rows {
        let frames = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)];
        let answers = exchange(&stage, &frames).await;
        assert!(is_error(&answers), "{name}: {answers:?}");
    }
    assert!(stage.seen.lock().unwrap().is_empty());
    // The same, well-formed, is served.
    let frames = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&good))];
    assert!(!is_error(&exchange(&stage, &frames).await));
    assert_eq!(stage.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_a_stream_error() {
    let stage = Stage::start().await;
    let token = format!("Bearer {}", stage.token("alice"));
    let body = br#"{"model":"acme/a"}"#;
    for length in ["0", "17", "19"] {
        let block = fields(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/v1/chat/completions"),
            (":authority", "models.test"),
            ("authorization", &token),
            ("content-type", "application/json"),
            ("content-length", length),
        ]);
        let frames = [
            frame(HEADERS, END_HEADERS, 1, &block),
            frame(DATA, END_STREAM, 1, body),
        ];
        let answers = exchange(&stage, &frames).await;
        assert!(is_error(&answers), "{length}: {answers:?}");
    }
    assert!(stage.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_path_without_a_slash_or_a_tunnel_reaches_nothing() {
    let stage = Stage::start().await;
    let token = format!("Bearer {}", stage.token("alice"));
    let path = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "inference.GRPCInferenceService/ModelInfer"),
        (":authority", "models.test"),
        ("content-type", "application/grpc"),
        ("authorization", token.as_str()),
    ];
    let tunnel = [
        (":method", "CONNECT"),
        (":authority", "models.test:443"),
        ("authorization", token.as_str()),
    ];
    for fields in [fields(&path), fields(&tunnel)] {
        let frames = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields)];
        let answers = exchange(&stage, &frames).await;
        assert!(!answers.is_empty());
    }
    assert!(stage.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_flood_of_frames_ends_its_connection_and_no_other() {
    let stage = Stage::start().await;
    let token = format!("Bearer {}", stage.token("alice"));
    let block = fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v1/models"),
        (":authority", "models.test"),
        ("authorization", &token),
    ]);
    // Rapid resets: streams that are taken back as soon as they are opened.
    let resets: Vec<Vec<u8>> = (0..2_000)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            [
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &block),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
        })
        .collect();
    let pings: Vec<Vec<u8>> = (0..20_000).map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    let answers = exchange(&stage, &resets).await;
    assert!(answers.iter().any(|(kind, _, _)| *kind == GOAWAY), "resets");
    drop(tokio::time::timeout(PATIENCE, exchange_all(&stage, &pings)).await);
    let frames = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)];
    assert!(!is_error(&exchange(&stage, &frames).await));
}

/// Sends frames to a server that may have gone.
async fn exchange_all(stage: &Stage, frames: &[Vec<u8>]) {
    let mut stream = stage.connect().await;
    let bytes = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frames.concat(),
    ]
    .concat();
    drop(stream.write_all(&bytes).await);
    drop(stream.shutdown().await);
}
