//! What APIs report, in the shapes in which they answer.

use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use spanner_core::Usage;

use crate::resolve::ReportScan;
use crate::resolve::report::Report;
use crate::surface::{self, Dialect, Reports};

/// What the answers of a built-in surface's route report.
fn reports_of(surface: &str, path: &str) -> Arc<Reports> {
    let surface = surface::named(surface).unwrap();
    let mut routes = surface.routes().iter();
    let route = routes.find(|route| &*route.template.text() == path);
    Arc::clone(&route.unwrap_or_else(|| panic!("no {path}")).reports)
}

/// What is reported of a response that arrives in pieces of some bytes.
fn read(reports: &Arc<Reports>, headers: &HeaderMap, body: &[u8], piece: usize) -> Option<Report> {
    let mut scan = ReportScan::of(headers, reports, true)?;
    for piece in body.chunks(piece) {
        scan.feed(piece);
    }
    scan.end();
    Some(scan.report().clone())
}

fn headers(media: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(media));
    headers
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream; charset=utf-8";
const AWS: &str = "application/vnd.amazon.eventstream";
const GRPC: &str = "application/grpc+proto";

/// Every row: a surface, one of its routes, the media type, the body, and what must be read,
/// in pieces of any size.
fn check(rows: &[(&str, &str, &'static str, Vec<u8>, Report)]) {
    for (surface, path, media, body, due) in rows {
        let reports = reports_of(surface, path);
        for piece in [1, 7, body.len()] {
            let got = read(&reports, &headers(media), body, piece).unwrap();
            let text = String::from_utf8_lossy(body);
            assert_eq!(&got, due, "{surface} {path} {media} {text} by {piece}");
        }
    }
}

fn used(set: impl FnOnce(&mut Usage)) -> Report {
    let mut report = Report::default();
    set(&mut report.usage);
    report
}

fn failed(error_type: Option<&str>) -> Report {
    Report {
        failed: true,
        error_type: error_type.map(str::to_owned),
        ..Report::default()
    }
}

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
            EVENTS,
            "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
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
            LINES,
            "{\"done\":true,\"prompt_eval_count\":26,\"eval_count\":298}",
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
        (
            JSON,
            r#"{"content":"x","tokens_evaluated":4,"tokens_predicted":9,"timings":{"prompt_n":1,"predicted_n":9}}"#,
            (Some(4), Some(9)),
        ),
        (
            JSON,
            r#"{"Type":"x","Usage":{},"usage":{"prompt_tokens":1,"Prompt_Tokens":9}}"#,
            (Some(1), None),
        ),
        (JSON, r#"{"usage":"3"}"#, (None, None)),
        (
            JSON,
            r#"{"usage":{"prompt_tokens":-3,"completion_tokens":1.5}}"#,
            (None, None),
        ),
        (JSON, "no json", (None, None)),
    ];
    let reports = Arc::new(Reports::of_dialect(Dialect::Problem));
    for (media, body, due) in rows {
        for piece in [1, 7, body.len()] {
            let got = read(&reports, &headers(media), body.as_bytes(), piece).unwrap();
            let got = (got.usage.input, got.usage.output);
            assert_eq!(got, due, "{media} {body} in pieces of {piece}");
        }
    }
    assert!(ReportScan::of(&headers("text/html"), &reports, true).is_none());
    assert!(ReportScan::of(&HeaderMap::new(), &reports, true).is_none());
}

#[test]
fn what_apis_count_besides_is_read_where_each_says_it() {
    let rows: Vec<(&str, &str, &'static str, Vec<u8>, Report)> = [
        (
            "openai",
            "/v1/chat/completions",
            JSON,
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":64,"cache_write_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":32}}}"#,
            used(|it| {
                it.input = Some(100);
                it.output = Some(50);
                it.total = Some(150);
                it.cached = Some(64);
                it.cache_written = Some(7);
                it.reasoning = Some(32);
            }),
        ),
        (
            "openai",
            "/v1/responses",
            EVENTS,
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":null,\"usage\":{\"input_tokens\":36,\"input_tokens_details\":{\"cached_tokens\":8},\"output_tokens\":87,\"output_tokens_details\":{\"reasoning_tokens\":64},\"total_tokens\":123}}}\n\n",
            used(|it| {
                it.input = Some(36);
                it.output = Some(87);
                it.total = Some(123);
                it.cached = Some(8);
                it.reasoning = Some(64);
            }),
        ),
        (
            "vllm",
            "/v1/rerank",
            JSON,
            r#"{"results":[],"usage":{"total_tokens":56}}"#,
            used(|it| it.total = Some(56)),
        ),
        (
            "anthropic",
            "/v1/messages",
            EVENTS,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":100,\"cache_read_input_tokens\":2000,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":25,\"output_tokens\":15,\"output_tokens_details\":{\"thinking_tokens\":9}}}\n\n",
            used(|it| {
                it.input = Some(25);
                it.output = Some(15);
                it.cached = Some(2000);
                it.cache_written = Some(100);
                it.reasoning = Some(9);
            }),
        ),
        (
            "gemini",
            "/v1beta/models/{model}:generateContent",
            JSON,
            r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":20,"thoughtsTokenCount":30,"cachedContentTokenCount":4,"toolUsePromptTokenCount":5,"totalTokenCount":65}}"#,
            used(|it| {
                it.input = Some(10);
                it.output = Some(20);
                it.reasoning = Some(30);
                it.cached = Some(4);
                it.tools = Some(5);
                it.total = Some(65);
            }),
        ),
        (
            "cohere",
            "/v2/rerank",
            JSON,
            r#"{"results":[],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}}"#,
            used(|it| it.search_units = Some(1)),
        ),
        (
            "cohere",
            "/v2/chat",
            EVENTS,
            "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":5.0,\"output_tokens\":3},\"tokens\":{\"input_tokens\":70.0,\"output_tokens\":3},\"cached_tokens\":64}}}\n\n",
            used(|it| {
                it.input = Some(70);
                it.output = Some(3);
                it.cached = Some(64);
            }),
        ),
        (
            "bedrock-runtime",
            "/model/{model:enc}/converse",
            JSON,
            r#"{"usage":{"inputTokens":30,"outputTokens":6,"totalTokens":36,"cacheReadInputTokens":3,"cacheWriteInputTokens":2}}"#,
            used(|it| {
                it.input = Some(30);
                it.output = Some(6);
                it.total = Some(36);
                it.cached = Some(3);
                it.cache_written = Some(2);
            }),
        ),
        (
            "ollama",
            "/api/chat",
            LINES,
            "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true,\"prompt_eval_count\":2,\"eval_count\":3}\n",
            used(|it| {
                it.input = Some(2);
                it.output = Some(3);
            }),
        ),
        (
            "llama.cpp",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[],\"timings\":{\"cache_n\":11,\"prompt_n\":1,\"predicted_n\":35}}\n\ndata: [DONE]\n\n",
            used(|it| {
                it.input = Some(1);
                it.output = Some(35);
                it.cached = Some(11);
            }),
        ),
    ]
    .map(|(surface, path, media, body, due)| (surface, path, media, body.into(), due))
    .into();
    check(&rows);
}

#[test]
fn headers_count_whatever_the_body_is() {
    type Said = &'static [(&'static str, &'static str)];
    let rows: [(&str, &str, Said, Usage); 3] = [
        (
            "bedrock-runtime",
            "/model/{model:enc}/invoke",
            &[
                ("x-amzn-bedrock-input-token-count", "12"),
                ("x-amzn-bedrock-output-token-count", "34"),
                ("x-amzn-bedrock-cache-read-input-token-count", "5"),
                ("x-amzn-bedrock-cache-write-input-token-count", "6"),
            ],
            used(|it| {
                it.input = Some(12);
                it.output = Some(34);
                it.cached = Some(5);
                it.cache_written = Some(6);
            })
            .usage,
        ),
        (
            "tgi",
            "/generate",
            &[("x-prompt-tokens", "4"), ("x-generated-tokens", "20")],
            Usage::new(Some(4), Some(20)),
        ),
        (
            "tei",
            "/embed",
            &[("x-compute-tokens", "7")],
            Usage::new(Some(7), None),
        ),
    ];
    for (surface, path, said, due) in rows {
        for media in [None, Some("text/plain"), Some(JSON)] {
            let mut head = media.map(headers).unwrap_or_default();
            for (name, value) in said {
                let name: HeaderName = name.parse().unwrap();
                head.insert(name, value.parse().unwrap());
            }
            let got = read(&reports_of(surface, path), &head, b"[[0.5]]", 3).unwrap();
            assert_eq!(got.usage, due, "{surface} {media:?}");
        }
    }
}

#[test]
fn a_failure_within_a_good_status_is_one_in_every_dialect() {
    let rows: Vec<(&str, &str, &'static str, Vec<u8>, Report)> = [
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"boom: secret\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
            failed(Some("server_error")),
        ),
        (
            "vllm",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"error\":{\"object\":\"error\",\"message\":\"x\",\"type\":\"BadRequestError\",\"code\":400}}\n\ndata: [DONE]\n\n",
            failed(Some("BadRequestError")),
        ),
        (
            "vllm",
            "/v1/completions",
            EVENTS,
            "data: {\"object\":\"error\",\"message\":\"x\",\"type\":\"InternalServerError\",\"code\":500}\n\n",
            failed(Some("InternalServerError")),
        ),
        (
            "openai",
            "/v1/responses",
            EVENTS,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"x y\"}}}\n\n",
            failed(Some("rate_limit_exceeded")),
        ),
        (
            "openai",
            "/v1/responses",
            EVENTS,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"ERR_SOMETHING\",\"message\":\"x\",\"param\":null}\n\n",
            failed(Some("ERR_SOMETHING")),
        ),
        (
            "openai",
            "/v1/responses",
            JSON,
            r#"{"status":"failed","error":{"code":"server_error","message":"x"}}"#,
            failed(Some("server_error")),
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "event: error\ndata: upstream went away\n",
            failed(None),
        ),
        (
            "anthropic",
            "/v1/messages",
            EVENTS,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            failed(Some("overloaded_error")),
        ),
        (
            "gemini",
            "/v1beta/models/{model}:streamGenerateContent",
            EVENTS,
            "data: {\"candidates\":[]}\r\n\r\ndata: {\"error\":{\"code\":503,\"message\":\"x\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n",
            failed(Some("UNAVAILABLE")),
        ),
        (
            "gemini",
            "/v1beta/models/{model}:streamGenerateContent",
            JSON,
            r#"[{"candidates":[]},{"error":{"code":500,"message":"x","status":"INTERNAL"}}]"#,
            failed(Some("INTERNAL")),
        ),
        (
            "cohere",
            "/v2/chat",
            EVENTS,
            "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"x y\"}}\n\n",
            failed(Some("ERROR")),
        ),
        (
            "cohere",
            "/v1/chat",
            LINES,
            "{\"event_type\":\"stream-end\",\"finish_reason\":\"TIMEOUT\"}\n",
            failed(Some("TIMEOUT")),
        ),
        (
            "ollama",
            "/api/chat",
            LINES,
            "{\"message\":{},\"done\":false}\n{\"error\":\"an error was encountered while running the model\"}",
            failed(None),
        ),
        (
            "tgi",
            "/generate_stream",
            EVENTS,
            "data:{\"error\":\"Request failed during generation\",\"error_type\":\"generation\"}\n\n",
            failed(Some("generation")),
        ),
        (
            "llama.cpp",
            "/completion",
            EVENTS,
            "error: {\"code\":500,\"message\":\"x\",\"type\":\"server_error\"}\n\n",
            failed(None),
        ),
        (
            "triton",
            "/v2/models/{model}/generate_stream",
            EVENTS,
            "data: {\"error\":\"failed\"}\n\n",
            failed(None),
        ),
        (
            "mlflow-serving",
            "/invocations",
            EVENTS,
            "data: {\"error\":{\"error_code\":\"INTERNAL_ERROR\",\"message\":\"x y\"}}\n\n",
            failed(Some("INTERNAL_ERROR")),
        ),
        (
            "hf-router",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"error\":{\"message\":\"x\",\"http_status_code\":422}}\n\n",
            failed(None),
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[{\"delta\":{},\"error\":{\"code\":502,\"message\":\"x\"}}]}\n\n",
            failed(None),
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[]}\r\rdata: {\"error\":{\"type\":\"server_error\"}}\r\rdata: [DONE]\r\r",
            failed(Some("server_error")),
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[]}\r\n\r\nevent: error\r\ndata: {\"error\":{\"type\":\"server_error\"}}\r\n\r\n",
            failed(Some("server_error")),
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "\u{FEFF}data: {\"error\":{\"type\":\"server_error\"}}\n\ndata: [DONE]\n\n",
            failed(Some("server_error")),
        ),
    ]
    .map(|(surface, path, media, body, due)| (surface, path, media, body.into(), due))
    .into();
    check(&rows);
}

#[test]
fn what_only_looks_like_a_failure_is_none() {
    let rows: Vec<(&str, &str, &'static str, Vec<u8>, Report)> = [
        (
            "openai",
            "/v1/chat/completions",
            JSON,
            r#"{"error":null,"choices":[{"message":{"content":"{\"error\": \"x\"}"},"finish_reason":"stop"}]}"#,
        ),
        ("openai", "/v1/chat/completions", JSON, r#"{"error":false}"#),
        ("openai", "/v1/chat/completions", JSON, r#"{"error":""}"#),
        ("openai", "/v1/chat/completions", JSON, r#"{"error":{}}"#),
        (
            "openai",
            "/v1/chat/completions",
            JSON,
            r#"{"choices":[{"error":null,"finish_reason":"stop"}]}"#,
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[]}\n\n\u{FEFF}data: {\"error\":{\"type\":\"x\"}}\n\n",
        ),
        (
            "openai",
            "/v1/responses",
            EVENTS,
            "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"error\":null}}\n\n",
        ),
        (
            "openai",
            "/v1/chat/completions",
            EVENTS,
            "data: {\"choices\":[]}\n\n",
        ),
        (
            "oip",
            "/v2/models/{model}/infer",
            JSON,
            r#"{"error":0.25,"outputs":[]}"#,
        ),
        (
            "sagemaker-runtime",
            "/endpoints/{endpoint}/invocations",
            JSON,
            r#"{"error":"a label"}"#,
        ),
    ]
    .map(|(surface, path, media, body)| (surface, path, media, body.into(), Report::default()))
    .into();
    check(&rows);
}

#[test]
fn a_document_that_was_only_fetched_is_not_read_for_failures() {
    let reports = reports_of("openai", "/v1/responses");
    assert!(ReportScan::of(&headers(JSON), &reports, false).is_none());
    let ollama = reports_of("ollama", "/api/pull");
    let mut scan = ReportScan::of(&headers(LINES), &ollama, false).unwrap();
    scan.feed(b"{\"status\":\"pulling\"}\n{\"error\":\"no such file\"}\n");
    assert!(scan.report().failed);
}

/// A message of an AWS event stream, without its checksums.
fn aws(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.as_bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.as_bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let length = u32::try_from(head.len()).unwrap();
    let mut message = Vec::from(total.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend([0; 4]);
    message.extend(head);
    message.extend(payload);
    message.extend([0; 4]);
    message
}

#[test]
fn event_streams_of_aws_are_read_message_by_message() {
    let event = |kind, payload: &[u8]| {
        let headers = [(":message-type", "event"), (":event-type", kind)];
        aws(&headers, payload)
    };
    let exception = |kind| {
        let headers = [(":exception-type", kind), (":message-type", "exception")];
        aws(&headers, br#"{"message":"secret"}"#)
    };
    let metadata = br#"{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7,"cacheReadInputTokens":1},"metrics":{"latencyMs":5}}"#;
    // {"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":9}}
    let chunk = br#"{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdG9wIiwiYW1hem9uLWJlZHJvY2staW52b2NhdGlvbk1ldHJpY3MiOnsiaW5wdXRUb2tlbkNvdW50Ijo4LCJvdXRwdXRUb2tlbkNvdW50Ijo5fX0=","p":"abc"}"#;
    let great = event("contentBlockDelta", &vec![b' '; 2 << 20]);
    let error = aws(
        &[(":message-type", "error"), (":error-code", "InternalError")],
        b"",
    );
    let converse = "/model/{model:enc}/converse-stream";
    let invoke = "/model/{model:enc}/invoke-with-response-stream";
    let endpoint = "/endpoints/{endpoint}/invocations-response-stream";
    check(&[
        (
            "bedrock-runtime",
            converse,
            AWS,
            [great, event("metadata", metadata)].concat(),
            used(|it| {
                it.input = Some(3);
                it.output = Some(4);
                it.total = Some(7);
                it.cached = Some(1);
            }),
        ),
        (
            "bedrock-runtime",
            invoke,
            AWS,
            event("chunk", chunk),
            used(|it| {
                it.input = Some(8);
                it.output = Some(9);
            }),
        ),
        (
            "bedrock-runtime",
            converse,
            AWS,
            [
                event("messageStart", br#"{"role":"assistant"}"#),
                exception("throttlingException"),
            ]
            .concat(),
            failed(Some("throttlingException")),
        ),
        (
            "sagemaker-runtime",
            endpoint,
            AWS,
            [
                event("PayloadPart", b"\x01raw"),
                exception("ModelStreamError"),
            ]
            .concat(),
            failed(Some("ModelStreamError")),
        ),
        (
            "bedrock-runtime",
            converse,
            AWS,
            error,
            failed(Some("InternalError")),
        ),
        (
            "bedrock-runtime",
            converse,
            AWS,
            vec![0, 0, 0, 1, 9, 9],
            Report::default(),
        ),
    ]);
}

#[test]
fn grpc_messages_are_read_by_their_fields() {
    let frame = |message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), message].concat()
    };
    let stream = "/inference.GRPCInferenceService/ModelStreamInfer";
    let infer = "/inference.GRPCInferenceService/ModelInfer";
    // Field 1 is `error_message`, field 2 the response.
    let error = frame(b"\x0a\x06failed");
    let good = frame(&[&[0x12, 2, 0x0a, 0][..], &[]].concat());
    check(&[
        (
            "oip-grpc",
            stream,
            GRPC,
            [good.clone(), error].concat(),
            failed(None),
        ),
        ("oip-grpc", stream, GRPC, good, Report::default()),
        (
            "tei-grpc",
            "/tei.v1.Embed/Embed",
            GRPC,
            frame(&[0x0a, 4, 0, 0, 0, 0, 0x12, 4, 0x08, 9, 0x10, 3]),
            used(|it| it.input = Some(3)),
        ),
    ]);
    // `ModelInferResponse` has the model's name there: no field of it reports anything.
    let plain = reports_of("oip-grpc", infer);
    assert!(ReportScan::of(&headers(GRPC), &plain, true).is_none());
}

#[test]
fn the_messages_of_a_conversation_are_added_up() {
    let mut scan = ReportScan::of_conversation(&reports_of("openai", "/v1/realtime"));
    let done = br#"{"type":"response.done","response":{"status":"completed","usage":{"total_tokens":30,"input_tokens":20,"output_tokens":10,"input_token_details":{"cached_tokens":5,"text_tokens":15},"output_token_details":{"text_tokens":10}}}}"#;
    scan.message(
        br#"{"type":"response.created","response":{"status":"in_progress","usage":null}}"#,
    );
    scan.message(done);
    scan.message(b"\x00sound");
    scan.message(b"{ broken");
    scan.message(done);
    let usage = used(|it| {
        it.input = Some(40);
        it.output = Some(20);
        it.total = Some(60);
        it.cached = Some(10);
    });
    assert_eq!(scan.report(), &usage);
    scan.message(br#"{"type":"response.done","response":{"status":"failed","status_details":{"type":"failed","error":{"type":"server_error","code":"insufficient_quota"}}}}"#);
    assert!(scan.report().failed);
    assert_eq!(
        scan.report().error_type.as_deref(),
        Some("insufficient_quota")
    );
}

#[test]
fn an_error_of_a_conversation_is_a_failure() {
    let mut scan = ReportScan::of_conversation(&reports_of("openai", "/v1/realtime"));
    scan.message(br#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_event","message":"x"}}"#);
    assert_eq!(scan.report(), &failed(Some("invalid_event")));
}

#[test]
fn a_later_report_replaces_an_earlier_one_however_many_there_are() {
    let body: String = (0..1000)
        .map(|n| {
            format!("data: {{\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":{n}}}}}\n\n")
        })
        .collect();
    let reports = reports_of("openai", "/v1/chat/completions");
    let got = read(&reports, &headers(EVENTS), body.as_bytes(), 100).unwrap();
    assert_eq!(got.usage, Usage::new(Some(3), Some(999)));
}

#[test]
fn an_encoded_response_is_decoded_to_be_read() {
    let body = br#"{"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    let member = |content: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = member(body);
    let (first, second) = body.split_at(20);
    let gzips = [member(first), member(b""), member(second)].concat();
    // One metablock that is not compressed, and an empty last one (RFC 7932 §9.2): 51 bytes.
    assert_eq!(body.len(), 51);
    let brotli = [&[0x20, 0x03, 0x10][..], body, &[0x03]].concat();
    let reports = reports_of("openai", "/v1/chat/completions");
    let due = Usage::new(Some(3), Some(5));
    for (name, encoded) in [
        ("gzip", &gzip),
        ("x-gzip", &gzips),
        ("br", &brotli),
        ("BR", &brotli),
    ] {
        let mut headers = headers(JSON);
        headers.insert("content-encoding", HeaderValue::from_static(name));
        for piece in [1, 5, encoded.len()] {
            let got = read(&reports, &headers, encoded, piece).unwrap();
            assert_eq!(got.usage, due, "{name} by {piece}");
        }
    }
    let mut unknown = headers(JSON);
    unknown.insert("content-encoding", HeaderValue::from_static("dcb"));
    assert!(read(&reports, &unknown, body, 5).is_none());
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
    let reports = Arc::new(Reports::of_dialect(Dialect::Problem));
    for (media, body, due) in rows {
        for piece in [1, 7, body.len()] {
            let got = read(&reports, &headers(media), body.as_bytes(), piece).unwrap();
            let served = got.served.as_ref().map(|model| model.as_str());
            assert_eq!(served, due, "{media} {body} in pieces of {piece}");
        }
    }
}
