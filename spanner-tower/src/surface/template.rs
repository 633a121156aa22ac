//! Path templates. They are compared with paths as they were sent, segment by segment.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::sync::Arc;

/// A path with slots.
///
/// Model APIs need a rest in the middle of a path, and a slot and a rest at the same position.
/// The well-kept matchers (`matchit`, `path-tree`) support neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: Arc<str>,
    /// The segments before the rest; all of them, if there is no rest.
    head: Vec<Segment>,
    rest: Option<Rest>,
}

/// One part between slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Slot(Slot),
}

/// A slot, perhaps with a fixed end: `{model}:predict`, `{name}.git`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    name: String,
    /// Whether `%2F` is a slash of the name.
    slashes: bool,
    end: String,
    /// Words that it cannot hold, because they are part of the API.
    reserved: Arc<[String]>,
}

/// A slot for one or more segments, and the literal segments behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rest {
    slot: Slot,
    tail: Vec<String>,
}

/// Words that slots of these names cannot hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Reserved {
    pub(super) slots: Vec<String>,
    pub(super) words: Arc<[String]>,
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

/// The text that a slot matched, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotValue<'p> {
    /// The text as it was sent.
    pub(crate) raw: &'p str,
    /// Whether `%2F` is a slash of the name here.
    pub(crate) slashes: bool,
}

impl Template {
    /// Reads `/a/{x}/{y:enc}/{z*}`.
    pub(super) fn parse(text: &str, reserved: &Reserved) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("it must begin with a slash")?;
        let mut template = Self {
            text: text.into(),
            head: Vec::new(),
            rest: None,
        };
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if part.is_empty() && parts.peek().is_some() {
                return Err("it must not have an empty segment");
            }
            template.push(part, reserved)?;
        }
        let mut names: Vec<&str> = template.slots().map(|slot| slot.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("a name must not stand twice");
        }
        Ok(template)
    }

    fn push(&mut self, part: &str, reserved: &Reserved) -> Result<(), &'static str> {
        match (&mut self.rest, Part::parse(part, reserved)?) {
            (None, Part::One(segment)) => self.head.push(segment),
            (None, Part::Rest(slot)) => {
                let tail = Vec::new();
                self.rest = Some(Rest { slot, tail });
            }
            (Some(rest), Part::One(Segment::Literal(literal))) if !literal.is_empty() => {
                rest.tail.push(literal);
            }
            (Some(_), _) => return Err("only literal segments can follow a rest"),
        }
        Ok(())
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    pub(crate) fn is_literal(&self) -> bool {
        self.slots().next().is_none()
    }

    /// The first segment, if it is literal.
    pub(crate) fn first(&self) -> Option<&str> {
        match self.head.first() {
            Some(Segment::Literal(literal)) => Some(literal),
            Some(Segment::Slot(_)) | None => None,
        }
    }

    /// A sort key: of two templates with a path in common, the more exact has the lesser.
    pub(crate) fn inexactness(&self) -> impl Ord + use<> {
        let slots = self.head.iter().map(|segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Slot(slot) => usize::MAX / 1024 - slot.end.len(),
        });
        let rest = self.rest.as_ref();
        (
            rest.is_some(),
            Reverse(self.head.len()),
            slots.sum::<usize>(),
            Reverse(rest.map_or(0, |rest| rest.tail.len())),
            Reverse(rest.map_or(0, |rest| rest.slot.end.len())),
        )
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let head = self.head.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Slot(slot) => Some(slot),
        });
        head.chain(self.rest.iter().map(|rest| &rest.slot))
    }

    /// The position of a slot among the slots.
    pub(super) fn slot(&self, name: &str) -> Option<usize> {
        self.slots().position(|slot| slot.name == name)
    }

    /// The values of the slots, if the path matches. Nothing is decoded.
    pub(crate) fn matches<'p>(&self, path: &'p str) -> Option<Vec<SlotValue<'p>>> {
        let mut left = path.strip_prefix('/');
        let mut held = Vec::new();
        for segment in &self.head {
            let (first, after) = split_first(left?);
            left = after;
            match segment {
                Segment::Literal(literal) if literal == first => {}
                Segment::Literal(_) => return None,
                Segment::Slot(slot) => held.push(slot.held(first)?),
            }
        }
        let Some(rest) = &self.rest else {
            return left.is_none().then_some(held);
        };
        let mut middle = left?;
        for literal in rest.tail.iter().rev() {
            let (before, last) = middle.rsplit_once('/')?;
            if last != literal {
                return None;
            }
            middle = before;
        }
        if middle.split('/').any(str::is_empty) {
            return None;
        }
        held.push(rest.slot.held(middle)?);
        Some(held)
    }

    /// Whether two templates differ at most in the names of their slots.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let slot = |a: &Slot, b: &Slot| {
            (a.slashes, &a.end, &a.reserved) == (b.slashes, &b.end, &b.reserved)
        };
        let segment = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Slot(a), Segment::Slot(b)) => slot(a, b),
            _ => false,
        };
        let rest = match (&self.rest, &other.rest) {
            (None, None) => true,
            (Some(a), Some(b)) => slot(&a.slot, &b.slot) && a.tail == b.tail,
            _ => false,
        };
        rest && self.head.len() == other.head.len()
            && self.head.iter().zip(&other.head).all(segment)
    }

    /// How this template relates to another one.
    pub(crate) fn overlap(&self, other: &Self) -> Overlap {
        let longer = self.head.len().cmp(&other.head.len());
        if self.rest.is_none() && other.rest.is_none() && longer.is_ne() {
            return Overlap::None;
        }
        let mut relation = Relation::default();
        for (a, b) in self.head.iter().zip(&other.head) {
            relation.add(a.overlap(b));
            // Most pairs of templates differ early.
            if relation.apart {
                return Overlap::None;
            }
        }
        match (&self.rest, &other.rest) {
            (None, None) => {}
            (Some(rest), None) => relation.add(rest.against(&self.head, &other.head).reversed()),
            (None, Some(rest)) => relation.add(rest.against(&other.head, &self.head)),
            (Some(a), Some(b)) => {
                // Segments before the rest are more exact than the other's rest.
                relation.first |= longer.is_gt();
                relation.second |= longer.is_lt();
                relation.add(a.overlap(b));
            }
        }
        relation.overlap()
    }
}

