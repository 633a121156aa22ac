//! The caller of the API, and the models and promotions that it may know of.

use spanner_cedar::Cedar;
use spanner_core::promotion::Promotion;
use spanner_core::record::PrincipalEntry;
use spanner_core::{
    Action, Authorize, Context, Effect, Environment, ModelName, Pair, Permit, Question, RecordId,
    Resource, Timestamp,
};
use spanner_tower::Reauthorize;

use super::reply::Reply;

/// The caller, as authenticated by the guard.
#[derive(Clone)]
pub(super) struct ApiCaller {
    pub(super) reauthorize: Reauthorize,
    /// The guard's own environment, which applies to requests that name none.
    pub(super) here: Environment,
}

impl ApiCaller {
    pub(super) const fn new(reauthorize: Reauthorize, here: Environment) -> Self {
        Self { reauthorize, here }
    }

    /// Authorizes an action and records the decision.
    pub(super) async fn permit(
        &self,
        environment: &Environment,
        action: Action,
        model: &ModelName,
    ) -> Result<Permit, Reply> {
        let pair = Pair::new(action, Resource::model(model.clone()));
        Ok(self.reauthorize.permit(environment, pair).await?)
    }

    /// Authorizes an action in the source environment if it is allowed only there, and otherwise
    /// in the target environment.
    pub(super) async fn either(
        &self,
        from: &Environment,
        into: &Environment,
        action: Action,
        model: &ModelName,
    ) -> Result<Permit, Reply> {
        let there = !self.may(action, model, from) || self.may(action, model, into);
        let environment = if there { into } else { from };
        self.permit(environment, action, model).await
    }

    pub(super) async fn read(
        &self,
        environment: &Environment,
        model: &ModelName,
    ) -> Result<RecordId, Reply> {
        let permit = self.permit(environment, Action::Read, model).await?;
        Ok(Reauthorize::done(permit, 200))
    }

    pub(super) fn may(&self, action: Action, model: &ModelName, environment: &Environment) -> bool {
        let pair = Pair::new(action, Resource::model(model.clone()));
        self.reauthorize.would_permit(environment, pair)
    }

    pub(super) fn knows(&self, model: &ModelName, environment: &Environment) -> bool {
        self.may(Action::List, model, environment) || self.may(Action::Read, model, environment)
    }

    /// Whether the caller is responsible for a model: may administer, approve or promote it. Such
    /// a caller may see everything about the model.
    pub(super) fn is_responsible_for(&self, model: &ModelName, environment: &Environment) -> bool {
        let mut actions = RESPONSIBLE.into_iter();
        actions.any(|action| self.may(action, model, environment))
    }

    /// Whether the caller may know of a promotion: the caller proposed it, or may read its model
    /// or is responsible for it, in the source or the target environment.
    ///
    /// If an agent acts for the caller, both must be allowed.
    pub(super) fn sees(&self, promotion: &Promotion) -> bool {
        let model = &promotion.candidate().model;
        let asks = PrincipalEntry::from(&self.reauthorize.caller().subject().principal);
        promotion.proposer() == Some(&asks)
            || concerns(promotion, |action, end| self.may(action, model, end))
    }

    /// Like [`sees`](Self::sees), for the subject alone. A subject that may know of a promotion
    /// is view why its agent may not.
    pub(super) fn subject_sees(&self, promotion: &Promotion, access: &Cedar) -> bool {
        let caller = self.reauthorize.caller();
        let context = Context::of(caller, Timestamp::now());
        let resource = Resource::model(promotion.candidate().model.clone());
        concerns(promotion, |action, end| {
            let subject = caller.subject();
            let question = Question::new(caller, subject, action, &resource, end, &context);
            let verdicts = access.authorize(&[question]).verdicts;
            verdicts.iter().all(|it| it.effect == Effect::Allow)
        })
    }

    /// Whether the caller is responsible for any model in any environment.
    pub(super) fn is_responsible_for_any(&self, access: &Cedar) -> bool {
        let environments = access.status().environments;
        access.models().into_iter().any(|(model, _)| {
            let mut everywhere = environments.iter();
            everywhere.any(|environment| self.is_responsible_for(&model, environment))
        })
    }
}

/// Whether a principal with these permissions may know of a promotion: it may read the model or
/// is responsible for it, in the source or the target environment.
fn concerns(promotion: &Promotion, may: impl Fn(Action, &Environment) -> bool) -> bool {
    let plan = promotion.plan();
    let actions = || [Action::Read].into_iter().chain(RESPONSIBLE);
    [&plan.into, &plan.from]
        .into_iter()
        .any(|end| actions().any(|action| may(action, end)))
}

/// The actions that make a principal responsible for a model.
const RESPONSIBLE: [Action; 3] = [Action::Administer, Action::Approve, Action::Promote];
