//! Turns the content of a request into the (action, model) pairs that it touches.

use http::HeaderMap;
use spanner_core::{ModelName, Pair, RequestFault, Resource, Revision};

use super::found::Found;
use super::head::{self, Query};
use crate::surface::{
    Condition, Guarded, Location, Names, OnMissing, Surface, Test, Touch, Touches, Wanted, is_run,
};

/// Everything that was read of a request.
pub(super) struct Evidence<'r> {
    /// The decoded values of the path's slots.
    pub(super) slots: &'r [String],
    pub(super) query: &'r Query,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r Content,
    pub(super) surface: &'r Surface,
    pub(super) wanted: &'r Wanted,
}

/// What was read of a body, or of its part so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) json: Found,
    pub(super) lines: Found,
    pub(super) form: Found,
    pub(super) frames: Found,
    /// The texts of the message's fields.
    pub(super) fields: Vec<Vec<String>>,
    pub(super) refs: Vec<String>,
    pub(super) deleted: Vec<String>,
    /// Whether more of the body may follow, so that missing values may still appear.
    pub(super) partial: bool,
    /// An earlier message of the same stream has named the model.
    pub(super) later: bool,
}

/// The value at a location.
enum LocationValue {
    /// These names, none of them empty; none if the location is empty.
    Names(Vec<String>),
    /// The only model that the server has.
    OnlyModel,
    /// The server itself rather than a model.
    Server,
}

/// A model, optionally at a revision.
type RevisionedModel = (ModelName, Option<Revision>);

