//! The proxy's configuration: one TOML file.
//!
//! 1. Paths are relative to the file.
//! 2. All problems are reported at once, each with file, line, column and advice.
//! 3. The file itself, and the files of surfaces and certificates that it names, are read only at
//!    start: a change is logged, and takes effect when the proxy is restarted. The access
//!    directory, the folders of models, the revocations, files with keys (`jwks_file`) and with
//!    secrets (`client_secret_file`, `credential = { file = … }`) are reloaded on change and on
//!    SIGHUP. If a file cannot be read, its previous content stays in force. Environment variables,
//!    the platform's certificates and the ledger's signing key are read only at start.
//! 4. A [`Config`] is checked: addresses are valid, surfaces are loaded, secrets are available.
//!    [`Loaded`](crate::Loaded) checks the rest.

mod checkpoints;
mod credential;
mod limits;
pub mod reference;
mod ship;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::Authority;
use spanner_cedar::BrokenManifests;
use spanner_core::{Environment, Spelling};
use spanner_ledger::{Builder, CheckpointNote, Durability};
use spanner_toml::{Key, Kind, Position, Problem, Problems, Source, Table, Toml};
use spanner_tower::bearer::IssuerConfig;
use spanner_tower::surface::Surface;

use crate::paths;
use limits::COUNT;

pub use checkpoints::{Checkpoints, SendMethod};
pub use credential::Credential;
pub use limits::LimitsConfig;
pub use ship::{Destination, ShipConfig};
pub use spanner_admin::operate::Detail;
pub use upstream::{Origin, UpstreamConfig};

/// The content of the file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// The path of the file.
    pub file: PathBuf,
    /// The address for callers.
    pub listen: SocketAddr,
    /// The address for probes and metrics. `None`: they are served at `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// How much probes and metrics reveal at `listen`.
    pub public_probes: Detail,
    /// The environment of upstreams that name none.
    pub environment: Option<Environment>,
    /// The origin that callers use, such as `https://models.example.com`.
    pub public_origin: Option<String>,
    /// The issuers whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// The access directory.
    pub access: PathBuf,
    /// Folders that contain a folder per model, with its manifest in `access.toml`.
    pub models: Vec<PathBuf>,
    /// What to do with such a manifest if it has a problem.
    pub broken_manifests: BrokenManifests,
    /// A candidate access directory, which is evaluated beside `access` without effect.
    pub shadow: Option<PathBuf>,
    /// The ledger's directory.
    pub ledger: PathBuf,
    /// What an acknowledged decision survives.
    pub durability: Durability,
    /// How long its entries are kept. `None`: forever.
    pub keep_for: Option<Duration>,
    /// How many bytes of entries are kept. `None`: all.
    pub keep_bytes: Option<u64>,
    /// The file outside the ledger's directory that keeps its newest checkpoint.
    pub note: Option<PathBuf>,
    /// The sinks of its checkpoints.
    pub checkpoints: Vec<Checkpoints>,
    /// The destinations of its entries.
    pub ship: Vec<ShipConfig>,
    /// The name of this process in records, if several share an environment.
    pub instance: Option<String>,
    /// The members of W3C Baggage that records keep, marked as asserted.
    pub asserted_baggage: Vec<String>,
    /// The file with the list of revocations.
    pub revocations: Option<PathBuf>,
    /// The model servers.
    pub upstreams: Vec<UpstreamConfig>,
    /// The files of surfaces.
    pub(crate) surface_files: Vec<PathBuf>,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many requests may wait for a decision at once.
    pub max_requests: usize,
    /// The limits of one connection, address or caller.
    pub limits: LimitsConfig,
    /// Accepted spellings that should be changed, such as old names of keys.
    pub(crate) hints: Vec<Problem>,
    pub(crate) positions: Positions,
}

/// Positions of keys whose values are checked by [`Loaded`](crate::Loaded).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Positions {
    pub(crate) access: Position,
    pub(crate) shadow: Position,
    pub(crate) ledger: Position,
    pub(crate) revocations: Position,
    pub(crate) public_origin: Position,
}

