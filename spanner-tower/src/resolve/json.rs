//! Scans a JSON document for the places that name models, while it arrives and without building
//! it.
//!
//! 1. Every member of an object on the path to a place must occur once, after unescaping. None
//!    may be a case variant of a member that is looked for, because some decoders ignore case.
//! 2. Parts that an API leaves to its users (a tool's schema, metadata) are not searched at any
//!    depth, whatever their members are called.
//! 3. Everything else is validated as strictly (escapes, numbers, a depth of less than 128) and
//!    dropped.
//!
//! This is a reader of its own because existing ones either build what they read (`serde_json`,
//! `simd-json`) or buffer each text whole (`actson`, `json-event-parser`), and a text here can
//! be an image of several megabytes. `tests/properties.rs` compares it with `serde_json`.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use spanner_core::RequestFault;

use super::found::Found;
use crate::surface::{JsonPath, Step, Want};

/// The maximum number of members in an object on the path to a place. OpenAI's largest request
/// has about 40, and each is remembered while the object is read.
const MAX_MEMBERS: usize = 1024;

/// The maximum nesting depth: that of `serde_json`.
const MAX_DEPTH: usize = 127;

/// The maximum size of a name or another relevant text, in bytes: four times the longest model
/// name.
const MAX_TEXT: usize = 1024;

/// The largest exponent: beyond it, some readers return infinity and others an error.
const MAX_EXPONENT: u32 = 308;

/// Reads one document in pieces.
#[derive(Debug)]
pub(super) struct JsonScan {
    places: Arc<[JsonPath]>,
    found: Found,
    any_root: bool,
    at: At,
    levels: Vec<Level>,
    /// The states of the value that comes next.
    next: Vec<State>,
    /// The text or number that is being collected.
    kept: Vec<u8>,
    keeps: bool,
    /// Whether the text is longer than any relevant one.
    long: bool,
    encoding: Utf8,
}

/// An object or list that is open.
#[derive(Debug)]
struct Level {
    object: bool,
    states: Vec<State>,
    /// Its members so far, if one may be on the path to a place.
    seen: Option<HashSet<Box<str>>>,
    empty: bool,
}

/// The position of a value on the path to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    place: usize,
    step: usize,
    /// Whether a case variant of a member led here at any depth; it must not be a name.
    variant: bool,
}

/// What the reader expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Value,
    FirstElement,
    FirstMember,
    Member,
    Colon,
    CommaOrEnd,
    Text {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Unicode {
        key: bool,
        digits: u8,
        unit: u16,
        high: Option<u16>,
    },
    /// The second half of a surrogate pair must follow.
    Low {
        key: bool,
        high: u16,
        slash: bool,
    },
    Literal {
        rest: &'static [u8],
        word: &'static str,
    },
    Number(Digits, u32),
    End,
}

/// The position in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign { negative: bool },
    Exponent { negative: bool },
}

