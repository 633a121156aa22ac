//! The parts of the example: a provider, two guarded servers, the administration API and a ledger.

use std::path::PathBuf;

use anstream::println;
use reqwest::Method;
use serde_json::{Value, json};
use spanner_admin::{Admin, Promotions};
use spanner_cedar::Cedar;
use spanner_demo::idp::{Account, Idp};
use spanner_demo::model;
use spanner_examples::telling::{BAD, DIM, GOOD};
use spanner_ledger::Ledger;
use spanner_tower::{Bearer, GuardLayer, Issuer, surface};
use tokio::net::TcpListener;

use crate::Stop;

/// Everything that runs during the example, and its results so far.
pub(crate) struct Stage {
    idp: Idp,
    staging: String,
    production: String,
    client: reqwest::Client,
    promotions: Promotions,
    folder: tempfile::TempDir,
    pub(crate) steps: usize,
    pub(crate) differences: usize,
}

/// The expected response: a status, and a part of its text.
pub(crate) type Due = (u16, &'static str);

const ORGANIZATION: &str = include_str!("access/organization.toml");

impl Stage {
    pub(crate) async fn set() -> Result<Self, Stop> {
        let account = |name, groups| Account { name, groups };
        let accounts = vec![
            account("nina", &["nlp", "ml-governance"][..]),
            account("omar", &["ml-governance"]),
            account("pia", &["ml-governance"]),
            account("tina", &["qa"]),
            account("sam", &["support"]),
        ];
        let idp = Idp::start("models", accounts, Vec::new()).await?;
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("access");
        std::fs::create_dir_all(directory.join("models/acme"))?;
        std::fs::write(directory.join("organization.toml"), ORGANIZATION)?;

        let access = Cedar::from_dir(&directory)?;
        let ledger = Ledger::open(folder.path().join("ledger"))?;
        let promotions = Promotions::open(access.clone(), ledger.clone()).await?;
        let issuer = Issuer::oidc(idp.issuer()).alias("corp").audience("models");
        let callers = Bearer::builder()
            .issuer(issuer.danger_allow_http_loopback())
            .build()?;
        let serve = async |environment: &str| {
            let guard = GuardLayer::builder(callers.clone(), access.clone(), ledger.clone())
                .service("promotion")
                .environment(environment.parse()?)
                .surface(surface::openai())
                .surface(spanner_admin::surface())
                .build()?;
            let admin = Admin::new(promotions.clone());
            listen(model::router().fallback_service(admin).layer(guard)).await
        };
        Ok(Self {
            staging: serve("staging").await?,
            production: serve("production").await?,
            client: reqwest::Client::new(),
            idp,
            promotions,
            folder,
            steps: 0,
            differences: 0,
        })
    }

    /// Writes the model's manifest, as its team would, and reloads the access.
    pub(crate) async fn write(&self, manifest: &str) -> Result<(), Stop> {
        std::fs::write(self.manifest(), manifest)?;
        Ok(self.promotions.reload().await?)
    }

    fn manifest(&self) -> PathBuf {
        let models = self.folder.path().join("access/models");
        models.join(format!("{}.toml", model::SENTIMENT))
    }

    /// Calls the model as a person.
    pub(crate) async fn chat(&mut self, who: &str, staging: bool, due: Due) -> Result<(), Stop> {
        let (at, url) = match staging {
            true => ("staging", &self.staging),
            false => ("production", &self.production),
        };
        let url = format!("{url}/v1/chat/completions");
        let message = json!({"role": "user", "content": "thank you, that was quick"});
        let body = json!({"model": model::SENTIMENT, "messages": [message]});
        let title = format!("{who} calls the model in {at}");
        self.step(&title, who, Method::POST, &url, Some(body), due)
            .await?;
        Ok(())
    }

    /// Sends a request to the administration API as a person.
    pub(crate) async fn ask(
        &mut self,
        title: &str,
        who: &str,
        path: &str,
        body: Option<Value>,
        due: Due,
    ) -> Result<Value, Stop> {
        let url = format!("{}/spanner/v1/{path}", self.production);
        let method = if body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        self.step(title, who, method, &url, body, due).await
    }

    async fn step(
        &mut self,
        title: &str,
        who: &str,
        method: Method,
        url: &str,
        body: Option<Value>,
        (status, says): Due,
    ) -> Result<Value, Stop> {
        let token = self.idp.sign_in(who).await?;
        let mut request = self.client.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let found = response.status().as_u16();
        let text = response.text().await?;
        let good = found == status && text.contains(says);
        self.steps += 1;
        let (style, mark) = if good { (GOOD, "✓") } else { (BAD, "✗") };
        println!("{style}{mark}{style:#} {title:<58} {found}");
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let told = ["/detail", "/error/message"];
        if let Some(told) = told.iter().find_map(|at| answer.pointer(at)?.as_str()) {
            println!("    {DIM}{told}{DIM:#}");
        }
        if !good {
            self.differences += 1;
            println!("    {BAD}expected {status} with `{says}`: {text}{BAD:#}");
        }
        Ok(answer)
    }
}

async fn listen(app: axum::Router) -> Result<String, Stop> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
