//! JSON Schemas (draft 7) of the files of an access, for editors: what a key is for, and which
//! there are.
//!
//! What they accept may still be wrong: that a group is in the directory, only
//! [`Cedar`](crate::Cedar) can tell. In an editor with taplo (Even Better TOML), the first line
//! of a file names its schema: `#:schema ./organization.schema.json`.

/// Of `organization.toml`.
pub const ORGANIZATION: &str = include_str!("../schemas/organization.schema.json");

/// Of a model's manifest.
pub const MANIFEST: &str = include_str!("../schemas/manifest.schema.json");

/// Of a file of [cases](crate::cases).
pub const CASE: &str = include_str!("../schemas/case.schema.json");
