//! One request, from whoever asks to an answer.

use bytes::Bytes;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use spanner_cedar::Cedar;
use spanner_core::promotion::{Fault as PromotionFault, History, Promotion, Standing};
use spanner_core::record::PrincipalEntry;
use spanner_core::text::{Invisible, can_be_seen, invisible};
use spanner_core::{
    Action, Authorize, Context, Effect, Environment, Fault, ModelName, Pair, Permit, PromotionId,
    Question, RecordId, Resource, Revision, Timestamp,
};
use spanner_tower::{Permitted, Reauthorize};

use super::explain::{self, Asked};
use super::path::{Route, Step};
use super::reply::Reply;
use super::view;
use crate::error::StepError;
use crate::promotions::{Claimed, Promotions, Proposed};

/// A request with what it takes to answer it.
pub(super) struct Call<'c> {
    promotions: &'c Promotions,
    parts: &'c Parts,
    body: Bytes,
}

/// Who asks, as the guard knows them.
#[derive(Clone)]
struct Asker {
    reauthorize: Reauthorize,
    /// The guard's own environment: what a request means that names none.
    here: Environment,
}

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
struct Nothing {}

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

type Answer = Result<Reply, Reply>;

impl<'c> Call<'c> {
    pub(super) const fn of(promotions: &'c Promotions, parts: &'c Parts, body: Bytes) -> Self {
        Self {
            promotions,
            parts,
            body,
        }
    }

    pub(super) async fn answer(&self, route: Route) -> Answer {
        let asker = self.asker()?;
        match route {
            Route::Models => self.models(&asker).await,
            Route::Access(model) => self.access(&asker, &model).await,
            Route::History(model) => self.history(&asker, &model).await,
            Route::Rollback(model) => self.roll_back(&asker, model).await,
            Route::Explain => self.explain(&asker).await,
            Route::Promotions => self.list(&asker).await,
            Route::Propose => self.propose(&asker).await,
            Route::Promotion(id) => self.promotion(&asker, id).await,
            Route::Step(id, step) => self.step(&asker, id, step).await,
        }
    }

    fn asker(&self) -> Result<Asker, Reply> {
        let reauthorize = Reauthorize::of(&self.parts.extensions);
        let permitted = self.parts.extensions.get::<Permitted>();
        let (Some(reauthorize), Some(Permitted(access))) = (reauthorize, permitted) else {
            let what = "no guard stands before the administration";
            let advice = "put it behind one that has its surface";
            let unguarded =
                Reply::failure(500, Fault::GuardUnavailable, "not_guarded", &what, advice);
            return Err(unguarded);
        };
        Ok(Asker {
            reauthorize: reauthorize.clone(),
            here: access.environment.clone(),
        })
    }

    async fn models(&self, asker: &Asker) -> Answer {
        self.query(&[])?;
        let access = self.promotions.access();
        let environments = access.status().environments;
        let told = self.promotions.look(|history| {
            let models = access.models().into_iter().filter_map(|(model, owner)| {
                let seen: Vec<Value> = environments
                    .iter()
                    .filter(|environment| asker.knows(&model, environment))
                    .map(|environment| served(history, access, &model, environment))
                    .collect();
                let view = json!({"model": model.as_str(), "owner": owner, "environments": seen});
                (!seen.is_empty()).then_some(view)
            });
            models.collect::<Vec<Value>>()
        });
        Ok(Reply::good(json!({ "models": lost(told.await)? }), None))
    }

    async fn access(&self, asker: &Asker, model: &ModelName) -> Answer {
        let query = self.query(&["environment"])?;
        let environment = self.environment(query.first(), &asker.here)?;
        self.check_model(model, Some(&environment)).await?;
        let decision = asker.read(&environment, model).await?;
        let access = self.promotions.access();
        let review = access.review();
        let grants = review.grants.iter().filter(|grant| {
            grant.environment == environment && grant.model.as_ref().is_none_or(|it| it == model)
        });
        let grants: Vec<Value> = grants.map(view::granted).collect();
        // What the organization guards against is for those who answer for the model.
        let guardrails = asker.answers_for(model, &environment).then(|| {
            let here = review.guardrails.iter();
            let here = here.filter(|guardrail| guardrail.applies_to(model, &environment));
            here.map(view::guarding).collect::<Vec<Value>>()
        });
        let owner = access.models().into_iter().find(|(name, _)| name == model);
        let promotion = self
            .promotions
            .look(|history| view::in_force(history, model, &environment));
        let view = json!({
            "model": model.as_str(),
            "environment": environment.as_str(),
            "owner": owner.and_then(|(_, owner)| owner),
            "access": &*review.digest,
            "promotion": lost(promotion.await)?,
            "grants": grants,
            "guardrails": guardrails,
        });
        Ok(Reply::good(view, Some(decision)))
    }

