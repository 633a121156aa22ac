//! Spanner's administration: who approved this endpoint?
//!
//! [`Promotions`] keeps the promotions of models in a [`Journal`](spanner_core::journal::Journal),
//! usually the ledger that also has the requests, and puts in force what was promoted. [`Admin`] is
//! the HTTP API for people and programs: a tower service behind the same guard as the models.
//!
//! 1. Where the organization has a rule, `[promotion.production]`, what is in force of a model is
//!    its manifest *as promoted*. A file that is edited changes nothing there; it is proposed,
//!    approved by people who did not propose it, and promoted.
//! 2. What was in force before promotions were kept stays in force, and is
//!    [adopted](spanner_core::promotion::Step::Adopted): the record says that nobody approved it
//!    here. The log warns of it, and [`Promotions::unapproved`] counts it as long as it is in force.
//!    With `existing = "refuse"` in the rule it is in force no more.
//! 3. A step is an event in the journal before it has any effect. What is in force follows from
//!    the events; opening the journal again leads to the same.
//! 4. Every step is decided by the guard, in the environment that it is about, and recorded as
//!    a decision of its own: `promote`, at either end of the way, to propose, promote and roll
//!    back; `approve`, where it is to go, to approve and reject; `administer`, there, for an
//!    emergency.
//! 5. An approval covers the model, the revision, the manifest, and the
//!    [terms](spanner_core::promotion::TermsEntry) that are shown: who gains and loses what, what the
//!    roles allow, the guardrails that can apply, and the rule of promotion. If any of it changes,
//!    the approval is void. That is an event, the promotion shows it, and it stays void if the change
//!    is undone.
//! 6. A rollback that only takes away is a single step. One that gives anybody more than they have
//!    takes the approvals of the rule: propose what was in force before, with `restores`, or give the
//!    reason for an `emergency`.
//! 7. What a promoted manifest names and the organization does not have any more, such as a group
//!    that left the directory, grants nothing. The rest of the manifest is in force, and the log,
//!    [`Status::void`](spanner_cedar::Status::void) and reviews say so.
//! 8. Whoever may not know of a model does not learn of its promotions: they are unknown (404).
//!
//! ```
//! use spanner_admin::{Admin, Promotions};
//! use spanner_cedar::Cedar;
//! use spanner_ledger::Ledger;
//! # use spanner_tower::{Authenticate, GuardLayer, surface};
//! # use tower_layer::Layer;
//! # async fn serve(callers: impl Authenticate) -> Result<(), Box<dyn std::error::Error>> {
//! let (access, ledger) = (Cedar::from_dir("access")?, Ledger::open("ledger")?);
//! let promotions = Promotions::open(access.clone(), ledger.clone()).await?;
//!
//! let guard = GuardLayer::builder(callers, access, ledger)
//!     .environment("production".parse()?)
//!     .surface(surface::openai())
//!     .surface(spanner_admin::surface())
//!     .build()?;
//! // In axum: `Router::new().route(..).fallback_service(Admin::new(promotions)).layer(guard)`.
//! let service = guard.layer(Admin::new(promotions));
//! # let _ = |request: http::Request<http_body_util::Full<bytes::Bytes>>| {
//! #     tower_service::Service::call(&mut service.clone(), request)
//! # };
//! # Ok(())
//! # }
//! ```
//!
//! # The API
//! Below `/spanner/v1`; [`openapi`] describes it, and is served at `/spanner/v1/openapi.json`.
//!
//! | | who may | |
//! |---|---|---|
//! | `GET models` | everybody, of what they may list or read | the models, and under which promotion each is served |
//! | `GET models/{model}/access?environment=` | `read` | who may do what, and why; the guardrails only for who may `promote`, `approve` or `administer` |
//! | `GET models/{model}/history?environment=` | `read` | who did what: who approved this |
//! | `POST explain` | everybody, of themselves; `administer`, of others | why, why not, what would help, whom to ask |
//! | `GET promotions?environment=&standing=` | everybody, of what they may read | what waits for approval |
//! | `POST promotions` | `promote` | proposes |
//! | `GET promotions/{id}` | `read` | one, with what it changes |
//! | `POST promotions/{id}/approve` | `approve`, listed by the rule, a person, not the proposer | |
//! | `POST promotions/{id}/reject` | `approve`, listed by the rule | with a `reason` |
//! | `POST promotions/{id}/withdraw` | the proposer | |
//! | `POST promotions/{id}/promote` | `promote`; `administer` with an `emergency` | |
//! | `POST models/{model}/rollback` | `promote`; `administer` with an `emergency` | to what was in force before, with a `reason` |
//!
//! # Caveats
//! Whoever can take the ledger away has everything that the files say adopted anew: ship its
//! checkpoints, and set `existing = "refuse"` where several replicas run, or where that must not
//! happen. Open promotions are bounded: 100 and 8 MiB of one proposer, 500 and 32 MiB in all; a
//! manifest has at most 256 KiB, and with the difference that it makes at most 1 MiB. One process keeps the promotions of a ledger; several need a journal that they share, and
//! [follow](Promotions::follow) it. Whether a
//! server really serves the revision that was promoted is not looked at: a promotion moves what
//! may be called, not weights. The same person with accounts at two issuers counts as two.

mod api;
mod book;
mod effect;
mod error;
mod keeper;
#[cfg(feature = "operate")]
pub mod operate;
mod promotions;
mod proposal;

pub use api::{Admin, openapi, surface};
pub use book::promotions_in;
pub use effect::Preview;
pub use error::{OpenError, StepError};
pub use promotions::Promotions;
pub use proposal::{Preconditions, ProposalRequest};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
