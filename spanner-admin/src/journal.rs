//! The events of promotions, in a ledger and out of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use spanner_core::Environment;
use spanner_core::promotion::{Event, History, Step};
use spanner_ledger::{Entry, Ledger, Reader};

use crate::error::OpenError;

/// What a ledger says of promotions.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) history: History,
    /// Where promotions are kept.
    pub(crate) kept: BTreeSet<Environment>,
}

/// Says that from here on promotions decide what is in force in an environment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) environment: String,
    /// What became of the manifests that were there.
    pub(crate) existing: String,
}

/// The word of a [`Kept`].
pub(crate) const KEPT: &str = "promotions.kept";

/// The word of an event of a promotion.
pub(crate) fn word(step: &Step) -> String {
    format!("{PREFIX}{}", step.as_str())
}

const PREFIX: &str = "promotion.";

/// What a ledger says of promotions, and what they keep in force, for whoever only reads it: give
/// the second to [`Cedar::keep`](spanner_cedar::Cedar::keep). Blocks.
///
/// # Errors
/// [`OpenError`] if the ledger cannot be read, or has an event that no promotion can have had.
pub fn promotions_in(
    dir: impl AsRef<Path>,
) -> Result<(History, spanner_cedar::PromotedManifests), OpenError> {
    let Told { history, kept } = read(dir.as_ref())?;
    let kept = spanner_cedar::PromotedManifests::of(&history, kept);
    Ok((history, kept))
}

/// Reads what a ledger says. Blocks.
pub(crate) fn read(dir: &Path) -> Result<Told, OpenError> {
    let mut told = Told::default();
    // Looked for once, and only if a step does not fit.
    let mut losses = None;
    let reader = Ledger::read(dir)?;
    for numbered in reader.events()? {
        let numbered = numbered?;
        let sequence = numbered.sequence;
        let Entry::Event(entry) = numbered.entry else {
            continue;
        };
        let not_understood = |reason: String| OpenError::NotUnderstood { sequence, reason };
        if entry.event == KEPT {
            let kept: Kept = serde_json::from_value(entry.body)
                .map_err(|error| not_understood(error.to_string()))?;
            let environment = Environment::new(&kept.environment)
                .map_err(|error| not_understood(error.to_string()))?;
            told.kept.insert(environment);
        } else if entry.event.starts_with(PREFIX) {
            let event: Event = serde_json::from_value(entry.body)
                .map_err(|error| not_understood(error.to_string()))?;
            match told.history.take(event) {
                Ok(_) => {}
                Err(fault) => {
                    let lossy = match losses {
                        Some(lossy) => lossy,
                        None => *losses.insert(has_losses(&reader)?),
                    };
                    if !lossy {
                        return Err(OpenError::Event { sequence, fault });
                    }
                    tracing::warn!(
                        sequence, %fault,
                        "a step of a promotion does not count: entries before it were lost, which was acknowledged"
                    );
                }
            }
        }
    }
    Ok(told)
}

/// Whether entries were lost and somebody acknowledged that, so that not every step has what came
/// before it.
fn has_losses(reader: &Reader) -> Result<bool, OpenError> {
    for numbered in reader.events()? {
        if let Entry::Event(event) = numbered?.entry
            && event.event == "ledger.acknowledged"
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_without_its_beginning_counts_for_nothing_after_an_acknowledged_loss() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("ledger");
        Ledger::open(&dir).unwrap().close().unwrap();
        let ledger = Ledger::open(&dir).unwrap();
        let body = json!({
            "promotion": "019ab5d3-2ad4-7e39-8a31-8a2e3b1c0d01",
            "time": "2026-11-01T00:00:00Z", "step": "withdrawn",
        });
        drop(ledger.event("promotion.withdrawn", body).unwrap());
        ledger.close().unwrap();
        assert!(matches!(read(&dir), Err(OpenError::Event { .. })));
        std::fs::remove_file(dir.join("00000000000000000000.seg")).unwrap();
        assert!(matches!(read(&dir), Err(OpenError::Read(_))));
        Ledger::builder(&dir).acknowledge("a disk failed").unwrap();
        let told = read(&dir).unwrap();
        assert!(told.kept.is_empty());
    }
}
