//! Providers as files say them.

use serde_json::json;
use spanner_tower::bearer::ProvidersError;
use spanner_tower::{Bearer, Issuer};

use crate::{caller, idp, token, who};

fn problems(text: &str) -> Vec<String> {
    let error: ProvidersError = Issuer::from_toml(text).map(|_| ()).unwrap_err();
    error.problems().iter().map(ToString::to_string).collect()
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
    let mut found = problems(
        r#"
        [providers.corp]
        preset = "keycloack"
        isuer = "https://id.example.com"
        audience = 7
        max_token_age = "a month"
        clock_skew = "none"
        profile = "strict"
        kind = [{ kind = "robot", when = { exists = "/a" } }]
        groups = [{ as = "strings" }]

        [providers.other]
        issuer = "https://id.example.com"
        issuer_template = "https://{tid}.example.com"
        jwks = "{}"
        jwks_file = "/nowhere/keys.json"
        delegation = "no"
        "#,
    );
    found.sort();
    let starts = [
        "`providers.corp.audience`: ",
        "`providers.corp.clock_skew`: it cannot be `none`",
        "`providers.corp.groups`: missing field `at`",
        "`providers.corp.issuer`: it is missing",
        "`providers.corp.isuer`: there is no such member",
        "`providers.corp.kind`: unknown variant `robot`",
        "`providers.corp.max_token_age`: \"a month\" is no span",
        "`providers.corp.preset`: there is no preset \"keycloack\"; there are oidc, ",
        "`providers.corp.profile`: \"strict\" is not `rfc9068`",
        "`providers.other.delegation`: ",
        "`providers.other.issuer`: there is an `issuer_template` too",
        "`providers.other.jwks_file`: `/nowhere/keys.json` cannot be read",
        "`providers.other.jwks_url`: give one of",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem} instead of {start}");
    }
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
        ("", "there is none"),
        ("[providers]", "there is none"),
        ("[provider.corp]", "unknown field `provider`"),
        ("[providers.corp\n", "line 1"),
        ("providers = 1", "invalid type"),
        (&"#".repeat((1 << 20) + 1), "at most 1048576"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|it| it.contains(due)), "{due}: {found:?}");
    }
}