/// The context of the readers of the file's parts.
#[derive(Debug, Clone, Copy)]
struct Context<'c> {
    /// The folder that paths are relative to.
    base: &'c Path,
    secrets: Secrets,
}

/// Whether credentials are read from variables and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Resolve,
    Skip,
}

impl Context<'_> {
    fn within(self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

impl Config {
    /// Reads a file, and the variables and files with credentials that it names. A configuration is
    /// returned even if parts of it have problems, so that the rest can be checked too. Without
    /// problems it is complete.
    pub fn read(file: &Path) -> (Option<Self>, Problems) {
        Self::read_with(file, Secrets::Resolve)
    }

    /// Reads a file without credentials, for commands that need none. No upstream, shipment or
    /// checkpoint sink of the result has a credential.
    pub fn read_without_secrets(file: &Path) -> (Option<Self>, Problems) {
        Self::read_with(file, Secrets::Skip)
    }

    fn read_with(file: &Path, secrets: Secrets) -> (Option<Self>, Problems) {
        let name = file.display().to_string();
        let mut problems = Problems::default();
        let text = match read_text(file) {
            Ok(text) => text,
            Err(Unread { position, what, .. }) => {
                let advice = match position {
                    None => "name the configuration with `--config`",
                    Some(_) => "save it as UTF-8",
                };
                problems.push(Problem::new(&name, position, what, advice));
                return (None, problems);
            }
        };
        let base = file.parent().unwrap_or_else(|| Path::new(""));
        let context = Context { base, secrets };
        let config = Toml::parse(Source::new(&name, &text), &mut problems).map(|toml| {
            let top = toml.table(KEYS, &mut problems);
            let mut config = Self::of(file, context, top, &mut problems);
            config.hints = problems.hints().to_vec();
            config
        });
        (config, problems)
    }

    fn of(file: &Path, context: Context<'_>, top: Table<'_>, problems: &mut Problems) -> Self {
        let advice = "write a name such as `production`";
        let environment: Option<Environment> = top.parsed("environment", advice, problems);
        let access = top.section("access", ACCESS_KEYS, problems);
        let ledger = top.section("ledger", LEDGER_KEYS, problems);
        let revocations = top.section("revocations", REVOCATIONS_KEYS, problems);
        if let Some(section) = revocations {
            section.require("file", "`file = \"revocations.toml\"`", problems);
        }
        let path = |section: Option<Table<'_>>, key, problems: &mut Problems| {
            let text = section?.text(key, problems)?;
            Some(context.within(text.value))
        };
        let position = |section: Option<Table<'_>>, key| {
            let at = section.map_or(0, |section| section.at_key(key));
            top.source().position(at)
        };
        let text = |key, problems: &mut Problems| {
            let text = top.text(key, problems)?;
            Some(text.value.to_owned())
        };
        let max_connections = top.count("max_connections", problems);
        let max_connections = max_connections.map_or(MAX_CONNECTIONS, |it| it.value);
        let limits = top.section("limits", limits::KEYS, problems);
        let ledger_dir =
            path(ledger, "dir", problems).unwrap_or_else(|| context.within(LEDGER_DIR));
        let probes = [("brief", Detail::Brief), ("full", Detail::Full)];
        let max_requests = top.count("max_requests", problems);
        Self {
            file: file.to_owned(),
            listen: address(top, "listen", problems).unwrap_or(LISTEN),
            admin_listen: address(top, "admin_listen", problems),
            public_probes: top
                .choice("public_probes", &probes, problems)
                .unwrap_or(Detail::Brief),
            public_origin: text("public_origin", problems),
            issuers: issuers(top, context, problems),
            access: path(access, "dir", problems).unwrap_or_else(|| context.within(ACCESS_DIR)),
            models: access
                .map(|it| it.one_or_more("models", problems))
                .unwrap_or_default()
                .into_iter()
                .map(|it| context.within(it.value))
                .collect(),
            broken_manifests: access
                .and_then(|it| it.choice("broken_manifests", &BROKEN_MANIFESTS, problems))
                .unwrap_or(BrokenManifests::KeepLast),
            shadow: path(access, "shadow", problems),
            durability: ledger
                .and_then(|it| it.choice("durability", &DURABILITIES, problems))
                .unwrap_or_default(),
            keep_for: ledger.and_then(|it| keep_for(it, problems)),
            keep_bytes: ledger.and_then(|it| keep_bytes(it, problems)),
            note: note(ledger, context, &ledger_dir, problems),
            ledger: ledger_dir,
            checkpoints: ledger
                .map(|ledger| checkpoints::read(ledger, context, problems))
                .unwrap_or_default(),
            ship: ship::read(top, context, problems),
            instance: text("instance", problems),
            asserted_baggage: texts(top, "asserted_baggage", problems),
            revocations: path(revocations, "file", problems),
            upstreams: upstreams(top, context, environment.as_ref(), problems),
            surface_files: surface_files(top, context),
            max_connections,
            max_requests: max_requests.map_or(MAX_REQUESTS, |it| it.value),
            limits: LimitsConfig::read(limits, max_connections, problems),
            environment,
            hints: Vec::new(),
            positions: Positions {
                access: position(access, "dir"),
                shadow: position(access, "shadow"),
                ledger: position(ledger, "dir"),
                revocations: position(revocations, "file"),
                public_origin: top.source().position(top.at_key("public_origin")),
            },
        }
    }

    /// Replaces all external systems for a demonstration: the server at `upstream` replaces every
    /// upstream, and records go to `ledger` and nowhere else. Only the first issuer is left, which
    /// is returned; the caller points it at a provider of its own with
    /// [`IssuerConfig::move_to_loopback`].
    ///
    /// # Errors
    /// A message if the configuration has no issuer.
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

    /// How the surfaces of the upstreams spell models' names, each with its environment.
    pub fn spellings(&self) -> impl Iterator<Item = (Environment, Spelling)> {
        self.upstreams.iter().flat_map(|upstream| {
            let spellings = upstream.surfaces.iter().filter_map(Surface::spelling);
            spellings.map(|spelling| (upstream.environment.clone(), spelling))
        })
    }

    /// The proxy's own credentials: for upstreams, shipments and checkpoint sinks.
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

    /// Adds a problem at a position in the file.
    pub(crate) fn problem(
        &self,
        problems: &mut Problems,
        position: Position,
        what: impl std::fmt::Display,
        advice: impl std::fmt::Display,
    ) {
        let file = self.file.display().to_string();
        problems.push(Problem::new(&file, Some(position), what, advice));
    }
}

