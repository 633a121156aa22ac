//! Further decisions, for a service that uses another model than the request named.

use std::fmt;

use http::{Extensions, Response};
use spanner_core::{Environment, Fault, Inquiry, Notice, Pair, Permit, RecordId, Refusal, Target};

/// Authorizes what a service does beyond the request: an alias that leads to another model, a
/// fallback, a canary. The decision is about the same caller. It has a record of its own, which
/// names the request that it belongs to.
///
/// The extensions of every authorized request contain it:
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
/// The guard authorizes only what the request names. A service that dispatches to another model
/// without asking lets its callers use models that nobody permitted.
#[derive(Clone)]
pub struct Reauthorize {
    inquiry: Inquiry,
}

/// The caller may not do what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ReauthorizationRefused {
    refusal: Refusal,
    notice: Notice,
    decision: Option<RecordId>,
}

/// Marks a response as the guard's own. A service that is part of Spanner, or that reports what
/// the guard would, puts it into the response's extensions.
///
/// The response then has `spanner-origin: guard` and the given fault. Without it, every 4xx or
/// 5xx of an inner service counts as the model's failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardResponse {
    /// The party that caused the failure, if there was one.
    pub fault: Option<Fault>,
    /// The decision that the response is about, if it is a further one.
    pub decision: Option<RecordId>,
    /// A stable code for the record that says why the request was not carried out.
    pub reason: Option<&'static str>,
}

impl GuardResponse {
    /// A response that reports a failure.
    #[must_use]
    pub const fn failed(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            decision: None,
            reason: None,
        }
    }

    /// Adds a stable code for the record that says why the request was not carried out.
    #[must_use]
    pub const fn because(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// Sets the further decision that the response is about, if there was one.
    #[must_use]
    pub const fn about(self, decision: Option<RecordId>) -> Self {
        Self { decision, ..self }
    }
}

impl Reauthorize {
    pub(super) const fn new(inquiry: Inquiry) -> Self {
        Self { inquiry }
    }

    /// The value in a request's extensions; `None` on public and exempted routes, and where
    /// there is no guard.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Authorizes these pairs for the caller as well, and waits until the decision is recorded.
    ///
    /// # Errors
    /// [`ReauthorizationRefused`]: do none of them, and report it to the caller.
    pub async fn ask(
        &self,
        pairs: impl IntoIterator<Item = Pair>,
    ) -> Result<(), ReauthorizationRefused> {
        let permit = permit(&self.inquiry, Target::of(pairs)).await?;
        Self::done(permit, 200);
        Ok(())
    }

    /// Authorizes this pair in an environment, which need not be the guard's own, and waits
    /// until the decision is recorded. Return the permit with [`done`](Self::done) or
    /// [`declined`](Self::declined).
    ///
    /// # Errors
    /// [`ReauthorizationRefused`]: do not do it, and report it to the caller.
    pub async fn permit(
        &self,
        environment: &Environment,
        pair: Pair,
    ) -> Result<Permit, ReauthorizationRefused> {
        permit(&self.inquiry.within(environment), Target::of([pair])).await
    }

    /// Whether the access would allow this pair in an environment. Nothing is recorded. Use it
    /// to filter lists, never to authorize an action.
    #[must_use]
    pub fn would_permit(&self, environment: &Environment, pair: Pair) -> bool {
        let inquiry = self.inquiry.within(environment);
        Target::of([pair]).is_some_and(|target| inquiry.would_allow(&target))
    }

    /// Settles the record of a permit whose action was carried out or failed, with the HTTP
    /// status. A permit that is dropped instead is recorded as if the client had left.
    pub fn done(permit: Permit, status: u16) -> RecordId {
        let id = permit.id();
        let mut settlement = permit.forward();
        settlement.head(status);
        settlement.finish();
        id
    }

    /// Settles the record of a permit whose action was not carried out after all, with the HTTP
    /// status for the caller and a stable code for the reason.
    pub fn declined(permit: Permit, status: u16, reason: &'static str) -> RecordId {
        let id = permit.id();
        let mut settlement = permit.forward();
        settlement.head(status);
        settlement.declined(status, Some(reason));
        settlement.finish();
        id
    }

    /// The caller of the request.
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
    /// What to tell the caller, and with which status.
    #[must_use]
    pub const fn notice(&self) -> &Notice {
        &self.notice
    }

    /// The id of the refusal's record; `None` if the refusal was only counted.
    #[must_use]
    pub const fn decision(&self) -> Option<RecordId> {
        self.decision
    }

    /// A placeholder response. The guard replaces it by the refusal in the error format of the
    /// API, with challenges where they apply.
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
