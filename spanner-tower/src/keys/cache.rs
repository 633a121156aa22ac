//! The cached keys of one issuer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use spanner_core::Outage;
use spanner_core::token::KeySet;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::source::{FETCH_TIMEOUT, FetchError, Fetched, KeySource};
use super::unknown::Unknown;

/// How long keys are fresh unless their source says otherwise. Providers usually publish a new
/// key days before they sign with it.
const FRESH: Duration = Duration::from_secs(600);
/// The shortest freshness that a source can set: at most one fetch each minute.
const MIN_FRESH: Duration = Duration::from_secs(60);
/// The longest freshness that a source can set: a withdrawn key is accepted for at most an hour.
const MAX_FRESH: Duration = Duration::from_secs(3_600);
/// How long keys are used after the last successful fetch: long enough for a night's outage of
/// the provider.
const MAX_STALE: Duration = Duration::from_secs(12 * 3_600);
/// How long a request waits for keys: about as long as a person waits for a response.
const WAIT: Duration = Duration::from_secs(2);
/// The first and the longest pause after failures. The first suits a short outage; with the
/// longest, the end of a long outage is noticed within half a minute.
const BACKOFF: Duration = Duration::from_secs(1);
/// See [`BACKOFF`].
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The longest pause that a source may ask for: a longer one is more often a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The keys of one fetch.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Snapshot>);

impl Keys {
    pub(crate) fn set(&self) -> &KeySet {
        &self.0.keys
    }

    /// Identifies the fetch, among all fetches of all issuers.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation
    }
}

/// The state of an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The state in one word.
    pub state: KeyState,
    /// The number of keys in use.
    pub keys: usize,
    /// The time since they were fetched; `None` if they never were.
    pub age: Option<Duration>,
    /// Why the last fetch failed; `None` if it succeeded.
    pub last_error: Option<String>,
    /// The keys that the issuer publishes and Spanner does not use, each with the reason.
    pub skipped: Vec<String>,
}

/// The state of an issuer's keys in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Nothing has been fetched yet.
    Cold,
    /// The keys are in use and fresh.
    Fresh,
    /// The keys are in use and no longer fresh, because fetching fails or there were no
    /// requests.
    Stale,
    /// There are no usable keys: callers get 503.
    Unavailable,
}

/// The keys of one issuer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KeyCache {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn KeySource>,
    snapshot: ArcSwapOption<Snapshot>,
    /// Never held while anything waits.
    progress: Mutex<Progress>,
}

struct Snapshot {
    /// Identifies the fetch.
    generation: u64,
    keys: KeySet,
    skipped: Vec<String>,
    validator: Option<String>,
    fetched: Instant,
    fresh_for: Duration,
    refresh_at: Instant,
}

#[derive(Default)]
struct Progress {
    /// The fetch in progress; its sender is dropped when it ends.
    flight: Option<watch::Receiver<()>>,
    failures: u32,
    last_error: Option<FetchError>,
    not_before: Option<Instant>,
    unknown: Unknown,
    /// Whether a request waits for the fetch in progress because of an unknown key.
    for_unknown: bool,
}

impl KeyCache {
    pub(crate) fn new(source: impl KeySource) -> Self {
        Self::boxed(Box::new(source))
    }

