use super::*;

fn lines(text: &str) -> Vec<usize> {
    let error = Surface::from_toml("x", text).unwrap_err();
    error
        .problems()
        .iter()
        .map(|(position, _)| position.line)
        .collect()
}

#[test]
fn the_surfaces_of_this_crate_are_well_formed() {
    assert_eq!(openai().routes().len(), 104);
    assert_eq!(open_inference().routes().len(), 31);
    assert_eq!(openai().dialect(), Dialect::OpenAi);
    assert_eq!(open_inference().name(), "open-inference");
}

#[test]
fn reports_every_problem_with_its_line() {
    let text = r#"
dialect = "soap"
secondary = ["json:model"]
routes = [
  { method = "get", path = "/a", action = "list", model = "server" },
  { method = "GET", path = "/b//c", action = "list", model = "server" },
  { method = "GET", path = "/c", action = "fly", model = "server" },
  { method = "GET", path = "/d", action = "list" },
  { method = "GET", path = "/e", action = "list", model = "path:x" },
  { method = "GET", path = "/f", action = "list", model = "server", on_missing = "maybe" },
  { method = "GET", path = "/g/{x}", action = "public" },
  { method = "GET", path = "/g/{y}", action = "public" },
]
"#;
    assert_eq!(lines(text), [2, 3, 5, 6, 7, 8, 9, 10, 12]);
    let message = Surface::from_toml("x", text).unwrap_err().to_string();
    assert!(
        message.contains("12:3: `/g/{y}` overlaps with `/g/{x}` of line 11"),
        "{message}"
    );
}

#[test]
fn refuses_locations_that_a_route_cannot_have() {
    let row = |rest: &str| {
        format!(
            "dialect = \"problem\"\n[[routes]]\nmethod = \"POST\"\npath = \"/p/{{x}}\"\naction = \"predict\"\n{rest}"
        )
    };
    let rows = [
        ("model = \"path:x\"", true),
        ("model = \"path:x+x\"", true),
        ("model = \"path:y\"", false),
        ("model = \"json:/model\"", true),
        ("model = \"json:/model|form:model|server\"", true),
        ("model = \"json:model\"", false),
        ("model = \"json:/\"", false),
        ("model = \"query:\"", false),
        ("model = \"cookie:model\"", false),
        ("model = \"header:x-model\"", true),
        ("model = \"ws:/model\"", true),
        ("model = \"jsonl:/body/model\"", true),
        ("model = \"opaque:file\"", true),
        ("model = \"opaque:\"", false),
        ("model = \"\"", false),
        ("model = \"pb:1\"", false),
        ("model = \"pb:1\"\ngrpc = true", true),
        ("model = \"pb:1.2\"\ngrpc = true", true),
        ("model = \"pb:0\"\ngrpc = true", false),
        ("model = \"pb:536870912\"\ngrpc = true", false),
        ("model = \"json:/model\"\ngrpc = true", false),
        (
            "model = \"pb:1\"\nversion = \"pb-stream:2\"\ngrpc = true",
            false,
        ),
        ("model = \"path:x\"\non_missing = \"server:fly\"", false),
        (
            "model = \"path:x\"\nalso = [{ action = \"approve\", model = \"server\" }]",
            false,
        ),
        ("model = \"path:x\"\nmodle = \"x\"", false),
    ];
    for (rest, accepted) in rows {
        assert_eq!(
            Surface::from_toml("x", &row(rest)).is_ok(),
            accepted,
            "{rest}"
        );
    }
}

#[test]
fn a_text_that_is_no_toml_has_one_problem_with_its_line() {
    assert_eq!(lines("dialect = \"problem\"\nroutes = [\n"), [2]);
    assert_eq!(lines("dialect = \"problem\"\n\nrows = []\n"), [1, 3]);
}
