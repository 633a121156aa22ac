//! Spanner.

mod resolve;
pub mod surface;
