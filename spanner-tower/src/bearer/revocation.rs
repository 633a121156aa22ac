//! Revocations of tokens that are otherwise valid.
//!
//! 1. A revocation names a token (`jti`), a session (`sid`), or a subject and a time: all its
//!    tokens issued until then. A token without an issue time counts as issued before. Subjects
//!    also match the actors of delegated tokens.
//! 2. It takes effect at once, for every clone of the [`Bearer`](super::Bearer) and for cached
//!    tokens: each change starts a new epoch, and entries of earlier epochs are never used
//!    again.
//! 3. Requests in progress get no further decisions after a revocation, and end within
//!    [`Limits::outlive`](crate::Limits).
//! 4. The list is bounded. A full list refuses new entries with an error and drops nothing.
//! 5. The list is in memory. To keep it across restarts or share it between machines, keep it in
//!    a file and pass that to [`Revocations::replace_toml`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::Deserialize;
use spanner_core::{Caller, IssuerAlias, NameError, SubjectId, Timestamp, TokenFault};
use spanner_toml::{Problems, Source, Toml};
use toml::Spanned;

/// A list of revocations. Cheap to clone; clones share the list.
#[derive(Clone, Default)]
pub struct Revocations {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    epoch: AtomicU64,
    lists: RwLock<Lists>,
}

#[derive(Default)]
struct Lists {
    issuers: HashMap<IssuerAlias, IssuerRevocations>,
    entries: usize,
    /// The issuers whose tokens are checked against this list; empty until that is known.
    accepted: BTreeSet<IssuerAlias>,
}

/// The revocations of one issuer.
#[derive(Default)]
struct IssuerRevocations {
    /// By token id, with the time when the entry can be dropped.
    tokens: HashMap<String, Option<Timestamp>>,
    sessions: HashMap<String, Option<Timestamp>>,
    /// The subject's tokens that were issued at or before this time.
    subjects: HashMap<SubjectId, Timestamp>,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// One token.
    Token {
        /// The alias of its issuer.
        issuer: IssuerAlias,
        /// Its `jti`.
        id: String,
        /// When the token expires and the entry can be dropped. `None` keeps the entry.
        until: Option<Timestamp>,
    },
    /// All tokens of a session.
    Session {
        /// The alias of the issuer.
        issuer: IssuerAlias,
        /// Its `sid`.
        id: String,
        /// When its last token expires and the entry can be dropped. `None` keeps the entry.
        until: Option<Timestamp>,
    },
    /// All tokens of a subject that were issued at or before a time.
    Subject {
        /// The alias of the issuer.
        issuer: IssuerAlias,
        /// The subject.
        subject: SubjectId,
        /// The time, by the issuer's clock.
        issued_until: Timestamp,
    },
}

/// Why a revocation is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The list is full.
    #[error(
        "the list of revocations is full ({} entries): give entries an end (`until`), or revoke a subject instead of its tokens",
        Revocations::MAX_ENTRIES
    )]
    Full,
    /// Tokens of this issuer are not accepted, so the entry would revoke nothing.
    #[error("no issuer is called `{issuer}`; there are {accepted}")]
    Issuer {
        /// The alias.
        issuer: IssuerAlias,
        /// The aliases of the accepted issuers.
        accepted: String,
    },
    /// The identifier has an invalid length.
    #[error("{id:?} is no identifier of a token or session: 1 to 256 bytes")]
    Id {
        /// The identifier.
        id: String,
    },
    /// The text is not a valid list of revocations.
    #[error("{0}")]
    File(Problems),
}

impl Revocations {
    /// The maximum number of entries: 100,000 take about 20 MB.
    pub const MAX_ENTRIES: usize = 100_000;

    /// The maximum length of an identifier, in bytes: many times the length of the identifiers
    /// that providers issue.
    const MAX_ID: usize = 256;

