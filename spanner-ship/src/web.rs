//! What everything that goes out over HTTP has in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};

use crate::chain;

/// A server that the operator named. Its client is made with the first request, and goes
/// nowhere that an answer says.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) patience: Duration,
    credential: Option<Credential>,
    client: Option<Client>,
}

impl Server {
    pub(crate) const fn new(url: String, patience: Duration) -> Self {
        Self {
            url,
            patience,
            credential: None,
            client: None,
        }
    }

    /// What is sent as `Authorization`. It is never logged.
    pub(crate) fn authorization(&mut self, value: HeaderValue) {
        self.authorization_from(move || value.clone());
    }

    /// The same, asked for with each request.
    pub(crate) fn authorization_from(
        &mut self,
        current: impl Fn() -> HeaderValue + Send + Sync + 'static,
    ) {
        self.credential = Some(Credential(Arc::new(current)));
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
                let made = builder.timeout(self.patience).build()?;
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

/// What says which credential counts now.
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
