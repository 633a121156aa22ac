//! Tokens that are kept once verified, and every way in which such a cache has let somebody
//! in elsewhere (the group "caches and concurrency" of the attacks).

use std::time::Duration;

use spanner_core::token::Algorithm;
use spanner_core::{Freshness, Timestamp};
use spanner_tower::Bearer;
use spanner_tower::mock_idp::MockIdp;
use tokio::time::advance;

use crate::{caller, idp, now, send, token};

fn bearer(idp: &MockIdp) -> Bearer {
    let issuer = idp.issuer_config().audience("models");
    Bearer::builder().issuer(issuer).build().unwrap()
}

fn later(seconds: u64) -> Timestamp {
    now() + Duration::from_secs(seconds)
}

/// The same letter in another case, or another one.
fn other(letter: u8) -> char {
    match letter {
        b'A'..=b'Z' => char::from(letter.to_ascii_lowercase()),
        b'a'..=b'z' => char::from(letter.to_ascii_uppercase()),
        b'.' => 'A',
        _ => 'B',
    }
}

#[tokio::test]
async fn a_token_is_kept_once_and_only_if_it_is_good() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let good = token(&idp).sub("alice").sign();
    for _ in 0..3 {
        assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    }
    assert_eq!(bearer.cached_tokens(), 1);
}

/// CCH-01: the key is the whole token. A cache of a token's first letters let anybody in
/// (CVE-2026-35030).
#[tokio::test]
async fn a_token_that_differs_anywhere_is_another_one() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let good = token(&idp).sub("alice").sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged.replace_range(at..=at, &other(good.as_bytes()[at]).to_string());
        let found = send(&bearer, &forged, now()).await;
        assert!(found.starts_with("token."), "letter {at}: {found}");
    }
    for forged in [
        format!("{good}A"),
        good.split_at(good.len() - 1).0.to_owned(),
        good.split_at(20).0.to_owned(),
    ] {
        let found = send(&bearer, &forged, now()).await;
        assert!(found.starts_with("token."), "{forged}: {found}");
    }
    // Other claims behind an equal header.
    let bob = token(&idp).sub("bob").sign();
    assert_eq!(good.split('.').next(), bob.split('.').next());
    assert_eq!(send(&bearer, &bob, now()).await, "user:mock/bob");
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    assert_eq!(bearer.cached_tokens(), 2);
}

/// CCH-02: what one configuration accepts says nothing about another (CVE-2026-33496).
#[tokio::test]
async fn another_configuration_knows_nothing_of_it() {
    let idp = idp("https://mock.test");
    let (models, images) = (bearer(&idp), idp.issuer_config().audience("images"));
    let images = Bearer::builder().issuer(images).build().unwrap();
    let good = token(&idp).sub("alice").sign();
    assert_eq!(send(&models, &good, now()).await, "user:mock/alice");
    assert_eq!(send(&images, &good, now()).await, "token.aud");
    assert_eq!(send(&models.clone(), &good, now()).await, "user:mock/alice");
    assert_eq!((models.cached_tokens(), images.cached_tokens()), (1, 0));
}

/// The same subject, and but for the issuer the same claims.
#[tokio::test]
async fn another_issuers_same_subject_is_somebody_else() {
    let (corp, partner) = (idp("https://corp.example"), idp("https://partner.example"));
    let accept = |idp: &MockIdp, alias| idp.issuer_config().alias(alias).audience("models");
    let issuers = [accept(&corp, "corp"), accept(&partner, "partner")];
    let bearer = Bearer::builder().issuers(issuers).build().unwrap();
    let (one, two) = (
        token(&corp).sub("alice").claim("jti", "1").sign(),
        token(&partner).sub("alice").claim("jti", "1").sign(),
    );
    for _ in 0..2 {
        assert_eq!(send(&bearer, &one, now()).await, "user:corp/alice");
        assert_eq!(send(&bearer, &two, now()).await, "user:partner/alice");
    }
    // Claims of the one, signed by the other.
    let forged = token(&partner)
        .sub("alice")
        .claim("iss", corp.issuer())
        .sign();
    assert_eq!(send(&bearer, &forged, now()).await, "token.bad_signature");
}

/// CCH-03: time goes on for tokens that are kept.
#[tokio::test]
async fn a_token_that_is_kept_expires() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let good = token(&idp)
        .sub("alice")
        .expires_in(Duration::from_secs(30))
        .sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    // 30 seconds, and 60 of clock skew.
    assert_eq!(send(&bearer, &good, later(89)).await, "user:mock/alice");
    assert_eq!(send(&bearer, &good, later(90)).await, "token.expired");
    // The host's clock was set back, before the token was issued.
    let early = now() - Duration::from_secs(3_600);
    assert_eq!(send(&bearer, &good, early).await, "token.iat_future");
}

