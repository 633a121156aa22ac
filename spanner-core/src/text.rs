//! Characters that a reader does not see: the one list that names, reasons, files and printed
//! text are held against.
//!
//! Each use decides which classes it refuses or escapes, because they differ in harm. A control
//! character or an override of the direction forges what is read; a joiner is part of ordinary
//! words in Persian and of most emoji.

/// Why a character is invisible, or invisible without its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invisible {
    /// A control character (general category `Cc`), line feed and tab included.
    Control,
    /// A line or paragraph separator, U+2028 and U+2029.
    Separator,
    /// An embedding, override or isolate, which changes the order of what follows (UAX #9).
    Direction,
    /// A character without width: a joiner, a direction mark, a byte order mark, an annotation.
    ZeroWidth,
    /// A variation selector, which changes the form of the character before it.
    Selector,
    /// A filler, a tag, or another character that is ignored unless it is known
    /// (`Default_Ignorable_Code_Point`, UAX #44), and the blank pattern of Braille.
    Filler,
    /// A combining mark, which is seen only above another character.
    Mark,
    /// A character for private use, a placeholder or a noncharacter.
    Unassigned,
}

/// Why a character is not seen; `None` for one that is seen, and for a blank.
///
/// ```
/// use spanner_core::text::{Invisible, invisible};
///
/// assert_eq!(invisible('é'), None);
/// assert_eq!(invisible('\u{202e}'), Some(Invisible::Direction));
/// assert_eq!(invisible('\u{200b}'), Some(Invisible::ZeroWidth));
/// ```
#[must_use]
pub const fn invisible(character: char) -> Option<Invisible> {
    Some(match character {
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Invisible::Control,
        '\u{2028}' | '\u{2029}' => Invisible::Separator,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Invisible::Direction,
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => Invisible::ZeroWidth,
        '\u{180b}'..='\u{180d}'
        | '\u{180f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0100}'..='\u{e01ef}' => Invisible::Selector,
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180e}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => Invisible::Filler,
        '\u{300}'..='\u{36f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}' => Invisible::Mark,
        '\u{e000}'..='\u{f8ff}'
        | '\u{fffc}'
        | '\u{fffe}'..='\u{ffff}'
        | '\u{e1000}'..='\u{10ffff}' => Invisible::Unassigned,
        _ => return None,
    })
}

/// Whether a text says anything that can be seen: one character at least that is neither a blank
/// nor [invisible].
#[must_use]
pub fn can_be_seen(text: &str) -> bool {
    let is_seen = |c: char| !c.is_whitespace() && invisible(c).is_none();
    text.chars().any(is_seen)
}

/// Whether a character can stand in a name without forging a line, a terminal sequence or the
/// order of what is read.
pub(crate) const fn is_displayable(character: char) -> bool {
    match invisible(character) {
        Some(
            Invisible::Control | Invisible::Separator | Invisible::Direction | Invisible::ZeroWidth,
        ) => false,
        Some(Invisible::Selector | Invisible::Filler | Invisible::Mark | Invisible::Unassigned)
        | None => true,
    }
}

/// The message of an error with its causes. A cause that the text already contains is left out.
#[must_use]
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_no_mark_says_nothing() {
        for nothing in [
            "",
            " \t\n",
            "\u{a0}\u{2003}\u{3000}",
            "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
            "\u{202e}\u{202c}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
            "\u{2028}\u{2029}",
            "\u{ad}\u{34f}\u{301}",
            "\u{3164}\u{115f}\u{1160}\u{ffa0}\u{2800}",
            "\u{fe0f}\u{e0041}\u{e0100}",
            "\u{180e}\u{e000}\u{fffc}",
            "\u{7f}\u{85}\0",
        ] {
            assert!(!can_be_seen(nothing), "{nothing:?}");
        }
        for reason in [
            "down",
            "\u{200b}x",
            "é",
            "e\u{301}",
            "李雷",
            "عطل",
            "🔥",
            "!",
        ] {
            assert!(can_be_seen(reason), "{reason:?}");
        }
    }

    #[test]
    fn names_are_held_to_less_than_reasons() {
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            assert!(is_displayable(character) || !can_be_seen(&character.to_string()));
            let is_control = invisible(character) == Some(Invisible::Control);
            assert_eq!(is_control, character.is_control(), "{character:?}");
        }
    }
}
