//! The values found in a body, by place.

use spanner_core::{RequestFault, Target};

/// The values at the places of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    places: Vec<Texts>,
    /// Increases with every value found.
    count: usize,
    /// Whether a text replaces the previous one.
    last_only: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Texts {
    texts: Vec<String>,
    filled: bool,
}

impl Found {
    /// No values at this number of places.
    pub(super) fn at_places(places: usize) -> Self {
        Self {
            places: vec![Texts::default(); places],
            count: 0,
            last_only: false,
        }
    }

    /// No values; of each place only the last value is kept.
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

    /// Whether there is any value at a place, text or not.
    pub(super) fn is_filled(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|place| place.filled)
    }

    /// A counter that increases with every value found.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Notes a text.
    ///
    /// # Errors
    /// [`RequestFault::TooManyModels`] if the place has too many values.
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

    /// Notes that the place has a value.
    pub(super) fn fill(&mut self, place: usize) {
        if let Some(found) = self.places.get_mut(place)
            && !found.filled
        {
            found.filled = true;
            self.count += 1;
        }
    }
}
