//! Token introspection (RFC 7662).

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::ACCEPT;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::answer::{ANSWER_TTL, Answer, AnswerTtl, AskIssuer, MAX_ANSWER_TTL, body};
use super::secret::ClientSecret;
use crate::authenticate::BoxFuture;
use crate::keys::{AddressError, FetchError, HttpKeys, Plain, cause, client, parse, retry_after};

/// How long a discovered address is used before it is discovered again. Providers rarely move,
/// and announce it.
const REDISCOVER: Duration = Duration::from_secs(24 * 3_600);

/// Configures the introspection of an issuer's opaque tokens (RFC 7662): the endpoint, the
/// client authentication, and the lifetime of answers.
///
/// ```
/// use spanner_tower::{Introspection, Issuer};
///
/// let issuer = Issuer::oidc("https://id.example.com")
///     .audience("models")
///     .introspection(Introspection::discovered().client_secret_basic("guard", "secret"));
/// ```
#[derive(Clone)]
#[must_use = "it is nothing until `Issuer::introspection` takes it"]
pub struct Introspection {
    address: Option<String>,
    authentication: ClientAuthentication,
    pub(crate) prefixes: Vec<String>,
    kept_for: Duration,
    kept_through_outage: Option<Duration>,
}

#[derive(Clone)]
enum ClientAuthentication {
    None,
    Basic { id: String, secret: ClientSecret },
    Post { id: String, secret: ClientSecret },
    Bearer { token: String },
}

impl Introspection {
    /// Uses the endpoint in the issuer's metadata (`introspection_endpoint`).
    pub const fn discovered() -> Self {
        Self {
            address: None,
            authentication: ClientAuthentication::None,
            prefixes: Vec::new(),
            kept_for: ANSWER_TTL,
            kept_through_outage: None,
        }
    }

