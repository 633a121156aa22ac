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
fn a_review_lists_every_grant_with_its_reason() {
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

/// Decisions as a gate records them: generate in production, by somebody in these groups.
fn decisions(cedar: &Cedar, calls: &[(&str, &str)]) -> Vec<spanner_core::record::Decision> {
    use spanner_core::testing::{Fixed, MemorySink, wait};
    use spanner_core::{Arrival, Gate, Target};
    let sink = MemorySink::new();
    for (time, group) in calls {
        let place = "production".parse().unwrap();
        let gate = Gate::new("s", place, cedar.clone(), sink.clone(), Fixed::at(time));
        let target = Target::one(Action::Generate, resource("acme/sentiment"));
        let decided = gate
            .open(Arrival::new())
            .decide(caller("user:corp/ann", &[group]), target);
        drop(wait(decided.recorded()));
    }
    sink.decisions()
}

#[test]
fn a_review_tells_which_grants_were_used() {
    let before = access(
        &sentiment(
            "[grants.production]\ncaller = [\"group:support\", \"group:nlp\", \"group:qa\"]\n",
        ),
        "",
    );
    let calls = [
        ("2026-01-01T00:00:00Z", "nlp"),
        ("2026-06-01T00:00:00Z", "support"),
        ("2026-06-02T00:00:00Z", "support"),
        ("2026-06-03T00:00:00Z", "strangers"),
        ("2026-06-04T00:00:00Z", "qa"),
        ("2027-06-04T00:00:00Z", "nlp"),
    ];
    let recorded = decisions(&before, &calls);
    let after = access(
        &sentiment("[grants.production]\ncaller = [\"group:support\", \"group:nlp\"]\n"),
        "",
    );
    let now = "2026-06-30T00:00:00Z".parse().unwrap();
    let review = after.review().with_decisions(&recorded, now);
    let used = |holder: &str| {
        let mut grants = review.grants.iter();
        let grant =
            grants.find(|it| it.holder == holder && it.environment.as_str() == "production");
        let usage = grant.unwrap().usage.unwrap();
        (usage.count, usage.last.map(|time| time.to_string()))
    };
    assert_eq!(
        used("group:corp/support"),
        (2, Some("2026-06-02T00:00:00Z".to_owned()))
    );
    assert_eq!(used("group:corp/nlp"), (0, None));
    let id = |environment: &str, model: &str, group: &str| {
        format!("grant/{environment}/{model}/caller/group:corp/{group}")
    };
    let hygiene = &review.hygiene;
    let unused = [
        id("staging", "*", "qa"),
        id("production", "acme/sentiment", "nlp"),
    ];
    assert_eq!(hygiene.unused.as_deref(), Some(&unused[..]));
    assert_eq!(hygiene.gone, [id("production", "acme/sentiment", "qa")]);
    assert_eq!(
        hygiene.known_since.unwrap().to_string(),
        "2026-01-01T00:00:00Z"
    );
    assert!(after.review().hygiene.unused.is_none());
    let none = after
        .review()
        .with_decisions(Vec::<spanner_core::record::Decision>::new(), now);
    assert_eq!(none.hygiene.unused.unwrap().len(), 3);
}

#[test]
fn a_review_tells_what_else_deserves_a_look() {
    let organization = r#"
        environments = ["staging", "production"]
        issuers = ["corp"]
        groups = ["owns", "granted", "guarded", "signs", "idle"]
        [grants.staging]
        caller = ["group:granted"]
        [promotion.production]
        from = "staging"
        approvers = ["group:signs", "user:omar"]
    "#;
    let cedar = Cedar::from_files([
        ("organization.toml", organization),
        ("models/m.toml", "model = \"m\"\nowner = \"group:owns\"\n"),
        (
            "policies/g.cedar",
            "@id(\"g\") @reason(\"r\") forbid (principal in Spanner::Group::\"corp/guarded\", action, resource);
             @id(\"h\") @reason(\"r\") forbid (principal, action, resource in Spanner::Model::\"n\");",
        ),
    ])
    .unwrap();
    let review = cedar.review().with_credentials(["user:corp/ann: token x"]);
    assert_eq!(review.hygiene.idle_groups, ["group:corp/idle"]);
    assert_eq!(review.hygiene.strangers, ["h: n; did you mean `m`?"]);
    let omar = review.individuals().next().unwrap();
    assert_eq!(omar.reason.as_deref(), Some("an approver of promotions"));
    let json = serde_json::to_value(&review).unwrap();
    assert_eq!(json["hygiene"]["idle_groups"][0], "group:corp/idle");
    assert_eq!(json["grants"][0]["model"], serde_json::Value::Null);
}

#[test]
fn a_review_names_promotions_that_waited_for_nobody() {
    use spanner_core::promotion::{
        Basis, Candidate, Digest, HistoryState, Plan, Promotion, Proposal,
    };
    use spanner_core::testing::{Fixed, MemorySink, Rules, wait};
    use spanner_core::{Arrival, Caller, Gate, PromotionId, Target};
    let permit = |action| {
        let gate = Gate::new(
            "s",
            "production".parse().unwrap(),
            Rules::allow(|_| true),
            MemorySink::new(),
            Fixed::at(NOW),
        );
        let target = Target::one(action, resource("acme/sentiment"));
        wait(
            gate.open(Arrival::new())
                .decide(Caller::for_test("root"), target)
                .recorded(),
        )
        .unwrap()
    };
    let now = NOW.parse().unwrap();
    let candidate = Candidate::new("acme/sentiment".parse().unwrap(), Digest::of(b"m"));
    let plan = Plan::new("staging".parse().unwrap(), "production".parse().unwrap(), 2);
    let proposal = Proposal::new(candidate.clone(), plan, "m", vec![]);
    let proposed = Promotion::propose(
        PromotionId::from_u128(7),
        &proposal,
        &permit(Action::Promote),
        now,
    )
    .unwrap();
    let mut history = HistoryState::new();
    let promotion = history.take(proposed).unwrap().clone();
    let shown = Basis::new(candidate, vec![]);
    let event = promotion.promote_in_emergency(
        &shown,
        "the old one <leaks>",
        &permit(Action::Administer),
        now,
    );
    history.take(event.unwrap()).unwrap();
    let cedar = access(&sentiment(""), "");
    let review = cedar.review().with_history(&history);
    let [emergency] = &review.hygiene.emergencies[..] else {
        panic!("{review:?}")
    };
    assert!(emergency.in_force);
    assert_eq!(
        (emergency.model.as_str(), emergency.by.as_str()),
        ("acme/sentiment", "user:test/root")
    );
    assert_eq!(emergency.reason, "the old one <leaks>");
    assert!(
        cedar
            .review()
            .with_history(&HistoryState::new())
            .hygiene
            .emergencies
            .is_empty()
    );
}
