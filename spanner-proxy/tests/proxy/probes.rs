//! What probes, scrapers and clients without a token see.

use http::Request;
use serde_json::json;

use crate::support::{Model, Stage, ask, chat, get, openai, prompt, until};

#[tokio::test]
async fn readiness_shows_the_state_of_each_part() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve(&full(&model.url)).await;
    assert_eq!(get(&service, "/spanner/live").await.status, 200);
    let ready = until(async || {
        let reply = get(&service, "/spanner/ready").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    let ready = ready.json();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["issuers"][0]["name"], "corp");
    assert_eq!(ready["issuers"][0]["keys"], "fresh");
    assert_eq!(ready["access"]["state"], "current");
    assert_eq!(ready["ledger"]["state"], "storing");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_makes_the_proxy_unready() {
    let (mut stage, model) = (Stage::set().await, Model::start("model").await);
    let token = stage.token("alice", &["support"]);
    stage.take_down_provider();
    let service = stage.serve_before(&model.url).await;
    let reply = get(&service, "/spanner/ready").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["issuers"][0]["ready"], false);
    assert_eq!(get(&service, "/spanner/live").await.status, 200);
    let reply = ask(chat(&service, &token), prompt()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("spanner-fault"), "guard_unavailable");
    assert!(model.seen().is_empty());
    service.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_count_calls_and_failures() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve(&full(&model.url)).await;
    let token = stage.token("alice", &["support"]);
    ask(chat(&service, &token), prompt()).await;
    let page = get(&service, "/spanner/metrics").await;
    assert!(page.header("content-type").starts_with("text/plain"));
    let name = model.url.trim_start_matches("http://");
    for line in [
        "spanner_decisions_total{service=\"spanner-proxy\",environment=\"production\",surface=\"openai\",issuer=\"corp\",model=\"acme/sentiment\",action=\"generate\",effect=\"allow\",reason=\"granted\"}",
        &format!(
            "spanner_upstream_seconds_bucket{{upstream=\"{name}\",status=\"2xx\",le=\"300\"}} 1"
        ),
        "spanner_issuer_ready{issuer=\"corp\"} 1",
        "spanner_connections ",
        "spanner_stale{what=\"access\"} 0",
        "spanner_ledger_failing 0",
        "spanner_ledger_signed_entries ",
        "spanner_ledger_entries ",
    ] {
        assert!(page.body.contains(line), "{line} is not in\n{}", page.body);
    }
    assert!(!page.body.contains("alice"));
    let described = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    let of = |word: &str| -> Vec<String> {
        let lines = page.body.lines().filter(|line| line.starts_with(word));
        lines.filter_map(described).collect()
    };
    assert!(!of("# TYPE ").is_empty());
    assert_eq!(of("# HELP "), of("# TYPE "), "each metric has its help");
    service.stop().await.unwrap();
}

/// With all that probes and metrics can say, for everybody.
fn full(url: &str) -> String {
    format!("public_probes = \"full\"\n{}", openai(url))
}

#[tokio::test]
async fn public_probes_reveal_no_names_or_addresses() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let ship = "[[ship]]\nto = \"jsonl\"\nname = \"siem\"\nfile = \"out.jsonl\"\n";
    let lines = format!(
        "{}[ledger]\ncheckpoints = \"notes\"\n{ship}",
        openai(&model.url)
    );
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    assert_eq!(ask(chat(&service, &token), prompt()).await.status, 200);
    let address = model.url.trim_start_matches("http://");
    let (issuer, folder) = (stage.idp.issuer(), stage.folder.path().to_str().unwrap());
    for path in ["/spanner/ready", "/spanner/metrics", "/spanner/live"] {
        let page = get(&service, path).await.body;
        for name in [
            "acme/sentiment",
            address,
            issuer,
            "corp",
            "siem",
            folder,
            "alice",
        ] {
            assert!(!page.contains(name), "{path} says {name}:\n{page}");
        }
    }
    let ready = get(&service, "/spanner/ready").await.json();
    assert_eq!(ready["issuers"][0]["keys"], "fresh");
    assert_eq!(ready["ship"][0]["state"], "shipping");
    let page = get(&service, "/spanner/metrics").await.body;
    for line in [
        "spanner_decisions_total{",
        "spanner_upstream_seconds_bucket{status=\"2xx\",",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_missing_segment_makes_the_proxy_unready() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let service = stage.serve_before(&model.url).await;
    let ready = async || get(&service, "/spanner/ready").await;
    until(async || (ready().await.status == 200).then_some(())).await;
    let segment = stage.path("ledger/00000000000000000000.seg");
    let away = stage.path("segment");
    std::fs::rename(&segment, &away).unwrap();
    let reply = ready().await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["ledger"]["state"], "failing");
    let page = get(&service, "/spanner/metrics").await.body;
    assert!(page.contains("spanner_ledger_failing 1"), "{page}");
    std::fs::rename(&away, &segment).unwrap();
    until(async || (ready().await.status == 200).then_some(())).await;
    service.stop().await.unwrap();
}

#[tokio::test]
async fn probes_are_served_at_the_admin_address_if_configured() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!("admin_listen = \"127.0.0.1:0\"\n{}", openai(&model.url));
    let service = stage.serve(&lines).await;
    assert_eq!(get(&service, "/spanner/ready").await.status, 401);
    let admin = service.admin_address().unwrap();
    for (path, status) in [
        ("/spanner/live", 200),
        ("/spanner/metrics", 200),
        ("/v1/models", 404),
    ] {
        let reply = ask(Request::get(format!("http://{admin}{path}")), "").await;
        assert_eq!(reply.status, status, "{path}");
    }
    let reply = ask(Request::get(format!("http://{admin}/spanner/ready")), "").await;
    assert_eq!(reply.json()["issuers"][0]["name"], "corp");
    let reply = ask(Request::post(format!("http://{admin}/spanner/live")), "").await;
    assert_eq!(reply.status, 405);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn clients_without_a_token_learn_where_to_get_one() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!(
        "public_origin = \"https://models.example.com\"\n{}host = \"models.example.com\"\n",
        openai(&model.url)
    );
    let service = stage.serve(&lines).await;
    let place = "/.well-known/oauth-protected-resource";
    // Whatever host the caller names, upstream or not.
    for host in ["models.example.com", "other.example.com"] {
        let address = format!("http://{}{place}", service.address());
        let reply = ask(Request::get(address).header("host", host), "").await;
        assert_eq!(reply.status, 200, "{host}");
        let says = reply.json();
        assert_eq!(says["resource"], "https://models.example.com");
        assert_eq!(says["authorization_servers"], json!([stage.idp.issuer()]));
    }
    let reply = ask(chat(&service, "x").header("host", "models.example.com"), "").await;
    let challenge = reply.header("www-authenticate");
    let named = format!("resource_metadata=\"https://models.example.com{place}\"");
    assert!(challenge.contains(&named), "{challenge}");
    service.stop().await.unwrap();
}
