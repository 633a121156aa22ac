//! The administration API behind a guard, from the callers' point of view.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail"
)]

use std::path::Path;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use spanner_admin::{Admin, Promotions, openapi};
use spanner_cedar::Cedar;
use spanner_core::{Caller, CallerKind, Group, IssuerAlias, Obstacle, Principal, Timestamp};
use spanner_ledger::{Durability, Entry, Ledger};
use spanner_tower::{
    Authenticate, Authentication, AuthenticationError, BoxFuture, GuardLayer, GuardService,
};
use tower_layer::Layer;
use tower_service::Service;

/// Authenticates the caller that the bearer token names: `kind:name:group,group`, or `agent for
/// kind:name:group`.
struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Authentication, AuthenticationError>> {
        let header = parts.headers.get("authorization");
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let caller = token.map(who).ok_or(Obstacle::Missing);
        Box::pin(async move { Ok(caller?.into()) })
    }
}

fn who(token: &str) -> Caller {
    let (agent, token) = match token.split_once(" for ") {
        Some((agent, token)) => (Some(agent), token),
        None => (None, token),
    };
    let issuer = || IssuerAlias::new("corp").unwrap();
    let principal = |kind, name: &str| Principal::new(issuer(), kind, name.parse().unwrap());
    let mut parts = token.split(':');
    let kind = match parts.next().unwrap() {
        "user" => CallerKind::User,
        "service" => CallerKind::Service,
        _ => CallerKind::Agent,
    };
    let name = parts.next().unwrap();
    let groups = parts.next().unwrap_or_default().split(',');
    let groups = groups.filter(|name| !name.is_empty());
    Caller::assertion(principal(kind, name))
        .groups(groups.map(|name| Group::new(issuer(), name.parse().unwrap())))
        .actors(agent.map(|agent| principal(CallerKind::Agent, agent)))
        .caller()
        .unwrap()
}

const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
issuers = ["corp"]
groups = ["nlp", "qa", "support", "gov", "root"]
[grants.staging]
caller = ["group:qa"]
[grants.production]
admin = ["group:root"]
[promotion.production]
from = "staging"
approvals = 2
approvers = ["group:gov"]
"#;

const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:nlp"
[grants.staging]
maintainer = ["group:nlp"]
[grants.production]
caller = ["group:support", "service:bot"]
"#;

const OLD: &str = r#"
model = "acme/old"
owner = "group:nlp"
[grants.production]
caller = ["group:support"]
"#;

const NINA: &str = "user:nina:nlp";
const OMAR: &str = "user:omar:gov";
const PIA: &str = "user:pia:gov";
const SAM: &str = "user:sam:support";
const ADA: &str = "user:ada:root";

struct World {
    dir: tempfile::TempDir,
    cedar: Cedar,
    ledger: Ledger,
    promotions: Promotions,
    service: GuardService<Admin>,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

impl World {
    /// A service whose access has an existing model in production and, after promotions govern
    /// production, a new one.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "access/organization.toml", ORGANIZATION);
        write(dir.path(), "access/models/acme/old.toml", OLD);
        let world = Self::open(dir).await;
        write(
            world.dir.path(),
            "access/models/acme/sentiment.toml",
            MANIFEST,
        );
        world.promotions.reload().await.unwrap();
        world
    }

    async fn open(dir: tempfile::TempDir) -> Self {
        let cedar = Cedar::from_dir(dir.path().join("access")).unwrap();
        let ledger = Ledger::builder(dir.path().join("ledger"))
            .durability(Durability::ProcessCrash)
            .open()
            .unwrap();
        let promotions = Promotions::open(cedar.clone(), ledger.clone())
            .await
            .unwrap();
        let guard = GuardLayer::builder(Names, cedar.clone(), ledger.clone())
            .environment("production".parse().unwrap())
            .surface(spanner_admin::surface())
            .build()
            .unwrap();
        let service = guard.layer(Admin::new(promotions.clone()));
        Self {
            dir,
            cedar,
            ledger,
            promotions,
            service,
        }
    }

    /// The same service after a restart.
    async fn again(self) -> Self {
        self.ledger.close().unwrap();
        Self::open(self.dir).await
    }

    async fn send(&self, who: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://localhost/spanner/v1/{path}"))
            .header("authorization", format!("Bearer {who}"))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        let response = self.service.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.send(who, "GET", path, b"").await
    }

    async fn post(&self, who: &str, path: &str, body: Value) -> Answer {
        let body = body.to_string();
        self.send(who, "POST", path, body.as_bytes()).await
    }

