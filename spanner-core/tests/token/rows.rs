//! The rows of `data/token.toml`: tokens, and what becomes of each.

use std::collections::HashSet;

use serde_json::json;
use spanner_core::token::{TokenVerifier, UnverifiedToken};
use spanner_core::{Caller, Freshness, TokenFault};

use crate::row::{Row, rows};
use crate::support::TestKeys;

#[test]
fn every_row_of_the_data_gets_its_due() {
    let keys = TestKeys::read();
    let (mut reached, mut complaints) = (HashSet::new(), Vec::new());
    for row in rows() {
        match check(&row, &keys) {
            Ok(outcome) => reached.extend(outcome.err()),
            Err(complaint) => complaints.push(format!("{}: {}: {complaint}", row.id, row.about)),
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
    // These take more than a token: a list, an issuer's answer, a proof.
    let elsewhere = [
        TokenFault::Revoked,
        TokenFault::Inactive,
        TokenFault::ProofInvalid,
        TokenFault::ProofReplayed,
    ];
    let missing: Vec<_> = TokenFault::ALL
        .iter()
        .filter(|fault| !elsewhere.contains(fault) && !reached.contains(fault))
        .collect();
    assert!(missing.is_empty(), "no row reaches {missing:?}");
}

#[test]
fn rows_have_names_of_their_own() {
    let mut seen = HashSet::new();
    for row in rows() {
        assert!(seen.insert(row.id.clone()), "{} stands twice", row.id);
        assert!(!row.about.is_empty());
    }
}

#[test]
fn shows_neither_token_nor_claims_nor_keys() {
    let keys = TestKeys::read();
    let mut row = rows().remove(0);
    row.claims.0.insert("secret".into(), json!("canary"));
    let token = row.token(&keys);
    let verifier = TokenVerifier::new(vec![row.rules.builder().build().unwrap()]).unwrap();
    let unverified = verifier.inspect(&token, row.now()).unwrap();
    let set = keys.set(&["rsa"]);
    let caller = verifier.verify(&unverified, &set, row.now()).unwrap();
    let shown = format!(
        "{unverified:?} {set:?} {verifier:?} {caller:?} {caller} {:?}",
        caller.credential()
    );
    let modulus = keys.jwk("rsa")["n"].as_str().unwrap().to_owned();
    for secret in token.split('.').chain(["canary", &modulus]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// What becomes of the row's token, or how that is not its due.
fn check(row: &Row, keys: &TestKeys) -> Result<Result<Caller, TokenFault>, String> {
    let token = row.token(keys);
    let named = row.key_names();
    let verifier = TokenVerifier::new(vec![row.rules.builder().build().unwrap()]).unwrap();
    let outcome =
        verifier
            .inspect(&token, row.now())
            .and_then(|unverified: UnverifiedToken<'_>| {
                verifier.verify(&unverified, &keys.set(&named), row.now())
            });
    let due = match (&row.due, &row.caller) {
        (Some(code), None) => Err(code.clone()),
        (None, Some(caller)) => Ok(caller.clone()),
        _ => return Err("either `due` or `caller`".into()),
    };
    let found = match &outcome {
        Ok(caller) => Ok(caller.to_string()),
        Err(fault) => Err(fault.code().to_owned()),
    };
    if found != due {
        return Err(format!("{found:?} instead of {due:?}"));
    }
    match &outcome {
        Ok(caller) => row.check_details(caller)?,
        Err(_) => assert!(row.says.is_empty(), "{}", row.id),
    }
    Ok(outcome)
}

impl Row {
    fn check_details(&self, caller: &Caller) -> Result<(), String> {
        let groups = caller.subject().groups.iter();
        let groups: Vec<_> = groups.map(|group| group.name.to_string()).collect();
        let chain: Vec<_> = caller.chain().iter().map(ToString::to_string).collect();
        for (what, due) in &self.says {
            let found = match what.as_str() {
                "groups" => json!(groups),
                "number_of_groups" => json!(groups.len()),
                "groups_complete" => json!(caller.groups_complete()),
                "scopes" => json!(caller.scopes()),
                "client" => json!(caller.client()),
                "assurance" => json!(caller.assurance()),
                "signed_in" => json!(caller.authenticated_at()),
                "chain" => json!(chain),
                "token_id" => json!(caller.credential().token_id),
                "key_id" => json!(caller.credential().key_id),
                "rotate_soon" => json!(caller.credential().freshness == Freshness::RotateSoon),
                other => return Err(format!("says nothing of {other}")),
            };
            if found != json!(due) {
                return Err(format!("{what}: {found} instead of {due}"));
            }
        }
        Ok(())
    }
}
