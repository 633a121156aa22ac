//! Spanner's decision: access manifests and Cedar guardrails as one indexed policy set.
//!
//! [`Cedar`] is the [`Authorize`](spanner_core::Authorize) that teams use. It answers by an
//! access directory:
//!
//! ```text
//! access/
//!   organization.toml            environments, issuers, groups, roles, default grants, promotions
//!   models/acme/sentiment.toml   one manifest per model: who may do what, in each environment
//!   policies/guardrails.cedar    permits and forbids of the organization, checked by the schema
//!   cases/sentiment.toml         questions with the answers that the access must give
//! ```
//! A manifest may also live in its model's own folder, as `access.toml`
//! ([`Builder::models_dir`]). [`schemas`] are for editors.
//!
//! 1. Nothing is allowed that no grant or permit allows, and a forbid outweighs them all.
//! 2. A grant gives a *role* (a set of actions) to a principal, on one model in one
//!    environment, or on every model (in `organization.toml`). Principals are
//!    `group:corp/nlp`, `role:corp/realm:admin` (a role that the issuer gives),
//!    `user:corp/alice`, `service:…`, `agent:…`: always of one issuer, whose alias may be
//!    left out where there is only one.
//! 3. Guardrails are Cedar policies with an `@id`, forbids with a `@reason`, which reaches
//!    whoever is refused, as does `@advice`. With `@mode("shadow")` a guardrail changes
//!    nothing, and where it would have, records say so. A forbid that another credential
//!    would satisfy names it: `@step_up_acr("urn:example:mfa")` and
//!    `@step_up_max_age("300")` a sign-in (RFC 9470), `@scope("models.infer")` OAuth scopes
//!    (RFC 6750 §3.1). Where nothing else refuses, the reply asks for it.
//! 4. A guardrail that cannot be evaluated refuses; Cedar by itself would skip it. So does a
//!    forbid that depends on groups which the credential does not list.
//! 5. A directory is put in force whole or not at all. Every problem is told at once, with
//!    file, line, column and what to do ([`LoadError`]); on [`Cedar::reload`] the last good
//!    access stays. Manifests in the models' own folders can fail alone
//!    ([`Builder::broken_manifests`]).
//! 6. Whoever `[promotion.X]` lists among its `approvers` holds the role `approver` in `X` on
//!    every model.
//! 7. A name means what the surfaces of the guards read ([`Builder::spelling`]). One that no
//!    request is about is a problem that names the spelling that is.
//! 8. No two groups look alike, and no text has an invisible character. Reviews and
//!    explanations write the code points of what could be taken for another name.
//! 9. The answer is exactly plain Cedar's over all grants (as links of templates) and
//!    guardrails, but what is looked at for one question does not grow with the models.
//!
//! ```
//! use spanner_cedar::Cedar;
//! use spanner_core::*;
//!
//! let cedar = Cedar::from_files([
//!     ("organization.toml", r#"
//!         environments = ["staging", "production"]
//!         issuers = ["corp"]
//!         groups = ["nlp", "support"]
//!     "#),
//!     ("models/acme/sentiment.toml", r#"
//!         model = "acme/sentiment"
//!         owner = "group:nlp"
//!         [grants.production]
//!         caller = ["group:support"]
//!     "#),
//!     ("policies/guardrails.cedar", r#"
//!         @id("old-credential") @reason("the credential is older than a week")
//!         forbid (principal, action, resource in Spanner::Environment::"production")
//!         when { context.tokenAgeSeconds > 604800 };
//!     "#),
//! ])?;
//!
//! let issuer = IssuerAlias::new("corp")?;
//! let ann = Principal::new(issuer.clone(), CallerKind::User, SubjectId::new("ann")?);
//! let ann = Caller::assertion(ann).groups([Group::new(issuer, GroupName::new("support")?)]).caller()?;
//! let (model, here) = (Resource::model(ModelName::new("acme/sentiment")?), Environment::new("production")?);
//! let context = Context::of(&ann, "2026-01-01T00:00:00Z".parse()?);
//! let ask = |action| cedar.authorize(&[Question::new(&ann, ann.subject(), action, &model, &here, &context)]);
//!
//! let generate = &ask(Action::Generate).verdicts[0];
//! assert_eq!(*generate.policies[0], *"grant/production/acme/sentiment/caller/group:corp/support");
//! let delete = &ask(Action::Delete).verdicts[0];
//! assert_eq!(delete.effect, Effect::Deny);
//! assert_eq!(delete.advice.role.as_deref(), Some("maintainer"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guardrails
//! They may read what this schema has, and do no arithmetic:
//! ```cedar
#![doc = include_str!("schema.cedarschema")]
//! ```
//!
//! # Before a change
//! [`Cedar::test_cases`] asks what must stay so; [`Cedar::diff`] tells who gains and loses
//! what; [`Cedar::replay`] decides again what was really asked; [`Cedar::shadow`] lets a
//! candidate answer beside the access in force, and records tell where it would have decided
//! otherwise. [`Cedar::review`] is the whole matrix, and [`Cedar::explain`] one answer with
//! everything that led to it.
//!
//! # Caveats
//! A credential of unknown age has `tokenAgeSeconds` 0; a guardrail that must refuse it asks
//! for `context.tokenAgeKnown`. A sign-in of unknown age counts as older than any. A
//! guardrail may name a model that has no manifest, and a guardrail or grant an issuer's
//! role that nobody has: there is no list to check these names against. A review lists such
//! models, with a name that is near. `tenant` and
//! `origin` are there only where the credential tells: a guardrail asks
//! `context has tenant && context.tenant == "…"`.
//! Whoever calls through an agent is also asked about with `delegationDepth` 0: a permit
//! for delegated calls only gives an agent nothing that its principal has not.
//!
//! # Security
//! Who can write the directory decides who may do what. An [`Explanation`] names models,
//! owners and holders: it is for those who run the service, not for callers.

pub mod cases;
mod cedar;
mod decide;
mod diff;
mod documents;
mod explain;
mod fact;
mod grant;
mod guardrail;
mod holder;
mod index;
mod load;
mod names;
mod promotion;
#[cfg(feature = "prove")]
mod prove;
mod replay;
mod review;
mod role;
mod schema;
pub mod schemas;
mod spelling;
mod terms;
#[cfg(test)]
mod tests;

pub use cases::Cases;
pub use cedar::{Builder, Cedar, Status, UnreachableName};
pub use diff::{Change, Difference, RuleChange};
pub use explain::{Deciding, Explanation, ExplanationJson, PolicyJson, Remedy};
pub use load::{BrokenManifests, LoadError, Problem};
pub use promotion::{Existing, Promoted, PromotedManifests, PromotionRule, VoidGrant};
#[cfg(feature = "prove")]
pub use prove::{Counterexample, Proof, ProveError, Solver, Unproved, prove};
pub use replay::{Again, Changed, Judged, Replay};
pub use review::{Emergency, Governed, Granted, Guarding, Hygiene, Review, Usage};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
