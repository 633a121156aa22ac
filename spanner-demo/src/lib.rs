//! A small OpenID provider and a small model server, for demonstrations.
//!
//! The provider ([`idp`]) signs with a key made at start and serves discovery, JWKS and a token
//! endpoint over loopback HTTP. The model ([`model`]) is trained at start and computes every
//! answer. Neither is fit for production.

pub mod idp;
pub mod model;
pub mod signer;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