    async fn history(&self, asker: &Asker, model: &ModelName) -> Answer {
        let query = self.query(&["environment"])?;
        self.check_model(model, None).await?;
        let environments = match query.first().and_then(Option::as_ref) {
            Some(_) => vec![self.environment(query.first(), &asker.here)?],
            None => {
                let known = self.promotions.access().status().environments;
                let mut seen: Vec<Environment> = known
                    .into_iter()
                    .filter(|environment| asker.would(Action::Read, model, environment))
                    .collect();
                if seen.is_empty() {
                    seen.push(asker.here.clone());
                }
                seen
            }
        };
        let mut decision = None;
        for environment in &environments {
            decision = Some(asker.read(environment, model).await?);
        }
        let told = self.promotions.look(|history| {
            let events = history.of(model, None);
            let here = events.filter(|(_, it)| environments.contains(&it.plan().into));
            let events: Vec<Value> = here.map(|(event, _)| view::told(event)).collect();
            let in_force = environments.iter().map(|environment| {
                let promotion = view::in_force(history, model, environment);
                (environment.to_string(), promotion)
            });
            let in_force: serde_json::Map<String, Value> = in_force.collect();
            json!({"model": model.as_str(), "in_force": in_force, "events": events})
        });
        Ok(Reply::good(lost(told.await)?, decision))
    }

    async fn explain(&self, asker: &Asker) -> Answer {
        let asked: Asked = self.body()?;
        let question = asked.read(&asker.here)?;
        self.check_environment(&question.environment)?;
        let here = Some(&question.environment);
        self.check_model(&question.model, here).await?;
        let resource = Resource::model(question.model.clone());
        let mut decision = None;
        let full = match &question.about {
            Some(_) => {
                let pair = Pair::new(Action::Administer, resource);
                let permit = asker
                    .reauthorize
                    .permit(&question.environment, pair)
                    .await?;
                decision = Some(Reauthorize::done(permit, 200));
                true
            }
            None => asker.answers_for(&question.model, &question.environment),
        };
        let knows = full || asker.knows(&question.model, &question.environment);
        let caller = asker.reauthorize.caller();
        let told = explain::answer(self.promotions.access(), caller, &question, knows, full);
        Ok(Reply::good(told, decision))
    }

    async fn list(&self, asker: &Asker) -> Answer {
        let query = self.query(&["environment", "standing"])?;
        let environment = match query.first().and_then(Option::as_ref) {
            Some(_) => Some(self.environment(query.first(), &asker.here)?),
            None => None,
        };
        let standing = query.get(1).cloned().flatten();
        if let Some(word) = &standing
            && !view::STANDINGS.contains(&word.as_str())
        {
            let advice = format!("the standings are {}", view::STANDINGS.join(", "));
            let what = "there is no such standing";
            return Err(Reply::malformed("standing", &what, &advice));
        }
        let told = self.promotions.look(|history| {
            let all = history.promotions().filter(|promotion| {
                let here = environment.as_ref();
                here.is_none_or(|here| promotion.plan().into == *here)
                    && standing
                        .as_deref()
                        .is_none_or(|word| view::standing(promotion.standing()) == word)
                    && asker.sees(promotion)
            });
            let all: Vec<Value> = all.map(|it| view::brief(it, history)).collect();
            json!({ "promotions": all })
        });
        Ok(Reply::good(lost(told.await)?, None))
    }

    async fn promotion(&self, asker: &Asker, id: PromotionId) -> Answer {
        self.query(&[])?;
        let promotion = self.seen(asker, id, Action::Read).await?;
        let model = &promotion.candidate().model;
        let (from, into) = (&promotion.plan().from, &promotion.plan().into);
        let environment = match asker.would(Action::Read, model, into) {
            true => into,
            false => from,
        };
        let decision = asker.read(environment, model).await?;
        let view = self.view(&promotion).await?;
        Ok(Reply::good(view, Some(decision)))
    }

