//! Tokens and keys as the users of `spanner_core::token` see them.

#![cfg(feature = "jwt")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod key_set;
mod mapping;
mod providers;
mod row;
mod rows;
mod rules;
mod signatures;
mod support;
