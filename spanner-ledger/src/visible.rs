//! Makes invisible characters visible.

use std::borrow::Cow;
use std::fmt::Write as _;

use spanner_core::text::invisible;

/// Returns equivalent JSON without invisible characters. Characters that a terminal does not
/// show, or interprets as a command or a change of direction, are escaped, for example as
/// `\u202e`. Use this for output only; a ledger stores the original bytes.
#[must_use]
pub fn visible_json(json: &str) -> Cow<'_, str> {
    // JSON itself escapes characters up to `~` in strings, and has only white space between
    // tokens.
    let is_due = |character: char| character > '~' && is_hidden(character);
    if !json.contains(is_due) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match is_due(character) {
            false => text.push(character),
            true => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(text)
}

/// Returns a text on one line of at most `most` characters, without invisible characters or
/// terminal commands. Control and invisible characters, backslashes and `│`, which separates
/// columns of tables, are escaped as in Rust (`\u{202e}`). A longer text is cut and ends in `…`.
/// An empty text becomes `-`.
#[must_use]
pub fn visible_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for character in text.chars().take(most) {
        match character {
            '\'' | '"' => line.push(character),
            SEPARATOR => line.extend(character.escape_unicode()),
            _ if is_hidden(character) && !character.is_control() => {
                line.extend(character.escape_unicode());
            }
            _ => line.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    if line.is_empty() {
        NOTHING.to_owned()
    } else {
        line
    }
}

/// Whether a character is invisible on its own.
pub(crate) fn is_hidden(character: char) -> bool {
    match character {
        '\'' | '"' | '\\' => false,
        _ => invisible(character).is_some() || character.escape_debug().len() > 1,
    }
}

/// The column separator of tables.
const SEPARATOR: char = '│';
/// The replacement for an empty text.
const NOTHING: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    /// Unicode's `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt).
    const IGNORABLE: [(u32, u32); 17] = [
        (0xad, 0xad),
        (0x34f, 0x34f),
        (0x61c, 0x61c),
        (0x115f, 0x1160),
        (0x17b4, 0x17b5),
        (0x180b, 0x180f),
        (0x200b, 0x200f),
        (0x202a, 0x202e),
        (0x2060, 0x206f),
        (0x3164, 0x3164),
        (0xfe00, 0xfe0f),
        (0xfeff, 0xfeff),
        (0xffa0, 0xffa0),
        (0xfff0, 0xfff8),
        (0x1bca0, 0x1bca3),
        (0x1d173, 0x1d17a),
        (0xe0000, 0xe0fff),
    ];

    #[test]
    fn escapes_characters_that_a_terminal_ignores() {
        let all = IGNORABLE.into_iter().flat_map(|(from, to)| from..=to);
        let commands = (0x7f..=0x9f).chain([0x2028, 0x2029, 0x2800]);
        for character in all.chain(commands).filter_map(char::from_u32) {
            let name = format!("a{character}b");
            assert!(
                !visible_line(&name, 48).contains(character),
                "{character:?}"
            );
            let json = serde_json::to_string(&name).unwrap();
            let shown = visible_json(&json);
            assert!(shown.is_ascii() && shown.contains("\\u"), "{shown:?}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), name);
        }
    }

    #[test]
    fn retains_visible_characters() {
        for name in ["alice", "李雷", "O'Neil", "José", "😀"] {
            assert!(!name.chars().any(is_hidden), "{name}");
        }
        let json = serde_json::json!({"a": ["x\ny", "\\\"", "é"]});
        for json in [json.to_string(), format!("{json:#}")] {
            assert_eq!(visible_json(&json), json);
        }
    }
}
