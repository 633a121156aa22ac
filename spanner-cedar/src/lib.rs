//! Spanner's authorization: access manifests and Cedar guardrails as one indexed policy set.
//!
//! [`Cedar`] implements [`Authorize`](spanner_core::Authorize). It decides by an access directory:
//!
//! ```text
//! access/
//!   organization.toml            environments, issuers, groups, roles, default grants, promotions
//!   models/acme/sentiment.toml   one manifest per model: who may do what, in each environment
//!   policies/guardrails.cedar    permits and forbids of the organization, checked by the schema
//!   cases/sentiment.toml         questions with the answers that the access must give
//! ```
//! A manifest may also be in its model's own folder, as `access.toml` ([`Builder::models_dir`]).
//! [`schemas`] has JSON Schemas of the files for editors.
//!
//! 1. Nothing is allowed unless a grant or permit allows it, and a forbid overrides them all.
//! 2. A grant gives a *role* (a set of actions) to a principal, on one model in one
//!    environment, or on every model (in `organization.toml`). Principals are
//!    `group:corp/nlp`, `role:corp/realm:admin` (a role that the issuer assigns),
//!    `user:corp/alice`, `service:…` and `agent:…`. Each belongs to one issuer, whose alias may be
//!    omitted if there is only one.
//! 3. Guardrails are Cedar policies with an `@id`. A forbid also has a `@reason`, which is sent to
//!    the refused caller, as is `@advice`. With `@mode("shadow")` a guardrail does not affect
//!    decisions; records say where it would have. A forbid that another credential would satisfy
//!    names that credential: `@step_up_acr("urn:example:mfa")` and `@step_up_max_age("300")` a
//!    sign-in (RFC 9470), `@scope("models.infer")` OAuth scopes (RFC 6750 §3.1). If nothing else
//!    refuses the request, the reply asks for that credential.
//! 4. A guardrail that cannot be evaluated refuses; plain Cedar would skip it. A forbid that
//!    depends on groups which the credential does not list refuses too.
//! 5. A directory takes effect as a whole or not at all. All problems are reported at once, with
//!    file, line, column and what to do ([`LoadError`]). If [`Cedar::reload`] fails, the last good
//!    access stays in force. Failures of manifests in the models' own folders can be isolated
//!    ([`Builder::broken_manifests`]).
//! 6. The `approvers` of `[promotion.X]` hold the role `approver` in `X` on every model.
//! 7. Model names are checked against how the guards' surfaces read them ([`Builder::spelling`]). A
//!    name that no request can have is a problem, and the advice has the right spelling.
//! 8. No two groups may look alike, and no text may have an invisible character. Reviews and
//!    explanations show the code points of confusable names.
//! 9. The decision is exactly plain Cedar's over all grants (as template links) and guardrails, but
//!    its cost does not grow with the number of models.
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
//! Guardrails may read what this schema declares, and may not do arithmetic:
//! ```cedar
#![doc = include_str!("schema.cedarschema")]
//! ```
//!
//! # Before a change
//! [`Cedar::test_cases`] checks the expected answers. [`Cedar::diff`] lists who gains and loses
//! what. [`Cedar::replay`] decides recorded requests again. With [`Cedar::shadow`] a candidate
//! answers beside the access in force, and records say where it would have decided differently.
//! [`Cedar::review`] returns the whole access matrix, and [`Cedar::explain`] one answer with
//! everything that led to it.
//!
//! # Caveats
//! - A credential of unknown age has `tokenAgeSeconds` 0. A guardrail that must refuse it tests
//!   `context.tokenAgeKnown`. A sign-in of unknown age counts as older than any other.
//! - A guardrail may name a model that has no manifest, and a guardrail or grant may name an
//!   issuer's role that nobody has: there is no list to check these names against. A review lists
//!   such models, with a similar name if there is one.
//! - `tenant` and `origin` are present only if the credential has them. A guardrail tests
//!   `context has tenant && context.tenant == "…"`.
//! - A call through an agent is also decided for the principal itself, with `delegationDepth` 0. A
//!   permit only for delegated calls therefore allows an agent nothing that its principal may not
//!   do.
//!
//! # Security
//! Anyone who can write to the directory controls all access. An [`Explanation`] names models,
//! owners and holders: show it to operators, not to callers.

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
