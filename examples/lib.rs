//! What the examples share: an identity provider and a model server, both small and real.
//!
//! Neither is a part of Spanner. The provider signs with a key made at start and speaks
//! discovery, JWKS and a token endpoint over loopback HTTP; the model is trained at start
//! and computes every answer.

pub mod idp;
pub mod model;
pub mod signer;
pub mod telling;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The guide's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/src/embed.md")]
pub struct Embed;
