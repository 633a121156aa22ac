//! From what a request says to the pairs that it touches.

use spanner_core::{ModelName, Pair, RequestFault, Resource, Revision, Target};

use super::head::Query;
use super::json::Found;
use crate::surface::{Guarded, Location, OnMissing, Touch};

/// All that was read of a request.
pub(super) struct Evidence<'r> {
    /// What the path's slots hold, decoded.
    pub(super) slots: &'r [String],
    pub(super) query: &'r Query,
    pub(super) json: Option<&'r Found>,
    /// The texts of the message's fields.
    pub(super) fields: &'r [Option<String>],
    /// What a request without a model means.
    pub(super) default: Option<&'r ModelName>,
}

/// What a location says.
enum Said {
    /// These names, none of them empty; or nothing.
    Names(Vec<String>),
    /// That no model is meant.
    Server,
}

impl Evidence<'_> {
    /// Everything that the request touches.
    pub(super) fn target(&self, guarded: &Guarded) -> Result<Target, RequestFault> {
        let mut pairs = self.touched(&guarded.main)?;
        for location in &guarded.secondary {
            if let Said::Names(names) = self.said(location)? {
                for name in names {
                    pairs.push(Pair::new(
                        guarded.main.action,
                        Resource::model(model(&name)?),
                    ));
                }
            }
        }
        for touch in &guarded.also {
            pairs.extend(self.touched(touch)?);
        }
        Target::of(pairs).ok_or(RequestFault::TooManyModels)
    }

    fn touched(&self, touch: &Touch) -> Result<Vec<Pair>, RequestFault> {
        for location in &touch.model {
            match self.said(location)? {
                Said::Server => return Ok(vec![Pair::new(touch.action, Resource::Server)]),
                Said::Names(names) if names.is_empty() => {}
                Said::Names(names) => {
                    let revision = self.revision(touch.version.as_ref())?;
                    return names
                        .iter()
                        .map(|name| {
                            let (name, revision) = (model(name)?, revision.clone());
                            Ok(Pair::new(touch.action, Resource::Model { name, revision }))
                        })
                        .collect();
                }
            }
        }
        if touch.model.contains(&Location::Form) && self.json.is_none() {
            return Err(RequestFault::Opaque);
        }
        let pair = match (touch.on_missing, self.default) {
            (OnMissing::Server(action), _) => Pair::new(action, Resource::Server),
            (OnMissing::Default, Some(name)) => {
                Pair::new(touch.action, Resource::model(name.clone()))
            }
            (OnMissing::Default, None) | (OnMissing::Refuse, _) => {
                return Err(RequestFault::NoModel);
            }
        };
        Ok(vec![pair])
    }

    fn revision(&self, location: Option<&Location>) -> Result<Option<Revision>, RequestFault> {
        let Some(Said::Names(names)) = location.map(|l| self.said(l)).transpose()? else {
            return Ok(None);
        };
        match names.as_slice() {
            [] => Ok(None),
            [name] => Revision::new(name)
                .map(Some)
                .map_err(|_| RequestFault::Model),
            _ => Err(RequestFault::SelectorConflict),
        }
    }

    fn said(&self, location: &Location) -> Result<Said, RequestFault> {
        let names = match location {
            Location::Server => return Ok(Said::Server),
            Location::Opaque => return Err(RequestFault::Opaque),
            // A request that is a form was refused before.
            Location::Form => Vec::new(),
            Location::Query(key) => self
                .query
                .value(key)?
                .map(str::to_owned)
                .into_iter()
                .collect(),
            Location::Json(place) => self
                .json
                .map_or_else(Vec::new, |found| found.at(*place).to_vec()),
            Location::Field(field) => self
                .fields
                .get(*field)
                .cloned()
                .flatten()
                .into_iter()
                .collect(),
            Location::Path(slots) => {
                let held = slots.iter().filter_map(|slot| self.slots.get(*slot));
                vec![held.map(String::as_str).collect::<Vec<_>>().join("/")]
            }
        };
        Ok(Said::Names(names))
    }
}

fn model(name: &str) -> Result<ModelName, RequestFault> {
    ModelName::new(name).map_err(|_| RequestFault::Model)
}
