//! JSON Schemas (draft 7) of the files of an access, for editors: the keys and their meanings.
//!
//! A file that they accept may still have problems: only [`Cedar`](crate::Cedar) checks, for
//! instance, that a group is in the directory. In an editor with taplo (Even Better TOML), the
//! first line of a file names its schema: `#:schema ./organization.schema.json`.

/// The schema of `organization.toml`.
pub const ORGANIZATION: &str = include_str!("../schemas/organization.schema.json");

/// The schema of a model's manifest.
pub const MANIFEST: &str = include_str!("../schemas/manifest.schema.json");

/// The schema of a file of [cases](crate::cases).
pub const CASE: &str = include_str!("../schemas/case.schema.json");
