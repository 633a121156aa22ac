//! Fetches keys over HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use spanner_core::token::KeySet;
use tokio::time::Instant;

use super::discovery::{self, is_public};
use super::source::{FetchError, Fetched, KeySource};
use crate::authenticate::BoxFuture;

/// The connection timeout: a handshake around the world takes less than one second.
const CONNECT: Duration = Duration::from_secs(2);
/// The timeout of one exchange: a fetch has two, within [`FETCH_TIMEOUT`](super::FETCH_TIMEOUT).
const EXCHANGE: Duration = Duration::from_secs(5);
/// How long a discovered address is used before it is discovered again. Providers rarely move,
/// and announce it.
const REDISCOVER: Duration = Duration::from_secs(24 * 3_600);

/// The JWK Set of an issuer over HTTPS, at an address that is given or discovered (OpenID
/// Connect Discovery 1.0 §4).
///
/// Follows no redirect, uses no proxy of the environment, decodes no content encoding, and
/// reads at most [`KeySet::MAX_BYTES`].
///
/// # Security
/// A discovered address is used only if it is on the issuer's own host or resolves to public
/// addresses. So an attacker who can change the issuer's metadata cannot make the guard connect
/// to its internal network. A configured address is used as it is.
pub struct HttpKeys {
    address: Address,
    client: Client,
}

enum Address {
    Given(Url),
    Discovered {
        issuer: Url,
        exact: String,
        found: Mutex<Option<(Url, Instant)>>,
    },
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address is not an absolute URL with a host.
    #[error("`{0}` is not an absolute URL with a host")]
    Malformed(String),
    /// The address is neither https nor, where allowed, http on a loopback address.
    #[error(
        "`{0}` must be https; http is for loopback addresses, with `danger_allow_http_loopback`"
    )]
    Insecure(String),
    /// The address has a user, a query or a fragment, which issuers must not have (OpenID
    /// Connect Discovery 1.0 §2).
    #[error("`{0}` must have no user, query or fragment")]
    Parts(String),
    /// The HTTP client cannot be built: TLS is unavailable.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// Whether http is allowed for loopback addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    Never,
    Loopback,
}

impl HttpKeys {
    /// Fetches keys from an address.
    ///
    /// # Errors
    /// [`AddressError`] if it is not https.
    pub fn at(url: &str) -> Result<Self, AddressError> {
        Self::given(url, Plain::Never)
    }

    /// Fetches keys from the address in the issuer's metadata.
    ///
    /// # Errors
    /// [`AddressError`] if the issuer is not https or not a valid issuer.
    pub fn of_issuer(issuer: &str) -> Result<Self, AddressError> {
        Self::discovered(issuer, Plain::Never)
    }

    pub(crate) fn given(url: &str, plain: Plain) -> Result<Self, AddressError> {
        let url = parse(url, plain)?;
        let client = client(&url)?;
        Ok(Self {
            address: Address::Given(url),
            client,
        })
    }

    pub(crate) fn discovered(issuer: &str, plain: Plain) -> Result<Self, AddressError> {
        let url = parse(issuer, plain)?;
        let bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare {
            return Err(AddressError::Parts(issuer.to_owned()));
        }
        let client = client(&url)?;
        let (exact, found) = (issuer.to_owned(), Mutex::default());
        Ok(Self {
            address: Address::Discovered {
                issuer: url,
                exact,
                found,
            },
            client,
        })
    }

    /// The address of the keys, discovered if necessary.
    async fn url(&self) -> Result<Url, FetchError> {
        let (issuer, exact, found) = match &self.address {
            Address::Given(url) => return Ok(url.clone()),
            Address::Discovered {
                issuer,
                exact,
                found,
            } => (issuer, exact, found),
        };
        let known = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((url, at)) = &known
            && at.elapsed() < REDISCOVER
        {
            return Ok(url.clone());
        }
        match self.discover(issuer, exact).await {
            Ok(url) => {
                let entry = Some((url.clone(), Instant::now()));
                *found.lock().unwrap_or_else(PoisonError::into_inner) = entry;
                Ok(url)
            }
            // If the metadata is temporarily unavailable, the known address stays in use.
            Err(error) => known.map(|(url, _)| url).ok_or(error),
        }
    }

    async fn discover(&self, issuer: &Url, exact: &str) -> Result<Url, FetchError> {
        let body = self.metadata(issuer).await?;
        discovery::jwks_uri(&body, issuer, exact)
    }

    async fn metadata(&self, issuer: &Url) -> Result<Bytes, FetchError> {
        match self.get(discovery::metadata_url(issuer)?, None).await? {
            Answer::Body { body, .. } => Ok(body),
            Answer::Current { .. } => Err(FetchError::new(
                "the metadata's status is 304, and nothing was asked",
            )),
        }
    }

