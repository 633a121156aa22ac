//! Manifests in the models' own folders.

use std::fs;
use std::path::Path;

use spanner_core::{Action, Effect};

use super::{ORGANIZATION, SENTIMENT, ask_one, caller};
use crate::{Cedar, LoadError};

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn load(access: &Path, models: &Path) -> Result<Cedar, LoadError> {
    Cedar::builder().models_dir(models).from_dir(access)
}

#[test]
fn a_manifest_may_live_in_the_folder_of_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let (access, models) = (dir.path().join("access"), dir.path().join("hub"));
    write(&access, "organization.toml", ORGANIZATION);
    write(&models, "acme/sentiment/access.toml", SENTIMENT);
    // What else there is in it is the model's.
    write(&models, "acme/sentiment/config.toml", "not = [toml");
    write(&models, "acme/sentiment/.git/access.toml", "not = [toml");
    write(&models, "acme/sentiment/organization.toml", "");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&models, models.join("acme/loop")).unwrap();
        std::os::unix::fs::symlink("/nowhere", models.join("acme/dangling")).unwrap();
    }
    let cedar = load(&access, &models).unwrap();
    let ann = caller("user:corp/ann", &["support"]);
    let allowed = || {
        let verdict = ask_one(&cedar, &ann, Action::Embed, "acme/sentiment", "production");
        verdict.effect == Effect::Allow
    };
    assert!(allowed());

    write(
        &models,
        "acme/sentiment/access.toml",
        &SENTIMENT.replace("\"group:support\", ", ""),
    );
    cedar.reload().unwrap();
    assert!(!allowed());
    fs::remove_file(models.join("acme/sentiment/access.toml")).unwrap();
    cedar.reload().unwrap();
    assert_eq!(cedar.status().models, 0);
}

#[test]
fn a_model_in_two_places_is_a_problem_that_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let (access, models) = (dir.path().join("access"), dir.path().join("hub"));
    write(&access, "organization.toml", ORGANIZATION);
    write(&access, "models/acme/sentiment.toml", SENTIMENT);
    write(&models, "deep/down/access.toml", SENTIMENT);
    let error = load(&access, &models).unwrap_err();
    let [problem] = error.problems() else {
        panic!("{error}")
    };
    let own = models.join("deep/down/access.toml").display().to_string();
    let places = [problem.file.clone(), problem.what.clone()];
    assert!(places[0] == own || places[1].contains(&own), "{error}");
    let kept = "models/acme/sentiment.toml";
    assert!(places[0] == kept || places[1].contains(kept), "{error}");
    assert!(problem.what.contains("already has a manifest"), "{error}");
}

#[test]
fn a_folder_that_is_none_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "organization.toml", ORGANIZATION);
    let error = load(dir.path(), &dir.path().join("nowhere")).unwrap_err();
    assert!(
        error.to_string().contains("nowhere: this is no folder"),
        "{error}"
    );
    let error = load(dir.path(), &dir.path().join("organization.toml")).unwrap_err();
    assert!(error.to_string().contains("this is no folder"), "{error}");
}

#[test]
fn the_digest_does_not_depend_on_where_the_folders_lie() {
    let digest = || {
        let dir = tempfile::tempdir().unwrap();
        let (access, models) = (dir.path().join("access"), dir.path().join("hub"));
        write(&access, "organization.toml", ORGANIZATION);
        write(&models, "acme/sentiment/access.toml", SENTIMENT);
        load(&access, &models).unwrap().digest()
    };
    assert_eq!(digest(), digest());
}
