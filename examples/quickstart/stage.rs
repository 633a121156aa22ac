//! The parts of the example: a provider, two guarded servers and a ledger.

use spanner_cedar::Cedar;
use spanner_demo::idp::{Account, Idp, SECRET};
use spanner_demo::model;
use spanner_examples::telling;
use spanner_ledger::{Ledger, Row};
use spanner_tower::{Bearer, GuardLayer, Issuer, surface};
use tokio::net::TcpListener;

use crate::Stop;
use anstream::println;

/// Everything that runs during the example.
pub(crate) struct Stage {
    pub(crate) corp: Idp,
    pub(crate) stranger: Idp,
    pub(crate) staging: String,
    pub(crate) production: String,
    pub(crate) client: reqwest::Client,
    ledger: Ledger,
    /// The ledger's folder, which is deleted at the end.
    _folder: tempfile::TempDir,
}

const ACCESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/access");

impl Stage {
    pub(crate) async fn set() -> Result<Self, Stop> {
        let accounts = || {
            vec![
                Account {
                    name: "tina",
                    groups: &["qa"],
                },
                Account {
                    name: "sam",
                    groups: &["support"],
                },
            ]
        };
        let corp = Idp::start("models", accounts(), vec!["triage-copilot"]).await?;
        let stranger = Idp::start("models", accounts(), Vec::new()).await?;
        let folder = tempfile::tempdir()?;
        let ledger = Ledger::open(folder.path().join("ledger"))?;
        let issuer = Issuer::oidc(corp.issuer()).alias("corp").audience("models");
        let callers = Bearer::builder()
            .issuer(issuer.danger_allow_http_loopback())
            .build()?;
        let access = Cedar::from_dir(ACCESS)?;
        let serve = async |environment: &str| {
            let guard = GuardLayer::builder(callers.clone(), access.clone(), ledger.clone())
                .service("quickstart")
                .environment(environment.parse()?)
                .surface(surface::openai())
                .build()?;
            listen(model::router().layer(guard)).await
        };
        let staging = serve("staging").await?;
        let production = serve("production").await?;
        let client = reqwest::Client::new();
        Ok(Self {
            corp,
            stranger,
            staging,
            production,
            client,
            ledger,
            _folder: folder,
        })
    }

    /// The ledger's records of this many calls.
    pub(crate) async fn rows(&self, calls: usize) -> Result<Vec<Row>, Stop> {
        telling::rows(&self.ledger, calls).await
    }

    /// Prints calls to try, and runs until interrupted.
    pub(crate) async fn invite(&self) -> Result<(), Stop> {
        let sam = self.corp.sign_in("sam").await?;
        let tina = self.corp.sign_in("tina").await?;
        let copilot = self.corp.exchange("triage-copilot", &sam).await?;
        println!(
            "\nTokens, good for ten minutes (more: curl {} -d grant_type=password \
             -d username=sam -d password={SECRET}):",
            self.corp.token_endpoint()
        );
        for (name, token) in [("SAM", &sam), ("TINA", &tina), ("COPILOT", &copilot)] {
            println!("{name}={token}");
        }
        println!("\nCalls to try:");
        for (name, url) in [
            ("SAM", &self.production),
            ("TINA", &self.staging),
            ("TINA", &self.production),
        ] {
            println!(
                "curl -i {url}/v1/chat/completions -H \"Authorization: Bearer ${name}\" \
                 -H 'content-type: application/json' -d '{{\"model\": \"{}\", \"messages\": \
                 [{{\"role\": \"user\", \"content\": \"thank you, that was quick\"}}]}}'",
                model::SENTIMENT
            );
        }
        println!(
            "\nWhat the ledger says of them:\n\
             cargo run -p spanner-cli -- ledger show {}\n\nCtrl-C ends it.",
            self.ledger.dir().display()
        );
        tokio::signal::ctrl_c().await?;
        Ok(())
    }
}

async fn listen(app: axum::Router) -> Result<String, Stop> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
