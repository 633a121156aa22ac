//! `[ledger] checkpoints`: where signed checkpoints go, so that nobody can rewrite what came
//! before.
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
//! One of them may stand without the list. A server is asked with GET for its newest when the
//! service starts; one that does not answer stops the start only if it is `required`.

use std::path::{Path, PathBuf};

use super::credential::{Credential, credential};
use super::fields::{At, Fields, Item};
use super::upstream::server;
use super::within;

/// One place that a ledger's checkpoints go to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Checkpoints {
    /// They are appended to a file, which should not be this machine's.
    File(PathBuf),
    /// They are printed, for whatever collects the output.
    Stdout,
    /// They are sent to a server.
    Http {
        /// Its address.
        url: String,
        /// How.
        method: SendMethod,
        /// What is sent as `Authorization`; read again where it is from a file.
        credential: Option<Credential>,
        /// Whether the service starts only if the server says what it holds.
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

/// All of them.
pub(super) fn read(ledger: Fields<'_>, base: &Path) -> Vec<Checkpoints> {
    let items = ledger.items("checkpoints").into_iter();
    let place = |item| match item {
        Item::Text(text) => named(ledger, text, base),
        Item::Table(table) => described(table, base),
    };
    items.filter_map(place).collect()
}

fn named(ledger: Fields<'_>, text: At<&str>, base: &Path) -> Option<Checkpoints> {
    match text.value {
        "-" => Some(Checkpoints::Stdout),
        url if url.contains("://") => Some(Checkpoints::Http {
            url: server(ledger, text)?,
            method: SendMethod::Post,
            credential: None,
            required: false,
        }),
        file => Some(Checkpoints::File(within(base, file))),
    }
}

fn described(table: Fields<'_>, base: &Path) -> Option<Checkpoints> {
    let table = Fields::of(table.page, table.table, table.at, KEYS);
    let url = table.required("url", "`url = \"https://witness.example.com/ledger\"`");
    let url = url.and_then(|url| server(table, url));
    let method = match table.text("method") {
        Some(word) => method(table, word),
        None => Some(SendMethod::Post),
    };
    let credential = credential(table, base);
    let required = table.flag("required").unwrap_or_default();
    Some(Checkpoints::Http {
        url: url?,
        method: method?,
        credential: credential?,
        required,
    })
}

fn method(table: Fields<'_>, word: At<&str>) -> Option<SendMethod> {
    match word.value {
        "post" => Some(SendMethod::Post),
        "put" => Some(SendMethod::Put),
        other => {
            let what = format!("checkpoints are not sent with `{other}`");
            let advice = "write `post` or `put`";
            table.page.problem(word.at, what, advice);
            None
        }
    }
}

const KEYS: &[&str] = &["url", "method", "credential", "required"];
