//! A small model server: a classifier of support tickets, trained at start, with the routes of the
//! OpenAI API.
//!
//! The model is logistic regression over hashed words and word pairs, fitted by stochastic
//! gradient descent (Bottou, 2010). `/v1/embeddings` gives its features, normalised.

use std::hash::{Hash, Hasher};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use spanner_tower::Permitted;

/// The name under which the classifier is served.
pub const SENTIMENT: &str = "acme/sentiment";
/// A model that is listed but not loaded.
pub const TRANSLATOR: &str = "acme/translator";

/// Labelled tickets: a label, a tab, a text.
const TICKETS: &str = include_str!("data/tickets.tsv");
/// Features that words are hashed into.
const FEATURES: usize = 512;
const EPOCHS: usize = 60;
const LEARNING_RATE: f32 = 0.5;

/// A trained classifier.
#[derive(Debug, Clone)]
pub struct Sentiment {
    weights: Vec<f32>,
    bias: f32,
}

impl Sentiment {
    /// Trains on the tickets in this crate. Deterministic.
    #[must_use]
    pub fn train() -> Self {
        let examples: Vec<(f32, Vec<f32>)> = TICKETS
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(label, text)| (f32::from(u8::from(label == "positive")), features(text)))
            .collect();
        let mut model = Self {
            weights: vec![0.0; FEATURES],
            bias: 0.0,
        };
        for _ in 0..EPOCHS {
            for (label, features) in &examples {
                model.step(*label, features);
            }
        }
        model
    }

    /// The probability that a text is from a happy customer.
    #[must_use]
    pub fn positive(&self, text: &str) -> f32 {
        self.score(&features(text))
    }

    fn score(&self, features: &[f32]) -> f32 {
        let sum: f32 = self.weights.iter().zip(features).map(|(w, x)| w * x).sum();
        1.0 / (1.0 + (-sum - self.bias).exp())
    }

    fn step(&mut self, label: f32, features: &[f32]) {
        let gradient = LEARNING_RATE * (label - self.score(features));
        self.bias += gradient;
        self.weights
            .iter_mut()
            .zip(features)
            .for_each(|(w, x)| *w += gradient * x);
    }
}

/// Words and pairs of words, hashed and normalised to length 1.
fn features(text: &str) -> Vec<f32> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut features = vec![0.0_f32; FEATURES];
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    for term in words.iter().cloned().chain(pairs) {
        let mut hasher = std::hash::DefaultHasher::new();
        term.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % FEATURES as u64).unwrap_or(0);
        if let Some(feature) = features.get_mut(slot) {
            *feature += 1.0;
        }
    }
    let length = features
        .iter()
        .map(|x| x * x)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    features.iter_mut().for_each(|x| *x /= length);
    features
}

#[derive(Deserialize)]
struct Chat {
    model: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Deserialize)]
struct Embeddings {
    model: String,
    input: String,
}

/// The routes of the model server, without a guard: add its layer.
pub fn router() -> Router {
    let model = Sentiment::train();
    let chat = move |Permitted(access): Permitted, body: Json<Chat>| async move {
        chat(&model, &access.decision.to_string(), &body)
    };
    routes().route("/v1/chat/completions", post(chat))
}

/// The routes for a separate server, behind a guard that sends the record's identifier in a header.
pub fn behind_a_proxy() -> Router {
    let model = Sentiment::train();
    let chat = move |headers: HeaderMap, body: Json<Chat>| async move {
        let decision = headers.get("spanner-decision");
        let decision = decision.and_then(|id| id.to_str().ok());
        chat(&model, decision.unwrap_or_default(), &body)
    };
    routes().route("/v1/chat/completions", post(chat))
}

fn routes() -> Router {
    let embeddings = |body: Json<Embeddings>| async move { embeddings(&body) };
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/embeddings", post(embeddings))
}

async fn models() -> Json<Value> {
    let models = [SENTIMENT, TRANSLATOR].map(|id| json!({"id": id, "object": "model"}));
    Json(json!({"object": "list", "data": models}))
}

fn chat(model: &Sentiment, id: &str, body: &Chat) -> Response {
    if body.model != SENTIMENT {
        return not_loaded(&body.model);
    }
    let text = body
        .messages
        .last()
        .map_or("", |message| message.content.as_str());
    let positive = model.positive(text);
    let (label, share) = if positive >= 0.5 {
        ("positive", positive)
    } else {
        ("negative", 1.0 - positive)
    };
    let words = text.split_whitespace().count();
    Json(json!({
        "id": id,
        "object": "chat.completion",
        "created": jiff::Timestamp::now().as_second(),
        "model": body.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": format!("{label} ({share:.2})")},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": words, "completion_tokens": 2, "total_tokens": words + 2},
    }))
    .into_response()
}

fn embeddings(body: &Embeddings) -> Response {
    if body.model != SENTIMENT {
        return not_loaded(&body.model);
    }
    let words = body.input.split_whitespace().count();
    Json(json!({
        "object": "list",
        "model": body.model,
        "data": [{"object": "embedding", "index": 0, "embedding": features(&body.input)}],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    }))
    .into_response()
}

fn not_loaded(model: &str) -> Response {
    let body = json!({"error": {
        "message": format!("the model `{model}` is not loaded: its weights are missing"),
        "type": "server_error",
        "param": null,
        "code": "model_not_loaded",
    }});
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_tickets_it_has_not_seen() {
        let model = Sentiment::train();
        assert!(model.positive("thanks, the support was quick and helpful") > 0.7);
        assert!(model.positive("it crashes again and nobody answers") < 0.3);
    }
}
