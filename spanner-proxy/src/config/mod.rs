//! The proxy's configuration: one TOML file.
//!
//! 1. Paths in it are relative to the file.
//! 2. Everything that is wrong is told at once, with file, line, column and what to do.
//! 3. The file itself, and the files of surfaces and certificates that it names, are read at
//!    start only: a change is told in the log, and counts when the proxy is started again.
//!    The access, the folders of models, the revocations, files with keys (`jwks_file`) and
//!    with secrets (`client_secret_file`, `credential = { file = … }`) are read again on
//!    change and on SIGHUP. What cannot be read leaves what was read before in force. The
//!    environment's variables, the platform's certificates and the ledger's signing key count
//!    as they were at start.
//! 4. What is read here is checked: addresses are addresses, surfaces are loaded, secrets
//!    are at hand. What takes a service to check stands in [`Loaded`](crate::Loaded).

mod checkpoints;
mod credential;
mod fields;
mod issuer;
mod limits;
mod problem;
mod ship;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::Authority;
use spanner_cedar::BrokenManifests;
use spanner_core::{Environment, Spelling};
use spanner_ledger::{Builder, CheckpointNote, Durability};
use spanner_tower::surface::Surface;
use toml::de::DeTable;

use crate::words;
use fields::{Fields, listed};

