//! Claim mappings: the meaning of an issuer's claims, as data.
//!
//! 1. A [`ClaimMapping`] is written in TOML (or anything else that serde reads) or taken
//!    from a [`Preset`]; members that it leaves out come from the mapping below it, down to
//!    [`ClaimMapping::oidc`].
//! 2. Pointers find values, conditions test them, and templates compose them.
//! 3. A token is refused if a claim does not have the type that the mapping expects. Nothing is
//!    guessed.
//! 4. Composed texts are escaped, so that two tokens never get the same name by chance or by
//!    design.

mod check;
mod claim_mapping;
mod condition;
mod party;
mod pointer;
mod preset;
mod selector;
mod template;

pub(super) use check::MappingProblem;
pub(super) use claim_mapping::Capture;
pub use claim_mapping::ClaimMapping;
pub(super) use party::Actor;
pub(super) use pointer::Pointer;
pub use preset::{Preset, UnknownPreset};
