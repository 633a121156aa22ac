//! Whether a token that was accepted still counts, while what it began goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::json;
use spanner_core::Refusal;
use spanner_tower::bearer::Revocation;
use spanner_tower::keys::FetchError;
use spanner_tower::mock_idp::MockHolder;
use spanner_tower::opaque::{Answer, AskIssuer};
use spanner_tower::{Authenticate, Authentication, Bearer, BoxFuture, Issuer};
use tokio::time::advance;

use crate::{idp, now, token};

/// A caller, and who knows whether the token still counts.
async fn accepted(bearer: &Bearer, authorization: &str, proof: Option<String>) -> Authentication {
    let mut request = Request::builder().header("authorization", authorization);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    let (mut parts, ()) = request.uri("/v1/x").body(()).unwrap().into_parts();
    bearer.authenticate(&mut parts, now()).await.unwrap()
}

fn code(found: Result<(), Refusal>) -> &'static str {
    found.map_or_else(|refusal| refusal.code(), |()| "counts")
}

/// What is known at once, and what asking again tells.
async fn asked(accepted: &Authentication) -> (&'static str, &'static str) {
    let caller = &accepted.caller;
    let vouch = accepted.vouch.as_ref().unwrap();
    let known = code(vouch.check(caller, now()));
    (known, code(vouch.check_again(caller, now()).await))
}

#[tokio::test(start_paused = true)]
async fn a_token_counts_until_it_is_revoked() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    let good = token(&idp).sub("alice").claim("jti", "t-1").sign();
    let held = accepted(&bearer, &format!("Bearer {good}"), None).await;
    assert_eq!(asked(&held).await, ("counts", "counts"));
    let revocation = Revocation::Token {
        issuer: "mock".parse().unwrap(),
        id: "t-1".into(),
        until: None,
    };
    bearer.revocations().revoke(revocation, now()).unwrap();
    assert_eq!(asked(&held).await, ("token.revoked", "token.revoked"));
}

#[tokio::test(start_paused = true)]
async fn a_token_counts_while_its_key_does_and_asking_again_needs_no_proof() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder().issuer(issuer).dpop("https://m.test");
    let bearer = bearer.build().unwrap();
    let holder = MockHolder::new();
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let proof = holder.proof("GET", "https://m.test/v1/x", &bound, now());
    let held = accepted(&bearer, &format!("DPoP {bound}"), Some(proof.sign())).await;
    assert_eq!(asked(&held).await, ("counts", "counts"));
    // A minute later it is verified again, with the same keys.
    advance(Duration::from_secs(120)).await;
    assert_eq!(asked(&held).await, ("counts", "counts"));
    // Its key is withdrawn, and the keys are fetched again.
    idp.rotate();
    idp.retire();
    advance(Duration::from_secs(2 * 3600)).await;
    assert_eq!(asked(&held).await, ("counts", "token.unknown_kid"));
}

#[tokio::test(start_paused = true)]
async fn past_its_times_asking_again_tells_nothing_new() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    let short = token(&idp).sub("alice").expires_in(Duration::from_secs(60));
    let accepted = accepted(&bearer, &format!("Bearer {}", short.sign()), None).await;
    let (caller, vouch) = (accepted.caller, accepted.vouch.unwrap());
    advance(Duration::from_secs(120)).await;
    let late = now() + Duration::from_secs(600);
    // The gate looks at the times by itself, and knows how long they may be outlived.
    assert_eq!(code(vouch.check_again(&caller, late).await), "counts");
    let credential = caller.credential();
    assert_eq!(code(credential.check(late)), "token.expired");
    let ends = |outlive| credential.ends(Duration::from_secs(outlive)).unwrap();
    // 60 seconds of life, and of clock skew 60.
    assert_eq!(ends(1), now() + Duration::from_secs(120));
    assert_eq!(ends(300), now() + Duration::from_secs(360));
}

/// Gives the same answer until it is told otherwise.
#[derive(Clone, Default)]
struct Asks {
    inactive: Arc<AtomicBool>,
}

impl AskIssuer for Asks {
    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>> {
        let inactive = self.inactive.load(Ordering::SeqCst);
        let claims = json!({
            "active": true, "sub": "alice", "aud": "models", "iss": "https://id.example.com",
            "iat": now().as_second(), "exp": now().as_second() + 600,
        });
        let answer = match inactive {
            true => Answer::Inactive,
            false => Answer::Active(Bytes::from(claims.to_string())),
        };
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_issuer_of_an_opaque_token_is_asked_again() {
    let (asks, none) = (Asks::default(), [""; 0]);
    let issuer = Issuer::oidc("https://id.example.com")
        .alias("corp")
        .audience("models")
        .opaque_tokens(asks.clone(), none, Duration::from_secs(30));
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    let held = accepted(&bearer, "Bearer opaque-0123456789abcdef", None).await;
    assert_eq!(asked(&held).await, ("counts", "counts"));
    asks.inactive.store(true, Ordering::SeqCst);
    advance(Duration::from_secs(31)).await;
    assert_eq!(asked(&held).await, ("counts", "token.inactive"));
}
