//! Encodes entries as syslog messages (RFC 5424) with facility 13 (log audit): the main facts as
//! structured data, followed by the entry as JSON.
//!
//! Messages are ASCII. Other characters are escaped as in JSON, so that a name cannot inject
//! lines or commands into a receiver.

use std::fmt::Write as _;

use spanner_core::Effect;

use crate::Producer;
use crate::keyed::KeyedEntry;
use spanner_ledger::{Entry, served_under};

/// Encodes an entry; `None` if its format is newer than this version.
pub(crate) fn message(item: &KeyedEntry, producer: &Producer) -> Option<String> {
    let entry = item.stored.entry.as_ref()?;
    let time = item.time()?;
    let (severity, id) = kind(entry)?;
    let mut text = format!(
        "<{}>1 {} {} spanner - {id} [spanner@{}",
        FACILITY * 8 + severity,
        time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        host(entry),
        producer.enterprise_number,
    );
    for (name, value) in data(item, entry) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, " {name}=\"{}\"", escaped(&value));
    }
    text.push_str("] ");
    let json = ascii(&String::from_utf8_lossy(&item.stored.json));
    match json.len() > MAX_JSON {
        // The structured data contains the key, by which the whole entry can be found in the
        // ledger.
        true => text.push_str("{\"truncated\":true}"),
        false => text.push_str(&json),
    }
    Some(text)
}

/// The severity and the MSGID.
const fn kind(entry: &Entry) -> Option<(u32, &'static str)> {
    Some(match entry {
        Entry::Decision(decision) => match decision.effect {
            Effect::Allow => (INFORMATIONAL, "decision.allow"),
            _ => (WARNING, "decision.deny"),
        },
        Entry::Outcome(_) => (INFORMATIONAL, "outcome"),
        Entry::Gap(_) => (ERROR, "gap"),
        Entry::Count(_) => (NOTICE, "count"),
        Entry::Event(_) => (NOTICE, "event"),
        _ => return None,
    })
}

/// The HOSTNAME: printable ASCII, or the nil value.
fn host(entry: &Entry) -> String {
    let named = match entry {
        Entry::Decision(decision) => decision.instance.as_deref(),
        _ => None,
    };
    let fits = |name: &&str| {
        (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    named.filter(fits).unwrap_or("-").to_owned()
}

fn data(item: &KeyedEntry, entry: &Entry) -> Vec<(&'static str, String)> {
    let mut data = vec![
        ("key", item.key.clone()),
        ("sequence", item.stored.sequence.to_string()),
    ];
    let decision = match entry {
        Entry::Decision(decision) => Some(&**decision),
        _ => item.decision.as_deref(),
    };
    if let Some(decision) = decision {
        data.push(("record", decision.id.to_string()));
        data.push(("service", decision.service.clone()));
        data.push(("environment", decision.environment.clone()));
        if let Some(caller) = &decision.caller {
            data.push(("caller", caller.to_string()));
        }
        if let Some(pair) = decision.target.first() {
            data.push(("action", pair.action.to_string()));
            data.extend(pair.model.clone().map(|model| ("model", model)));
            let promotion = served_under(decision, pair);
            let promotion = promotion.map(|it| ("promotion", it.to_string()));
            data.extend(promotion);
        }
        data.push(("reason", decision.reason.clone()));
        if decision.enforcement.is_external() {
            data.push(("enforcement", "external".to_owned()));
        }
    }
    match entry {
        Entry::Outcome(outcome) => {
            if decision.is_none() {
                data.push(("record", outcome.id.to_string()));
            }
            data.push(("class", outcome.class.as_str().to_owned()));
            let status = outcome.status.map(|status| ("status", status.to_string()));
            data.extend(status);
            let reason = outcome.reason.clone().map(|why| ("broken_off", why));
            data.extend(reason);
        }
        Entry::Event(event) => data.push(("event", event.event.clone())),
        _ => {}
    }
    data
}

/// Escapes a PARAM-VALUE (RFC 5424 §6.3.3).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in ascii_of(value) {
        if matches!(character, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// Escapes characters other than printable ASCII as Rust does.
fn ascii_of(text: &str) -> impl Iterator<Item = char> {
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    text.chars().flat_map(move |c| {
        let (kept, escaped) = match plain(c) {
            true => (Some(c), None),
            false => (None, Some(c.escape_unicode())),
        };
        kept.into_iter().chain(escaped.into_iter().flatten())
    })
}

/// Equivalent JSON in ASCII.
fn ascii(json: &str) -> String {
    if json.is_ascii() {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character.is_ascii() {
            true => text.push(character),
            false => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

const FACILITY: u32 = 13;
const ERROR: u32 = 3;
const WARNING: u32 = 4;
const NOTICE: u32 = 5;
const INFORMATIONAL: u32 = 6;
/// rsyslog has the smallest default limit of the common receivers: 8 KiB per message.
const MAX_JSON: usize = 6 * 1024;
