//! Names that look like others, and invisible characters.

use std::borrow::Cow;

use spanner_core::text::{Invisible, invisible};
use unicode_security::MixedScript as _;
use unicode_security::confusable_detection::skeleton;

/// Whether a character is visible and does not reorder the text around it: it is no control
/// character and not [`invisible`]. Variation selectors 15 and 16 count as visible.
#[must_use]
pub fn is_visible(c: char) -> bool {
    let is_emoji_form = matches!(c, '\u{FE0E}' | '\u{FE0F}');
    is_emoji_form
        || c == BRAILLE_BLANK
        || matches!(
            invisible(c),
            None | Some(Invisible::Mark | Invisible::Unassigned)
        )
}

/// The first invisible character of a text, with its byte offset. Line ends, tabs, a leading byte
/// order mark, and joiners after a letter or an emoji are allowed.
#[must_use]
pub fn hidden(text: &str) -> Option<(usize, char)> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let joins = matches!(c, '\u{200C}' | '\u{200D}') && !before.is_ascii();
        let layout = matches!(c, '\n' | '\r' | '\t') || (at == 0 && c == '\u{FEFF}');
        if !is_visible(c) && !joins && !layout {
            return Some((at, c));
        }
        before = c;
    }
    None
}

/// Whether a text has a visible character.
#[must_use]
pub fn is_readable(text: &str) -> bool {
    let blank = |c: char| c.is_whitespace() || !is_visible(c) || c == BRAILLE_BLANK;
    !text.chars().all(blank)
}

/// The skeleton of a name (UTS #39 §4): names that look alike have the same one.
#[must_use]
pub fn skeleton_of(text: &str) -> String {
    skeleton(text)
        .filter(|c| !matches!(c, '\u{FE0E}' | '\u{FE0F}'))
        .collect()
}

/// A braille pattern without dots: a space to those who cannot read braille.
const BRAILLE_BLANK: char = '\u{2800}';

/// The code point of a character: `U+0440`.
#[must_use]
pub fn code(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// A text in which each word that could be mistaken for another is followed by its code points:
/// `group:corp/nl\u{440}` becomes `group:corp/nl\u{440}(U+0440)`.
#[must_use]
pub fn marked(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut marked = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars() {
        let strange_blank = !c.is_ascii() && (c.is_whitespace() || c == '\u{2800}');
        let selector = matches!(c, '\u{FE0E}' | '\u{FE0F}');
        if strange_blank || selector || !c.is_alphanumeric() && !is_mark(c) {
            close(&mut word, &mut marked);
            marked.push(c);
            if strange_blank || selector {
                marked.push_str(&format!("({})", code(c)));
            }
        } else {
            word.push(c);
        }
    }
    close(&mut word, &mut marked);
    Cow::Owned(marked)
}

/// Ends a word, with its code points if it could be taken for another one.
fn close(word: &mut String, marked: &mut String) {
    marked.push_str(word);
    if is_strange(word) {
        let points = word.chars().filter(|c| !c.is_ascii()).map(code);
        let points: Vec<String> = points.collect();
        marked.push_str(&format!("({})", points.join(" ")));
    }
    word.clear();
}

/// Whether a word mixes scripts that are not written together, or looks like one in ASCII.
fn is_strange(word: &str) -> bool {
    !word.is_ascii() && (!word.is_single_script() || skeleton_of(word).is_ascii())
}

/// Marks that combine with the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_what_could_be_taken_for_another_name() {
        for (text, expected) in [
            ("group:corp/nlp", "group:corp/nlp"),
            ("group:corp/nl\u{440}", "group:corp/nl\u{440}(U+0440)"),
            (
                "\u{430}\u{441}\u{435}",
                "\u{430}\u{441}\u{435}(U+0430 U+0441 U+0435)",
            ),
            ("команда-ML", "команда-ML"),
            ("josé", "josé"),
            ("jose\u{301}", "jose\u{301}"),
            ("開発チーム", "開発チーム"),
            ("ｎlp", "ｎlp(U+FF4E)"),
            ("ml\u{a0}ops", "ml\u{a0}(U+00A0)ops"),
            ("nlp\u{fe0f}", "nlp\u{fe0f}(U+FE0F)"),
        ] {
            assert_eq!(marked(text), expected);
            assert_eq!(marked(text).contains("U+"), expected.contains("U+"));
        }
    }

    #[test]
    fn finds_invisible_characters() {
        for (text, expected) in [
            ("plain\ttext\r\n", None),
            ("\u{feff}x", None),
            ("x\u{feff}", Some((1, '\u{feff}'))),
            ("a\u{202e}b", Some((1, '\u{202e}'))),
            ("a\u{200d}b", Some((1, '\u{200d}'))),
            ("\u{1f469}\u{200d}\u{1f4bb}", None),
            ("\u{0}", Some((0, '\u{0}'))),
            ("a\u{e0061}", Some((1, '\u{e0061}'))),
        ] {
            assert_eq!(hidden(text), expected);
        }
        assert!(!is_readable(" \u{2800}\u{3164}"));
        assert!(is_readable("x"));
    }
}