    /// The issuer's introspection endpoint, from its metadata.
    pub(crate) async fn introspection(&self) -> Result<Url, FetchError> {
        match &self.address {
            Address::Given(url) => Ok(url.clone()),
            Address::Discovered { issuer, exact, .. } => {
                let body = self.metadata(issuer).await?;
                discovery::introspection(&body, issuer, exact)
            }
        }
    }

    /// Forgets the discovered address, because it failed.
    fn forget(&self) {
        if let Address::Discovered { found, .. } = &self.address {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn get(&self, url: Url, validator: Option<&str>) -> Result<Answer, FetchError> {
        let place = url.to_string();
        let failed = |error: reqwest::Error| {
            FetchError::new(format!("`{place}` cannot be fetched: {}", cause(&error)))
        };
        let mut request = self.client.get(url);
        if let Some(validator) = validator {
            request = request.header(IF_NONE_MATCH, validator);
        }
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers());
        let fresh_for = max_age(headers);
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if validator.is_some() => {
                return Ok(Answer::Current { fresh_for });
            }
            _ => {
                let mut error = FetchError::new(format!("`{place}` answers {status}"));
                error.retry_after = retry_after(headers);
                if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
                    self.forget();
                }
                return Err(error);
            }
        }
        if headers
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding != "identity")
        {
            return Err(FetchError::new(format!(
                "`{place}` answers in a content encoding"
            )));
        }
        let validator = headers
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
            .map(str::to_owned);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > KeySet::MAX_BYTES {
                let limit = KeySet::MAX_BYTES;
                return Err(FetchError::new(format!(
                    "`{place}` answers with more than {limit} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer::Body {
            body: body.freeze(),
            validator,
            fresh_for,
        })
    }
}

/// The response of a server.
enum Answer {
    Current {
        fresh_for: Option<Duration>,
    },
    Body {
        body: Bytes,
        validator: Option<String>,
        fresh_for: Option<Duration>,
    },
}

impl KeySource for HttpKeys {
    fn fetch<'a>(
        &'a self,
        validator: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let url = self.url().await?;
            Ok(match self.get(url, validator).await? {
                Answer::Current { fresh_for } => Fetched::NotModified { fresh_for },
                Answer::Body {
                    body,
                    validator,
                    fresh_for,
                } => Fetched::Document {
                    text: body,
                    validator,
                    fresh_for,
                },
            })
        })
    }
}

impl fmt::Debug for HttpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Given(url) => write!(f, "HttpKeys({url})"),
            Address::Discovered { exact, .. } => write!(f, "HttpKeys(of {exact})"),
        }
    }
}

pub(crate) fn parse(text: &str, plain: Plain) -> Result<Url, AddressError> {
    let url = Url::parse(text).map_err(|_| AddressError::Malformed(text.to_owned()))?;
    if url.host().is_none() {
        return Err(AddressError::Malformed(text.to_owned()));
    }
    let allowed = match url.scheme() {
        "https" => true,
        "http" => plain == Plain::Loopback && discovery::is_loopback(&url),
        _ => false,
    };
    if allowed {
        Ok(url)
    } else {
        Err(AddressError::Insecure(text.to_owned()))
    }
}

pub(crate) fn client(trusted: &Url) -> Result<Client, AddressError> {
    let resolver = Public {
        trusted: trusted.host_str().unwrap_or_default().to_owned(),
    };
    Client::builder()
        .user_agent(concat!("spanner/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(EXCHANGE)
        .dns_resolver(Arc::new(resolver))
        .build()
        .map_err(|error| AddressError::Client(error.to_string()))
}

/// Resolves names, all except the trusted one to public addresses only. The client connects to
/// the addresses that this returns, so a DNS change between check and use has no effect.
struct Public {
    trusted: String,
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = name.as_str().eq_ignore_ascii_case(&self.trusted);
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = addresses
                .filter(|address| trusted || is_public(address.ip()))
                .collect();
            match public.is_empty() {
                true => Err(format!(
                    "`{}` has no public address; if that is meant, name it with `.jwks_url(..)`",
                    name.as_str()
                )
                .into()),
                false => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// The innermost cause of an error: the client's own message repeats the address.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1); zero if storing is forbidden.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(',')).map(str::trim);
    directives.find_map(|directive| {
        let lower = directive.to_ascii_lowercase();
        match lower.split_once('=') {
            Some(("max-age", seconds)) => seconds
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs),
            None if matches!(&*lower, "no-store" | "no-cache") => Some(Duration::ZERO),
            _ => None,
        }
    })
}

/// The `Retry-After` header in seconds (RFC 9110 §10.2.3). Dates are ignored.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}
