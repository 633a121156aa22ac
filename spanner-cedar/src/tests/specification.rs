//! What is promised about actions, roles and the access directory, sentence by sentence.

use spanner_core::{Action, ActionGroup, Effect};

use super::{ask_one, caller};
use crate::{Cases, Cedar};

/// An access in which each role is held by the group of its name, on one model.
fn each_role(roles: &str, names: &[&str]) -> Cedar {
    let groups = names.join("\", \"");
    let organization = format!(
        "environments = [\"production\"]\nissuers = [\"corp\"]\ngroups = [\"{groups}\"]\n{roles}"
    );
    let grants: String = names
        .iter()
        .map(|name| format!("{name} = [\"group:{name}\"]\n"))
        .collect();
    let manifest = format!("model = \"m\"\nowner = \"user:o\"\n[grants.production]\n{grants}");
    Cedar::from_files([
        ("organization.toml", organization),
        ("models/m.toml", manifest),
    ])
    .unwrap()
}

fn held(cedar: &Cedar, role: &str) -> String {
    let ann = caller("user:corp/ann", &[role]);
    let may =
        |action: &Action| ask_one(cedar, &ann, *action, "m", "production").effect == Effect::Allow;
    let actions = Action::ALL.iter().filter(|action| may(action));
    actions
        .map(|action| action.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_roles_are_these_by_default() {
    let rows = [
        ("reader", "list read download"),
        ("caller", "list read embed generate predict"),
        (
            "contributor",
            "list read embed generate predict download propose create",
        ),
        (
            "writer",
            "list read embed generate predict download propose upload create",
        ),
        (
            "maintainer",
            "list read embed generate predict download propose upload create delete deploy promote",
        ),
        ("approver", "list read approve"),
        (
            "admin",
            "list read embed generate predict download propose upload create delete deploy promote administer approve",
        ),
    ];
    let names = rows.map(|(name, _)| name);
    let cedar = each_role("", &names);
    for (name, actions) in rows {
        assert_eq!(held(&cedar, name), actions, "{name}");
    }
}

#[test]
fn an_action_implies_no_other_and_groups_only_their_own() {
    let names = Action::ALL.map(|action| format!("only-{action}"));
    let each = names.iter().zip(Action::ALL);
    let roles: String = each
        .map(|(name, action)| format!("{name} = [\"{action}\"]\n"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cedar = each_role(&format!("[roles]\n{roles}"), &names);
    for (name, action) in names.iter().zip(Action::ALL) {
        assert_eq!(held(&cedar, name), action.as_str());
    }
    let groups = ["view", "infer", "write"];
    assert_eq!(ActionGroup::ALL.map(ActionGroup::as_str), groups);
    let roles = groups
        .map(|group| format!("role-{group} = [\"{group}\"]\n"))
        .concat();
    let cedar = each_role(
        &format!("[roles]\n{roles}"),
        &["role-view", "role-infer", "role-write"],
    );
    assert_eq!(held(&cedar, "role-view"), "list read");
    assert_eq!(held(&cedar, "role-infer"), "embed generate predict");
    assert_eq!(held(&cedar, "role-write"), "propose upload");
}

#[test]
fn a_role_that_is_redefined_takes_those_made_of_it_along() {
    let cedar = each_role(
        "[roles]\ncaller = [\"embed\"]\n",
        &["caller", "contributor"],
    );
    assert_eq!(held(&cedar, "caller"), "embed");
    assert_eq!(held(&cedar, "contributor"), "embed download propose create");
}

/// Two issuers with the same names, and ids that are nearly alike.
const ORGANIZATION: &str = r#"
environments = ["development", "staging", "production"]
issuers = ["corp", "partner"]
groups = ["corp/nlp", "corp/NLP", "partner/nlp", "corp/empty"]
[grants.staging]
caller = ["group:corp/nlp"]
[promotion.production]
from = "staging"
approvers = ["group:corp/NLP"]
"#;

const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:corp/nlp"
individuals = "allowed"
individuals_reason = "the pilot"
[grants.production]
caller = ["group:corp/nlp", "user:corp/Alice", "service:corp/bot", "agent:corp/copilot", "role:corp/ops"]
writer = []
"#;

/// Each line: who, in which groups and roles, does what in which environment; and the answer.
const CLAIMS: &str = r#"
# a second trusted provider cannot mint a first one's groups
user:corp/x     group:corp/nlp     - generate production allow
user:partner/x  group:partner/nlp  - generate production deny
# ids are exact: nothing is folded or trimmed
user:corp/x     group:corp/NLP     - generate production deny
user:corp/Alice -                  - generate production allow
user:corp/alice -                  - generate production deny
user:corp/Alice2 -                 - generate production deny
user:partner/Alice -               - generate production deny
# a kind is part of who somebody is
service:corp/Alice -               - generate production deny
service:corp/bot -                 - generate production allow
user:corp/bot    -                 - generate production deny
agent:corp/copilot -               - generate production allow
# a role of an issuer is no group
user:corp/x      -          role:corp/ops generate production allow
user:corp/x      -       role:partner/ops generate production deny
# an empty list grants nobody, and there is no wildcard by omission
user:corp/x      group:corp/empty  - upload   production deny
user:corp/x      -                 - list     production deny
user:corp/x      group:corp/nlp    - generate development deny
# grants for every model are on every model, and in their environment only
user:corp/x      group:corp/nlp    - generate staging allow
user:corp/x      group:corp/NLP    - list     staging deny
# approvers see and sign
user:corp/x      group:corp/NLP    - read     production allow
user:corp/x      group:corp/NLP    - approve  production allow
user:corp/x      group:corp/NLP    - promote  production deny
service:corp/x   group:corp/NLP    - approve  production deny
"#;

#[test]
fn who_may_what_is_exactly_what_the_directory_says() {
    let files = [
        ("organization.toml", ORGANIZATION),
        ("models/m.toml", MANIFEST),
    ];
    let cedar = Cedar::from_files(files).unwrap();
    let quoted = |word: &str| match word {
        "-" => "[]".to_owned(),
        word => format!("\"{word}\""),
    };
    let lines = CLAIMS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases: String = lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [who, group, role, action, environment, expect] = words[..] else { panic!("{line}") };
            format!(
                "[[case]]\ncaller = \"{who}\"\ngroups = {}\nroles = {}\naction = \"{action}\"\nmodel = \"acme/sentiment\"\nenvironment = \"{environment}\"\nexpect = \"{expect}\"\n",
                quoted(group), quoted(role)
            )
        })
        .collect();
    let report = Cases::from_files([("claims.toml", cases)])
        .unwrap()
        .run(&cedar)
        .unwrap();
    assert_eq!(report.cases.len(), 22);
    assert!(report.is_good(), "{report}");
}
