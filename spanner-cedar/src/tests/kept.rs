//! What is in force where promotions are kept.

use spanner_core::{Effect, PromotionId};

use super::*;
use crate::{Promoted, PromotedManifests};

const ORGANIZATION: &str = r#"
    environments = ["staging", "production"]
    issuers = ["corp"]
    groups = ["nlp", "qa", "support", "gov"]
    [grants.staging]
    caller = ["group:qa"]
    [promotion.production]
    from = "staging"
    approvers = ["group:gov"]
"#;

fn manifest(group: &str) -> String {
    format!(
        "model = \"acme/sentiment\"\nowner = \"group:nlp\"\n[grants.staging]\nreader = [\"group:{group}\"]\n[grants.production]\ncaller = [\"group:{group}\"]\n"
    )
}

fn files(group: &str) -> [(&'static str, String); 2] {
    [
        ("organization.toml", ORGANIZATION.to_owned()),
        ("models/acme/sentiment.toml", manifest(group)),
    ]
}

fn model() -> ModelName {
    "acme/sentiment".parse().unwrap()
}

fn environment(name: &str) -> Environment {
    name.parse().unwrap()
}

fn kept(promoted: impl IntoIterator<Item = Promoted>) -> PromotedManifests {
    PromotedManifests {
        environments: [environment("production")].into(),
        promoted: promoted.into_iter().collect(),
    }
}

fn promoted(number: u128, group: &str) -> Promoted {
    let id = PromotionId::from_u128(number);
    Promoted::new(id, model(), environment("production"), manifest(group))
}

/// Whether somebody of a group may generate, and under which promotion the model is served.
fn ask(cedar: &Cedar, group: &str, here: &str) -> (Effect, Option<PromotionId>) {
    let issuer: IssuerAlias = "corp".parse().unwrap();
    let ann = Principal::new(issuer.clone(), CallerKind::User, "ann".parse().unwrap());
    let group = Group::new(issuer, group.parse().unwrap());
    let ann = Caller::assertion(ann).groups([group]).caller().unwrap();
    let (resource, here) = (Resource::model(model()), environment(here));
    let context = Context::of(&ann, "2026-01-01T00:00:00Z".parse().unwrap());
    let question = Question::new(
        &ann,
        ann.subject(),
        Action::Generate,
        &resource,
        &here,
        &context,
    );
    let verdict = cedar.authorize(&[question]).verdicts.remove(0);
    (verdict.effect, verdict.promotion)
}

#[test]
fn what_was_promoted_is_in_force_whatever_the_file_says() {
    let cedar = Cedar::from_files(files("support")).unwrap();
    assert_eq!(ask(&cedar, "support", "production").0, Effect::Allow);
    cedar.keep(kept([])).unwrap();
    assert_eq!(ask(&cedar, "support", "production"), (Effect::Deny, None));
    assert_eq!(cedar.manifest(&model(), &environment("production")), None);

    let seven = PromotionId::from_u128(7);
    cedar.keep(kept([promoted(7, "support")])).unwrap();
    assert_eq!(
        ask(&cedar, "support", "production"),
        (Effect::Allow, Some(seven))
    );
    let before = cedar.digest();
    cedar.replace_with(files("qa")).unwrap();
    assert_ne!(cedar.digest(), before);
    assert_eq!(
        ask(&cedar, "support", "production"),
        (Effect::Allow, Some(seven))
    );
    assert_eq!(ask(&cedar, "qa", "production"), (Effect::Deny, Some(seven)));
    let text = cedar.manifest(&model(), &environment("staging")).unwrap();
    assert_eq!(*text, *manifest("qa"));
}

#[test]
fn a_model_without_a_file_keeps_what_was_promoted() {
    let cedar = Cedar::from_files(files("support")).unwrap();
    cedar.keep(kept([promoted(7, "support")])).unwrap();
    cedar
        .replace_with([("organization.toml", ORGANIZATION)])
        .unwrap();
    assert_eq!(ask(&cedar, "support", "production").0, Effect::Allow);
    assert_eq!(
        cedar.models(),
        [(model(), Some("group:corp/nlp".to_owned()))]
    );
    assert_eq!(cedar.claiming(&environment("production")), []);
}

#[test]
fn what_a_promoted_manifest_names_and_is_gone_grants_nothing_and_the_rest_stays() {
    let cedar = Cedar::from_files(files("support")).unwrap();
    cedar.keep(kept([promoted(7, "support")])).unwrap();
    let organization = ORGANIZATION.replace("\"support\", ", "");
    cedar
        .replace_with([("organization.toml", organization)])
        .unwrap();
    assert_eq!(ask(&cedar, "support", "production").0, Effect::Deny);
    let void = cedar.status().void;
    // What the manifest says of other environments is not in force, and is nobody's loss.
    assert_eq!(void.len(), 1);
    let named = "(promotion 00000000-0000-0000-0000-000000000007):";
    assert!(void[0].to_string().contains(named), "{}", void[0]);
    let production = environment("production");
    let strict = cedar.preview_of(&model(), &production, Some(promoted(8, "support")));
    assert!(
        strict
            .unwrap_err()
            .to_string()
            .contains("not in the directory")
    );
    let again = cedar.preview_again(&model(), &production, Some(promoted(8, "support")));
    assert_eq!(again.unwrap().status().void.len(), 1);
    cedar.replace_with(files("support")).unwrap();
    assert_eq!(ask(&cedar, "support", "production").0, Effect::Allow);
    assert_eq!(cedar.status().void, []);

    let other = Promoted::new(
        PromotionId::from_u128(8),
        "acme/other".parse().unwrap(),
        environment("production"),
        manifest("support"),
    );
    let error = cedar.keep(kept([other])).unwrap_err();
    assert!(error.to_string().contains("was promoted"), "{error}");
}

#[test]
fn a_preview_shows_what_a_promotion_would_change_and_changes_nothing() {
    let cedar = Cedar::from_files(files("support")).unwrap();
    cedar.keep(kept([promoted(7, "support")])).unwrap();
    let production = environment("production");
    let next = cedar
        .kept()
        .with(&model(), &production, Some(promoted(8, "qa")));
    let preview = cedar.preview(next).unwrap();
    let changes = cedar.diff_on(&preview, &model(), &production);
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "production acme/sentiment group:corp/qa: + list, read, embed, generate, predict",
            "production acme/sentiment group:corp/support: - list, read, embed, generate, predict",
        ]
    );
    assert_eq!(ask(&cedar, "support", "production").0, Effect::Allow);
    let none = cedar.kept().with(&model(), &production, None);
    assert_eq!(cedar.preview(none).unwrap().kept().promoted, []);
}

#[test]
fn the_folder_is_in_force_where_there_is_no_rule_or_nothing_is_kept() {
    let rule = ORGANIZATION.find("[promotion").unwrap();
    let mut open = files("support");
    open[0].1.truncate(rule);
    let cedar = Cedar::from_files(open).unwrap();
    cedar.keep(kept([])).unwrap();
    assert_eq!(ask(&cedar, "support", "production"), (Effect::Allow, None));
    assert_eq!(cedar.promotions(), []);
    let claiming = cedar.claiming(&environment("production"));
    assert_eq!(claiming[0].0, model());
}
