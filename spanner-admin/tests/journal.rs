//! Promotions of several processes that share a journal.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::path::Path;

use spanner_admin::{Preconditions, Promotions, ProposalRequest, StepError};
use spanner_cedar::Cedar;
use spanner_core::journal::JournalError;
use spanner_core::promotion::{Promotion, StepFault};
use spanner_core::testing::{MemoryJournal, MemorySink, Rules};
use spanner_core::{
    Action, Arrival, Caller, CallerKind, Environment, Gate, Group, ModelName, Permit, Principal,
    Resource, Target,
};
use spanner_tower::SystemHost;
use tempfile::TempDir;

const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
issuers = ["corp"]
groups = ["nlp", "support", "gov"]
[promotion.production]
from = "staging"
approvers = ["group:gov"]
existing = "refuse"
"#;

const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:nlp"
[grants.staging]
caller = ["group:support"]
[grants.production]
caller = ["group:support"]
"#;

/// Two processes with the same access configuration and the same journal.
struct World {
    journal: MemoryJournal,
    one: Promotions,
    other: Promotions,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "organization.toml", ORGANIZATION);
        write(dir.path(), "models/acme/sentiment.toml", MANIFEST);
        let journal = MemoryJournal::new();
        let open = || Cedar::from_dir(dir.path()).unwrap();
        let one = Promotions::open(open(), journal.clone()).await.unwrap();
        let other = Promotions::open(open(), journal.clone()).await.unwrap();
        Self {
            journal,
            one,
            other,
            _dir: dir,
        }
    }

    /// A promotion that was proposed in one process and approved in the other.
    async fn approved(&self) -> Promotion {
        let request = ProposalRequest::new(model(), production());
        let permit = permit("nina", "nlp", Action::Promote).await;
        let proposed = self.one.propose(request, permit).await.unwrap();
        let permit = permit_to_approve().await;
        let expected = Preconditions::default();
        let approved = self.other.approve(proposed.id(), expected, permit).await;
        approved.unwrap()
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn model() -> ModelName {
    "acme/sentiment".parse().unwrap()
}

fn production() -> Environment {
    "production".parse().unwrap()
}

async fn permit(name: &str, group: &str, action: Action) -> Permit {
    let issuer = || "corp".parse().unwrap();
    let principal = Principal::new(issuer(), CallerKind::User, name.parse().unwrap());
    let groups = [Group::new(issuer(), group.parse().unwrap())];
    let caller = Caller::assertion(principal)
        .groups(groups)
        .caller()
        .unwrap();
    let rules = Rules::allow(|_| true);
    let gate = Gate::new("chat", production(), rules, MemorySink::new(), SystemHost);
    let target = Target::one(action, Resource::model(model()));
    let decided = gate.open(Arrival::new()).decide(caller, target);
    decided.recorded().await.unwrap()
}

async fn permit_to_approve() -> Permit {
    permit("omar", "gov", Action::Approve).await
}

#[tokio::test]
async fn applies_steps_of_another_process() {
    let world = World::new().await;
    let following = tokio::spawn({
        let other = world.other.clone();
        async move { other.follow().await }
    });
    let approved = world.approved().await;
    let permit = permit("nina", "nlp", Action::Promote).await;
    world
        .one
        .promote(approved.id(), None, permit)
        .await
        .unwrap();
    while world
        .other
        .access()
        .manifest(&model(), &production())
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    following.abort();
}

#[tokio::test]
async fn one_of_two_concurrent_promotions_succeeds() {
    let world = World::new().await;
    let approved = world.approved().await;
    let (first, second) = (
        permit("nina", "nlp", Action::Promote).await,
        permit("olga", "nlp", Action::Promote).await,
    );
    let (one, other) = tokio::join!(
        world.one.promote(approved.id(), None, first),
        world.other.promote(approved.id(), None, second),
    );
    let refused = match (one, other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("{both:?}"),
    };
    assert!(
        matches!(refused, StepError::Fault(StepFault::Standing(_))),
        "{refused}"
    );
}

#[tokio::test]
async fn an_unacknowledged_step_counts_if_the_journal_contains_it() {
    let world = World::new().await;
    world.journal.lose_acknowledgements(true);
    let request = ProposalRequest::new(model(), production());
    let permit = permit("nina", "nlp", Action::Promote).await;
    let lost = world.one.propose(request, permit).await;
    assert!(
        matches!(
            lost,
            Err(StepError::Record(JournalError::Unacknowledged { .. }))
        ),
        "{lost:?}"
    );
    world.journal.lose_acknowledgements(false);
    let count = world
        .one
        .with_history(|history| history.promotions().count());
    assert_eq!(count.await.unwrap(), 1);
}

#[tokio::test]
async fn refuses_steps_while_the_journal_is_unavailable() {
    let world = World::new().await;
    world.journal.fail(Some(JournalError::Unavailable {
        reason: "no route to host".to_owned(),
    }));
    let request = ProposalRequest::new(model(), production());
    let permit = permit("nina", "nlp", Action::Promote).await;
    let refused = world.one.propose(request, permit).await.unwrap_err();
    assert!(
        refused.to_string().contains("no route to host"),
        "{refused}"
    );
    world.journal.fail(None);
    let count = world
        .one
        .with_history(|history| history.promotions().count());
    assert_eq!(count.await.unwrap(), 0);
}
