//! The ledger, watched: whether it stores what it is given, for probes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use spanner_core::record::Decision;
use spanner_core::{AuditSink, Count, Effect, Receipt, SinkFault};
use spanner_ledger::Ledger;
use tokio::task::spawn_blocking;

use crate::words::chain;

/// A ledger that remembers whether the last decision became durable. Clones are the same.
#[derive(Clone)]
pub(crate) struct Watched {
    ledger: Ledger,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    failing: AtomicBool,
    /// What is gone of its files, as that was said last.
    gone: Mutex<Option<String>>,
    probed: Mutex<Option<Instant>>,
}

/// One probe in this time, whatever is asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);

impl Watched {
    pub(crate) fn new(ledger: Ledger) -> Self {
        let state = Arc::default();
        Self { ledger, state }
    }

    /// Whether decisions become durable. While they do not, asking tries: nobody else may,
    /// since who asks sends no requests to a service that is not ready. On a full disk the
    /// ledger tries by itself, and what is tried here would be stored all the same.
    pub(crate) async fn is_storing(&self) -> bool {
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
        // Entries are stored while an old segment is gone, and the ledger is not whole.
        self.inspect().await;
        !self.state.failing.load(Ordering::Relaxed) && !self.is_gone()
    }

    /// Looks whether its files are still there, and says so when that changes.
    pub(crate) async fn inspect(&self) {
        let ledger = self.ledger.clone();
        let Ok(found) = spawn_blocking(move || ledger.inspect()).await else {
            return;
        };
        let found = found.err().map(|fault| chain(&fault));
        let mut gone = lock(&self.state.gone);
        match (&found, &*gone) {
            (Some(reason), before) if before.as_ref() != Some(reason) => tracing::error!(
                reason,
                "the ledger is no longer whole: put its files back, or stop, look at it with `spanner ledger verify`, and acknowledge the loss"
            ),
            (None, Some(_)) => tracing::info!("the ledger's files are there again"),
            _ => {}
        }
        *gone = found;
    }

    fn is_gone(&self) -> bool {
        lock(&self.state.gone).is_some()
    }

    /// Puts where it stands among the metrics.
    pub(crate) fn publish(&self) {
        let signed = self.ledger.checkpoint().map_or(0, |it| it.size());
        gauge!("spanner_ledger_entries").set(self.ledger.written() as f64);
        gauge!("spanner_ledger_signed_entries").set(signed as f64);
        let failing =
            self.ledger.is_full() || self.state.failing.load(Ordering::Relaxed) || self.is_gone();
        gauge!("spanner_ledger_failing").set(f64::from(u8::from(failing)));
    }

    /// Records something that happened apart from requests; a failure is logged.
    pub(crate) async fn event(&self, event: &str, body: serde_json::Value) {
        let stored = match self.ledger.event(event, body) {
            Ok(acknowledged) => acknowledged.await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = stored {
            tracing::error!(event, %fault, "the event is not in the ledger");
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

impl AuditSink for Watched {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        // Refusals are shed under a flood, which says nothing of the disk.
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

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ledger.fmt(f)
    }
}
