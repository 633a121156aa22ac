//! `[ledger] checkpoints`: where signed checkpoints are sent, so that entries before them cannot be
//! rewritten unnoticed.
//!
//! ```toml
//! [ledger]
//! checkpoints = [
//!     "/mnt/other/spanner",                 # a file that they are appended to
//!     "-",                                  # the standard output
//!     "https://witness.example.com/ledger", # a server that they are posted to
//!     { url = "https://store.example.com/checkpoint", method = "put", required = true, credential = { env = "STORE_TOKEN" } },
//! ]
//! ```
//!
//! A single one needs no list. When the service starts, it asks a server for its newest checkpoint
//! with GET; a server that does not respond prevents the start only if it is `required`.

use std::path::PathBuf;

use spanner_toml::{Item, Key, Kind, Problems, Table, Text};

use super::Context;
use super::credential::{self, Credential, credential};
use super::upstream::server;

/// One sink of a ledger's checkpoints.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Checkpoints {
    /// A file that they are appended to, which should be on another machine.
    File(PathBuf),
    /// The standard output, for a log collector.
    Stdout,
    /// A server that they are sent to.
    Http {
        /// Its address.
        url: String,
        /// The HTTP method.
        method: SendMethod,
        /// Sent as `Authorization`.
        credential: Option<Credential>,
        /// Whether the service starts only if the server returns its newest checkpoint.
        required: bool,
    },
}

/// How a checkpoint is sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendMethod {
    /// With POST.
    Post,
    /// With PUT.
    Put,
}

/// All configured sinks.
pub(super) fn read(
    ledger: Table<'_>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Vec<Checkpoints> {
    let items = ledger.items("checkpoints", problems).into_iter();
    let place = |item| match item {
        Item::Text(text) => named(ledger, text, context, problems),
        Item::Table(table) => described(table, context, problems),
        _ => None,
    };
    items.filter_map(place).collect()
}

fn named(
    ledger: Table<'_>,
    text: Text<'_>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Checkpoints> {
    match text.value {
        "-" => Some(Checkpoints::Stdout),
        url if url.contains("://") => Some(Checkpoints::Http {
            url: server(ledger, text, problems)?,
            method: SendMethod::Post,
            credential: None,
            required: false,
        }),
        file => Some(Checkpoints::File(context.within(file))),
    }
}

fn described(
    table: Table<'_>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Option<Checkpoints> {
    let table = table.with(KEYS, problems);
    let what_for = "`url = \"https://witness.example.com/ledger\"`";
    let url = table.required_text("url", what_for, problems);
    let url = url.and_then(|url| server(table, url, problems));
    let methods = [("post", SendMethod::Post), ("put", SendMethod::Put)];
    let method = table.choice("method", &methods, problems);
    let credential = credential(table, context, problems);
    let required = table.flag("required", problems);
    Some(Checkpoints::Http {
        url: url?,
        method: method.unwrap_or(SendMethod::Post),
        credential,
        required: required.unwrap_or_default(),
    })
}

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "url",
        Kind::Text("URL"),
        "The server that checkpoints are sent to.",
    )
    .required(),
    Key::new(
        "method",
        Kind::Choice(&["post", "put"]),
        "How they are sent.",
    )
    .default("\"post\""),
    credential::KEY,
    Key::new(
        "required",
        Kind::Flag,
        "Start only if the server says what it holds.",
    )
    .default("false"),
];
