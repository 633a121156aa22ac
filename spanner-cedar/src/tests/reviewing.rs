//! Reviews and differences.

use super::*;

const ORGANIZATION: &str = r#"
    environments = ["staging", "production"]
    issuers = ["corp"]
    groups = ["nlp", "qa", "support"]
    [grants.staging]
    caller = ["group:qa"]
"#;

fn sentiment(grants: &str) -> String {
    format!("model = \"acme/sentiment\"\nowner = \"group:nlp\"\n{grants}")
}

fn access(manifest: &str, guardrails: &str) -> Cedar {
    Cedar::from_files([
        ("organization.toml", ORGANIZATION),
        ("models/acme/sentiment.toml", manifest),
        ("policies/guardrails.cedar", guardrails),
    ])
    .unwrap()
}

fn changes(before: &Cedar, after: &Cedar) -> Vec<String> {
    let difference = before.diff(after);
    difference.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_review_lists_every_grant_with_its_reason_in_three_forms() {
    let manifest = sentiment(
        "individuals = \"allowed\"\nindividuals_reason = \"on call\"\n[grants.production]\ncaller = [\"group:support\", \"user:corp/=ann|x\"]\n",
    );
    let guardrails = r#"@id("old") @reason("too <old>") forbid (principal, action, resource)
        when { context.tokenAgeSeconds > 5 };"#;
    let review = access(&manifest, guardrails).review();
    let told: Vec<String> = review
        .grants
        .iter()
        .map(|grant| grant.policy.to_string())
        .collect();
    assert_eq!(
        told,
        [
            "grant/staging/*/caller/group:corp/qa",
            "grant/production/acme/sentiment/caller/group:corp/support",
            "grant/production/acme/sentiment/caller/user:corp/=ann|x",
        ]
    );
    assert_eq!(review.individuals().count(), 1);
    assert_eq!(review.grants[1].owner.as_deref(), Some("group:corp/nlp"));
    let markdown = review.markdown();
    assert!(markdown.contains("| production | acme/sentiment | group:corp/support | caller | list, read, embed, generate, predict |"), "{markdown}");
    assert!(markdown.contains("user:corp/=ann\\|x"), "{markdown}");
    assert!(markdown.contains("- old forbids: too <old>"), "{markdown}");
    let csv = review.csv();
    assert!(
        csv.starts_with("environment,model,holder,role,actions,owner,grant\r\n"),
        "{csv}"
    );
    assert!(
        csv.contains("\"list, read, embed, generate, predict\""),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 4);
    let html = review.html();
    assert!(html.contains("<td>group:corp/support</td>"), "{html}");
    assert!(
        html.contains("too &lt;old&gt;") && !html.contains("<old>"),
        "{html}"
    );
}

#[test]
fn a_difference_says_who_gains_and_who_loses_what() {
    let support = sentiment("[grants.production]\ncaller = [\"group:support\"]\n");
    let reader = sentiment("[grants.production]\nreader = [\"group:support\"]\n");
    let (before, after) = (access(&support, ""), access(&reader, ""));
    let change =
        "production acme/sentiment group:corp/support: + download - embed, generate, predict";
    assert_eq!(changes(&before, &after), [change]);
    assert!(before.diff(&after).widens());
    assert!(before.diff(&before.clone()).is_empty());
}

#[test]
fn a_guardrail_makes_a_difference_and_a_manifest_that_goes_does_too() {
    let support = sentiment("[grants.production]\ncaller = [\"group:support\"]\n");
    let forbids = r#"@id("frozen") @reason("frozen") forbid (principal, action in [Spanner::Action::"infer"],
        resource in Spanner::Environment::"staging");"#;
    let (before, after) = (access(&support, ""), access(&support, forbids));
    assert_eq!(
        changes(&before, &after),
        [
            "staging acme/sentiment group:corp/qa: - embed, generate, predict",
            "staging (any other model) group:corp/qa: - embed, generate, predict",
            "staging (the server) group:corp/qa: - embed, generate, predict",
        ]
    );
    assert!(!before.diff(&after).widens());
    let gone = Cedar::from_files([("organization.toml", ORGANIZATION)]).unwrap();
    let lost =
        "production acme/sentiment group:corp/support: - list, read, embed, generate, predict";
    assert_eq!(changes(&before, &gone), [lost]);
}