    pub(crate) fn boxed(source: Box<dyn KeySource>) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                snapshot: ArcSwapOption::empty(),
                progress: Mutex::default(),
            }),
        }
    }

    /// Whether both are the same cache.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the keys to verify with.
    pub(crate) async fn keys(&self) -> Result<Keys, Outage> {
        let now = Instant::now();
        let Some(snapshot) = self.usable(now) else {
            self.fetched().await;
            return self
                .usable(Instant::now())
                .map(Keys)
                .ok_or_else(|| self.outage());
        };
        if now >= snapshot.refresh_at {
            let old = now >= snapshot.fetched + snapshot.fresh_for;
            if let Some(flight) = self.take_off()
                && old
                && self.lock().failures == 0
            {
                landed(flight).await;
                return Ok(Keys(self.usable(Instant::now()).unwrap_or(snapshot)));
            }
        }
        Ok(Keys(snapshot))
    }

    /// Returns the keys to verify with, if they were fetched already. Causes no traffic.
    pub(crate) fn at_hand(&self) -> Option<Keys> {
        self.usable(Instant::now()).map(Keys)
    }

    /// Returns keys that are newer than these, which lack a key with this name. `None` if there
    /// are none, or if the source may not be asked now.
    pub(crate) async fn newer_than(
        &self,
        keys: &Keys,
        key_id: Option<&str>,
    ) -> Result<Option<Keys>, Outage> {
        match self.ask_unknown(keys, key_id) {
            Lookup::Known(known) => return Ok(known),
            Lookup::UnderWay(Some(flight)) => landed(flight).await,
            Lookup::UnderWay(None) => {}
        }
        let newer = self.others_than(keys).ok_or_else(|| self.outage())?;
        if key_id.is_none_or(|id| !newer.set().contains_key_id(id)) {
            self.lock().unknown.missed(key_id, Instant::now());
        }
        Ok(Some(newer))
    }

    fn ask_unknown(&self, keys: &Keys, key_id: Option<&str>) -> Lookup {
        let mut progress = self.lock();
        // A fetch stores its keys under this lock.
        if let Some(current) = self.others_than(keys) {
            return Lookup::Known(Some(current));
        }
        let under_way = progress.flight.is_some();
        if !under_way && !progress.unknown.may_ask(key_id, Instant::now()) {
            return Lookup::Known(None);
        }
        let flight = self.depart(&mut progress);
        progress.for_unknown = flight.is_some();
        Lookup::UnderWay(flight)
    }

    /// Fetches now, regardless of pauses, because an operator knows that the source changed.
    /// Returns whether the keys changed.
    pub(crate) async fn refresh(&self) -> Result<bool, FetchError> {
        let before = self.shared.snapshot.load_full();
        // A fetch in progress may have read the source before the change.
        let earlier = self.lock().flight.clone();
        if let Some(flight) = earlier {
            ended(flight).await;
        }
        self.lock().not_before = None;
        if let Some(flight) = self.take_off() {
            ended(flight).await;
        }
        let after = self.shared.snapshot.load_full();
        if let Some(error) = self.lock().last_error.clone() {
            return Err(error);
        }
        let both = before.zip(after);
        Ok(both.is_some_and(|(before, after)| before.generation != after.generation))
    }

    fn others_than(&self, keys: &Keys) -> Option<Keys> {
        let current = self.usable(Instant::now())?;
        (!Arc::ptr_eq(&current, &keys.0)).then_some(Keys(current))
    }

    /// Fetches once, for a check at start.
    pub(crate) async fn warm_up(&self) -> Result<(), FetchError> {
        if self.usable(Instant::now()).is_some() {
            return Ok(());
        }
        if let Some(flight) = self.take_off() {
            ended(flight).await;
        }
        match self.usable(Instant::now()) {
            Some(_) => Ok(()),
            None => Err(self
                .lock()
                .last_error
                .clone()
                .unwrap_or_else(|| FetchError::new("no keys"))),
        }
    }

    pub(crate) fn status(&self) -> KeyStatus {
        let now = Instant::now();
        let snapshot = self.shared.snapshot.load_full();
        let last_error = self.lock().last_error.as_ref().map(ToString::to_string);
        let state = match &snapshot {
            None if last_error.is_none() => KeyState::Cold,
            None => KeyState::Unavailable,
            Some(snapshot) if now < snapshot.fetched + snapshot.fresh_for => KeyState::Fresh,
            Some(snapshot) if now < snapshot.fetched + MAX_STALE => KeyState::Stale,
            Some(_) => KeyState::Unavailable,
        };
        KeyStatus {
            state,
            keys: snapshot.as_ref().map_or(0, |snapshot| snapshot.keys.len()),
            age: snapshot
                .as_ref()
                .map(|snapshot| now.duration_since(snapshot.fetched)),
            last_error,
            skipped: snapshot.map_or_else(Vec::new, |snapshot| snapshot.skipped.clone()),
        }
    }

    fn usable(&self, now: Instant) -> Option<Arc<Snapshot>> {
        let snapshot = self.shared.snapshot.load_full()?;
        (now < snapshot.fetched + MAX_STALE).then_some(snapshot)
    }

    /// Waits for a fetch, at most [`WAIT`].
    async fn fetched(&self) {
        if let Some(flight) = self.take_off() {
            landed(flight).await;
        }
    }

    /// Returns the fetch in progress, or starts one; `None` during the pause after a failure. It
    /// runs as a task of its own, so that it continues for the others if a client disconnects.
    fn take_off(&self) -> Option<watch::Receiver<()>> {
        self.depart(&mut self.lock())
    }

    fn depart(&self, progress: &mut Progress) -> Option<watch::Receiver<()>> {
        if let Some(flight) = &progress.flight {
            return Some(flight.clone());
        }
        if progress
            .not_before
            .is_some_and(|not_before| Instant::now() < not_before)
        {
            return None;
        }
        let (landing, flight) = watch::channel(());
        progress.flight = Some(flight.clone());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let landing = Landing {
                shared: &shared,
                _landing: landing,
            };
            let fetched = fetch(&shared).await;
            shared.land(fetched);
            drop(landing);
        });
        Some(flight)
    }

    fn outage(&self) -> Outage {
        let not_before = self.lock().not_before;
        let retry_after = not_before.map(|at| at.saturating_duration_since(Instant::now()));
        Outage::Keys { retry_after }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.shared.lock()
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyCache({:?})", self.status().state)
    }
}