    async fn propose(&self) -> String {
        let body =
            json!({"model": "acme/sentiment", "environment": "production", "revision": "v1"});
        let answer = self.post(NINA, "promotions", body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    async fn step(&self, who: &str, id: &str, step: &str, body: Value) -> Answer {
        self.post(who, &format!("promotions/{id}/{step}"), body)
            .await
    }

    /// A promotion that was proposed, approved twice and promoted.
    async fn promoted(&self) -> String {
        let id = self.propose().await;
        for who in [OMAR, PIA] {
            let answer = self.step(who, &id, "approve", json!({})).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let answer = self.step(NINA, &id, "promote", json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        id
    }

    /// Whether a caller may generate, according to the guard.
    async fn may(&self, who: &str, model: &str) -> bool {
        let asked = json!({"model": model, "action": "generate"});
        let answer = self.post(who, "explain", asked).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["effect"] == "allow"
    }

    fn edit(&self, manifest: &str) {
        write(
            self.dir.path(),
            "access/models/acme/sentiment.toml",
            manifest,
        );
    }

    fn entries(&self) -> Vec<Entry> {
        let entries = Ledger::read(self.ledger.dir()).unwrap().entries().unwrap();
        entries.map(|numbered| numbered.unwrap().entry).collect()
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn two_approvals_promote_a_model_with_its_access() {
    let world = World::new().await;
    assert!(!world.may(SAM, "acme/sentiment").await);
    let id = world.propose().await;

    let shown = world.get(OMAR, &format!("promotions/{id}")).await;
    assert_eq!(shown.body["standing"], "open");
    assert_eq!(shown.body["approvals_needed"], 2);
    assert_eq!(shown.body["approvers"], json!(["group:corp/gov"]));
    let gains = json!(["list", "read", "embed", "generate", "predict"]);
    let difference = json!([
        {"holder": "group:corp/support", "gains": gains},
        {"holder": "service:corp/bot", "gains": gains},
    ]);
    assert_eq!(shown.body["difference"], difference);

    let early = world.step(NINA, &id, "promote", json!({})).await;
    assert_eq!(
        (early.status.as_u16(), &early.body["title"]),
        (409, &json!("approvals_missing"))
    );
    let first = world.step(OMAR, &id, "approve", json!({})).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let twice = world.step(OMAR, &id, "approve", json!({})).await;
    assert_eq!(twice.body["title"], "approved_already");
    let manifest = &shown.body["manifest"];
    let second = world
        .step(PIA, &id, "approve", json!({ "manifest": manifest }))
        .await;
    assert_eq!(second.status, 200, "{}", second.body);
    assert!(!world.may(SAM, "acme/sentiment").await);
    let promoted = world.step(NINA, &id, "promote", json!({})).await;
    assert_eq!(promoted.status, 200, "{}", promoted.body);
    assert_eq!(promoted.body["standing"], "promoted");

    assert!(world.may(SAM, "acme/sentiment").await);
    assert!(!world.may("user:quinn:qa", "acme/sentiment").await);
    let history = world
        .get(SAM, "models/acme/sentiment/history?environment=production")
        .await;
    let steps: Vec<(&str, &str)> = history.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                event["step"].as_str().unwrap(),
                event["by"]["subject"].as_str().unwrap(),
            )
        })
        .collect();
    let due = [
        ("proposed", "nina"),
        ("approved", "omar"),
        ("approved", "pia"),
        ("promoted", "nina"),
    ];
    assert_eq!(steps, due);
    assert_eq!(history.body["in_force"]["production"]["id"], json!(id));
    assert_eq!(history.body["events"][1]["difference"], difference);
}

#[tokio::test]
async fn refuses_approvals_by_the_proposer_an_agent_or_an_unlisted_person() {
    let world = World::new().await;
    let body = json!({"model": "acme/sentiment", "environment": "production"});
    let both = "user:nina:nlp,gov";
    let id = world.post(both, "promotions", body).await.body["id"].clone();
    let id = id.as_str().unwrap();
    for (who, status, title) in [
        (both, 403, "own_proposal"),
        (SAM, 403, "permission_denied"),
        (NINA, 403, "permission_denied"),
        ("service:cd:gov", 403, "permission_denied"),
        ("copilot for user:omar:gov", 403, "permission_denied"),
        (ADA, 403, "not_an_approver"),
    ] {
        let answer = world.step(who, id, "approve", json!({})).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["title"]),
            (status, &json!(title)),
            "{who}"
        );
        assert_eq!(header(&answer, "spanner-origin"), "guard", "{who}");
        assert_eq!(header(&answer, "spanner-fault"), "permission", "{who}");
    }
}

#[tokio::test]
async fn refuses_to_approve_or_promote_a_changed_candidate() {
    let world = World::new().await;
    let id = world.propose().await;
    let wrong = json!({"manifest": format!("sha256:{}", "0".repeat(64))});
    let answer = world.step(OMAR, &id, "approve", wrong).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["title"]),
        (409, &json!("changed"))
    );
    for who in [OMAR, PIA] {
        assert_eq!(world.step(who, &id, "approve", json!({})).await.status, 200);
    }
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    world.promotions.reload().await.unwrap();
    let answer = world.step(NINA, &id, "promote", json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["title"]),
        (409, &json!("changed"))
    );
    assert!(!world.may("user:quinn:qa", "acme/sentiment").await);
}

#[tokio::test]
async fn a_reader_of_the_ledger_learns_what_is_in_force() {
    let world = World::new().await;
    world.promoted().await;
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    let folder = Cedar::from_dir(world.dir.path().join("access")).unwrap();
    let (history, kept) = spanner_admin::promotions_in(Ledger::read(world.ledger.dir()).unwrap())
        .await
        .unwrap();
    folder.keep(kept).unwrap();
    assert_eq!(history.promotions().count(), 2);
    let production = "production".parse().unwrap();
    let model = "acme/sentiment".parse().unwrap();
    let manifest = folder.manifest(&model, &production).unwrap();
    assert_eq!(*manifest, *MANIFEST);
}

#[tokio::test]
async fn editing_a_file_and_restarting_change_nothing_in_production() {
    let world = World::new().await;
    let id = world.promoted().await;
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    world.promotions.reload().await.unwrap();
    assert!(world.may(SAM, "acme/sentiment").await);
    assert!(!world.may("user:quinn:qa", "acme/sentiment").await);
    let digest = world.cedar.digest();

    let world = world.again().await;
    assert_eq!(world.cedar.digest(), digest);
    assert!(world.may(SAM, "acme/sentiment").await);
    let shown = world.get(SAM, &format!("promotions/{id}")).await;
    assert_eq!(shown.body["standing"], "promoted");
}

#[tokio::test]
async fn adopts_existing_manifests_without_approval() {
    let world = World::new().await;
    assert!(world.may(SAM, "acme/old").await);
    let history = world
        .get(SAM, "models/acme/old/history?environment=production")
        .await;
    assert_eq!(history.body["events"][0]["step"], "adopted");
    assert_eq!(history.body["events"][0]["by"], Value::Null);
    assert_eq!(
        history.body["in_force"]["production"]["standing"],
        "adopted"
    );
    let reason = json!({"environment": "production", "reason": "bad"});
    let answer = world.post(ADA, "models/acme/old/rollback", reason).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["title"]),
        (409, &json!("promotion_is_over"))
    );
    let adopted = |world: &World| {
        let entries = world.entries().into_iter();
        let events = entries.filter(
            |entry| matches!(entry, Entry::Event(event) if event.event == "promotion.adopted"),
        );
        events.count()
    };
    assert_eq!(adopted(&world), 1);
    let world = world.again().await;
    assert_eq!(adopted(&world), 1);
}

#[tokio::test]
async fn with_existing_refused_nothing_is_in_force_until_it_is_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let strict = format!("{ORGANIZATION}existing = \"refuse\"\n");
    write(dir.path(), "access/organization.toml", &strict);
    write(dir.path(), "access/models/acme/sentiment.toml", MANIFEST);
    let world = World::open(dir).await;
    assert!(!world.may(SAM, "acme/sentiment").await);
    world.promoted().await;
    assert!(world.may(SAM, "acme/sentiment").await);
}

