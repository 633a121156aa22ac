//! The proxy's configuration: one TOML file.
//!
//! 1. Paths in it are relative to the file.
//! 2. Everything that is wrong is told at once, with file, line, column and what to do.
//! 3. What is read here is checked: addresses are addresses, surfaces are loaded, secrets
//!    are at hand. What takes a service to check stands in [`Loaded`](crate::Loaded).

mod checkpoints;
mod fields;
mod issuer;
mod limits;
mod problem;
mod ship;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spanner_core::Environment;
use spanner_ledger::{Builder, Durability};
use toml::de::DeTable;

use fields::{Fields, listed};

pub use checkpoints::{Checkpoints, SendMethod};
pub use issuer::IssuerConfig;
pub use limits::LimitsConfig;
pub(crate) use problem::Page;
pub use problem::{Place, Problem, Problems};
pub use ship::{Destination, ShipConfig};
pub use upstream::{Origin, UpstreamConfig};

/// What the file says.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// Where callers come in.
    pub listen: SocketAddr,
    /// Where probes and metrics are served; beside everything else, if absent.
    pub admin_listen: Option<SocketAddr>,
    /// The environment of upstreams that name none.
    pub environment: Option<Environment>,
    /// The address that callers know the proxy by.
    pub public_origin: Option<String>,
    /// Whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// The access directory.
    pub access: PathBuf,
    /// Folders of models' own folders, with manifests as `access.toml`.
    pub models: Vec<PathBuf>,
    /// The access directory that is tried out beside it, if there is one.
    pub shadow: Option<PathBuf>,
    /// The ledger's directory.
    pub ledger: PathBuf,
    /// What an acknowledged decision survives.
    pub durability: Durability,
    /// How long its entries are kept; for ever, if nothing is said.
    pub keep_for: Option<Duration>,
    /// How many bytes of it are kept; all, if nothing is said.
    pub keep_bytes: Option<u64>,
    /// Where its checkpoints are shipped to.
    pub checkpoints: Vec<Checkpoints>,
    /// Where entries of the ledger are sent.
    pub ship: Vec<ShipConfig>,
    /// Which of several processes this is, in records.
    pub instance: Option<String>,
    /// The members of W3C Baggage that records keep as claimed.
    pub asserted_baggage: Vec<String>,
    /// The list of revocations, if there is one.
    pub revocations: Option<PathBuf>,
    /// The model servers.
    pub upstreams: Vec<UpstreamConfig>,
    /// How many connections are open at once.
    pub max_connections: usize,
    /// How many requests wait for a decision at once.
    pub max_requests: usize,
    /// What one connection, address or caller may hold, and for how long.
    pub limits: LimitsConfig,
    pub(crate) places: Places,
}

/// Where in the file things stand of which only a service knows whether they are right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) access: Place,
    pub(crate) shadow: Place,
    pub(crate) ledger: Place,
    pub(crate) revocations: Place,
    pub(crate) public_origin: Place,
}

impl Config {
    /// Reads a file. What it says is returned even if parts of it are wrong, so that the
    /// rest can be looked at too; without problems it is whole.
    pub fn read(file: &Path) -> (Option<Self>, Problems) {
        let name = file.display().to_string();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                let mut problems = Problems::default();
                let what = format!("the configuration cannot be read: {error}");
                problems.add(name, Place::START, what, "name a file with `--config`");
                return (None, problems);
            }
        };
        let page = Page::new(name, text);
        let config = fields::parse(&page).map(|table| Self::of(file, &page, table.get_ref()));
        (config, page.take_problems())
    }

    fn of(file: &Path, page: &Page, table: &DeTable<'_>) -> Self {
        let base = file.parent().unwrap_or_else(|| Path::new(""));
        let top = Fields::of(page, table, 0, KEYS);
        let environment = top.parsed("environment", "write a name such as `production`");
        let environment: Option<Environment> = environment.map(|it| it.value);
        let section = |key, known: &[&str]| top.table(key, known);
        let path = |section: Option<Fields<'_>>, key: &str, otherwise: &str| {
            let given = section.and_then(|section| section.text(key));
            within(base, given.map_or(otherwise, |it| it.value))
        };
        let access = section("access", &["dir", "models", "shadow"]);
        let ledger = section("ledger", LEDGER_KEYS);
        let revocations = section("revocations", &["file"]);
        let place = |section: Option<Fields<'_>>, key: &str| {
            page.place(section.map_or(0, |section| section.at(key)))
        };
        let max_connections = top.count("max_connections").unwrap_or(MAX_CONNECTIONS);
        let limits = LimitsConfig::read(section("limits", limits::KEYS), max_connections);
        if let Some(section) = revocations {
            section.required("file", "`file = \"revocations.toml\"`");
        }
        Self {
            file: file.to_owned(),
            listen: address(top, "listen").unwrap_or(LISTEN),
            admin_listen: address(top, "admin_listen"),
            public_origin: top.text("public_origin").map(|it| it.value.to_owned()),
            issuers: issuers(top, base),
            access: path(access, "dir", "access"),
            models: access
                .map(|it| it.one_or_more("models"))
                .unwrap_or_default()
                .into_iter()
                .map(|it| within(base, it.value))
                .collect(),
            shadow: access
                .and_then(|it| it.text("shadow"))
                .map(|it| within(base, it.value)),
            ledger: path(ledger, "dir", "ledger"),
            durability: ledger.and_then(durability).unwrap_or_default(),
            keep_for: ledger.and_then(keep_for),
            keep_bytes: ledger.and_then(keep_bytes),
            checkpoints: ledger
                .map(|ledger| checkpoints::read(ledger, base))
                .unwrap_or_default(),
            ship: ship::read(top, base),
            instance: top.text("instance").map(|it| it.value.to_owned()),
            asserted_baggage: baggage(top),
            revocations: revocations.map(|it| path(Some(it), "file", "revocations.toml")),
            upstreams: upstreams(top, base, environment.as_ref()),
            max_connections,
            max_requests: top.count("max_requests").unwrap_or(MAX_REQUESTS),
            limits,
            environment,
            places: Places {
                access: place(access, "dir"),
                shadow: place(access, "shadow"),
                ledger: place(ledger, "dir"),
                revocations: place(revocations, "file"),
                public_origin: page.place(top.at("public_origin")),
            },
        }
    }

    /// Notes a problem with it.
    pub(crate) fn problem(
        &self,
        problems: &mut Problems,
        place: Place,
        what: impl std::fmt::Display,
        advice: impl std::fmt::Display,
    ) {
        problems.add(self.file.display().to_string(), place, what, advice);
    }
}

