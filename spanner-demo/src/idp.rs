//! A small OpenID provider: discovery, JWKS and a token endpoint over loopback HTTP.
//!
//! People sign in with the password grant (RFC 6749 §4.3, suitable only for a demonstration),
//! services with client credentials (§4.4), and an agent obtains a token to
//! act for a person by token exchange (RFC 8693). Tokens follow RFC 9068.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use reqwest::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::signer::Signer;

/// A person who can sign in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The login name, which is also the token's `sub`.
    pub name: &'static str,
    /// The groups in its tokens.
    pub groups: &'static [&'static str],
}

/// The running provider.
#[derive(Clone)]
pub struct Idp {
    provider: Arc<Provider>,
}

struct Provider {
    issuer: String,
    audience: String,
    signer: Signer,
    accounts: Vec<Account>,
    agents: Vec<&'static str>,
}

/// Why the provider cannot start, or gave no token.
#[derive(Debug, thiserror::Error)]
#[error("the identity provider of the demonstration: {0}")]
pub struct IdpError(String);

/// How long a token lives, in seconds.
const LIFETIME: i64 = 600;
const KEY_ID: &str = "demo-1";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The secret of every account of this demonstration.
pub const SECRET: &str = "demo";

impl Idp {
    /// Starts a provider on a free port of the loopback interface. `accounts` can sign in,
    /// `agents` can exchange a person's token for one in which they act for that person.
    ///
    /// # Errors
    /// [`IdpError`] if no port is free, or no random bytes are available.
    pub async fn start(
        audience: &str,
        accounts: Vec<Account>,
        agents: Vec<&'static str>,
    ) -> Result<Self, IdpError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(error)?;
        let issuer = format!("http://{}", listener.local_addr().map_err(error)?);
        let signer = Signer::new(KEY_ID).map_err(error)?;
        let audience = audience.to_owned();
        let provider = Arc::new(Provider {
            issuer,
            audience,
            signer,
            accounts,
            agents,
        });
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks_document))
            .route("/token", post(token))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { provider })
    }

    /// Its issuer identifier, below which its metadata is served.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// Its token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.provider.issuer)
    }

    /// Signs a person in with the password grant (RFC 6749 §4.3), and returns the access token.
    ///
    /// # Errors
    /// [`IdpError`] if there is no such account, or if the token endpoint does not answer.
    pub async fn sign_in(&self, name: &str) -> Result<String, IdpError> {
        let form = [
            ("grant_type", "password"),
            ("username", name),
            ("password", SECRET),
        ];
        self.request(&form).await
    }

    /// Exchanges a person's token for one in which an agent acts for that person (RFC 8693).
    ///
    /// # Errors
    /// [`IdpError`] if there is no such agent, if the token is not one of this provider, or if the
    /// token endpoint does not answer.
    pub async fn exchange(&self, agent: &str, token: &str) -> Result<String, IdpError> {
        let form = [
            ("grant_type", EXCHANGE),
            ("client_id", agent),
            ("client_secret", SECRET),
            ("subject_token_type", ACCESS_TOKEN),
            ("subject_token", token),
        ];
        self.request(&form).await
    }

    /// Asks the token endpoint, as any client does.
    async fn request(&self, form: &[(&str, &str)]) -> Result<String, IdpError> {
        let request = reqwest::Client::new()
            .post(self.token_endpoint())
            .form(form);
        let response = request.send().await.and_then(Response::error_for_status);
        let answer: Value = response.map_err(error)?.json().await.map_err(error)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| error("the token endpoint gave no token"))?;
        Ok(token.to_owned())
    }

    /// A token that the provider signed an hour ago and that has expired since.
    ///
    /// # Errors
    /// [`IdpError`] if it cannot be signed.
    pub fn expired_token(&self, subject: &str, groups: &[&str]) -> Result<String, IdpError> {
        let issued = Timestamp::now().as_second() - 3600;
        self.provider
            .sign(subject, groups, None, issued)
            .map_err(|problem| IdpError(problem.text))
    }
}

