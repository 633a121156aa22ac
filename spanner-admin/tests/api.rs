//! The administration behind a guard, as its callers see it.
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
use spanner_admin::{Admin, OPENAPI, Promotions};
use spanner_cedar::Cedar;
use spanner_core::{
    Caller, CallerKind, Group, IssuerAlias, Obstacle, Principal, Refusal, Timestamp,
};
use spanner_ledger::{Entry, Ledger};
use spanner_tower::{Authenticate, BoxFuture, GuardLayer, GuardService};
use tower_layer::Layer;
use tower_service::Service;

/// Whoever the bearer token says: `kind:name:group,group`, or `agent for kind:name:group`.
struct Names;

impl Authenticate for Names {
    fn authenticate<'a>(
        &'a self,
        parts: &'a mut Parts,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Caller, Refusal>> {
        let header = parts.headers.get("authorization");
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let answer = token.map(who).ok_or_else(|| Obstacle::Missing.into());
        Box::pin(async move { answer })
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
    /// A service whose access has one old model in production and, after it has begun to keep
    /// promotions, a new one.
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
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
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

    /// The same after a restart.
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

    /// Proposed, approved twice, promoted.
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

    /// Whether somebody may generate, by the guard's own question.
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
async fn a_model_gets_into_production_with_two_approvals_and_its_access_with_it() {
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
async fn nobody_signs_who_proposed_is_no_person_or_is_not_listed() {
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
async fn what_changes_after_it_was_proposed_is_not_approved_nor_promoted() {
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
async fn whoever_only_reads_a_ledger_learns_what_is_in_force() {
    let world = World::new().await;
    world.promoted().await;
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    let folder = Cedar::from_dir(world.dir.path().join("access")).unwrap();
    let (history, kept) = spanner_admin::promotions_in(world.ledger.dir()).unwrap();
    folder.keep(kept).unwrap();
    assert_eq!(history.promotions().count(), 2);
    let production = "production".parse().unwrap();
    let model = "acme/sentiment".parse().unwrap();
    let manifest = folder.manifest(&model, &production).unwrap();
    assert_eq!(*manifest, *MANIFEST);
}

#[tokio::test]
async fn a_file_that_is_edited_changes_nothing_in_production_and_a_restart_neither() {
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
async fn what_was_in_force_before_is_adopted_and_approved_by_nobody() {
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
async fn an_emergency_takes_an_admin_and_a_reason_and_is_marked() {
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
async fn a_rollback_puts_in_force_what_was_before() {
    let world = World::new().await;
    let first = world.promoted().await;
    world.edit(&MANIFEST.replace("group:support", "group:qa"));
    world.promotions.reload().await.unwrap();
    let second = world.promoted().await;
    assert!(!world.may(SAM, "acme/sentiment").await);
    let reason = json!({"environment": "production", "reason": "support lost it"});
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
    assert!(world.may(SAM, "acme/sentiment").await);
    let shown = world.get(SAM, &format!("promotions/{first}")).await;
    assert_eq!(shown.body["in_force"], true);
    let back = world
        .post(NINA, "models/acme/sentiment/rollback", reason)
        .await;
    assert_eq!(back.status, 200, "{}", back.body);
    assert!(!world.may(SAM, "acme/sentiment").await);
}

#[tokio::test]
async fn rejected_and_withdrawn_are_over() {
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
async fn what_would_come_in_another_place_than_was_shown_is_proposed_anew() {
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
async fn each_step_is_a_decision_of_its_own_where_it_is_about() {
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
async fn a_caller_sees_what_they_may_and_no_more() {
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
async fn explains_to_each_what_they_may_know() {
    let world = World::new().await;
    let asked = json!({"model": "acme/old", "action": "delete"});
    let own = world.post(SAM, "explain", asked.clone()).await;
    assert_eq!(own.body["effect"], "deny");
    assert_eq!(own.body["parties"][0]["lacks_role"], "maintainer");
    assert_eq!(own.body["parties"][0]["ask"], "group:corp/nlp");
    assert_eq!(own.body["parties"][0].get("explanation"), None);
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

#[tokio::test]
async fn bad_input_is_told_and_changes_nothing() {
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
    for reason in ["r".repeat(3_000), "one\ntwo".to_owned()] {
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
async fn steps_at_the_same_time_lead_to_one_promotion() {
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
async fn the_description_has_every_route_and_no_other() {
    let world = World::new().await;
    let served = world.get("", "openapi.json").await;
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(served.body, document);
    let surface = include_str!("../src/api/surface.toml");
    let mut routes: Vec<String> = Vec::new();
    for line in surface.lines().filter(|line| line.contains("method =")) {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let path = quoted[1].replace("{model:enc*}", "{model}");
        routes.push(format!("{} {path}", quoted[0].to_lowercase()));
    }
    let mut told: Vec<String> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        told.extend(methods.map(|method| format!("{method} {path}")));
    }
    routes.sort();
    told.sort();
    assert_eq!(routes, told);
}

#[tokio::test]
async fn nobody_without_a_credential_gets_in() {
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
