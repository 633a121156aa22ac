//! Hugging Face's `whoami-v2`, for `hf_…` tokens.

use std::sync::Arc;

use http::StatusCode;
use http::header::ACCEPT;
use reqwest::{Client, Url};
use serde_json::{Map, Value};
use spanner_core::Timestamp;

use super::answer::{Answer, AskIssuer, body};
use super::introspection::is_about_token;
use crate::authenticate::BoxFuture;
use crate::keys::{AddressError, FetchError, Plain, cause, client, parse, retry_after};

/// Asks who holds a token, and accepts members of the listed organizations.
pub(crate) struct Whoami {
    url: Url,
    http: Client,
    organizations: Arc<[String]>,
}

impl Whoami {
    pub(crate) fn build(
        url: &str,
        organizations: Vec<String>,
        plain: Plain,
    ) -> Result<Self, AddressError> {
        let url = parse(url, plain)?;
        Ok(Self {
            http: client(&url)?,
            url,
            organizations: organizations.into(),
        })
    }

    async fn who(&self, token: &str) -> Result<Answer, FetchError> {
        let place = self.url.as_str();
        let request = self.http.get(self.url.clone()).bearer_auth(token);
        let failed = |error: reqwest::Error| {
            FetchError::new(format!("`{place}` cannot be asked: {}", cause(&error)))
        };
        let request = request.header(ACCEPT, "application/json");
        let response = request.send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(Answer::Inactive),
            status => {
                let mut error = FetchError::new(format!("`{place}` answers {status}"));
                error.retry_after = retry_after(response.headers());
                error.about_token = is_about_token(status);
                return Err(error);
            }
        }
        let body = body(response).await?;
        let said: Map<String, Value> = serde_json::from_slice(&body)
            .map_err(|error| FetchError::new(format!("`{place}` answers no such JSON: {error}")))?;
        Ok(match self.claims(said) {
            Some(claims) => Answer::Active(Value::Object(claims).to_string().into()),
            None => Answer::Inactive,
        })
    }

    /// The claims that are used: the listed organizations that the holder belongs to or is, of
    /// which there must be at least one, and the token's creation time as `iat`.
    fn claims(&self, mut said: Map<String, Value>) -> Option<Map<String, Value>> {
        let listed = |it: &Value| {
            let name = it.get("name").and_then(Value::as_str);
            name.is_some_and(|name| self.organizations.iter().any(|listed| listed == name))
        };
        let restricted = |it: &Value| match it.get("securityRestrictions") {
            None | Some(Value::Null) => false,
            Some(Value::Array(restrictions)) => !restrictions.is_empty(),
            Some(_) => true,
        };
        let mut belongs = said.get("type").and_then(Value::as_str) == Some("org")
            && listed(&Value::Object(said.clone()));
        match said.get_mut("orgs") {
            Some(Value::Array(organizations)) => {
                organizations.retain(listed);
                belongs |= organizations.iter().any(|it| !restricted(it));
            }
            Some(_) => return None,
            None => {}
        }
        // These claims are reserved for Spanner, so values with these names in the answer are
        // dropped.
        for claim in ["iat", "exp", "nbf", "iss", "aud", "act", "cnf"] {
            said.remove(claim);
        }
        if let Some(created) = created(&said) {
            said.insert("iat".to_owned(), created.as_second().into());
        }
        belongs.then_some(said)
    }
}

/// When the token was made.
fn created(said: &Map<String, Value>) -> Option<Timestamp> {
    let token = said.get("auth")?.get("accessToken")?;
    token.get("createdAt")?.as_str()?.parse().ok()
}

impl AskIssuer for Whoami {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>> {
        Box::pin(self.who(token))
    }
}