impl std::fmt::Debug for Idp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idp")
            .field("issuer", &self.provider.issuer)
            .finish_non_exhaustive()
    }
}

fn error(error: impl std::fmt::Display) -> IdpError {
    IdpError(error.to_string())
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "token_endpoint": format!("{issuer}/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn jwks_document(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(provider.signer.jwks())
}

/// A token request, in any of the three grants.
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    username: Option<String>,
    password: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    subject_token: Option<String>,
}

/// An error of the token endpoint (RFC 6749 §5.2).
struct Problem {
    code: &'static str,
    text: String,
}

async fn token(
    State(provider): State<Arc<Provider>>,
    Form(request): Form<TokenRequest>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let token = provider.issue(&request).map_err(|problem| {
        let body = json!({"error": problem.code, "error_description": problem.text});
        (StatusCode::BAD_REQUEST, Json(body))
    })?;
    Ok(Json(
        json!({"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME}),
    ))
}

impl Provider {
    fn issue(&self, request: &TokenRequest) -> Result<String, Problem> {
        let now = Timestamp::now().as_second();
        match request.grant_type.as_str() {
            "password" => {
                let account = self.account(&request.username, &request.password)?;
                self.sign(account.name, account.groups, None, now)
            }
            "client_credentials" => {
                let account = self.account(&request.client_id, &request.client_secret)?;
                self.sign(account.name, account.groups, None, now)
            }
            EXCHANGE => self.exchange(request, now),
            _ => Err(problem(
                "unsupported_grant_type",
                "use password, client_credentials or token exchange",
            )),
        }
    }

    fn account(&self, name: &Option<String>, secret: &Option<String>) -> Result<&Account, Problem> {
        self.accounts
            .iter()
            .find(|account| Some(account.name) == name.as_deref())
            .filter(|_| secret.as_deref() == Some(SECRET))
            .ok_or_else(|| problem("invalid_grant", "no such account, or another secret"))
    }

    /// An agent presents a person's token and gets one in which it acts for that person.
    fn exchange(&self, request: &TokenRequest, now: i64) -> Result<String, Problem> {
        let agent = self
            .agents
            .iter()
            .find(|agent| Some(**agent) == request.client_id.as_deref())
            .filter(|_| request.client_secret.as_deref() == Some(SECRET))
            .ok_or_else(|| problem("invalid_client", "no such agent, or another secret"))?;
        let subject = self.subject_of(request.subject_token.as_deref().unwrap_or_default())?;
        self.sign(subject.name, subject.groups, Some(agent), now)
    }

    /// The subject of a token that this provider signed.
    fn subject_of(&self, token: &str) -> Result<&Account, Problem> {
        let invalid = || problem("invalid_grant", "the subject token is not one of ours");
        let set: jsonwebtoken::jwk::JwkSet =
            serde_json::from_value(self.signer.jwks()).map_err(|_| invalid())?;
        let jwk = set.find(KEY_ID).ok_or_else(invalid)?;
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).map_err(|_| invalid())?;
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        let claims = jsonwebtoken::decode::<BTreeMap<String, Value>>(token, &key, &validation)
            .map_err(|_| invalid())?
            .claims;
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .ok_or_else(invalid)?;
        self.accounts
            .iter()
            .find(|account| account.name == subject)
            .ok_or_else(invalid)
    }

    fn sign(
        &self,
        subject: &str,
        groups: &[&str],
        actor: Option<&str>,
        issued: i64,
    ) -> Result<String, Problem> {
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "client_id": "demo-shell",
            "groups": groups,
            "iat": issued,
            "exp": issued + LIFETIME,
            "jti": uuid::Uuid::now_v7(),
        });
        if let (Some(actor), Some(claims)) = (actor, claims.as_object_mut()) {
            claims.insert("act".to_owned(), json!({"sub": actor}));
        }
        self.signer
            .sign("at+jwt", &claims)
            .map_err(|error| problem("server_error", &error.to_string()))
    }
}

fn problem(code: &'static str, text: &str) -> Problem {
    Problem {
        code,
        text: text.to_owned(),
    }
}