#[tokio::test]
async fn a_token_that_is_kept_grows_old() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let issuer = issuer.max_token_age(Some(Duration::from_secs(100)));
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    let good = token(&idp)
        .sub("alice")
        .expires_in(Duration::from_secs(9_000));
    let signed = good.clone().sign();
    let fresh = caller(&bearer, good).await.unwrap();
    assert_eq!(fresh.credential().freshness, Freshness::Fresh);
    let header = format!("Bearer {signed}");
    let request = http::Request::builder().header("authorization", header);
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let old = spanner_tower::Authenticate::authenticate(&bearer, &mut parts, later(80)).await;
    let old = old.unwrap().caller;
    assert_eq!(old.credential().freshness, Freshness::RotateSoon);
    assert_eq!(send(&bearer, &signed, later(101)).await, "token.lifetime");
}

/// CCH-03: a key that the issuer has withdrawn takes its tokens with it.
#[tokio::test(start_paused = true)]
async fn a_token_is_forgotten_with_the_key_that_signed_it() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let good = token(&idp).sub("alice").sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    idp.rotate();
    idp.retire();
    // A token of the new key makes the guard look for it.
    let new = token(&idp).sub("bob").sign();
    assert_eq!(send(&bearer, &new, now()).await, "user:mock/bob");
    assert_eq!(send(&bearer, &good, now()).await, "token.unknown_kid");
}

/// The same key identifier with another key behind it.
#[tokio::test(start_paused = true)]
async fn a_token_is_forgotten_when_a_key_of_its_name_is_replaced() {
    let (idp, thief) = (
        idp("https://mock.test"),
        MockIdp::of("https://mock.test", Algorithm::Es256),
    );
    let bearer = bearer(&idp);
    let good = token(&idp).sub("alice").sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    idp.publish(Some(&thief.jwks()));
    advance(Duration::from_secs(601)).await;
    assert_eq!(send(&bearer, &good, now()).await, "token.bad_signature");
}

/// An entry is good for a minute, though keys and token are for longer: what is not good any
/// more for another reason comes to light.
#[tokio::test(start_paused = true)]
async fn a_token_is_verified_again_after_a_minute() {
    let idp = idp("https://mock.test");
    idp.fresh_for(Some(Duration::from_secs(3_600)));
    let bearer = bearer(&idp);
    let good = token(&idp).sub("alice").sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    advance(Duration::from_secs(61)).await;
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    assert_eq!((bearer.cached_tokens(), idp.fetch_count()), (1, 1));
}

/// Keys that nobody can vouch for any more end what they verified.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_kept_needs_keys_that_may_be_used() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let good = token(&idp)
        .sub("alice")
        .expires_in(Duration::from_secs(90_000))
        .sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    idp.outage(true);
    advance(Duration::from_secs(12 * 3_600 + 1)).await;
    assert_eq!(send(&bearer, &good, now()).await, "keys.unavailable");
}

/// CCH-05: whoever sends garbage fills nothing.
#[tokio::test]
async fn garbage_is_not_kept_and_the_rest_is_bounded() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder()
        .issuer(issuer)
        .cached_tokens(16)
        .build()
        .unwrap();
    for at in 0..200 {
        let garbage = format!("{at}.{at}.{at}");
        assert_eq!(send(&bearer, &garbage, now()).await, "token.malformed");
        let expired = token(&idp)
            .sub("eve")
            .issued_ago(Duration::from_secs(7_000))
            .sign();
        assert_eq!(send(&bearer, &expired, now()).await, "token.expired");
    }
    assert_eq!(bearer.cached_tokens(), 0);
    for at in 0..200 {
        let good = token(&idp).sub(&format!("user-{at}")).sign();
        assert_eq!(
            send(&bearer, &good, now()).await,
            format!("user:mock/user-{at}")
        );
    }
    assert!((1..=16).contains(&bearer.cached_tokens()));
}

#[tokio::test]
async fn nothing_is_kept_where_that_is_configured() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder()
        .issuer(issuer)
        .cached_tokens(0)
        .build()
        .unwrap();
    let good = token(&idp).sub("alice").sign();
    for _ in 0..2 {
        assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    }
    assert_eq!(bearer.cached_tokens(), 0);
}

/// CCH-07: concurrent calls with different tokens are never one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_callers_stay_who_they_are() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let calls: Vec<_> = (0..200)
        .map(|at| {
            let name = format!("user-{}", at % 20);
            let (bearer, good) = (bearer.clone(), token(&idp).sub(&name).sign());
            tokio::spawn(async move { (send(&bearer, &good, now()).await, name) })
        })
        .collect();
    for call in calls {
        let (found, name) = call.await.unwrap();
        assert_eq!(found, format!("user:mock/{name}"));
    }
    assert_eq!(idp.fetch_count(), 1);
}
