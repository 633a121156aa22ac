//! What APIs report, in the shapes in which they answer.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue};

use crate::resolve::UsageScan;

/// What is reported of a response that arrives in pieces of some bytes.
fn usage(headers: &HeaderMap, body: &[u8], piece: usize) -> Option<(Option<u64>, Option<u64>)> {
    let mut scan = UsageScan::of(headers)?;
    let mut usage = scan.feed(b"");
    for piece in body.chunks(piece) {
        usage = scan.feed(piece);
    }
    Some((usage.input, usage.output))
}

fn headers(media: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(media));
    headers
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream; charset=utf-8";

#[test]
fn tokens_are_read_from_what_each_api_answers() {
    let rows = [
        (
            JSON,
            r#"{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":7}"}}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#,
            (Some(3), Some(5)),
        ),
        (
            JSON,
            r#"{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
            (Some(4), None),
        ),
        (
            EVENTS,
            "data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
            (Some(3), Some(5)),
        ),
        (
            EVENTS,
            "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\r\n\r\n: ping\r\n\r\nevent: message_delta\r\ndata: {\"usage\":{\"output_tokens\":12}}\r\n\r\n",
            (Some(9), Some(12)),
        ),
        (
            EVENTS,
            "data: {\"type\":\"response.completed\",\ndata: \"response\":{\"usage\":{\"input_tokens\":2,\"output_tokens\":6}}}\n\n",
            (Some(2), Some(6)),
        ),
        (
            EVENTS,
            "data: not json {\n\ndata:{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
            (Some(1), Some(2)),
        ),
        (
            JSON,
            r#"{"model":"llama3","done":true,"prompt_eval_count":26,"eval_count":298}"#,
            (Some(26), Some(298)),
        ),
        (
            LINES,
            "{\"response\":\"a\",\"done\":false}\n{\"done\":true,\"prompt_eval_count\":26,\"eval_count\":298}\n",
            (Some(26), Some(298)),
        ),
        (
            JSON,
            r#"{"candidates":[],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":10}}"#,
            (Some(4), Some(10)),
        ),
        (
            JSON,
            r#"[{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":1}},{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":9}}]"#,
            (Some(4), Some(9)),
        ),
        (
            JSON,
            r#"{"generated_text":"x","details":{"generated_tokens":20,"input_length":2}}"#,
            (Some(2), Some(20)),
        ),
        (
            JSON,
            r#"{"usage":{"tokens":{"input_tokens":5,"output_tokens":8}}}"#,
            (Some(5), Some(8)),
        ),
        (
            JSON,
            r#"{"usage":{"inputTokens":30,"outputTokens":628}}"#,
            (Some(30), Some(628)),
        ),
        (JSON, r#"{"usage":"3"}"#, (None, None)),
        (
            JSON,
            r#"{"usage":{"prompt_tokens":-3,"completion_tokens":1.5}}"#,
            (None, None),
        ),
        (JSON, "no json", (None, None)),
    ];
    for (media, body, due) in rows {
        for piece in [1, 7, body.len()] {
            let read = usage(&headers(media), body.as_bytes(), piece);
            assert_eq!(read, Some(due), "{media} {body} in pieces of {piece}");
        }
    }
    assert!(UsageScan::of(&headers("text/html")).is_none());
    assert!(UsageScan::of(&HeaderMap::new()).is_none());
}

#[test]
fn a_later_report_replaces_an_earlier_one_however_many_there_are() {
    let body: String = (0..1000)
        .map(|n| {
            format!("data: {{\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":{n}}}}}\n\n")
        })
        .collect();
    let read = usage(&headers(EVENTS), body.as_bytes(), 100);
    assert_eq!(read, Some((Some(3), Some(999))));
}

#[test]
fn an_encoded_response_is_decoded_to_be_read() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let body = br#"{"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    encoder.write_all(body).unwrap();
    let encoded = encoder.finish().unwrap();
    let mut headers = headers(JSON);
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(usage(&headers, &encoded, 5), Some((Some(3), Some(5))));
    headers.insert("content-encoding", HeaderValue::from_static("br"));
    assert_eq!(usage(&headers, &encoded, 5), None);
}

#[test]
fn reads_which_model_answers_and_nothing_that_is_no_name() {
    let rows = [
        (
            JSON,
            r#"{"model":"gpt-4o-2024-08-06","choices":[]}"#,
            Some("gpt-4o-2024-08-06"),
        ),
        (
            JSON,
            r#"{"choices":[{"message":{"content":"\"model\":\"x\""}}]}"#,
            None,
        ),
        (JSON, r#"{"model":"a name of several words"}"#, None),
        (
            JSON,
            r#"{"modelVersion":"gemini-2.5-flash"}"#,
            Some("gemini-2.5-flash"),
        ),
        (
            LINES,
            "{\"model\":\"llama3:8b\"}\n{\"model\":\"other\"}\n",
            Some("llama3:8b"),
        ),
        (
            EVENTS,
            "data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\"}}\n\n",
            Some("claude-x"),
        ),
        (
            EVENTS,
            "data: {\"response\":{\"model\":\"gpt-5\"}}\n\ndata: [DONE]\n\n",
            Some("gpt-5"),
        ),
    ];
    for (media, body, due) in rows {
        for piece in [1, 7, body.len()] {
            let mut scan = UsageScan::of(&headers(media)).unwrap();
            for piece in body.as_bytes().chunks(piece) {
                scan.feed(piece);
            }
            let served = scan.served().map(|model| model.as_str());
            assert_eq!(served, due, "{media} {body} in pieces of {piece}");
        }
    }
}
