//! What a guard is put together from.

use spanner_core::testing::MemorySink;
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
