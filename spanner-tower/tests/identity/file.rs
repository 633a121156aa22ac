//! Issuers as files describe them.

use std::path::Path;

use serde_json::json;
use spanner_toml::{Known, Problems, Source, Toml};
use spanner_tower::bearer::IssuerConfig;
use spanner_tower::{Bearer, Issuer};

use crate::{caller, idp, token, who};

fn problems(text: &str) -> Vec<String> {
    let error: Problems = Issuer::from_toml(text).map(|_| ()).unwrap_err();
    error.all().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_file_is_enough_for_any_provider() {
    let providers = [
        "https://kc.acme.example/realms/ml",
        "https://login.acme.example/t1",
        "https://id.acme.example",
        "https://token.actions.githubusercontent.com",
    ]
    .map(idp);
    let [keycloak, tenant, own, github] = &providers;
    let text = format!(
        r#"
        [providers.corp]
        preset   = "keycloak"
        issuer   = "https://kc.acme.example/realms/ml"
        audience = ["models"]
        jwks     = '{}'

        [providers.many]
        issuer_template       = "https://login.acme.example/{{tid}}"
        issuer_template_claim = "/org"
        tenants               = ["t1"]
        audience              = "models"
        subject_template      = "{{/org}}/{{/sub}}"
        jwks                  = '{}'

        [providers.ours]
        issuer        = "https://id.acme.example"
        audience      = "models"
        subject       = ["/employee_id"]
        kind          = [{{ kind = "service", when = {{ prefix = ["/employee_id", "svc-"] }} }}]
        default_kind  = "user"
        roles         = [{{ at = "/apps/*/roles", prefix = "{{1}}:" }}]
        max_token_age = "12h"
        clock_skew    = "10s"
        jwks          = '{}'

        [providers.ci]
        preset   = "github-actions"
        tenants  = "65"
        audience = "models"
        jwks     = '{}'
        "#,
        keycloak.jwks(),
        tenant.jwks(),
        own.jwks(),
        github.jwks()
    );
    let issuers = Issuer::from_toml(&text).unwrap();
    let bearer = Bearer::builder().issuers(issuers).build().unwrap();

    let person = token(keycloak)
        .sub("f1")
        .claim("typ", "Bearer")
        .claim("sid", "s1");
    let person = person.claim("realm_access", json!({ "roles": ["admin"] }));
    let person = caller(&bearer, person).await.unwrap();
    assert_eq!(person.to_string(), "user:corp/f1");
    let roles: Vec<_> = person
        .subject()
        .roles
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(roles, ["role:corp/realm:admin"]);

    let one = token(tenant).sub("a").claim("org", "t1");
    assert_eq!(who(&bearer, one).await, "user:many/t1/a");

    let robot = token(own).claim("employee_id", "svc-7");
    let robot = robot.claim("apps", json!({ "ml:x": { "roles": ["run"] } }));
    let robot = caller(&bearer, robot).await.unwrap();
    assert_eq!(robot.to_string(), "service:ours/svc-7");
    assert_eq!(
        robot
            .subject()
            .roles
            .iter()
            .map(|it| it.name.as_str())
            .collect::<Vec<_>>(),
        ["ml%3Ax:run"]
    );

    let job = |owner: &str| {
        token(github)
            .sub("repo:acme/m:ref:refs/heads/main")
            .claim("repository_id", "74")
            .claim("repository_owner_id", owner)
    };
    let ours = caller(&bearer, job("65")).await.unwrap();
    assert_eq!(
        (ours.to_string(), ours.origin()),
        ("service:ci/65/74".to_owned(), Some("pipeline"))
    );
    assert_eq!(who(&bearer, job("66")).await, "token.iss");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let found = problems(
        r#"
[[issuer]]
name = "corp"
preset = "keycloack"
isuer = "https://id.example.com"
audiences = 7
max_token_age = "a month"
clock_skew = "none"
profile = "strict"
kind = [{ kind = "robot", when = { exists = "/a" } }]
groups = [{ as = "strings" }]
introspection = { client_id = "guard", auth = "bearer" }

[[issuer]]
name = "other"
url = "https://id.example.com"
issuer_template = "https://{tid}.example.com"
jwks = "{}"
jwks_file = "/nowhere/keys.json"
delegation = "no"

[[issuer]]
url = "https://id.example.net"

[[issuer]]
name = "file"
url = "https://id.example.org"
jwks_file = "/nowhere/keys.json"
"#,
    );
    let starts = [
        "2:1: the key `url` is missing; add the `iss` of the tokens",
        "4:10: `preset`: there is no preset \"keycloack\"; there are oidc, ",
        "5:1: unknown key `isuer`; ",
        "6:13: `audiences` must be a string, not a value of type integer; ",
        "7:17: `max_token_age`: `a month` is not a duration; write one such as ",
        "8:14: `clock_skew`: `none` is not a duration; ",
        "9:11: `profile` cannot be `strict`; write one of `rfc9068`",
        "10:18: `kind`: unknown word `robot`, expected one of ",
        "11:11: `groups`: missing key `at`; ",
        "12:17: the secret of the client comes from one place; give one of ",
        "12:47: `auth` cannot be `bearer`; write one of `basic`, `post`",
        "16:7: there are both `url` and `issuer_template`; ",
        "18:8: the keys come from one place; give one of `jwks_url`, ",
        "19:13: issuer `other`, `jwks_file`: `/nowhere/keys.json` cannot be read",
        "20:14: `delegation` must be `true` or `false`, ",
        "22:1: the key `name` is missing; add `name = \"corp\"`",
        "28:13: issuer `file`, `jwks_file`: `/nowhere/keys.json` cannot be read",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        let start = format!("issuers:{start}");
        assert!(problem.starts_with(&start), "{problem} instead of {start}");
    }
}

#[test]
fn old_spellings_are_read_with_a_hint() {
    let text = "[providers.corp]\nissuer = \"https://id.example.com\"\naudience = \"models\"\nalgs = [\"ES256\"]\n";
    let issuers = Issuer::from_toml(text).unwrap();
    assert_eq!(
        Bearer::builder().issuers(issuers).build().map(|_| ()),
        Ok(())
    );
    let mut hinted = Problems::default();
    let toml = Toml::parse(Source::new("f", text), &mut hinted).unwrap();
    let providers = toml.table(Known::Any, &mut hinted);
    let table = providers.table("providers", &mut hinted).unwrap();
    let table = table.table("corp", &mut hinted).unwrap();
    let _: Option<IssuerConfig> = IssuerConfig::read(table, Path::new(""), &mut hinted);
    let hints: Vec<String> = hinted.hints().iter().map(ToString::to_string).collect();
    assert_eq!(
        hints,
        [
            "f:2:1: `issuer` is called `url` now; rename it; the old name still works",
            "f:3:1: `audience` is called `audiences` now; rename it; the old name still works",
            "f:4:1: `algs` is called `algorithms` now; rename it; the old name still works",
        ]
    );
    let both = problems(
        "[[issuer]]\nname = \"a\"\nurl = \"https://id.example.com\"\naudience = \"a\"\naudiences = \"b\"\n",
    );
    assert_eq!(
        both,
        ["issuers:4:1: `audience` is the old name of `audiences`; remove one of the two"]
    );
}

#[test]
fn what_a_file_asks_for_is_checked_with_all_issuers() {
    let issuers = Issuer::from_toml(
        r#"
        [providers.corp]
        preset = "entra"
        audience = "models"

        [providers.Shouting]
        issuer = "http://id.example.com?x"
        subject = ["/*"]
        "#,
    )
    .unwrap();
    let error = Bearer::builder().issuers(issuers).build().unwrap_err();
    let text = error.to_string();
    for due in [
        "no tenant is listed",
        "no audience",
        "is no `https` URL",
        "`subject`",
        "alias",
    ] {
        assert!(text.contains(due), "{due} in {text}");
    }
}

#[test]
fn a_file_that_is_none_is_told_where() {
    for (text, due) in [
        ("", "issuers:1:1: there is no issuer"),
        ("[providers]", "there is no issuer"),
        (
            "[provider.corp]",
            "issuers:1:2: unknown key `provider`; did you mean `providers`?",
        ),
        ("[providers.corp\n", "issuers:1:16: "),
        ("providers = 1", "issuers:1:13: `providers` must be a table"),
        (&"#".repeat((1 << 20) + 1), "at most 1048576"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|it| it.contains(due)), "{due}: {found:?}");
    }
}