pub use crate::health::Detail;
pub use checkpoints::{Checkpoints, SendMethod};
pub use credential::Credential;
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
    /// How much probes and metrics say where callers come in.
    pub public_probes: Detail,
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
    /// What becomes of such a manifest that has a problem.
    pub broken_manifests: BrokenManifests,
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
    /// The file outside the ledger's directory that keeps its newest checkpoint, if there is one.
    pub note: Option<PathBuf>,
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
    /// The files that surfaces were read from.
    pub(crate) surface_files: Vec<PathBuf>,
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
        let text = match read_text(file) {
            Ok(text) => text,
            Err(fault) => {
                let mut problems = Problems::default();
                let Unread { place, what, .. } = fault;
                let advice = match place == Place::WHOLE {
                    true => "name the configuration with `--config`",
                    false => "save it as UTF-8",
                };
                problems.add(name, place, what, advice);
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
        let access = section("access", &["dir", "models", "broken_manifests", "shadow"]);
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
            public_probes: detail(top),
            public_origin: top.text("public_origin").map(|it| it.value.to_owned()),
            issuers: issuers(top, base),
            access: path(access, "dir", "access"),
            models: access
                .map(|it| it.one_or_more("models"))
                .unwrap_or_default()
                .into_iter()
                .map(|it| within(base, it.value))
                .collect(),
            broken_manifests: access.map_or(BrokenManifests::KeepLast, broken_manifests),
            shadow: access
                .and_then(|it| it.text("shadow"))
                .map(|it| within(base, it.value)),
            ledger: path(ledger, "dir", "ledger"),
            durability: ledger.and_then(durability).unwrap_or_default(),
            keep_for: ledger.and_then(keep_for),
            keep_bytes: ledger.and_then(keep_bytes),
            note: note(ledger, base, &path(ledger, "dir", "ledger")),
            checkpoints: ledger
                .map(|ledger| checkpoints::read(ledger, base))
                .unwrap_or_default(),
            ship: ship::read(top, base),
            instance: top.text("instance").map(|it| it.value.to_owned()),
            asserted_baggage: baggage(top),
            revocations: revocations.map(|it| path(Some(it), "file", "revocations.toml")),
            upstreams: upstreams(top, base, environment.as_ref()),
            surface_files: surface_files(top, base),
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

    /// Replaces everything outside this process by stand-ins, for a demonstration: the
    /// server at `upstream` stands in for every upstream, and records go to `ledger` and
    /// nowhere else. Returns the only issuer that is left, the first one; the caller points it
    /// at a provider of its own with [`IssuerConfig::relocate`].
    ///
    /// # Errors
    /// A message if the configuration has no issuer to stand in for.
    pub fn demonstrate(
        &mut self,
        upstream: &Authority,
        ledger: PathBuf,
    ) -> Result<&mut IssuerConfig, &'static str> {
        self.ledger = ledger;
        self.note = None;
        self.checkpoints.clear();
        self.ship.clear();
        for config in &mut self.upstreams {
            config.origin.relocate(upstream.clone());
        }
        self.issuers.truncate(1);
        let issuer = self.issuers.first_mut();
        issuer.ok_or("the configuration has no `[[issuer]]` to stand in for")
    }

    /// How the upstreams' surfaces read models' names, each with its environment.
    pub fn spellings(&self) -> impl Iterator<Item = (Environment, Spelling)> {
        self.upstreams.iter().flat_map(|upstream| {
            let spellings = upstream.surfaces.iter().filter_map(Surface::spelling);
            spellings.map(|spelling| (upstream.environment.clone(), spelling))
        })
    }

    /// What the proxy is known by elsewhere: at upstreams, where entries and checkpoints go.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &Credential> {
        let upstreams = self.upstreams.iter();
        let upstreams = upstreams.filter_map(|upstream| upstream.credential.as_ref());
        let ships = self.ship.iter();
        let ships = ships.filter_map(|ship| match &ship.destination {
            Destination::Http { credential, .. } => credential.as_ref(),
            Destination::File(_) | Destination::Stdout | Destination::Syslog(_) => None,
        });
        let checkpoints = self.checkpoints.iter();
        let checkpoints = checkpoints.filter_map(|place| match place {
            Checkpoints::Http { credential, .. } => credential.as_ref(),
            Checkpoints::File(_) | Checkpoints::Stdout => None,
        });
        upstreams.chain(ships).chain(checkpoints)
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

/// One team's broken file is no reason to keep everybody else's from taking effect.
fn broken_manifests(access: Fields<'_>) -> BrokenManifests {
    let Some(word) = access.text("broken_manifests") else {
        return BrokenManifests::KeepLast;
    };
    match word.value {
        "keep_last" => BrokenManifests::KeepLast,
        "close" => BrokenManifests::Close,
        "refuse" => BrokenManifests::Refuse,
        other => {
            let what = format!("`broken_manifests` cannot be `{other}`");
            let advice = "write `keep_last`, `close` or `refuse`";
            access.page.problem(word.at, what, advice);
            BrokenManifests::KeepLast
        }
    }
}

/// A path that a file in a directory names.
pub(crate) fn within(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}

/// Why a file that the configuration names, or itself, has no text.
pub(crate) struct Unread {
    /// Where its first byte stands that is none of a text, if that is why.
    pub(crate) place: Place,
    pub(crate) what: String,
    pub(crate) advice: &'static str,
}

/// The text of a file, without the mark that some editors put before it.
pub(crate) fn read_text(path: &Path) -> Result<String, Unread> {
    let unread = |fault: &std::io::Error| {
        let (what, advice) = words::unreadable(path, fault);
        let place = Place::WHOLE;
        Unread {
            place,
            what,
            advice,
        }
    };
    let bytes = std::fs::read(path).map_err(|fault| unread(&fault))?;
    let text = String::from_utf8(bytes).map_err(|fault| {
        let end = fault.utf8_error().valid_up_to();
        let text = fault.into_bytes();
        let before = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned();
        let mut unread = unread(&std::io::ErrorKind::InvalidData.into());
        unread.place = Page::new("", before).place(end);
        unread
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

fn detail(top: Fields<'_>) -> Detail {
    let Some(text) = top.text("public_probes") else {
        return Detail::Brief;
    };
    match text.value {
        "brief" => Detail::Brief,
        "full" => Detail::Full,
        other => {
            let what = format!("probes are not `{other}`");
            let advice = "write `brief`, or `full` to name models and servers to everybody";
            top.page.problem(text.at, what, advice);
            Detail::Brief
        }
    }
}

/// The note of a ledger: beside its directory, unless it is said where else, or that there is to
/// be none.
fn note(ledger: Option<Fields<'_>>, base: &Path, dir: &Path) -> Option<PathBuf> {
    let Some(text) = ledger.and_then(|ledger| ledger.text("note")) else {
        return CheckpointNote::beside(dir);
    };
    if text.value == "none" {
        return None;
    }
    let path = within(base, text.value);
    if path.starts_with(dir)
        && let Some(ledger) = ledger
    {
        let what = "the note stands in the ledger's own directory, and would be lost with it";
        let advice = "name a file elsewhere, or write `none`";
        ledger.page.problem(text.at, what, advice);
    }
    Some(path)
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

fn surface_files(top: Fields<'_>, base: &Path) -> Vec<PathBuf> {
    let names = top.tables("upstream").into_iter();
    let names = names.flat_map(|table| table.one_or_more("surface"));
    let files = names.filter(|name| crate::surfaces::is_file(name.value));
    let mut files: Vec<PathBuf> = files.map(|name| within(base, name.value)).collect();
    files.sort();
    files.dedup();
    files
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

const LEDGER_KEYS: &[&str] = &[
    "dir",
    "durability",
    "checkpoints",
    "keep_for",
    "keep_bytes",
    "note",
];
const KEYS: &[&str] = &[
    "listen",
    "admin_listen",
    "public_probes",
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