/// A value without members.
enum Leaf<'v> {
    Text(&'v str),
    /// A text that is longer than any relevant one.
    LongText,
    Null,
    False,
    /// A number, or true.
    Other(&'v str),
}

impl JsonScan {
    /// A reader of one document, which must be an object.
    pub(super) fn new(places: Arc<[JsonPath]>) -> Self {
        let mut scan = Self {
            found: Found::at_places(places.len()),
            places,
            any_root: false,
            at: At::Value,
            levels: Vec::new(),
            next: Vec::new(),
            kept: Vec::new(),
            keeps: false,
            long: false,
            encoding: Utf8::default(),
        };
        scan.restart();
        scan
    }

    /// A reader for values of any kind, which keeps the last value of each place. They are
    /// responses, which affect no decision, so names are compared exactly.
    pub(super) fn of_values(places: Arc<[JsonPath]>) -> Self {
        let found = Found::last_at_places(places.len());
        Self {
            found,
            any_root: true,
            ..Self::new(places)
        }
    }

    /// Takes what was found.
    pub(super) fn take_found(&mut self) -> Found {
        let fresh = Found::last_at_places(self.places.len());
        mem::replace(&mut self.found, fresh)
    }

    /// Starts a new document and keeps what was found.
    pub(super) fn restart(&mut self) {
        self.next.clear();
        for (place, wanted) in self.places.iter().enumerate() {
            // If a path starts at any depth, the step after that also matches at the top.
            let loose = wanted.steps.iter().take_while(|step| **step == Step::Any);
            self.next.extend((0..=loose.count()).map(|step| State {
                place,
                step,
                variant: false,
            }));
        }
        self.at = At::Value;
        self.levels.clear();
        self.keeps = false;
        self.encoding = Utf8::default();
    }

    pub(super) const fn found(&self) -> &Found {
        &self.found
    }

    pub(super) fn into_found(self) -> Found {
        self.found
    }

    /// Whether the document is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::End
    }

    /// Whether the document has not started yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.at == At::Value && self.levels.is_empty()
    }

    /// Reads on.
    ///
    /// # Errors
    /// The first fault in the syntax or in a value at a place.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), RequestFault> {
        self.encoding.check(bytes)?;
        while let Some(byte) = bytes.first() {
            let taken = match self.at {
                At::Text { key } => self.text(bytes, key)?,
                At::Number(Digits::Whole | Digits::Fraction, _) if byte.is_ascii_digit() => {
                    self.digits(bytes)
                }
                _ => self.step(*byte)?,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// The document is over.
    ///
    /// # Errors
    /// [`RequestFault::Json`] if it is not.
    pub(super) fn end(&mut self) -> Result<(), RequestFault> {
        if matches!(self.at, At::Number(..)) && self.levels.is_empty() {
            self.number_ends()?;
        }
        match self.at == At::End && self.encoding.is_whole() {
            true => Ok(()),
            false => Err(RequestFault::Json),
        }
    }

    /// Consumes one byte; returns 0 if the byte must be read again in the new state.
    fn step(&mut self, byte: u8) -> Result<usize, RequestFault> {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match (self.at, byte) {
            (At::Number(digits, exponent), _) => return self.number(digits, exponent, byte),
            (At::Literal { rest, word }, _) => self.literal(rest, word, byte)?,
            (At::Escape { key }, _) => self.escape(key, byte)?,
            (At::Unicode { .. }, _) => self.unicode(byte)?,
            (At::Low { key, high, slash }, _) => self.low(key, high, slash, byte)?,
            (_, _) if blank => {}
            (At::FirstElement, b']') | (At::FirstMember, b'}') => self.close()?,
            (At::Value | At::FirstElement, _) => return self.value(byte),
            (At::FirstMember | At::Member, b'"') => self.begin_text(true),
            (At::Colon, b':') => self.at = At::Value,
            (At::CommaOrEnd, b',') => self.comma(),
            (At::CommaOrEnd, b'}') if self.in_object() => self.close()?,
            (At::CommaOrEnd, b']') if !self.in_object() => self.close()?,
            _ => return Err(RequestFault::Json),
        }
        Ok(1)
    }

    fn in_object(&self) -> bool {
        self.levels.last().is_some_and(|level| level.object)
    }

    fn comma(&mut self) {
        if self.in_object() {
            self.at = At::Member;
        } else {
            self.element();
            self.at = At::Value;
        }
    }

    /// The states of the next element of the list that is open.
    fn element(&mut self) {
        let states = self.levels.last().map_or(&[][..], |level| &level.states);
        if states.is_empty() {
            self.next.clear();
            return;
        }
        let next = self.step_to_elements(states);
        self.next = next;
    }

    fn value(&mut self, byte: u8) -> Result<usize, RequestFault> {
        let root = self.levels.is_empty();
        if root && byte != b'{' && !self.any_root {
            return Err(RequestFault::Json);
        }
        self.parent_is_filled();
        match byte {
            b'{' | b'[' => self.open(byte == b'{')?,
            b'"' => self.begin_text(false),
            b't' => self.begin_literal("true"),
            b'f' => self.begin_literal("false"),
            b'n' => self.begin_literal("null"),
            b'-' => self.begin_number(Digits::Minus, byte),
            b'0' => self.begin_number(Digits::Zero, byte),
            b'1'..=b'9' => self.begin_number(Digits::Whole, byte),
            _ => return Err(RequestFault::Json),
        }
        Ok(1)
    }

    /// Notes that the open object or list is not empty.
    fn parent_is_filled(&mut self) {
        let Some(level) = self.levels.last_mut().filter(|level| level.empty) else {
            return;
        };
        level.empty = false;
        let states = mem::take(&mut level.states);
        for state in &states {
            if self.wants_value(*state) {
                self.found.fill(state.place);
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.states = states;
        }
    }

    fn wants_value(&self, state: State) -> bool {
        let place = self.places.get(state.place);
        !state.variant
            && place.is_some_and(|p| p.want == Want::Value && p.steps.len() == state.step)
    }

    fn open(&mut self, object: bool) -> Result<(), RequestFault> {
        if self.levels.len() == MAX_DEPTH {
            return Err(RequestFault::Json);
        }
        let states = mem::take(&mut self.next);
        self.branch(&states)?;
        let by_name = object && self.goes_by_name(&states);
        self.levels.push(Level {
            object,
            states,
            seen: by_name.then(HashSet::new),
            empty: true,
        });
        if object {
            self.at = At::FirstMember;
        } else {
            self.element();
            self.at = At::FirstElement;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), RequestFault> {
        self.levels.pop().ok_or(RequestFault::Json)?;
        self.value_ends();
        Ok(())
    }

    fn value_ends(&mut self) {
        self.at = match self.levels.is_empty() {
            true => At::End,
            false => At::CommaOrEnd,
        };
    }

    /// Whether the next value may be relevant.
    fn matters(&self) -> bool {
        let ends = |state: &State| {
            let place = self.places.get(state.place);
            state.variant || place.is_some_and(|place| place.steps.len() <= state.step)
        };
        self.next.iter().any(ends)
    }

    fn keep(&mut self, keeps: bool) {
        self.kept.clear();
        self.long = false;
        self.keeps = keeps;
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if !self.keeps || self.long {
            return;
        }
        if self.kept.len() + bytes.len() > MAX_TEXT {
            self.long = true;
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    // Texts.

    fn begin_text(&mut self, key: bool) {
        let by_name = self.levels.last().is_some_and(|level| level.seen.is_some());
        let keeps = if key { by_name } else { self.matters() };
        self.keep(keeps);
        self.at = At::Text { key };
    }

    /// Consumes the text up to the next escape or the end.
    fn text(&mut self, bytes: &[u8], key: bool) -> Result<usize, RequestFault> {
        let end = memchr::memchr2(b'"', b'\\', bytes);
        let plain = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if plain.iter().any(|byte| *byte < b' ') {
            return Err(RequestFault::Json);
        }
        self.push(plain);
        match end.and_then(|end| bytes.get(end)) {
            Some(b'"') => self.text_ends(key)?,
            Some(_) => self.at = At::Escape { key },
            None => return Ok(plain.len()),
        }
        Ok(plain.len() + 1)
    }

    fn escape(&mut self, key: bool, byte: u8) -> Result<(), RequestFault> {
        let plain: &[u8] = match byte {
            b'"' => b"\"",
            b'\\' => b"\\",
            b'/' => b"/",
            b'b' => b"\x08",
            b'f' => b"\x0C",
            b'n' => b"\n",
            b'r' => b"\r",
            b't' => b"\t",
            b'u' => {
                self.at = At::Unicode {
                    key,
                    digits: 0,
                    unit: 0,
                    high: None,
                };
                return Ok(());
            }
            _ => return Err(RequestFault::Json),
        };
        self.push(plain);
        self.at = At::Text { key };
        Ok(())
    }

    fn unicode(&mut self, byte: u8) -> Result<(), RequestFault> {
        let At::Unicode {
            key,
            digits,
            unit,
            high,
        } = self.at
        else {
            return Ok(());
        };
        let digit = char::from(byte).to_digit(16).ok_or(RequestFault::Json)?;
        let unit = (unit << 4) | u16::try_from(digit).unwrap_or_default();
        if digits < 3 {
            self.at = At::Unicode {
                key,
                digits: digits + 1,
                unit,
                high,
            };
            return Ok(());
        }
        if high.is_none() && (0xD800..0xDC00).contains(&unit) {
            self.at = At::Low {
                key,
                high: unit,
                slash: false,
            };
            return Ok(());
        }
        let units = high.into_iter().chain([unit]);
        let decoded: Result<String, _> = char::decode_utf16(units).collect();
        let decoded = decoded.map_err(|_| RequestFault::Json)?;
        self.push(decoded.as_bytes());
        self.at = At::Text { key };
        Ok(())
    }

    fn low(&mut self, key: bool, high: u16, slash: bool, byte: u8) -> Result<(), RequestFault> {
        self.at = match (slash, byte) {
            (false, b'\\') => At::Low {
                key,
                high,
                slash: true,
            },
            (true, b'u') => At::Unicode {
                key,
                digits: 0,
                unit: 0,
                high: Some(high),
            },
            _ => return Err(RequestFault::Json),
        };
        Ok(())
    }

    fn text_ends(&mut self, key: bool) -> Result<(), RequestFault> {
        if key {
            return self.key_ends();
        }
        self.value_ends();
        if !self.keeps {
            return Ok(());
        }
        let (kept, states) = (mem::take(&mut self.kept), mem::take(&mut self.next));
        // A body may be cut off within a character. It is refused for that later.
        let text = str::from_utf8(&kept).map_err(|_| RequestFault::Json)?;
        let taken = match self.long {
            true => self.leaf(&states, &Leaf::LongText),
            false => self.leaf(&states, &Leaf::Text(text)),
        };
        self.kept = kept;
        taken
    }

    fn key_ends(&mut self) -> Result<(), RequestFault> {
        self.at = At::Colon;
        self.next.clear();
        if !self.keeps {
            return Ok(());
        }
        if self.long {
            return Err(RequestFault::Json);
        }
        let kept = mem::take(&mut self.kept);
        let name = str::from_utf8(&kept).map_err(|_| RequestFault::Json)?;
        let states = self.levels.last().map_or(&[][..], |level| &level.states);
        let next = self.step_to_member(states, name)?;
        let seen = self.levels.last_mut().and_then(|level| level.seen.as_mut());
        if let Some(seen) = seen {
            if seen.len() == MAX_MEMBERS {
                return Err(RequestFault::Json);
            }
            if !seen.insert(name.into()) {
                return Err(RequestFault::DuplicateMember);
            }
        }
        self.next = next;
        self.kept = kept;
        Ok(())
    }

    // Words and numbers.

    fn begin_literal(&mut self, word: &'static str) {
        let rest = word.as_bytes().get(1..).unwrap_or_default();
        self.at = At::Literal { rest, word };
    }

    fn literal(
        &mut self,
        rest: &'static [u8],
        word: &'static str,
        byte: u8,
    ) -> Result<(), RequestFault> {
        match rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.at = At::Literal { rest, word };
                if rest.is_empty() {
                    self.value_ends();
                    let states = mem::take(&mut self.next);
                    return self.leaf(
                        &states,
                        &match word {
                            "null" => Leaf::Null,
                            "false" => Leaf::False,
                            other => Leaf::Other(other),
                        },
                    );
                }
                Ok(())
            }
            _ => Err(RequestFault::Json),
        }
    }

    fn begin_number(&mut self, digits: Digits, byte: u8) {
        self.keep(self.matters());
        self.push(&[byte]);
        self.at = At::Number(digits, 0);
    }

    /// Consumes a run of digits.
    fn digits(&mut self, bytes: &[u8]) -> usize {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
        let taken = digits.count();
        self.push(bytes.get(..taken).unwrap_or_default());
        taken
    }

    fn number(&mut self, digits: Digits, exponent: u32, byte: u8) -> Result<usize, RequestFault> {
        let next = match (digits, byte) {
            (Digits::Minus, b'0') => Digits::Zero,
            (Digits::Minus, b'1'..=b'9') | (Digits::Whole, b'0'..=b'9') => Digits::Whole,
            (Digits::Zero | Digits::Whole, b'.') => Digits::Point,
            (Digits::Point | Digits::Fraction, b'0'..=b'9') => Digits::Fraction,
            (Digits::Zero | Digits::Whole | Digits::Fraction, b'e' | b'E') => Digits::E,
            (Digits::E, b'+' | b'-') => Digits::Sign {
                negative: byte == b'-',
            },
            (Digits::E, b'0'..=b'9') => Digits::Exponent { negative: false },
            (Digits::Sign { negative } | Digits::Exponent { negative }, b'0'..=b'9') => {
                Digits::Exponent { negative }
            }
            _ => {
                self.number_ends()?;
                return Ok(0);
            }
        };
        let exponent = match next {
            Digits::Exponent { .. } => exponent
                .saturating_mul(10)
                .saturating_add(u32::from(byte.wrapping_sub(b'0'))),
            _ => exponent,
        };
        self.push(&[byte]);
        self.at = At::Number(next, exponent);
        Ok(1)
    }

    fn number_ends(&mut self) -> Result<(), RequestFault> {
        let At::Number(digits, exponent) = self.at else {
            return Ok(());
        };
        match digits {
            Digits::Exponent { negative: false } if exponent > MAX_EXPONENT => {
                return Err(RequestFault::Json);
            }
            Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Exponent { .. } => {}
            Digits::Minus | Digits::Point | Digits::E | Digits::Sign { .. } => {
                return Err(RequestFault::Json);
            }
        }
        self.value_ends();
        if self.next.is_empty() {
            return Ok(());
        }
        let (kept, states) = (mem::take(&mut self.kept), mem::take(&mut self.next));
        let text = str::from_utf8(&kept).unwrap_or_default();
        let taken = self.leaf(&states, &Leaf::Other(text));
        self.kept = kept;
        taken
    }

    // The way to the places.

    fn goal(&self, state: State) -> Option<&Step> {
        self.places.get(state.place)?.steps.get(state.step)
    }

    /// The states, and those that need no step to get to.
    fn closed(&self, states: impl Iterator<Item = State>) -> Vec<State> {
        let mut closed: Vec<State> = Vec::new();
        for mut state in states {
            loop {
                if !closed.contains(&state) {
                    closed.push(state);
                }
                if state.variant || self.goal(state) != Some(&Step::Any) {
                    break;
                }
                state.step += 1;
            }
        }
        let ends = |state: &State| self.is_free(*state) && self.goal(*state).is_none();
        if closed.iter().any(ends) {
            closed.retain(|state| !self.is_searching(*state));
        }
        // If nothing is looked for, no part needs to be excluded.
        if closed.iter().all(|state| self.is_free(*state)) {
            closed.clear();
        }
        closed
    }

    /// Whether a state leads to a part that the API leaves to its users.
    fn is_free(&self, state: State) -> bool {
        let place = self.places.get(state.place);
        place.is_some_and(|place| place.want == Want::Free)
    }

    /// Whether a state was reached by a search at any depth rather than by name.
    fn is_searching(&self, state: State) -> bool {
        let place = self.places.get(state.place);
        let by_depth = place.is_some_and(|place| place.steps.last() == Some(&Step::Any));
        match self.goal(state) {
            Some(Step::Any) => true,
            Some(_) => self.is_loose(state),
            None => by_depth,
        }
    }

    fn step_to_elements(&self, states: &[State]) -> Vec<State> {
        let stepped = states.iter().filter_map(|&state| match self.goal(state)? {
            Step::Each => Some(State {
                step: state.step + 1,
                ..state
            }),
            Step::Any => Some(state),
            Step::Key(_) | Step::Begins(_) => None,
        });
        self.closed(stepped)
    }

    /// The states within a member, or an error for its name.
    fn step_to_member(&self, states: &[State], name: &str) -> Result<Vec<State>, RequestFault> {
        let mut stepped = Vec::new();
        for &state in states.iter().filter(|state| !state.variant) {
            let onward = State {
                step: state.step + 1,
                ..state
            };
            match self.goal(state) {
                Some(Step::Key(key)) if key == name => stepped.push(onward),
                Some(Step::Begins(begin)) if name.starts_with(begin.as_str()) => {
                    stepped.push(onward);
                }
                Some(Step::Key(key))
                    if !self.any_root && !self.is_free(state) && is_variant(key, name) =>
                {
                    if !self.is_loose(state) {
                        return Err(RequestFault::DuplicateMember);
                    }
                    stepped.push(State {
                        variant: true,
                        ..state
                    });
                }
                Some(Step::Any) => stepped.push(state),
                Some(Step::Key(_) | Step::Begins(_) | Step::Each) | None => {}
            }
        }
        Ok(self.closed(stepped.into_iter()))
    }

    /// Whether a member of this value may lead to a place.
    fn goes_by_name(&self, states: &[State]) -> bool {
        states.iter().any(|state| {
            !state.variant
                && matches!(
                    self.goal(*state),
                    Some(Step::Key(_) | Step::Begins(_) | Step::Any)
                )
        })
    }

    /// Whether a state was reached at any depth, where only strings are names.
    fn is_loose(&self, state: State) -> bool {
        let place = self.places.get(state.place);
        place.is_some_and(|place| place.steps.iter().take(state.step).any(|s| *s == Step::Any))
    }

    /// Handles a value without members.
    fn leaf(&mut self, states: &[State], leaf: &Leaf<'_>) -> Result<(), RequestFault> {
        for &state in states {
            let text = matches!(leaf, Leaf::Text(_) | Leaf::LongText);
            if state.variant {
                match text {
                    true => return Err(RequestFault::DuplicateMember),
                    false => continue,
                }
            }
            let ended = self.goal(state).is_none();
            let want = self.places.get(state.place).map(|place| place.want);
            match (want, leaf) {
                _ if !ended => {}
                (Some(Want::Free), _) => {}
                (Some(Want::Name | Want::Further | Want::Nothing), Leaf::Text("")) => {}
                (Some(Want::Further), Leaf::Null) => {}
                (Some(Want::Nothing), Leaf::Null | Leaf::False) => {}
                (Some(Want::Nothing), _) => return Err(RequestFault::Opaque),
                (Some(Want::Value), Leaf::Null | Leaf::Text("")) => {}
                (Some(Want::Value), Leaf::False) => self.found.take(state.place, "false")?,
                (Some(Want::Value), Leaf::Other(text)) => self.found.take(state.place, text)?,
                (Some(Want::Value), Leaf::LongText) => self.found.fill(state.place),
                (Some(_), Leaf::Text(name)) => self.found.take(state.place, name)?,
                _ if self.is_loose(state) => {}
                _ => return Err(RequestFault::Model),
            }
        }
        Ok(())
    }

    /// Notes that a value has members although a name was expected.
    fn branch(&self, states: &[State]) -> Result<(), RequestFault> {
        for &state in states {
            let ended = self.goal(state).is_none() && !state.variant;
            match self.places.get(state.place).map(|place| place.want) {
                Some(Want::Nothing) if ended => return Err(RequestFault::Opaque),
                Some(Want::Name | Want::Further) if ended && !self.is_loose(state) => {
                    return Err(RequestFault::Model);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a decoder that ignores case would confuse the two names. Go's decoder also folds the
/// two letters below.
fn is_variant(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{017F}' => 's',
        '\u{212A}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// Checks that consecutive pieces are UTF-8 (RFC 8259 §8.1).
#[derive(Debug, Default)]
struct Utf8 {
    /// The start of a character that continues in the next piece.
    begun: Vec<u8>,
}

impl Utf8 {
    fn check(&mut self, mut bytes: &[u8]) -> Result<(), RequestFault> {
        while !self.begun.is_empty() {
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            self.begun.push(*first);
            bytes = rest;
            match str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(RequestFault::Json),
            }
        }
        match str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let begun = bytes.get(error.valid_up_to()..).unwrap_or_default();
                self.begun.extend_from_slice(begun);
                Ok(())
            }
            Err(_) => Err(RequestFault::Json),
        }
    }

    fn is_whole(&self) -> bool {
        self.begun.is_empty()
    }
}