    async fn propose(&self, asker: &Asker) -> Answer {
        let Propose {
            model,
            environment,
            from,
            revision,
            content,
            restores,
        } = self.body()?;
        let mut what = Proposed::new(name("model", &model)?, name("environment", &environment)?);
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
                // Whoever may not promote anything learns nothing of the rules.
                let permit = asker.reauthorize.permit(&asker.here, pair).await?;
                let decision = Reauthorize::declined(permit, error.status(), error.code());
                return Err(Reply::step(&error, Some(decision)));
            }
        };
        let from = optional::<Environment>("from", from)?;
        let permit = asker
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

    async fn step(&self, asker: &Asker, id: PromotionId, step: Step) -> Answer {
        let action = match step {
            Step::Approve | Step::Reject => Action::Approve,
            Step::Withdraw => Action::Read,
            Step::Promote => Action::Promote,
        };
        let promotion = self.seen(asker, id, action).await?;
        let (from, into) = (&promotion.plan().from, &promotion.plan().into);
        let model = &promotion.candidate().model;
        let (taken, decision) = match step {
            Step::Approve => {
                let claimed = self.claimed()?;
                let permit = asker.permit(into, Action::Approve, model).await?;
                let decision = permit.id();
                (self.promotions.approve(id, claimed, permit).await, decision)
            }
            Step::Reject => {
                let Reject { reason } = self.body()?;
                check_reason("reason", &reason)?;
                let permit = asker.permit(into, Action::Approve, model).await?;
                let decision = permit.id();
                (self.promotions.reject(id, reason, permit).await, decision)
            }
            Step::Withdraw => {
                let Nothing {} = self.body_or_nothing()?;
                let permit = asker.either(from, into, Action::Read, model).await?;
                let decision = permit.id();
                (self.promotions.withdraw(id, permit).await, decision)
            }
            Step::Promote => {
                let Promote { emergency } = self.body_or_nothing()?;
                if let Some(reason) = &emergency {
                    check_reason("emergency", reason)?;
                }
                let permit = match emergency {
                    Some(_) => asker.permit(into, Action::Administer, model).await?,
                    None => asker.either(from, into, Action::Promote, model).await?,
                };
                let decision = permit.id();
                let taken = self.promotions.promote(id, emergency, permit).await;
                (taken, decision)
            }
        };
        let promotion = taken.map_err(|error| Reply::step(&error, Some(decision)))?;
        let view = self.view(&promotion).await?;
        Ok(Reply::good(view, Some(decision)))
    }

    /// A name that no surface has is refused with the spelling that it has, unless something was
    /// promoted under it.
    async fn check_model(
        &self,
        model: &ModelName,
        environment: Option<&Environment>,
    ) -> Result<(), Reply> {
        let Err(error) = self.promotions.access().check_name(model, environment) else {
            return Ok(());
        };
        let told = |history: &History| history.of(model, None).next().is_some();
        match lost(self.promotions.look(told).await)? {
            true => Ok(()),
            false => Err(Reply::malformed("model", &error.what, &error.advice)),
        }
    }

    async fn roll_back(&self, asker: &Asker, model: ModelName) -> Answer {
        let Rollback {
            environment,
            reason,
            emergency,
        } = self.body()?;
        let environment: Environment = name("environment", &environment)?;
        self.check_model(&model, Some(&environment)).await?;
        let (taken, decision) = match (emergency, reason) {
            (Some(emergency), reason) => {
                check_reason("emergency", &emergency)?;
                if let Some(reason) = &reason {
                    check_reason("reason", reason)?;
                }
                let permit = asker
                    .permit(&environment, Action::Administer, &model)
                    .await?;
                let decision = permit.id();
                let taken =
                    self.promotions
                        .roll_back_in_emergency(model, environment, emergency, permit);
                (taken.await, decision)
            }
            (None, Some(reason)) => {
                check_reason("reason", &reason)?;
                let rule = self.promotions.rule(&environment);
                let from = rule.as_ref().map_or(&environment, |rule| &rule.from);
                let permit = asker
                    .either(from, &environment, Action::Promote, &model)
                    .await?;
                let decision = permit.id();
                let taken = self
                    .promotions
                    .roll_back(model, environment, reason, permit);
                (taken.await, decision)
            }
            (None, None) => {
                let what = "the body is not what it must be: there is no `reason`";
                return Err(Reply::malformed("body", &what, "say why"));
            }
        };
        let promotion = taken.map_err(|error| Reply::step(&error, Some(decision)))?;
        let view = self.view(&promotion).await?;
        Ok(Reply::good(view, Some(decision)))
    }

    /// A promotion that whoever asks may know of. One that is hidden from them is answered as one
    /// that is none: as unknown, or to whoever answers for no model at all, as nothing that they
    /// may see. What was tried with a hidden one is on record.
    async fn seen(
        &self,
        asker: &Asker,
        id: PromotionId,
        action: Action,
    ) -> Result<Promotion, Reply> {
        let access = self.promotions.access();
        let unknown = match self.promotions.promotion(id).await {
            Ok(promotion) if asker.sees(&promotion) || asker.subject_sees(&promotion, access) => {
                return Ok(promotion);
            }
            Ok(hidden) => {
                // In its own time: whoever waits must not tell it from one that is none.
                let asker = asker.clone();
                tokio::spawn(async move {
                    let (model, into) = (&hidden.candidate().model, &hidden.plan().into);
                    if let Ok(permit) = asker.permit(into, action, model).await {
                        Reauthorize::declined(permit, 404, StepError::Unknown(id).code());
                    }
                });
                StepError::Unknown(id)
            }
            Err(error) => error,
        };
        if matches!(unknown, StepError::Unknown(_)) && !asker.answers_for_any(access) {
            let what = "you answer for no model, and may see no promotion by this identifier";
            let advice = "ask whoever runs this service who may grant it";
            let code = "permission_denied";
            return Err(Reply::failure(403, Fault::Permission, code, &what, advice));
        }
        Err(Reply::step(&unknown, None))
    }

    async fn view(&self, promotion: &Promotion) -> Result<Value, Reply> {
        // What cannot be put in force any more still can be looked at.
        let preview = match promotion.standing() {
            Standing::Open => self.promotions.preview(promotion).await.ok(),
            _ => None,
        };
        let access = self.promotions.access();
        let view = self
            .promotions
            .look(|history| view::promotion(promotion, preview.as_ref(), history, access));
        lost(view.await)
    }

    fn claimed(&self) -> Result<Claimed, Reply> {
        let Approve {
            revision,
            content,
            manifest,
            terms,
        } = self.body_or_nothing()?;
        Ok(Claimed {
            terms: optional("terms", terms)?,
            revision: optional("revision", revision)?,
            content: optional("content", content)?,
            manifest: optional("manifest", manifest)?,
        })
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, Reply> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = format!("the body is not what it must be: {error}");
            let advice = "see `GET /spanner/v1/openapi.json`";
            Reply::malformed("body", &what, advice)
        })
    }

    fn body_or_nothing<T: DeserializeOwned + Default>(&self) -> Result<T, Reply> {
        match self.body.is_empty() {
            true => Ok(T::default()),
            false => self.body(),
        }
    }

    /// The values of these parameters, each given once at most; there must be no others.
    fn query(&self, known: &[&str]) -> Result<Vec<Option<String>>, Reply> {
        let query = self.parts.uri.query().unwrap_or_default();
        let mut values = vec![None; known.len()];
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = known.iter().position(|name| *name == key);
            match place.and_then(|place| values.get_mut(place)) {
                Some(slot @ None) => *slot = Some(value.into_owned()),
                Some(Some(_)) => {
                    let what = format!("`{key}` stands twice in the query");
                    return Err(Reply::malformed("query", &what, "give it once"));
                }
                None => {
                    let advice = match known {
                        [] => "leave the query out".to_owned(),
                        known => format!("the parameters are {}", known.join(", ")),
                    };
                    let what = "the query has an unknown parameter";
                    return Err(Reply::malformed("query", &what, &advice));
                }
            }
        }
        Ok(values)
    }

    fn environment(
        &self,
        asked: Option<&Option<String>>,
        here: &Environment,
    ) -> Result<Environment, Reply> {
        let environment = match asked.and_then(Option::as_ref) {
            Some(text) => name("environment", text)?,
            None => here.clone(),
        };
        self.check_environment(&environment)?;
        Ok(environment)
    }

    fn check_environment(&self, environment: &Environment) -> Result<(), Reply> {
        let known = self.promotions.access().status().environments;
        if known.contains(environment) {
            return Ok(());
        }
        let what = format!("there is no environment `{environment}`");
        let known: Vec<&str> = known.iter().map(Environment::as_str).collect();
        let advice = format!("the environments are {}", known.join(", "));
        Err(Reply::malformed("environment", &what, &advice))
    }
}

