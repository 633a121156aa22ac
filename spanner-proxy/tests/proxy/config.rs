//! Every problem of a configuration, with its place.

use std::path::Path;

use spanner_proxy::Loaded;
use spanner_proxy::config::{Config, reference};

use crate::support::Stage;

/// Checks the problems of a file, each as `line:column: what; advice`, by beginnings.
async fn check(text: &str, expected: &[&str]) {
    let stage = Stage::set().await;
    stage.write("spanner.toml", text.trim_start());
    let path = stage.path("spanner.toml");
    let problems = Loaded::read(&path).map(|_| ()).unwrap_err();
    let name = format!("{}:", path.display());
    let folder = format!("{}/", stage.folder.path().display());
    let found: Vec<String> = problems
        .all()
        .iter()
        .map(|problem| problem.to_string().replace(&name, "").replace(&folder, ""))
        .collect();
    for line in expected {
        let is_there = found.iter().any(|problem| problem.starts_with(line));
        assert!(is_there, "{line}\nis not among\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
}

#[tokio::test]
async fn all_problems_are_reported_at_once() {
    let text = r#"
listen = "8080"
enviroment = "production"
public_origin = "models.example.com"

[[issuer]]
name = "corp"
url = "http://id.example.com"
audiences = ["models"]
algorithms = ["HS256"]
max_token_age = "soon"

[[issuer]]
url = "https://id.example.net"

[ledger]
durability = "forever"

[[upstream]]
surface = "opemai"
url = "127.0.0.1:9000"
path_prefix = "hub"

[[upstream]]
surface = ["openai", "missing.toml"]
url = "http://127.0.0.1:9000"
host = "a b"
environment = "production"
model = "no model"
credential = { env = "SPANNER_PROXY_NOT_SET" }
response_timeout = "long"
max_requests = 0
idle_timeout = 1

[limits]
idle = "a minute"
requests_per_caller = "many"
patience = "1s"
"#;
    let expected = [
        "1:10: `listen`: ",
        "2:1: unknown key `enviroment`; did you mean `environment`?",
        "7:7: issuer `corp`, `url`: \"http://id.example.com\" is no `https` URL ",
        "7:7: issuer `corp`, `url`: `http://id.example.com` must be https; ",
        "9:14: issuer `corp`, `algorithms`: \"HS256\" is no asymmetric signature algorithm; ",
        "10:17: `max_token_age`: `soon` is not a duration; write one such as ",
        "12:1: the key `name` is missing; add `name = \"corp\"`",
        "16:14: `durability` cannot be `forever`; write one of `power_loss`",
        "18:1: the upstream serves no environment; add ",
        "19:11: no surface is called `opemai`; did you mean `openai`?",
        "20:7: `127.0.0.1:9000` is no address of a server; ",
        "21:15: `hub` is no prefix of paths; ",
        "24:22: the surface `missing.toml` cannot be read: ",
        "26:8: `a b` is no host; ",
        "28:9: `model`: ",
        "29:14: `credential`: the variable `SPANNER_PROXY_NOT_SET` is not set",
        "30:20: `response_timeout`: `long` is not a duration; ",
        "31:16: `max_requests` must be a number from 1; ",
        "32:16: `idle_timeout` must be a duration, not a value of type integer; ",
        "35:8: `idle`: `a minute` is not a duration; ",
        "36:23: `requests_per_caller` must be a number from 1; ",
        "37:1: unknown key `patience`; the keys here are `connections_per_peer`, ",
    ];
    check(text, &expected).await;
}

#[tokio::test]
async fn files_that_the_configuration_names_are_loaded() {
    let text = r#"
public_origin = "ftp://models.example.com"
[[issuer]]
name = "corp"
url = "https://id.example.com"
[access]
dir = "broken"
[revocations]
file = "revocations.toml"
[[upstream]]
surface = "broken.toml"
url = "http://127.0.0.1:9000"
environment = "production"
"#;
    let stage = Stage::set().await;
    stage.write("broken/organization.toml", "environments = 7\n");
    stage.write("revocations.toml", "[[token]]\n");
    stage.write("broken.toml", "dialect = \"none\"\nroutes = []\n");
    stage.write("spanner.toml", text.trim_start());
    let problems = Loaded::read(&stage.path("spanner.toml")).map(|_| ());
    let found = problems.unwrap_err().to_string();
    for line in [
        "/spanner.toml:2:1: issuer `corp`: ",
        "/revocations.toml:1:1: ",
        "/broken.toml:1:11: `none` is no dialect",
        "/broken/organization.toml:1:16: `environments` must be ",
    ] {
        assert!(found.contains(line), "{line}\nis not in\n{found}");
    }
}

#[tokio::test]
async fn conflicting_parts_are_reported() {
    let upstream = "surface = [\"openai\", \"openai\"]\nurl = \"http://127.0.0.1:9000\"\n";
    let text = format!(
        "environment = \"prod\"\npublic_origin = \"http://models.example.com\"\n\
         [[issuer]]\nname = \"corp\"\nurl = \"https://id.example.com\"\naudiences = \"models\"\n\
         [[upstream]]\n{upstream}"
    );
    let expected = [
        "2:17: the protected resource cannot be published: ",
        "7:1: the access knows no environment `prod`; write one of staging, production",
        "8:11: the surfaces do not go together: ",
    ];
    check(&text, &expected).await;
}

#[tokio::test]
async fn missing_parts_are_reported() {
    let expected = [
        "1:1: no issuer is given, so that nobody could call; ",
        "1:1: no upstream is given, so that there is nothing to call; ",
    ];
    check("", &expected).await;
    check("listen = \n[[issuer]\n", &["1:10: ", "2:10: "]).await;
}

#[tokio::test]
async fn an_issuer_has_every_key_of_a_file_of_providers() {
    let stage = Stage::set().await;
    stage.write("keys.json", &stage.idp.jwks());
    stage.write("secret", "s\n");
    let text = r#"
environment = "production"
[[issuer]]
name = "corp"
url = "https://id.example.com"
jwks_file = "keys.json"
audiences = ["models", "api://models"]
groups = [["realm_access", "roles"], "teams"]
algorithms = ["RS256", "ES256"]
max_token_age = "30d"
clock_skew = "60s"
profile = "rfc9068"
introspection = { url = "https://id.example.com/ask", client_id = "guard", client_secret_file = "secret" }
[[issuer]]
name = "okta"
preset = "okta"
url = "https://acme.okta.com/oauth2/default"
audiences = "models"
[[upstream]]
surface = "openai"
url = "https://models.example.com/base/"
"#;
    stage.write(
        "access/organization.toml",
        "environments = [\"production\"]\ngroups = []\n",
    );
    stage.write(
        "access/models/acme/sentiment.toml",
        "model = \"acme/sentiment\"\nowner = \"user:corp/alice\"\n",
    );
    stage.write("spanner.toml", text);
    let loaded = Loaded::read(&stage.path("spanner.toml")).unwrap();
    assert_eq!(loaded.config.issuers.len(), 2);
    assert_eq!(loaded.config.upstreams[0].origin.path, "/base");
}

#[tokio::test]
async fn a_shipment_has_one_receiver_that_fits_its_format() {
    let text = r#"
environment = "production"
[[issuer]]
name = "corp"
url = "https://id.example.com"
audiences = ["models"]
[[upstream]]
surface = "openai"
url = "http://127.0.0.1:9000"
[[ship]]
to = "splunk"
[[ship]]
to = "syslog"
url = "http://siem.example.com"
[[ship]]
to = "ocsf"
file = "a"
stdout = true
[[ship]]
to = "jsonl"
name = "../x"
url = "siem"
[[ship]]
to = "syslog"
address = "siem"
[[ship]]
to = "otlp"
file = "b"
[[ship]]
name = "good"
to = "ocsf"
file = "c"
batch = 0
[[ship]]
name = "good"
to = "jsonl"
url = "https://siem.example.com"
credential = { env = "SPANNER_PROXY_NOT_SET" }
[[ship]]
name = "good"
to = "jsonl"
stdout = true
[[ship]]
name = "plain"
to = "syslog"
address = "siem.example.com:601"
ca = "ca.pem"
[[ship]]
name = "tls"
to = "syslog"
address = "tls://siem.example.com:6514"
ca = "nowhere.pem"
[[ship]]
name = "nobody"
to = "jsonl"
stdout = true
ca = "ca.pem"
[[ship]]
name = "one"
to = "ocsf"
file = "d"
[[ship]]
name = "other"
to = "jsonl"
file = "d"
[[ship]]
name = "silent"
to = "jsonl"
stdout = false
"#;
    let expected = [
        "10:6: `to` cannot be `splunk`; write one of `ocsf`, `jsonl`, `syslog`, `otlp`",
        "11:1: syslog goes to an `address`; give exactly one of `address`",
        "11:1: the key `address` is missing; add `address = ",
        "14:1: it goes to one of `file`, `stdout` and `url`; give exactly one of ",
        "20:8: `../x` cannot name a cursor; write letters",
        "21:7: `siem` is no address of a server; ",
        "24:11: `siem` is no host with a port; ",
        "25:1: OTLP goes to the `url` of a collector; ",
        "32:9: `batch` must be a number from 1; ",
        "34:8: another `[[ship]]` is called `good` as well; ",
        "37:14: `credential`: the variable `SPANNER_PROXY_NOT_SET` is not set",
        "39:8: another `[[ship]]` is called `good` as well; ",
        "46:6: `ca` is for syslog over TLS; ",
        "51:6: `ca`: `",
        "56:6: `ca` is for syslog over TLS; ",
        "64:8: another `[[ship]]` writes to ",
        "68:10: `stdout = false` sends nothing anywhere; ",
    ];
    check(text, &expected).await;
}

#[tokio::test]
async fn checkpoints_go_to_files_servers_and_standard_output() {
    let text = r#"
environment = "production"
[ledger]
checkpoints = [
    "-",
    "a",
    "ftp://witness.example.com",
    7,
    { url = "https://witness.example.com/", method = "patch", required = "yes" },
    { method = "put", file = "a" },
    { url = "https://me@witness.example.com/", credential = { env = "SPANNER_PROXY_NOT_SET" } },
]
[[issuer]]
name = "corp"
url = "https://id.example.com"
audiences = ["models"]
[[upstream]]
surface = "openai"
url = "http://127.0.0.1:9000"
"#;
    let expected = [
        "6:5: `ftp://witness.example.com` is no address of a server; ",
        "7:5: `checkpoints` must be a string, not a value of type integer; ",
        "8:54: `method` cannot be `patch`; write one of `post`, `put`",
        "8:74: `required` must be `true` or `false`, not a value of type string; ",
        "9:5: the key `url` is missing; add `url = ",
        "9:23: unknown key `file`; ",
        "10:13: `https://\u{2026}@witness.example.com/` is no address of a server; ",
        "10:61: `credential`: the variable `SPANNER_PROXY_NOT_SET` is not set",
    ];
    check(text, &expected).await;
}

#[tokio::test]
async fn retention_of_a_ledger_has_a_minimum() {
    for (line, problem) in [
        (
            "keep_for = \"5m\"",
            "3:12: the ledger is kept for less than an hour; ",
        ),
        (
            "keep_for = \"a year\"",
            "3:12: `keep_for`: `a year` is not a duration; ",
        ),
        (
            "keep_bytes = 7",
            "3:14: less than a mebibyte of the ledger is kept; ",
        ),
        (
            "keep_bytes = \"all\"",
            "3:14: `keep_bytes` must be a size; ",
        ),
    ] {
        let text = format!(
            "environment = \"production\"\n[ledger]\n{line}\n[[issuer]]\nname = \"corp\"\nurl = \"https://id.example.com\"\naudiences = [\"models\"]\n[[upstream]]\nsurface = \"openai\"\nurl = \"http://127.0.0.1:9000\"\n"
        );
        check(&text, &[problem]).await;
    }
}

#[tokio::test]
async fn old_names_of_keys_are_notes_and_no_problems() {
    let stage = Stage::set().await;
    let text = "environment = \"production\"\n[[issuer]]\nname = \"corp\"\nissuer = \"https://id.example.com\"\naudience = \"models\"\n[[upstream]]\nsurface = \"openai\"\nurl = \"http://127.0.0.1:9000\"\n";
    stage.write("spanner.toml", text);
    let loaded = Loaded::check(&stage.path("spanner.toml")).unwrap();
    let notes = loaded.notes();
    assert!(
        notes[0].ends_with(
            "spanner.toml:4:1: `issuer` is called `url` now; rename it; the old name still works"
        ),
        "{notes:?}"
    );
    assert!(notes[1].contains("spanner.toml:5:1: `audience` is called `audiences` now; "));
}

#[test]
fn reading_without_secrets_resolves_no_credential() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spanner.toml");
    let text = r#"
environment = "production"
[ledger]
checkpoints = { url = "https://witness.example.com", credential = { env = "SPANNER_PROXY_NOT_SET" } }
[[issuer]]
name = "corp"
url = "https://id.example.com"
audiences = ["models"]
jwks_file = "missing.json"
introspection = { client_id = "guard", client_secret_env = "SPANNER_PROXY_NOT_SET" }
[[ship]]
to = "syslog"
address = "tls://siem.example.com:6514"
ca = "missing.pem"
[[upstream]]
surface = "openai"
url = "http://127.0.0.1:9000"
credential = { file = "missing" }
"#;
    std::fs::write(&file, text).unwrap();
    let (config, problems) = Config::read_without_secrets(&file);
    assert!(problems.is_empty(), "{problems}");
    assert!(config.unwrap().upstreams[0].credential.is_none());
    let (_, problems) = Config::read(&file);
    assert_eq!(problems.all().len(), 3, "{problems}");
}

/// Compares a generated file with the one in the repository, or writes it.
fn generated(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("SPANNER_GENERATE").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == text,
        "{path} is not what the keys say; write it with `SPANNER_GENERATE=1 cargo test --workspace --test proxy -- the_reference`"
    );
}

#[test]
fn the_reference_has_every_key() {
    generated("../docs/src/configuration.md", &reference::markdown());
}

#[test]
fn the_reference_has_a_schema_for_editors() {
    generated("schemas/proxy.schema.json", &reference::schema());
}

#[test]
fn the_reader_takes_and_refuses_the_rows_of_the_schema() {
    let rows: toml::Table = include_str!("../../schemas/rows.toml").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spanner.toml");
    for row in rows["row"].as_array().unwrap() {
        let text = row["text"].as_str().unwrap();
        std::fs::write(&file, text).unwrap();
        let (_, problems) = Config::read_without_secrets(&file);
        let good = row.get("good").is_some();
        assert_eq!(problems.is_empty(), good, "{text}\n{problems}");
    }
}
