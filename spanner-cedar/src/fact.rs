//! The facts about one request that policies may read: the attributes of `context`.
//!
//! An attribute is one row of `facts!` and one line of the type `Call` in `schema.cedarschema`.
//! The compiler then requires its value, its range in a request (for proofs), and its translation
//! from a counterexample to a caller (`prove/found.rs`). Tests compare the rows with the schema,
//! and require that a record keeps the fact, so that a replay has the same inputs.

use cedar_policy::{Context, RestrictedExpression};
use spanner_core::{Caller, Principal, Timestamp};

macro_rules! facts {
    ($($fact:ident => $name:literal $optional:literal $type:literal,)*) => {
        /// One attribute of `context`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fact { $($fact,)* }

        impl Fact {
            /// All of them, in the order of the schema.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$fact,)*];

            /// Its name in policies.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$fact => $name,)* }
            }

            /// Its declaration in the schema.
            #[cfg(test)]
            const fn declaration(self) -> &'static str {
                match self { $(Self::$fact => concat!($name, $optional, ": ", $type),)* }
            }
        }
    };
}

facts! {
    Now => "now" "" "Long",
    TokenAgeSeconds => "tokenAgeSeconds" "" "Long",
    TokenAgeKnown => "tokenAgeKnown" "" "Bool",
    Assurance => "assurance" "" "Long",
    AuthAgeSeconds => "authAgeSeconds" "" "Long",
    AuthAgeKnown => "authAgeKnown" "" "Bool",
    Scopes => "scopes" "" "Set<String>",
    Issuer => "issuer" "" "String",
    Tenant => "tenant" "?" "String",
    Origin => "origin" "?" "String",
    DelegationDepth => "delegationDepth" "" "Long",
    GroupsComplete => "groupsComplete" "" "Bool",
}

/// The parts of one party's request that the facts depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) caller: &'a Caller,
    /// The party that the question is about.
    pub(crate) principal: &'a Principal,
    pub(crate) context: &'a spanner_core::Context,
}

/// The value of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    /// The attribute is optional, and the credential does not have it.
    Absent,
    Long(i64),
    Bool(bool),
    Text(&'a str),
    Texts(&'a [String]),
}

impl<'a> Circumstances<'a> {
    /// The `context` of a request to Cedar. `None` if a text exceeds the length limit.
    pub(crate) fn context(&self) -> Option<Context> {
        let mut pairs = Vec::with_capacity(Fact::ALL.len());
        for fact in Fact::ALL {
            let value = match self.value(*fact) {
                Value::Absent => continue,
                Value::Long(number) => RestrictedExpression::new_long(number),
                Value::Bool(flag) => RestrictedExpression::new_bool(flag),
                Value::Text(text) => expression(text)?,
                Value::Texts(texts) => {
                    let texts = texts.iter().map(|text| expression(text));
                    let texts: Option<Vec<RestrictedExpression>> = texts.collect();
                    RestrictedExpression::new_set(texts?)
                }
            };
            pairs.push((fact.name().to_owned(), value));
        }
        Context::from_pairs(pairs).ok()
    }

    fn value(&self, fact: Fact) -> Value<'a> {
        let (caller, context) = (self.caller, self.context);
        let count = |number: u64| Value::Long(i64::try_from(number).unwrap_or(i64::MAX));
        let optional = |text: Option<&'a str>| text.map_or(Value::Absent, Value::Text);
        match fact {
            Fact::Now => Value::Long(Timestamp::as_second(context.now)),
            Fact::TokenAgeSeconds => count(context.token_age.as_secs()),
            Fact::TokenAgeKnown => Value::Bool(caller.credential().issued_at.is_some()),
            Fact::Assurance => count(context.assurance.into()),
            Fact::AuthAgeSeconds => count(context.auth_age.map_or(u64::MAX, |age| age.as_secs())),
            Fact::AuthAgeKnown => Value::Bool(context.auth_age.is_some()),
            Fact::Scopes => Value::Texts(caller.scopes()),
            Fact::Issuer => Value::Text(self.principal.issuer.as_str()),
            Fact::Tenant => optional(caller.tenant()),
            Fact::Origin => optional(caller.origin()),
            Fact::DelegationDepth => count(context.delegation_depth as u64),
            Fact::GroupsComplete => Value::Bool(context.groups_complete),
        }
    }
}

fn expression(text: &str) -> Option<RestrictedExpression> {
    let fits = text.len() <= MAX_TEXT_BYTES;
    fits.then(|| RestrictedExpression::new_string(text.to_owned()))
}

/// The cost of a pattern (`like`) grows with the length of the text. Scopes and tenants longer than
/// a hundred bytes are not known in practice.
const MAX_TEXT_BYTES: usize = 256;

