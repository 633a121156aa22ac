//! The parts of the example: three providers, a guarded service and a ledger.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use spanner_cedar::Cedar;
use spanner_demo::model;
use spanner_demo::signer::Signer;
use spanner_examples::telling;
use spanner_ledger::{Ledger, Row};
use spanner_tower::bearer::Revocation;
use spanner_tower::{Bearer, GuardLayer, Issuer, surface};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::Stop;
use crate::corp::Corp;

const PROVIDERS: &str = include_str!("providers.toml");
const ACCESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/identities/access");

/// Everything that runs during the example.
pub(crate) struct Stage {
    pub(crate) corp: Corp,
    pub(crate) github: Signer,
    pub(crate) cluster: Signer,
    /// The key that the tokens of the service `vault` are bound to.
    pub(crate) vault: Signer,
    pub(crate) service: String,
    pub(crate) client: reqwest::Client,
    /// Tokens that later calls use again.
    pub(crate) kept: Mutex<Vec<String>>,
    callers: Bearer,
    ledger: Ledger,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn set(provider: Option<String>) -> Result<Self, Stop> {
        let corp = Corp::find(provider).await?;
        let (github, cluster) = (Signer::new("github-1")?, Signer::new("cluster-1")?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let service = format!("http://{}", listener.local_addr()?);

        let providers = PROVIDERS
            .replace("{corp}", corp.issuer())
            .replace("{github}", &github.jwks().to_string())
            .replace("{cluster}", &cluster.jwks().to_string());
        let callers = Bearer::builder()
            .issuers(Issuer::from_toml(&providers)?)
            .dpop(&service)
            .build()?;
        callers.warm_up(Duration::from_secs(5)).await?;

        let folder = tempfile::tempdir()?;
        let ledger = Ledger::open(folder.path().join("ledger"))?;
        let guard = GuardLayer::builder(callers.clone(), Cedar::from_dir(ACCESS)?, ledger.clone())
            .service("identities")
            .environment("production".parse()?)
            .surface(surface::openai())
            .build()?;
        let uploads = axum::routing::post(async || axum::Json(json!({ "id": "upload-1" })));
        let app = model::router().route("/v1/uploads", uploads).layer(guard);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self {
            corp,
            github,
            cluster,
            vault: Signer::new("vault-1")?,
            service,
            client: reqwest::Client::new(),
            kept: Mutex::default(),
            callers,
            ledger,
            _folder: folder,
        })
    }

    /// The token of a GitHub Actions job in a repository of this owner.
    pub(crate) fn job(&self, owner: u32, issued_ago: i64) -> Result<String, Stop> {
        let issued = Timestamp::now().as_second() - issued_ago;
        let claims = json!({
            "iss": "https://token.actions.githubusercontent.com",
            "aud": "models",
            "sub": "repo:acme/sentiment:ref:refs/heads/main",
            "repository": "acme/sentiment", "repository_id": "74",
            "repository_owner": "acme", "repository_owner_id": owner.to_string(),
            "ref": "refs/heads/main",
            "iat": issued, "nbf": issued - 300, "exp": issued + 300,
        });
        Ok(self.github.sign("JWT", &claims)?)
    }

    /// The token of a Kubernetes pod for its service account.
    pub(crate) fn pod(&self, namespace: &str) -> Result<String, Stop> {
        let issued = Timestamp::now().as_second();
        let claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local",
            "aud": ["models"],
            "sub": format!("system:serviceaccount:{namespace}:trainer"),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": "trainer", "uid": "55b6"},
            },
            "iat": issued, "nbf": issued, "exp": issued + 3600,
        });
        Ok(self.cluster.sign("JWT", &claims)?)
    }

    /// A token signed by an unknown issuer.
    pub(crate) fn stranger(&self) -> Result<String, Stop> {
        let issued = Timestamp::now().as_second();
        let claims = json!({
            "iss": "https://id.evil.example", "aud": "models", "sub": "alice",
            "groups": ["support"], "iat": issued, "exp": issued + 300,
        });
        Ok(Signer::new("evil-1")?.sign("at+jwt", &claims)?)
    }

    /// Revokes a token by its identifier.
    pub(crate) fn revoke(&self, token: &str) -> Result<(), Stop> {
        let claims = token.split('.').nth(1).unwrap_or_default();
        let claims = {
            use base64::Engine;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?
        };
        let claims: Value = serde_json::from_slice(&claims)?;
        let id = claims.get("jti").and_then(Value::as_str);
        let revocation = Revocation::Token {
            issuer: "corp".parse()?,
            id: id.ok_or("the token has no identifier")?.to_owned(),
            until: None,
        };
        Ok(self
            .callers
            .revocations()
            .revoke(revocation, Timestamp::now())?)
    }

    /// The readiness of each provider, one per line.
    pub(crate) fn readiness(&self) -> Vec<String> {
        let line = |it: spanner_tower::bearer::IssuerReadiness| {
            let word = if it.is_ready() { "ready" } else { "not ready" };
            let keys = it.keys.map_or(0, |keys| keys.keys);
            let asked = it.opaque.and_then(|opaque| opaque.last_error);
            let asked = asked.map_or_else(String::new, |error| format!("; {error}"));
            format!("{:<8} {word}, {keys} keys{asked}", it.issuer.as_str())
        };
        self.callers.readiness().into_iter().map(line).collect()
    }

    /// The ledger's records of this many calls.
    pub(crate) async fn rows(&self, calls: usize) -> Result<Vec<Row>, Stop> {
        telling::rows(&self.ledger, calls).await
    }
}
