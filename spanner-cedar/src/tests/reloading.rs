//! Another access is put in force at once and whole, or not at all.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use spanner_core::{Action, Authorize as _, Context, Effect, Environment, Question};

use super::{NOW, ORGANIZATION, SENTIMENT, ask_one, caller, resource};
use crate::Cedar;

#[test]
fn keeps_the_last_good_access_when_a_reload_fails() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    fs::create_dir(dir.path().join("models")).unwrap();
    write("organization.toml", ORGANIZATION.as_bytes());
    write("models/m.toml", SENTIMENT.as_bytes());
    let cedar = Cedar::from_dir(dir.path()).unwrap();
    let clone = cedar.clone();
    let first = cedar.digest();
    let ann = caller("user:corp/ann", &["support"]);
    let allowed = |cedar: &Cedar| {
        ask_one(cedar, &ann, Action::Embed, "acme/sentiment", "production").effect == Effect::Allow
    };

    let half = SENTIMENT.split_at(SENTIMENT.len() - 9).0;
    for bytes in [half.as_bytes(), b"", b"\xff", &[b'#'; 1024 * 1024 + 1]] {
        write("models/m.toml", bytes);
        let error = cedar.reload().unwrap_err();
        assert_eq!(clone.digest(), first);
        assert_eq!(clone.status().last_error.as_deref(), Some(&error));
        assert!(allowed(&clone));
    }

    write(
        "models/m.toml",
        SENTIMENT.replace("\"group:support\", ", "").as_bytes(),
    );
    cedar.reload().unwrap();
    assert_ne!(clone.digest(), first);
    assert_eq!(clone.status().last_error, None);
    assert!(!allowed(&clone));

    fs::remove_file(dir.path().join("organization.toml")).unwrap();
    let error = cedar.reload().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("organization.toml: the file is missing"),
        "{error}"
    );
    write("organization.toml", ORGANIZATION.as_bytes());
    write("models/m.toml", SENTIMENT.as_bytes());
    cedar.reload().unwrap();
    assert_eq!(clone.digest(), first);
}

#[test]
fn reloads_only_what_came_from_a_directory() {
    let files = [("organization.toml", ORGANIZATION)];
    let cedar = Cedar::from_files(files).unwrap();
    assert_eq!(
        cedar.reload().unwrap_err().to_string(),
        "the access has a problem:\n.: the access did not come from a folder; replace it with other files"
    );
    cedar.replace_with(files).unwrap();
    assert_eq!(cedar.status().last_error, None);
}

#[test]
fn tells_the_same_files_by_the_same_digest() {
    let digest = |files: [(&str, &str); 2]| Cedar::from_files(files).unwrap().digest();
    let organization = ("organization.toml", ORGANIZATION);
    let manifest = ("models/m.toml", SENTIMENT);
    assert_eq!(
        digest([organization, manifest]),
        digest([manifest, organization])
    );
    assert_ne!(
        digest([organization, manifest]),
        digest([organization, ("models/n.toml", SENTIMENT)])
    );
    let more = format!("{SENTIMENT}# a comment\n");
    assert_ne!(
        digest([organization, manifest]),
        digest([organization, ("models/m.toml", &more)])
    );
}

#[test]
fn answers_every_question_of_a_call_from_one_state() {
    let open = SENTIMENT.replace("group:support", "group:qa");
    let files = |manifest: &str| {
        [
            ("organization.toml", ORGANIZATION.to_owned()),
            ("models/m.toml", manifest.to_owned()),
        ]
    };
    let cedar = Cedar::from_files(files(SENTIMENT)).unwrap();
    let closed_digest = cedar.digest();
    let stop = AtomicBool::new(false);
    let ann = caller("user:corp/ann", &["qa"]);
    let environment = Environment::new("production").unwrap();
    let resource = resource("acme/sentiment");
    let context = Context::of(&ann, NOW.parse().unwrap());
    let question = Question::new(
        &ann,
        ann.subject(),
        Action::Embed,
        &resource,
        &environment,
        &context,
    );
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer =
                        cedar.authorize(&[question.clone(), question.clone(), question.clone()]);
                    let expected = if answer.digest == closed_digest {
                        Effect::Deny
                    } else {
                        Effect::Allow
                    };
                    assert!(
                        answer
                            .verdicts
                            .iter()
                            .all(|verdict| verdict.effect == expected)
                    );
                }
            });
        }
        for turn in 0..200 {
            let manifest = if turn % 2 == 0 { &open } else { SENTIMENT };
            cedar.replace_with(files(manifest)).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn looks_at_as_much_whatever_the_number_of_models() {
    let looked_at = |models: usize| {
        let mut files = vec![
            ("organization.toml".to_owned(), ORGANIZATION.to_owned()),
            (
                "policies/g.cedar".to_owned(),
                "@id(\"all\") @reason(\"r\") forbid (principal, action, resource) when { context.assurance > 3 };\n\
                 @id(\"prod\") @reason(\"r\") forbid (principal, action, resource in Spanner::Environment::\"production\") when { context.assurance > 3 };\n"
                    .to_owned(),
            ),
        ];
        for number in 0..models {
            let manifest = SENTIMENT.replace("acme/sentiment", &format!("acme/{number}"));
            files.push((format!("models/{number}.toml"), manifest));
            if number % 10 == 0 {
                let guardrail = format!(
                    "@id(\"m{number}\") @reason(\"r\") forbid (principal, action, resource in Spanner::Model::\"acme/{number}\") when {{ context.assurance > 3 }};"
                );
                files.push((format!("policies/{number}.cedar"), guardrail));
            }
        }
        let access = crate::load::from_memory(
            files,
            &crate::load::Program::default(),
            &std::sync::Arc::default(),
        )
        .unwrap();
        let ann = caller("user:corp/ann", &["support", "nlp"]);
        let environment = Environment::new("production").unwrap();
        let model = spanner_core::ModelName::new("acme/0").unwrap();
        let ann = access.place(ann.subject()).unwrap();
        let near = access
            .guardrails
            .near(&ann, true, Action::Generate, &environment, Some(&model));
        let grants = access.grants.of(&ann, &environment, Some(&model));
        (near.count(), grants.count())
    };
    assert_eq!(looked_at(1), (3, 2));
    assert_eq!(looked_at(1_000), (3, 2));
}
