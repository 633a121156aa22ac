//! What was found in a body, place by place.

use spanner_core::{RequestFault, Target};

/// What the places of a body say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    places: Vec<Texts>,
    /// Grows with every finding.
    count: usize,
    /// Whether a text replaces the one before.
    last_only: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Texts {
    texts: Vec<String>,
    filled: bool,
}

impl Found {
    /// Nothing yet, at so many places.
    pub(super) fn at_places(places: usize) -> Self {
        Self {
            places: vec![Texts::default(); places],
            count: 0,
            last_only: false,
        }
    }

    /// Nothing yet; of each place only what it said last is kept.
    pub(super) fn last_at_places(places: usize) -> Self {
        Self {
            last_only: true,
            ..Self::at_places(places)
        }
    }

    /// The texts at a place; none of them empty.
    pub(super) fn at(&self, place: usize) -> &[String] {
        self.places.get(place).map_or(&[], |place| &place.texts)
    }

    /// Whether there is anything at a place, be it a text or not.
    pub(super) fn is_filled(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|place| place.filled)
    }

    /// How much was found so far: what was said changes only with it.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes note of a text.
    ///
    /// # Errors
    /// [`RequestFault::TooManyModels`] if the place says too many things.
    pub(super) fn take(&mut self, place: usize, text: &str) -> Result<(), RequestFault> {
        let Some(found) = self.places.get_mut(place) else {
            return Ok(());
        };
        found.filled = true;
        if found.texts.iter().any(|known| known == text) {
            return Ok(());
        }
        if self.last_only {
            found.texts.clear();
        }
        if found.texts.len() == Target::MAX_PAIRS {
            return Err(RequestFault::TooManyModels);
        }
        found.texts.push(text.to_owned());
        self.count += 1;
        Ok(())
    }

    /// Takes note that there is something.
    pub(super) fn fill(&mut self, place: usize) {
        if let Some(found) = self.places.get_mut(place)
            && !found.filled
        {
            found.filled = true;
            self.count += 1;
        }
    }
}