impl Evidence<'_> {
    /// Everything that the request touches; empty for a later message that names nothing new.
    pub(super) fn pairs(&self, guarded: &Guarded) -> Result<Vec<Pair>, RequestFault> {
        let rule = self.rule(guarded)?;
        let mut pairs = self.touched(&rule.main)?;
        self.check_same(rule)?;
        for location in &rule.secondary {
            if let LocationValue::Names(names) = self.said(location)? {
                let models = names.iter().map(|name| self.names().read(name));
                for model in models.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                    pairs.push(pair(&rule.main, model));
                }
            }
        }
        for touch in &rule.also {
            let any = touch.when.iter().any(|all| self.hold(all));
            if touch.when.is_empty() || any {
                pairs.extend(self.touched(touch)?);
            }
        }
        match pairs.is_empty() && !self.body.later {
            true => Err(RequestFault::NoModel),
            false => Ok(pairs),
        }
    }

    fn names(&self) -> &Names {
        self.surface.names()
    }

    /// The first rule whose conditions hold. The last rule, without conditions, does not apply
    /// if the query has a key that the other rules test.
    fn rule<'g>(&self, guarded: &'g Guarded) -> Result<&'g Touches, RequestFault> {
        let holds = |rule: &&Touches| self.hold(&rule.when);
        let Some(rule) = guarded.rules.iter().find(holds) else {
            // With a partial body no rule need apply yet; with the whole body one must.
            return Err(match self.body.partial {
                true => RequestFault::NoModel,
                false => RequestFault::SelectorConflict,
            });
        };
        let asked = guarded.rules.iter().flat_map(|rule| &rule.when);
        let contradicts = |condition: &Condition| match &condition.subject {
            Location::Query(key) => self.query.has(key),
            _ => false,
        };
        match rule.when.is_empty() && asked.clone().any(contradicts) {
            true => Err(RequestFault::SelectorConflict),
            false => Ok(rule),
        }
    }

    fn hold(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| self.holds(condition))
    }

    fn holds(&self, condition: &Condition) -> bool {
        let filled = match &condition.subject {
            Location::Json(place) => self.body.json.is_filled(*place),
            Location::Line(place) => self.body.lines.is_filled(*place),
            Location::Form(place) => self.body.form.is_filled(*place),
            Location::Query(key) => self.query.has(key),
            Location::DeletedRefs => !self.body.deleted.is_empty(),
            _ => false,
        };
        let texts = match self.said(&condition.subject) {
            Ok(LocationValue::Names(names)) => names,
            _ => Vec::new(),
        };
        match &condition.test {
            Test::Present => filled || !texts.is_empty(),
            Test::Absent => !self.body.partial && !filled && texts.is_empty(),
            Test::Zero if texts.is_empty() => filled,
            Test::Zero => texts.iter().any(|text| is_zero(text)),
            Test::Is(text) => texts.contains(text),
            Test::Begins(begin) => texts.iter().any(|text| text.starts_with(begin)),
            Test::AllBegin(begin) => {
                !texts.is_empty() && texts.iter().all(|text| text.starts_with(begin))
            }
        }
    }

    fn touched(&self, touch: &Touch) -> Result<Vec<Pair>, RequestFault> {
        let mut main: Option<(&Location, Vec<RevisionedModel>)> = None;
        for location in &touch.model {
            let names = match self.said(location)? {
                LocationValue::Server => {
                    return Ok(vec![Pair::new(touch.action, Resource::Server)]);
                }
                LocationValue::OnlyModel => return self.only_model(touch),
                LocationValue::Names(names) => names,
            };
            let mut models = Vec::new();
            for name in names.iter().filter(|name| !self.names().is_default(name)) {
                match self.names().read(name) {
                    Ok(mut named) => models.append(&mut named),
                    Err(_) if touch.foreign => {
                        return Ok(vec![Pair::new(touch.action, Resource::Server)]);
                    }
                    Err(fault) => return Err(fault),
                }
            }
            match &main {
                _ if models.is_empty() => {}
                None => main = Some((location, models)),
                Some((_, known)) if *known == models => {}
                Some(_) => return Err(RequestFault::SelectorConflict),
            }
        }
        let Some((_, models)) = main else {
            return self.missing(touch);
        };
        let revisions = self.revisions(touch)?;
        let mut pairs = Vec::new();
        for (name, own) in models {
            match (own, revisions.as_slice()) {
                (Some(_), [_, ..]) => return Err(RequestFault::SelectorConflict),
                (own, []) => pairs.push(pair(touch, (name, own))),
                (None, all) => {
                    let each = all
                        .iter()
                        .map(|one| pair(touch, (name.clone(), Some(one.clone()))));
                    pairs.extend(each);
                }
            }
        }
        let runs_it = self.surface.has_one_model() && is_run(touch.action);
        let base = self.surface.bound_model().filter(|_| runs_it);
        let known = |base: &&ModelName| pairs.iter().all(|pair| pair.resource.name() != Some(base));
        if let Some(base) = base.filter(known) {
            pairs.push(Pair::new(touch.action, Resource::model(base.clone())));
        }
        Ok(pairs)
    }

    /// The only model of the server. If none is configured, actions on the server are kept and
    /// actions on the model are refused.
    fn only_model(&self, touch: &Touch) -> Result<Vec<Pair>, RequestFault> {
        use spanner_core::Action;
        let of_the_server = matches!(
            touch.action,
            Action::List | Action::Deploy | Action::Administer | Action::Read
        );
        match self.surface.bound_model() {
            Some(name) => Ok(vec![Pair::new(touch.action, Resource::model(name.clone()))]),
            None if of_the_server => Ok(vec![Pair::new(touch.action, Resource::Server)]),
            None => Err(RequestFault::NoModel),
        }
    }

    /// The pairs of a touch without a name.
    fn missing(&self, touch: &Touch) -> Result<Vec<Pair>, RequestFault> {
        let opaque = touch.model.contains(&Location::Opaque);
        match touch.on_missing {
            OnMissing::Nothing => Ok(Vec::new()),
            OnMissing::First if self.body.later => Ok(Vec::new()),
            // A later message without a name is about the same model as before.
            _ if self.body.later && !self.wanted.frames.is_empty() => Ok(Vec::new()),
            OnMissing::Server(action) => Ok(vec![Pair::new(action, Resource::Server)]),
            // The name may still follow until the body ends.
            _ if self.body.partial => Err(RequestFault::NoModel),
            _ if opaque => Err(RequestFault::Opaque),
            OnMissing::Default => match self.default_pair(touch) {
                Some(pair) => Ok(vec![pair]),
                None => Err(RequestFault::NoModel),
            },
            OnMissing::Refuse | OnMissing::First => Err(RequestFault::NoModel),
        }
    }

    fn default_pair(&self, touch: &Touch) -> Option<Pair> {
        let name = self.surface.bound_model()?.clone();
        Some(Pair::new(touch.action, Resource::model(name)))
    }

    /// Refuses a request in which a repeated name differs.
    fn check_same(&self, rule: &Touches) -> Result<(), RequestFault> {
        let mut main = Vec::new();
        for location in &rule.main.model {
            if let LocationValue::Names(names) = self.said(location)? {
                main.extend(self.read_all(&names)?);
            }
        }
        for location in &rule.same {
            if let LocationValue::Names(names) = self.said(location)? {
                let models = self.read_all(&names)?;
                if models.iter().any(|model| !main.contains(model)) {
                    return Err(RequestFault::SelectorConflict);
                }
            }
        }
        Ok(())
    }

    fn read_all(&self, names: &[String]) -> Result<Vec<RevisionedModel>, RequestFault> {
        let read = names.iter().map(|name| self.names().read(name));
        Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn revisions(&self, touch: &Touch) -> Result<Vec<Revision>, RequestFault> {
        for location in &touch.version {
            let LocationValue::Names(names) = self.said(location)? else {
                continue;
            };
            if names.len() > 1 && *location != Location::Refs {
                // Each of several models in one message may have its own version.
                let several = matches!(location, Location::Field(_));
                return match several {
                    true => Ok(Vec::new()),
                    false => Err(RequestFault::SelectorConflict),
                };
            }
            if !names.is_empty() {
                let read = names.iter().map(|name| Revision::new(name));
                return read.collect::<Result<_, _>>().map_err(RequestFault::Name);
            }
        }
        Ok(Vec::new())
    }

    fn said(&self, location: &Location) -> Result<LocationValue, RequestFault> {
        let body = self.body;
        let one = |text: Option<&str>| text.map(str::to_owned).into_iter().collect();
        let names = match location {
            Location::Server => return Ok(LocationValue::Server),
            Location::OnlyModel => return Ok(LocationValue::OnlyModel),
            // Opaque content names nothing. If it is all there is, `missing` refuses.
            Location::Opaque | Location::DeletedRefs => Vec::new(),
            Location::Query(key) => one(self.query.value(key)?),
            Location::Header(index) => self.header(*index)?,
            Location::Json(place) => body.json.at(*place).to_vec(),
            Location::Line(place) => body.lines.at(*place).to_vec(),
            Location::Form(place) => body.form.at(*place).to_vec(),
            Location::Frame(place) => body.frames.at(*place).to_vec(),
            Location::Field(field) => body.fields.get(*field).cloned().unwrap_or_default(),
            Location::Refs => body.refs.clone(),
            Location::Path(slots) => vec![self.slots_joined(slots)],
            Location::PathAfter(slot, mark) => {
                let held = self.slots.get(*slot).map_or("", String::as_str);
                one(held.rsplit_once(mark.as_str()).map(|(_, after)| after))
            }
            Location::Joined(slots, places) => self.joined(slots, places)?,
        };
        Ok(LocationValue::Names(names))
    }

    fn header(&self, index: usize) -> Result<Vec<String>, RequestFault> {
        let name = self.wanted.headers.get(index);
        let value = name
            .map(|name| head::named(self.headers, name))
            .transpose()?;
        Ok(value.flatten().map(str::to_owned).into_iter().collect())
    }

    fn slots_joined(&self, slots: &[usize]) -> String {
        let held = slots.iter().filter_map(|slot| self.slots.get(*slot));
        held.map(String::as_str).collect::<Vec<_>>().join("/")
    }

    fn joined(&self, slots: &[usize], places: &[usize]) -> Result<Vec<String>, RequestFault> {
        let mut parts = Vec::new();
        if !slots.is_empty() {
            parts.push(self.slots_joined(slots));
        }
        for place in places {
            match self.body.json.at(*place) {
                [part] => parts.push(part.clone()),
                [] => return Ok(Vec::new()),
                [_, _, ..] => return Err(RequestFault::SelectorConflict),
            }
        }
        Ok(vec![parts.join("/")])
    }
}

