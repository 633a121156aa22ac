//! Names as the surfaces read them.

use spanner_core::{Authorize as _, Environment, ModelName, Spelling};

use super::{ORGANIZATION, SENTIMENT};
use crate::{Builder, Cases, Cedar, LoadError};

/// A surface that ignores case and takes `:latest` for nothing.
fn folding(name: &str) -> Spelling {
    Spelling::new(name, "folding", |name: &ModelName| {
        let small = name.as_str().to_ascii_lowercase();
        let name = small.strip_suffix(":latest").unwrap_or(&small);
        vec![ModelName::new(name).unwrap()]
    })
}

fn keeping(name: &str) -> Spelling {
    Spelling::new(name, "keeping", |name: &ModelName| vec![name.clone()])
}

/// A surface that applies what stands behind a colon to what stands before it.
fn adapting(name: &str) -> Spelling {
    Spelling::new(name, "adapting", |name: &ModelName| {
        let parts = name.as_str().split(':');
        parts.map(|part| ModelName::new(part).unwrap()).collect()
    })
}

fn place(name: &str) -> Environment {
    Environment::new(name).unwrap()
}

fn builder(spellings: &[(&str, Spelling)]) -> Builder {
    let spellings = spellings.iter().cloned();
    spellings.fold(Cedar::builder(), |builder, (environment, spelling)| {
        builder.spelling(place(environment), spelling)
    })
}

fn load(
    spellings: &[(&str, Spelling)],
    manifest: &str,
    guardrails: &str,
) -> Result<Cedar, LoadError> {
    builder(spellings).from_files([
        ("organization.toml", ORGANIZATION),
        ("models/m.toml", manifest),
        ("policies/g.cedar", guardrails),
    ])
}

/// What is wrong, a line each.
#[track_caller]
fn check(spellings: &[(&str, Spelling)], manifest: &str, guardrails: &str, expected: &[&str]) {
    let found = load(spellings, manifest, guardrails).err();
    let found: Vec<String> = found
        .iter()
        .flat_map(|error| error.problems())
        .map(ToString::to_string)
        .collect();
    assert_eq!(found, expected);
}

fn forbid(id: &str, what: &str) -> String {
    format!("@id(\"{id}\") @reason(\"no\")\nforbid (principal, action, {what};\n")
}

const EVERYWHERE: [&str; 3] = ["development", "staging", "production"];

#[test]
fn a_manifest_is_about_a_name_that_some_request_has() {
    let named = |name: &str| SENTIMENT.replace("acme/sentiment", name);
    let ollama = [("production", folding("ollama"))];
    check(&ollama, &named("gemma3"), "", &[]);
    check(
        &ollama,
        &named("Gemma3:latest"),
        "",
        &[
            "models/m.toml:2:9: no request through the surface `ollama` in `production` is ever about `Gemma3:latest`; write `gemma3`",
        ],
    );
    // Another surface of the same environment has it; one of another environment does not count.
    let both = [
        ("production", folding("ollama")),
        ("production", keeping("openai")),
        ("staging", keeping("openai")),
    ];
    check(&both, &named("Gemma3:latest"), "", &[]);
    let apart = [
        ("production", folding("ollama")),
        ("staging", keeping("openai")),
    ];
    check(
        &apart,
        &named("Gemma3:latest"),
        "",
        &[
            "models/m.toml:2:9: no request through the surface `ollama` in `production` is ever about `Gemma3:latest`; write `gemma3`",
        ],
    );
    // Elsewhere, another guard serves it.
    check(
        &[("development", folding("ollama"))],
        &named("Gemma3:latest"),
        "",
        &[],
    );
    check(
        &[("production", adapting("sglang"))],
        &named("base:lora"),
        "",
        &[
            "models/m.toml:2:9: no request through the surface `sglang` in `production` is ever about `base:lora`; write `base` and `lora`, each on its own",
        ],
    );
}

#[test]
fn a_forbid_holds_however_the_name_is_sent() {
    let ollama: Vec<_> = EVERYWHERE.map(|it| (it, folding("ollama"))).into();
    let both: Vec<_> = EVERYWHERE
        .into_iter()
        .flat_map(|it| [(it, folding("ollama")), (it, keeping("openai"))])
        .collect();
    let on = |id: &str, name: &str| forbid(id, &format!("resource in Spanner::Model::\"{name}\")"));
    let dead =
        "no request through the surface `ollama` is ever about `gemma3:latest`; write `gemma3`";
    check(
        &ollama,
        SENTIMENT,
        &on("a", "gemma3:latest"),
        &[&format!("policies/g.cedar:2:56: {dead}")],
    );
    check(&ollama, SENTIMENT, &on("a", "gemma3"), &[]);
    // The other surface keeps it, and this one would let it through.
    let astray = "the surface `ollama` reads `gemma3:latest` as `gemma3`, which this guardrail does not name; name `gemma3` as well: add a guardrail that says the same of it";
    check(
        &both,
        SENTIMENT,
        &on("a", "gemma3:latest"),
        &[&format!("policies/g.cedar:2:56: {astray}")],
    );
    // With its twin it holds, wherever else the name is needed.
    let twins = on("a", "gemma3:latest") + &on("b", "gemma3");
    check(&both, SENTIMENT, &twins, &[]);
    check(&ollama, SENTIMENT, &twins, &[]);
    // What says less is no twin.
    let less = forbid(
        "b",
        "resource in Spanner::Model::\"gemma3\") when { context.assurance < 2 }",
    );
    check(
        &both,
        SENTIMENT,
        &(on("a", "gemma3:latest") + &less),
        &[&format!("policies/g.cedar:2:56: {astray}")],
    );
    let shadow = on("b", "gemma3").replace("@id", "@mode(\"shadow\") @id");
    check(
        &both,
        SENTIMENT,
        &(on("a", "gemma3:latest") + &shadow),
        &[&format!("policies/g.cedar:2:56: {astray}")],
    );
}

