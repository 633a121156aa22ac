//! Servers that entries and checkpoints are sent to over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};

use crate::chain;

/// The address of a server, with a credential. Redirects are not followed.
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
    /// A server without a credential.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: None,
            credential: None,
            client: None,
        }
    }

    /// The value of `Authorization`. It is never logged.
    pub fn authorization(self, value: HeaderValue) -> Self {
        self.authorization_from(move || value.clone())
    }

    /// The same for a credential that changes: `current` is called for each request. It must not
    /// block.
    pub fn authorization_from(
        mut self,
        current: impl Fn() -> HeaderValue + Send + Sync + 'static,
    ) -> Self {
        self.credential = Some(Credential(Arc::new(current)));
        self
    }

    /// How long a request may take. Default: 10 s for entries, 5 s for checkpoints.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same with a timeout, if it has none.
    pub(crate) fn or_timeout(mut self, timeout: Duration) -> Self {
        self.timeout.get_or_insert(timeout);
        self
    }

    /// How long a request may take, if that is limited.
    pub(crate) const fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Sends what is made of a request to it; what went wrong is told without the address, which
    /// may hold a secret.
    pub(crate) fn send(
        &mut self,
        method: Method,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, String> {
        self.request(method)
            .and_then(|request| complete(request).send())
            .map_err(|error| chain(&error.without_url()))
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

/// An answer that is no success.
pub(crate) fn refused(status: StatusCode) -> String {
    format!("it answers {}", status.as_u16())
}
