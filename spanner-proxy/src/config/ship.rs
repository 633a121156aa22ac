//! `[[ship]]`: where entries of the ledger are sent, and in which format.
//!
//! ```toml
//! [[ship]]
//! to = "ocsf"                      # ocsf, jsonl, syslog or otlp
//! url = "https://siem.example.com/in"
//! # file = "ocsf.jsonl"            # or a file that lines are added to
//! # stdout = true                  # or the standard output
//! # credential = { env = "SIEM_TOKEN" }   # sent as `Authorization: Bearer …`
//! # name = "siem"                  # of the cursor, in metrics and in readiness
//! # vendor = "Example Corp"        # OCSF's `metadata.product.vendor_name`, instead of `Spanner`
//!
//! [[ship]]
//! to = "syslog"                    # RFC 5424, octet counting
//! address = "127.0.0.1:601"        # over TCP, or over TLS: `tls://siem.example.com:6514`
//! # ca = "ca.pem"                  # who must vouch for it, instead of the platform's roots
//! # enterprise_number = 12345      # IANA's for your organization, in `spanner@12345`
//!
//! [[ship]]
//! to = "otlp"                      # logs, as protobuf over HTTP
//! url = "http://127.0.0.1:4318/v1/logs"
//! ```

use std::net::Ipv6Addr;
use std::path::PathBuf;

use spanner_ship::{Format, Producer, SyslogReceiver, is_name};
use spanner_toml::{Key, Kind, Position, Problems, Table, Text, hide_userinfo, listed, quoted};

use super::credential::{self, Credential, credential};
use super::limits::COUNT;
use super::upstream::server;
use super::{Context, Secrets};
use crate::paths;

/// One shipment of entries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShipConfig {
    /// The position of the table in the file.
    pub position: Position,
    /// The name of the cursor, in metrics and in readiness.
    pub name: String,
    /// The format of the entries.
    pub format: Format,
    /// The receiver.
    pub destination: Destination,
    /// The certificate authorities of a syslog receiver. `None`: the platform's. Read only at start.
    pub ca: Option<PathBuf>,
    /// How many entries are sent at once. `None`: the default of the receiver.
    pub batch: Option<usize>,
    /// The producer that events name, in OCSF and syslog.
    pub producer: Producer,
}

/// The receiver of entries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Destination {
    /// A file that lines are added to.
    File(PathBuf),
    /// The standard output.
    Stdout,
    /// A server that batches are posted to.
    Http {
        /// Its address.
        url: String,
        /// Sent as `Authorization`.
        credential: Option<Credential>,
    },
    /// A syslog receiver, over TCP or TLS.
    Syslog(SyslogReceiver),
}

/// All shipments. Each has a name of its own.
pub(super) fn read(
    top: Table<'_>,
    context: Context<'_>,
    problems: &mut Problems,
) -> Vec<ShipConfig> {
    let mut all: Vec<ShipConfig> = Vec::new();
    for table in top.tables("ship", problems) {
        let Some(ship) = ShipConfig::read(table, context, problems) else {
            continue;
        };
        if all.iter().any(|other| other.name == ship.name) {
            let what = format!("another `[[ship]]` is called `{}` as well", ship.name);
            let advice = "give each a `name` of its own: its cursor is called so";
            table.problem(table.at_key("name"), what, advice, problems);
        }
        let file = |ship: &ShipConfig| match &ship.destination {
            Destination::File(path) => Some(path.clone()),
            Destination::Stdout | Destination::Http { .. } | Destination::Syslog(_) => None,
        };
        if let Some(path) = file(&ship)
            && all.iter().any(|other| file(other).as_ref() == Some(&path))
        {
            let what = format!("another `[[ship]]` writes to `{}` as well", path.display());
            let advice = "give each a file of its own: each cuts off what a crash left of its own";
            table.problem(table.at_key("file"), what, advice, problems);
        }
        all.push(ship);
    }
    all
}