/// Why the configuration, or a file that it names, cannot be read as text.
pub(crate) struct Unread {
    /// The position of the first byte that is not UTF-8.
    pub(crate) position: Option<Position>,
    pub(crate) what: String,
    pub(crate) advice: &'static str,
}

/// The text of a file, without a byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, Unread> {
    let unread = |error: &std::io::Error, position| {
        let (what, advice) = paths::unreadable(path, error);
        Unread {
            position,
            what,
            advice,
        }
    };
    let bytes = std::fs::read(path).map_err(|error| unread(&error, None))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let text = error.into_bytes();
        let before = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned();
        let position = Source::new("", &before).position(end);
        unread(&std::io::ErrorKind::InvalidData.into(), Some(position))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

/// The note of a ledger: beside its directory by default, or at a configured path, or none.
fn note(
    ledger: Option<Table<'_>>,
    context: Context<'_>,
    dir: &Path,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let Some((ledger, text)) = ledger.and_then(|it| Some((it, it.text("note", problems)?))) else {
        return CheckpointNote::beside(dir);
    };
    if text.value == "none" {
        return None;
    }
    let path = context.within(text.value);
    if path.starts_with(dir) {
        let what = "the note is in the ledger's own directory, and would be lost with it";
        let advice = "name a file elsewhere, or write `none`";
        ledger.problem(text.at, what, advice, problems);
    }
    Some(path)
}

