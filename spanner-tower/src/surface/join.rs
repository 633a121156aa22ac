//! One route of two surfaces that one server speaks.

use spanner_core::Action;

use super::compile::{is_run, noted};
use super::location::{Condition, Location};
use super::route::{Guarded, Route, Rule, Touch, Wanted};

impl Route {
    /// This route, which also reads what another surface reads on the same path: whatever
    /// names a model there must be allowed as well, and where they do different things, both.
    /// `None` if the two do not go together: one leaves open what the other guards, or they
    /// read the body in different ways.
    pub(crate) fn joined(&self, other: &Self) -> Option<Self> {
        let rule = match (&self.rule, &other.rule) {
            (Rule::Public, Rule::Public) => Rule::Public,
            (Rule::Whoami, Rule::Whoami) => Rule::Whoami,
            (Rule::Guarded(first), Rule::Guarded(second)) => {
                Rule::Guarded(Box::new(first.joined(second)?))
            }
            _ => return None,
        };
        (self.grpc == other.grpc).then(|| Self {
            rule,
            hold: self.hold.max(other.hold),
            ..self.clone()
        })
    }

    /// Whether two routes that some path matches may stand beside each other: both are open
    /// to the same callers.
    pub(crate) const fn is_as_open_as(&self, other: &Self) -> bool {
        matches!(
            (&self.rule, &other.rule),
            (Rule::Public, Rule::Public)
                | (Rule::Whoami, Rule::Whoami)
                | (Rule::Guarded(_), Rule::Guarded(_))
        )
    }
}

impl Guarded {
    fn joined(&self, other: &Self) -> Option<Self> {
        let actions = |guarded: &Self| -> Vec<Action> {
            guarded.rules.iter().map(|rule| rule.main.action).collect()
        };
        let runs = |guarded: &Self| guarded.rules.iter().all(|rule| is_run(rule.main.action));
        let all = |some: &Self, of: &Self| {
            let of = actions(of);
            actions(some).iter().all(|action| of.contains(action))
        };
        let alike = all(self, other) || all(other, self) || (runs(self) && runs(other));
        let mut joined = self.clone();
        let moved = joined.wanted.absorb(&other.wanted)?;
        for rule in &other.rules {
            let further = rule
                .main
                .model
                .iter()
                .chain(&rule.secondary)
                .chain(&rule.same);
            let further: Vec<Location> = further
                .filter(|location| location.names_something())
                .map(|location| moved.location(location))
                .collect();
            let also = rule.also.iter().map(|touch| moved.touch(touch));
            // Who cannot tell which of two things is done may do both.
            let unlike = (!alike).then(|| Touch {
                when: moved.conditions(Some(&rule.when).into_iter().filter(|all| !all.is_empty())),
                ..moved.touch(&rule.main)
            });
            let also: Vec<Touch> = also.chain(unlike).collect();
            for own in &mut joined.rules {
                for location in &further {
                    if !own.main.model.contains(location) {
                        noted(&mut own.secondary, location.clone());
                    }
                }
                for touch in &also {
                    noted(&mut own.also, touch.clone());
                }
            }
        }
        Some(joined)
    }
}

impl Location {
    /// Whether it is a place where a name can stand.
    const fn names_something(&self) -> bool {
        !matches!(self, Self::Opaque | Self::OnlyModel | Self::Server)
    }
}

/// Where what another surface wants is found after the two were joined.
struct Moved {
    headers: Vec<usize>,
    json: Vec<usize>,
    lines: Vec<usize>,
    form: Vec<usize>,
    fields: Vec<usize>,
    frames: Vec<usize>,
}

impl Wanted {
    /// Wants what another one wants, too; `None` if no reader could find both.
    fn absorb(&mut self, other: &Self) -> Option<Moved> {
        let (lines, fields) = (&self.lines, &self.fields);
        let lines = lines.is_empty() || other.lines.is_empty() || self.in_file == other.in_file;
        let fields = fields.is_empty() || other.fields.is_empty() || self.stream == other.stream;
        if !lines || !fields {
            return None;
        }
        fn all<T: PartialEq + Clone>(own: &mut Vec<T>, other: &[T]) -> Vec<usize> {
            other.iter().map(|one| noted(own, one.clone())).collect()
        }
        all(&mut self.query, &other.query);
        let moved = Moved {
            headers: all(&mut self.headers, &other.headers),
            json: all(&mut self.json, &other.json),
            lines: all(&mut self.lines, &other.lines),
            form: all(&mut self.form, &other.form),
            fields: all(&mut self.fields, &other.fields),
            frames: all(&mut self.frames, &other.frames),
        };
        self.in_file |= other.in_file;
        self.stream |= other.stream;
        self.refs |= other.refs;
        self.seal();
        self.reads_in_one_way().then_some(moved)
    }
}

impl Moved {
    fn location(&self, location: &Location) -> Location {
        let at = |places: &[usize], place: usize| places.get(place).copied().unwrap_or(place);
        match location {
            Location::Header(place) => Location::Header(at(&self.headers, *place)),
            Location::Json(place) => Location::Json(at(&self.json, *place)),
            Location::Line(place) => Location::Line(at(&self.lines, *place)),
            Location::Form(place) => Location::Form(at(&self.form, *place)),
            Location::Field(place) => Location::Field(at(&self.fields, *place)),
            Location::Frame(place) => Location::Frame(at(&self.frames, *place)),
            Location::Joined(slots, places) => {
                let places = places.iter().map(|place| at(&self.json, *place));
                Location::Joined(slots.clone(), places.collect())
            }
            Location::Path(_)
            | Location::PathAfter(..)
            | Location::Query(_)
            | Location::Refs
            | Location::DeletedRefs
            | Location::Opaque
            | Location::OnlyModel
            | Location::Server => location.clone(),
        }
    }

    fn conditions<'c>(
        &self,
        any: impl IntoIterator<Item = &'c Vec<Condition>>,
    ) -> Vec<Vec<Condition>> {
        let condition = |condition: &Condition| Condition {
            subject: self.location(&condition.subject),
            test: condition.test.clone(),
        };
        let any = any.into_iter();
        any.map(|all| all.iter().map(condition).collect()).collect()
    }

    fn touch(&self, touch: &Touch) -> Touch {
        let locations = |all: &[Location]| all.iter().map(|one| self.location(one)).collect();
        Touch {
            when: self.conditions(&touch.when),
            model: locations(&touch.model),
            version: locations(&touch.version),
            ..touch.clone()
        }
    }
}
