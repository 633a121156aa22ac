//! What an approval covers besides the candidate: the terms of a change of one model's access.

use spanner_core::promotion::{ChangeEntry, Digest, TermsEntry};
use spanner_core::{Environment, ModelName};

use crate::cedar::Cedar;
use crate::guardrail::Mode;
use crate::index::Policies;
use crate::promotion::PromotionRule;
use crate::role::ActionSet;

impl Cedar {
    /// What an approval of a change covers besides the candidate, if the other access replaces this
    /// one for a model in an environment: the rule of promotion, what is granted on the
    /// model before and after and what those roles allow, the guardrails that can apply to it,
    /// and the [difference](Cedar::diff_on). `None` where the organization has no rule of
    /// promotion.
    ///
    /// Two approvals cover the same change exactly if their terms are equal, also if different
    /// processes computed them.
    #[must_use]
    pub fn terms(
        &self,
        after: &Self,
        model: &ModelName,
        environment: &Environment,
        difference: &[ChangeEntry],
    ) -> Option<TermsEntry> {
        let (before, after) = (self.current(), after.current());
        let rule = after.promotions.get(environment)?;
        let grants = [&*before, &*after].map(|access| granted(access, model, environment));
        Some(TermsEntry::new(
            rule.approvals,
            &digest(&words_of(rule)),
            &digest(&grants.concat()),
            &digest(&guardrails(&after, model, environment)),
            &digest(
                &difference
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            ),
        ))
    }

    /// Whether somebody would be granted something on a model in an environment that they are not
    /// granted now, if the other access replaced this one. Guardrails are not considered.
    #[must_use]
    pub fn grants_more(&self, after: &Self, model: &ModelName, environment: &Environment) -> bool {
        let (before, after) = (self.current(), after.current());
        let actions = |access: &Policies, holder| {
            let own = access.grants.given(environment, model);
            let own = own.filter(|(other, _)| *other == holder);
            own.fold(ActionSet::EMPTY, |all, (_, grant)| all.with(grant.actions))
        };
        let mut new = after.grants.given(environment, model);
        new.any(|(holder, grant)| {
            let more = grant.actions.without(actions(&before, holder));
            !more.is_empty()
        })
    }
}

/// The parts of the rule.
fn words_of(rule: &PromotionRule) -> Vec<String> {
    let mut approvers: Vec<String> = rule.approvers().collect();
    approvers.sort();
    let mut words = vec![
        rule.from.to_string(),
        rule.approvals.to_string(),
        rule.existing.to_string(),
    ];
    words.extend(approvers);
    words
}

/// The grants of the model's manifest: holder, role and actions.
fn granted(access: &Policies, model: &ModelName, environment: &Environment) -> Vec<String> {
    let given = access.grants.given(environment, model);
    let mut words: Vec<String> = given
        .map(|(holder, grant)| {
            let actions: Vec<&str> = grant.actions.iter().map(|it| it.as_str()).collect();
            format!("{holder} {} {}", grant.role, actions.join(","))
        })
        .collect();
    words.sort();
    words.insert(0, words.len().to_string());
    words
}

/// The live guardrails that can apply to the model there.
fn guardrails(access: &Policies, model: &ModelName, environment: &Environment) -> Vec<String> {
    let all = access.guardrails.iter();
    let live = all.filter(|it| it.mode == Mode::Live && it.site.takes(environment, Some(model)));
    let mut words: Vec<String> = live
        .map(|it| format!("{} {:?}", it.id, it.body()))
        .collect();
    words.sort();
    words
}

/// The digest of a list. Each item is prefixed with its length, so that the encoding is
/// unambiguous.
fn digest(words: &[String]) -> Digest {
    let parts = words.iter().map(|word| format!("{}:{word}", word.len()));
    Digest::of(parts.collect::<String>().as_bytes())
}