#[tokio::test]
async fn an_emergency_needs_an_admin_and_a_reason_and_is_marked() {
    let world = World::new().await;
    let id = world.propose().await;
    let why = json!({"emergency": "support is blind"});
    let refused = world.step(NINA, &id, "promote", why.clone()).await;
    assert_eq!(refused.status, 403);
    let silent = world
        .step(ADA, &id, "promote", json!({"emergency": " "}))
        .await;
    assert_eq!(
        (silent.status.as_u16(), &silent.body["title"]),
        (400, &json!("no_reason"))
    );
    let promoted = world.step(ADA, &id, "promote", why).await;
    assert_eq!(promoted.body["standing"], "emergency", "{}", promoted.body);
    assert!(world.may(SAM, "acme/sentiment").await);
}

#[tokio::test]
async fn a_rollback_that_only_removes_access_is_one_step() {
    let world = World::new().await;
    let first = world.promoted().await;
    world.edit(&MANIFEST.replace("\"group:support\"", "\"group:support\", \"group:qa\""));
    world.promotions.reload().await.unwrap();
    let second = world.promoted().await;
    assert!(world.may("user:quinn:qa", "acme/sentiment").await);
    let reason = json!({"environment": "production", "reason": "qa must not"});
    let refused = world
        .post(SAM, "models/acme/sentiment/rollback", reason.clone())
        .await;
    assert_eq!(refused.status, 403);
    let back = world
        .post(NINA, "models/acme/sentiment/rollback", reason.clone())
        .await;
    assert_eq!(back.status, 200, "{}", back.body);
    assert_eq!(
        (&back.body["id"], &back.body["standing"]),
        (&json!(second), &json!("rolled_back"))
    );
    assert_eq!(back.body["manifest_text"], Value::Null);
    assert!(!world.may("user:quinn:qa", "acme/sentiment").await);
    assert!(world.may(SAM, "acme/sentiment").await);
    let shown = world.get(SAM, &format!("promotions/{first}")).await;
    assert_eq!(shown.body["in_force"], true);
    let back = world
        .post(NINA, "models/acme/sentiment/rollback", reason.clone())
        .await;
    assert_eq!(back.status, 200, "{}", back.body);
    assert!(!world.may(SAM, "acme/sentiment").await);
    // No promotion remains, and the error says so. An adopted model was never promoted.
    for (model, title) in [
        ("acme/sentiment", "nothing_promoted"),
        ("acme/old", "promotion_is_over"),
    ] {
        let path = format!("models/{model}/rollback");
        let who = "user:nora:nlp,root";
        let nothing = world.post(who, &path, reason.clone()).await;
        assert_eq!(
            (nothing.status.as_u16(), &nothing.body["title"]),
            (409, &json!(title)),
            "{model}"
        );
    }
}

/// A promotion that removes access, on top of another one. Both have two approvals.
async fn narrowed() -> (World, String) {
    let world = World::new().await;
    let first = world.promoted().await;
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    world.promotions.reload().await.unwrap();
    world.promoted().await;
    assert!(!world.may(SAM, "acme/sentiment").await);
    (world, first)
}

#[tokio::test]
async fn a_rollback_that_adds_access_needs_approvals() {
    let (world, first) = narrowed().await;
    let reason = json!({"environment": "production", "reason": "support lost it"});
    let refused = world
        .post(NINA, "models/acme/sentiment/rollback", reason)
        .await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["title"]),
        (409, &json!("approvals_missing"))
    );
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("group:corp/support"), "{detail}");
    assert!(
        detail.contains(&format!("\"restores\": \"{first}\"")),
        "{detail}"
    );
    assert!(!world.may(SAM, "acme/sentiment").await);

    let model = "acme/sentiment";
    let body = json!({"model": model, "environment": "production", "restores": first});
    let proposed = world.post(NINA, "promotions", body.clone()).await;
    assert_eq!(proposed.status, 201, "{}", proposed.body);
    assert_eq!(proposed.body["restores"], json!(first));
    assert_eq!(proposed.body["revision"], "v1");
    let id = proposed.body["id"].as_str().unwrap();
    let early = world.step(NINA, id, "promote", json!({})).await;
    assert_eq!(early.body["title"], "approvals_missing");
    for who in [OMAR, PIA] {
        assert_eq!(world.step(who, id, "approve", json!({})).await.status, 200);
    }
    let promoted = world.step(NINA, id, "promote", json!({})).await;
    assert_eq!(promoted.status, 200, "{}", promoted.body);
    assert!(world.may(SAM, "acme/sentiment").await);
    let world = world.again().await;
    assert!(world.may(SAM, "acme/sentiment").await);

    for (body, status, title) in [
        (
            json!({"model": model, "environment": "production", "restores": id}),
            409,
            "not_restorable",
        ),
        (
            json!({"model": model, "environment": "production", "restores": first, "revision": "v1"}),
            400,
            "restores",
        ),
    ] {
        let answer = world.post(NINA, "promotions", body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["title"]),
            (status, &json!(title))
        );
    }
}

#[tokio::test]
async fn an_emergency_rollback_may_add_access_and_is_marked() {
    let (world, _) = narrowed().await;
    let path = "models/acme/sentiment/rollback";
    let why = json!({"environment": "production", "emergency": "support is blind"});
    let refused = world.post(NINA, path, why.clone()).await;
    assert_eq!(refused.status, 403);
    let back = world.post(ADA, path, why).await;
    assert_eq!(back.status, 200, "{}", back.body);
    assert!(world.may(SAM, "acme/sentiment").await);
    let events = back.body["events"].as_array().unwrap();
    let last = events.last().unwrap();
    assert_eq!(
        (&last["step"], &last["emergency"], &last["reason"]),
        (
            &json!("rolled_back"),
            &json!(true),
            &json!("support is blind")
        )
    );
    let history = Ledger::read(world.ledger.dir()).unwrap();
    let history = history.history(&spanner_ledger::Selection::new()).unwrap();
    let emergency = history
        .approvals
        .iter()
        .flat_map(|it| &it.steps)
        .any(|it| it.emergency);
    assert!(emergency, "{history:?}");
}

