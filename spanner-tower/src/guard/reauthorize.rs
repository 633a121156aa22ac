//! Asking again, for a service that turns out to use another model than it was asked for.

use std::fmt;

use http::{Extensions, Response};
use spanner_core::{Environment, Fault, Inquiry, Notice, Pair, Permit, RecordId, Refusal, Target};

/// Decides what a service does beyond the request: an alias that leads to another model, a
/// fallback, a canary. The same caller is asked about, and a record of its own says what was
/// decided and to which request it belongs.
///
/// It is in the extensions of every request that was decided:
///
/// ```
/// # use spanner_tower::Reauthorize;
/// # use spanner_core::{Action, Pair, Resource};
/// async fn fall_back(request: &http::Request<()>) -> Result<(), String> {
///     let larger = Pair::new(Action::Generate, Resource::model("acme/larger".parse().unwrap()));
///     let reauthorize = Reauthorize::of(request.extensions()).ok_or("not guarded")?;
///     reauthorize.ask([larger]).await.map_err(|refused| refused.to_string())
/// }
/// ```
///
/// # Security
/// The guard decides what a request says. A service that dispatches to a model which the
/// request did not name, and does not ask, lets its callers use models that nobody permitted.
#[derive(Clone)]
pub struct Reauthorize {
    inquiry: Inquiry,
}

/// What the caller may not do.
#[derive(Debug, Clone, PartialEq)]
pub struct ReauthorizationRefused {
    refusal: Refusal,
    notice: Notice,
    decision: Option<RecordId>,
}

/// Says that a service answers in the guard's name: one that is part of Spanner, or that tells
/// its callers what the guard would. Put it into the response's extensions.
///
/// The response then says `spanner-origin: guard`, and whose failure it reports; without it,
/// what an inner service answers with 4xx or 5xx counts as the model's failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardResponse {
    /// What failed, if something did.
    pub fault: Option<Fault>,
    /// The decision that the response belongs to, where it is a further one.
    pub decision: Option<RecordId>,
    /// Why what was asked is not done, in a stable code for the record.
    pub reason: Option<&'static str>,
}

impl GuardResponse {
    /// A failure.
    #[must_use]
    pub const fn failed(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            decision: None,
            reason: None,
        }
    }

    /// With why what was asked is not done, in a stable code for the record.
    #[must_use]
    pub const fn because(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// About a further decision, if there was one.
    #[must_use]
    pub const fn about(self, decision: Option<RecordId>) -> Self {
        Self { decision, ..self }
    }
}

impl Reauthorize {
    pub(super) const fn new(inquiry: Inquiry) -> Self {
        Self { inquiry }
    }

    /// The one of a request; `None` where nobody was asked: on public and exempted routes,
    /// and where no guard stands.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Asks whether the caller may do these as well, and waits until the decision is
    /// recorded.
    ///
    /// # Errors
    /// [`ReauthorizationRefused`]: do none of them, and tell the caller.
    pub async fn ask(
        &self,
        pairs: impl IntoIterator<Item = Pair>,
    ) -> Result<(), ReauthorizationRefused> {
        let permit = permit(&self.inquiry, Target::of(pairs)).await?;
        Self::done(permit, 200);
        Ok(())
    }

    /// Asks whether the caller may do this in an environment, which need not be the guard's
    /// own, and waits until the decision is recorded. Give the permit back when what it is for is
    /// [done](Self::done).
    ///
    /// # Errors
    /// [`ReauthorizationRefused`]: do not do it, and tell the caller.
    pub async fn permit(
        &self,
        environment: &Environment,
        pair: Pair,
    ) -> Result<Permit, ReauthorizationRefused> {
        permit(&self.inquiry.within(environment), Target::of([pair])).await
    }

    /// Whether the caller would be allowed to do this in an environment. Nothing is recorded:
    /// for lists of what somebody may see, never for doing it.
    #[must_use]
    pub fn would_permit(&self, environment: &Environment, pair: Pair) -> bool {
        let inquiry = self.inquiry.within(environment);
        Target::of([pair]).is_some_and(|target| inquiry.would_allow(&target))
    }

    /// Ends the record of a permit: what it is for was done, or failed with an HTTP status.
    /// Without it the record says that the client left.
    pub fn done(permit: Permit, status: u16) -> RecordId {
        let id = permit.id();
        let mut settlement = permit.forward();
        settlement.head(status);
        settlement.finish();
        id
    }

    /// Ends the record of a permit whose step was not taken after all, with the HTTP status that
    /// the caller gets and a stable code that says why.
    pub fn declined(permit: Permit, status: u16, reason: &'static str) -> RecordId {
        let id = permit.id();
        let mut settlement = permit.forward();
        settlement.head(status);
        settlement.declined(status, Some(reason));
        settlement.finish();
        id
    }

    /// Who asks.
    #[must_use]
    pub fn caller(&self) -> &spanner_core::Caller {
        self.inquiry.caller()
    }
}

async fn permit(
    inquiry: &Inquiry,
    target: Option<Target>,
) -> Result<Permit, ReauthorizationRefused> {
    let decided = match target {
        Some(target) => inquiry.ask(target),
        None => inquiry.refuse(spanner_core::RequestFault::TooManyModels.into()),
    };
    match decided.recorded().await {
        Ok(permit) => Ok(permit),
        Err(refused) => {
            let (refusal, decision) = (refused.refusal().clone(), refused.id());
            let notice = refusal.notice();
            refused.settle(notice.status.http(), 0);
            Err(ReauthorizationRefused {
                refusal,
                notice,
                decision,
            })
        }
    }
}

impl ReauthorizationRefused {
    /// What the caller is to be told, and with which status.
    #[must_use]
    pub const fn notice(&self) -> &Notice {
        &self.notice
    }

    /// The record of the refusal; absent if it was counted only.
    #[must_use]
    pub const fn decision(&self) -> Option<RecordId> {
        self.decision
    }

    /// A response in whose place the guard tells the caller, in the words of the API that was
    /// called, with challenges where they are due.
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        response.extensions_mut().insert(self);
        response
    }

    pub(super) const fn refusal(&self) -> &Refusal {
        &self.refusal
    }
}

impl fmt::Display for ReauthorizationRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.notice.message, self.notice.advice)
    }
}

impl std::error::Error for ReauthorizationRefused {}

impl fmt::Debug for Reauthorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reauthorize")
    }
}
