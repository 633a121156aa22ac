//! Parses a request and dispatches it to its handler.

use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;
use spanner_core::promotion::{HistoryState, StepFault};
use spanner_core::text::{Invisible, can_be_seen, invisible};
use spanner_core::{Environment, Fault, ModelName};
use spanner_tower::{Permitted, Reauthorize};

use super::caller::ApiCaller;
use super::openapi::openapi;
use super::reply::Reply;
use super::routes::{self, ParsedRequest, Query};
use crate::error::StepError;
use crate::promotions::Promotions;

/// A request and its context.
pub(super) struct Call<'c> {
    pub(super) promotions: &'c Promotions,
    parts: &'c Parts,
    body: Bytes,
}

pub(super) type Answer = Result<Reply, Reply>;

impl<'c> Call<'c> {
    pub(super) const fn of(promotions: &'c Promotions, parts: &'c Parts, body: Bytes) -> Self {
        Self {
            promotions,
            parts,
            body,
        }
    }

    /// Dispatches the request. The match covers every operation in the table of routes.
    pub(super) async fn answer(&self, asked: ParsedRequest) -> Answer {
        if asked == ParsedRequest::Service(routes::Service::Description) {
            return Ok(Reply::document(openapi()));
        }
        let caller = self.caller()?;
        match asked {
            ParsedRequest::Service(operation) => match operation {
                routes::Service::Description => Ok(Reply::document(openapi())),
                routes::Service::Models => self.models(&caller).await,
                routes::Service::Explain => self.explain(&caller).await,
                routes::Service::Promotions => self.list(&caller).await,
                routes::Service::Propose => self.propose(&caller).await,
            },
            ParsedRequest::Model(operation, model) => match operation {
                routes::Model::Access => self.access(&caller, &model).await,
                routes::Model::History => self.history(&caller, &model).await,
                routes::Model::Rollback => self.roll_back(&caller, model).await,
            },
            ParsedRequest::Promotion(operation, id) => match operation {
                routes::Promotion::Read => self.promotion(&caller, id).await,
                routes::Promotion::Approve => self.approve(&caller, id).await,
                routes::Promotion::Reject => self.reject(&caller, id).await,
                routes::Promotion::Withdraw => self.withdraw(&caller, id).await,
                routes::Promotion::Promote => self.promote(&caller, id).await,
            },
        }
    }

    fn caller(&self) -> Result<ApiCaller, Reply> {
        let reauthorize = Reauthorize::of(&self.parts.extensions);
        let permitted = self.parts.extensions.get::<Permitted>();
        let (Some(reauthorize), Some(Permitted(access))) = (reauthorize, permitted) else {
            let what = "the administration API is not behind a guard";
            let advice = "put it behind a guard that has its surface";
            let unguarded =
                Reply::failure(500, Fault::GuardUnavailable, "not_guarded", &what, advice);
            return Err(unguarded);
        };
        Ok(ApiCaller::new(
            reauthorize.clone(),
            access.environment.clone(),
        ))
    }

    /// Rejects a model name that no surface produces, and suggests the correct spelling. Accepts
    /// a name that has promotions.
    pub(super) async fn check_model(
        &self,
        model: &ModelName,
        environment: Option<&Environment>,
    ) -> Result<(), Reply> {
        let Err(error) = self.promotions.access().check_name(model, environment) else {
            return Ok(());
        };
        let view = |history: &HistoryState| history.of(model, None).next().is_some();
        match or_problem(self.promotions.with_history(view).await)? {
            true => Ok(()),
            false => Err(Reply::malformed("model", &error.what, &error.advice)),
        }
    }

    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Reply> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = format!("the body is not valid: {error}");
            let advice = "see `GET /spanner/v1/openapi.json`";
            Reply::malformed("body", &what, advice)
        })
    }

    pub(super) fn body_or_nothing<T: DeserializeOwned + Default>(&self) -> Result<T, Reply> {
        match self.body.is_empty() {
            true => Ok(T::default()),
            false => self.body(),
        }
    }

    /// The values of the known query parameters, each given at most once. Other parameters are an
    /// error.
    pub(super) fn query(&self, known: &[Query]) -> Result<Vec<Option<String>>, Reply> {
        let query = self.parts.uri.query().unwrap_or_default();
        let mut values = vec![None; known.len()];
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = known.iter().position(|name| name.as_str() == key);
            match place.and_then(|place| values.get_mut(place)) {
                Some(slot @ None) => *slot = Some(value.into_owned()),
                Some(Some(_)) => {
                    let what = format!("the query has `{key}` twice");
                    return Err(Reply::malformed("query", &what, "give it once"));
                }
                None => {
                    let advice = match known {
                        [] => "leave the query out".to_owned(),
                        known => {
                            let known: Vec<&str> = known.iter().map(|it| it.as_str()).collect();
                            format!("the parameters are {}", known.join(", "))
                        }
                    };
                    let what = "the query has an unknown parameter";
                    return Err(Reply::malformed("query", &what, &advice));
                }
            }
        }
        Ok(values)
    }

    pub(super) fn environment(
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

    pub(super) fn check_environment(&self, environment: &Environment) -> Result<(), Reply> {
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

pub(super) fn or_problem<T>(found: Result<T, StepError>) -> Result<T, Reply> {
    found.map_err(|error| Reply::step(&error, None))
}

/// Checks a reason that is stored permanently and shown to people: its length is limited, and it
/// cannot forge a line.
pub(super) fn check_reason(what: &'static str, text: &str) -> Result<(), Reply> {
    const MAX_BYTES: usize = 2_000;
    if text.len() > MAX_BYTES {
        let wrong = format!("`{what}` has more than {MAX_BYTES} bytes");
        return Err(Reply::malformed(what, &wrong, "shorten it"));
    }
    if !can_be_seen(text) {
        return Err(Reply::step(&StepFault::NoReason.into(), None));
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

/// Parses a name in the request.
pub(super) fn name<N>(what: &'static str, text: &str) -> Result<N, Reply>
where
    N: std::str::FromStr,
    N::Err: std::fmt::Display,
{
    text.parse().map_err(|error| {
        let wrong = format!("`{what}` is not valid: {error}");
        Reply::malformed(what, &wrong, "correct it")
    })
}

pub(super) fn optional<N>(what: &'static str, text: Option<String>) -> Result<Option<N>, Reply>
where
    N: std::str::FromStr,
    N::Err: std::fmt::Display,
{
    text.map(|text| name(what, &text)).transpose()
}