    /// The maximum size of a text, in bytes: a full list fits.
    const MAX_TEXT: usize = 64 << 20;

    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a revocation. Requests that begin after this returns are refused if they match.
    /// Adding an entry twice is not an error; for a subject, the later time applies.
    ///
    /// # Errors
    /// [`RevocationError`]; the list is unchanged.
    pub fn revoke(&self, revocation: Revocation, now: Timestamp) -> Result<(), RevocationError> {
        let mut lists = self.write();
        if lists.entries >= Self::MAX_ENTRIES {
            lists.forget(now);
        }
        lists.add(revocation)?;
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Replaces the list by that of a text in TOML:
    ///
    /// ```toml
    /// [[token]]
    /// issuer = "corp"
    /// id     = "0f2c…"                       # the `jti`; `token_id` in records
    /// until  = "2026-12-01T00:00:00Z"
    ///
    /// [[session]]
    /// issuer = "corp"
    /// id     = "s-17"                        # the `sid`; `session` in records
    ///
    /// [[subject]]
    /// issuer       = "corp"
    /// subject      = "alice"
    /// issued_until = "2026-11-24T12:00:00Z"
    /// ```
    ///
    /// # Errors
    /// [`RevocationError::File`] with every problem; the list is unchanged.
    pub fn replace_toml(&self, text: &str) -> Result<(), RevocationError> {
        let source = Source::new("revocations", text);
        let mut problems = Problems::new("the revocations have");
        if text.len() > Self::MAX_TEXT {
            let what = format!("there are more than {} bytes", Self::MAX_TEXT);
            problems.file(source.name, what, "revoke subjects instead of their tokens");
            return Err(RevocationError::File(problems));
        }
        let mut lists = Lists {
            accepted: self.read().accepted.clone(),
            ..Lists::default()
        };
        for (at, revocation) in File::read(source, &mut problems).revocations() {
            let added = revocation.map_err(|error| error.to_string());
            let added = added
                .and_then(|revocation| lists.add(revocation).map_err(|error| error.to_string()));
            if let Err(what) = added {
                problems.at(source, at, what, "correct the entry");
            }
        }
        problems.none_or(()).map_err(RevocationError::File)?;
        let mut current = self.write();
        lists.accepted.append(&mut current.accepted);
        *current = lists;
        drop(current);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().entries
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the issuers whose tokens are checked against the list.
    pub(super) fn serve<'i>(&self, issuers: impl Iterator<Item = &'i IssuerAlias>) {
        let mut lists = self.write();
        lists.accepted.extend(issuers.cloned());
        let unknown = lists
            .issuers
            .keys()
            .filter(|it| !lists.accepted.contains(*it));
        for issuer in unknown {
            tracing::warn!(%issuer, "revocations name an issuer that is not configured");
        }
    }

    /// The number of changes so far.
    pub(super) fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::SeqCst)
    }

    /// Refuses a caller whose credential is revoked.
    pub(super) fn check(&self, caller: &Caller) -> Result<(), TokenFault> {
        let lists = self.read();
        if lists.entries > 0 && lists.has(caller) {
            Err(TokenFault::Revoked)
        } else {
            Ok(())
        }
    }

    /// Locks the list. Each change is a single step, so the list is consistent after a panic.
    fn read(&self) -> RwLockReadGuard<'_, Lists> {
        let lists = &self.shared.lists;
        lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Lists> {
        let lists = &self.shared.lists;
        lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn add(&mut self, revocation: Revocation) -> Result<(), RevocationError> {
        let full = self.entries >= Revocations::MAX_ENTRIES;
        let (issuer, id) = match &revocation {
            Revocation::Token { issuer, id, .. } | Revocation::Session { issuer, id, .. } => {
                (issuer, Some(id))
            }
            Revocation::Subject { issuer, .. } => (issuer, None),
        };
        if !self.accepted.is_empty() && !self.accepted.contains(issuer) {
            let accepted: Vec<&str> = self.accepted.iter().map(IssuerAlias::as_str).collect();
            return Err(RevocationError::Issuer {
                issuer: issuer.clone(),
                accepted: accepted.join(", "),
            });
        }
        if let Some(id) = id
            && !(1..=Revocations::MAX_ID).contains(&id.len())
        {
            return Err(RevocationError::Id { id: id.clone() });
        }
        let known = self.issuers.get(issuer);
        if full && !known.is_some_and(|revoked| revoked.knows(&revocation)) {
            return Err(RevocationError::Full);
        }
        let revoked = self.issuers.entry(issuer.clone()).or_default();
        let added = match revocation {
            Revocation::Token { id, until, .. } => keep_longer(&mut revoked.tokens, id, until),
            Revocation::Session { id, until, .. } => keep_longer(&mut revoked.sessions, id, until),
            Revocation::Subject {
                subject,
                issued_until,
                ..
            } => {
                let earlier = revoked.subjects.get(&subject).copied();
                let until = earlier.map_or(issued_until, |earlier| earlier.max(issued_until));
                revoked.subjects.insert(subject, until);
                earlier.is_none()
            }
        };
        self.entries += usize::from(added);
        Ok(())
    }

    /// Drops entries an hour after their tokens expired, to allow for clocks that differ.
    fn forget(&mut self, now: Timestamp) {
        // More than clocks differ, including the permitted skew.
        const MARGIN: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
        let needed = |until: &Option<Timestamp>| {
            until.is_none_or(|until| until.saturating_add(MARGIN).is_ok_and(|until| until >= now))
        };
        self.entries = 0;
        for revoked in self.issuers.values_mut() {
            revoked.tokens.retain(|_, until| needed(until));
            revoked.sessions.retain(|_, until| needed(until));
            self.entries += revoked.tokens.len() + revoked.sessions.len() + revoked.subjects.len();
        }
    }

    fn has(&self, caller: &Caller) -> bool {
        let credential = caller.credential();
        let of = |issuer| self.issuers.get(issuer);
        let listed = |list: &HashMap<String, Option<Timestamp>>, id: &Option<String>| {
            id.as_ref().is_some_and(|id| list.contains_key(id))
        };
        let own = of(&caller.subject().principal.issuer);
        let named = own.is_some_and(|revoked| {
            listed(&revoked.tokens, &credential.token_id)
                || listed(&revoked.sessions, &credential.session)
        });
        let mut principals = caller
            .parties()
            .map(|party| &party.principal)
            .chain(caller.chain());
        named
            || principals.any(|principal| {
                let revoked = of(&principal.issuer);
                let until = revoked.and_then(|it| it.subjects.get(&principal.subject));
                let issued = credential.issued_at;
                until.is_some_and(|until| issued.is_none_or(|issued| issued <= *until))
            })
    }
}

