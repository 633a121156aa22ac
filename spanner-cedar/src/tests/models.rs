//! Manifests in the models' own folders.

use std::fs;
use std::path::Path;

use spanner_core::{Action, Effect};

use super::{ORGANIZATION, SENTIMENT, ask_one, caller};
use crate::{BrokenManifests, Cedar, LoadError};

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

/// A team's own manifest of a model, and one of another team, of which something is the matter.
struct Teams {
    dir: tempfile::TempDir,
    cedar: Cedar,
}

impl Teams {
    fn new(broken: BrokenManifests) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(
            &dir.path().join("access"),
            "organization.toml",
            ORGANIZATION,
        );
        let own = |name: &str| SENTIMENT.replace("acme/sentiment", name);
        write(&dir.path().join("hub"), "a/access.toml", &own("acme/a"));
        write(&dir.path().join("hub"), "b/access.toml", &own("acme/b"));
        let cedar = Cedar::builder()
            .broken_manifests(broken)
            .models_dir(dir.path().join("hub"))
            .from_dir(dir.path().join("access"))
            .unwrap();
        Self { dir, cedar }
    }

    fn organization(&self, text: &str) {
        write(&self.dir.path().join("access"), "organization.toml", text);
    }

    fn own(&self, name: &str, text: &str) {
        let name = format!("{name}/access.toml");
        write(&self.dir.path().join("hub"), &name, text);
    }

    /// Whether somebody of a group may call a model in an environment.
    fn may(&self, group: &str, model: &str, environment: &str) -> bool {
        let ann = caller("user:corp/ann", &[group]);
        ask_one(&self.cedar, &ann, Action::Embed, model, environment).effect == Effect::Allow
    }

    fn broken(&self) -> Vec<String> {
        let hub = format!("{}/", self.dir.path().join("hub").display());
        let broken = self.cedar.status().broken;
        broken
            .iter()
            .map(|it| it.to_string().replace(&hub, ""))
            .collect()
    }
}

#[test]
fn a_broken_manifest_does_not_keep_a_removal_from_taking_effect() {
    for (broken, kept) in [
        (BrokenManifests::KeepLast, true),
        (BrokenManifests::Close, false),
    ] {
        let teams = Teams::new(broken);
        assert!(teams.may("qa", "acme/b", "staging"));
        teams.own("a", "model = ");
        teams.organization(&ORGANIZATION.replace("caller = [\"group:qa\"]", ""));
        teams.own(
            "b",
            &SENTIMENT
                .replace("acme/sentiment", "acme/b")
                .replace("\"group:support\", ", ""),
        );
        teams.cedar.reload().unwrap();
        assert!(!teams.may("qa", "acme/b", "staging"), "the organization");
        assert!(
            !teams.may("support", "acme/b", "production"),
            "another team"
        );
        assert_eq!(teams.may("support", "acme/a", "production"), kept);
        let [problem] = &*teams.broken() else {
            panic!()
        };
        assert!(problem.starts_with("a/access.toml:1:9: "), "{problem}");
        // Once it is right, it counts.
        teams.own("a", &SENTIMENT.replace("acme/sentiment", "acme/a"));
        teams.cedar.reload().unwrap();
        assert_eq!(teams.broken(), [""; 0]);
        assert!(teams.may("support", "acme/a", "production"));
    }
    // Where nothing else is said, all of it is one whole.
    let teams = Teams::new(BrokenManifests::Refuse);
    teams.own("a", "model = ");
    teams.organization(&ORGANIZATION.replace("caller = [\"group:qa\"]", ""));
    teams.cedar.reload().unwrap_err();
    assert!(teams.may("qa", "acme/b", "staging"));
}

#[test]
fn what_the_organization_removed_a_broken_manifest_does_not_bring_back() {
    let teams = Teams::new(BrokenManifests::KeepLast);
    teams.organization(&ORGANIZATION.replace(", \"support\"", ""));
    teams.cedar.reload().unwrap();
    assert!(!teams.may("support", "acme/a", "production"));
    assert!(
        teams.may("nlp", "acme/a", "staging"),
        "the rest of it counts"
    );
    assert_eq!(teams.broken().len(), 2);
    // Another preview or promotion does not change that.
    teams
        .cedar
        .keep(crate::PromotedManifests::default())
        .unwrap();
    assert!(!teams.may("support", "acme/a", "production"));
    assert!(teams.may("nlp", "acme/a", "staging"));
    assert_eq!(teams.broken().len(), 2);
}

#[test]
fn nobody_takes_a_model_over_by_claiming_it() {
    let teams = Teams::new(BrokenManifests::KeepLast);
    let theirs = SENTIMENT
        .replace("acme/sentiment", "acme/b")
        .replace("group:support", "group:contractors");
    teams.own("a", &theirs);
    teams.cedar.reload().unwrap();
    assert!(teams.may("support", "acme/b", "production"));
    assert!(!teams.may("contractors", "acme/b", "production"));
    let [problem] = &*teams.broken() else {
        panic!()
    };
    assert!(problem.starts_with("a/access.toml:1:1: `acme/b` already has a manifest"));
    // The organization's own file rules over both.
    let organization = theirs.replace("contractors", "qa");
    write(
        &teams.dir.path().join("access"),
        "models/b.toml",
        &organization,
    );
    teams.cedar.reload().unwrap();
    assert!(teams.may("qa", "acme/b", "production"));
    assert!(!teams.may("support", "acme/b", "production"));
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (access, models) = (dir.path().join("access"), dir.path().join("hub"));
    write(&access, "organization.toml", ORGANIZATION);
    write(&dir.path().join("elsewhere"), "access.toml", SENTIMENT);
    fs::create_dir_all(models.join("team/deep")).unwrap();
    symlink("/", models.join("root")).unwrap();
    symlink("/", models.join("team/root")).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    symlink(&elsewhere, models.join("team/deep/elsewhere")).unwrap();
    let loaded = |access: &Path| {
        let builder = Cedar::builder().broken_manifests(BrokenManifests::Close);
        builder.models_dir(&models).from_dir(access)
    };
    assert_eq!(loaded(&access).unwrap().status().models, 0);
    // A folder of models may be put together by links.
    symlink(&elsewhere, models.join("linked")).unwrap();
    assert_eq!(loaded(&access).unwrap().status().models, 1);
    // A manifest that is elsewhere is told of.
    symlink(
        elsewhere.join("access.toml"),
        models.join("team/access.toml"),
    )
    .unwrap();
    let broken = loaded(&access).unwrap().status().broken;
    assert_eq!(broken.len(), 1);
    assert!(
        broken[0].what.contains("leads out of the folder"),
        "{broken:?}"
    );

    fs::create_dir_all(access.join("models")).unwrap();
    symlink("/", access.join("models/root")).unwrap();
    symlink(&elsewhere, access.join("models/elsewhere")).unwrap();
    let error = loaded(&access).unwrap_err().to_string();
    assert!(
        error.contains("models/root: the symbolic link leads out of the folder"),
        "{error}"
    );
    assert!(error.contains("models/elsewhere: the symbolic link leads out"));
}
