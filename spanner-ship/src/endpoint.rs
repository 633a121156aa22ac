//! HTTP endpoints that receive entries and checkpoints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use spanner_core::text::error_chain;

/// The URL of a server, with an optional credential. Redirects are not followed.
///
/// ```
/// use spanner_ship::{Endpoint, HttpReceiver};
///
/// let siem = Endpoint::new("https://siem.example.com/in").authorization("Bearer t".parse()?);
/// let receiver = HttpReceiver::lines(siem);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Endpoint {
    pub(crate) url: String,
    timeout: Option<Duration>,
    credential: Option<Credential>,
    client: Option<Client>,
}

impl Endpoint {
    /// Creates an endpoint without a credential.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: None,
            credential: None,
            client: None,
        }
    }

    /// Sets the value of the header `Authorization`. It is never logged.
    pub fn authorization(self, value: HeaderValue) -> Self {
        self.authorization_from(move || value.clone())
    }

    /// Sets a credential that changes: `current` is called for each request and must not block.
    pub fn authorization_from(
        mut self,
        current: impl Fn() -> HeaderValue + Send + Sync + 'static,
    ) -> Self {
        self.credential = Some(Credential(Arc::new(current)));
        self
    }

    /// Sets the timeout of a request. Default: 10 s for entries, 5 s for checkpoints.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the timeout unless one is set.
    pub(crate) fn or_timeout(mut self, timeout: Duration) -> Self {
        self.timeout.get_or_insert(timeout);
        self
    }

    /// The timeout of a request, if one is set.
    pub(crate) const fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Sends a request. The error omits the URL, which may contain a secret.
    pub(crate) fn send(
        &mut self,
        method: Method,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, String> {
        self.request(method)
            .and_then(|request| complete(request).send())
            .map_err(|error| error_chain(&error.without_url()))
    }

    fn request(&mut self, method: Method) -> Result<RequestBuilder, reqwest::Error> {
        let client = match &self.client {
            Some(client) => client,
            None => {
                let builder = Client::builder().redirect(Policy::none());
                let builder = match self.timeout {
                    Some(timeout) => builder.timeout(timeout),
                    None => builder,
                };
                let made = builder.build()?;
                self.client.insert(made)
            }
        };
        let request = client.request(method, &self.url);
        Ok(match &self.credential {
            Some(Credential(current)) => {
                let mut value = current();
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            None => request,
        })
    }
}

impl From<String> for Endpoint {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<&String> for Endpoint {
    fn from(url: &String) -> Self {
        Self::new(url.clone())
    }
}

impl From<&str> for Endpoint {
    fn from(url: &str) -> Self {
        Self::new(url.to_owned())
    }
}

/// Returns the current credential.
#[derive(Clone)]
struct Credential(Arc<dyn Fn() -> HeaderValue + Send + Sync>);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// The error for a status that does not indicate success.
pub(crate) fn refused(status: StatusCode) -> String {
    format!("it answers {}", status.as_u16())
}
