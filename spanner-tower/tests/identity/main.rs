//! Who is calling, over the whole of `Bearer`: several providers at once, tokens that are kept,
//! and tokens that are revoked.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod cached;
mod file;
mod opaque;
mod proof;
mod recorded;
mod revoked;
mod together;
mod vouched;
mod whoami;

use http::Request;
use spanner_core::token::Algorithm;
use spanner_core::{Caller, Refusal, Timestamp};
use spanner_tower::mock_idp::{MockIdp, MockToken};
use spanner_tower::{Authenticate, Bearer};

const NOW: &str = "2026-11-24T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn idp(issuer: &str) -> MockIdp {
    let idp = MockIdp::of(issuer, Algorithm::Es256);
    idp.set_now(now());
    idp
}

fn token(idp: &MockIdp) -> MockToken {
    idp.token().header("typ", "JWT").audience("models")
}

async fn caller(bearer: &Bearer, token: MockToken) -> Result<Caller, Refusal> {
    let header = format!("Bearer {}", token.sign());
    let request = Request::builder().header("authorization", header);
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let authenticated = bearer.authenticate(&mut parts, now()).await;
    authenticated.map(|it| it.caller).map_err(|it| it.refusal)
}

/// The caller, or the code of the refusal.
async fn who(bearer: &Bearer, token: MockToken) -> String {
    match caller(bearer, token).await {
        Ok(caller) => caller.to_string(),
        Err(refusal) => refusal.code().to_owned(),
    }
}

/// What becomes of a token as a client sends it, at a time.
async fn send(bearer: &Bearer, token: &str, now: Timestamp) -> String {
    let header = format!("Bearer {token}");
    let request = Request::builder().header("authorization", header);
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    match bearer.authenticate(&mut parts, now).await {
        Ok(accepted) => accepted.caller.to_string(),
        Err(error) => error.refusal.code().to_owned(),
    }
}
