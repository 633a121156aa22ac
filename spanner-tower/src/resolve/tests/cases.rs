//! The surfaces' own files of cases, and every route by its own template.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::surface::{BodyKind, Location, Rule, Step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    default: Option<String>,
    body: Option<String>,
    message: Option<Vec<(u8, String)>>,
    frames: Option<String>,
    pairs: Option<Vec<String>>,
    refused: Option<String>,
    #[serde(default)]
    public: bool,
}

impl Case {
    fn content(&self) -> Vec<u8> {
        let fields = |fields: &Vec<(u8, String)>| {
            frame(&message(
                fields.iter().map(|(number, text)| (*number, text.as_str())),
            ))
        };
        self.message
            .as_ref()
            .map(fields)
            .or_else(|| self.frames.as_deref().map(hex))
            .or_else(|| self.body.clone().map(String::into_bytes))
            .unwrap_or_default()
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if !self.headers.contains_key("content-type") {
            match (&self.body, self.message.is_some() || self.frames.is_some()) {
                (_, true) => headers.push(GRPC),
                (Some(_), false) => headers.push(JSON),
                (None, false) => {}
            }
        }
        headers
    }

    async fn check(&self, mut surface: Surface) {
        if let Some(default) = &self.default {
            surface = surface.default_model(default.parse().unwrap());
        }
        let routes = routes(surface);
        let parts = parts(&self.request, &self.headers());
        if self.public {
            let class = routes.classify(&parts).map(|found| found.class());
            assert_eq!(class, Ok(RouteClass::Public), "{}", self.name);
            return;
        }
        let content = self.content();
        let body = chunks([content.as_slice()]);
        match resolve(&routes, &parts, body, &Limits::default()).await {
            Ok((target, body)) => {
                assert_eq!(Some(texts(&target)), self.pairs, "{}", self.name);
                assert_eq!(forwarded(body).await, content, "{}", self.name);
            }
            Err(refusal) => {
                assert_eq!(
                    Some(refusal.code()),
                    self.refused.as_deref(),
                    "{}",
                    self.name
                );
            }
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

async fn check(surface: Surface, text: &str) {
    let cases: Cases = toml::from_str(text).unwrap();
    for case in &cases.cases {
        case.check(surface.clone()).await;
    }
}

#[tokio::test]
async fn openai_requests_touch_what_their_file_says() {
    check(
        surface::openai(),
        include_str!("../../../surfaces/openai.cases.toml"),
    )
    .await;
}

#[tokio::test]
async fn open_inference_requests_touch_what_their_file_says() {
    let cases = include_str!("../../../surfaces/open-inference.cases.toml");
    check(surface::open_inference(), cases).await;
}

/// A request derived from each route's template finds that very route, and its model.
#[tokio::test]
async fn every_route_of_every_surface_resolves() {
    for surface in [surface::openai(), surface::open_inference()] {
        let routes = routes(surface.clone());
        for route in surface.routes() {
            let path = filled(&route.template.text());
            let query = match &route.rule {
                Rule::Guarded(guarded) if wants_query(&guarded.main.model) => "?model=acme",
                _ => "",
            };
            let content_type = if route.grpc { GRPC } else { JSON };
            let parts = parts(&format!("{} {path}{query}", route.method), &[content_type]);
            let found = routes.classify(&parts).unwrap();
            assert_eq!(found.template(), route.template.text());
            let Rule::Guarded(guarded) = &route.rule else {
                assert_ne!(found.class(), RouteClass::Guarded);
                continue;
            };
            let content = match guarded.body {
                BodyKind::Json => document(&guarded.places[0].steps).to_string().into_bytes(),
                BodyKind::Message | BodyKind::Stream => {
                    let number = u8::try_from(guarded.fields[0][0]).unwrap();
                    frame(&message([(number, "acme")]))
                }
                BodyKind::Unread if route.grpc => frame(&[]),
                BodyKind::Unread => Vec::new(),
            };
            let body = chunks([content.as_slice()]);
            match found.target(&parts, body, &Limits::default()).await {
                Ok((target, body)) => {
                    assert_eq!(target.pairs()[0].action, guarded.main.action, "{path}");
                    assert_eq!(forwarded(body).await, content, "{path}");
                }
                Err(refusal) => {
                    let unread = [Location::Opaque, Location::Form];
                    let expected = guarded.main.model.iter().any(|l| unread.contains(l));
                    assert!(expected, "{path}: {refusal}");
                    assert_eq!(refusal.code(), "request.opaque", "{path}");
                }
            }
        }
    }
}

fn wants_query(locations: &[Location]) -> bool {
    locations
        .iter()
        .any(|location| matches!(location, Location::Query(_)))
}

/// A template with something in each slot.
fn filled(template: &str) -> String {
    let segment = |part: &str| {
        if part.starts_with('{') {
            "acme".to_owned()
        } else {
            part.to_owned()
        }
    };
    template
        .split('/')
        .map(segment)
        .collect::<Vec<_>>()
        .join("/")
}

/// A document with a name at a place.
fn document(steps: &[Step]) -> serde_json::Value {
    match steps.split_first() {
        None => "acme".into(),
        Some((Step::Key(key), rest)) => serde_json::json!({ key: document(rest) }),
        Some((Step::Each, rest)) => serde_json::json!([document(rest)]),
        Some((Step::Any, rest)) => document(rest),
    }
}
