//! Tokens that are refused although they are genuine and in time.
//!
//! 1. A revocation names a token (`jti`), a session (`sid`), or a subject with a time: all
//!    of its tokens that were issued until then. A token whose age is not known counts as
//!    issued before. Subjects are looked for among those who act, too.
//! 2. It counts at once, for every clone of the [`Bearer`](super::Bearer) and for tokens that
//!    were accepted a moment ago: each change begins a new epoch, and what was kept of
//!    earlier ones is never used again.
//! 3. What goes on when something is revoked decides nothing more, and ends within
//!    [`Limits::outlive`](crate::Limits).
//! 4. The list is bounded. One that is full refuses the new entry and says so; nothing is
//!    dropped to make room.
//! 5. It is in memory. Whoever wants it to outlive a restart, or to be the same on several
//!    machines, keeps it in a file and gives that to [`Revocations::replace_toml`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::Deserialize;
use spanner_core::{Caller, IssuerAlias, NameError, SubjectId, Timestamp, TokenFault};
use spanner_toml::{Problems, Source, Toml};
use toml::Spanned;

/// A list of revocations. Cheap to clone; clones are the same list.
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
    issuers: HashMap<IssuerAlias, Revoked>,
    entries: usize,
    /// The issuers that somebody accepts who looks at this list; empty before that is known.
    accepted: BTreeSet<IssuerAlias>,
}

/// What is revoked of one issuer.
#[derive(Default)]
struct Revoked {
    /// By identifier, with when the entry can be forgotten.
    tokens: HashMap<String, Option<Timestamp>>,
    sessions: HashMap<String, Option<Timestamp>>,
    /// Issued at this time or before.
    subjects: HashMap<SubjectId, Timestamp>,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// A token.
    Token {
        /// The alias of its issuer.
        issuer: IssuerAlias,
        /// Its `jti`.
        id: String,
        /// When it expires anyway, so that the entry can be forgotten. `None` keeps it.
        until: Option<Timestamp>,
    },
    /// All tokens of a session at the issuer.
    Session {
        /// The alias of the issuer.
        issuer: IssuerAlias,
        /// Its `sid`.
        id: String,
        /// When the last token of it expires. `None` keeps the entry.
        until: Option<Timestamp>,
    },
    /// All tokens of a subject that were issued at a time or before.
    Subject {
        /// The alias of the issuer.
        issuer: IssuerAlias,
        /// Whose tokens.
        subject: SubjectId,
        /// The time, by the issuer's clock.
        issued_until: Timestamp,
    },
}

/// Why a revocation does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The list is full.
    #[error(
        "the list of revocations is full ({} entries): give entries an end (`until`), or revoke a subject instead of its tokens",
        Revocations::MAX_ENTRIES
    )]
    Full,
    /// Nobody accepts tokens of this issuer, so that the entry would revoke nothing.
    #[error("no issuer is called `{issuer}`; there are {accepted}")]
    Issuer {
        /// The alias.
        issuer: IssuerAlias,
        /// Those that there are.
        accepted: String,
    },
    /// An identifier that no token can have.
    #[error("{id:?} is no identifier of a token or session: 1 to 256 bytes")]
    Id {
        /// The identifier.
        id: String,
    },
    /// The text is no list of revocations.
    #[error("{0}")]
    File(Problems),
}

impl Revocations {
    /// How many entries a list holds: 100,000 take about 20 MB.
    pub const MAX_ENTRIES: usize = 100_000;

    /// The longest identifier, in bytes; longer ones are no token's.
    const MAX_ID: usize = 256;

    /// The longest text, in bytes: as many entries as a list holds.
    const MAX_TEXT: usize = 64 << 20;

    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes. When this returns, no request that begins later is served with what is
    /// revoked. Revoking twice is not an error; a subject's later time counts.
    ///
    /// # Errors
    /// [`RevocationError`]; nothing has changed then.
    pub fn revoke(&self, revocation: Revocation, now: Timestamp) -> Result<(), RevocationError> {
        let mut lists = self.write();
        if lists.entries >= Self::MAX_ENTRIES {
            lists.forget(now);
        }
        lists.add(revocation)?;
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Takes the list from a text in TOML and forgets what was there before:
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
    /// [`RevocationError::File`] with every problem; the list is as before then.
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

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().entries
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells which issuers' tokens are looked for in the list.
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

    /// A list that a panic left behind is whole: each change of it is one step.
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

    /// Forgets what has expired anyway, an hour after, whatever clocks say.
    fn forget(&mut self, now: Timestamp) {
        // More than clocks and their permitted skew differ.
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

impl Revoked {
    fn knows(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Token { id, .. } => self.tokens.contains_key(id),
            Revocation::Session { id, .. } => self.sessions.contains_key(id),
            Revocation::Subject { subject, .. } => self.subjects.contains_key(subject),
        }
    }
}

/// Adds an entry, or keeps the one that is there for as long as either says.
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
    /// Reads a list. One with a problem is read entry by entry, which takes longer and finds every
    /// problem.
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