fn address(top: Table<'_>, key: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let advice = "write an address and a port, such as `127.0.0.1:8080` or `[::]:8080`";
    top.parsed(key, advice, problems)
}

fn texts(table: Table<'_>, key: &str, problems: &mut Problems) -> Vec<String> {
    let texts = table.one_or_more(key, problems).into_iter();
    texts.map(|text| text.value.to_owned()).collect()
}

fn issuers(top: Table<'_>, context: Context<'_>, problems: &mut Problems) -> Vec<IssuerConfig> {
    let tables = top.tables("issuer", problems);
    if tables.is_empty() {
        let advice = "add `[[issuer]]` with `name`, `url` and `audiences`";
        let what = "no issuer is given, so that nobody could call";
        top.whole(what, advice, problems);
    }
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for table in tables {
        let Some(issuer) = IssuerConfig::read(table, context.base, problems) else {
            continue;
        };
        if issuers.iter().any(|other| other.alias() == issuer.alias()) {
            let what = format!("another issuer is called `{}` as well", issuer.alias());
            let advice = "give each a name of its own: principals and records carry it";
            table.problem(table.at_key("name"), what, advice, problems);
        }
        issuers.push(issuer);
    }
    issuers
}

fn upstreams(
    top: Table<'_>,
    context: Context<'_>,
    environment: Option<&Environment>,
    problems: &mut Problems,
) -> Vec<UpstreamConfig> {
    let tables = top.tables("upstream", problems);
    if tables.is_empty() {
        let advice = "add `[[upstream]]` with `surface` and `url`";
        let what = "no upstream is given, so that there is nothing to call";
        top.whole(what, advice, problems);
    }
    let read = |table| UpstreamConfig::read(table, context, environment, problems);
    tables.into_iter().filter_map(read).collect()
}

fn surface_files(top: Table<'_>, context: Context<'_>) -> Vec<PathBuf> {
    // Problems with the names are reported when the upstreams are read.
    let mut reported = Problems::default();
    let tables = top.tables("upstream", &mut reported).into_iter();
    let names = tables.flat_map(|table| table.one_or_more("surface", &mut reported));
    let files = names.filter(|name| crate::surfaces::is_file(name.value));
    let mut files: Vec<PathBuf> = files.map(|name| context.within(name.value)).collect();
    files.sort();
    files.dedup();
    files
}

fn keep_for(ledger: Table<'_>, problems: &mut Problems) -> Option<Duration> {
    let age = ledger.duration("keep_for", problems)?;
    if age.value < Builder::LEAST_AGE {
        let what = "the ledger is kept for less than an hour";
        ledger.problem(age.at, what, "write a time such as `\"400d\"`", problems);
    }
    Some(age.value)
}

fn keep_bytes(ledger: Table<'_>, problems: &mut Problems) -> Option<u64> {
    let bytes = ledger.size("keep_bytes", problems)?;
    if bytes.value < Builder::LEAST_BYTES {
        let what = "less than a mebibyte of the ledger is kept";
        ledger.problem(bytes.at, what, "write `\"1 MiB\"` at least", problems);
    }
    Some(bytes.value)
}