fn pair(touch: &Touch, (name, revision): RevisionedModel) -> Pair {
    Pair::new(touch.action, Resource::Model { name, revision })
}

/// Whether a number of seconds, or a duration in Go's syntax
/// (<https://pkg.go.dev/time#ParseDuration>), is less than a nanosecond, which Go reads as zero.
fn is_zero(text: &str) -> bool {
    let nanoseconds = |number: &str, unit: f64| Some((number.parse::<f64>().ok()? * unit).abs());
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(seconds) = nanoseconds(rest, 1e9) {
        return seconds < 1.0;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let Some((number, behind)) = digits.and_then(|end| rest.split_at_checked(end)) else {
            return false;
        };
        let unit = UNITS.iter().find_map(|(unit, nanoseconds)| {
            let rest = behind.strip_prefix(unit)?;
            Some((rest, *nanoseconds))
        });
        let Some((behind, unit)) = unit else {
            return false;
        };
        if nanoseconds(number, unit).is_none_or(|part| part >= 1.0) {
            return false;
        }
        rest = behind;
    }
    !text.is_empty()
}

/// Go's units of durations in nanoseconds. A unit stands before its own prefixes.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{B5}s", 1e3),
    ("\u{3BC}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_zero_if_go_says_so() {
        for (text, due) in [
            ("0", true),
            ("-0", true),
            ("0.0", true),
            ("0e9", true),
            ("1e-10", true),
            ("0s", true),
            ("+0s", true),
            ("-0h", true),
            (".0s", true),
            ("0.s", true),
            ("0h0m0.00s", true),
            ("00\u{B5}s", true),
            ("0.9ns", true),
            ("0.0000000009s", true),
            ("0.5h", false),
            ("0.5", false),
            ("0h5m", false),
            ("05m", false),
            ("1ns", false),
            ("1m", false),
            ("5m0s", false),
            ("-1", false),
            ("-0.5h", false),
            ("", false),
            ("0x", false),
            ("0 s", false),
            ("s", false),
        ] {
            assert_eq!(is_zero(text), due, "{text}");
        }
    }
}