#[tokio::test]
async fn approvals_become_void_when_their_terms_change() {
    let caller = "[roles]\ncaller = [\"view\", \"infer\", \"download\"]\n";
    let edits: [(&str, String, u8); 7] = [
        ("roles", format!("{ORGANIZATION}{caller}"), 2),
        (
            "the rule",
            ORGANIZATION.replace("approvals = 2", "approvals = 3"),
            3,
        ),
        (
            "the rule",
            ORGANIZATION.replace("approvals = 2", "approvals = 1"),
            1,
        ),
        (
            "the rule",
            ORGANIZATION.replace(
                "approvers = [\"group:gov\"]",
                "approvers = [\"group:root\"]",
            ),
            2,
        ),
        (
            "the rule",
            format!("{ORGANIZATION}existing = \"refuse\"\n"),
            2,
        ),
        (
            "who gains",
            ORGANIZATION.replace(
                "admin = [\"group:root\"]",
                "admin = [\"group:root\"]\nreader = [\"group:support\"]",
            ),
            2,
        ),
        ("guardrail", ORGANIZATION.to_owned(), 2),
    ];
    for (what, organization, needed) in edits {
        let world = World::new().await;
        let id = world.propose().await;
        for who in [OMAR, PIA] {
            assert_eq!(world.step(who, &id, "approve", json!({})).await.status, 200);
        }
        if what == "guardrail" {
            let text = "@id(\"no-delete\") @reason(\"kept\") forbid (principal, action == Spanner::Action::\"delete\", resource);";
            write(world.dir.path(), "access/policies/delete.cedar", text);
        }
        write(world.dir.path(), "access/organization.toml", &organization);
        world.promotions.reload().await.unwrap();

        let shown = world.get(NINA, &format!("promotions/{id}")).await;
        assert_eq!(shown.body["approvals"], json!([]), "{what}");
        assert_eq!(shown.body["approvals_needed"], needed, "{what}");
        let because = shown.body["approvals_void"]["because"].as_str().unwrap();
        assert!(because.contains(what), "{what}: {because}");
        let void = shown.body["approvals_void"]["by"].as_array().unwrap();
        assert_eq!(void.len(), 2, "{what}");
        let events = shown.body["events"].as_array().unwrap();
        assert_eq!(events.last().unwrap()["step"], "voided", "{what}");
        let refused = world.step(NINA, &id, "promote", json!({})).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["title"]),
            (409, &json!("approvals_void")),
            "{what}"
        );
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(because), "{what}: {detail}");
        assert!(!world.may(SAM, "acme/sentiment").await, "{what}");

        // The approvals remain void after a restart, and after the change is reverted.
        write(world.dir.path(), "access/organization.toml", ORGANIZATION);
        let _ = std::fs::remove_file(world.dir.path().join("access/policies/delete.cedar"));
        let world = world.again().await;
        let refused = world.step(NINA, &id, "promote", json!({})).await;
        assert_eq!(refused.body["title"], "approvals_void", "{what}");
        for who in [OMAR, PIA] {
            let again = world.step(who, &id, "approve", json!({})).await;
            assert_eq!(again.status, 200, "{what}: {}", again.body);
        }
        let promoted = world.step(NINA, &id, "promote", json!({})).await;
        assert_eq!(promoted.status, 200, "{what}: {}", promoted.body);
        assert!(world.may(SAM, "acme/sentiment").await, "{what}");
    }
}

#[tokio::test]
async fn approvals_survive_unrelated_changes() {
    let world = World::new().await;
    let id = world.propose().await;
    for who in [OMAR, PIA] {
        assert_eq!(world.step(who, &id, "approve", json!({})).await.status, 200);
    }
    let organization = format!("{ORGANIZATION}[roles]\nlistener = [\"list\"]\n");
    write(world.dir.path(), "access/organization.toml", &organization);
    let other = OLD.replace("acme/old", "acme/other");
    write(world.dir.path(), "access/models/acme/other.toml", &other);
    let text = "@id(\"other\") @reason(\"away\") forbid (principal, action, resource in Spanner::Model::\"acme/other\");";
    write(world.dir.path(), "access/policies/other.cedar", text);
    world.promotions.reload().await.unwrap();
    let promoted = world.step(NINA, &id, "promote", json!({})).await;
    assert_eq!(promoted.status, 200, "{}", promoted.body);
}

#[tokio::test]
async fn refuses_an_approval_of_other_terms() {
    let world = World::new().await;
    let id = world.propose().await;
    let shown = world.get(OMAR, &format!("promotions/{id}")).await;
    let wrong = json!({"terms": format!("sha256:{}", "0".repeat(64))});
    let answer = world.step(OMAR, &id, "approve", wrong).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["title"]),
        (409, &json!("changed"))
    );
    let right = json!({"terms": shown.body["terms"]["digest"]});
    let answer = world.step(OMAR, &id, "approve", right).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn an_approval_becomes_void_when_another_promotion_replaces_its_base() {
    let world = World::new().await;
    let late = world.propose().await;
    assert_eq!(
        world.step(OMAR, &late, "approve", json!({})).await.status,
        200
    );
    world.promoted().await;
    let shown = world.get(NINA, &format!("promotions/{late}")).await;
    assert_eq!(shown.body["approvals"], json!([]));
    let because = &shown.body["approvals_void"]["because"];
    assert!(
        because.as_str().unwrap().contains("another promotion"),
        "{because}"
    );
}

