//! A minimal axum service behind a guard.
//!
//! `cargo run --example axum` starts an identity provider and a guarded router, and prints a call to
//! try. A service of your own names your provider instead.

use axum::extract::Json;
use axum::routing::post;
use serde_json::{Value, json};
use spanner_cedar::Cedar;
use spanner_demo::idp::{Account, Idp, SECRET};
use spanner_ledger::Ledger;
use spanner_tower::{Bearer, GuardLayer, Issuer, Permitted, surface};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts = vec![Account {
        name: "sam",
        groups: &["support"],
    }];
    let idp = Idp::start("models", accounts, Vec::new()).await?;

    let issuer = Issuer::oidc(idp.issuer()).alias("corp").audience("models");
    let callers = Bearer::builder()
        .issuer(issuer.danger_allow_http_loopback())
        .build()?;
    let access = Cedar::from_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/access"))?;
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(folder.path())?;
    let guard = GuardLayer::builder(callers, access, ledger)
        .environment("production".parse()?)
        .surface(surface::openai())
        .build()?;

    let app = axum::Router::new()
        .route("/v1/chat/completions", post(chat))
        .layer(guard);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let token = idp.token_endpoint();
    println!(
        "TOKEN=$(curl -s {token} -d grant_type=password -d username=sam -d password={SECRET} \
         | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         curl -i {url}/v1/chat/completions -H \"Authorization: Bearer $TOKEN\" \
         -H 'content-type: application/json' \
         -d '{{\"model\": \"acme/sentiment\", \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'"
    );
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    Ok(())
}

async fn chat(Permitted(access): Permitted, Json(prompt): Json<Value>) -> Json<Value> {
    let content = format!("good day, {}", access.caller);
    Json(json!({
        "object": "chat.completion",
        "model": prompt.get("model"),
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
        }],
    }))
}
