//! Keys of a file, which an operator replaces.

use std::fs;

use spanner_tower::mock_idp::MockIdp;
use spanner_tower::{Bearer, Issuer};

use crate::support::{code, idp, seconds, token};

fn bearer(idp: &MockIdp, file: &std::path::Path) -> Bearer {
    let issuer = Issuer::oidc(idp.issuer()).alias("corp").audience("models");
    let issuer = issuer.jwks_file(file);
    Bearer::builder().issuer(issuer).build().unwrap()
}

#[tokio::test]
async fn a_key_that_was_taken_out_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let idp = idp();
    fs::write(&file, idp.jwks()).unwrap();
    let bearer = bearer(&idp, &file);
    assert_eq!(bearer.files(), std::slice::from_ref(&file));
    let old = token(&idp).sign();
    for _ in 0..3 {
        assert_eq!(code(&bearer, &old).await, "ok");
    }
    assert_eq!(bearer.cached_tokens(), 1);
    idp.rotate();
    idp.retire();
    fs::write(&file, idp.jwks()).unwrap();
    let new = token(&idp).sign();
    let reloaded = bearer.reload_file(&file).await;
    assert_eq!(reloaded.len(), 1);
    assert_eq!(
        (reloaded[0].what, reloaded[0].result.clone()),
        ("keys", Ok(true))
    );
    assert_eq!(reloaded[0].file.as_deref(), Some(&*file));
    assert_eq!(
        code(&bearer, &old).await,
        "token.unknown_kid",
        "it was kept"
    );
    assert_eq!(code(&bearer, &new).await, "ok");

    // The same text again is no other keys, so that what was verified stays verified.
    let again = bearer.reload().await;
    assert_eq!(again[0].result, Ok(false));
    assert_eq!(code(&bearer, &new).await, "ok");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let idp = idp();
    fs::write(&file, idp.jwks()).unwrap();
    let bearer = bearer(&idp, &file);
    let good = token(&idp).sign();
    assert_eq!(code(&bearer, &good).await, "ok");
    let broken = ["", "{", r#"{"keys": []}"#, "removed"];
    for text in broken {
        match text {
            "removed" => fs::remove_file(&file).unwrap(),
            text => fs::write(&file, text).unwrap(),
        }
        let problem = bearer.reload_file(&file).await[0]
            .result
            .clone()
            .unwrap_err();
        assert!(problem.contains("keys.json`"), "{problem}");
        assert_eq!(code(&bearer, &good).await, "ok", "{text}");
        let status = bearer.readiness()[0].keys.clone().unwrap();
        assert_eq!(status.last_error, Some(problem));
    }
    fs::write(&file, idp.jwks()).unwrap();
    assert!(bearer.reload_file(&file).await[0].result.is_ok());
    let status = bearer.readiness()[0].keys.clone().unwrap();
    assert_eq!(status.last_error, None);
}

/// Who embeds the guard and watches no files has them read again all the same.
#[tokio::test]
async fn an_unknown_key_has_the_file_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let idp = idp();
    fs::write(&file, idp.jwks()).unwrap();
    let bearer = bearer(&idp, &file);
    assert!(bearer.warm_up(seconds(10)).await.is_ok());
    idp.rotate();
    fs::write(&file, idp.jwks()).unwrap();
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
}

#[test]
fn a_file_that_is_missing_at_start_is_a_problem() {
    let issuer = Issuer::oidc("https://id.example.com").audience("models");
    let built = Bearer::builder()
        .issuer(issuer.jwks_file("/nowhere/keys.json"))
        .build();
    let problem = built.map(|_| ()).unwrap_err().to_string();
    assert!(
        problem.contains("`/nowhere/keys.json` cannot be read"),
        "{problem}"
    );
}