#[tokio::test]
async fn rejected_and_withdrawn_promotions_accept_no_steps() {
    let world = World::new().await;
    for (who, step, body, due) in [
        (OMAR, "reject", json!({"reason": "not yet"}), "rejected"),
        (NINA, "withdraw", json!({}), "withdrawn"),
    ] {
        let id = world.propose().await;
        let others = world
            .step("user:nils:nlp", &id, "withdraw", json!({}))
            .await;
        assert_eq!(others.body["title"], "not_the_proposer");
        let answer = world.step(who, &id, step, body).await;
        assert_eq!(answer.body["standing"], due, "{}", answer.body);
        let late = world.step(PIA, &id, "approve", json!({})).await;
        assert_eq!(
            (late.status.as_u16(), &late.body["title"]),
            (409, &json!("promotion_is_over"))
        );
    }
    let open = world.get(NINA, "promotions?standing=open").await;
    assert_eq!(open.body["promotions"], json!([]));
    let all = world.get(NINA, "promotions?environment=production").await;
    assert_eq!(all.body["promotions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn refuses_a_promotion_whose_base_was_replaced() {
    let world = World::new().await;
    let late = world.propose().await;
    world.promoted().await;
    let answer = world.step(OMAR, &late, "approve", json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["title"]),
        (409, &json!("superseded"))
    );
}

#[tokio::test]
async fn each_step_is_recorded_in_its_target_environment() {
    let world = World::new().await;
    let id = world.propose().await;
    let refused = world.step(NINA, &id, "approve", json!({})).await;
    let approved = world.step(OMAR, &id, "approve", json!({})).await;
    world.ledger.close().unwrap();
    for (answer, effect, who) in [(&refused, "deny", "nina"), (&approved, "allow", "omar")] {
        let id = header(answer, "spanner-decision");
        let decisions = world.entries().into_iter().filter_map(|entry| match entry {
            Entry::Decision(decision) if decision.id.to_string() == id => Some(decision),
            _ => None,
        });
        let decisions: Vec<_> = decisions.collect();
        let [decision] = &decisions[..] else {
            panic!("{id}")
        };
        assert_eq!(serde_json::to_value(decision.effect).unwrap(), effect);
        assert_eq!(decision.environment, "production");
        assert_eq!(decision.caller.as_ref().unwrap().subject.subject, who);
        assert_eq!(decision.target[0].model.as_deref(), Some("acme/sentiment"));
        assert_eq!(decision.target[0].action.as_str(), "approve");
        assert!(decision.parent.is_some());
    }
    let words: Vec<String> = world
        .entries()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(event.event),
            _ => None,
        })
        .filter(|word| word.starts_with("promotion"))
        .collect();
    let due = [
        "promotion.adopted",
        "promotions.kept",
        "promotion.proposed",
        "promotion.approved",
    ];
    assert_eq!(words, due);
}