/// The first segment, and what follows its slash.
fn split_first(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((first, after)) => (first, Some(after)),
        None => (path, None),
    }
}

/// What the parts of two templates say of which is more exact.
#[derive(Default)]
struct Relation {
    apart: bool,
    first: bool,
    second: bool,
}

impl Relation {
    fn add(&mut self, overlap: Option<Overlap>) {
        match overlap {
            None => {}
            Some(Overlap::None) => self.apart = true,
            Some(Overlap::First) => self.first = true,
            Some(Overlap::Second) => self.second = true,
            Some(Overlap::Both) => {
                self.first = true;
                self.second = true;
            }
        }
    }

    const fn overlap(&self) -> Overlap {
        match (self.apart, self.first, self.second) {
            (true, _, _) => Overlap::None,
            (false, true, false) => Overlap::First,
            (false, false, true) => Overlap::Second,
            (false, _, _) => Overlap::Both,
        }
    }
}

/// The relation of the second template to the first.
trait Reversed {
    fn reversed(self) -> Self;
}

impl Reversed for Option<Overlap> {
    fn reversed(self) -> Self {
        self.map(|overlap| match overlap {
            Overlap::First => Overlap::Second,
            Overlap::Second => Overlap::First,
            same => same,
        })
    }
}

impl Segment {
    /// How two segments relate; `None` if they match the same texts.
    fn overlap(&self, other: &Self) -> Option<Overlap> {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) if a == b => None,
            (Self::Literal(_), Self::Literal(_)) => Some(Overlap::None),
            (Self::Literal(literal), Self::Slot(slot)) => Some(match slot.held(literal) {
                Some(_) => Overlap::First,
                None => Overlap::None,
            }),
            (Self::Slot(_), Self::Literal(_)) => other.overlap(self).reversed(),
            (Self::Slot(a), Self::Slot(b)) => a.overlap(b),
        }
    }
}

impl Slot {
    /// What the slot holds of a segment (or of several, if it is a rest).
    fn held<'p>(&self, text: &'p str) -> Option<SlotValue<'p>> {
        let raw = text.strip_suffix(self.end.as_str())?;
        // Servers differ in which colon ends the name.
        let two_ways = self.end.starts_with(':') && raw.contains(':');
        let first = raw.split('/').next();
        let reserved = self
            .reserved
            .iter()
            .any(|word| Some(word.as_str()) == first);
        (!raw.is_empty() && !two_ways && !reserved).then_some(SlotValue {
            raw,
            slashes: self.slashes,
        })
    }

    /// The longer end is more exact.
    fn overlap(&self, other: &Self) -> Option<Overlap> {
        let (a, b) = (self.end.as_str(), other.end.as_str());
        match (a.ends_with(b), b.ends_with(a)) {
            (true, true) => None,
            (true, false) => Some(Overlap::First),
            (false, true) => Some(Overlap::Second),
            (false, false) => Some(Overlap::None),
        }
    }
}

impl Rest {
    /// How a template without a rest relates to one with this rest: `own` and `other` are
    /// their segments.
    fn against(&self, own: &[Segment], other: &[Segment]) -> Option<Overlap> {
        let Some(middle) = other.get(own.len()..) else {
            return Some(Overlap::None);
        };
        let Some(length) = middle.len().checked_sub(self.tail.len()).filter(|l| *l > 0) else {
            return Some(Overlap::None);
        };
        let (covered, tail) = middle.split_at(length);
        let same = |(literal, segment): (&String, &Segment)| match segment {
            Segment::Literal(text) => text == literal,
            Segment::Slot(slot) => slot.held(literal).is_some(),
        };
        let last = covered.last();
        let end = last.is_some_and(|last| match last {
            Segment::Literal(text) => self.slot.held(text).is_some(),
            Segment::Slot(slot) => self.slot.overlap(slot) != Some(Overlap::None),
        });
        Some(match end && self.tail.iter().zip(tail).all(same) {
            true => Overlap::First,
            false => Overlap::None,
        })
    }

