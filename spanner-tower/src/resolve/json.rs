//! Looks at a whole JSON document for the places that name models, without building it.
//!
//! 1. Every member of an object on the way to a place must stand once, after unescaping;
//!    and none may be a case variant of one that is looked for (some decoders ignore
//!    case).
//! 2. Everything else is parsed as strictly (escapes, numbers, depth of at most 128) and
//!    forgotten.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use spanner_core::{RequestFault, Target};

use crate::surface::{Place, Step, Want};

/// Members of one object on the way to a place: OpenAI's largest request has some 40, and
/// each has to be remembered while the object is read.
const MAX_MEMBERS: usize = 1024;

/// The names found, place by place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    names: Vec<Vec<String>>,
}

impl Found {
    /// Looks for the places in a document.
    pub(super) fn scan(document: &[u8], places: &[Place]) -> Result<Self, RequestFault> {
        let text = std::str::from_utf8(document).map_err(|_| RequestFault::Json)?;
        let mut scan = Scan {
            places,
            names: vec![Vec::new(); places.len()],
            fault: None,
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let states = (0..places.len()).map(|place| State {
            place,
            step: 0,
            variant: false,
        });
        let root = Value {
            states: scan.closed(states),
            scan: &mut scan,
            root: true,
        };
        let read = root
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end());
        match (scan.fault, read) {
            (Some(fault), _) => Err(fault),
            (None, Err(_)) => Err(RequestFault::Json),
            (None, Ok(())) => Ok(Self { names: scan.names }),
        }
    }

    /// The names at a place; none of them empty.
    pub(super) fn at(&self, place: usize) -> &[String] {
        self.names.get(place).map_or(&[], Vec::as_slice)
    }
}

struct Scan<'p> {
    places: &'p [Place],
    names: Vec<Vec<String>>,
    fault: Option<RequestFault>,
}

/// How far a value is on the way to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    place: usize,
    step: usize,
    /// Reached by a case variant of a member at any depth: must not be a name.
    variant: bool,
}

/// What a value without members turned out to be.
enum Leaf<'v> {
    Text(&'v str),
    /// Null or false.
    Nothing {
        null: bool,
    },
    Something,
}

