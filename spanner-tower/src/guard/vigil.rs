//! Looks, while a conversation lasts, whether it may go on.
//!
//! A response, a transfer or a socket can outlive the credential that it began with, or the
//! grant. It is looked at again every half of [`Limits::outlive`](crate::Limits), and once
//! more when the credential's time is up for good; what may not go on is broken off. What is
//! over before then costs nothing: the timer is made when something is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use spanner_core::{Inquiry, Pair, Refusal};
use tokio::time::{Sleep, sleep};

use crate::authenticate::BoxFuture;
use crate::resolve::Broken;

/// The least time between two checks, so that a short `outlive` does not turn into a busy loop.
const LEAST: Duration = Duration::from_millis(50);

/// Watches over one conversation.
pub(super) struct Vigil {
    /// Absent where nobody was asked, and once it is over.
    watched: Option<Watched>,
    broken: Broken,
    outlive: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    looking: Option<BoxFuture<'static, Result<(), Refusal>>>,
}

struct Watched {
    inquiry: Inquiry,
    allowed: Vec<Pair>,
}

impl Vigil {
    /// Over what an inquiry's caller was allowed, and is allowed later according to `broken`.
    pub(super) fn over(
        inquiry: Option<Inquiry>,
        allowed: &[Pair],
        broken: Broken,
        outlive: Duration,
    ) -> Self {
        Self {
            watched: inquiry.map(|inquiry| Watched {
                inquiry,
                allowed: allowed.to_vec(),
            }),
            broken,
            outlive,
            timer: None,
            looking: None,
        }
    }

    /// To be asked whenever the conversation is waited for: wakes the task when it is time to
    /// look, and breaks the conversation off when it may not go on.
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
                // Whoever runs no timers is not watched over.
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

impl Watched {
    /// How long until it is looked at next.
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
