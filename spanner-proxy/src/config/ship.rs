//! `[[ship]]`: where entries of the ledger are sent, and in which form.
//!
//! ```toml
//! [[ship]]
//! to = "ocsf"                      # ocsf, jsonl, syslog or otlp
//! url = "https://siem.example.com/in"
//! # file = "ocsf.jsonl"            # or a file that lines are added to
//! # stdout = true                  # or the standard output
//! # credential = { env = "SIEM_TOKEN" }   # sent as `Authorization: Bearer …`
//! # name = "siem"                  # of the cursor, in metrics and in readiness
//!
//! [[ship]]
//! to = "syslog"                    # RFC 5424, octet counting
//! address = "127.0.0.1:601"        # over TCP, or over TLS: `tls://siem.example.com:6514`
//! # ca = "ca.pem"                  # who must vouch for it, instead of the platform's roots
//!
//! [[ship]]
//! to = "otlp"                      # logs, as protobuf over HTTP
//! url = "http://127.0.0.1:4318/v1/logs"
//! ```

use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use spanner_ship::{Format, SyslogReceiver, is_name};

use super::credential::{Credential, credential};
use super::fields::{At, Fields, listed};
use super::problem::Place;
use super::upstream::server;
use super::within;
use crate::words;

/// One place that entries are sent to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShipConfig {
    /// Where the table stands.
    pub place: Place,
    /// The name of the cursor, in metrics and in readiness.
    pub name: String,
    /// In which form.
    pub format: Format,
    /// Where to.
    pub destination: Destination,
    /// The certificates that must vouch for a syslog receiver, if they are not the platform's.
    /// Read at start only.
    pub ca: Option<PathBuf>,
    /// How many entries at once.
    pub batch: Option<usize>,
}

/// Where entries go.
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
        /// What is sent as `Authorization`; read again where it is from a file.
        credential: Option<Credential>,
    },
    /// A syslog receiver, over TCP or TLS.
    Syslog(SyslogReceiver),
}

/// All of them, each under a name of its own.
pub(super) fn read(top: Fields<'_>, base: &Path) -> Vec<ShipConfig> {
    let mut all: Vec<ShipConfig> = Vec::new();
    for table in top.tables("ship") {
        let Some(ship) = ShipConfig::read(table, base) else {
            continue;
        };
        if all.iter().any(|other| other.name == ship.name) {
            let what = format!("another `[[ship]]` is called `{}` as well", ship.name);
            let advice = "give each a `name` of its own: its cursor is called so";
            table.page.problem(table.at("name"), what, advice);
        }
        let file = |ship: &ShipConfig| match &ship.destination {
            Destination::File(path) => Some(path.clone()),
            _ => None,
        };
        if let Some(path) = file(&ship)
            && all.iter().any(|other| file(other).as_ref() == Some(&path))
        {
            let what = format!("another `[[ship]]` writes to `{}` as well", path.display());
            let advice = "give each a file of its own: each cuts off what a crash left of its own";
            table.page.problem(table.at("file"), what, advice);
        }
        all.push(ship);
    }
    all
}

impl ShipConfig {
    fn read(fields: Fields<'_>, base: &Path) -> Option<Self> {
        let fields = Fields::of(fields.page, fields.table, fields.at, KEYS);
        let to = fields.required("to", "`to = \"ocsf\"`");
        let format = to.and_then(|to| format(fields, to));
        let name = match (fields.text("name"), to) {
            (Some(name), _) => named(fields, name),
            (None, Some(to)) => Some(to.value.to_owned()),
            (None, None) => None,
        };
        let batch = fields.count("batch");
        let format = format?;
        let destination = match format {
            Format::Syslog => syslog(fields, base),
            _ => elsewhere(fields, format, base),
        };
        let ca = fields.text("ca").map(|ca| within(base, ca.value));
        Some(Self {
            place: fields.page.place(fields.at),
            ca,
            name: name?,
            format,
            destination: destination?,
            batch,
        })
    }
}

fn format(fields: Fields<'_>, to: At<&str>) -> Option<Format> {
    let known = FORMATS.iter().find(|format| format.as_str() == to.value);
    if known.is_none() {
        let words = FORMATS.map(Format::as_str);
        fields.page.problem(
            to.at,
            format!("`{}` is no form that entries are sent in", to.value),
            format!("write one of {}", listed(&words)),
        );
    }
    known.copied()
}