impl Asker {
    /// Asks, and is on record with it.
    async fn permit(
        &self,
        environment: &Environment,
        action: Action,
        model: &ModelName,
    ) -> Result<Permit, Reply> {
        let pair = Pair::new(action, Resource::model(model.clone()));
        Ok(self.reauthorize.permit(environment, pair).await?)
    }

    /// Asks where the answer is yes, if it is at one end of the way; otherwise where the model is
    /// to go.
    async fn either(
        &self,
        from: &Environment,
        into: &Environment,
        action: Action,
        model: &ModelName,
    ) -> Result<Permit, Reply> {
        let there = !self.would(action, model, from) || self.would(action, model, into);
        let environment = if there { into } else { from };
        self.permit(environment, action, model).await
    }

    async fn read(&self, environment: &Environment, model: &ModelName) -> Result<RecordId, Reply> {
        let permit = self.permit(environment, Action::Read, model).await?;
        Ok(Reauthorize::done(permit, 200))
    }

    fn would(&self, action: Action, model: &ModelName, environment: &Environment) -> bool {
        let pair = Pair::new(action, Resource::model(model.clone()));
        self.reauthorize.would_permit(environment, pair)
    }

    fn knows(&self, model: &ModelName, environment: &Environment) -> bool {
        self.would(Action::List, model, environment) || self.would(Action::Read, model, environment)
    }

