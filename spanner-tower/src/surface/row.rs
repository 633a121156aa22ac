//! The rows of a surface, as its file has them.

use serde::Deserialize;
use spanner_core::units;

use super::location::Free;

/// A row of a surface, as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) method: OneOrMore,
    pub(super) path: OneOrMore,
    #[serde(default)]
    pub(super) grpc: bool,
    pub(super) when: Option<String>,
    pub(super) action: String,
    pub(super) model: Option<String>,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) secondary: Vec<String>,
    #[serde(default)]
    pub(super) same: Vec<String>,
    #[serde(default)]
    pub(super) also: Vec<Also>,
    pub(super) on_missing: Option<String>,
    pub(super) dialect: Option<String>,
    pub(super) hold: Option<String>,
    pub(super) reports: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Also {
    #[serde(default)]
    pub(super) when: Option<OneOrMore>,
    pub(super) action: String,
    pub(super) model: Option<String>,
    pub(super) version: Option<String>,
    pub(super) on_missing: Option<String>,
    #[serde(default)]
    pub(super) foreign: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// The settings that all routes of a surface share.
pub(super) struct Shared {
    pub(super) secondary: Vec<String>,
    pub(super) free: Vec<Free>,
    pub(super) hold: usize,
}

/// Reads a number of bytes with its unit: `25 MiB`, `64 KiB`.
pub(super) fn bytes(text: &str) -> Option<usize> {
    usize::try_from(units::parse_size(text).ok()?).ok()
}

/// The rows of one method and path, each with its conditions.
pub(super) struct Group<'f> {
    pub(super) method: &'f str,
    pub(super) path: String,
    /// Each with its byte offset in the file.
    pub(super) rows: Vec<(usize, &'f Row)>,
}
