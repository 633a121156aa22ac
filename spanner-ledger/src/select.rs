//! Selects a part of a ledger.

use std::fmt;
use std::iter;
use std::str::FromStr;

use spanner_core::promotion::SignatoryEntry;
use spanner_core::record::{CallerEntry, Decision, PairEntry, PrincipalEntry};
use spanner_core::{Action, Effect, PromotionId, RecordId, Timestamp};

/// Conditions on requests and events, all of which must hold. Without conditions, everything is
/// selected.
///
/// ```
/// # use spanner_ledger::Selection;
/// let production = Selection::new().model("acme/sentiment").environment("production");
/// let alice = production.clone().caller("user:corp/alice").since("2026-11-01T00:00:00Z".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Selection {
    pub(crate) model: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Selection {
    /// Selects everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects entries about this model.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Selects entries about this environment.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = Some(name.into());
        self
    }

    /// Selects entries with this caller as subject or actor. Accepts `alice`, `corp/alice` and
    /// `user:corp/alice`.
    pub fn caller(mut self, name: impl Into<String>) -> Self {
        self.caller = Some(name.into());
        self
    }

    /// Selects entries at or after this time.
    pub const fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Selects entries before this time.
    pub const fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// The selected model, if any.
    #[must_use]
    pub fn selected_model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The selected environment, if any.
    #[must_use]
    pub fn selected_environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }

    /// The selected caller, if any.
    #[must_use]
    pub fn selected_caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The start of the selected time range; `None` if it starts with the ledger.
    #[must_use]
    pub const fn start(&self) -> Option<Timestamp> {
        self.since
    }

    /// The exclusive end of the selected time range; `None` if it ends with the ledger.
    #[must_use]
    pub const fn end(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether a request matches.
    #[must_use]
    pub fn matches(&self, decision: &Decision) -> bool {
        self.matches_time(decision.time) && self.matches_except_time(decision)
    }

    /// Whether a request matches apart from its time.
    pub(crate) fn matches_except_time(&self, decision: &Decision) -> bool {
        let models = || decision.target.iter().filter_map(|it| it.model.as_deref());
        let parties = decision.caller.iter().flat_map(parties);
        is(self.environment.as_deref(), &decision.environment)
            && self
                .model
                .as_deref()
                .is_none_or(|wanted| models().any(|model| model == wanted))
            && self.matches_any_of(parties)
    }

    /// Whether a time is in the selected range.
    #[must_use]
    pub fn matches_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }

    /// Whether a time is after the selected range.
    pub(crate) fn is_over(&self, time: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= time)
    }

    pub(crate) fn matches_target(&self, model: &str, environment: &str) -> bool {
        is(self.model.as_deref(), model) && is(self.environment.as_deref(), environment)
    }

    /// Whether one of these principals is the selected caller, or no caller is selected.
    pub fn matches_any_of<'p>(
        &self,
        parties: impl IntoIterator<Item = &'p PrincipalEntry>,
    ) -> bool {
        let wanted = self.caller.as_deref();
        wanted.is_none_or(|name| parties.into_iter().any(|party| is_called(party, name)))
    }

    /// Whether events of the service as a whole are selected, which concern no particular model,
    /// environment or caller.
    #[must_use]
    pub const fn matches_general(&self) -> bool {
        self.model.is_none() && self.environment.is_none() && self.caller.is_none()
    }
}

/// A prefix of a record's identifier as a person types it: hexadecimal digits, with or without
/// hyphens.
///
/// ```
/// use spanner_ledger::RecordPrefix;
///
/// let prefix: RecordPrefix = "019a3c5e-00".parse()?;
/// assert!(prefix.matches("019a3c5e-0000-7000-8000-000000000001".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPrefix(String);

impl RecordPrefix {
    /// Whether an identifier has this prefix.
    #[must_use]
    pub fn matches(&self, id: RecordId) -> bool {
        format!("{:032x}", id.as_u128()).starts_with(&self.0)
    }
}

impl FromStr for RecordPrefix {
    type Err = RecordPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|it| *it != '-').collect();
        let is_hexadecimal = digits.chars().all(|it| it.is_ascii_hexdigit());
        match is_hexadecimal && (1..=RECORD_DIGITS).contains(&digits.len()) {
            true => Ok(Self(digits.to_ascii_lowercase())),
            false => Err(RecordPrefixError),
        }
    }
}

/// Writes the normalized digits.
impl fmt::Display for RecordPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a prefix of a record's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the beginning of a record's identifier: copy it from the header `spanner-decision`"
)]
#[non_exhaustive]
pub struct RecordPrefixError;

/// The number of hexadecimal digits of a UUID.
const RECORD_DIGITS: usize = 32;

fn is(wanted: Option<&str>, name: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == name)
}

/// The subject and the actors of a caller.
pub(crate) fn parties(caller: &CallerEntry) -> impl Iterator<Item = &PrincipalEntry> {
    iter::once(&caller.subject).chain(&caller.actors)
}

pub(crate) fn signatories(by: &SignatoryEntry) -> impl Iterator<Item = &PrincipalEntry> {
    iter::once(&by.subject).chain(&by.actors)
}

/// Whether a pair of a request uses its model: runs, reads or changes it. Promotion steps and
/// requests to the administration API do not.
#[must_use]
pub fn is_use(decision: &Decision, pair: &PairEntry) -> bool {
    let is_step = matches!(
        pair.action,
        Action::Promote | Action::Approve | Action::Administer
    );
    let looks = decision.surface.as_deref() == Some(ADMINISTRATION);
    pair.model.is_some() && !is_step && !looks
}

/// The promotion under which a request was served a model. `None` if it was refused, or if the
/// pair does not [use](is_use) a promoted model.
#[must_use]
pub fn served_under(decision: &Decision, pair: &PairEntry) -> Option<PromotionId> {
    let served = decision.effect == Effect::Allow && is_use(decision, pair);
    pair.promotion.filter(|_| served)
}

/// The promotions under which a request was served its models, without duplicates.
#[must_use]
pub fn promotions_of(decision: &Decision) -> Vec<PromotionId> {
    let mut promotions = Vec::new();
    for pair in &decision.target {
        let promotion = served_under(decision, pair);
        promotions.extend(promotion.filter(|it| !promotions.contains(it)));
    }
    promotions
}

/// The surface of the administration API. Its requests concern models but do not use them.
const ADMINISTRATION: &str = "spanner";

fn is_called(party: &PrincipalEntry, name: &str) -> bool {
    let PrincipalEntry {
        issuer,
        kind,
        subject,
        ..
    } = party;
    name == subject
        || name == format!("{issuer}/{subject}")
        || name == format!("{kind}:{issuer}/{subject}")
}