    /// Whether they answer for a model, or sign for it: they are told everything about it.
    fn answers_for(&self, model: &ModelName, environment: &Environment) -> bool {
        [Action::Administer, Action::Approve, Action::Promote]
            .into_iter()
            .any(|action| self.would(action, model, environment))
    }

    /// Whether they may know of a promotion: it is about a model that they may read, or answer
    /// for, at either end of its way, or they proposed it.
    ///
    /// Where an agent acts for somebody, both must be allowed to.
    fn sees(&self, promotion: &Promotion) -> bool {
        let (plan, model) = (promotion.plan(), &promotion.candidate().model);
        let asks = PrincipalEntry::from(&self.reauthorize.caller().subject().principal);
        promotion.proposer() == Some(&asks)
            || [&plan.into, &plan.from]
                .into_iter()
                .any(|end| self.would(Action::Read, model, end) || self.answers_for(model, end))
    }

    /// Whether the one for whom an agent acts may read the model, or signs for it: they are told
    /// why their agent may not.
    fn subject_sees(&self, promotion: &Promotion, access: &Cedar) -> bool {
        let caller = self.reauthorize.caller();
        let context = Context::of(caller, Timestamp::now());
        let resource = Resource::model(promotion.candidate().model.clone());
        let plan = promotion.plan();
        [&plan.into, &plan.from].into_iter().any(|end| {
            let actions = [Action::Read, Action::Promote, Action::Approve];
            let questions = actions.map(|action| {
                Question::new(caller, caller.subject(), action, &resource, end, &context)
            });
            let verdicts = access.authorize(&questions).verdicts;
            verdicts.iter().any(|it| it.effect == Effect::Allow)
        })
    }

    /// Whether they answer for some model in some environment.
    fn answers_for_any(&self, access: &Cedar) -> bool {
        let environments = access.status().environments;
        access.models().into_iter().any(|(model, _)| {
            let mut everywhere = environments.iter();
            everywhere.any(|environment| self.answers_for(&model, environment))
        })
    }
}

/// One environment of a model in a list.
fn served(
    history: &History,
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

fn lost<T>(found: Result<T, StepError>) -> Result<T, Reply> {
    found.map_err(|error| Reply::step(&error, None))
}

/// Words that are kept for ever and shown to people: neither endless nor able to forge a line.
fn check_reason(what: &'static str, text: &str) -> Result<(), Reply> {
    const MAX_BYTES: usize = 2_000;
    if text.len() > MAX_BYTES {
        let wrong = format!("`{what}` has more than {MAX_BYTES} bytes");
        return Err(Reply::malformed(what, &wrong, "say it shorter"));
    }
    if !can_be_seen(text) {
        return Err(Reply::step(&PromotionFault::NoReason.into(), None));
    }
    let forges = |c: char| {
        let class = invisible(c);
        matches!(
            class,
            Some(Invisible::Control | Invisible::Separator | Invisible::Direction)
        )
    };
    match text.chars().find(|c| forges(*c)) {
        Some(c) => {
            let wrong = format!(
                "`{what}` has the character U+{:04X}, which ends a line or changes the direction of the text",
                u32::from(c)
            );
            Err(Reply::malformed(
                what,
                &wrong,
                "write it as plain text on one line",
            ))
        }
        None => Ok(()),
    }
}

/// A name of the request's own.
fn name<N>(what: &'static str, text: &str) -> Result<N, Reply>
where
    N: std::str::FromStr,
    N::Err: std::fmt::Display,
{
    text.parse().map_err(|error| {
        let wrong = format!("`{what}` is none: {error}");
        Reply::malformed(what, &wrong, "correct it")
    })
}

fn optional<N>(what: &'static str, text: Option<String>) -> Result<Option<N>, Reply>
where
    N: std::str::FromStr,
    N::Err: std::fmt::Display,
{
    text.map(|text| name(what, &text)).transpose()
}
