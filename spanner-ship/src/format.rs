//! The formats in which entries are shipped.

use std::fmt;

use crate::keyed::KeyedEntry;
use crate::{Producer, ocsf, syslog};

macro_rules! formats {
    ($($(#[doc = $doc:literal])* $(#[cfg($feature:meta)])? $format:ident => $word:literal,)*) => {
        /// A format for entries. Each entry becomes one message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Format { $($(#[doc = $doc])* $(#[cfg($feature)])? $format,)* }

        impl Format {
            /// All formats that the enabled features provide.
            pub const ALL: &'static [Self] = &[$($(#[cfg($feature)])? Self::$format,)*];

            /// The names of all formats, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($(#[cfg($feature)])? $word,)*];

            /// The format's name in configurations.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($(#[cfg($feature)])? Self::$format => $word,)* }
            }
        }
    };
}

formats! {
    /// OCSF 1.8 API Activity (class 6003), one JSON object per line, for a SIEM.
    Ocsf => "ocsf",
    /// Each entry as stored in the ledger, preceded by its key, for custom programs.
    JsonLines => "jsonl",
    /// RFC 5424 syslog, with the entry as JSON after the structured data.
    Syslog => "syslog",
    /// OpenTelemetry log records (protobuf).
    #[cfg(feature = "otlp")]
    Otlp => "otlp",
}

/// A format cannot express an entry, because the entry's own format is newer than this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeError;

impl Format {
    /// Encodes one entry, without a line break.
    ///
    /// # Errors
    /// [`EncodeError`] for an entry in a newer format. JSON lines can express every entry.
    pub fn encode(self, item: &KeyedEntry, producer: &Producer) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::JsonLines => Ok(json_line(item)),
            Self::Ocsf => ocsf::event(item, producer)
                .map(|event| event.to_string().into_bytes())
                .ok_or(EncodeError),
            Self::Syslog => syslog::message(item, producer)
                .map(String::into_bytes)
                .ok_or(EncodeError),
            #[cfg(feature = "otlp")]
            Self::Otlp => crate::otlp::record(item).ok_or(EncodeError),
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the entry was written by a newer version and cannot be expressed in this format",
        )
    }
}

impl std::error::Error for EncodeError {}

fn json_line(item: &KeyedEntry) -> Vec<u8> {
    let members = item.stored.json.strip_prefix(b"{").unwrap_or_default();
    // A key contains only digits and slashes, which need no escaping.
    let head = format!(
        "{{\"key\":\"{}\",\"sequence\":{},",
        item.key, item.stored.sequence
    );
    let mut line = head.into_bytes();
    line.extend_from_slice(members);
    line
}
