//! What is printed and logged: without the secrets that addresses carry, and without characters
//! that could forge a line or a command of the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use spanner_core::text::{Invisible, invisible};

/// A text in one line.
#[must_use]
pub fn line(text: &str) -> String {
    shown(text, false)
}

/// A text of several lines, whose ends stay.
#[must_use]
pub fn lines(text: &str) -> String {
    shown(text, true)
}

/// The message of an error with its causes. A cause that the text already contains is left out.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        if !text.contains(&says) {
            text.push_str(": ");
            text.push_str(&says);
        }
        cause = error.source();
    }
    text
}

/// A text from which an address is to be made, and cannot be: whatever stands before an `@` may
/// be a secret.
pub(crate) fn address(text: &str) -> Cow<'_, str> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    match text.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => Cow::Owned(format!("{HIDDEN}@{host}")),
        Some((_, host)) => Cow::Owned(format!("{scheme}://{HIDDEN}@{host}")),
        None => Cow::Borrowed(text),
    }
}

/// What a parser of TOML says, in the words of the format rather than of the program, and the
/// place in the file if it names one.
pub(crate) fn parsed(text: &str) -> (Option<(usize, usize)>, String) {
    let place = text
        .split_once("TOML parse error at line ")
        .and_then(|(_, rest)| {
            let (line, rest) = rest.split_once(", column ")?;
            let (column, _) = rest.split_once('\n')?;
            Some((line.parse().ok()?, column.parse().ok()?))
        });
    // Between the place and the reason it shows the line of the file.
    let reason = match place {
        Some(_) => text.trim_end().rsplit('\n').next().unwrap_or(text),
        None => text,
    };
    (place, plain(reason))
}

/// What `serde` says, without its words for types.
pub(crate) fn plain(text: &str) -> String {
    let mut out = text.to_owned();
    for (theirs, ours) in [
        ("unknown field ", "unknown key "),
        ("missing field ", "missing key "),
        ("duplicate field ", "duplicate key "),
        ("unknown variant ", "unknown word "),
        ("invalid type: ", "wrong type: "),
        ("a sequence", "a list"),
        ("a map", "a table"),
    ] {
        out = out.replace(theirs, ours);
    }
    for word in [
        "expected struct ",
        "expected enum ",
        "expected tuple struct ",
        "expected newtype struct ",
    ] {
        while let Some((before, after)) = out.split_once(word) {
            let end = after
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(after.len());
            let rest = after.get(end..).unwrap_or_default();
            out = format!("{before}expected a table{rest}");
        }
    }
    out
}

/// What is wrong with a file, in words for whoever named it.
pub(crate) fn unreadable(path: &std::path::Path, fault: &std::io::Error) -> (String, &'static str) {
    use std::io::ErrorKind;
    let advice = match fault.kind() {
        ErrorKind::NotFound => "correct its path, which is relative to the file that names it",
        ErrorKind::PermissionDenied => "let the user of this process read it",
        ErrorKind::IsADirectory => "name a file in that directory",
        ErrorKind::InvalidData => "save it as UTF-8",
        _ => "make it a file that can be read",
    };
    let why = match fault.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
        _ => fault.to_string(),
    };
    (
        format!("`{}` cannot be read: {why}", path.display()),
        advice,
    )
}

fn shown(text: &str, keep_lines: bool) -> String {
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

/// Whether a character is escaped: it is not seen, or changes how the text around it is read.
/// Selectors and marks belong to the character before them.
const fn is_escaped(c: char) -> bool {
    !matches!(
        invisible(c),
        None | Some(Invisible::Selector | Invisible::Mark | Invisible::Unassigned)
    )
}

/// Takes user, password and query out of every address in a text: `https://user:pass@host/a?key=1`
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
        // An address in the query of another is hidden with it.
        out.push_str(&bare(address));
        rest = behind;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "`\"'<>".contains(c)
}

/// What stands behind `://`, without secrets.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_secrets() {
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
        assert_eq!(address("user:pass@host:9000"), "\u{2026}@host:9000");
        assert_eq!(address("ftp://user:pa/ss@host"), "ftp://\u{2026}@host");
        assert_eq!(address("host:9000"), "host:9000");
    }

    #[test]
    fn a_parser_speaks_of_the_file() {
        let snippet = "the revocations cannot be read: TOML parse error at line 2, column 8\n  |\n\
                       2 | issuer=7\n  |        ^\ninvalid type: integer `7`, expected a string\n";
        let (place, what) = parsed(snippet);
        assert_eq!(place, Some((2, 8)));
        assert_eq!(what, "wrong type: integer `7`, expected a string");
        let (place, what) = parsed("invalid type: integer `7`, expected struct Asked");
        assert_eq!(
            (place, &*what),
            (None, "wrong type: integer `7`, expected a table")
        );
        assert_eq!(
            plain("unknown field `x`, expected one of `at`, `as`"),
            "unknown key `x`, expected one of `at`, `as`"
        );
    }

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        let text = "a\u{1b}[2Jb\r\nc\td\u{9b}e\u{202e}f\u{7f}";
        let shown = line(text);
        assert_eq!(shown, "a\\u{1b}[2Jb  c d\\u{9b}e\\u{202e}f\\u{7f}");
        assert_eq!(lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
    }
}
