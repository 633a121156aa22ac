//! Spanner.
