//! Monitors whether a ledger stores entries, for probes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spanner_core::record::Decision;
use spanner_core::text::error_chain;
use spanner_core::{AuditSink, Count, Effect, Receipt, SinkFault};
use spanner_ledger::Ledger;
use tokio::task::spawn_blocking;

/// A ledger that tracks whether it stores entries. Give it to the guard in place of the ledger,
/// so that probes can query it. Clones share their state.
#[derive(Clone)]
pub struct MonitoredLedger {
    ledger: Ledger,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    failing: AtomicBool,
    /// The damage to the ledger's files that was last logged.
    damage: Mutex<Option<String>>,
    probed: Mutex<Option<Instant>>,
}

/// Limits the attempts to store an event, however often probes arrive.
const PROBE_EVERY: Duration = Duration::from_secs(1);

impl MonitoredLedger {
    /// Monitors a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        let state = Arc::default();
        Self { ledger, state }
    }

    /// Whether decisions become durable. While they do not, each call appends an event as a test,
    /// because a service that is not ready receives no requests. On a full disk, the ledger
    /// itself retries.
    pub async fn is_storing(&self) -> bool {
        if self.ledger.is_full() {
            return false;
        }
        if self.state.failing.load(Ordering::Relaxed) && self.state.may_probe() {
            let tried = self
                .ledger
                .event("readiness.probed", serde_json::Value::Null);
            let stored = match tried {
                Ok(acknowledged) => acknowledged.await,
                Err(fault) => Err(fault),
            };
            self.state.failing.store(stored.is_err(), Ordering::Relaxed);
        }
        // The ledger can store entries even if an old segment was removed.
        self.inspect().await;
        !self.state.failing.load(Ordering::Relaxed) && !self.is_damaged()
    }

    /// Checks that the ledger's files exist, and logs changes. Call it every few seconds.
    pub async fn inspect(&self) {
        let ledger = self.ledger.clone();
        let Ok(found) = spawn_blocking(move || ledger.inspect()).await else {
            return;
        };
        let found = found.err().map(|fault| error_chain(&fault));
        let mut damage = lock(&self.state.damage);
        match (&found, &*damage) {
            (Some(reason), before) if before.as_ref() != Some(reason) => tracing::error!(
                reason,
                "the ledger is no longer whole: restore its files, or stop the service, check the ledger with `spanner ledger verify` and acknowledge the loss"
            ),
            (None, Some(_)) => tracing::info!("the ledger's files are complete again"),
            _ => {}
        }
        *damage = found;
    }

    fn is_damaged(&self) -> bool {
        lock(&self.state.damage).is_some()
    }

    /// The number of entries written, and the number of them that a signed checkpoint covers.
    #[must_use]
    pub fn entries(&self) -> (u64, u64) {
        let signed = self.ledger.checkpoint().map_or(0, |it| it.size());
        (self.ledger.written(), signed)
    }

    /// Whether the last attempt to store an entry failed, for metrics. Unlike
    /// [`is_storing`](Self::is_storing), it makes no attempt of its own.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.ledger.is_full() || self.state.failing.load(Ordering::Relaxed) || self.is_damaged()
    }

    /// Appends an event that belongs to no request. A failure is logged.
    pub async fn event(&self, event: &str, body: serde_json::Value) {
        let stored = match self.ledger.event(event, body) {
            Ok(acknowledged) => acknowledged.await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = stored {
            tracing::error!(event, %fault, "cannot record the event in the ledger");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn may_probe(&self) -> bool {
        let mut probed = lock(&self.probed);
        let may = probed.is_none_or(|at| at.elapsed() >= PROBE_EVERY);
        if may {
            *probed = Some(Instant::now());
        }
        may
    }
}

impl AuditSink for MonitoredLedger {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        // Under a flood, refusals are shed, which does not indicate a failing disk.
        let counts = decision.effect == Effect::Allow;
        let taken = self.ledger.record(decision);
        if counts && taken.is_err() {
            self.state.failing.store(true, Ordering::Relaxed);
        }
        let Receipt { acknowledged, room } = taken?;
        let state = Arc::clone(&self.state);
        Ok(Receipt {
            acknowledged: Box::pin(async move {
                let stored = acknowledged.await;
                state.failing.store(stored.is_err(), Ordering::Relaxed);
                stored
            }),
            room,
        })
    }

    fn count(&self, what: Count) {
        self.ledger.count(what);
    }

    fn is_audited(&self) -> bool {
        self.ledger.is_audited()
    }
}

impl fmt::Debug for MonitoredLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ledger.fmt(f)
    }
}