impl Scan<'_> {
    fn step(&self, state: State) -> Option<&Step> {
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
                if state.variant || self.step(state) != Some(&Step::Any) {
                    break;
                }
                state.step += 1;
            }
        }
        closed
    }

    fn step_to_elements(&self, states: &[State]) -> Vec<State> {
        let stepped = states.iter().filter_map(|&state| match self.step(state)? {
            Step::Each => Some(State {
                step: state.step + 1,
                ..state
            }),
            Step::Any => Some(state),
            Step::Key(_) => None,
        });
        self.closed(stepped)
    }

    /// The states within a member, or the refusal of its name.
    fn step_to_member(&self, states: &[State], name: &str) -> Result<Vec<State>, RequestFault> {
        let mut stepped = Vec::new();
        for &state in states.iter().filter(|state| !state.variant) {
            match self.step(state) {
                Some(Step::Key(key)) if key == name => {
                    stepped.push(State {
                        step: state.step + 1,
                        ..state
                    });
                }
                Some(Step::Key(key)) if is_variant(key, name) => {
                    if !self.is_loose(state) {
                        return Err(RequestFault::DuplicateMember);
                    }
                    stepped.push(State {
                        variant: true,
                        ..state
                    });
                }
                Some(Step::Any) => stepped.push(state),
                Some(Step::Key(_) | Step::Each) | None => {}
            }
        }
        Ok(self.closed(stepped.into_iter()))
    }

    /// Whether a place may lie behind a member of this value.
    fn goes_by_name(&self, states: &[State]) -> bool {
        let named = |state: &State| matches!(self.step(*state), Some(Step::Key(_) | Step::Any));
        states.iter().any(|state| !state.variant && named(state))
    }

    /// Whether a state was reached at any depth, where only strings are names.
    fn is_loose(&self, state: State) -> bool {
        self.places
            .get(state.place)
            .is_some_and(|place| place.steps.iter().take(state.step).any(|s| *s == Step::Any))
    }

    /// Takes a value without members.
    fn leaf(&mut self, states: &[State], leaf: &Leaf<'_>) -> Result<(), RequestFault> {
        for &state in states {
            let Some(place) = self.places.get(state.place) else {
                continue;
            };
            if state.variant {
                if matches!(leaf, Leaf::Text(_)) {
                    return Err(RequestFault::DuplicateMember);
                }
                continue;
            }
            if state.step < place.steps.len() {
                continue;
            }
            match (place.want, leaf) {
                (_, Leaf::Text("") | Leaf::Nothing { null: true })
                    if place.want != Want::Name || matches!(leaf, Leaf::Text(_)) => {}
                (Want::Nothing, Leaf::Nothing { .. }) => {}
                (Want::Nothing, _) => return Err(RequestFault::Opaque),
                (_, Leaf::Text(name)) => self.take(state.place, name)?,
                _ if self.is_loose(state) => {}
                _ => return Err(RequestFault::Model),
            }
        }
        Ok(())
    }

    /// Takes note that a value has members where a name was looked for.
    fn branch(&self, states: &[State]) -> Result<(), RequestFault> {
        for &state in states {
            let ended = self.step(state).is_none() && !state.variant;
            let want = self.places.get(state.place).map(|place| place.want);
            match want {
                Some(Want::Nothing) if ended => return Err(RequestFault::Opaque),
                Some(Want::Name | Want::Further) if ended && !self.is_loose(state) => {
                    return Err(RequestFault::Model);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, place: usize, name: &str) -> Result<(), RequestFault> {
        let Some(names) = self.names.get_mut(place) else {
            return Ok(());
        };
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        if names.len() == Target::MAX_PAIRS {
            return Err(RequestFault::TooManyModels);
        }
        names.push(name.to_owned());
        Ok(())
    }

    /// Turns a refusal into an error of the deserializer, which ends the scan.
    fn noted<T, E: Error>(&mut self, result: Result<T, RequestFault>) -> Result<T, E> {
        result.map_err(|fault| {
            self.fault.get_or_insert(fault);
            E::custom("refused")
        })
    }
}

/// Whether a decoder that ignores case (Go's folds these two letters as well) would take
/// one name for the other.
fn is_variant(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{017F}' => 's',
        '\u{212A}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// Reads one value.
struct Value<'s, 'p> {
    scan: &'s mut Scan<'p>,
    states: Vec<State>,
    root: bool,
}

impl<'s, 'p> Value<'s, 'p> {
    const fn inner(scan: &'s mut Scan<'p>, states: Vec<State>) -> Self {
        Self {
            scan,
            states,
            root: false,
        }
    }

    fn leaf<E: Error>(self, leaf: &Leaf<'_>) -> Result<(), E> {
        if self.root {
            return Err(E::custom("not an object"));
        }
        let taken = self.scan.leaf(&self.states, leaf);
        self.scan.noted(taken)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.leaf(&match value {
            true => Leaf::Something,
            false => Leaf::Nothing { null: false },
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaf(&Leaf::Nothing { null: true })
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.leaf(&Leaf::Something)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.leaf(&Leaf::Something)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.leaf(&Leaf::Something)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.leaf(&Leaf::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if self.root {
            return Err(A::Error::custom("not an object"));
        }
        let checked = self.scan.branch(&self.states);
        self.scan.noted(checked)?;
        let states = self.scan.step_to_elements(&self.states);
        while elements
            .next_element_seed(Value::inner(self.scan, states.clone()))?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let checked = self.scan.branch(&self.states);
        self.scan.noted(checked)?;
        let by_name = self.scan.goes_by_name(&self.states);
        let mut seen = Seen::default();
        while let Some(Name(name)) = members.next_key_seed(Name(Cow::Borrowed("")))? {
            let within = match by_name {
                false => Ok(Vec::new()),
                true => self
                    .scan
                    .step_to_member(&self.states, &name)
                    .and_then(|states| {
                        seen.insert(name)?;
                        Ok(states)
                    }),
            };
            let states = self.scan.noted(within)?;
            members.next_value_seed(Value::inner(self.scan, states))?;
        }
        Ok(())
    }
}

/// The members of an object so far.
#[derive(Default)]
struct Seen<'de>(HashSet<Cow<'de, str>>);

impl<'de> Seen<'de> {
    fn insert(&mut self, name: Cow<'de, str>) -> Result<(), RequestFault> {
        if self.0.len() == MAX_MEMBERS {
            return Err(RequestFault::Json);
        }
        match self.0.insert(name) {
            true => Ok(()),
            false => Err(RequestFault::DuplicateMember),
        }
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> DeserializeSeed<'de> for Name<'de> {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self, E> {
        Ok(Self(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self, E> {
        Ok(Self(Cow::Owned(name.to_owned())))
    }
}
