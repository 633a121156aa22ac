//! The syntax of targets and paths. A path that two servers could read differently is refused
//! and never corrected, because no normal form agrees with all servers.
//!
//! # Caveats
//! `http` drops a fragment (`/a#b`) before any service sees it, so the rest is decided and
//! forwarded. A server that wants to refuse it must check the bytes that it reads, as `spanner
//! serve` does.

use std::str::FromStr;

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use spanner_core::RequestFault;

/// The path, if all servers read it alike.
pub(super) fn checked(parts: &Parts) -> Result<&str, RequestFault> {
    check_authority(parts)?;
    let path = parts.uri.path();
    // A target that is only a query has no path, but `http` reports `/` for it.
    let target = parts.uri.path_and_query();
    if target.is_none_or(|target| !target.as_str().starts_with('/')) {
        return Err(RequestFault::Target);
    }
    let rest = path.strip_prefix('/').ok_or(RequestFault::Target)?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        check_segment(segment, last)?;
    }
    Ok(path)
}

/// Decodes the value of a slot once. The text must have passed [`checked`].
pub(super) fn decoded(raw: &str) -> String {
    percent_encoding::percent_decode_str(raw)
        .decode_utf8_lossy()
        .into_owned()
}

/// Whether a raw text begins with an encoded slash.
pub(super) fn begins_with_slash(raw: &str) -> bool {
    raw.starts_with("%2F") || raw.starts_with("%2f")
}

/// Whether a raw text contains an encoded slash.
pub(super) fn hides_slash(raw: &str) -> bool {
    raw.contains("%2F") || raw.contains("%2f")
}

/// Checks that there is at most one `Host`, and that it equals the authority of the target, if
/// the target has one (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
fn check_authority(parts: &Parts) -> Result<(), RequestFault> {
    let named = parts.uri.authority();
    let host = single_host(&parts.headers)?;
    if named.is_some_and(|named| named.as_str().contains('@')) {
        return Err(RequestFault::Target);
    }
    match (named, host) {
        (Some(named), Some(host)) if !named.as_str().eq_ignore_ascii_case(host.as_str()) => {
            Err(RequestFault::Target)
        }
        _ => Ok(()),
    }
}

fn single_host(headers: &HeaderMap) -> Result<Option<Authority>, RequestFault> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    let host = host.to_str().map_err(|_| RequestFault::Target)?;
    if hosts.next().is_some() || host.contains('@') {
        return Err(RequestFault::Target);
    }
    match host {
        // RFC 9112 §3.2: empty where the target has no authority.
        "" => Ok(None),
        host => Authority::from_str(host)
            .map(Some)
            .map_err(|_| RequestFault::Target),
    }
}

/// Checks one segment: characters of RFC 3986 §3.3 without `;`, escapes only of characters that
/// need them, and no part that is empty, `.` or `..`, also after an encoded slash.
fn check_segment(segment: &str, last: bool) -> Result<(), RequestFault> {
    let mut bytes = segment.bytes();
    let mut part = Part::default();
    let mut slashes = false;
    let mut beyond = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            check_characters(&mut beyond)?;
        }
        match byte {
            b'%' => match escaped(bytes.next(), bytes.next()) {
                // A name may begin with a slash: `%2Fmodels%2Fx`. The route checks whether the
                // slot holds a name.
                Some(b'/') if !slashes && part.length == 0 => slashes = true,
                Some(b'/') => {
                    slashes = true;
                    part.close()?;
                }
                Some(byte) if may_be_escaped(byte) => part.push(byte),
                // Possibly part of a non-ASCII character; checked with the bytes that follow.
                Some(byte) if !byte.is_ascii() => {
                    beyond.push(byte);
                    part.push(byte);
                    continue;
                }
                _ => return Err(RequestFault::Path),
            },
            byte if may_stand(byte) => part.push(byte),
            _ => return Err(RequestFault::Path),
        }
    }
    check_characters(&mut beyond)?;
    // Only the last segment of the path may be empty: a trailing slash is another route.
    if segment.is_empty() && last && !slashes {
        return Ok(());
    }
    part.close()
}

/// Checks that a run of escaped bytes is visible characters in shortest-form UTF-8.
fn check_characters(escaped: &mut Vec<u8>) -> Result<(), RequestFault> {
    let text = str::from_utf8(escaped).map_err(|_| RequestFault::Path)?;
    let unseen = |c: char| c.is_control() || c.is_whitespace();
    let hidden = text.contains(unseen);
    escaped.clear();
    match hidden {
        true => Err(RequestFault::Path),
        false => Ok(()),
    }
}

/// A run of characters between slashes.
#[derive(Default)]
struct Part {
    length: usize,
    dots: usize,
}

impl Part {
    const fn push(&mut self, byte: u8) {
        self.length += 1;
        if byte == b'.' {
            self.dots += 1;
        }
    }

    fn close(&mut self) -> Result<(), RequestFault> {
        let part = std::mem::take(self);
        match part.length <= 2 && part.dots == part.length {
            true => Err(RequestFault::Path),
            false => Ok(()),
        }
    }
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

const fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

/// Whether an escape is of a printable character without special meaning in a path. Escapes of
/// unreserved characters are not canonical (RFC 3986 §6.2.2.2).
const fn may_be_escaped(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let structural = matches!(byte, b'%' | b'\\' | b';' | b'?' | b'#');
    (byte.is_ascii_graphic() || byte == b' ') && !unreserved && !structural
}

#[cfg(test)]
mod tests {
    use http::{Request, Uri};

    use super::*;

    #[test]
    fn a_target_has_a_path_of_its_own() {
        for (target, due) in [
            ("/", Ok("/")),
            ("/v1/models?a=b", Ok("/v1/models")),
            ("?a=b", Err(RequestFault::Target)),
            ("*", Err(RequestFault::Target)),
        ] {
            let uri = Uri::builder().scheme("http").authority("models.test");
            let uri = uri.path_and_query(target).build().unwrap();
            let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
            assert_eq!(checked(&parts), due, "{target}");
        }
    }
}
