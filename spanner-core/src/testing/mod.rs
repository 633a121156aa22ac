//! Test doubles: a sink and a journal in memory, a fixed clock, an authorizer from a closure
//! (feature `test-util`).

mod journal;

pub use journal::{MemoryJournal, check_journal};

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::access::{Authorize, Question};
use crate::caller::Caller;
use crate::host::Host;
use crate::name::{GroupName, IssuerAlias, SubjectId};
use crate::party::{CallerKind, Group, Principal};
use crate::record::{Decision, Outcome};
use crate::sink::{AuditSink, Count, Receipt, Room, SinkFault};
use crate::verdict::{Verdict, VerdictReason, Verdicts};
use crate::{RecordId, Timestamp};

impl Caller {
    /// A person of the issuer `test`, without groups.
    ///
    /// # Panics
    /// If the subject is invalid.
    #[must_use]
    pub fn for_test(subject: &str) -> Self {
        Self::for_test_in(subject, &[])
    }

    /// A person of the issuer `test` in some groups.
    ///
    /// # Panics
    /// If a name is invalid.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test with an impossible name should fail"
    )]
    pub fn for_test_in(subject: &str, groups: &[&str]) -> Self {
        let issuer = IssuerAlias::new("test").expect("a valid alias");
        let subject = SubjectId::new(subject).expect("a valid subject");
        let groups = groups.iter().map(|name| {
            Group::new(
                issuer.clone(),
                GroupName::new(name).expect("a valid group name"),
            )
        });
        Self::assertion(Principal::new(issuer.clone(), CallerKind::User, subject))
            .groups(groups)
            .caller()
            .expect("a caller without actors")
    }
}

/// Polls a future that needs no runtime until it is ready.
///
/// # Panics
/// If it is still pending after a thousand polls.
#[expect(clippy::panic, reason = "a test that waits for ever should fail")]
pub fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = TaskContext::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("the future is still pending");
}

/// Blocks this thread on a future that other threads wake.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A host whose clock moves only when a test moves it, and whose identifiers count up.
#[derive(Debug, Clone)]
pub struct Fixed {
    now: Arc<Mutex<Timestamp>>,
    next: Arc<AtomicU64>,
}

impl Fixed {
    /// A host at an RFC 3339 time.
    ///
    /// # Panics
    /// If the text is not a time.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test with an impossible time should fail"
    )]
    pub fn at(time: &str) -> Self {
        Self {
            now: Arc::new(Mutex::new(time.parse().expect("an RFC 3339 time"))),
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        let mut now = lock(&self.now);
        if let Ok(later) = now.checked_add(by) {
            *now = later;
        }
    }

    /// Sets the clock.
    pub fn set(&self, time: Timestamp) {
        *lock(&self.now) = time;
    }
}

impl Host for Fixed {
    fn now(&self) -> Timestamp {
        *lock(&self.now)
    }

    fn record_id(&self) -> RecordId {
        let millis = u64::try_from(self.now().as_millisecond()).unwrap_or(0);
        let count = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut random = [0; 10];
        random
            .iter_mut()
            .rev()
            .zip(count.iter().rev())
            .for_each(|(to, from)| *to = *from);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        RecordId::from_u128(id.as_u128())
    }
}

/// An authorizer made of a closure.
pub struct Rules<F> {
    rule: F,
}

impl<F> Rules<F>
where
    F: Fn(&Question<'_>) -> bool + Send + Sync + 'static,
{
    /// Allows the questions for which the closure returns `true`.
    pub const fn allow(rule: F) -> Self {
        Self { rule }
    }
}

impl<F> Authorize for Rules<F>
where
    F: Fn(&Question<'_>) -> bool + Send + Sync + 'static,
{
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        let verdict = |question| {
            if (self.rule)(question) {
                Verdict::allow(vec!["test".into()])
            } else {
                Verdict::deny(VerdictReason::NoGrant)
            }
        };
        Verdicts::new("test".into(), questions.iter().map(verdict).collect())
    }
}

impl<F> fmt::Debug for Rules<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules")
    }
}

/// A sink that stores everything in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    decisions: Vec<Decision>,
    outcomes: Vec<Outcome>,
    counts: Vec<Count>,
    fault: Option<SinkFault>,
    late_fault: Option<SinkFault>,
    never: bool,
}

impl MemorySink {
    /// An empty sink.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The decisions recorded so far.
    #[must_use]
    pub fn decisions(&self) -> Vec<Decision> {
        lock(&self.state).decisions.clone()
    }

    /// The outcomes recorded so far.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        lock(&self.state).outcomes.clone()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Vec<Count> {
        lock(&self.state).counts.clone()
    }

    /// Refuses further decisions with this fault; `None` ends that.
    pub fn fail(&self, fault: Option<SinkFault>) {
        lock(&self.state).fault = fault;
    }

    /// Accepts further decisions and fails to make them durable; `None` ends that.
    pub fn fail_late(&self, fault: Option<SinkFault>) {
        lock(&self.state).late_fault = fault;
    }

    /// Accepts further decisions and never acknowledges them.
    pub fn hang(&self, never: bool) {
        lock(&self.state).never = never;
    }
}

impl AuditSink for MemorySink {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        let mut state = lock(&self.state);
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        state.decisions.push(decision);
        let shared = Arc::clone(&self.state);
        let room = Room::new(move |outcome| lock(&shared).outcomes.push(outcome));
        let acknowledged: crate::sink::Acknowledgement = match (state.never, &state.late_fault) {
            (true, _) => Box::pin(std::future::pending()),
            (false, Some(fault)) => Box::pin(std::future::ready(Err(fault.clone()))),
            (false, None) => Box::pin(std::future::ready(Ok(()))),
        };
        Ok(Receipt { acknowledged, room })
    }

    fn count(&self, what: Count) {
        lock(&self.state).counts.push(what);
    }

    fn is_audited(&self) -> bool {
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
