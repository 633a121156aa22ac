//! Classifies an entry and extracts its record's identifier, without parsing all of its JSON.
//!
//! Scanning a ledger needs no more, and full parsing would dominate its time. This crate writes
//! the kind and the identifier first, so a fast path reads them from the beginning. Any other
//! form is parsed as JSON.

use serde::Deserialize;
use spanner_core::RecordId;
use spanner_core::record::Enforcement;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Decision(RecordId),
    /// A decision that another component enforces. It may have no outcome.
    External(RecordId),
    Outcome(RecordId),
    Gap,
    Count,
    Event,
    /// A kind of a newer version.
    Unknown,
}

impl Head {
    pub(crate) fn of(payload: &[u8]) -> Self {
        quick(payload).unwrap_or_else(|| read(payload))
    }
}

/// The fast path, for entries that this crate wrote.
fn quick(payload: &[u8]) -> Option<Head> {
    let rest = payload.strip_prefix(br#"{"kind":""#)?;
    let (of, rest): (fn(RecordId) -> Head, &[u8]) = match rest.strip_prefix(b"decision") {
        Some(rest) => (Head::Decision, rest),
        None => (Head::Outcome, rest.strip_prefix(b"outcome")?),
    };
    let (id, rest) = rest
        .strip_prefix(br#"","id":""#)?
        .split_first_chunk::<ID>()?;
    let id = str::from_utf8(id).ok()?.parse().ok()?;
    let rest = rest.strip_prefix(b"\"")?;
    Some(match of(id) {
        Head::Decision(id) if rest.starts_with(EXTERNAL) => Head::External(id),
        head => head,
    })
}

fn read(payload: &[u8]) -> Head {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        kind: &'a str,
        id: Option<RecordId>,
        #[serde(default)]
        enforcement: Enforcement,
    }
    match serde_json::from_slice::<Members<'_>>(payload) {
        Ok(Members {
            kind,
            id,
            enforcement,
        }) => match (kind, id) {
            ("decision", Some(id)) if enforcement.is_external() => Head::External(id),
            ("decision", Some(id)) => Head::Decision(id),
            ("outcome", Some(id)) => Head::Outcome(id),
            ("gap", _) => Head::Gap,
            ("count", _) => Head::Count,
            ("event", _) => Head::Event,
            _ => Head::Unknown,
        },
        Err(_) => Head::Unknown,
    }
}

/// What follows the identifier of an externally enforced decision.
const EXTERNAL: &[u8] = br#","enforcement":"external""#;

/// The length of a UUID as text (RFC 9562 §4).
const ID: usize = 36;

#[cfg(test)]
mod tests {
    use spanner_core::Timestamp;
    use spanner_core::record::Outcome;

    use super::*;
    use crate::entry::Entry;

    const ID: &str = "019ab5d3-2ad4-7e39-8a31-8a2e3b1c0d01";

    #[test]
    fn classifies_its_own_entries_by_their_beginning() {
        let id: RecordId = ID.parse().unwrap();
        let outcome = Entry::Outcome(Box::new(Outcome::crashed(id, Timestamp::UNIX_EPOCH)));
        let payload = outcome.payload().unwrap();
        assert_eq!(quick(&payload), Some(Head::Outcome(id)));
        assert_eq!(read(&payload), Head::Outcome(id));
        let decision = format!(r#"{{"kind":"decision","id":"{ID}","time":"x"}}"#);
        assert_eq!(quick(decision.as_bytes()), Some(Head::Decision(id)));
        assert_eq!(read(decision.as_bytes()), Head::Decision(id));
        let external = format!(r#"{{"kind":"decision","id":"{ID}","enforcement":"external"}}"#);
        assert_eq!(quick(external.as_bytes()), Some(Head::External(id)));
        assert_eq!(read(external.as_bytes()), Head::External(id));
    }

    #[test]
    fn parses_other_entries_as_json() {
        let id: RecordId = ID.parse().unwrap();
        let rows = [
            (
                format!(r#"{{"id":"{ID}","kind":"decision"}}"#),
                Head::Decision(id),
            ),
            (
                format!(r#"{{ "kind":"outcome","id":"{ID}"}}"#),
                Head::Outcome(id),
            ),
            (r#"{"kind":"event","id":"x"}"#.to_owned(), Head::Unknown),
            (r#"{"kind":"event"}"#.to_owned(), Head::Event),
            (r#"{"kind":"gap"}"#.to_owned(), Head::Gap),
            (r#"{"kind":"count"}"#.to_owned(), Head::Count),
            (r#"{"kind":"decision"}"#.to_owned(), Head::Unknown),
            (r#"{"kind":"decision","id":"é"#.to_owned(), Head::Unknown),
            (r#"{"kind":"decision","id":"""#.to_owned(), Head::Unknown),
            (
                format!(r#"{{"kind":"decisions","id":"{ID}"}}"#),
                Head::Unknown,
            ),
            (String::new(), Head::Unknown),
        ];
        for (payload, expected) in rows {
            assert_eq!(Head::of(payload.as_bytes()), expected, "{payload}");
        }
    }
}
