//! Rechecks, while a conversation lasts, whether it may continue.
//!
//! A response, a transfer or a socket can outlive the credential or the grant that it began
//! with. It is rechecked each half of [`Limits::outlive`](crate::Limits), and once more when the
//! credential finally expires. What may not continue is cut off. Short conversations cost
//! nothing: the timer is created only when something has to wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use spanner_core::{Inquiry, Pair, Refusal};
use tokio::time::{Sleep, sleep};

use crate::authenticate::BoxFuture;
use crate::resolve::Broken;

/// The minimum time between two checks, so that a short `outlive` does not cause a busy loop.
const LEAST: Duration = Duration::from_millis(50);

/// Rechecks one conversation.
pub(super) struct Vigil {
    /// `None` on routes without authentication, and after a refusal.
    watched: Option<Recheck>,
    broken: Broken,
    outlive: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    looking: Option<BoxFuture<'static, Result<(), Refusal>>>,
}

struct Recheck {
    inquiry: Inquiry,
    allowed: Vec<Pair>,
}

impl Vigil {
    /// Rechecks what the inquiry's caller was allowed, including what `broken` notes as allowed
    /// later.
    pub(super) fn over(
        inquiry: Option<Inquiry>,
        allowed: &[Pair],
        broken: Broken,
        outlive: Duration,
    ) -> Self {
        Self {
            watched: inquiry.map(|inquiry| Recheck {
                inquiry,
                allowed: allowed.to_vec(),
            }),
            broken,
            outlive,
            timer: None,
            looking: None,
        }
    }

    /// Call it whenever the conversation is polled and pending. It wakes the task when a check
    /// is due, and aborts the conversation when it may not continue.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        while let Some(watched) = &self.watched {
            if let Some(looking) = &mut self.looking {
                match looking.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(found) => {
                        self.looking = None;
                        if let Err(refusal) = found {
                            self.watched = None;
                            return self.broken.stop(refusal);
                        }
                    }
                }
            }
            let timer = match &mut self.timer {
                Some(timer) => timer,
                // Without a tokio runtime there are no timers, and nothing is rechecked.
                None if tokio::runtime::Handle::try_current().is_err() => return,
                None => {
                    let wait = watched.wait(self.outlive);
                    self.timer.insert(Box::pin(sleep(wait)))
                }
            };
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer = None;
            self.looking = Some(watched.look(&self.broken, self.outlive));
        }
    }
}

impl Recheck {
    /// The time until the next check.
    fn wait(&self, outlive: Duration) -> Duration {
        let due = outlive / 2;
        let end = self.inquiry.ends(outlive).map(|end| {
            let left = end.duration_since(self.inquiry.now());
            Duration::try_from(left).unwrap_or_default()
        });
        end.map_or(due, |end| due.min(end)).max(LEAST)
    }

    fn look(&self, broken: &Broken, outlive: Duration) -> BoxFuture<'static, Result<(), Refusal>> {
        let inquiry = self.inquiry.clone();
        let mut allowed = self.allowed.clone();
        allowed.extend(broken.allowed());
        Box::pin(async move { inquiry.may_go_on(&allowed, outlive).await })
    }
}
