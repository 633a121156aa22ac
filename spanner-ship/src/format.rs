//! In which words entries go out.

use std::fmt;

use crate::item::Item;
use crate::{Producer, ocsf, syslog};

/// A format for entries: one entry, one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Each entry as the ledger has it, with its key first; for programs of your own.
    JsonLines,
    /// OCSF 1.8 API Activity (class 6003), one JSON object on a line; for a SIEM.
    Ocsf,
    /// RFC 5424 syslog, with the entry as JSON behind the structured data.
    Syslog,
    /// OpenTelemetry log records (protobuf).
    #[cfg(feature = "otlp")]
    Otlp,
}

/// An entry cannot be said in a format: a newer version wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsayable;

impl Format {
    /// One entry in this format, without a line's end.
    ///
    /// # Errors
    /// [`Unsayable`] for an entry of a newer version, but as JSON lines.
    pub fn encode(self, item: &Item, producer: &Producer) -> Result<Vec<u8>, Unsayable> {
        match self {
            Self::JsonLines => Ok(json_line(item)),
            Self::Ocsf => ocsf::event(item, producer)
                .map(|event| event.to_string().into_bytes())
                .ok_or(Unsayable),
            Self::Syslog => syslog::message(item, producer)
                .map(String::into_bytes)
                .ok_or(Unsayable),
            #[cfg(feature = "otlp")]
            Self::Otlp => crate::otlp::record(item).ok_or(Unsayable),
        }
    }

    /// The word of it in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Ocsf => "ocsf",
            Self::Syslog => "syslog",
            #[cfg(feature = "otlp")]
            Self::Otlp => "otlp",
        }
    }
}

impl fmt::Display for Unsayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a newer version wrote this entry; this one cannot put it into this format")
    }
}

impl std::error::Error for Unsayable {}

fn json_line(item: &Item) -> Vec<u8> {
    let members = item.stored.json.strip_prefix(b"{").unwrap_or_default();
    // The key is hexadecimal digits, decimal digits and slashes.
    let head = format!(
        "{{\"key\":\"{}\",\"sequence\":{},",
        item.key, item.stored.sequence
    );
    let mut line = head.into_bytes();
    line.extend_from_slice(members);
    line
}