/// Every key of the file.
pub(crate) const KEYS: &[Key] = &[
    Key::new("listen", Kind::Text("address"), "Where callers connect: HTTP/1.1, HTTP/2 without TLS (gRPC) and WebSockets. Put TLS in front.").default("\"127.0.0.1:8080\""),
    Key::new("admin_listen", Kind::Text("address"), "Where probes and metrics are served. Default: below `/spanner` of `listen`."),
    Key::new("public_probes", Kind::Choice(&["brief", "full"]), "How much probes and metrics on `listen` say. `brief` names no model, issuer, upstream, shipment or address.").default("\"brief\""),
    Key::new("environment", Kind::Text("environment"), "The environment of upstreams that name none."),
    Key::new("public_origin", Kind::Text("URL"), "The `https` address that callers know the proxy by. With it, the proxy publishes metadata that tells clients where to get a token (RFC 9728)."),
    Key::new("instance", Kind::Text("name"), "Which of several processes this is, in records."),
    Key::new("asserted_baggage", Kind::Texts("name"), "Members of W3C Baggage that records keep as claimed by the client."),
    Key::new("max_connections", COUNT, "Connections that are open at once.").default("10000"),
    Key::new("max_requests", COUNT, "Requests that wait for a decision at once.").default("2048"),
    Key::new("limits", Kind::Table(limits::KEYS), "What one of many may hold, and for how long. One more gets 429 or 503."),
    Key::new("issuer", Kind::Tables(IssuerConfig::KEYS), "The identity providers whose tokens are accepted.").required(),
    Key::new("access", Kind::Table(ACCESS_KEYS), "Who may do what."),
    Key::new("ledger", Kind::Table(LEDGER_KEYS), "What happened."),
    Key::new("revocations", Kind::Table(REVOCATIONS_KEYS), "Tokens, sessions and subjects that are refused although their tokens are valid."),
    Key::new("ship", Kind::Tables(ship::KEYS), "Where entries of the ledger are sent, at least once each."),
    Key::new("upstream", Kind::Tables(upstream::KEYS), "The model servers.").required(),
];

const ACCESS_KEYS: &[Key] = &[
    Key::new("dir", Kind::Text("path"), "The access directory. It is read again on change and on SIGHUP.").default("\"access\""),
    Key::new("models", Kind::Texts("path"), "Folders of models' own folders, each with a manifest as `access.toml`."),
    Key::new("broken_manifests", Kind::Choice(&["keep_last", "close", "refuse"]), "What happens if one of these manifests has a problem: it stays as it was until a restart, it grants nothing, or nothing new is put in force.").default("\"keep_last\""),
    Key::new("shadow", Kind::Text("path"), "An access directory to try out. It decides nothing; records say where it would differ."),
];

const LEDGER_KEYS: &[Key] = &[
    Key::new("dir", Kind::Text("path"), "The directory of the ledger.").default("\"ledger\""),
    Key::new(
        "durability",
        Kind::Choice(&["power_loss", "process_crash", "relaxed"]),
        "What an acknowledged decision survives.",
    )
    .default("\"power_loss\""),
    Key::new(
        "note",
        Kind::Text("path"),
        "A file outside the directory that keeps the newest checkpoint. A ledger that lost what the checkpoint covers is not opened. `none` for no note. Default: beside the directory.",
    ),
    Key::new(
        "keep_for",
        Kind::Duration,
        "How long segments are kept, an hour at least. They are removed once shipped. Default: for ever.",
    ),
    Key::new(
        "keep_bytes",
        Kind::Size,
        "How much is kept, 1 MiB at least; the oldest segments are removed first. Default: all.",
    ),
    Key::new(
        "checkpoints",
        Kind::Items("path, `-` or URL", checkpoints::KEYS),
        "Where signed checkpoints are sent each second: a file, `-` for the standard output, or a server.",
    ),
];

const REVOCATIONS_KEYS: &[Key] = &[Key::new(
    "file",
    Kind::Text("path"),
    "The list. It is read again on change and on SIGHUP.",
)
.required()];

const DURABILITIES: [(&str, Durability); 3] = [
    ("power_loss", Durability::PowerLoss),
    ("process_crash", Durability::ProcessCrash),
    ("relaxed", Durability::Relaxed),
];

/// By default, one team's broken file does not prevent the other files from taking effect.
const BROKEN_MANIFESTS: [(&str, BrokenManifests); 3] = [
    ("keep_last", BrokenManifests::KeepLast),
    ("close", BrokenManifests::Close),
    ("refuse", BrokenManifests::Refuse),
];

const ACCESS_DIR: &str = "access";
const LEDGER_DIR: &str = "ledger";

/// By default, only this machine can connect.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Each takes a file descriptor and, while idle, some 10 KiB.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;
/// Each may hold a body of 8 MiB until it is forwarded.
const MAX_REQUESTS: usize = 2_048;