/// The result of looking for an unknown key.
enum Lookup {
    /// Other keys are cached, or the source may not be asked.
    Known(Option<Keys>),
    /// Keys are being fetched, unless there is a pause after a failure.
    UnderWay(Option<watch::Receiver<()>>),
}

/// Ends the fetch in progress, however its task ends.
struct Landing<'a> {
    shared: &'a Shared,
    _landing: watch::Sender<()>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.shared.lock().flight = None;
    }
}

/// Waits for the fetch to end: its sender is dropped then, without a message.
async fn ended(mut flight: watch::Receiver<()>) {
    while flight.changed().await.is_ok() {}
}

async fn landed(flight: watch::Receiver<()>) {
    // A timeout is ignored here: the caller checks which keys there are.
    let _: Result<(), _> = timeout(WAIT, ended(flight)).await;
}

async fn fetch(shared: &Shared) -> Result<Snapshot, FetchError> {
    let current = shared.snapshot.load_full();
    let validator = current
        .as_ref()
        .and_then(|current| current.validator.as_deref());
    let fetched = timeout(FETCH_TIMEOUT, shared.source.fetch(validator)).await;
    let fetched = fetched.unwrap_or_else(|_| Err(FetchError::new("it takes longer than 10 s")))?;
    match (fetched, current) {
        (
            Fetched::Document {
                text,
                validator,
                fresh_for,
            },
            _,
        ) => {
            let parsed =
                KeySet::parse(&text).map_err(|error| FetchError::new(error.to_string()))?;
            let skipped = parsed.skipped.iter().map(ToString::to_string).collect();
            Ok(Snapshot::new(parsed.keys, skipped, validator, fresh_for))
        }
        (Fetched::NotModified { fresh_for }, Some(current)) => Ok(current.confirmed(fresh_for)),
        (Fetched::NotModified { .. }, None) => Err(FetchError::new(
            "the answer is `not modified`, and there is nothing yet",
        )),
    }
}

impl Snapshot {
    fn new(
        keys: KeySet,
        skipped: Vec<String>,
        validator: Option<String>,
        fresh_for: Option<Duration>,
    ) -> Self {
        let (fetched, fresh_for) = (Instant::now(), fresh_time(fresh_for));
        Self {
            generation: next(),
            keys,
            skipped,
            validator,
            fetched,
            fresh_for,
            refresh_at: refresh_at(fetched, fresh_for),
        }
    }

    /// The same keys, fresh again. Tokens that they verified stay valid.
    fn confirmed(&self, fresh_for: Option<Duration>) -> Self {
        let (fetched, fresh_for) = (Instant::now(), fresh_time(fresh_for));
        Self {
            generation: self.generation,
            keys: self.keys.clone(),
            skipped: self.skipped.clone(),
            validator: self.validator.clone(),
            fetched,
            fresh_for,
            refresh_at: refresh_at(fetched, fresh_for),
        }
    }
}

/// A number that is unique to one fetch.
fn next() -> u64 {
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

fn fresh_time(said: Option<Duration>) -> Duration {
    said.unwrap_or(FRESH).clamp(MIN_FRESH, MAX_FRESH)
}

/// Randomized, so that replicas that started together do not fetch together.
fn refresh_at(fetched: Instant, fresh_for: Duration) -> Instant {
    fetched + fresh_for.mul_f64(0.72 + 0.16 * fastrand::f64())
}

impl Shared {
    fn land(&self, fetched: Result<Snapshot, FetchError>) {
        let mut progress = self.lock();
        let for_unknown = std::mem::take(&mut progress.for_unknown);
        match fetched {
            Ok(snapshot) => {
                let before = self.snapshot.load_full();
                let others = before
                    .as_ref()
                    .is_none_or(|before| before.generation != snapshot.generation);
                // Logged once for each key set, not whenever it is confirmed.
                for skipped in snapshot.skipped.iter().filter(|_| others) {
                    tracing::warn!(key = %skipped, "a key is left out");
                }
                if for_unknown {
                    let gained = before.is_none_or(|it| snapshot.keys.has_more_than(&it.keys));
                    progress.unknown.asked(gained, Instant::now());
                }
                self.snapshot.store(Some(Arc::new(snapshot)));
                progress.failures = 0;
                progress.last_error = None;
                progress.not_before = None;
            }
            Err(error) => {
                tracing::warn!(%error, "keys cannot be fetched");
                let pause = pause(progress.failures, error.retry_after);
                progress.failures = progress.failures.saturating_add(1);
                progress.not_before = Some(Instant::now() + pause);
                progress.last_error = Some(error);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A random pause of half to all of 1, 2, 4 … 30 s; longer if the source asks for it.
fn pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let longest = BACKOFF
        .saturating_mul(1 << failures.min(5))
        .min(MAX_BACKOFF);
    let pause = longest.mul_f64(0.5 + 0.5 * fastrand::f64());
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}
