//! What a guard is put together from.

use spanner_core::testing::MemorySink;
use spanner_core::{Authorize, Environment, ModelName, Question, Spelling, Verdicts};
use spanner_tower::{GuardBuilder, GuardLayer, Problem, surface};

use crate::support::{Book, Names};

fn builder() -> GuardBuilder {
    GuardLayer::builder(Names, Book, MemorySink::new())
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = builder()
        .danger()
        .exempt("/healthz")
        .danger()
        .exempt("GET healthz")
        .build()
        .unwrap_err();
    assert_eq!(
        error.problems(),
        [
            Problem::NoEnvironment,
            Problem::NoSurface,
            Problem::Exempt("/healthz".to_owned()),
            Problem::Exempt("GET healthz".to_owned()),
        ]
    );
    let text = error.to_string();
    assert!(
        text.contains("call `.environment(..)`") && text.contains("`GET /path`"),
        "{text}"
    );
}

#[test]
fn surfaces_that_overlap_are_a_problem() {
    let error = builder()
        .environment("staging".parse().unwrap())
        .surface(surface::openai())
        .surface(surface::openai())
        .build()
        .unwrap_err();
    assert!(matches!(error.problems(), [Problem::Surfaces(text)] if text.contains("overlaps")));
}

#[test]
fn exempted_routes_are_exact() {
    for (route, good) in [
        ("GET /healthz", true),
        ("grpc.health.v1.Health/Check", true),
        ("GET /a//b", false),
        ("GET /a%2Fb", false),
        ("GET /a?b", false),
        ("/grpc.health.v1.Health/Check", false),
        ("GET /*", false),
        ("GET ^/health", false),
        ("GET /health(z)?", false),
        ("GET /{file}", false),
        ("G@T /healthz", false),
        ("", false),
    ] {
        let built = builder()
            .environment("staging".parse().unwrap())
            .surface(surface::openai())
            .danger()
            .exempt(route)
            .build();
        assert_eq!(built.is_ok(), good, "{route}");
    }
}

/// Says what it was told of surfaces, as far as they read `Gemma3` otherwise.
struct Particular;

impl Authorize for Particular {
    fn authorize(&self, questions: &[Question<'_>]) -> Verdicts {
        Book.authorize(questions)
    }

    fn learn_spellings(
        &self,
        environment: &Environment,
        spellings: &[Spelling],
    ) -> Result<(), Vec<String>> {
        let name = ModelName::new("Gemma3").unwrap();
        let folding = spellings.iter().filter(|it| !it.keeps(&name));
        let told = folding.map(|it| format!("{environment} {} {:?}", it.surface(), it.read(&name)));
        let told: Vec<String> = told.collect();
        match told.is_empty() {
            true => Ok(()),
            false => Err(told),
        }
    }
}

#[test]
fn the_access_learns_how_surfaces_read_names() {
    let build = |surface: &str| {
        let access = std::sync::Arc::new(Particular);
        GuardLayer::builder(Names, access, MemorySink::new())
            .environment("staging".parse().unwrap())
            .surface(surface::named(surface).unwrap())
            .build()
    };
    assert!(build("openai").is_ok());
    assert_eq!(
        build("ollama").unwrap_err().problems(),
        [Problem::Name("staging ollama [\"gemma3\"]".to_owned())]
    );
}

#[test]
fn a_default_model_is_one_that_some_request_is_about() {
    let build = |model: &str| {
        let surface = surface::named("ollama").unwrap();
        builder()
            .environment("staging".parse().unwrap())
            .surface(surface.default_model(model.parse().unwrap()))
            .build()
    };
    assert!(build("gemma3").is_ok());
    let text = build("Gemma3:latest").unwrap_err().to_string();
    assert!(
        text.contains("is read as `gemma3` there: write that"),
        "{text}"
    );
}