    /// Uses the endpoint at this address.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            address: Some(url.into()),
            ..Self::discovered()
        }
    }

    /// Authenticates the guard with HTTP Basic (RFC 6749 §2.3.1, `client_secret_basic`).
    pub fn client_secret_basic(
        mut self,
        id: impl Into<String>,
        secret: impl Into<ClientSecret>,
    ) -> Self {
        self.authentication = ClientAuthentication::Basic {
            id: id.into(),
            secret: secret.into(),
        };
        self
    }

    /// Authenticates the guard in the form (RFC 6749 §2.3.1, `client_secret_post`).
    pub fn client_secret_post(
        mut self,
        id: impl Into<String>,
        secret: impl Into<ClientSecret>,
    ) -> Self {
        self.authentication = ClientAuthentication::Post {
            id: id.into(),
            secret: secret.into(),
        };
        self
    }

    /// Authenticates the guard with an access token of its own (RFC 7662 §2.1).
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.authentication = ClientAuthentication::Bearer {
            token: token.into(),
        };
        self
    }

    /// Restricts introspection to tokens with this prefix; may be called several times. Without
    /// a prefix, the issuer is asked about every unsigned token that no other issuer claims.
    /// Only one issuer may have no prefix.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// The lifetime of an answer, and so the longest time for which a revoked token is still
    /// accepted. Default: 30 seconds; at most 5 minutes.
    pub fn kept_for(mut self, time: Duration) -> Self {
        self.kept_for = time.min(MAX_ANSWER_TTL);
        self
    }

    /// How much longer a positive answer is used while the issuer cannot be asked again.
    /// Default: a minute while it rate-limits the guard (`Retry-After`), and no longer while it
    /// is down. Together with [`Introspection::kept_for`], at most 5 minutes.
    ///
    /// # Security
    /// An attacker who can keep the issuer from answering can use a revoked token for this much
    /// longer. The guard's own revocations and the token's `exp` still apply.
    pub const fn kept_through_outage(mut self, time: Duration) -> Self {
        self.kept_through_outage = Some(time);
        self
    }

    pub(crate) const fn times(&self) -> AnswerTtl {
        AnswerTtl {
            answer: self.kept_for,
            outage: self.kept_through_outage,
        }
    }

    /// The guard's own secret, if it has one.
    pub(crate) fn secret(&self) -> Option<ClientSecret> {
        match &self.authentication {
            ClientAuthentication::Basic { secret, .. }
            | ClientAuthentication::Post { secret, .. } => Some(secret.clone()),
            ClientAuthentication::None | ClientAuthentication::Bearer { .. } => None,
        }
    }

    pub(crate) const fn is_authenticated(&self) -> bool {
        !matches!(self.authentication, ClientAuthentication::None)
    }

    pub(crate) fn build(self, issuer: &str, plain: Plain) -> Result<Introspector, AddressError> {
        let (address, http) = match &self.address {
            Some(url) => {
                let url = parse(url, plain)?;
                let http = client(&url)?;
                (Address::Given(url), http)
            }
            None => {
                let trusted = parse(issuer, plain)?;
                let metadata = Box::new(HttpKeys::discovered(issuer, plain)?);
                let found = Mutex::default();
                (Address::Discovered { metadata, found }, client(&trusted)?)
            }
        };
        Ok(Introspector {
            address,
            http,
            authentication: self.authentication,
        })
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Asks an introspection endpoint.
pub(crate) struct Introspector {
    address: Address,
    http: Client,
    authentication: ClientAuthentication,
}

enum Address {
    Given(Url),
    Discovered {
        metadata: Box<HttpKeys>,
        found: Mutex<Option<(Url, Instant)>>,
    },
}

impl Introspector {
    async fn url(&self) -> Result<Url, FetchError> {
        let (metadata, found) = match &self.address {
            Address::Given(url) => return Ok(url.clone()),
            Address::Discovered { metadata, found } => (metadata, found),
        };
        let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        if let Some((url, at)) = &known
            && at.elapsed() < REDISCOVER
        {
            return Ok(url.clone());
        }
        match metadata.introspection().await {
            Ok(url) => {
                *lock() = Some((url.clone(), Instant::now()));
                Ok(url)
            }
            // If the metadata is temporarily unavailable, the known endpoint stays in use.
            Err(error) => known.map(|(url, _)| url).ok_or(error),
        }
    }

    fn request(&self, url: Url, token: &str) -> RequestBuilder {
        let posted;
        let mut form = vec![("token", token), ("token_type_hint", "access_token")];
        let mut request = self.http.post(url).header(ACCEPT, "application/json");
        match &self.authentication {
            ClientAuthentication::None => {}
            ClientAuthentication::Basic { id, secret } => {
                request = request.basic_auth(encoded(id), Some(encoded(&secret.text())));
            }
            ClientAuthentication::Post { id, secret } => {
                posted = secret.text();
                form.extend([("client_id", &**id), ("client_secret", posted.as_str())]);
            }
            ClientAuthentication::Bearer { token } => request = request.bearer_auth(token),
        }
        request.form(&form)
    }

    async fn introspect(&self, token: &str) -> Result<Answer, FetchError> {
        let url = self.url().await?;
        let place = url.to_string();
        let failed = |error: reqwest::Error| {
            FetchError::new(format!("`{place}` cannot be asked: {}", cause(&error)))
        };
        let response = self.request(url, token).send().await.map_err(failed)?;
        let status = response.status();
        if status != StatusCode::OK {
            let hint = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    ": it does not accept the guard's own credentials"
                }
                _ => "",
            };
            let mut error = FetchError::new(format!("`{place}` answers {status}{hint}"));
            error.retry_after = retry_after(response.headers());
            error.about_token = is_about_token(status);
            return Err(error);
        }
        let body = body(response).await?;
        let said: IntrospectionResponse = serde_json::from_slice(&body)
            .map_err(|error| FetchError::new(format!("`{place}` answers no such JSON: {error}")))?;
        Ok(if said.active {
            Answer::Active(body)
        } else {
            Answer::Inactive
        })
    }
}

/// Whether a failure concerns the token rather than the server or the guard: a server may fail
/// on one token and not on others.
pub(super) fn is_about_token(status: StatusCode) -> bool {
    const OF_ALL: [StatusCode; 3] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !OF_ALL.contains(&status)
}

/// The only required member (RFC 7662 §2.2). `serde` refuses duplicates.
#[derive(Deserialize)]
struct IntrospectionResponse {
    active: bool,
}

impl AskIssuer for Introspector {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>> {
        Box::pin(self.introspect(token))
    }
}

/// Encodes a text as a form does (RFC 6749 §2.3.1): everything except letters, digits and
/// `*-._`.
fn encoded(text: &str) -> String {
    const FORM: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'*')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_');
    percent_encoding::utf8_percent_encode(text, FORM).to_string()
}
