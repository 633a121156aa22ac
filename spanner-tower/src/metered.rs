//! Metrics, through the `metrics` facade. The recorder that the service installs receives them.
//!
//! Labels have few values: what the operator configured (service, environment, surface, issuer)
//! and words of Spanner's own (action, effect, reason, class, result). Callers cannot choose a
//! label's value: a model is named only after a request for it was allowed. The label is `other`
//! past the first 256 models and `none` without a model.
//!
//! | metric | kind | labels | |
//! |---|---|---|---|
//! | `spanner_decisions_total` | counter | service, environment, surface, issuer, model, action, effect, reason | requests decided and recorded; of several models, the first |
//! | `spanner_candidate_differs_total` | counter | service, environment, effect | decisions that an access that is tried out would have made otherwise, by what it would have decided |
//! | `spanner_record_seconds` | histogram | service, environment | until a decision was durable |
//! | `spanner_record_failures_total` | counter | service, environment, reason | decisions that were not recorded, so not served |
//! | `spanner_outcomes_total` | counter | service, environment, surface, class | how requests ended |
//! | `spanner_request_seconds` | histogram | service, environment, surface, class | from arrival to the end |
//! | `spanner_requests_in_flight` | gauge | service, environment | requests without an outcome, of those that the guard itself forwards |
//! | `spanner_rotate_soon_total` | counter | issuer | requests with a credential past 80 % of its permitted age |
//! | `spanner_unrecorded_total` | counter | what | requests that are counted and not recorded |
//! | `spanner_token_cache_total` | counter | result | look-ups of verified tokens: `hit`, `miss` |
//! | `spanner_introspections_total` | counter | issuer, result | questions about opaque tokens: `active`, `inactive`, `failed` |
//! | `spanner_issuer_ready` | gauge | issuer | 1 if its callers can be identified; see [`Bearer::publish_readiness`](crate::Bearer::publish_readiness) |
//! | `spanner_issuer_keys_age_seconds` | gauge | issuer | how old its keys are |

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use metrics::{counter, gauge, histogram};
use spanner_core::record::{Decision, Outcome};
use spanner_core::{AuditSink, Count, Effect, Freshness, Receipt, Room, SinkFault};

/// A sink that counts the entries that it passes on.
pub(crate) struct Metered {
    inner: Arc<dyn AuditSink>,
    models: Models,
}

/// The models for which a request was allowed.
#[derive(Default)]
struct Models(RwLock<HashSet<String>>);

impl Models {
    /// The label value for the model of a decision.
    fn label(&self, decision: &Decision) -> String {
        let Some(model) = decision.target.first().and_then(|it| it.model.as_ref()) else {
            return NONE.to_owned();
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (is_known, is_room) = (known.contains(model), known.len() < MAX_MODELS);
        drop(known);
        match (is_known, decision.effect) {
            (true, _) => model.clone(),
            (false, Effect::Allow) if is_room => {
                let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(model.clone());
                model.clone()
            }
            (false, Effect::Allow) => "other".to_owned(),
            (false, _) => NONE.to_owned(),
        }
    }
}

/// The number of models with label values of their own, so that a page of metrics stays
/// readable.
const MAX_MODELS: usize = 256;
/// The label value where there is none.
const NONE: &str = "none";

/// The labels that the two entries of a request share.
#[derive(Clone)]
struct Labels {
    service: String,
    environment: String,
    surface: String,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn AuditSink>) -> Self {
        let models = Models::default();
        Self { inner, models }
    }
}

impl Labels {
    fn of(decision: &Decision) -> Self {
        Self {
            service: decision.service.clone(),
            environment: decision.environment.clone(),
            surface: decision.surface.clone().unwrap_or_else(|| NONE.to_owned()),
        }
    }

    fn decided(&self, decision: &Decision, model: String) {
        let Self {
            service,
            environment,
            surface,
        } = self.clone();
        let caller = decision.caller.as_ref();
        let issuer = caller
            .map_or(NONE, |caller| &caller.subject.issuer)
            .to_owned();
        if caller.is_some_and(|caller| caller.freshness == Freshness::RotateSoon) {
            counter!("spanner_rotate_soon_total", "issuer" => issuer.clone()).increment(1);
        }
        let word = |effect| match effect {
            Effect::Allow => "allow",
            _ => "deny",
        };
        if let Some(candidate) = &decision.candidate {
            counter!(
                "spanner_candidate_differs_total",
                "service" => service.clone(), "environment" => environment.clone(),
                "effect" => word(candidate.effect)
            )
            .increment(1);
        }
        let effect = word(decision.effect);
        let action = decision.target.first();
        let action = action.map_or(NONE, |pair| pair.action.as_str());
        counter!(
            "spanner_decisions_total",
            "service" => service, "environment" => environment, "surface" => surface,
            "issuer" => issuer, "model" => model, "action" => action, "effect" => effect,
            "reason" => decision.reason.clone()
        )
        .increment(1);
    }

