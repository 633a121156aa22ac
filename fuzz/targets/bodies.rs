//! What strangers send as a body, in two pieces: JSON, lines, forms, pushes, messages. No
//! panic, and what is accepted means what other readers find in it.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use libfuzzer_sys::fuzz_target;
use spanner_tower::{Resolver, surface};

/// Each kind of body, at a route that reads it.
const KINDS: [(&str, &str, &str, &str); 8] = [
    ("openai", "/v1/chat/completions", "application/json", ""),
    ("openai", "/v1/chat/completions", "application/json", "gzip"),
    ("openai", "/v1/chat/completions", "application/json", "zstd"),
    (
        "openai",
        "/v1/audio/transcriptions",
        "multipart/form-data; boundary=x",
        "",
    ),
    ("openai", "/v1/files", "multipart/form-data; boundary=x", ""),
    (
        "hf-hub",
        "/api/models/acme/m/commit/main",
        "application/x-ndjson",
        "",
    ),
    (
        "git-http",
        "/acme/m.git/git-receive-pack",
        "application/x-git-receive-pack-request",
        "",
    ),
    (
        "oip-grpc",
        "/inference.GRPCInferenceService/ModelInfer",
        "application/grpc",
        "",
    ),
];

static RESOLVERS: LazyLock<Vec<Resolver>> = LazyLock::new(|| {
    let surfaces = KINDS.iter().map(|(name, ..)| surface::named(name).unwrap());
    surfaces
        .map(|surface| Resolver::new(vec![surface]).unwrap())
        .collect()
});

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, cut, body) = input;
    let kind = usize::from(kind) % KINDS.len();
    let (_, path, media, encoding) = KINDS[kind];
    let (first, second) = body.split_at(usize::from(cut).min(body.len()));
    let frames = [first, second]
        .map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece))));
    let mut request = Request::post(path).header("content-type", media);
    if !encoding.is_empty() {
        request = request.header("content-encoding", encoding);
    }
    let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
    let resolved = RESOLVERS[kind].resolve(request).now_or_never();
    let Some(Ok(resolved)) = resolved else {
        return;
    };
    let target = resolved.target.unwrap();
    if kind == 0 {
        let document: serde_json::Value = serde_json::from_slice(body).unwrap();
        let model = document["model"].as_str().unwrap();
        let name = target.pairs()[0].resource.name().unwrap();
        assert_eq!(name.as_str(), model);
    }
});
