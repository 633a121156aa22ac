//! Which upstream a request goes to.

use crate::support::{Model, Stage, ask, openai, prompt};

#[tokio::test]
async fn routes_by_host_then_by_the_longest_prefix() {
    let stage = Stage::set().await;
    let names = ["any", "hub", "deep", "host", "host hub", "port"];
    let mut models = Vec::new();
    for name in names {
        models.push(Model::start(name).await);
    }
    let upstream = |index: usize, more: &str| format!("{}{more}\n", openai(&models[index].url));
    let lines: String = [
        upstream(0, ""),
        upstream(1, "path_prefix = \"/hub\""),
        upstream(2, "path_prefix = \"/hub/deep\""),
        upstream(3, "host = \"a.example.com\""),
        upstream(4, "host = \"a.example.com\"\npath_prefix = \"/hub\""),
        upstream(5, "host = \"b.example.com:8443\""),
    ]
    .concat();
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    for (host, prefix, expected) in [
        ("x.example.com", "", "any"),
        ("x.example.com", "/hub", "hub"),
        ("x.example.com", "/hub/deep", "deep"),
        ("x.example.com", "/hubs", "refused"),
        ("x.example.com", "/hub/hub", "refused"),
        ("a.example.com", "", "host"),
        ("A.Example.Com:8080", "", "host"),
        ("a.example.com", "/hub", "host hub"),
        ("a.example.com", "/hub/deep", "refused"),
        ("b.example.com:8443", "", "port"),
        ("b.example.com", "", "any"),
        ("a.example.com.", "", "any"),
    ] {
        let path = format!(
            "http://{}{prefix}/v1/chat/completions?a=%20",
            service.address()
        );
        let request = http::Request::post(path)
            .header("host", host)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let reply = ask(request, prompt()).await;
        let who = match reply.status.as_u16() {
            200 => reply.body.split(" got").next().unwrap(),
            403 => "refused",
            _ => "neither",
        };
        assert_eq!(who, expected, "{host} {prefix}: {reply:?}");
    }
    for model in &models {
        for seen in model.seen() {
            assert_eq!(seen.target, "/v1/chat/completions?a=%20");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn upstreams_with_one_prefix_are_chosen_by_their_routes() {
    let stage = Stage::set().await;
    let (chats, scores) = (Model::start("chats").await, Model::start("scores").await);
    stage.write(
        "scores.toml",
        "dialect = \"problem\"\n[[routes]]\nmethod = \"POST\"\npath = \"/score\"\n\
         action = \"predict\"\nmodel = \"json:/model\"\n",
    );
    let lines = format!(
        "{}[[upstream]]\nsurface = \"scores.toml\"\nurl = \"{}\"\n",
        openai(&chats.url),
        scores.url
    );
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    for (path, status, expected) in [
        ("/v1/chat/completions", 200, "chats got"),
        ("/score", 200, "scores got"),
        ("/neither", 403, ""),
    ] {
        let request =
            crate::support::post(&service, path).header("authorization", format!("Bearer {token}"));
        let reply = ask(request, prompt()).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        let served = reply.body.starts_with(expected);
        assert!(served, "{path}: {reply:?}");
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_without_an_upstream_is_refused_and_recorded() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    let lines = format!("{}host = \"a.example.com\"\n", openai(&model.url));
    let service = stage.serve(&lines).await;
    let token = stage.token("alice", &["support"]);
    for (token, status, fault) in [(&*token, 403, "unknown_route"), ("x", 401, "credential")] {
        let request = crate::support::chat(&service, token).header("host", "b.example.com");
        let reply = ask(request, prompt()).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.header("spanner-origin"), "guard");
        assert_eq!(reply.header("spanner-fault"), fault);
    }
    service.stop().await.unwrap();
    let rows = stage.rows();
    assert_eq!(rows.len(), 2);
    let caller = rows[0].decision.caller.as_ref().unwrap();
    assert_eq!(caller.subject.subject, "alice");
    assert!(model.seen().is_empty());
}

#[tokio::test]
async fn each_upstream_has_its_own_environment_and_model() {
    let (stage, model) = (Stage::set().await, Model::start("model").await);
    stage.write(
        "scores.toml",
        "dialect = \"problem\"\n[[routes]]\nmethod = \"POST\"\npath = \"/score\"\n\
         action = \"predict\"\nmodel = \"json:/model\"\non_missing = \"default\"\n",
    );
    let lines = format!(
        "[[upstream]]\nsurface = [\"openai\", \"scores.toml\"]\nurl = \"{}\"\n\
         environment = \"staging\"\nmodel = \"acme/sentiment\"\n",
        model.url
    );
    let service = stage.serve(&lines).await;
    for (group, status) in [("qa", 200), ("support", 403)] {
        let token = stage.token("tina", &[group]);
        let request = crate::support::post(&service, "/score")
            .header("authorization", format!("Bearer {token}"));
        let reply = ask(request, "{}").await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
    service.stop().await.unwrap();
    let decision = stage.rows().remove(0).decision;
    assert_eq!(decision.environment, "staging");
    assert_eq!(decision.surface.as_deref(), Some("scores"));
    assert_eq!(decision.target[0].model.as_deref(), Some("acme/sentiment"));
}
