//! Spanner's administration: promotions with recorded approvals, and the answer to "who approved
//! this endpoint?".
//!
//! [`Promotions`] stores the promotions of models in a
//! [`Journal`](spanner_core::journal::Journal), usually the ledger that also records requests,
//! and puts promoted manifests in force. [`Admin`] is the HTTP API: a tower service behind the
//! same guard as the models.
//!
//! 1. In an environment with a rule such as `[promotion.production]`, the manifest of a model is
//!    in force only *as promoted*. Editing a file has no effect there: the change is proposed,
//!    approved by people other than the proposer, and promoted.
//! 2. Manifests that were in force before the first promotion are
//!    [adopted](spanner_core::promotion::Step::Adopted) and remain in force. The record states
//!    that nobody approved them; the log warns, and [`Promotions::unapproved`] counts them while
//!    they are in force. With `existing = "refuse"` in the rule, they are no longer in force.
//! 3. A step is an event in the journal before it takes effect. The access in force follows from
//!    the events alone, so reopening the journal restores it.
//! 4. The guard authorizes every step, and each step has a decision record of its own. Proposing,
//!    promoting and rolling back require `promote` in the source or the target environment.
//!    Approving and rejecting require `approve` in the target environment. An emergency requires
//!    `administer` there.
//! 5. An approval covers the model, the revision, the manifest, and the
//!    [terms](spanner_core::promotion::TermsEntry) that were shown: the change in access, the
//!    actions of the roles, the guardrails that can apply, and the promotion rule. If any of them
//!    changes, the approval is void. The journal records that, the promotion shows it, and
//!    reverting the change does not restore the approval.
//! 6. A rollback that only removes access is a single step. A rollback that adds access needs the
//!    approvals of the rule: propose the earlier state with `restores`, or give the reason for an
//!    `emergency`.
//! 7. A name in a promoted manifest that the organization no longer has, such as a deleted group,
//!    grants nothing. The rest of the manifest remains in force. The log,
//!    [`Status::void`](spanner_cedar::Status::void) and reviews report such names.
//! 8. A caller that may not know of a model does not learn of its promotions: they are answered
//!    as unknown (404).
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
//! The routes are below `/spanner/v1`. [`openapi`] describes them, and the service returns the
//! description at `/spanner/v1/openapi.json`.
//!
//! | | permission | purpose |
//! |---|---|---|
//! | `GET models` | everybody, for models that they may list or read | the models, and the promotions under which they are served |
//! | `GET models/{model}/access?environment=` | `read` | who may do what, and why; guardrails only with `promote`, `approve` or `administer` |
//! | `GET models/{model}/history?environment=` | `read` | the steps of the model's promotions |
//! | `POST explain` | everybody for themselves; `administer` for others | why a request is allowed or refused, and how to obtain permission |
//! | `GET promotions?environment=&standing=` | everybody, for promotions that they may read | lists promotions |
//! | `POST promotions` | `promote` | proposes a promotion |
//! | `GET promotions/{id}` | `read` | one promotion, with the access that it changes |
//! | `POST promotions/{id}/approve` | `approve`; a person listed by the rule, not the proposer | approves it |
//! | `POST promotions/{id}/reject` | `approve`; listed by the rule | rejects it with a `reason` |
//! | `POST promotions/{id}/withdraw` | the proposer | withdraws it |
//! | `POST promotions/{id}/promote` | `promote`; `administer` with an `emergency` | puts it in force |
//! | `POST models/{model}/rollback` | `promote`; `administer` with an `emergency` | restores the earlier state, with a `reason` |
//!
//! # Caveats
//! An attacker who can delete the ledger causes all manifests in the files to be adopted again.
//! Ship the ledger's checkpoints, and set `existing = "refuse"` if several replicas run or
//! adoption is not acceptable.
//!
//! Open promotions are limited to 100 and 8 MiB per proposer, and to 500 and 32 MiB in total. A
//! manifest is limited to 256 KiB, and together with its change in access to 1 MiB.
//!
//! One process manages the promotions of a ledger. Several processes need a shared journal, which
//! each of them [follows](Promotions::follow).
//!
//! A promotion changes which requests are allowed; it moves no weights. Spanner does not check
//! that a server serves the promoted revision. A person with accounts at two issuers counts as
//! two people.

mod api;
mod effect;
mod engine;
mod error;
#[cfg(feature = "operate")]
pub mod operate;
mod promotions;
mod proposal;
mod replica;

pub use api::{Admin, openapi, surface};
pub use effect::Preview;
pub use error::{OpenError, StepError};
pub use promotions::Promotions;
pub use proposal::{Preconditions, ProposalRequest};
pub use replica::promotions_in;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
