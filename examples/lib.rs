//! Code that the examples share, and the compiled examples of the README and the guide.

pub mod telling;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The guide's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/src/embed.md")]
pub struct Embed;
