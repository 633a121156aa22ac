//! Reasons that people give: words that are kept for ever and shown to others.

/// Whether a text says anything that can be seen. Blanks, control characters, and characters
/// that leave no mark where they stand alone (zero-width characters, changes of direction,
/// fillers, combining marks) say nothing.
#[must_use]
pub fn can_be_seen(text: &str) -> bool {
    text.chars().any(|character| {
        !(character.is_whitespace() || character.is_control() || leaves_no_mark(character))
    })
}

/// Unicode's `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt), the combining marks of
/// the blocks that are nothing else, what stays blank in Braille and in annotations, and what is
/// no character.
const fn leaves_no_mark(character: char) -> bool {
    matches!(character,
        '\u{ad}'
        | '\u{300}'..='\u{36f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe20}'..='\u{fe2f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffc}'
        | '\u{fffe}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_no_mark_is_no_reason() {
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
}