impl IssuerRevocations {
    fn knows(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Token { id, .. } => self.tokens.contains_key(id),
            Revocation::Session { id, .. } => self.sessions.contains_key(id),
            Revocation::Subject { subject, .. } => self.subjects.contains_key(subject),
        }
    }
}

/// Adds an entry. An existing one is kept until the later of both times.
fn keep_longer(
    list: &mut HashMap<String, Option<Timestamp>>,
    id: String,
    until: Option<Timestamp>,
) -> bool {
    let earlier = list.get(&id).copied();
    let until = match (earlier, until) {
        (None, until) => until,
        (Some(None), _) | (_, None) => None,
        (Some(Some(earlier)), Some(until)) => Some(earlier.max(until)),
    };
    list.insert(id, until);
    earlier.is_none()
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Spanned<ById>>,
    #[serde(default)]
    session: Vec<Spanned<ById>>,
    #[serde(default)]
    subject: Vec<Spanned<BySubject>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ById {
    issuer: String,
    id: String,
    until: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BySubject {
    issuer: String,
    subject: String,
    issued_until: Timestamp,
}

impl File {
    /// Reads a list. If it has a problem, it is read again entry by entry, which is slower and
    /// finds every problem.
    fn read(source: Source<'_>, problems: &mut Problems) -> Self {
        if let Ok(file) = toml::from_str(source.text) {
            return file;
        }
        let Some(toml) = Toml::parse(source, problems) else {
            return Self::default();
        };
        let table = toml.table(["token", "session", "subject"].as_slice(), problems);
        fn entries<T>(read: Vec<(usize, T)>) -> Vec<Spanned<T>> {
            let spanned = |(at, entry)| Spanned::new(at..at, entry);
            read.into_iter().map(spanned).collect()
        }
        Self {
            token: entries(table.read_list("token", problems)),
            session: entries(table.read_list("session", problems)),
            subject: entries(table.read_list("subject", problems)),
        }
    }

    /// Each entry with its byte offset.
    fn revocations(self) -> impl Iterator<Item = (usize, Result<Revocation, NameError>)> {
        let tokens = self.token.into_iter().map(|entry| {
            let (at, ById { issuer, id, until }) = (entry.span().start, entry.into_inner());
            let issuer = IssuerAlias::new(&issuer);
            (
                at,
                issuer.map(|issuer| Revocation::Token { issuer, id, until }),
            )
        });
        let sessions = self.session.into_iter().map(|entry| {
            let (at, ById { issuer, id, until }) = (entry.span().start, entry.into_inner());
            let issuer = IssuerAlias::new(&issuer);
            (
                at,
                issuer.map(|issuer| Revocation::Session { issuer, id, until }),
            )
        });
        let subjects = self.subject.into_iter().map(|entry| {
            let (at, entry) = (entry.span().start, entry.into_inner());
            (at, entry.revocation())
        });
        tokens.chain(sessions).chain(subjects)
    }
}

impl BySubject {
    fn revocation(self) -> Result<Revocation, NameError> {
        Ok(Revocation::Subject {
            issuer: IssuerAlias::new(&self.issuer)?,
            subject: SubjectId::new(&self.subject)?,
            issued_until: self.issued_until,
        })
    }
}