#[test]
fn a_name_is_found_wherever_a_guardrail_has_it() {
    let ollama: Vec<_> = EVERYWHERE.map(|it| (it, folding("ollama"))).into();
    let dead = |text: &str| {
        let error = load(&ollama, SENTIMENT, text).err();
        let found = error.iter().flat_map(|error| error.problems());
        found.map(|it| it.what.clone()).collect::<Vec<_>>()
    };
    let never = ["no request through the surface `ollama` is ever about `Gemma3`"];
    for condition in [
        "resource) when { resource in Spanner::Model::\"Gemma3\" }",
        "resource is Spanner::Endpoint) when { resource.name == \"Gemma3\" }",
        "resource is Spanner::Endpoint) when { \"Gemma3\" == resource.name }",
        "resource is Spanner::Endpoint) unless { [\"Gemma3\", \"m\"].contains(resource.name) }",
    ] {
        assert_eq!(dead(&forbid("a", condition)), never, "{condition}");
        let permit = forbid("a", condition).replace("forbid", "permit");
        assert_eq!(dead(&permit), never, "{condition}");
    }
    assert_eq!(
        dead(&forbid(
            "a",
            "resource == Spanner::Endpoint::\"staging/Gemma3\")"
        )),
        ["no request through the surface `ollama` in `staging` is ever about `Gemma3`"]
    );
    let like = |pattern: &str| {
        let condition =
            format!("resource is Spanner::Endpoint) when {{ resource.name like \"{pattern}\" }}");
        dead(&forbid("a", &condition))
    };
    assert_eq!(like("gemma*"), [""; 0]);
    assert_eq!(like("*"), [""; 0]);
    for pattern in ["Gemma*", "*:latest", "acme/*-V2"] {
        let due = format!(
            "no request through the surface `ollama` is ever about a name like `{pattern}`"
        );
        assert_eq!(like(pattern), [due]);
    }
    // Other texts are no names.
    let tenant = forbid(
        "a",
        "resource) when { context.issuer == \"Gemma3:latest\" }",
    );
    assert_eq!(dead(&tenant), [""; 0]);
}

#[test]
fn a_case_asks_what_somebody_could_ask() {
    let cedar = load(&[("production", folding("ollama"))], SENTIMENT, "").unwrap();
    let case = |environment: &str| {
        let text = format!(
            "[[case]]\ncaller = \"user:corp/ann\"\naction = \"generate\"\nmodel = \"Gemma3\"\nenvironment = \"{environment}\"\nexpect = \"deny\"\n"
        );
        let cases = Cases::from_files([("cases.toml", text)]).unwrap();
        cases.run(&cedar).err().map(|error| error.to_string())
    };
    assert_eq!(
        case("production").as_deref(),
        Some(
            "the cases have a problem:\ncases/cases.toml:4:9: no request through the surface `ollama` in `production` is ever about `Gemma3`; write `gemma3`"
        )
    );
    assert_eq!(case("staging"), None);
    let gemma = ModelName::new("Gemma3").unwrap();
    let unreachable = cedar.check_name(&gemma, None).unwrap_err();
    assert_eq!(unreachable.advice, "write `gemma3`");
    assert_eq!(cedar.check_name(&gemma, Some(&place("staging"))), Ok(()));
}

#[test]
fn a_guard_tells_its_surfaces_and_a_reload_minds_them() {
    let guardrail = forbid("a", "resource in Spanner::Model::\"gemma3:latest\")");
    let cedar = load(&[], SENTIMENT, &guardrail).unwrap();
    let learn = |cedar: &Cedar| cedar.learn_spellings(&place("production"), &[folding("ollama")]);
    let found = learn(&cedar).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("write `gemma3`"), "{found:?}");

    let cedar = load(&[], SENTIMENT, "").unwrap();
    assert_eq!(learn(&cedar), Ok(()));
    assert_eq!(learn(&cedar), Ok(()));
    let files = |guardrail: &str| {
        [
            ("organization.toml", ORGANIZATION.to_owned()),
            ("policies/g.cedar", guardrail.to_owned()),
        ]
    };
    let error = cedar.replace_with(files(&guardrail)).unwrap_err();
    assert!(error.to_string().ends_with("write `gemma3`"), "{error}");
    let right = forbid("a", "resource in Spanner::Model::\"gemma3\")");
    assert_eq!(cedar.replace_with(files(&right)), Ok(()));
}
