//! Attacks on the decision, each through the gate that every request passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, PolicySet};
use serde::Deserialize;
use spanner_core::testing::{Fixed, MemorySink, wait};
use spanner_core::{Advice, Arrival, Caller, Gate, Target};

use super::{NOW, principal, resource};
use crate::Cedar;
use crate::guardrail::{Guardrail, Mode};
use crate::load::{self, Program};
use crate::schema::Schema;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    is: String,
    #[serde(default)]
    past_the_gate: bool,
    #[serde(default)]
    policies: String,
    #[serde(default = "ann")]
    who: String,
    tenant: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default = "generate")]
    action: String,
    #[serde(default = "sentiment")]
    model: String,
    /// What is recorded; `granted` has a permit.
    reason: Option<String>,
    #[serde(default)]
    deciding: Vec<String>,
    #[serde(default)]
    errors: Vec<String>,
    /// What is put in the place of the files; `delete` takes one away.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// A file that is made greater than it may be.
    fill: Option<String>,
    /// Files that would be let in, and of which is told that they widen the access.
    #[serde(default)]
    widens: BTreeMap<String, String>,
    /// Part of what is told.
    told: Option<String>,
}

fn ann() -> String {
    "user:corp/ann".to_owned()
}

fn generate() -> String {
    "generate".to_owned()
}

fn sentiment() -> String {
    "acme/sentiment".to_owned()
}

type Files = BTreeMap<String, String>;

fn files(guardrails: &str) -> Files {
    let organization =
        "environments = [\"production\"]\nissuers = [\"corp\"]\ngroups = [\"nlp\"]\n";
    let manifest = "model = \"acme/sentiment\"\nowner = \"group:nlp\"\nindividuals = \"allowed\"\nindividuals_reason = \"a test\"\n[grants.production]\ncaller = [\"user:ann\", \"group:nlp\"]\n";
    [
        ("organization.toml", organization),
        ("models/acme/sentiment.toml", manifest),
        ("policies/guardrails.cedar", guardrails),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into()
}

/// An access with guardrails that the loader has not seen.
fn unchecked(policies: &str) -> Cedar {
    let mut access = load::from_memory(files(""), &Program::default(), &Arc::default()).unwrap();
    let set: PolicySet = policies.parse().unwrap();
    for policy in set.policies() {
        let id = policy.annotation("id").unwrap();
        let policy: Policy = policy.new_id(PolicyId::new(id));
        let alone = PolicySet::from_policies([policy.clone()]).unwrap();
        access.guardrails.add(Guardrail::new(
            Arc::from(id),
            Mode::Live,
            Schema::shared(),
            &policy,
            alone,
            Advice::default(),
        ));
    }
    Cedar::of(access)
}

impl Case {
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut tell = |what: String| wrong.push(format!("{} {}: {what}", self.id, self.is));
        if let Some(reason) = &self.reason {
            self.ask(reason, &mut tell);
        }
        if !self.files.is_empty() || self.fill.is_some() {
            self.replace(&mut tell);
        }
        if !self.widens.is_empty() {
            let before = Cedar::from_files(files("")).unwrap();
            let mut after = files("");
            after.extend(self.widens.clone());
            let difference = before.diff(&Cedar::from_files(after).unwrap());
            let told = difference.to_string();
            let due = self.told.as_deref().unwrap();
            if !difference.widens() || !told.contains(due) {
                tell(told);
            }
        }
        wrong
    }

    fn ask(&self, reason: &str, tell: &mut impl FnMut(String)) {
        let cedar = match self.past_the_gate {
            true => unchecked(&self.policies),
            false => Cedar::from_files(files(&self.policies)).unwrap(),
        };
        let sink = MemorySink::new();
        let here = "production".parse().unwrap();
        let gate = Gate::new("test", here, cedar, sink.clone(), Fixed::at(NOW));
        let mut assertion = Caller::assertion(principal(&self.who)).scopes(self.scopes.clone());
        if let Some(tenant) = &self.tenant {
            assertion = assertion.tenant(tenant);
        }
        let target = Target::one(self.action.parse().unwrap(), resource(&self.model));
        let decided = gate
            .open(Arrival::new())
            .decide(assertion.caller().unwrap(), target);
        match wait(decided.recorded()) {
            Ok(permit) => {
                drop(permit.forward());
                if reason != "granted" {
                    tell("it was let in".to_owned());
                }
            }
            Err(refused) => {
                let status = refused.refusal().notice().status;
                if (status.http(), status.grpc()) != (403, 7) {
                    tell(format!("answered {status:?}"));
                }
            }
        }
        let decisions = sink.decisions();
        let [decision] = &*decisions else {
            return tell(format!("{} records", decisions.len()));
        };
        if decision.reason != reason {
            tell(format!("recorded {}", decision.reason));
        }
        if decision.policy_errors != self.errors {
            tell(format!("recorded the errors {:?}", decision.policy_errors));
        }
        if !self.deciding.is_empty() && decision.policies != self.deciding {
            tell(format!("recorded the policies {:?}", decision.policies));
        }
    }

    /// Puts the files in the place of an access in force, which stays.
    fn replace(&self, tell: &mut impl FnMut(String)) {
        let cedar = Cedar::from_files(files("")).unwrap();
        let digest = cedar.digest();
        let mut others = files("");
        for (name, text) in &self.files {
            match text.as_str() {
                "delete" => others.remove(name),
                _ => others.insert(name.clone(), text.clone()),
            };
        }
        if let Some(name) = &self.fill {
            others.insert(name.clone(), "// x\n".repeat(1024 * 1024));
        }
        match cedar.replace_with(others) {
            Ok(()) => tell("it was put in force".to_owned()),
            Err(error) => {
                let told = error.to_string();
                let due = self.told.as_deref().unwrap();
                if !told.contains(due) {
                    tell(format!("told {told}"));
                }
            }
        }
        if cedar.digest() != digest || cedar.status().last_error.is_none() {
            tell("the access in force did not stay, or does not tell".to_owned());
        }
    }
}

