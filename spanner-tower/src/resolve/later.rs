//! Authorizes what a request turns out to touch while it is forwarded.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use spanner_core::{Inquiry, Pair, Permit, Refusal, Refused, RequestFault, Settlement, Target};

use super::broken::Broken;

/// The pairs allowed so far, and the pending question.
pub(crate) struct LaterDecisions {
    allowed: Vec<Pair>,
    children: Vec<Settlement>,
    inquiry: Option<Inquiry>,
    broken: Broken,
    question: Option<Question>,
    over: bool,
}

struct Question {
    pairs: Vec<Pair>,
    decision: Pin<Box<dyn Future<Output = Result<Permit, Refused>> + Send>>,
}

impl LaterDecisions {
    pub(super) fn new(first: &Target) -> Self {
        Self::about(first.pairs().to_vec())
    }

    /// Starts with these pairs allowed.
    pub(crate) fn about(allowed: Vec<Pair>) -> Self {
        Self {
            allowed,
            children: Vec::new(),
            inquiry: None,
            broken: Broken::default(),
            question: None,
            over: false,
        }
    }

    /// Sets the inquiry. Without one, everything new is refused.
    pub(crate) fn attach(&mut self, inquiry: Option<Inquiry>, broken: Broken) {
        self.inquiry = inquiry;
        self.broken = broken;
    }

    /// Whether the request ended, successfully or not.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether any pair was allowed so far.
    pub(crate) const fn knows_something(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Asks about pairs that are not allowed yet. [`poll`](Self::poll) returns the answer.
    pub(crate) fn ask(&mut self, pairs: Vec<Pair>) {
        let mut unknown: Vec<Pair> = Vec::new();
        for pair in pairs {
            if !self.allowed.contains(&pair) && !unknown.contains(&pair) {
                unknown.push(pair);
            }
        }
        if unknown.is_empty() {
            return;
        }
        if self.allowed.len() + unknown.len() > Target::MAX_PAIRS {
            return self.refuse(RequestFault::TooManyModels.into());
        }
        match (&self.inquiry, Target::of(unknown.iter().cloned())) {
            (Some(inquiry), Some(target)) => {
                self.question = Some(Question {
                    pairs: unknown,
                    decision: Box::pin(inquiry.ask(target).recorded()),
                });
            }
            _ => self.give_up(RequestFault::SelectorConflict.into()),
        }
    }

    /// Refuses everything that follows, and records the refusal.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        match &self.inquiry {
            Some(inquiry) => {
                self.question = Some(Question {
                    pairs: Vec::new(),
                    decision: Box::pin(inquiry.refuse(refusal).recorded()),
                });
            }
            None => self.give_up(refusal),
        }
    }

    /// Waits for the answer to the last question; returns whether to continue.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Some(question) = &mut self.question {
            let decided = ready!(question.decision.as_mut().poll(cx));
            let pairs = self.question.take().map(|question| question.pairs);
            match decided {
                Ok(permit) => {
                    let is_inline = permit.enforcement().is_inline();
                    let mut child = permit.forward();
                    child.head(200);
                    // If a gateway forwards the message, its outcome is not known here.
                    if is_inline {
                        self.children.push(child);
                    }
                    let pairs = pairs.unwrap_or_default();
                    self.broken.allow(&pairs);
                    self.allowed.extend(pairs);
                }
                Err(refused) => {
                    let refusal = refused.refusal().clone();
                    refused.settle(200, 0);
                    self.give_up(refusal);
                }
            }
        }
        Poll::Ready(!self.over)
    }

    /// Notes that the request ended.
    pub(crate) fn finish(&mut self) {
        self.children.drain(..).for_each(|mut child| child.finish());
        self.over = true;
    }

    /// Notes that the request failed by itself.
    pub(super) const fn fail(&mut self) {
        self.over = true;
    }

    fn give_up(&mut self, refusal: Refusal) {
        let children = self.children.drain(..);
        children.for_each(|mut child| child.refused(&refusal));
        self.broken.set(refusal);
        self.over = true;
    }
}

impl Drop for LaterDecisions {
    fn drop(&mut self) {
        if let Some(refusal) = self.broken.refusal() {
            let children = self.children.drain(..);
            children.for_each(|mut child| child.refused(refusal));
        }
    }
}

impl fmt::Debug for LaterDecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaterDecisions")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}