impl ShipConfig {
    fn read(table: Table<'_>, context: Context<'_>, problems: &mut Problems) -> Option<Self> {
        let table = table.with(KEYS, problems);
        let formats = Format::ALL.iter().map(|format| (format.as_str(), *format));
        let formats: Vec<(&str, Format)> = formats.collect();
        table.require("to", "`to = \"ocsf\"`", problems);
        let format = table.choice("to", &formats, problems);
        let name = match table.text("name", problems) {
            Some(name) => named(table, name, problems),
            None => format.map(|format| format.as_str().to_owned()),
        };
        let credential = credential(table, context, problems);
        let batch = table.count("batch", problems).map(|batch| batch.value);
        let format = format?;
        let producer = producer(table, format, problems);
        let destination = match format {
            Format::Syslog => syslog(table, context, problems),
            _ => elsewhere(table, format, context, credential, problems),
        };
        let ca = table.text("ca", problems);
        Some(Self {
            position: table.source().position(table.at()),
            ca: ca.map(|ca| context.within(ca.value)),
            name: name?,
            format,
            destination: destination?,
            batch,
            producer: producer?,
        })
    }
}

/// `vendor` and `enterprise_number`, each where its format has a place for it.
fn producer(table: Table<'_>, format: Format, problems: &mut Problems) -> Option<Producer> {
    let (mut producer, mut good) = (Producer::default(), true);
    let (vendor, number) = (
        table.text("vendor", problems),
        table.count("enterprise_number", problems),
    );
    let mut problem = |at, what: &str, advice: &str| {
        table.problem(at, what, advice, problems);
        good = false;
    };
    if let Some(vendor) = vendor {
        match (format, vendor.value.trim()) {
            (Format::Ocsf, "") => problem(
                vendor.at,
                "`vendor` is empty",
                "name your organization, or leave it out",
            ),
            (Format::Ocsf, name) => producer = producer.vendor(name),
            _ => problem(vendor.at, "`vendor` is for `to = \"ocsf\"`", "leave it out"),
        }
    }
    if let Some(number) = number {
        match (format, u32::try_from(number.value)) {
            (Format::Syslog, Ok(number)) => producer = producer.enterprise_number(number),
            (Format::Syslog, Err(_)) => problem(
                number.at,
                "`enterprise_number` is no private enterprise number",
                "write the number that IANA assigned to your organization, or leave it out",
            ),
            _ => problem(
                number.at,
                "`enterprise_number` is for `to = \"syslog\"`",
                "leave it out",
            ),
        }
    }
    good.then_some(producer)
}

fn named(table: Table<'_>, name: Text<'_>, problems: &mut Problems) -> Option<String> {
    let good = is_name(name.value);
    if !good {
        let what = format!("{} cannot name a cursor", quoted(name.value));
        let advice = "write letters, digits, `-` and `_`";
        table.problem(name.at, what, advice, problems);
    }
    good.then(|| name.value.to_owned())
}

fn syslog(table: Table<'_>, context: Context<'_>, problems: &mut Problems) -> Option<Destination> {
    only(table, &["address"], "syslog goes to an `address`", problems);
    let what_for = "`address = \"127.0.0.1:601\"`";
    let address = table.required_text("address", what_for, problems)?;
    let ca = table.text("ca", problems);
    let (tls, place) = match address.value.strip_prefix("tls://") {
        Some(place) => (true, place),
        None => (false, address.value),
    };
    if !is_host_with_port(place) {
        let shown = hide_userinfo(address.value);
        let what = format!("{} is no host with a port", quoted(&shown));
        let advice = "write one such as `127.0.0.1:601` or `tls://siem.example.com:6514`";
        table.problem(address.at, what, advice, problems);
        return None;
    }
    let receiver = match (tls, ca) {
        (false, None) => return Some(Destination::Syslog(SyslogReceiver::new(place))),
        (false, Some(ca)) => {
            unused_ca(table, ca, problems);
            return None;
        }
        (true, None) => SyslogReceiver::tls(place),
        (true, Some(_)) if context.secrets == Secrets::Skip => return None,
        (true, Some(ca)) => {
            let file = context.within(ca.value);
            if let Err(error) = std::fs::read(&file) {
                let (what, advice) = paths::unreadable(&file, &error);
                table.problem(ca.at, format!("`ca`: {what}"), advice, problems);
                return None;
            }
            SyslogReceiver::tls_with_ca(place, file)
        }
    };
    let receiver = receiver.map_err(|error| {
        let at = ca.map_or(address.at, |ca| ca.at);
        let advice = "name a host, and with `ca` a file of certificates (PEM), or install the system's (`ca-certificates`)";
        table.problem(at, error, advice, problems);
    });
    receiver.ok().map(Destination::Syslog)
}

