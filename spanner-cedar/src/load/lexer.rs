//! Bounds the depth of a policy before Cedar's parser runs.
//!
//! Cedar's parser recurses for each level of a policy, and the policy's author chooses the depth.
//! About three hundred brackets overflow a stack of 2 MiB, which aborts the process. Every level
//! requires a bracket, an `if` or an operator, so counting these bounds the depth.

/// The limit that a text exceeds, with the byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooDeep {
    /// Nested brackets and `if`s.
    Nesting(usize),
    /// Operators of one policy.
    Operators(usize),
}

/// The counts of the current policy.
#[derive(Default)]
struct Counts {
    open: usize,
    conditionals: usize,
    operators: usize,
}

/// Checks that no policy of a text exceeds the limits.
pub(crate) fn bounded(text: &str) -> Result<(), TooDeep> {
    let mut counts = Counts::default();
    let mut bytes = text.bytes().enumerate();
    let mut previous = b' ';
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'/' if previous == b'/' => skip_line(&mut bytes),
            b';' => counts = Counts::default(),
            b'(' | b'[' | b'{' => counts.open += 1,
            b')' | b']' | b'}' => counts.open = counts.open.saturating_sub(1),
            b'f' if previous == b'i' => counts.conditionals += 1,
            b'&' | b'|' | b'+' | b'-' | b'*' | b'.' | b'!' | b'<' | b'>' | b'=' => {
                counts.operators += 1;
            }
            _ => {}
        }
        if counts.open + counts.conditionals > MAX_NESTING {
            return Err(TooDeep::Nesting(at));
        }
        if counts.operators > MAX_OPERATORS {
            return Err(TooDeep::Operators(at));
        }
        previous = byte;
    }
    Ok(())
}

/// Skips a string. A backslash escapes the next character.
fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// Skips the rest of a comment.
fn skip_line(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    let _ = bytes.find(|(_, byte)| *byte == b'\n');
}

/// The number of open brackets and `if`s of one policy: far below what overflows a stack of 2 MiB in
/// an unoptimized build.
pub(crate) const MAX_NESTING: usize = 50;

/// The number of operators of one policy, counted by character (`&&` is two): about a hundred
/// conditions.
pub(crate) const MAX_OPERATORS: usize = 500;
