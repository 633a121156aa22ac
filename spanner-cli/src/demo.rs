//! `spanner serve --demo`: a proxy with a provider and a model server of its own.
//!
//! Both run in this process, on the loopback interface: the provider replaces the first issuer, the
//! model server every upstream. The ledger, and the configuration unless one is
//! named, are in a temporary directory.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::uri::Authority;
use spanner_demo::idp::{Account, Idp, SECRET};
use spanner_demo::model;
use spanner_proxy::config::Config;
use spanner_proxy::{Loaded, Service};
use tokio::net::TcpListener;

use crate::configuration::Configuration;
use crate::print::Stop;

/// The configuration of the demonstration, and the access directory that it names.
const FILES: [(&str, &str); 5] = [
    ("spanner.toml", include_str!("../demo/spanner.toml")),
    (
        "access/organization.toml",
        include_str!("../demo/access/organization.toml"),
    ),
    (
        "access/models/acme/sentiment.toml",
        include_str!("../demo/access/models/acme/sentiment.toml"),
    ),
    (
        "access/policies/guardrails.cedar",
        include_str!("../demo/access/policies/guardrails.cedar"),
    ),
    (
        "access/cases/sentiment.toml",
        include_str!("../demo/access/cases/sentiment.toml"),
    ),
];

/// Serves until the process is told to stop.
pub(crate) async fn serve(
    configuration: &Configuration,
    listen: Option<SocketAddr>,
) -> Result<(), Stop> {
    let folder = tempfile::tempdir()?;
    let file = match configuration.is_named() {
        true => configuration.file().to_owned(),
        false => unpack(folder.path())?,
    };
    let (config, problems) = Config::read(&file);
    let Some(mut config) = config else {
        return Err(problems.into());
    };
    config.listen = listen.unwrap_or(config.listen);
    let ledger = folder.path().join("ledger");
    let issuer = config.demonstrate(&start_model().await?, ledger.clone())?;
    let audience = issuer.audience().unwrap_or("models").to_owned();
    let idp = Idp::start(&audience, accounts(), vec!["triage-copilot"]).await?;
    issuer.move_to_loopback(idp.issuer());
    let tokens = [idp.sign_in("sam").await?, idp.sign_in("tina").await?];
    let endpoint = idp.token_endpoint();
    spanner_proxy::serve(Loaded::of(config, problems)?, |service| {
        let invitation = invite(service, &tokens, &endpoint, &ledger);
        // The service also runs without a reader of its output.
        let _: io::Result<()> = write!(io::stdout(), "{invitation}");
    })
    .await?;
    Ok(())
}

/// Writes the files of the demonstration into a directory, and returns the configuration.
fn unpack(folder: &Path) -> io::Result<PathBuf> {
    for (name, text) in FILES {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, text)?;
    }
    Ok(folder.join("spanner.toml"))
}

/// Sam may call the model in production, Tina in staging only.
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

/// The calls to try.
fn invite(service: &Service, [sam, tina]: &[String; 2], endpoint: &str, ledger: &Path) -> String {
    let (address, sentiment) = (service.address(), model::SENTIMENT);
    let probes = service.admin_address().unwrap_or(address);
    let [sam_calls, tina_calls] = ["SAM", "TINA"].map(|name| call(address, name, sentiment));
    let ledger = ledger.display();
    format!(
        "Tokens, good for ten minutes (more: curl {endpoint} -d grant_type=password -d username=sam -d password={SECRET}):\n\
         SAM={sam}\nTINA={tina}\n\n\
         Sam may call `{sentiment}` here; Tina may not:\n\
         {sam_calls}\n{tina_calls}\n\n\
         With the `openai` package of Python, or any other client of that API:\n\
         export OPENAI_BASE_URL=http://{address}/v1 OPENAI_API_KEY=$SAM\n\n\
         curl http://{probes}/spanner/ready\n\
         curl http://{probes}/spanner/metrics\n\n\
         What the ledger says of them, until then:\n\
         spanner ledger show {ledger}\n\n\
         Ctrl-C ends it.\n"
    )
}

fn call(address: SocketAddr, name: &str, model: &str) -> String {
    format!(
        "curl -i http://{address}/v1/chat/completions -H \"Authorization: Bearer ${name}\" \
         -H 'content-type: application/json' -d '{{\"model\": \"{model}\", \"messages\": \
         [{{\"role\": \"user\", \"content\": \"thank you, that was quick\"}}]}}'"
    )
}
