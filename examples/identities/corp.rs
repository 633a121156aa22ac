//! The company's provider: `oidc-provider`, or a replacement in this process.

use jiff::Timestamp;
use serde_json::{Value, json};
use spanner_demo::idp::{Account, Idp, SECRET};
use spanner_demo::signer::Signer;

use crate::Stop;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The audience of tokens.
pub(crate) const MODELS: &str = "https://models.example.com";
pub(crate) const MODELS_OPAQUE: &str = "https://models.example.com/opaque";
pub(crate) const PAYROLL: &str = "https://payroll.example.com";

/// The company's provider.
pub(crate) enum Corp {
    /// `oidc-provider`, at this address.
    Real(String),
    /// The replacement in this process.
    Played(Idp),
}

impl Corp {
    pub(crate) async fn find(provider: Option<String>) -> Result<Self, Stop> {
        let account = |name, groups| Account { name, groups };
        let accounts = vec![account("alice", &["support"]), account("mallory", &[])];
        Ok(match provider {
            Some(address) => Self::Real(address),
            None => Self::Played(Idp::start("models", accounts, vec!["copilot"]).await?),
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        match self {
            Self::Real(address) => address,
            Self::Played(idp) => idp.issuer(),
        }
    }

    /// Signs a person in.
    pub(crate) async fn person(&self, name: &str, resource: &str) -> Result<String, Stop> {
        match self {
            Self::Real(_) => {
                let form = [
                    ("grant_type", "urn:example:account"),
                    ("client_id", "chat-app"),
                    ("client_secret", SECRET),
                    ("account", name),
                    ("resource", resource),
                ];
                self.token(&form, None).await
            }
            Self::Played(_) => {
                let form = [
                    ("grant_type", "password"),
                    ("username", name),
                    ("password", SECRET),
                ];
                self.token(&form, None).await
            }
        }
    }

    /// Exchanges a person's token for one in which the copilot acts for that person (RFC 8693).
    pub(crate) async fn copilot(&self, token: &str) -> Result<String, Stop> {
        let form = [
            ("grant_type", EXCHANGE),
            ("client_id", "copilot"),
            ("client_secret", SECRET),
            ("subject_token_type", ACCESS_TOKEN),
            ("subject_token", token),
            ("resource", MODELS),
        ];
        self.token(&form, None).await
    }

    /// Signs a service in. With a key, its token is bound to the key (RFC 9449 §5).
    pub(crate) async fn service(&self, name: &str, key: Option<&Signer>) -> Result<String, Stop> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", name),
            ("client_secret", SECRET),
            ("resource", MODELS),
        ];
        let endpoint = format!("{}/token", self.issuer());
        let proof = key.map(|key| prove(key, "POST", &endpoint, None));
        self.token(&form, proof.transpose()?).await
    }

    /// Changes the provider as its operator would.
    pub(crate) async fn admin(&self, what: &str) -> Result<(), Stop> {
        let url = format!("{}/admin/{what}", self.issuer());
        reqwest::Client::new()
            .post(url)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn token(&self, form: &[(&str, &str)], proof: Option<String>) -> Result<String, Stop> {
        let url = format!("{}/token", self.issuer());
        let mut request = reqwest::Client::new().post(url).form(form);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        let answer: Value = request.send().await?.json().await?;
        let token = answer.get("access_token").and_then(Value::as_str);
        Ok(token
            .ok_or_else(|| format!("the provider gave no token: {answer}"))?
            .to_owned())
    }
}

/// A proof of possession for one request (RFC 9449 §4.2).
pub(crate) fn prove(
    key: &Signer,
    method: &str,
    url: &str,
    token: Option<&str>,
) -> Result<String, Stop> {
    use base64::Engine;
    use sha2::Digest;
    let mut claims = json!({
        "jti": uuid::Uuid::now_v7(),
        "htm": method,
        "htu": url,
        "iat": Timestamp::now().as_second(),
    });
    if let (Some(token), Some(claims)) = (token, claims.as_object_mut()) {
        let hash = sha2::Sha256::digest(token);
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash);
        claims.insert("ath".to_owned(), hash.into());
    }
    Ok(key.prove(&claims)?)
}
