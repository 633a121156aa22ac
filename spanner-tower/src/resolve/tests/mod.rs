//! Requests at the boundary of this module: [`Routes`] in, pairs or a refusal out.

mod bodies;
mod cases;
mod heads;
mod joined;
mod properties;
mod report;
mod routes;
mod streams;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http::request::Parts;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use spanner_core::{Refusal, RequestFault, Target};

use super::{Limits, RequestBody, RouteClass, Routes};
use crate::surface::{self, Surface};

type Chunk = Result<Frame<Bytes>, std::io::Error>;
type Chunks = StreamBody<stream::Iter<std::vec::IntoIter<Chunk>>>;

/// A body that arrives in these pieces.
fn chunks<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Chunks {
    let frames: Vec<Chunk> = pieces
        .into_iter()
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    StreamBody::new(stream::iter(frames))
}

fn parts(request: &str, headers: &[(&str, &str)]) -> Parts {
    let (method, uri) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn routes(surface: Surface) -> Routes {
    Routes::new(vec![surface]).unwrap()
}

/// What a request touches, and the body that goes on.
async fn resolve(
    routes: &Routes,
    parts: &Parts,
    body: Chunks,
    limits: &Limits,
) -> Result<(Target, RequestBody<Chunks>), Refusal> {
    let found = routes.classify(parts)?;
    assert_eq!(found.class(), RouteClass::Guarded);
    found.target(parts, body, limits, Default::default()).await
}

/// The pairs of a JSON request to a route of OpenAI, as text.
async fn chat(body: &[u8], headers: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
    let parts = parts("POST /v1/chat/completions", headers);
    let routes = routes(surface::openai());
    let (target, _) = resolve(&routes, &parts, chunks([body]), &Limits::default()).await?;
    Ok(texts(&target))
}

fn texts(target: &Target) -> Vec<String> {
    target.pairs().iter().map(ToString::to_string).collect()
}

async fn forwarded(body: RequestBody<Chunks>) -> Vec<u8> {
    body.collect().await.unwrap().to_bytes().to_vec()
}

/// A length-prefixed message.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// A protobuf message of texts (shorter than 128 bytes, field numbers below 16).
fn message<'t>(fields: impl IntoIterator<Item = (u8, &'t str)>) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, text) in fields {
        message.push(number << 3 | 2);
        message.push(u8::try_from(text.len()).unwrap());
        message.extend_from_slice(text.as_bytes());
    }
    message
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const JSON: (&str, &str) = ("content-type", "application/json");

fn fault(fault: RequestFault) -> Refusal {
    Refusal::Request(fault)
}
