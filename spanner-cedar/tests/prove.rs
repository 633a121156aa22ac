//! What is proved of changes of access, by Debian's cvc5 or any later one.
#![cfg(feature = "prove")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

use std::io::Write as _;

use serde::Deserialize;
use spanner_cedar::{Cedar, Counterexample, ProveError, Solver, prove};
use spanner_core::Effect;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    change: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    is: String,
    organization: Option<String>,
    manifest: Option<String>,
    #[serde(default)]
    guardrails: String,
    instead: Option<String>,
    #[serde(default)]
    gains: Vec<String>,
    #[serde(default)]
    losses: Vec<String>,
    /// Whether there may be others than these.
    #[serde(default)]
    some: bool,
}

const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
groups = ["nlp", "qa", "support"]
issuers = ["corp"]
[grants.staging]
caller = ["group:qa"]
"#;

const MANIFEST: &str = "model = \"acme/sentiment\"\nowner = \"group:nlp\"\n";

const GRANTS: &str = r#"
[grants.staging]
maintainer = ["group:nlp"]
[grants.production]
caller = ["group:support"]
"#;

const GUARDRAILS: &str = r#"
@id("old") @reason("r") forbid (principal, action, resource) when { context.tokenAgeSeconds > 1000 };
"#;

fn access(change: Option<&Change>) -> Cedar {
    let organization = change.and_then(|change| change.organization.as_deref());
    let manifest = change.and_then(|change| change.manifest.as_deref());
    let instead = change.and_then(|change| change.instead.as_deref());
    let guardrails = change.map_or("", |change| &change.guardrails);
    Cedar::from_files([
        (
            "organization.toml",
            format!("{ORGANIZATION}{}", organization.unwrap_or_default()),
        ),
        (
            "models/acme/sentiment.toml",
            format!("{MANIFEST}{}", manifest.unwrap_or(GRANTS)),
        ),
        (
            "policies/guardrails.cedar",
            format!("{}{guardrails}", instead.unwrap_or(GUARDRAILS)),
        ),
    ])
    .unwrap()
}

/// Where there is none, the terminal says so, though tests are run without their output.
fn solver() -> Option<Solver> {
    match Solver::find() {
        Ok(solver) => Some(solver),
        Err(ProveError::NoSolver { .. }) => {
            std::io::stderr().write_all(b"skipped: no cvc5\n").unwrap();
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn proves_what_the_difference_shows_and_refutes_the_rest() {
    let Some(solver) = solver() else { return };
    let rows: Rows = toml::from_str(include_str!("data/proofs.toml")).unwrap();
    let mut wrong = Vec::new();
    let before = access(None);
    for change in &rows.change {
        let proof = prove(&before, &access(Some(change)), &solver).unwrap();
        let told = proof.to_string();
        let plain = change.gains.is_empty() && change.losses.is_empty();
        let found = |expected: &[String], found: &[Counterexample]| {
            let all = expected.iter().all(|part| told.contains(part.as_str()));
            all && (change.some || expected.len() == found.len())
                && expected.is_empty() == found.is_empty()
        };
        let as_expected = found(&change.gains, &proof.gains)
            && found(&change.losses, &proof.losses)
            && proof.unproved.is_empty()
            && proof.holds() == plain;
        if !as_expected {
            wrong.push(format!("{}: {told}{}", change.is, proof.difference));
        }
        for gain in &proof.gains {
            assert_eq!(
                (gain.before.effect, gain.after.effect),
                (Effect::Deny, Effect::Allow)
            );
        }
        for loss in &proof.losses {
            assert_eq!(
                (loss.before.effect, loss.after.effect),
                (Effect::Allow, Effect::Deny)
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn says_how_to_get_a_solver_that_is_not_there() {
    let error = Solver::at("/nowhere/cvc5").unwrap_err();
    assert!(matches!(&error, ProveError::NoSolver { program, .. } if program == "/nowhere/cvc5"));
    assert!(
        error.to_string().contains("apt-get install cvc5"),
        "{error}"
    );
}

#[test]
#[cfg(unix)]
fn a_solver_that_cannot_tell_proves_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let change = Change {
        manifest: Some("[grants.production]\ncaller = [\"group:support\", \"group:qa\"]\n".into()),
        ..toml::from_str("is = \"\"").unwrap()
    };
    for (name, answers) in [
        (
            "unsure",
            "while read line; do case \"$line\" in '(check-sat)') echo unknown;; esac; done",
        ),
        ("broken", "echo nonsense; exit 3"),
        ("silent", "exit 0"),
    ] {
        let path = dir.path().join(name);
        let script = format!("#!/bin/sh\nif [ \"$1\" = --version ]; then exit 0; fi\n{answers}\n");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let solver = Solver::at(&path).unwrap();
        let proof = prove(&access(None), &access(Some(&change)), &solver).unwrap();
        assert!(!proof.holds(), "{name}");
        assert!(!proof.unproved.is_empty(), "{name}");
        assert!(proof.to_string().contains("not proved"), "{name}: {proof}");
    }
}