#[test]
fn each_attack_on_the_decision_is_refused_for_the_reason_that_is_due() {
    let rows: Rows = toml::from_str(include_str!("attacks.toml")).unwrap();
    let wrong: Vec<String> = rows.case.iter().flat_map(Case::check).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.case.len() > 30);
}

/// POL-13: what is no text.
#[test]
fn keeps_the_access_in_force_where_a_file_is_no_text() {
    let cedar = Cedar::from_files(files("")).unwrap();
    let digest = cedar.digest();
    let mut others: BTreeMap<String, Vec<u8>> = files("")
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect();
    others.insert("policies/g.cedar".to_owned(), vec![0xff, 0xfe, 0, 1]);
    let error = cedar.replace_with(others).unwrap_err();
    assert!(error.to_string().contains("policies/g.cedar"), "{error}");
    assert_eq!(cedar.digest(), digest);
}

/// POL-16: policies that are deep, many, or compare with much.
#[test]
fn bounds_what_policies_may_cost() {
    let deep = format!(
        "@id(\"deep\") @reason(\"r\") forbid (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(10_000),
        ")".repeat(10_000)
    );
    let long = format!(
        "@id(\"long\") @reason(\"r\") forbid (principal, action, resource) when {{ true{} }};",
        " && true".repeat(10_000)
    );
    let many: String = (0..1_001)
        .map(|n| format!("@id(\"{n}\") permit (principal, action, resource);\n"))
        .collect();
    for (text, due) in [
        (deep, "more than 50 brackets"),
        (long, "more than 500 operators"),
        (many, "more than 1000 guardrails"),
    ] {
        let error = Cedar::from_files(files(&text)).unwrap_err().to_string();
        assert!(error.contains(due), "{error}");
    }
}
