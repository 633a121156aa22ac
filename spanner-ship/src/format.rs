//! In which words entries go out.

use std::fmt;

use crate::keyed::KeyedEntry;
use crate::{Producer, ocsf, syslog};

macro_rules! formats {
    ($($(#[doc = $doc:literal])* $(#[cfg($feature:meta)])? $format:ident => $word:literal,)*) => {
        /// A format for entries: one entry, one message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Format { $($(#[doc = $doc])* $(#[cfg($feature)])? $format,)* }

        impl Format {
            /// Every format, with the features that are on.
            pub const ALL: &'static [Self] = &[$($(#[cfg($feature)])? Self::$format,)*];

            /// The words of all, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($(#[cfg($feature)])? $word,)*];

            /// Its word in configurations.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($(#[cfg($feature)])? Self::$format => $word,)* }
            }
        }
    };
}

formats! {
    /// OCSF 1.8 API Activity (class 6003), one JSON object on a line; for a SIEM.
    Ocsf => "ocsf",
    /// Each entry as the ledger has it, with its key first; for programs of your own.
    JsonLines => "jsonl",
    /// RFC 5424 syslog, with the entry as JSON behind the structured data.
    Syslog => "syslog",
    /// OpenTelemetry log records (protobuf).
    #[cfg(feature = "otlp")]
    Otlp => "otlp",
}

/// An entry cannot be said in a format: a newer version wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeError;

impl Format {
    /// One entry in this format, without a line's end.
    ///
    /// # Errors
    /// [`EncodeError`] for an entry of a newer version, but as JSON lines.
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
        f.write_str("a newer version wrote this entry; this one cannot put it into this format")
    }
}

impl std::error::Error for EncodeError {}

fn json_line(item: &KeyedEntry) -> Vec<u8> {
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
