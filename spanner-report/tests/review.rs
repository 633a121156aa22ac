//! A review of an access configuration, in each format.

#![cfg(feature = "review")]
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use spanner_cedar::{Cedar, Review};
use spanner_core::record::Decision;
use spanner_report::review::{grants, listing, page};

const ORGANIZATION: &str = r#"
    environments = ["staging", "production"]
    issuers = ["corp"]
    groups = ["nlp", "qa", "support", "idle"]
    [grants.staging]
    caller = ["group:qa"]
    [promotion.production]
    from = "staging"
    approvers = ["group:nlp", "user:omar"]
"#;

fn review() -> Review {
    let manifest = "model = \"acme/sentiment\"\nowner = \"group:nlp\"\nindividuals = \"allowed\"\nindividuals_reason = \"on call\"\n[grants.production]\ncaller = [\"group:support\", \"user:corp/=ann|x\"]\n";
    let guardrails = r#"@id("old") @reason("too <old>") forbid (principal, action, resource)
        when { context.tokenAgeSeconds > 5 };"#;
    let cedar = Cedar::from_files([
        ("organization.toml", ORGANIZATION),
        ("models/acme/sentiment.toml", manifest),
        ("policies/guardrails.cedar", guardrails),
    ]);
    cedar
        .unwrap()
        .review()
        .with_credentials(["user:corp/ann: token x"])
}

#[test]
fn lists_every_grant_in_markdown() {
    let markdown = listing(&review()).markdown();
    for line in [
        "| production | acme/sentiment | group:corp/support | caller | list, read, embed, generate, predict | group:corp/nlp |  |  | `grant/production/acme/sentiment/caller/group:corp/support` |",
        "- `grant/production/acme/sentiment/caller/user:corp/=ann\\|x`: on call",
        "- old forbids: too &lt;old&gt;",
        "- group:corp/idle",
        "- user:corp/ann: token x",
    ] {
        assert!(
            markdown.lines().any(|it| it == line),
            "{line}\nis not in\n{markdown}"
        );
    }
    assert!(markdown.contains("| user:corp/=ann\\|x |"), "{markdown}");
}

#[test]
fn lists_every_grant_for_a_spreadsheet() {
    let csv = grants(&review()).csv();
    let head = "environment,model,holder,role,actions,owner,reason,last used,grant\r\n";
    assert!(csv.starts_with(head), "{csv}");
    assert!(
        csv.contains(",\"list, read, embed, generate, predict\","),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), review().grants.len() + 1);
}

#[test]
fn shows_the_matrix_and_the_findings() {
    let html = page(&review()).html();
    for expected in [
        ">group:corp/support</span>",
        "class=\"person\"",
        "too &lt;old&gt;",
        "an approver of promotions",
        "Groups of the directory that nothing names",
        "Individuals with grants of their own",
        "<code>grant/production/acme/sentiment/caller/group:corp/support</code>",
    ] {
        assert!(html.contains(expected), "{expected} is not in {html}");
    }
    assert!(!html.contains("<old>"), "{html}");
}

#[test]
fn marks_unused_grants() {
    let now = "2026-11-28T12:00:00Z".parse().unwrap();
    let review = review().with_decisions(Vec::<Decision>::new(), now);
    assert!(page(&review).html().contains("class=\"unused\""));
    assert!(grants(&review).csv().contains(",never,grant/production"));
}
