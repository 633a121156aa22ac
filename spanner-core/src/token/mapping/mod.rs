//! What an issuer's claims mean, as data.
//!
//! 1. A [`ClaimMapping`] is written in TOML (or anything else that serde reads) or taken
//!    from a [`Preset`]; what it does not say is what the mapping below it says, down to
//!    [`ClaimMapping::oidc`].
//! 2. Values are found by pointers, asked by conditions, and put together by templates.
//! 3. A claim of another type than the mapping says refuses the token: nothing is guessed.
//! 4. Whatever is put together is escaped, so that two tokens never get one name by chance
//!    or by design.

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
