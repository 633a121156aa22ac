//! A provider, a service that accepts its tokens, and a caller.

use std::time::Duration;

use http::Request;
use spanner_core::{Refusal, Timestamp};
use spanner_tower::keys::KeyStatus;
use spanner_tower::mock_idp::{MockIdp, MockToken};
use spanner_tower::{Authenticate, Bearer};
use tokio::time::sleep;

/// When all tokens of these tests are made and read.
pub(crate) const NOW: &str = "2026-11-24T12:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(crate) fn idp() -> MockIdp {
    let idp = MockIdp::new();
    idp.set_now(now());
    idp
}

pub(crate) fn bearer(idp: &MockIdp) -> Bearer {
    let issuer = idp.issuer_config().audience("models");
    Bearer::builder().issuer(issuer).build().unwrap()
}

pub(crate) fn token(idp: &MockIdp) -> MockToken {
    idp.token().sub("alice").audience("models")
}

/// What becomes of a call with a token: the caller, or the code of the refusal.
pub(crate) async fn call(bearer: &Bearer, token: &str) -> Result<String, Refusal> {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let authenticated = bearer.authenticate(&mut parts, now()).await;
    let authenticated = authenticated.map_err(|error| error.refusal)?;
    Ok(authenticated.caller.to_string())
}

pub(crate) async fn code(bearer: &Bearer, token: &str) -> &'static str {
    call(bearer, token)
        .await
        .map_or_else(|refusal| refusal.code(), |_| "ok")
}

pub(crate) async fn after(time: Duration) {
    sleep(time).await;
}

/// Lets fetches that run by themselves come to their end.
pub(crate) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

pub(crate) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn status(bearer: &Bearer) -> KeyStatus {
    let mut readiness = bearer.readiness();
    assert_eq!(readiness.len(), 1);
    readiness.remove(0).keys.unwrap()
}