fn named(fields: Fields<'_>, name: At<&str>) -> Option<String> {
    let good = is_name(name.value);
    if !good {
        fields.page.problem(
            name.at,
            format!("`{}` cannot name a cursor", name.value),
            "write letters, digits, `-` and `_`",
        );
    }
    good.then(|| name.value.to_owned())
}

fn syslog(fields: Fields<'_>, base: &Path) -> Option<Destination> {
    only(fields, &["address"], "syslog goes to an `address`");
    let address = fields.required("address", "`address = \"127.0.0.1:601\"`")?;
    let ca = fields.text("ca");
    let (tls, place) = match address.value.strip_prefix("tls://") {
        Some(place) => (true, place),
        None => (false, address.value),
    };
    let parts = place.rsplit_once(':');
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
    let good = parts.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
    if !good {
        fields.page.problem(
            address.at,
            format!("`{}` is no host with a port", words::address(address.value)),
            "write one such as `127.0.0.1:601` or `tls://siem.example.com:6514`",
        );
        return None;
    }
    match (tls, ca) {
        (false, None) => Some(Destination::Syslog(SyslogReceiver::new(place))),
        (false, Some(ca)) => {
            no_use_of_ca(fields, ca);
            None
        }
        (true, None) => verified(fields, address.at, SyslogReceiver::tls(place)),
        (true, Some(ca)) => {
            let file = within(base, ca.value);
            if let Err(fault) = std::fs::read(&file) {
                let (what, advice) = words::unreadable(&file, &fault);
                fields.page.problem(ca.at, format!("`ca`: {what}"), advice);
                return None;
            }
            verified(fields, ca.at, SyslogReceiver::tls_with_ca(place, file))
        }
    }
}

fn no_use_of_ca(fields: Fields<'_>, ca: At<&str>) {
    let what = "`ca` is for syslog over TLS";
    let advice = "write `tls://` before the `address` of a syslog receiver, or leave `ca` out";
    fields.page.problem(ca.at, what, advice);
}

/// A receiver that can be told from others.
fn verified(
    fields: Fields<'_>,
    at: usize,
    receiver: io::Result<SyslogReceiver>,
) -> Option<Destination> {
    let receiver = receiver.map_err(|error| {
        let advice = "name a host, and with `ca` a file of certificates (PEM), or install the system's (`ca-certificates`)";
        fields.page.problem(at, error, advice);
    });
    receiver.ok().map(Destination::Syslog)
}

fn elsewhere(fields: Fields<'_>, format: Format, base: &Path) -> Option<Destination> {
    if format == Format::Otlp {
        only(fields, &["url"], "OTLP goes to the `url` of a collector");
    } else {
        let what = "it goes to one of `file`, `stdout` and `url`";
        only(fields, &["file", "stdout", "url"], what);
    }
    if let Some(ca) = fields.text("ca") {
        no_use_of_ca(fields, ca);
    }
    if let Some(file) = fields.text("file") {
        return Some(Destination::File(within(base, file.value)));
    }
    if let Some(stdout) = fields.flag("stdout") {
        if !stdout {
            let what = "`stdout = false` sends nothing anywhere";
            fields.page.problem(
                fields.at("stdout"),
                what.to_owned(),
                "leave it out, and name another place",
            );
        }
        return Some(Destination::Stdout);
    }
    let url = fields.text("url")?;
    let credential = credential(fields, base)?;
    let url = server(fields, url)?;
    Some(Destination::Http { url, credential })
}

/// One of these keys must be there, and no other that says where to.
fn only(fields: Fields<'_>, allowed: &[&str], what: &str) {
    let there = |key: &&&str| fields.table.contains_key(**key);
    let given: Vec<&&str> = PLACES.iter().filter(there).collect();
    let fits = given.len() == 1 && given.iter().all(|key| allowed.contains(*key));
    if !fits {
        fields.whole(what, format!("give exactly one of {}", listed(allowed)));
    }
}

const FORMATS: [Format; 4] = [
    Format::Ocsf,
    Format::JsonLines,
    Format::Syslog,
    Format::Otlp,
];
const PLACES: [&str; 4] = ["file", "stdout", "url", "address"];
const KEYS: &[&str] = &[
    "to",
    "name",
    "file",
    "stdout",
    "url",
    "address",
    "ca",
    "credential",
    "batch",
];
