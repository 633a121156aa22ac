//! Asking again, for a service that turns out to use another model than it was asked for.

use std::fmt;

use http::Extensions;
use spanner_core::{Inquiry, Notice, Pair, Target};

/// Decides what a service does beyond the request: an alias that leads to another model, a
/// fallback, a canary. The same caller is asked about, and a record of its own says what was
/// decided and to which request it belongs.
///
/// It is in the extensions of every request that was decided:
///
/// ```
/// # use spanner_core::testing::{MemorySink, Rules};
/// # use spanner_tower::{Authenticate, BoxFuture, Further, GuardLayer, surface};
/// # use spanner_core::{Action, Caller, Pair, Refusal, Resource};
/// async fn fall_back(request: &http::Request<()>) -> Result<(), String> {
///     let larger = Pair::new(Action::Generate, Resource::model("acme/larger".parse().unwrap()));
///     let further = Further::of(request.extensions()).ok_or("not guarded")?;
///     further.ask([larger]).await.map_err(|refused| refused.to_string())
/// }
/// ```
///
/// # Security
/// The guard decides what a request says. A service that dispatches to a model which the
/// request did not name, and does not ask, lets its callers use models that nobody permitted.
#[derive(Clone)]
pub struct Further {
    inquiry: Inquiry,
}

/// What the caller may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FurtherRefused {
    notice: Notice,
}

impl Further {
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
    /// [`FurtherRefused`]: do none of them, and tell the caller.
    pub async fn ask(&self, pairs: impl IntoIterator<Item = Pair>) -> Result<(), FurtherRefused> {
        let decided = match Target::of(pairs) {
            Some(target) => self.inquiry.ask(target),
            None => self
                .inquiry
                .refuse(spanner_core::RequestFault::TooManyModels.into()),
        };
        match decided.recorded().await {
            Ok(permit) => {
                let mut settlement = permit.forward();
                settlement.head(200);
                settlement.finish();
                Ok(())
            }
            Err(refused) => {
                let notice = refused.refusal().notice();
                let status = notice.status.http();
                refused.settle(status, 0);
                Err(FurtherRefused { notice })
            }
        }
    }
}

impl FurtherRefused {
    /// What the caller is to be told, and with which status.
    #[must_use]
    pub const fn notice(&self) -> &Notice {
        &self.notice
    }
}

impl fmt::Display for FurtherRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.notice.message, self.notice.advice)
    }
}

impl std::error::Error for FurtherRefused {}

impl fmt::Debug for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Further")
    }
}
