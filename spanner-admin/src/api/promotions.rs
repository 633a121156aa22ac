//! Handlers for promotions: listing them and taking their steps.

use serde::Deserialize;
use serde_json::{Value, json};
use spanner_core::promotion::{Promotion, Standing, Urgency};
use spanner_core::{
    Action, Environment, Fault, ModelName, Pair, PromotionId, RecordId, Resource, Revision,
};
use spanner_tower::Reauthorize;

use super::caller::ApiCaller;
use super::reply::Reply;
use super::request::{Answer, Call, check_reason, name, optional, or_problem};
use super::routes::Query;
use super::view;
use crate::error::StepError;
use crate::proposal::{Preconditions, ProposalRequest};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Propose {
    model: String,
    environment: String,
    from: Option<String>,
    revision: Option<String>,
    content: Option<String>,
    restores: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approve {
    revision: Option<String>,
    content: Option<String>,
    manifest: Option<String>,
    terms: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reject {
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdraw {}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promote {
    emergency: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    environment: String,
    reason: Option<String>,
    emergency: Option<String>,
}

impl Call<'_> {
    pub(super) async fn list(&self, caller: &ApiCaller) -> Answer {
        let query = self.query(&[Query::Environment, Query::Standing])?;
        let environment = match query.first().and_then(Option::as_ref) {
            Some(_) => Some(self.environment(query.first(), &caller.here)?),
            None => None,
        };
        let standing = query.get(1).and_then(Option::as_ref);
        let standing = standing.map(|word| self::standing(word)).transpose()?;
        let view = self.promotions.with_history(|history| {
            let all = history.promotions().filter(|promotion| {
                let here = environment.as_ref();
                here.is_none_or(|here| promotion.plan().into == *here)
                    && standing.is_none_or(|standing| promotion.standing() == standing)
                    && caller.sees(promotion)
            });
            let all: Vec<Value> = all.map(|it| view::brief(it, history)).collect();
            json!({ "promotions": all })
        });
        Ok(Reply::ok(or_problem(view.await)?, None))
    }

    pub(super) async fn promotion(&self, caller: &ApiCaller, id: PromotionId) -> Answer {
        self.query(&[])?;
        let promotion = self.visible_promotion(caller, id, Action::Read).await?;
        let model = &promotion.candidate().model;
        let (from, into) = (&promotion.plan().from, &promotion.plan().into);
        let environment = match caller.may(Action::Read, model, into) {
            true => into,
            false => from,
        };
        let decision = caller.read(environment, model).await?;
        let view = self.view(&promotion).await?;
        Ok(Reply::ok(view, Some(decision)))
    }

    pub(super) async fn propose(&self, caller: &ApiCaller) -> Answer {
        let Propose {
            model,
            environment,
            from,
            revision,
            content,
            restores,
        } = self.body()?;
        let mut what =
            ProposalRequest::new(name("model", &model)?, name("environment", &environment)?);
        self.check_model(&what.model, Some(&what.environment))
            .await?;
        let content = optional("content", content)?;
        match optional::<Revision>("revision", revision)? {
            Some(revision) => what = what.revision(revision, content),
            None if content.is_some() => {
                let wrong = "there is a `content` and no `revision`";
                let advice = "name the revision that it is the digest of";
                return Err(Reply::malformed("content", &wrong, advice));
            }
            None => {}
        }
        if let Some(id) = optional("restores", restores)? {
            if what.revision.is_some() {
                let wrong = "there is a `revision` and what it `restores`";
                let advice = "leave the revision out: it is restored as well";
                return Err(Reply::malformed("restores", &wrong, advice));
            }
            what = what.restoring(id);
        }
        let pair = Pair::new(Action::Promote, Resource::model(what.model.clone()));
        let rule = match self.promotions.rule(&what.environment) {
            Ok(rule) => rule,
            Err(error) => {
                // A caller that may promote nothing must not learn about the rules.
                let permit = caller.reauthorize.permit(&caller.here, pair).await?;
                let decision = Reauthorize::declined(permit, error.status(), error.code());
                return Err(Reply::step(&error, Some(decision)));
            }
        };
        let from = optional::<Environment>("from", from)?;
        let permit = caller
            .either(&rule.from, &what.environment, Action::Promote, &what.model)
            .await?;
        if let Some(asked) = from.filter(|from| *from != rule.from) {
            let error = StepError::From {
                into: what.environment,
                from: rule.from,
                asked,
            };
            let decision = Reauthorize::declined(permit, error.status(), error.code());
            return Err(Reply::step(&error, Some(decision)));
        }
        let decision = permit.id();
        let proposed = self.promotions.propose(what, permit).await;
        let promotion = proposed.map_err(|error| Reply::step(&error, Some(decision)))?;
        let view = self.view(&promotion).await?;
        Ok(Reply::created(view, promotion.id(), decision))
    }

    pub(super) async fn approve(&self, caller: &ApiCaller, id: PromotionId) -> Answer {
        let promotion = self.visible_promotion(caller, id, Action::Approve).await?;
        let Approve {
            revision,
            content,
            manifest,
            terms,
        } = self.body_or_nothing()?;
        let expected = Preconditions {
            terms: optional("terms", terms)?,
            revision: optional("revision", revision)?,
            content: optional("content", content)?,
            manifest: optional("manifest", manifest)?,
        };
        let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
        let permit = caller.permit(into, Action::Approve, model).await?;
        let decision = permit.id();
        let taken = self.promotions.approve(id, expected, permit).await;
        self.step_reply(taken, decision).await
    }

    pub(super) async fn reject(&self, caller: &ApiCaller, id: PromotionId) -> Answer {
        let promotion = self.visible_promotion(caller, id, Action::Approve).await?;
        let Reject { reason } = self.body()?;
        check_reason("reason", &reason)?;
        let (model, into) = (&promotion.candidate().model, &promotion.plan().into);
        let permit = caller.permit(into, Action::Approve, model).await?;
        let decision = permit.id();
        let taken = self.promotions.reject(id, reason, permit).await;
        self.step_reply(taken, decision).await
    }

    pub(super) async fn withdraw(&self, caller: &ApiCaller, id: PromotionId) -> Answer {
        let promotion = self.visible_promotion(caller, id, Action::Read).await?;
        let Withdraw {} = self.body_or_nothing()?;
        let (model, plan) = (&promotion.candidate().model, promotion.plan());
        let permit = caller
            .either(&plan.from, &plan.into, Action::Read, model)
            .await?;
        let decision = permit.id();
        let taken = self.promotions.withdraw(id, permit).await;
        self.step_reply(taken, decision).await
    }

    pub(super) async fn promote(&self, caller: &ApiCaller, id: PromotionId) -> Answer {
        let promotion = self.visible_promotion(caller, id, Action::Promote).await?;
        let Promote { emergency } = self.body_or_nothing()?;
        if let Some(reason) = &emergency {
            check_reason("emergency", reason)?;
        }
        let (model, plan) = (&promotion.candidate().model, promotion.plan());
        let permit = match emergency {
            Some(_) => caller.permit(&plan.into, Action::Administer, model).await?,
            None => {
                caller
                    .either(&plan.from, &plan.into, Action::Promote, model)
                    .await?
            }
        };
        let decision = permit.id();
        let taken = self.promotions.promote(id, emergency, permit).await;
        self.step_reply(taken, decision).await
    }

    pub(super) async fn roll_back(&self, caller: &ApiCaller, model: ModelName) -> Answer {
        let Rollback {
            environment,
            reason,
            emergency,
        } = self.body()?;
        let environment: Environment = name("environment", &environment)?;
        self.check_model(&model, Some(&environment)).await?;
        if let Some(emergency) = &emergency {
            check_reason("emergency", emergency)?;
        }
        if let Some(reason) = &reason {
            check_reason("reason", reason)?;
        }
        let (permit, reason, urgency) = match (emergency, reason) {
            (Some(emergency), _) => {
                let permit = caller.permit(&environment, Action::Administer, &model);
                (permit.await?, emergency, Urgency::Emergency)
            }
            (None, Some(reason)) => {
                let rule = self.promotions.rule(&environment);
                let from = rule.as_ref().map_or(&environment, |rule| &rule.from);
                let permit = caller.either(from, &environment, Action::Promote, &model);
                (permit.await?, reason, Urgency::Regular)
            }
            (None, None) => {
                let what = "the body is not valid: there is no `reason`";
                return Err(Reply::malformed("body", &what, "say why"));
            }
        };
        let decision = permit.id();
        let taken = self
            .promotions
            .roll_back(model, environment, reason, urgency, permit)
            .await;
        self.step_reply(taken, decision).await
    }

    /// Returns the promotion after a step, or the error of the step.
    async fn step_reply(&self, taken: Result<Promotion, StepError>, decision: RecordId) -> Answer {
        let promotion = taken.map_err(|error| Reply::step(&error, Some(decision)))?;
        let view = self.view(&promotion).await?;
        Ok(Reply::ok(view, Some(decision)))
    }

    /// Returns a promotion that the caller may know of. A hidden promotion is answered like a
    /// missing one: as unknown, or with a refusal for a caller that is responsible for no model.
    /// The attempt on a hidden one is recorded.
    async fn visible_promotion(
        &self,
        caller: &ApiCaller,
        id: PromotionId,
        action: Action,
    ) -> Result<Promotion, Reply> {
        let access = self.promotions.access();
        let unknown = match self.promotions.promotion(id).await {
            Ok(promotion) if caller.sees(&promotion) || caller.subject_sees(&promotion, access) => {
                return Ok(promotion);
            }
            Ok(hidden) => {
                // Recorded by a separate task, so that the response time does not reveal that the
                // promotion exists.
                let caller = caller.clone();
                tokio::spawn(async move {
                    let (model, into) = (&hidden.candidate().model, &hidden.plan().into);
                    if let Ok(permit) = caller.permit(into, action, model).await {
                        Reauthorize::declined(permit, 404, StepError::Unknown(id).code());
                    }
                });
                StepError::Unknown(id)
            }
            Err(error) => error,
        };
        if matches!(unknown, StepError::Unknown(_)) && !caller.is_responsible_for_any(access) {
            let what =
                "you are responsible for no model, and may see no promotion by this identifier";
            let advice = "ask whoever runs this service who may grant it";
            let code = "permission_denied";
            return Err(Reply::failure(403, Fault::Permission, code, &what, advice));
        }
        Err(Reply::step(&unknown, None))
    }

    async fn view(&self, promotion: &Promotion) -> Result<Value, Reply> {
        // A promotion that can no longer come into force can still be displayed.
        let preview = match promotion.standing() {
            Standing::Open => self.promotions.preview(promotion).await.ok(),
            _ => None,
        };
        let access = self.promotions.access();
        let view = self
            .promotions
            .with_history(|history| view::promotion(promotion, preview.as_ref(), history, access));
        or_problem(view.await)
    }
}

fn standing(word: &str) -> Result<Standing, Reply> {
    let found = Standing::ALL.into_iter().find(|it| it.code() == word);
    found.ok_or_else(|| {
        let known = Standing::ALL.map(Standing::code).join(", ");
        let advice = format!("the standings are {known}");
        Reply::malformed("standing", &"there is no such standing", &advice)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;

    use super::super::explain::ExplainRequest;
    use super::super::openapi::openapi;
    use super::*;

    /// The members of a request body, from serde's message about an unknown one.
    fn members<T: DeserializeOwned>() -> BTreeSet<String> {
        let error = serde_json::from_value::<T>(json!({"?": 0})).err().unwrap();
        let error = error.to_string();
        let quoted = error.split('`').skip(3).step_by(2);
        quoted.map(str::to_owned).collect()
    }

    #[test]
    fn request_bodies_match_their_schemas() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        for (schema, members) in [
            ("Propose", members::<Propose>()),
            ("Approve", members::<Approve>()),
            ("Reject", members::<Reject>()),
            ("Withdraw", members::<Withdraw>()),
            ("Promote", members::<Promote>()),
            ("Rollback", members::<Rollback>()),
            ("Explain", members::<ExplainRequest>()),
        ] {
            let described = &document["components"]["schemas"][schema]["properties"];
            let described: BTreeSet<String> =
                described.as_object().unwrap().keys().cloned().collect();
            assert_eq!(members, described, "{schema}");
        }
    }
}
