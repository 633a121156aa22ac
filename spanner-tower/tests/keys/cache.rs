//! Rotation, outage, floods, and one issuer's trouble beside another's health.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use spanner_core::{Outage, Refusal};
use spanner_tower::Bearer;
use spanner_tower::keys::KeyState;
use spanner_tower::mock_idp::MockIdp;
use tokio::time::Instant;

use crate::support::{
    after, bearer, call, code, idp, minutes, now, seconds, settle, status, token,
};

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_and_a_hit_does_not_wait() {
    let idp = idp();
    let bearer = bearer(&idp);
    let token = token(&idp).sign();
    assert_eq!(
        call(&bearer, &token).await,
        Ok("user:mock/alice".to_owned())
    );
    for _ in 0..100 {
        assert!(call(&bearer, &token).now_or_never().unwrap().is_ok());
    }
    assert_eq!(idp.fetch_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cold_crowd_costs_one_fetch() {
    let idp = idp();
    idp.delay(seconds(1));
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    let calls = join_all((0..200).map(|_| code(&bearer, &token))).await;
    assert!(calls.iter().all(|code| *code == "ok"));
    assert_eq!(idp.fetch_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_who_leaves_does_not_end_the_fetch_for_the_others() {
    let idp = idp();
    idp.delay(seconds(1));
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    assert!(call(&bearer, &token).now_or_never().is_none());
    assert_eq!(code(&bearer, &token).await, "ok");
    assert_eq!(idp.fetch_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_are_refreshed_behind_a_requests_back_before_they_are_old() {
    let idp = idp();
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    assert_eq!(code(&bearer, &token).await, "ok");
    after(minutes(7)).await;
    assert!(call(&bearer, &token).now_or_never().unwrap().is_ok());
    settle().await;
    assert_eq!(idp.fetch_count(), 1, "seven of ten minutes are not 72 %");
    after(minutes(2)).await;
    idp.delay(seconds(4));
    assert!(
        call(&bearer, &token).now_or_never().unwrap().is_ok(),
        "nobody waits"
    );
    after(seconds(5)).await;
    assert_eq!(idp.fetch_count(), 2);
    assert_eq!(status(&bearer).state, KeyState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_at_once_by_one_fetch_for_all() {
    let idp = idp();
    let bearer = bearer(&idp);
    let before = token(&idp).sign();
    assert_eq!(code(&bearer, &before).await, "ok");
    idp.rotate();
    let after = token(&idp).sign();
    let calls = join_all((0..50).map(|_| code(&bearer, &after))).await;
    assert!(calls.iter().all(|code| *code == "ok"), "{calls:?}");
    assert_eq!(
        code(&bearer, &before).await,
        "ok",
        "the old key is still published"
    );
    assert_eq!(idp.fetch_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn rotations_that_follow_one_another_are_found_one_fetch_each() {
    let idp = idp();
    let bearer = bearer(&idp);
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    for rotation in 1..=5 {
        idp.rotate();
        assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok", "{rotation}");
        assert_eq!(idp.fetch_count(), 1 + rotation);
    }
    for rotation in 6..=300 {
        after(seconds(2)).await;
        idp.rotate();
        idp.retire();
        assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok", "{rotation}");
    }
    assert!(idp.fetch_count() <= 302, "{} fetches", idp.fetch_count());
}

/// A guess costs what was saved, so that a rotation right after it is found five seconds later;
/// while a flood uses up everything, half a minute later at most.
#[tokio::test(start_paused = true)]
async fn a_rotation_beside_a_strangers_guesses_is_found_soon() {
    let idp = idp();
    let bearer = bearer(&idp);
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    after(minutes(2)).await;
    let guess = |name: &str| token(&idp).header("kid", name).sign();
    assert_eq!(code(&bearer, &guess("guess")).await, "token.unknown_kid");
    idp.rotate();
    let new = token(&idp).sign();
    assert_eq!(code(&bearer, &new).await, "token.unknown_kid");
    after(seconds(5)).await;
    assert_eq!(code(&bearer, &new).await, "ok");

    let flood = async |seconds_long: u64, prefix: &str| {
        for second in 0..seconds_long {
            code(&bearer, &guess(&format!("{prefix}-{second}"))).await;
            after(seconds(1)).await;
        }
    };
    flood(60, "before").await;
    idp.rotate();
    let newer = token(&idp).sign();
    flood(31, "after").await;
    assert_eq!(code(&bearer, &newer).await, "ok");
}

/// Whoever goes on with a token of a withdrawn key leaves the rest of the budget to others.
#[tokio::test(start_paused = true)]
async fn a_client_with_a_withdrawn_key_costs_a_fetch_a_minute() {
    let idp = idp();
    let bearer = bearer(&idp);
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    idp.fresh_for(Some(minutes(60)));
    after(minutes(11)).await;
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    let before = idp.fetch_count();
    let old = token_with_unknown_key(&idp);
    for _ in 0..600 {
        assert_eq!(code(&bearer, &old).await, "token.unknown_kid");
        after(seconds(1)).await;
    }
    let fetches = idp.fetch_count() - before;
    assert!((9..=12).contains(&fetches), "{fetches}");
    idp.rotate();
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_refused_after_the_next_refresh() {
    let idp = idp();
    let bearer = bearer(&idp);
    let before = token(&idp).sign();
    assert_eq!(code(&bearer, &before).await, "ok");
    idp.rotate();
    idp.retire();
    assert_eq!(code(&bearer, &before).await, "ok", "nobody knows yet");
    // Even without any traffic in between: keys this old are asked for before they are used.
    after(minutes(11)).await;
    assert_eq!(code(&bearer, &before).await, "token.unknown_kid");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_costs_one_fetch_in_thirty_seconds() {
    let idp = idp();
    let bearer = bearer(&idp);
    let good = token(&idp).sign();
    assert_eq!(code(&bearer, &good).await, "ok");
    for second in 0..90 {
        for unknown in 0..20 {
            let kid = format!("unknown-{second}-{unknown}");
            let flood = token(&idp).header("kid", kid).sign();
            assert_eq!(code(&bearer, &flood).await, "token.unknown_kid");
        }
        assert!(
            call(&bearer, &good).now_or_never().unwrap().is_ok(),
            "known keys never wait"
        );
        after(seconds(1)).await;
    }
    assert!(idp.fetch_count() <= 1 + 3, "{} fetches", idp.fetch_count());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_wrong_anyway_causes_no_traffic() {
    let idp = idp();
    let bearer = bearer(&idp);
    let rows = [
        (token(&idp).audience("others").sign(), "token.aud"),
        (
            token(&idp).claim("iss", "https://other.test").sign(),
            "token.iss",
        ),
        (token(&idp).issued_ago(minutes(60)).sign(), "token.expired"),
        (token(&idp).header("typ", "dpop+jwt").sign(), "token.typ"),
        (
            token(&idp).header("alg", "none").sign(),
            "token.alg_not_allowed",
        ),
        ("not.a-token".to_owned(), "token.malformed"),
    ];
    for (token, due) in rows {
        assert_eq!(code(&bearer, &token).await, due);
    }
    assert_eq!(idp.fetch_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bad_signature_of_a_known_key_causes_no_traffic() {
    let (idp, forger) = (idp(), idp());
    let bearer = bearer(&idp);
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    for _ in 0..10 {
        assert_eq!(
            code(&bearer, &token(&forger).sign()).await,
            "token.bad_signature"
        );
    }
    assert_eq!(idp.fetch_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_start_is_503_and_never_401() {
    let idp = idp();
    idp.outage(true);
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    for _ in 0..50 {
        let refusal = call(&bearer, &token).await.unwrap_err();
        let Refusal::Unavailable(Outage::Keys { retry_after }) = &refusal else {
            panic!("{refusal:?}");
        };
        assert!(retry_after.unwrap() <= seconds(1));
        let seconds = refusal.notice().retry_after.unwrap();
        assert!((1..=30).contains(&seconds), "{seconds}");
    }
    assert_eq!(idp.fetch_count(), 1, "the pause is waited out");
    assert_eq!(status(&bearer).state, KeyState::Unavailable);
    idp.outage(false);
    after(seconds(1)).await;
    assert_eq!(code(&bearer, &token).await, "ok");
    assert_eq!(status(&bearer).last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_costs_a_caller_two_seconds() {
    let idp = idp();
    idp.delay(Duration::from_secs(3_600));
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    let start = Instant::now();
    assert_eq!(code(&bearer, &token).await, "keys.unavailable");
    assert_eq!(start.elapsed().as_secs(), 2);
    after(seconds(9)).await;
    let last_error = status(&bearer).last_error.unwrap();
    assert!(last_error.contains("longer than 10 s"), "{last_error}");
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_an_outage_by_twelve_hours_and_no_more() {
    let idp = idp();
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    assert_eq!(code(&bearer, &token).await, "ok");
    idp.outage(true);
    for _ in 0..(12 * 6 - 1) {
        after(minutes(10)).await;
        assert_eq!(code(&bearer, &token).await, "ok");
    }
    assert_eq!(status(&bearer).state, KeyState::Stale);
    after(minutes(11)).await;
    assert_eq!(code(&bearer, &token).await, "keys.unavailable");
    assert_eq!(status(&bearer).state, KeyState::Unavailable);
    idp.outage(false);
    after(seconds(30)).await;
    assert_eq!(code(&bearer, &token).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_asked_about_less_and_less_often() {
    let idp = idp();
    idp.outage(true);
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    for _ in 0..600 {
        assert_eq!(code(&bearer, &token).await, "keys.unavailable");
        after(seconds(1)).await;
    }
    // 1 + 2 + 4 + 8 + 16 s at most, then every 15 to 30 s.
    assert!(
        (20..=50).contains(&idp.fetch_count()),
        "{} fetches",
        idp.fetch_count()
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_may_ask_for_a_longer_pause_up_to_five_minutes() {
    for (asked, honoured) in [(seconds(120), 120), (Duration::from_secs(86_400), 300)] {
        let idp = idp();
        idp.outage(true);
        idp.retry_after(Some(asked));
        let (bearer, token) = (bearer(&idp), token(&idp).sign());
        assert_eq!(code(&bearer, &token).await, "keys.unavailable");
        after(seconds(honoured - 2)).await;
        assert_eq!(code(&bearer, &token).await, "keys.unavailable");
        assert_eq!(idp.fetch_count(), 1);
        after(seconds(3)).await;
        assert_eq!(code(&bearer, &token).await, "keys.unavailable");
        assert_eq!(idp.fetch_count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_during_an_outage_is_503_since_nobody_could_know() {
    let idp = idp();
    let bearer = bearer(&idp);
    let known = token(&idp).sign();
    assert_eq!(code(&bearer, &known).await, "ok");
    idp.rotate();
    let unknown = token(&idp).sign();
    idp.outage(true);
    assert_eq!(code(&bearer, &unknown).await, "keys.unavailable");
    assert!(
        call(&bearer, &known).now_or_never().unwrap().is_ok(),
        "others do not wait"
    );
    idp.outage(false);
    after(seconds(2)).await;
    assert_eq!(
        code(&bearer, &unknown).await,
        "ok",
        "a failure did not use up the slot"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_says_of_freshness_is_honoured_within_bounds() {
    let rows = [
        (Some(seconds(0)), minutes(1)),
        (Some(seconds(120)), seconds(120)),
        (Some(Duration::from_secs(31_536_000)), minutes(60)),
        (None, minutes(10)),
    ];
    for (said, honoured) in rows {
        let idp = idp();
        idp.fresh_for(said);
        let (bearer, token) = (bearer(&idp), token(&idp).sign());
        assert_eq!(code(&bearer, &token).await, "ok");
        after(honoured.mul_f64(0.71)).await;
        assert_eq!(code(&bearer, &token).await, "ok");
        settle().await;
        assert_eq!(idp.fetch_count(), 1, "{said:?}: too early");
        after(honoured.mul_f64(0.18)).await;
        assert_eq!(code(&bearer, &token).await, "ok");
        settle().await;
        assert_eq!(idp.fetch_count(), 2, "{said:?}: too late");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_not_modified_stay_and_are_fresh_again() {
    let idp = idp();
    idp.validator(Some("\"v1\""));
    let (bearer, token) = (bearer(&idp), token(&idp).sign());
    assert_eq!(code(&bearer, &token).await, "ok");
    after(minutes(11)).await;
    assert_eq!(code(&bearer, &token).await, "ok");
    assert_eq!(idp.fetch_count(), 2);
    assert!(status(&bearer).age.unwrap() < seconds(1));
}

#[tokio::test(start_paused = true)]
async fn one_bad_key_does_not_take_the_others_with_it() {
    let idp = idp();
    let good: serde_json::Value = serde_json::from_str(&idp.jwks()).unwrap();
    let mut keys = good.get("keys").unwrap().as_array().unwrap().clone();
    for odd in [
        serde_json::json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"}),
        serde_json::json!({"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AAAA"}),
        serde_json::json!({"kty": "RSA", "kid": "small", "n": "AQAB", "e": "AQAB"}),
        serde_json::json!({"kty": 7}),
        serde_json::json!("not a key"),
    ] {
        keys.push(odd);
    }
    idp.publish(Some(&serde_json::json!({ "keys": keys }).to_string()));
    let bearer = bearer(&idp);
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    let status = status(&bearer);
    assert_eq!((status.keys, status.skipped.len()), (1, 5), "{status:?}");
    for kid in ["s", "pq", "small"] {
        let forged = token(&idp).header("kid", kid).sign();
        assert_eq!(code(&bearer, &forged).await, "token.unknown_kid", "{kid}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_no_key_set_changes_nothing() {
    let many = format!("{{\"keys\": [{}]}}", vec!["{}"; 101].join(","));
    let huge = format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(256 * 1024));
    let twice = "{\"keys\": [], \"keys\": []}";
    for document in [
        "",
        "{}",
        "[]",
        "null",
        "{\"keys\": []}",
        "{\"keys\": {}}",
        twice,
        &many,
        &huge,
    ] {
        let idp = idp();
        let (bearer, token) = (bearer(&idp), token(&idp).sign());
        assert_eq!(code(&bearer, &token).await, "ok");
        idp.publish(Some(document));
        after(minutes(11)).await;
        assert_eq!(code(&bearer, &token).await, "ok", "{document:.40}");
        let status = status(&bearer);
        assert_eq!(status.state, KeyState::Stale, "{document:.40}");
        assert!(status.last_error.is_some(), "{document:.40}");
        let unknown = token_with_unknown_key(&idp);
        assert_eq!(
            code(&bearer, &unknown).await,
            "keys.unavailable",
            "{document:.40}"
        );
    }
}

fn token_with_unknown_key(idp: &MockIdp) -> String {
    token(idp).header("kid", "unknown").sign()
}

#[tokio::test(start_paused = true)]
async fn new_material_under_an_old_name_wins() {
    let (idp, other) = (idp(), idp());
    let bearer = bearer(&idp);
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    idp.publish(Some(&other.jwks()));
    after(minutes(11)).await;
    assert_eq!(
        code(&bearer, &token(&idp).sign()).await,
        "token.bad_signature"
    );
    assert_eq!(code(&bearer, &token(&other).sign()).await, "ok");
}

/// Two issuers; the second one's keys are its own.
fn two() -> (MockIdp, MockIdp, Bearer) {
    let healthy = idp();
    let sick = MockIdp::of("https://sick.test", spanner_core::token::Algorithm::Es256);
    sick.set_now(now());
    let bearer = Bearer::builder()
        .issuer(healthy.issuer_config().audience("models"))
        .issuer(sick.issuer_config().alias("sick").audience("models"))
        .build()
        .unwrap();
    (healthy, sick, bearer)
}

#[tokio::test(start_paused = true)]
async fn one_issuers_trouble_does_not_delay_anothers_callers() {
    let (healthy, sick, bearer) = two();
    sick.delay(Duration::from_secs(3_600));
    let waiting = tokio::spawn({
        let (bearer, token) = (bearer.clone(), token(&sick).sign());
        async move { code(&bearer, &token).await }
    });
    settle().await;
    let start = Instant::now();
    assert_eq!(code(&bearer, &token(&healthy).sign()).await, "ok");
    assert!(start.elapsed() < seconds(1));
    assert_eq!(waiting.await.unwrap(), "keys.unavailable");
}

#[tokio::test(start_paused = true)]
async fn the_same_name_of_another_issuers_key_is_another_key() {
    let (healthy, sick, bearer) = two();
    assert_eq!(code(&bearer, &token(&healthy).sign()).await, "ok");
    assert_eq!(
        call(&bearer, &token(&sick).sign()).await,
        Ok("user:sick/alice".to_owned())
    );
    let crossed = token(&healthy).claim("iss", sick.issuer()).sign();
    assert_eq!(code(&bearer, &crossed).await, "token.bad_signature");
}

#[tokio::test(start_paused = true)]
async fn warming_up_names_every_issuer_that_fails() {
    let (healthy, sick, bearer) = two();
    sick.outage(true);
    let error = bearer.warm_up(seconds(10)).await.unwrap_err();
    let failed: Vec<_> = error.failed().map(|(alias, _)| alias.to_string()).collect();
    assert_eq!(failed, ["sick"]);
    assert_eq!(
        error.to_string(),
        "keys cannot be had; issuer `sick`: the mock provider is down"
    );
    let ready: Vec<_> = bearer
        .readiness()
        .iter()
        .map(|issuer| issuer.is_ready())
        .collect();
    assert_eq!(ready, [true, false]);
    sick.outage(false);
    after(seconds(1)).await;
    assert_eq!(bearer.warm_up(seconds(10)).await, Ok(()));
    assert_eq!(healthy.fetch_count(), 1, "warm keys are not fetched again");
}

#[tokio::test(start_paused = true)]
async fn warming_up_ends_in_time() {
    let (_, sick, bearer) = two();
    sick.delay(Duration::from_secs(3_600));
    let start = Instant::now();
    let error = bearer.warm_up(seconds(3)).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(error.to_string().contains("within 3 s"), "{error}");
}