fn is_host_with_port(text: &str) -> bool {
    let is_host = |host: &str| {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@/?#[]".contains(c);
        match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| plain(c) && c != ':'),
        }
    };
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

fn unused_ca(table: Table<'_>, ca: Text<'_>, problems: &mut Problems) {
    let what = "`ca` is for syslog over TLS";
    let advice = "write `tls://` before the `address` of a syslog receiver, or leave `ca` out";
    table.problem(ca.at, what, advice, problems);
}

fn elsewhere(
    table: Table<'_>,
    format: Format,
    context: Context<'_>,
    credential: Option<Credential>,
    problems: &mut Problems,
) -> Option<Destination> {
    if format == Format::Otlp {
        let what = "OTLP goes to the `url` of a collector";
        only(table, &["url"], what, problems);
    } else {
        let what = "it goes to one of `file`, `stdout` and `url`";
        only(table, &["file", "stdout", "url"], what, problems);
    }
    if let Some(ca) = table.text("ca", problems) {
        unused_ca(table, ca, problems);
    }
    if let Some(file) = table.text("file", problems) {
        return Some(Destination::File(context.within(file.value)));
    }
    if let Some(stdout) = table.flag("stdout", problems) {
        if !stdout {
            let what = "`stdout = false` sends nothing anywhere";
            let advice = "leave it out, and name another place";
            table.problem(table.at_key("stdout"), what, advice, problems);
        }
        return Some(Destination::Stdout);
    }
    let url = table.text("url", problems)?;
    let url = server(table, url, problems)?;
    Some(Destination::Http { url, credential })
}

/// One of these keys must be there, and no other that says where to.
fn only(table: Table<'_>, allowed: &[&'static str], what: &str, problems: &mut Problems) {
    let there = |key: &&&str| table.has(key);
    let given: Vec<&&str> = PLACES.iter().filter(there).collect();
    let fits = given.len() == 1 && given.iter().all(|key| allowed.contains(*key));
    if !fits {
        let known = listed(allowed.iter().copied());
        table.whole(what, format!("give exactly one of {known}"), problems);
    }
}

const PLACES: [&str; 4] = ["file", "stdout", "url", "address"];
pub(super) const KEYS: &[Key] = &[
    Key::new("to", Kind::Choice(Format::WORDS), "The format.").required(),
    Key::new(
        "name",
        Kind::Text("name"),
        "The name of its cursor, in metrics and in readiness. Default: the format.",
    ),
    Key::new(
        "file",
        Kind::Text("path"),
        "A file that lines are appended to.",
    ),
    Key::new("stdout", Kind::Flag, "`true` for the standard output."),
    Key::new(
        "url",
        Kind::Text("URL"),
        "A server that batches are posted to.",
    ),
    Key::new(
        "address",
        Kind::Text("address"),
        "With `syslog`: the receiver, `127.0.0.1:601` over TCP or `tls://siem.example.com:6514` over TLS.",
    ),
    Key::new(
        "ca",
        Kind::Text("path"),
        "With `syslog` over TLS: the certificates (PEM) that must vouch for the receiver. Default: the platform's.",
    ),
    credential::KEY,
    Key::new(
        "batch",
        COUNT,
        "How many entries are sent at once; a batch has at most 1 MiB.",
    )
    .default("500"),
    Key::new(
        "vendor",
        Kind::Text("name"),
        "With `ocsf`: `metadata.product.vendor_name`. Default: `Spanner`.",
    ),
    Key::new(
        "enterprise_number",
        COUNT,
        "With `syslog`: your IANA private enterprise number, for the identifier of structured data. Default: 32473, reserved for documentation (RFC 5612).",
    ),
];
