//! How deep a policy can possibly be, before Cedar's parser is asked.
//!
//! The parser builds a tree whose depth the author chooses, and to drop or to walk a tree
//! of a hundred thousand levels would overflow the stack. Every level of a policy costs an
//! operator, a bracket or an `if`; so these are counted.

/// Checks that no policy of a text has more operators and brackets than the limit; else
/// tells where it is passed.
pub(crate) fn bounded(text: &str) -> Result<(), usize> {
    let mut count = 0;
    let mut bytes = text.bytes().enumerate().peekable();
    let mut previous = b' ';
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                while let Some((_, inner)) = bytes.next() {
                    match inner {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if previous == b'/' => {
                while bytes.next_if(|(_, inner)| *inner != b'\n').is_some() {}
            }
            b';' => count = 0,
            b'&' | b'|' | b'+' | b'-' | b'*' | b'.' | b'!' | b'<' | b'>' | b'=' | b'(' | b'['
            | b'{' => count += 1,
            b'f' if previous == b'i' => count += 1,
            _ => {}
        }
        if count > MAX_OPERATORS {
            return Err(at);
        }
        previous = byte;
    }
    Ok(())
}

/// Operators and brackets of one policy: ten times what the longest one of the Cedar
/// project's examples has, and a tree of that depth fits the smallest usual stack.
pub(crate) const MAX_OPERATORS: usize = 1_000;
