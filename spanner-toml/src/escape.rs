//! Escapes text of files, tokens and addresses before it is printed or logged.

use std::borrow::Cow;
use std::fmt::Write as _;

use spanner_core::text::{Invisible, invisible};

/// A text in one line: without the userinfo and the query of URLs, which may be secrets, and with
/// control and invisible characters escaped, so that it cannot forge another line or command a
/// terminal.
#[must_use]
pub fn line(text: &str) -> String {
    escaped(text, false)
}

/// The same for a text of several lines, whose line feeds are kept.
#[must_use]
pub fn lines(text: &str) -> String {
    escaped(text, true)
}

/// A text that should be an address and is not, with everything before an `@` hidden: that may be a
/// secret.
#[must_use]
pub fn hide_userinfo(text: &str) -> Cow<'_, str> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    match text.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => Cow::Owned(format!("{HIDDEN}@{host}")),
        Some((_, host)) => Cow::Owned(format!("{scheme}://{HIDDEN}@{host}")),
        None => Cow::Borrowed(text),
    }
}

/// One line of bounded length.
pub(crate) fn cut_line(text: &str) -> String {
    let line = line(text.trim_end());
    match line.char_indices().nth(MAX_CHARACTERS) {
        None => line,
        Some((end, _)) => format!("{}{HIDDEN}", line.get(..end).unwrap_or_default()),
    }
}

fn escaped(text: &str, keep_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in without_secrets(text).chars() {
        match c {
            '\n' if keep_lines => out.push('\n'),
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_escaped(c) => {
                // Writing to a text cannot fail.
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether a character is escaped: it is invisible, or changes how the text around it is read.
/// Selectors and marks belong to the character before them.
const fn is_escaped(c: char) -> bool {
    !matches!(
        invisible(c),
        None | Some(Invisible::Selector | Invisible::Mark | Invisible::Unassigned)
    )
}

/// Takes the userinfo and the query out of every URL in a text: `https://user:pass@host/a?key=1`
/// becomes `https://…@host/a?…`.
fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after.find(ends_address).unwrap_or(after.len());
        let (address, behind) = after.split_at_checked(end).unwrap_or((after, ""));
        // A URL in the query of another one is hidden with it.
        out.push_str(&bare(address));
        rest = behind;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "`\"'<>".contains(c)
}

/// What follows `://`, without secrets.
fn bare(address: &str) -> String {
    let ends = |c: char| "/?#".contains(c);
    let host = address.find(ends).unwrap_or(address.len());
    let (authority, _) = address.split_at_checked(host).unwrap_or((address, ""));
    // A password may have a slash in it, which ends the host for every parser.
    let has_port = authority
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.ends_with(']') || port.bytes().all(|it| it.is_ascii_digit()));
    let secret = match authority.rfind('@') {
        Some(at) => Some(at),
        None if !has_port => address.rfind('@'),
        None => None,
    };
    let shown = secret.and_then(|at| address.get(at..));
    let (hidden, shown) = shown.map_or(("", address), |shown| (HIDDEN, shown));
    match shown.split_once('?') {
        Some((path, _)) => format!("{hidden}{path}?{HIDDEN}"),
        None => format!("{hidden}{shown}"),
    }
}

const HIDDEN: &str = "\u{2026}";

/// Characters of one part of a problem: the list of all model APIs fits.
const MAX_CHARACTERS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_secrets_of_urls() {
        for (text, expected) in [
            (
                "`http://models.example.com:9000/v1` is fine",
                "`http://models.example.com:9000/v1` is fine",
            ),
            ("`https://user:pass@host/a`", "`https://\u{2026}@host/a`"),
            ("https://user:p@ss@host:1/a", "https://\u{2026}@host:1/a"),
            ("https://user:pa/ss@host/a", "https://\u{2026}@host/a"),
            ("https://user:pa?ss@host/a", "https://\u{2026}@host/a"),
            ("https://token@host", "https://\u{2026}@host"),
            ("(https://host/a?key=secret)", "(https://host/a?\u{2026}"),
            (
                "a https://h/x@1 b http://u:p@h c",
                "a https://h/x@1 b http://\u{2026}@h c",
            ),
            ("https://[::1]:8080/x@y", "https://[::1]:8080/x@y"),
            ("user:corp/ann@example.com", "user:corp/ann@example.com"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(hide_userinfo("user:pass@host:9000"), "\u{2026}@host:9000");
        assert_eq!(
            hide_userinfo("ftp://user:pa/ss@host"),
            "ftp://\u{2026}@host"
        );
        assert_eq!(hide_userinfo("host:9000"), "host:9000");
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let text = "a\u{1b}[2Jb\r\nc\td\u{9b}e\u{202e}f\u{7f}";
        let shown = line(text);
        assert_eq!(shown, "a\\u{1b}[2Jb  c d\\u{9b}e\\u{202e}f\\u{7f}");
        assert_eq!(lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
    }
}