#[cfg(feature = "prove")]
impl Fact {
    /// The range of the fact in requests that a guard makes, as a condition in Cedar; `None` if any
    /// value of its type can occur. A proof considers only such requests.
    pub(crate) const fn range(self) -> Option<&'static str> {
        match self {
            Self::Now => Some("context.now >= 0 && context.now <= 253402207200"),
            Self::TokenAgeSeconds => Some(
                "context.tokenAgeSeconds >= 0 && context.tokenAgeSeconds <= 9223372036
  && (context.tokenAgeKnown || context.tokenAgeSeconds == 0)",
            ),
            Self::Assurance => Some("context.assurance >= 0 && context.assurance <= 3"),
            Self::AuthAgeSeconds => Some(
                "context.authAgeSeconds >= 0
  && (if context.authAgeKnown then context.authAgeSeconds <= 9223372036
      else context.authAgeSeconds == 9223372036854775807)",
            ),
            Self::DelegationDepth => {
                Some("context.delegationDepth >= 0 && context.delegationDepth <= 4")
            }
            Self::GroupsComplete => Some("context.groupsComplete"),
            Self::TokenAgeKnown
            | Self::AuthAgeKnown
            | Self::Scopes
            | Self::Issuer
            | Self::Tenant
            | Self::Origin => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use spanner_core::testing::{Fixed, MemorySink, Rules, wait};
    use spanner_core::{
        Action, Arrival, CallerKind, Context as Facts, Credential, Gate, IssuerAlias, Questions,
        Resource, SubjectId, Target,
    };

    use super::*;

    #[test]
    fn the_schema_declares_exactly_these_facts() {
        let (_, call) = crate::schema::TEXT.split_once("type Call = {").unwrap();
        let (call, _) = call.split_once("};").unwrap();
        let declared = call.lines().filter_map(|line| {
            let line = line.split("//").next()?.trim();
            line.strip_suffix(',')
        });
        let declared: Vec<&str> = declared.collect();
        let facts: Vec<&str> = Fact::ALL.iter().map(|fact| fact.declaration()).collect();
        assert_eq!(
            declared, facts,
            "`schema.cedarschema` (left) and `facts!` in `fact.rs` (right) differ"
        );
    }

    #[test]
    fn a_record_keeps_every_fact_for_its_replay() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let principal = |kind, name: &str| {
            let issuer = IssuerAlias::new("corp").unwrap();
            Principal::new(issuer, kind, SubjectId::new(name).unwrap())
        };
        let ago = |seconds| Timestamp::from_second(now.as_second() - seconds).unwrap();
        let mut credential = Credential::unknown();
        credential.issued_at = Some(ago(60));
        // Every fact differs from its value for an empty credential.
        let caller = Caller::assertion(principal(CallerKind::User, "ann"))
            .actors([principal(CallerKind::Agent, "copilot")])
            .scopes(["models.infer".to_owned()])
            .assurance(2)
            .credential(credential)
            .authenticated_at(ago(30))
            .tenant("acme")
            .origin("pipeline")
            .groups_incomplete()
            .caller()
            .unwrap();
        let sink = MemorySink::new();
        let host = Fixed::at("2026-11-24T12:00:00Z");
        let environment = "production".parse().unwrap();
        let rules = Rules::allow(|_| true);
        let gate = Gate::new("chat", environment, rules, sink.clone(), host);
        let model = Resource::model("acme/sentiment".parse().unwrap());
        let target = Target::one(Action::Generate, model);
        let decided = gate.open(Arrival::new()).decide(caller.clone(), target);
        drop(wait(decided.recorded()));
        let decision = sink.decisions().into_iter().next().unwrap();
        let again = Questions::again(&decision).unwrap();

        let nobody = Caller::assertion(principal(CallerKind::User, "ann"));
        let nobody = nobody.caller().unwrap();
        let value = |caller: &Caller, now, fact| {
            let context = Facts::of(caller, now);
            let principal = &caller.subject().principal;
            let circumstances = Circumstances {
                caller,
                principal,
                context: &context,
            };
            format!("{:?}", circumstances.value(fact))
        };
        for fact in Fact::ALL {
            let (name, before) = (fact.name(), value(&caller, now, *fact));
            if *fact != Fact::Issuer {
                let unlike = value(&nobody, Timestamp::UNIX_EPOCH, *fact);
                assert_ne!(before, unlike, "give `{name}` a value in this test");
            }
            assert_eq!(
                value(again.caller(), now, *fact),
                before,
                "`{name}` is lost between a record and its replay: add it to `CallerEntry` in `spanner-core/src/record.rs` and to `caller` in `questions.rs`"
            );
        }
    }
}