#[tokio::test]
async fn a_caller_sees_only_permitted_models_and_promotions() {
    let world = World::new().await;
    let models = world.get(SAM, "models").await;
    let due = json!([{"model": "acme/old", "owner": "group:corp/nlp", "environments": [{
        "environment": "production",
        "in_force": true,
        "promotion": models.body["models"][0]["environments"][0]["promotion"],
        "revision": null,
    }]}]);
    assert_eq!(models.body["models"], due);
    assert!(models.body["models"][0]["environments"][0]["promotion"].is_string());
    let denied = world.get(SAM, "models/acme/sentiment/access").await;
    assert_eq!(
        (denied.status.as_u16(), header(&denied, "spanner-fault")),
        (403, "permission")
    );
    let unknown = world.get(SAM, "models/acme/nothing/access").await;
    assert_eq!(unknown.status, 403);

    let access = world
        .get(NINA, "models/acme/sentiment/access?environment=staging")
        .await;
    let grants = access.body["grants"].as_array().unwrap();
    let told: Vec<(&str, &str)> = grants
        .iter()
        .map(|grant| {
            (
                grant["holder"].as_str().unwrap(),
                grant["role"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("group:corp/qa", "caller"),
            ("group:corp/nlp", "maintainer")
        ]
    );
}

#[tokio::test]
async fn explains_to_each_caller_only_what_it_may_know() {
    let world = World::new().await;
    let asked = json!({"model": "acme/old", "action": "delete"});
    let own = world.post(SAM, "explain", asked.clone()).await;
    assert_eq!(own.body["effect"], "deny");
    assert_eq!(own.body["parties"][0]["lacks_role"], "maintainer");
    assert_eq!(own.body["parties"][0]["ask"], "group:corp/nlp");
    assert_eq!(own.body["parties"][0].get("explanation"), None);
    assert!(own.body["parties"][0]["promotion"].is_string());
    let about = json!({"model": "acme/old", "action": "generate", "caller": "user:corp/sam",
        "groups": ["support"], "actor": "agent:corp/copilot"});
    let refused = world.post(SAM, "explain", about.clone()).await;
    assert_eq!(refused.status, 403);
    let told = world.post(ADA, "explain", about).await;
    assert_eq!(told.status, 200, "{}", told.body);
    assert_eq!(told.body["effect"], "deny");
    assert_eq!(told.body["parties"][0]["effect"], "allow");
    assert_eq!(told.body["parties"][1]["party"], "agent:corp/copilot");
    let text = told.body["parties"][1]["text"].as_str().unwrap();
    assert!(text.contains("the role caller would allow it"), "{text}");
}

/// A response without the parts that differ between requests.
fn told(answer: &Answer, name: &str, id: &str) -> (u16, Vec<String>, String) {
    let decision = answer.headers.get("spanner-decision");
    let decision = decision.map_or("", |it| it.to_str().unwrap());
    let masked = |text: String| {
        let text = text.replace(name, "NAME").replace(id, "ID");
        match decision {
            "" => text,
            decision => text.replace(decision, "DECISION"),
        }
    };
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .map(|(key, value)| masked(format!("{key}: {value:?}")))
        .collect();
    headers.sort();
    (
        answer.status.as_u16(),
        headers,
        masked(answer.body.to_string()),
    )
}

#[tokio::test]
async fn answers_hidden_models_and_promotions_like_missing_ones() {
    let world = World::new().await;
    let promoted = world.promoted().await;
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    world.promotions.reload().await.unwrap();
    let open = world.propose().await;
    let text = "@id(\"hidden\") @reason(\"a secret\") forbid (principal, action, resource in Spanner::Model::\"acme/sentiment\");
";
    write(world.dir.path(), "access/policies/hidden.cedar", text);
    let robots = OLD.replace("acme/old", "acme/robots").replace(
        "[grants.production]",
        "[grants.staging]\nmaintainer = [\"service:robot\"]\n[grants.production]",
    );
    write(world.dir.path(), "access/models/acme/robots.toml", &robots);
    world.promotions.reload().await.unwrap();
    let none = "019a3c5e-0000-7000-8000-000000000000";
    let stranger = "user:eve:";
    for environment in ["staging", "production"] {
        for action in ["list", "read", "generate", "delete", "promote", "approve"] {
            let ask =
                |model: &str| json!({"model": model, "action": action, "environment": environment});
            let hidden = world.post(stranger, "explain", ask("acme/sentiment")).await;
            let unknown = world.post(stranger, "explain", ask("acme/nothingxx")).await;
            assert_eq!(
                told(&hidden, "acme/sentiment", none),
                told(&unknown, "acme/nothingxx", none),
                "{environment} {action}"
            );
        }
    }
    let body = |text: &str| text.as_bytes().to_vec();
    let rows: [(&str, &str, Vec<u8>); 8] = [
        ("GET", "models/NAME/access", Vec::new()),
        ("GET", "models/NAME/access?environment=staging", Vec::new()),
        ("GET", "models/NAME/history", Vec::new()),
        ("GET", "models/NAME/history?environment=staging", Vec::new()),
        (
            "POST",
            "models/NAME/rollback",
            body(r#"{"environment": "production", "reason": "x"}"#),
        ),
        (
            "POST",
            "models/NAME/rollback",
            body(r#"{"environment": "production", "emergency": "x"}"#),
        ),
        (
            "POST",
            "promotions",
            body(r#"{"model": "NAME", "environment": "production"}"#),
        ),
        (
            "POST",
            "explain",
            body(r#"{"model": "NAME", "action": "read", "caller": "user:corp/x"}"#),
        ),
    ];
    for (method, path, body) in rows {
        let mut answers = Vec::new();
        for name in ["acme/sentiment", "acme/nothingxx"] {
            let body = String::from_utf8(body.clone())
                .unwrap()
                .replace("NAME", name);
            let path = path.replace("NAME", name);
            let answer = world.send(stranger, method, &path, body.as_bytes()).await;
            assert!(answer.status.as_u16() >= 400, "{path}");
            answers.push(told(&answer, name, none));
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
    for (step, body) in [
        ("", json!({})),
        ("/approve", json!({})),
        ("/reject", json!({"reason": "no"})),
        ("/withdraw", json!({})),
        ("/promote", json!({})),
        ("/promote", json!({"emergency": "now"})),
    ] {
        // Callers that are responsible for no model, and for another model.
        for (who, status) in [(stranger, 403), ("service:robot:", 404)] {
            for id in [&promoted, &open] {
                let mut answers = Vec::new();
                for id in [id.as_str(), none] {
                    let path = format!("promotions/{id}{step}");
                    let answer = match step {
                        "" => world.get(who, &path).await,
                        _ => world.post(who, &path, body.clone()).await,
                    };
                    assert_eq!(answer.status, status, "{path}");
                    answers.push(told(&answer, "acme/sentiment", id));
                }
                assert_eq!(answers[0], answers[1], "{step}");
            }
        }
    }
    let list = world.get(stranger, "promotions").await;
    assert_eq!(list.body["promotions"], json!([]));
}

#[tokio::test]
async fn shows_guardrails_only_to_callers_responsible_for_the_model() {
    let world = World::new().await;
    world.promoted().await;
    for (id, model) in [
        ("about-it", "acme/sentiment"),
        ("about-another", "acme/old"),
    ] {
        let text = format!(
            "@id(\"{id}\") @reason(\"since {id}\") forbid (principal, action == Spanner::Action::\"delete\", resource in Spanner::Model::\"{model}\");"
        );
        write(
            world.dir.path(),
            &format!("access/policies/{id}.cedar"),
            &text,
        );
    }
    world.promotions.reload().await.unwrap();
    let path = "models/acme/sentiment/access?environment=production";
    let plain = world.get(SAM, path).await;
    assert_eq!(plain.status, 200);
    assert_eq!(plain.body["guardrails"], Value::Null);
    assert!(!plain.body.to_string().contains("about-"), "{}", plain.body);
    let full = world.get(ADA, path).await;
    let guardrails = full.body["guardrails"].as_array().unwrap();
    let ids: Vec<&str> = guardrails
        .iter()
        .map(|it| it["policy"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["about-it"]);
}

#[tokio::test]
async fn refuses_invisible_reasons() {
    let world = World::new().await;
    let id = world.propose().await;
    for nothing in [
        "\u{200b}\u{2060}",
        "\u{3164}",
        "\u{200e} \u{fe0f}",
        "\u{2003}",
    ] {
        for (who, path, body) in [
            (
                ADA,
                format!("promotions/{id}/promote"),
                json!({"emergency": nothing}),
            ),
            (
                OMAR,
                format!("promotions/{id}/reject"),
                json!({"reason": nothing}),
            ),
            (
                ADA,
                "models/acme/old/rollback".to_owned(),
                json!({"environment": "production", "emergency": nothing}),
            ),
        ] {
            let answer = world.post(who, &path, body).await;
            assert_eq!(answer.status, 400, "{path} {nothing:?}: {}", answer.body);
            assert_eq!(answer.body["title"], "no_reason", "{path} {nothing:?}");
        }
    }
    let turned = json!({"reason": "fine \u{202e}enif"});
    let answer = world.step(OMAR, &id, "reject", turned).await;
    assert_eq!(answer.status, 400);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("U+202E"), "{detail}");
    let shown = world.get(NINA, &format!("promotions/{id}")).await;
    assert_eq!(shown.body["standing"], "open");
}

/// A manifest that grants access to a number of services.
fn crowd(services: usize) -> String {
    let names: Vec<String> = (0..services)
        .map(|n| format!("\"service:s{n:05}\""))
        .collect();
    format!("{MANIFEST}admin = [{}]\n", names.join(", "))
}

/// A manifest with a comment of a given size.
fn padded(bytes: usize) -> String {
    format!("{MANIFEST}# {}\n", "x".repeat(bytes))
}

#[tokio::test]
async fn refuses_a_manifest_that_is_too_large_and_names_the_limit() {
    let world = World::new().await;
    let body = json!({"model": "acme/sentiment", "environment": "production"});
    // The first does not fit with its change in access, the second not even on its own.
    for (manifest, title) in [
        (crowd(6_500), "step_too_large"),
        (padded(256 * 1024), "manifest_too_large"),
    ] {
        world.edit(&manifest);
        world.promotions.reload().await.unwrap();
        let answer = world.post(NINA, "promotions", body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["title"]),
            (413, &json!(title)),
            "{}",
            answer.body
        );
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(" bytes"), "{detail}");
    }
    world.edit(MANIFEST);
    world.promotions.reload().await.unwrap();
    world.promoted().await;
}

#[tokio::test]
async fn limits_the_number_of_open_promotions() {
    let world = World::new().await;
    let body = json!({"model": "acme/sentiment", "environment": "production"});
    for _ in 0..100 {
        assert_eq!(
            world.post(NINA, "promotions", body.clone()).await.status,
            201
        );
    }
    let over = world.post(NINA, "promotions", body.clone()).await;
    assert_eq!(
        (over.status.as_u16(), &over.body["title"]),
        (409, &json!("too_many_open"))
    );
    let others = "user:nils:nlp";
    let answer = world.post(others, "promotions", body.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let open = world.get(NINA, "promotions?standing=open").await;
    let first = open.body["promotions"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        world.step(NINA, &first, "withdraw", json!({})).await.status,
        200
    );
    assert_eq!(world.post(NINA, "promotions", body).await.status, 201);
}

#[tokio::test]
async fn limits_the_total_size_of_open_promotions() {
    let world = World::new().await;
    world.edit(&padded(200 * 1024));
    world.promotions.reload().await.unwrap();
    let body = json!({"model": "acme/sentiment", "environment": "production"});
    let mut proposed = 0;
    let over = loop {
        let answer = world.post(NINA, "promotions", body.clone()).await;
        if answer.status != 201 {
            break answer;
        }
        proposed += 1;
    };
    assert_eq!(over.body["title"], "too_many_open", "{}", over.body);
    // The limit is 8 MiB in total.
    assert!((35..42).contains(&proposed), "{proposed}");
}

#[tokio::test]
async fn a_deleted_group_loses_its_grants_and_no_other_holder_does() {
    let world = World::new().await;
    let organization = ORGANIZATION.replace("\"support\", ", "");
    let manifest = MANIFEST.replace("group:support", "group:qa");
    let production = "user:quinn:qa";
    world.edit(&MANIFEST.replace("\"group:support\"", "\"group:support\", \"group:qa\""));
    world.promotions.reload().await.unwrap();
    world.promoted().await;
    assert!(world.may(SAM, "acme/sentiment").await);

    write(world.dir.path(), "access/organization.toml", &organization);
    write(
        world.dir.path(),
        "access/models/acme/old.toml",
        &OLD.replace("support", "qa"),
    );
    world.edit(&manifest);
    world.promotions.reload().await.unwrap();
    let world = world.again().await;
    assert!(!world.may(SAM, "acme/sentiment").await);
    assert!(!world.may(SAM, "acme/old").await);
    assert!(world.may(production, "acme/sentiment").await);
    let void = world.cedar.status().void;
    let models: Vec<&str> = void.iter().map(|it| it.model.as_str()).collect();
    assert_eq!(models, ["acme/old", "acme/sentiment"]);
    let told = void[1].to_string();
    assert!(
        told.contains("`group:support`") && told.contains("production"),
        "{told}"
    );
    assert_eq!(world.cedar.review().hygiene.void.len(), 2);
}

#[tokio::test]
async fn counts_models_in_force_without_approval() {
    let world = World::new().await;
    let production = "production".parse().unwrap();
    assert_eq!(world.promotions.unapproved()[&production], 1);
    world.promoted().await;
    assert_eq!(world.promotions.unapproved()[&production], 1);
    let world = world.again().await;
    assert_eq!(world.promotions.unapproved()[&production], 1);
    let (history, _) = spanner_admin::promotions_in(Ledger::read(world.ledger.dir()).unwrap())
        .await
        .unwrap();
    let review = world.cedar.review().with_history(&history);
    let due = Some(vec!["production acme/old".to_owned()]);
    assert_eq!(review.hygiene.unapproved, due);
    // A new ledger has no promotions, so everything would be adopted.
    let new = Cedar::from_dir(world.dir.path().join("access")).unwrap();
    let review = new.review().with_history(&Default::default());
    let due = ["production acme/old", "production acme/sentiment"];
    assert_eq!(review.hygiene.unapproved.unwrap(), due);

    let dir = tempfile::tempdir().unwrap();
    let strict = format!("{ORGANIZATION}existing = \"refuse\"\n");
    write(dir.path(), "access/organization.toml", &strict);
    write(dir.path(), "access/models/acme/old.toml", OLD);
    let world = World::open(dir).await;
    assert_eq!(world.promotions.unapproved()[&production], 0);
}

#[tokio::test]
async fn records_failed_steps() {
    let world = World::new().await;
    let id = world.propose().await;
    let unlisted = world.step(ADA, &id, "approve", json!({})).await;
    assert_eq!(unlisted.body["title"], "not_an_approver");
    let emergency = world
        .step(NINA, &id, "promote", json!({"emergency": "now"}))
        .await;
    assert_eq!(emergency.status, 403);
    let reason = json!({"environment": "production", "reason": "again"});
    let nothing = world.post(ADA, "models/acme/old/rollback", reason).await;
    assert_eq!(nothing.body["title"], "promotion_is_over");
    world.ledger.close().unwrap();
    let rows = Ledger::read(world.ledger.dir()).unwrap();
    let rows = rows.select(&spanner_ledger::Selection::new()).unwrap();
    let said = |answer: &Answer| {
        let id = header(answer, "spanner-decision");
        let step = rows
            .iter()
            .find(|row| row.decision.id.to_string() == id)
            .unwrap();
        let parent = step.decision.parent.unwrap();
        let request = rows.iter().find(|row| row.decision.id == parent).unwrap();
        [request, step].map(|row| {
            let outcome = row.outcome.as_ref().unwrap();
            let effect = serde_json::to_value(row.decision.effect).unwrap();
            format!(
                "{} {} {} {} {}",
                effect.as_str().unwrap(),
                row.decision.reason,
                outcome.class.as_str(),
                outcome.status.unwrap(),
                outcome.reason.as_deref().unwrap_or("-"),
            )
        })
    };
    assert_eq!(
        said(&unlisted),
        [
            "allow admitted refused 403 not_an_approver",
            "allow granted refused 403 not_an_approver"
        ]
    );
    assert_eq!(
        said(&emergency),
        [
            "allow admitted refused 403 authz.no_permit",
            "deny authz.no_permit refused 403 -"
        ]
    );
    assert_eq!(
        said(&nothing),
        [
            "allow admitted refused 409 promotion_is_over",
            "allow granted refused 409 promotion_is_over"
        ]
    );
}

#[tokio::test]
async fn reading_a_promotion_is_not_a_use_of_its_model() {
    let world = World::new().await;
    let id = world.promoted().await;
    for path in [
        format!("promotions/{id}"),
        "models/acme/sentiment/history".to_owned(),
        "models/acme/sentiment/access".to_owned(),
    ] {
        assert_eq!(world.get(SAM, &path).await.status, 200, "{path}");
    }
    world.ledger.close().unwrap();
    let reader = Ledger::read(world.ledger.dir()).unwrap();
    let history = reader.history(&spanner_ledger::Selection::new()).unwrap();
    for approval in &history.approvals {
        assert_eq!((approval.served, approval.callers.len()), (0, 0));
    }
}

#[tokio::test]
async fn reports_bad_input_and_changes_nothing() {
    let world = World::new().await;
    let model = "acme/sentiment";
    let rows: [(&str, &str, &[u8], u16, &str); 13] = [
        ("GET", "promotions?standing=AAA", b"", 400, "standing"),
        ("POST", "promotions", b"", 400, "body"),
        ("POST", "promotions", b"{", 400, "body"),
        ("POST", "promotions", b"[]", 400, "body"),
        (
            "POST",
            "promotions",
            br#"{"model":"a","model":"b","environment":"production"}"#,
            400,
            "body",
        ),
        (
            "POST",
            "promotions",
            br#"{"model":"acme/sentiment","environment":"production","who":1}"#,
            400,
            "body",
        ),
        (
            "POST",
            "promotions",
            br#"{"model":"../x","environment":"production"}"#,
            400,
            "model",
        ),
        (
            "POST",
            "promotions",
            br#"{"model":"acme/sentiment","environment":"production","content":"x"}"#,
            400,
            "content",
        ),
        (
            "POST",
            "promotions",
            br#"{"model":"acme/sentiment","environment":"production","from":"production"}"#,
            409,
            "wrong_origin",
        ),
        (
            "GET",
            "promotions?standing=open&standing=open",
            b"",
            400,
            "query",
        ),
        ("GET", "promotions?state=open", b"", 400, "query"),
        (
            "GET",
            "promotions/00000000-0000-0000-0000-000000000000",
            b"",
            404,
            "unknown_promotion",
        ),
        (
            "GET",
            "models/acme/sentiment/history?environment=moon",
            b"",
            400,
            "environment",
        ),
    ];
    for (method, path, body, status, title) in rows {
        let answer = world.send(NINA, method, path, body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["title"]),
            (status, &json!(title)),
            "{path}"
        );
        assert_eq!(answer.body["status"], status, "{path}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("; "), "{detail}");
    }
    let long = json!({"model": model, "environment": "production", "revision": "v".repeat(70_000)});
    assert_eq!(world.post(NINA, "promotions", long).await.status, 413);
    for reason in [
        "r".repeat(3_000),
        "one\ntwo".to_owned(),
        "one\u{2029}two".to_owned(),
    ] {
        let body = json!({"environment": "production", "reason": reason});
        let answer = world.post(ADA, "models/acme/old/rollback", body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["title"]),
            (400, &json!("reason"))
        );
    }
    let elsewhere = json!({"model": model, "environment": "staging"});
    let answer = world.post(ADA, "promotions", elsewhere).await;
    assert_eq!(answer.body["title"], "no_promotion_rule");
    let missing = json!({"model": "acme/nothing", "environment": "production"});
    let answer = world.post(ADA, "promotions", missing).await;
    assert_eq!(answer.body["title"], "no_manifest");
    assert_eq!(
        world.get(NINA, "promotions").await.body["promotions"],
        json!([])
    );
}

#[tokio::test]
async fn concurrent_steps_lead_to_one_promotion() {
    let world = World::new().await;
    let id = world.propose().await;
    for who in [OMAR, PIA] {
        assert_eq!(world.step(who, &id, "approve", json!({})).await.status, 200);
    }
    let body = json!({});
    let path = format!("promotions/{id}/promote");
    let tries = (0..8).map(|_| world.post(NINA, &path, body.clone()));
    let mut statuses: Vec<u16> = Vec::new();
    let mut tries: Vec<_> = tries.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        tries.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                statuses.push(answer.status.as_u16());
                false
            }
            std::task::Poll::Pending => true,
        });
        if tries.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_broken_directory_does_not_replace_a_working_one() {
    let world = World::new().await;
    let digest = world.cedar.digest();
    world.edit("model = \"acme/sentiment\"\nowner = \"group:nobody\"\n");
    let error = world.promotions.reload().await.unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
    assert_eq!(world.cedar.digest(), digest);
    assert!(world.cedar.status().last_error.is_some());
    assert!(world.may(SAM, "acme/old").await);
}

#[tokio::test]
async fn every_described_route_is_guarded_and_answered() {
    let world = World::new().await;
    let served = world.get("", "openapi.json").await;
    let document: Value = serde_json::from_str(openapi()).unwrap();
    assert_eq!(served.body, document);
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/spanner/v1/").unwrap();
        let path = path.replace("{model}", "acme/sentiment");
        let path = path.replace("{id}", "019a3c5e-0000-7000-8000-000000000000");
        for method in item.as_object().unwrap().keys() {
            let answer = world.send(NINA, &method.to_uppercase(), &path, b"").await;
            let title = answer.body["title"].as_str().unwrap_or_default();
            assert_ne!(title, "route", "{method} {path} has no handler");
            assert!(
                !title.contains("unknown_route"),
                "{method} {path} is not guarded: {title}"
            );
        }
    }
}

#[tokio::test]
async fn refuses_requests_without_a_credential() {
    let world = World::new().await;
    let request = Request::builder()
        .uri("http://localhost/spanner/v1/models")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = world.service.clone().call(request).await.unwrap();
    assert_eq!(response.status(), 401);
    let unguarded = Request::builder()
        .uri("http://localhost/spanner/v1/models")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut admin = Admin::new(world.promotions.clone());
    assert_eq!(admin.call(unguarded).await.unwrap().status(), 500);
}
