//! Measures a decision by the number of grants, models and groups of the caller, compared with plain
//! Cedar over the whole policy set, `casbin` and `regorus`.
//!
//! `cargo run --release -p spanner-benches --bin access`. All decide the same questions: a
//! person with many groups, one of which has a role on one of many models, and the same person on a
//! model without grants. Spanner's figures include the whole decision, from caller to verdict; the
//! others start with the request and entities prepared. The engines are interleaved for each size, and
//! each figure is a median. Slow ones are timed only a few times. `--quick` skips the largest sizes.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _, RbacApi as _};
use cedar_policy::{
    Authorizer, Context as CedarContext, Decision, Entities, Entity, EntityUid, PolicyId,
    PolicySet, Request, SlotId, Template,
};
use regorus::{Engine, Value};
use spanner_cedar::Cedar;
use spanner_core::{
    Action, Authorize as _, Caller, CallerKind, Context, Effect, Environment, Group, GroupName,
    IssuerAlias, ModelName, Principal, Question, Resource, SubjectId,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The size of an access.
#[derive(Clone, Copy)]
struct Size {
    grants: usize,
    models: usize,
    groups: usize,
    /// Guardrails whose conditions must be evaluated for the question.
    guardrails: usize,
}

const fn size(grants: usize, models: usize, groups: usize, guardrails: usize) -> Size {
    Size {
        grants,
        models,
        groups,
        guardrails,
    }
}

const SIZES: [Size; 11] = [
    size(10, 5, 10, 0),
    size(100, 25, 10, 0),
    size(1_000, 250, 10, 0),
    size(1_000, 1, 10, 0),
    size(1_000, 250, 100, 0),
    size(1_000, 250, 500, 0),
    size(1_000, 250, 10, 1),
    size(1_000, 250, 10, 10),
    size(10_000, 2_500, 10, 0),
    size(100_000, 25_000, 10, 0),
    size(100_000, 100, 10, 0),
];

/// The time limit of a measurement, for each size.
const BUDGET: Duration = Duration::from_millis(600);

fn main() -> Result<(), Failure> {
    let quick = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--quick") => true,
        Some(_) => return Err("the only option is `--quick`".into()),
    };
    println!(
        "| grants | models | groups | conditions | Spanner µs | plain Cedar µs | casbin µs | regorus µs | Cedar ÷ Spanner |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for size in SIZES {
        if quick && size.grants > 1_000 {
            continue;
        }
        let medians = measure(size)?;
        let mut row = format!(
            "| {} | {} | {} | {} |",
            size.grants, size.models, size.groups, size.guardrails
        );
        for median in &medians {
            match median {
                Some(median) => write!(row, " {} |", micros(*median))?,
                None => row.push_str(" |"),
            }
        }
        if let [Some(ours), Some(cedar), ..] = medians.as_slice() {
            write!(row, " {:.0} |", cedar.as_secs_f64() / ours.as_secs_f64())?;
        }
        println!("{row}");
    }
    Ok(())
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        _ if micros < 10.0 => format!("{micros:.2}"),
        _ if micros < 1000.0 => format!("{micros:.0}"),
        _ => format!("{:.0}", (micros / 10.0).round() * 10.0),
    }
}

/// An engine that decides the granted question or the denied one.
type Decide = Box<dyn FnMut(bool) -> Result<bool, Failure>>;

/// Measures the engines interleaved, and prints the median of each.
fn measure(size: Size) -> Result<Vec<Option<Duration>>, Failure> {
    let conditions = size.guardrails > 0;
    let mut contestants: Vec<Option<Contestant>> = vec![
        Some(Contestant::new(spanner(size)?)?),
        Some(Contestant::new(cedar(size)?)?),
        // The other engines would need another program for conditions on the context.
        (!conditions)
            .then(|| Contestant::new(casbin(size)?))
            .transpose()?,
        (!conditions)
            .then(|| Contestant::new(regorus(size)?))
            .transpose()?,
    ];
    for _ in 0..51 {
        for contestant in contestants.iter_mut().flatten() {
            contestant.turn()?;
        }
    }
    let medians = contestants
        .iter()
        .map(|found| found.as_ref().map(Contestant::median));
    Ok(medians.collect())
}

struct Contestant {
    decide: Decide,
    batch: u32,
    times: Vec<Duration>,
    spent: Duration,
}