    fn failed(&self, fault: &SinkFault) {
        let reason = match fault {
            SinkFault::Full => "full",
            SinkFault::NotDurable { .. } => "not_durable",
            SinkFault::Closed => "closed",
            _ => "other",
        };
        let (service, environment) = (self.service.clone(), self.environment.clone());
        counter!(
            "spanner_record_failures_total",
            "service" => service, "environment" => environment, "reason" => reason
        )
        .increment(1);
    }

    fn in_flight(&self) -> metrics::Gauge {
        let (service, environment) = (self.service.clone(), self.environment.clone());
        gauge!("spanner_requests_in_flight", "service" => service, "environment" => environment)
    }

    fn ended(self, outcome: &Outcome) {
        let class = outcome.class.as_str();
        let Self {
            service,
            environment,
            surface,
        } = self;
        let labels = [
            ("service", service),
            ("environment", environment),
            ("surface", surface),
            ("class", class.to_owned()),
        ];
        counter!("spanner_outcomes_total", &labels).increment(1);
        let seconds = outcome.duration_us as f64 / 1e6;
        histogram!("spanner_request_seconds", &labels).record(seconds);
    }
}

impl AuditSink for Metered {
    fn record(&self, decision: Decision) -> Result<Receipt, SinkFault> {
        let labels = Labels::of(&decision);
        labels.decided(&decision, self.models.label(&decision));
        let is_inline = decision.enforcement.is_inline();
        let began = Instant::now();
        let Receipt { acknowledged, room } = self
            .inner
            .record(decision)
            .inspect_err(|fault| labels.failed(fault))?;
        if is_inline {
            labels.in_flight().increment(1.0);
        }
        let ended = labels.clone();
        Ok(Receipt {
            acknowledged: Box::pin(async move {
                acknowledged
                    .await
                    .inspect_err(|fault| labels.failed(fault))?;
                let Labels {
                    service,
                    environment,
                    ..
                } = labels;
                let seconds = began.elapsed().as_secs_f64();
                histogram!("spanner_record_seconds", "service" => service, "environment" => environment)
                    .record(seconds);
                Ok(())
            }),
            room: Room::new(move |outcome| {
                if is_inline {
                    ended.in_flight().decrement(1.0);
                }
                ended.ended(&outcome);
                room.fill(outcome);
            }),
        })
    }

    fn count(&self, what: Count) {
        let word = match what {
            Count::Public => "public",
            Count::Exempt => "exempt",
            Count::ShedRefusal => "shed_refusal",
            _ => "other",
        };
        counter!("spanner_unrecorded_total", "what" => word).increment(1);
        self.inner.count(what);
    }

    fn is_audited(&self) -> bool {
        self.inner.is_audited()
    }
}

#[cfg(test)]
mod tests {
    use spanner_core::testing::{Fixed, MemorySink, Rules};
    use spanner_core::{Action, Arrival, Caller, Gate, Resource, Target};

    use super::*;

    #[tokio::test]
    async fn a_model_has_a_label_once_somebody_may_use_it_and_not_without_end() {
        let sink = MemorySink::new();
        let rules = Rules::allow(|question| question.action == Action::Generate);
        let host = Fixed::at("2026-11-23T12:00:00Z");
        let environment = "production".parse().unwrap();
        let gate = Gate::new("chat", environment, rules, sink.clone(), host);
        let models = Models::default();
        let label = async |action, model: &str| {
            let target = Target::one(action, Resource::model(model.parse().unwrap()));
            let attempt = gate.open(Arrival::new());
            let decided = attempt.decide(Caller::for_test("alice"), target);
            drop(decided.recorded().await);
            models.label(sink.decisions().last().unwrap())
        };
        assert_eq!(label(Action::Delete, "acme/a").await, "none");
        assert_eq!(label(Action::Generate, "acme/a").await, "acme/a");
        assert_eq!(label(Action::Delete, "acme/a").await, "acme/a");
        for number in 1..MAX_MODELS {
            let model = format!("acme/a{number}");
            assert_eq!(label(Action::Generate, &model).await, model);
        }
        assert_eq!(label(Action::Generate, "acme/more").await, "other");
        assert_eq!(label(Action::Delete, "acme/more").await, "none");
        assert_eq!(label(Action::Generate, "acme/a1").await, "acme/a1");
    }
}
