//! `--demo`: the configuration as it is, with a provider and a model server of its own.
//!
//! Both run in this process, on the loopback interface: the provider stands in for the first
//! issuer, the model server for every upstream. The ledger goes to a temporary directory.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use http::uri::Authority;
use serde_json::Value;
use spanner_examples::idp::{Account, Idp, SECRET};
use spanner_examples::model;
use tokio::net::TcpListener;

use crate::command::Stop;
use spanner_toml::Problems;

use crate::config::Config;
use crate::load::Loaded;
use crate::service::Service;
use crate::signals;

/// Serves with both until the operating system says to stop.
pub(crate) async fn serve(mut config: Config, problems: Problems) -> Result<(), Stop> {
    let mut stops = signals::stops()?;
    let folder = tempfile::tempdir()?;
    config.ledger = folder.path().join("ledger");
    // It goes with the folder.
    config.note = None;
    // Nothing of a demonstration goes where the real records go.
    config.checkpoints.clear();
    config.ship.clear();
    let issuer = config.issuers.first_mut();
    let issuer = issuer.ok_or("the configuration has no `[[issuer]]` to stand in for")?;
    let audience = issuer.audience().unwrap_or("models").to_owned();
    let idp = Idp::start(&audience, accounts(), vec!["triage-copilot"]).await?;
    issuer.move_to_loopback(idp.issuer());
    config.issuers.truncate(1);
    let model = start_model().await?;
    for upstream in &mut config.upstreams {
        upstream.origin.relocate(model.clone());
    }
    let ledger = config.ledger.clone();
    let service = Service::start(Loaded::of(config, problems)?).await?;
    invite(&service, &idp, &ledger).await?;
    stops.recv().await;
    Ok(service.stop().await?)
}

/// Sam answers tickets in production; Tina tests in staging only.
fn accounts() -> Vec<Account> {
    vec![
        Account {
            name: "sam",
            groups: &["support"],
        },
        Account {
            name: "tina",
            groups: &["qa"],
        },
    ]
}

async fn start_model() -> Result<Authority, Stop> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let router = model::behind_a_proxy();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address.parse()?)
}

/// Prints what to try.
async fn invite(service: &Service, idp: &Idp, ledger: &Path) -> Result<(), Stop> {
    let (address, sentiment) = (service.address(), model::SENTIMENT);
    let (sam, tina) = (sign_in(idp, "sam").await?, sign_in(idp, "tina").await?);
    let endpoint = idp.token_endpoint();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Tokens, good for ten minutes (more: curl {endpoint} -d grant_type=password -d username=sam -d password={SECRET}):\n\
         SAM={sam}\nTINA={tina}\n\n\
         Sam may call `{sentiment}` here; Tina may not:"
    )?;
    for name in ["SAM", "TINA"] {
        writeln!(out, "{}", call(address, name, sentiment))?;
    }
    let probes = service.admin_address().unwrap_or(address);
    writeln!(
        out,
        "\nWith the `openai` package of Python, or any other client of that API:\n\
         export OPENAI_BASE_URL=http://{address}/v1 OPENAI_API_KEY=$SAM\n\n\
         curl http://{probes}/spanner/ready\n\
         curl http://{probes}/spanner/metrics\n\n\
         What the ledger says of them, until then:\n\
         spanner-proxy ledger show {}\n\n\
         Ctrl-C ends it.",
        ledger.display()
    )?;
    Ok(out.flush()?)
}

fn call(address: SocketAddr, name: &str, model: &str) -> String {
    format!(
        "curl -i http://{address}/v1/chat/completions -H \"Authorization: Bearer ${name}\" \
         -H 'content-type: application/json' -d '{{\"model\": \"{model}\", \"messages\": \
         [{{\"role\": \"user\", \"content\": \"thank you, that was quick\"}}]}}'"
    )
}

async fn sign_in(idp: &Idp, name: &str) -> Result<String, Stop> {
    let form = [
        ("grant_type", "password"),
        ("username", name),
        ("password", SECRET),
    ];
    let request = reqwest::Client::new()
        .post(idp.token_endpoint())
        .form(&form);
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    let token = answer.get("access_token").and_then(Value::as_str);
    Ok(token.ok_or("the token endpoint gave no token")?.to_owned())
}
