//! The keys of one issuer, kept.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use spanner_core::Outage;
use spanner_core::token::KeySet;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{FETCH_TIMEOUT, FetchError, Fetched, KeySource};

/// How long keys are fresh unless their source says otherwise.
const FRESH: Duration = Duration::from_secs(600);
/// A source cannot make keys fresh for less: each minute one fetch at most.
const MIN_FRESH: Duration = Duration::from_secs(60);
/// Nor for more: a key that was withdrawn is accepted for an hour at most.
const MAX_FRESH: Duration = Duration::from_secs(3_600);
/// How long keys are used after the last success: a night's outage of the provider.
const MAX_STALE: Duration = Duration::from_secs(12 * 3_600);
/// How long a request waits for keys; a person waits no longer for an answer.
const WAIT: Duration = Duration::from_secs(2);
/// One fetch for unknown keys in this time, whatever is asked.
const UNKNOWN_EVERY: Duration = Duration::from_secs(30);
/// The first and the longest pause after failures.
const BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The longest pause that a source may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Keys at hand, as they were fetched at one time.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Snapshot>);

impl Keys {
    pub(crate) fn set(&self) -> &KeySet {
        &self.0.keys
    }

    /// Tells these keys from those that were fetched at another time, or of another issuer.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation
    }
}

/// How an issuer's keys stand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// In one word.
    pub state: KeyState,
    /// How many keys are in use.
    pub keys: usize,
    /// How long ago they were fetched; absent if they never were.
    pub age: Option<Duration>,
    /// Why the last fetch failed; absent if it did not.
    pub last_error: Option<String>,
    /// The keys of the issuer that are not used, and why.
    pub skipped: Vec<String>,
}

/// How an issuer's keys stand, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Nothing has been fetched yet.
    Cold,
    /// The keys are in use and not old.
    Fresh,
    /// The keys are in use and older than they should be, since fetching fails or nobody
    /// called.
    Stale,
    /// There are no keys that may be used: callers get 503.
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
    /// The fetch that is under way; its sender is dropped when it ends.
    flight: Option<watch::Receiver<()>>,
    failures: u32,
    last_error: Option<FetchError>,
    not_before: Option<Instant>,
    /// When an unknown key was last asked for with success.
    asked_unknown: Option<Instant>,
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

    /// The keys to verify with.
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

    /// The keys to verify with, if they were fetched already. Causes no traffic.
    pub(crate) fn at_hand(&self) -> Option<Keys> {
        self.usable(Instant::now()).map(Keys)
    }

    /// Keys that are newer than these; `None` if it is known that there are none.
    pub(crate) async fn newer_than(&self, keys: &Keys) -> Result<Option<Keys>, Outage> {
        if let Some(current) = self.others_than(keys) {
            return Ok(Some(current));
        }
        let asked = self.lock().asked_unknown;
        if asked.is_some_and(|asked| asked.elapsed() < UNKNOWN_EVERY) {
            return Ok(None);
        }
        self.fetched().await;
        let newer = self.others_than(keys).ok_or_else(|| self.outage())?;
        self.lock().asked_unknown = Some(newer.0.fetched);
        Ok(Some(newer))
    }

    fn others_than(&self, keys: &Keys) -> Option<Keys> {
        let current = self.usable(Instant::now())?;
        (!Arc::ptr_eq(&current, &keys.0)).then_some(Keys(current))
    }

    /// Fetches once, now, for those who want to know at start.
    pub(crate) async fn warm_up(&self) -> Result<(), FetchError> {
        if self.usable(Instant::now()).is_some() {
            return Ok(());
        }
        if let Some(mut flight) = self.take_off() {
            while flight.changed().await.is_ok() {}
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

    /// The fetch under way, or a new one; none while a failure is being waited out. It runs
    /// by itself, so that a client who leaves does not end it for the others.
    fn take_off(&self) -> Option<watch::Receiver<()>> {
        let mut progress = self.lock();
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
        drop(progress);
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

/// Ends the flight however its task ends.
struct Landing<'a> {
    shared: &'a Shared,
    _landing: watch::Sender<()>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.shared.lock().flight = None;
    }
}

async fn landed(mut flight: watch::Receiver<()>) {
    // The sender says nothing; it is dropped when the fetch has ended.
    let end = async { while flight.changed().await.is_ok() {} };
    // Waiting is given up silently: whoever waited looks at what there is.
    let _: Result<(), _> = timeout(WAIT, end).await;
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
        (Fetched::NotModified { fresh_for }, Some(current)) => {
            let (keys, skipped) = (current.keys.clone(), current.skipped.clone());
            Ok(Snapshot::new(
                keys,
                skipped,
                current.validator.clone(),
                fresh_for,
            ))
        }
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
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let fetched = Instant::now();
        let fresh_for = fresh_for.unwrap_or(FRESH).clamp(MIN_FRESH, MAX_FRESH);
        // Replicas that started together drift apart.
        let refresh_at = fetched + fresh_for.mul_f64(0.72 + 0.16 * fastrand::f64());
        Self {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            keys,
            skipped,
            validator,
            fetched,
            fresh_for,
            refresh_at,
        }
    }
}

impl Shared {
    fn land(&self, fetched: Result<Snapshot, FetchError>) {
        let mut progress = self.lock();
        match fetched {
            Ok(snapshot) => {
                for skipped in &snapshot.skipped {
                    tracing::warn!(key = %skipped, "a key is left out");
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

/// From half to the whole of 1, 2, 4 … 30 s; more if the source asks for it.
fn pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let longest = BACKOFF
        .saturating_mul(1 << failures.min(5))
        .min(MAX_BACKOFF);
    let pause = longest.mul_f64(0.5 + 0.5 * fastrand::f64());
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}
