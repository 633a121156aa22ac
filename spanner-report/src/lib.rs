//! Reports about the contents of Spanner's ledger and about access configurations.
//!
//! 1. A report is a [`Page`]: sections of tables, facts and lists with unescaped texts.
//!    [`history()`], [`Summary::page`] and, with the feature `review`, [`review`] create pages;
//!    [`requests`] creates a [`Table`].
//! 2. A page can be rendered by [`Page::html`] (one file, no script, light and dark),
//!    [`Page::markdown`] and [`Page::text`] for a terminal. A table also has [`Table::csv`].
//! 3. Each renderer escapes all texts in one place. No name can forge a line, a column, a link, a
//!    tag, a formula or a terminal command.
//!
//! # Example
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path().join("ledger");
//! use spanner_ledger::{Ledger, Selection};
//! use spanner_report::{Summary, history};
//!
//! Ledger::open(&dir)?.close()?;
//! let (reader, everything) = (Ledger::read(&dir)?, Selection::new());
//! let text = history(&reader.history(&everything)?).text();
//! assert!(text.contains("ledger.opened"));
//! let summary = Summary::read(&reader, &everything, "2026-11-28T12:00:00Z".parse()?)?;
//! assert!(summary.page().html().starts_with("<!doctype html>"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod csv;
mod history;
mod html;
mod json;
mod markdown;
mod page;
mod requests;
#[cfg(feature = "review")]
pub mod review;
mod rotation;
mod summary;
mod text;

pub use csv::{csv, write_csv};
pub use history::{describe, history};
pub use json::{request_json, write_history_json};
pub use page::{
    Block, Cell, Column, Figure, Group, List, NameKind, Page, Precision, Section, Span, Table,
    Text, Tone,
};
pub use requests::{requests, table};
pub use rotation::rotation_report;
pub use summary::{AccessChange, OpenDecision, RefusalCount, Summary, Use};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
