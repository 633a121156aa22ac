//! Handlers for models: their access and their history.

use serde_json::{Value, json};
use spanner_cedar::Cedar;
use spanner_core::promotion::{HistoryState, Promotion};
use spanner_core::{Action, Environment, ModelName, Pair, Resource};
use spanner_tower::Reauthorize;

use super::caller::ApiCaller;
use super::explain::{self, ExplainRequest};
use super::reply::Reply;
use super::request::{Answer, Call, or_problem};
use super::routes::Query;
use super::view;

impl Call<'_> {
    pub(super) async fn models(&self, caller: &ApiCaller) -> Answer {
        self.query(&[])?;
        let access = self.promotions.access();
        let environments = access.status().environments;
        let view = self.promotions.with_history(|history| {
            let models = access.models().into_iter().filter_map(|(model, owner)| {
                let seen: Vec<Value> = environments
                    .iter()
                    .filter(|environment| caller.knows(&model, environment))
                    .map(|environment| served(history, access, &model, environment))
                    .collect();
                let view = json!({"model": model.as_str(), "owner": owner, "environments": seen});
                (!seen.is_empty()).then_some(view)
            });
            models.collect::<Vec<Value>>()
        });
        Ok(Reply::ok(
            json!({ "models": or_problem(view.await)? }),
            None,
        ))
    }

    pub(super) async fn access(&self, caller: &ApiCaller, model: &ModelName) -> Answer {
        let query = self.query(&[Query::Environment])?;
        let environment = self.environment(query.first(), &caller.here)?;
        self.check_model(model, Some(&environment)).await?;
        let decision = caller.read(&environment, model).await?;
        let access = self.promotions.access();
        let review = access.review();
        let grants = review.grants.iter().filter(|grant| {
            grant.environment == environment && grant.model.as_ref().is_none_or(|it| it == model)
        });
        let grants: Vec<Value> = grants.map(view::granted).collect();
        // Guardrails are visible only to callers that are responsible for the model.
        let guardrails = caller.is_responsible_for(model, &environment).then(|| {
            let here = review.guardrails.iter();
            let here = here.filter(|guardrail| guardrail.applies_to(model, &environment));
            here.map(view::guarding).collect::<Vec<Value>>()
        });
        let owner = access.models().into_iter().find(|(name, _)| name == model);
        let promotion = self
            .promotions
            .with_history(|history| view::in_force(history, model, &environment));
        let view = json!({
            "model": model.as_str(),
            "environment": environment.as_str(),
            "owner": owner.and_then(|(_, owner)| owner),
            "access": &*review.digest,
            "promotion": or_problem(promotion.await)?,
            "grants": grants,
            "guardrails": guardrails,
        });
        Ok(Reply::ok(view, Some(decision)))
    }

    pub(super) async fn history(&self, caller: &ApiCaller, model: &ModelName) -> Answer {
        let query = self.query(&[Query::Environment])?;
        self.check_model(model, None).await?;
        let environments = match query.first().and_then(Option::as_ref) {
            Some(_) => vec![self.environment(query.first(), &caller.here)?],
            None => {
                let known = self.promotions.access().status().environments;
                let mut seen: Vec<Environment> = known
                    .into_iter()
                    .filter(|environment| caller.may(Action::Read, model, environment))
                    .collect();
                if seen.is_empty() {
                    seen.push(caller.here.clone());
                }
                seen
            }
        };
        let mut decision = None;
        for environment in &environments {
            decision = Some(caller.read(environment, model).await?);
        }
        let view = self.promotions.with_history(|history| {
            let events = history.of(model, None);
            let here = events.filter(|(_, it)| environments.contains(&it.plan().into));
            let events: Vec<Value> = here.map(|(event, _)| view::event(event)).collect();
            let in_force = environments.iter().map(|environment| {
                let promotion = view::in_force(history, model, environment);
                (environment.to_string(), promotion)
            });
            let in_force: serde_json::Map<String, Value> = in_force.collect();
            json!({"model": model.as_str(), "in_force": in_force, "events": events})
        });
        Ok(Reply::ok(or_problem(view.await)?, decision))
    }

    pub(super) async fn explain(&self, caller: &ApiCaller) -> Answer {
        let asked: ExplainRequest = self.body()?;
        let question = asked.read(&caller.here)?;
        self.check_environment(&question.environment)?;
        let here = Some(&question.environment);
        self.check_model(&question.model, here).await?;
        let resource = Resource::model(question.model.clone());
        let mut decision = None;
        let full = match &question.about {
            Some(_) => {
                let pair = Pair::new(Action::Administer, resource);
                let permit = caller
                    .reauthorize
                    .permit(&question.environment, pair)
                    .await?;
                decision = Some(Reauthorize::done(permit, 200));
                true
            }
            None => caller.is_responsible_for(&question.model, &question.environment),
        };
        let knows = full || caller.knows(&question.model, &question.environment);
        let caller = caller.reauthorize.caller();
        let view = explain::answer(self.promotions.access(), caller, &question, knows, full);
        Ok(Reply::ok(view, decision))
    }
}

/// The state of a model in one environment, for the list of models.
fn served(
    history: &HistoryState,
    access: &Cedar,
    model: &ModelName,
    environment: &Environment,
) -> Value {
    let promotion = history.current(model, environment);
    let candidate = promotion.map(Promotion::candidate);
    let revision = candidate.and_then(|candidate| candidate.revision.as_ref());
    json!({
        "environment": environment.as_str(),
        "in_force": access.manifest(model, environment).is_some(),
        "promotion": promotion.map(Promotion::id),
        "revision": revision.map(ToString::to_string),
    })
}