impl Contestant {
    /// Asks both questions once, as a warm-up, and checks the answers.
    fn new(mut decide: Decide) -> Result<Self, Failure> {
        if !decide(true)? || decide(false)? {
            return Err("a contestant decides wrongly".into());
        }
        let before = Instant::now();
        black_box(decide(true)?);
        let once = before.elapsed();
        let fits = Duration::from_millis(2).as_nanos() / once.as_nanos().max(1);
        Ok(Self {
            decide,
            batch: u32::try_from(fits)?.clamp(1, 10_000),
            times: vec![once],
            spent: once,
        })
    }

    fn turn(&mut self) -> Result<(), Failure> {
        if self.spent > BUDGET {
            return Ok(());
        }
        let before = Instant::now();
        for _ in 0..self.batch {
            black_box((self.decide)(true)?);
        }
        let time = before.elapsed();
        self.spent += time;
        self.times.push(time / self.batch);
        Ok(())
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

impl Size {
    /// The model of the question: in the middle, for engines that scan linearly.
    const fn asked(self) -> usize {
        self.models / 2
    }

    /// The groups with the role `caller` on a model; the caller is in one of them.
    fn granted(self, model: usize) -> impl Iterator<Item = String> {
        let each = self.grants / self.models;
        (0..each).map(
            move |number| match model == self.asked() && number == each / 2 {
                true => group(0),
                false => format!("team-{}", (model + number * 7) % 5_000 + 1_000),
            },
        )
    }

    fn callers_groups(self) -> impl Iterator<Item = String> {
        (0..self.groups).map(group)
    }

    fn guardrail(number: usize) -> String {
        format!(
            "forbid (principal, action, resource) when {{ context.tokenAgeSeconds > {} }};",
            1_000_000 + number
        )
    }
}

fn group(number: usize) -> String {
    format!("group-{number}")
}

fn model(number: usize) -> String {
    format!("acme/model-{number}")
}

/// A model without grants.
const OTHER: &str = "acme/other";

fn spanner(size: Size) -> Result<Decide, Failure> {
    let mut organization =
        "environments = [\"production\"]\nissuers = [\"corp\"]\ngroups = [\n".to_owned();
    let mut groups: HashSet<String> = HashSet::new();
    let mut files = Vec::new();
    for number in 0..size.models {
        let granted: Vec<String> = size.granted(number).collect();
        groups.extend(granted.iter().cloned());
        let callers: Vec<String> = granted
            .iter()
            .map(|name| format!("\"group:{name}\""))
            .collect();
        let manifest = format!(
            "model = \"{}\"\nowner = \"group:{}\"\n[grants.production]\ncaller = [{}]\n",
            model(number),
            group(0),
            callers.join(", ")
        );
        files.push((format!("models/{number}.toml"), manifest));
    }
    groups.insert(group(0));
    for name in groups {
        writeln!(organization, "\"{name}\",")?;
    }
    organization.push_str("]\n");
    files.push(("organization.toml".to_owned(), organization));
    let mut guardrails = String::new();
    for number in 0..size.guardrails {
        writeln!(
            guardrails,
            "@id(\"g{number}\") @reason(\"r\") {}",
            Size::guardrail(number)
        )?;
    }
    files.push(("policies/guardrails.cedar".to_owned(), guardrails));
    let access = Cedar::from_files(files)?;

    let issuer = IssuerAlias::new("corp")?;
    let ann = Principal::new(issuer.clone(), CallerKind::User, SubjectId::new("ann")?);
    let named = |name: String| Ok::<_, Failure>(Group::new(issuer.clone(), GroupName::new(&name)?));
    let groups: Vec<Group> = size.callers_groups().map(named).collect::<Result<_, _>>()?;
    let ann = Caller::assertion(ann).groups(groups).caller()?;
    let here = Environment::new("production")?;
    let context = Context::of(&ann, "2026-01-01T00:00:00Z".parse()?);
    let granted = Resource::model(ModelName::new(&model(size.asked()))?);
    let other = Resource::model(ModelName::new(OTHER)?);
    Ok(Box::new(move |allowed| {
        let resource = if allowed { &granted } else { &other };
        let question = Question::new(
            &ann,
            ann.subject(),
            Action::Generate,
            resource,
            &here,
            &context,
        );
        let answers = access.authorize(std::slice::from_ref(&question));
        let first = answers.verdicts.first();
        Ok(first.is_some_and(|verdict| verdict.effect == Effect::Allow))
    }))
}

fn cedar(size: Size) -> Result<Decide, Failure> {
    let uid = |kind: &str, id: &str| -> Result<EntityUid, Failure> {
        Ok(format!("Spanner::{kind}::\"{id}\"").parse()?)
    };
    let action = uid("Action", "generate")?;
    let mut set = PolicySet::new();
    let template = "permit (principal in ?principal, action in [Spanner::Action::\"generate\", Spanner::Action::\"embed\", Spanner::Action::\"predict\", Spanner::Action::\"list\", Spanner::Action::\"read\"], resource in ?resource);";
    set.add_template(Template::parse(Some(PolicyId::new("caller")), template)?)?;
    for number in 0..size.models {
        let resource = uid("Endpoint", &format!("production/{}", model(number)))?;
        for (at, name) in size.granted(number).enumerate() {
            let slots = HashMap::from([
                (SlotId::principal(), uid("Group", &format!("corp/{name}"))?),
                (SlotId::resource(), resource.clone()),
            ]);
            let id = PolicyId::new(format!("{number}/{at}"));
            set.link(PolicyId::new("caller"), id, slots)?;
        }
    }
    for number in 0..size.guardrails {
        let id = Some(PolicyId::new(format!("g{number}")));
        set.add(cedar_policy::Policy::parse(id, Size::guardrail(number))?)?;
    }
    let groups = size
        .callers_groups()
        .map(|name| uid("Group", &format!("corp/{name}")));
    let ann = Entity::new_no_attrs(uid("User", "corp/ann")?, groups.collect::<Result<_, _>>()?);
    let mut questions = Vec::new();
    for name in [model(size.asked()), OTHER.to_owned()] {
        let parents = HashSet::from([uid("Model", &name)?, uid("Environment", "production")?]);
        let uid = uid("Endpoint", &format!("production/{name}"))?;
        let resource = Entity::new_no_attrs(uid.clone(), parents);
        let context = CedarContext::from_pairs([(
            "tokenAgeSeconds".to_owned(),
            cedar_policy::RestrictedExpression::new_long(0),
        )])?;
        let request = Request::new(ann.uid(), action.clone(), uid, context, None)?;
        let known = Entity::new_no_attrs(action.clone(), HashSet::new());
        let entities = Entities::from_entities([ann.clone(), resource, known], None)?;
        questions.push((request, entities));
    }
    let authorizer = Authorizer::new();
    Ok(Box::new(move |allowed| {
        let at = usize::from(!allowed);
        let (request, entities) = questions.get(at).ok_or("no question")?;
        let response = authorizer.is_authorized(request, &set, entities);
        Ok(response.decision() == Decision::Allow)
    }))
}

fn casbin(size: Size) -> Result<Decide, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let model_text = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[role_definition]\ng = _, _\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.obj == p.obj && r.act == p.act && g(r.sub, p.sub)\n";
    let enforcer = runtime.block_on(async {
        let text = DefaultModel::from_str(model_text).await?;
        let mut enforcer = Enforcer::new(text, MemoryAdapter::default()).await?;
        let mut policies = Vec::new();
        for number in 0..size.models {
            for name in size.granted(number) {
                policies.push(vec![name, model(number), "call".to_owned()]);
            }
        }
        enforcer.add_policies(policies).await?;
        for name in size.callers_groups() {
            enforcer.add_role_for_user("ann", &name, None).await?;
        }
        Ok::<_, Failure>(enforcer)
    })?;
    let granted = model(size.asked());
    Ok(Box::new(move |allowed| {
        let object = if allowed { granted.as_str() } else { OTHER };
        Ok(enforcer.enforce(("ann", object, "call"))?)
    }))
}

/// The policy indexes the grants by model and group, so that a decision is a look-up.
fn regorus(size: Size) -> Result<Decide, Failure> {
    let policy = "package access\nimport rego.v1\ndefault allow := false\nallow if {\n  some name in input.groups\n  input.action in data.grants[input.model][name]\n}\n";
    let mut grants = serde_json::Map::new();
    for number in 0..size.models {
        let actions = ["list", "read", "embed", "generate", "predict"];
        let named = size
            .granted(number)
            .map(|name| (name, serde_json::json!(actions)));
        grants.insert(model(number), serde_json::Value::Object(named.collect()));
    }
    let mut engine = Engine::new();
    engine.add_policy("access.rego".to_owned(), policy.to_owned())?;
    engine.add_data(Value::from_json_str(
        &serde_json::json!({"grants": grants}).to_string(),
    )?)?;
    let groups: Vec<String> = size.callers_groups().collect();
    let input = |model: &str| {
        let input = serde_json::json!({"groups": groups, "model": model, "action": "generate"});
        Value::from_json_str(&input.to_string())
    };
    let (granted, other) = (input(&model(size.asked()))?, input(OTHER)?);
    Ok(Box::new(move |allowed| {
        let input = if allowed { &granted } else { &other };
        engine.set_input(input.clone());
        let answer = engine.eval_rule("data.access.allow".to_owned())?;
        Ok(answer == Value::from(true))
    }))
}
