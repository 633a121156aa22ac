//! How deep a policy can possibly be, before Cedar's parser is asked.
//!
//! Cedar's parser calls itself for each level of a policy, and its author chooses how many
//! there are: some three hundred brackets overflow a stack of 2 MiB, which ends the
//! process. Every level costs a bracket, an `if` or an operator; so these are counted.

/// What a text has too much of, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooDeep {
    /// Brackets within brackets, or `if`s.
    Nesting(usize),
    /// Operators of one policy.
    Operators(usize),
}

/// Counts of the policy at hand.
#[derive(Default)]
struct Counts {
    open: usize,
    conditionals: usize,
    operators: usize,
}

/// Checks that no policy of a text is deeper than the limits.
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

/// Passes over a string, in which a backslash takes the next character with it.
fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// Passes over the rest of a comment.
fn skip_line(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    let _ = bytes.find(|(_, byte)| *byte == b'\n');
}

/// Brackets open at once and `if`s of one policy: a third of what overflows the smallest
/// usual stack in an unoptimized build.
pub(crate) const MAX_NESTING: usize = 50;

/// Operators of one policy, counted by character (`&&` is two): some hundred conditions.
pub(crate) const MAX_OPERATORS: usize = 500;
