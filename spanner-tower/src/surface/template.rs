//! Path templates, compared segment by segment with paths as they were sent.

use std::fmt;
use std::sync::Arc;

/// A path with slots.
///
/// An own matcher, since the well-kept ones (`matchit`) know no slot beside a rest at the
/// same place, which model APIs have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: Arc<str>,
    segments: Vec<Segment>,
}

/// One part between slashes. The order is that of exactness.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One { name: String, slashes: bool },
    Rest { name: String },
}

/// How two templates with a path in common relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// No path matches both.
    None,
    /// Every path that matches both is better matched by the first.
    First,
    /// The same, by the second.
    Second,
    /// Neither is better.
    Both,
}

/// What a slot held, raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held<'p> {
    /// The text as it was sent.
    pub(crate) raw: &'p str,
    /// Whether `%2F` is a slash of the name here.
    pub(crate) slashes: bool,
}

impl Template {
    /// Reads `/a/{x}/{y:enc}/{z*}`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("it must begin with a slash")?;
        let segments: Vec<Segment> = path
            .split('/')
            .map(Segment::parse)
            .collect::<Result<_, _>>()?;
        let last = segments.len().saturating_sub(1);
        let inner = segments.iter().take(last);
        if inner.clone().any(Segment::is_rest) {
            return Err("a rest must be last");
        }
        if inner.clone().any(Segment::is_empty) {
            return Err("it must not have an empty segment");
        }
        let mut names: Vec<&str> = segments.iter().filter_map(Segment::name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("a name must not stand twice");
        }
        Ok(Self {
            text: text.into(),
            segments,
        })
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    pub(crate) fn is_literal(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// The position of a slot among the slots.
    pub(super) fn slot(&self, name: &str) -> Option<usize> {
        self.segments
            .iter()
            .filter_map(Segment::name)
            .position(|slot| slot == name)
    }

    /// What the slots hold, if the path matches. Nothing is decoded.
    pub(crate) fn matches<'p>(&self, path: &'p str) -> Option<Vec<Held<'p>>> {
        let mut left = path.strip_prefix('/');
        let mut held = Vec::new();
        for segment in &self.segments {
            let rest = left?;
            let (first, after) = match rest.split_once('/') {
                Some((first, after)) => (first, Some(after)),
                None => (rest, None),
            };
            left = after;
            match segment {
                Segment::Literal(literal) if literal == first => {}
                Segment::One { slashes, .. } if !first.is_empty() => held.push(Held {
                    raw: first,
                    slashes: *slashes,
                }),
                Segment::Rest { .. } if rest.split('/').all(|part| !part.is_empty()) => {
                    held.push(Held {
                        raw: rest,
                        slashes: true,
                    });
                    left = None;
                }
                Segment::Literal(_) | Segment::One { .. } | Segment::Rest { .. } => return None,
            }
        }
        left.is_none().then_some(held)
    }

    /// How this template relates to another one.
    pub(crate) fn overlap(&self, other: &Self) -> Overlap {
        let (mut first, mut second) = (false, false);
        let mut pairs = self.segments.iter().zip(&other.segments);
        let rest = pairs.find_map(|(a, b)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) if a != b => Some(false),
            _ => {
                first |= a.rank() < b.rank();
                second |= b.rank() < a.rank();
                (a.is_rest() || b.is_rest()).then_some(true)
            }
        });
        let meet = rest.unwrap_or(self.segments.len() == other.segments.len());
        match (meet, first, second) {
            (false, _, _) => Overlap::None,
            (true, true, false) => Overlap::First,
            (true, false, true) => Overlap::Second,
            (true, _, _) => Overlap::Both,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(slot) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
            let literal = text.bytes().all(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':' | b'@')
            });
            return match literal && text != "." && text != ".." {
                true => Ok(Self::Literal(text.to_owned())),
                false => Err("a segment is letters, digits and `-._~:@`, or one slot"),
            };
        };
        let (name, kind) = match (slot.strip_suffix(":enc"), slot.strip_suffix('*')) {
            (Some(name), _) => (name.to_owned(), Some(true)),
            (None, Some(name)) => (name.to_owned(), None),
            (None, None) => (slot.to_owned(), Some(false)),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("a slot is `{name}`, `{name:enc}` or `{name*}`");
        }
        Ok(match kind {
            Some(slashes) => Self::One { name, slashes },
            None => Self::Rest { name },
        })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One { name, .. } | Self::Rest { name } => Some(name),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::One { .. } => 1,
            Self::Rest { .. } => 2,
        }
    }

    const fn is_rest(&self) -> bool {
        matches!(self, Self::Rest { .. })
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Literal(text) if text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn matches_raw_segments_and_nothing_else() {
        let rows: &[(&str, &str, Option<&[&str]>)] = &[
            ("/v2", "/v2", Some(&[])),
            ("/v2", "/v2/", None),
            ("/v2/", "/v2/", Some(&[])),
            ("/v2", "/V2", None),
            ("/m/{x}", "/m/a", Some(&["a"])),
            ("/m/{x}", "/m/", None),
            ("/m/{x}", "/m", None),
            ("/m/{x}", "/m/a/b", None),
            ("/m/{x}", "/m/a/", None),
            ("/m/{x}/i", "/m/a%2Fb/i", Some(&["a%2Fb"])),
            ("/m/{x*}", "/m/a/b", Some(&["a/b"])),
            ("/m/{x*}", "/m/", None),
            ("/m/{x*}", "/m/a/", None),
            ("/m/{x*}", "/m", None),
        ];
        for (pattern, path, expected) in rows {
            let matched = template(pattern).matches(path);
            let raw = matched.map(|held| held.iter().map(|h| h.raw).collect::<Vec<_>>());
            assert_eq!(raw.as_deref(), *expected, "{pattern} {path}");
        }
    }

    #[test]
    fn knows_which_of_two_templates_is_more_exact() {
        let rows = [
            ("/a", "/b", Overlap::None),
            ("/a", "/a/b", Overlap::None),
            ("/a/{x}", "/a/{y}", Overlap::Both),
            ("/a/b", "/a/{y}", Overlap::First),
            ("/a/{x}/c", "/a/b/{y}", Overlap::Both),
            ("/a/{x*}", "/a/{y}/c", Overlap::Second),
            ("/a/{x*}", "/a/{y*}", Overlap::Both),
            ("/a/{x*}", "/a", Overlap::None),
            ("/{x*}", "/a/{y}", Overlap::Second),
            ("/{x}/b", "/a/{y*}", Overlap::Both),
        ];
        for (a, b, expected) in rows {
            assert_eq!(template(a).overlap(&template(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn refuses_what_is_no_template() {
        for text in [
            "", "a", "/a//b", "/{}", "/{x", "/{x*}/a", "/{x}/{x}", "/a%2Fb", "/..", "/{x:raw}",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