/// A path that a file in a directory names.
pub(crate) fn within(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}

fn address(top: Fields<'_>, key: &str) -> Option<SocketAddr> {
    let advice = "write an address and a port, such as `127.0.0.1:8080` or `[::]:8080`";
    top.parsed(key, advice).map(|it| it.value)
}

fn issuers(top: Fields<'_>, base: &Path) -> Vec<IssuerConfig> {
    let tables = top.tables("issuer");
    if tables.is_empty() {
        let advice = "add `[[issuer]]` with `name`, `url` and `audiences`";
        top.whole("no issuer is given, so that nobody could call", advice);
    }
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for table in tables {
        let Some(issuer) = IssuerConfig::read(table, base) else {
            continue;
        };
        if issuers.iter().any(|other| other.name == issuer.name) {
            let what = format!("another issuer is called `{}` as well", issuer.name);
            let advice = "give each a name of its own: principals and records carry it";
            table.page.problem(table.at("name"), what, advice);
        }
        issuers.push(issuer);
    }
    issuers
}

fn upstreams(
    top: Fields<'_>,
    base: &Path,
    environment: Option<&Environment>,
) -> Vec<UpstreamConfig> {
    let tables = top.tables("upstream");
    if tables.is_empty() {
        let advice = "add `[[upstream]]` with `surface` and `url`";
        top.whole(
            "no upstream is given, so that there is nothing to call",
            advice,
        );
    }
    let read = |table| UpstreamConfig::read(table, base, environment);
    tables.into_iter().filter_map(read).collect()
}

fn baggage(top: Fields<'_>) -> Vec<String> {
    let keys = top.one_or_more("asserted_baggage");
    keys.iter().map(|key| key.value.to_owned()).collect()
}

fn keep_for(ledger: Fields<'_>) -> Option<Duration> {
    let age = ledger.time("keep_for")?;
    if age < Builder::LEAST_AGE {
        let (what, at) = (
            "the ledger is kept for less than an hour",
            ledger.at("keep_for"),
        );
        ledger
            .page
            .problem(at, what.to_owned(), "write a time such as `\"400d\"`");
    }
    Some(age)
}

fn keep_bytes(ledger: Fields<'_>) -> Option<u64> {
    let bytes = ledger.count("keep_bytes")? as u64;
    if bytes < Builder::LEAST_BYTES {
        let (what, at) = (
            "less than a mebibyte of the ledger is kept",
            ledger.at("keep_bytes"),
        );
        ledger
            .page
            .problem(at, what.to_owned(), "write 1048576 at least");
    }
    Some(bytes)
}

fn durability(ledger: Fields<'_>) -> Option<Durability> {
    let text = ledger.text("durability")?;
    let known = DURABILITIES.iter().find(|(word, _)| *word == text.value);
    if known.is_none() {
        let words = DURABILITIES.map(|(word, _)| word);
        ledger.page.problem(
            text.at,
            format!("`{}` is no durability", text.value),
            format!("write one of {}", listed(&words)),
        );
    }
    known.map(|(_, durability)| *durability)
}

const LEDGER_KEYS: &[&str] = &["dir", "durability", "checkpoints", "keep_for", "keep_bytes"];
const KEYS: &[&str] = &[
    "listen",
    "admin_listen",
    "environment",
    "public_origin",
    "max_connections",
    "max_requests",
    "limits",
    "issuer",
    "access",
    "ledger",
    "revocations",
    "ship",
    "instance",
    "asserted_baggage",
    "upstream",
];

const DURABILITIES: [(&str, Durability); 3] = [
    ("power_loss", Durability::PowerLoss),
    ("process_crash", Durability::ProcessCrash),
    ("relaxed", Durability::Relaxed),
];

/// Nobody but this machine.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Each takes a file descriptor and, idle, some 10 KiB.
const MAX_CONNECTIONS: usize = 10_000;
/// Each may hold a body of 8 MiB until it is forwarded.
const MAX_REQUESTS: usize = 2_048;
