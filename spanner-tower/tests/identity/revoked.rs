//! Revocations count at once, also for tokens that are kept.

use spanner_core::Timestamp;
use spanner_tower::Bearer;
use spanner_tower::bearer::{Revocation, RevocationError, Revocations};
use spanner_tower::mock_idp::MockIdp;

use crate::{idp, now, send, token};

fn bearer(idp: &MockIdp) -> Bearer {
    let issuer = idp.issuer_config().audience("models");
    Bearer::builder().issuer(issuer).build().unwrap()
}

fn by_id(id: impl Into<String>) -> Revocation {
    Revocation::Token {
        issuer: "mock".parse().unwrap(),
        id: id.into(),
        until: None,
    }
}

fn by_subject(subject: &str, issued_until: Timestamp) -> Revocation {
    Revocation::Subject {
        issuer: "mock".parse().unwrap(),
        subject: subject.parse().unwrap(),
        issued_until,
    }
}

#[tokio::test]
async fn a_token_that_is_kept_is_revoked_at_once() {
    let idp = idp("https://mock.test");
    let second = std::time::Duration::from_secs(1);
    let rows: [(Revocation, bool); 7] = [
        (by_id("t-1"), true),
        (by_id("t-2"), false),
        (by_subject("alice", now()), true),
        (by_subject("alice", now() - second), false),
        (by_subject("bob", now()), false),
        (by_subject("agent-7", now()), true),
        (
            Revocation::Session {
                issuer: "mock".parse().unwrap(),
                id: "s-1".into(),
                until: None,
            },
            true,
        ),
    ];
    for (revocation, refused) in rows {
        let bearer = bearer(&idp);
        let good = token(&idp).sub("alice").act("agent-7");
        let good = good.claim("jti", "t-1").claim("sid", "s-1").sign();
        let clone = bearer.clone();
        let due = "agent:mock/agent-7 for user:mock/alice";
        assert_eq!(send(&bearer, &good, now()).await, due);
        assert_eq!(bearer.cached_tokens(), 1);
        clone
            .revocations()
            .revoke(revocation.clone(), now())
            .unwrap();
        let due = if refused { "token.revoked" } else { due };
        for _ in 0..2 {
            assert_eq!(send(&bearer, &good, now()).await, due, "{revocation:?}");
        }
    }
}

/// A revocation that could revoke nothing is a mistake, and must not look like success.
#[tokio::test]
async fn an_issuer_that_nobody_accepts_is_told() {
    let idp = idp("https://mock.test");
    let list = bearer(&idp).revocations().clone();
    let typo = Revocation::Token {
        issuer: "mokc".parse().unwrap(),
        id: "t-1".into(),
        until: None,
    };
    let error = list.revoke(typo, now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no issuer is called `mokc`; there are mock"
    );
    assert!(
        list.replace_toml("[[token]]\nissuer = \"mokc\"\nid = \"1\"")
            .is_err()
    );
    assert!(
        list.replace_toml("[[token]]\nissuer = \"mock\"\nid = \"1\"")
            .is_ok()
    );
    assert_eq!(list.len(), 1);
}

#[tokio::test]
async fn a_token_of_unknown_age_counts_as_issued_before() {
    let idp = idp("https://mock.test");
    let issuer = idp.issuer_config().audience("models").max_token_age(None);
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    bearer
        .revocations()
        .revoke(by_subject("alice", now()), now())
        .unwrap();
    // `iat` later than the revocation, then none at all.
    let second = std::time::Duration::from_secs(1);
    let newer = token(&idp)
        .sub("alice")
        .claim("iat", (now() + second).as_second());
    assert_eq!(send(&bearer, &newer.sign(), now()).await, "user:mock/alice");
    let header = token(&idp).sub("alice").without("iat").sign();
    assert_eq!(send(&bearer, &header, now()).await, "token.revoked");
}

#[tokio::test]
async fn a_file_replaces_the_list_or_changes_nothing() {
    let idp = idp("https://mock.test");
    let list = Revocations::new();
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder()
        .issuer(issuer)
        .revocations(list.clone())
        .build()
        .unwrap();
    let good = token(&idp).sub("alice").claim("jti", "t-1").sign();
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
    list.replace_toml(
        r#"
        [[token]]
        issuer = "mock"
        id = "t-1"
        until = "2026-12-01T00:00:00Z"

        [[session]]
        issuer = "mock"
        id = "s-1"

        [[subject]]
        issuer = "mock"
        subject = "bob"
        issued_until = "2026-11-24T12:00:00Z"
        "#,
    )
    .unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(send(&bearer, &good, now()).await, "token.revoked");
    for wrong in [
        "[[token]]\nissuer = \"mock\"",
        "[[tokens]]\nissuer = \"mock\"\nid = \"1\"",
        "[[token]]\nissuer = \"Mock\"\nid = \"1\"",
        "[[token]]\nissuer = \"mock\"\nid = \"\"",
        "[[subject]]\nissuer = \"mock\"\nsubject = \"a\"\nissued_until = \"soon\"",
        "[[subject]]\nissuer = \"mock\"\nsubject = \"\"\nissued_until = \"2026-11-24T12:00:00Z\"",
    ] {
        assert!(list.replace_toml(wrong).is_err(), "{wrong}");
        assert_eq!(list.len(), 3, "{wrong}");
    }
    assert_eq!(send(&bearer, &good, now()).await, "token.revoked");
    list.replace_toml("").unwrap();
    assert!(list.is_empty());
    assert_eq!(send(&bearer, &good, now()).await, "user:mock/alice");
}

#[test]
fn a_list_that_is_full_says_so_and_forgets_only_what_has_expired() {
    let list = Revocations::new();
    let day = std::time::Duration::from_secs(86_400);
    for at in 0..Revocations::MAX_ENTRIES {
        let until = (at < 10).then(|| now() - day);
        let revocation = Revocation::Token {
            issuer: "mock".parse().unwrap(),
            id: at.to_string(),
            until,
        };
        list.revoke(revocation, now()).unwrap();
    }
    for at in 0..10 {
        list.revoke(by_id(format!("new-{at}")), now()).unwrap();
    }
    assert_eq!(
        list.revoke(by_id("one more"), now()),
        Err(RevocationError::Full)
    );
    // What is there can be revoked again.
    assert_eq!(list.revoke(by_id("new-1"), now()), Ok(()));
    assert_eq!(list.len(), Revocations::MAX_ENTRIES);
    assert!(matches!(
        list.revoke(by_id(""), now()),
        Err(RevocationError::Id { .. })
    ));
}