    /// How two rests at the same place relate.
    fn overlap(&self, other: &Self) -> Option<Overlap> {
        let mut from_the_end = self.tail.iter().rev().zip(other.tail.iter().rev());
        if from_the_end.any(|(a, b)| a != b) {
            return Some(Overlap::None);
        }
        match self.tail.len().cmp(&other.tail.len()) {
            Ordering::Greater => Some(Overlap::First),
            Ordering::Less => Some(Overlap::Second),
            Ordering::Equal => self.slot.overlap(&other.slot),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A part of a template as it is written.
enum Part {
    One(Segment),
    Rest(Slot),
}

impl Part {
    fn parse(text: &str, reserved: &Reserved) -> Result<Self, &'static str> {
        let Some((slot, end)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) else {
            return match is_literal(text) && text != "." && text != ".." {
                true => Ok(Self::One(Segment::Literal(text.to_owned()))),
                false => Err("a segment is letters, digits and `-._~:@`, or one slot"),
            };
        };
        if !is_literal(end)
            || end
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphanumeric())
        {
            return Err("what follows a slot is a sign of `-._~:@` and letters, digits, signs");
        }
        let (slot, rest) = match slot.strip_suffix('*') {
            Some(slot) => (slot, true),
            None => (slot, false),
        };
        let (name, slashes) = match slot.strip_suffix(":enc") {
            Some(name) => (name, true),
            None => (slot, false),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("a slot is `{name}`, `{name:enc}`, `{name*}` or `{name:enc*}`");
        }
        let words = reserved.slots.iter().any(|slot| slot == name);
        let slot = Slot {
            name: name.to_owned(),
            slashes,
            end: end.to_owned(),
            reserved: if words {
                Arc::clone(&reserved.words)
            } else {
                Arc::default()
            },
        };
        Ok(match rest {
            true => Self::Rest(slot),
            false => Self::One(Segment::Slot(slot)),
        })
    }
}

fn is_literal(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':' | b'@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text, &Reserved::default()).unwrap()
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
            ("/m/{x*}/run", "/m/a/b/run", Some(&["a/b"])),
            ("/m/{x*}/run", "/m/run", None),
            ("/m/{x*}/run", "/m//run", None),
            ("/m/{x}:go", "/m/a:go", Some(&["a"])),
            ("/m/{x}:go", "/m/:go", None),
            ("/m/{x}:go", "/m/a:b:go", None),
            ("/m/{x*}:go", "/m/a/b:go", Some(&["a/b"])),
            ("/{x}.git/info", "/a.git/info", Some(&["a"])),
            ("/{x}.git/info", "/a/info", None),
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
            ("/a/{x}:go", "/a/{y}", Overlap::First),
            ("/a/{x}:go", "/a/{y}:stop", Overlap::None),
            ("/a/{x}:go", "/a/b:go", Overlap::Second),
            ("/a/{x*}/b", "/a/{y*}", Overlap::First),
            ("/a/{x*}/b", "/a/{y*}/c", Overlap::None),
            ("/a/{x*}/b", "/a/{y}/b", Overlap::Second),
            ("/a/{x*}/b", "/a/b", Overlap::None),
            ("/a/{x*}:go", "/a/{y*}/c", Overlap::Second),
            ("/a/{x*}:go", "/a/{y*}", Overlap::First),
        ];
        for (a, b, expected) in rows {
            assert_eq!(template(a).overlap(&template(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn refuses_what_is_no_template() {
        for text in [
            "",
            "a",
            "/a//b",
            "/{}",
            "/{x",
            "/{x*}/{y}",
            "/{x}/{x}",
            "/a%2Fb",
            "/..",
            "/{x:raw}",
            "/{x}y",
            "/{x*}/",
        ] {
            assert!(
                Template::parse(text, &Reserved::default()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_reserved_word_is_no_name() {
        let words: Vec<String> = vec!["datasets".to_owned()];
        let reserved = Reserved {
            slots: vec!["owner".to_owned()],
            words: words.into(),
        };
        let template = |text| Template::parse(text, &reserved).unwrap();
        let home = template("/{owner}/{name}");
        assert!(home.matches("/datasets/acme").is_none());
        assert!(home.matches("/acme/datasets").is_some());
        let head = template("/{owner}/{name}/HEAD");
        assert_eq!(
            head.overlap(&template("/datasets/{owner}/{name}")),
            Overlap::None
        );
    }
}
