//! What everything that goes out over HTTP has in common.

use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::redirect::Policy;

/// A client that goes where the operator said, and nowhere that an answer says.
pub(crate) fn client(patience: Duration) -> Result<Client, reqwest::Error> {
    let builder = Client::builder().redirect(Policy::none());
    builder.timeout(patience).build()
}

/// An error with its causes, since its own text is short of the reason, and without the
/// address, which may hold a secret.
pub(crate) fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
