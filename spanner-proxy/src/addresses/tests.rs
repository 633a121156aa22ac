use super::*;
use serde_json::{Value, json};

/// Two upstreams: a Hub below `/hub`, and a server with a base path and a host of its own.
fn caller() -> CallerAddresses {
    let known = |authority: &str, base: &str, prefix: &str, host: Option<&str>| UpstreamAddress {
        authority: authority.parse().unwrap(),
        base: base.to_owned(),
        prefix: prefix.to_owned(),
        host: host.map(|host| host.parse().unwrap()),
        resolver: Resolver::new(vec![spanner_tower::surface::named("git-http").unwrap()]).ok(),
    };
    let upstreams = [
        known("127.0.0.1:9000", "", "/hub", None),
        known("models.internal", "/v9", "", Some("m.example.com")),
    ];
    CallerAddresses {
        addresses: Addresses {
            upstreams: upstreams.into(),
            public: None,
        },
        origin: Some("https://spanner.example.com".to_owned()),
        base: String::new(),
        prefix: "/hub".to_owned(),
        host: None,
        https: false,
    }
}

#[test]
fn absolute_addresses_of_upstreams_lead_back() {
    for (text, expected) in [
        (
            "http://127.0.0.1:9000/a?b#c",
            "https://spanner.example.com/hub/a?b#c",
        ),
        ("HTTP://LOCALHOST:9000", "https://spanner.example.com/hub"),
        (
            "https://127.0.0.1:9000/a",
            "https://spanner.example.com/hub/a",
        ),
        ("//127.0.0.1:9000/a", "//spanner.example.com/hub/a"),
        (
            "http://me:secret@127.0.0.1:9000/a",
            "https://spanner.example.com/hub/a",
        ),
        ("ws://127.0.0.1:9000/a", "wss://spanner.example.com/hub/a"),
        (
            "mlflow-artifacts://127.0.0.1:9000/a",
            "mlflow-artifacts://spanner.example.com/hub/a",
        ),
        ("http://models.internal/v9/x", "https://m.example.com/x"),
        ("https://Models.Internal:443/v9", "https://m.example.com"),
        (
            "<http://127.0.0.1:9000/a?p=2>; rel=\"next\", <http://other/b>; rel=\"prev\"",
            "<https://spanner.example.com/hub/a?p=2>; rel=\"next\", <http://other/b>; rel=\"prev\"",
        ),
        (
            r#"{"u":"http:\/\/127.0.0.1:9000\/a"}"#,
            r#"{"u":"https://spanner.example.com/hub\/a"}"#,
        ),
    ] {
        assert_eq!(caller().absolute(text).as_deref(), Ok(expected), "{text}");
    }
}

/// One server below two prefixes, another server below a third, and a reply below one of them.
fn among_several(prefix: &str) -> CallerAddresses {
    let known = |authority: &str, prefix: &str| UpstreamAddress {
        authority: authority.parse().unwrap(),
        base: String::new(),
        prefix: prefix.to_owned(),
        host: None,
        resolver: None,
    };
    let upstreams = [
        known("127.0.0.1:9000", "/hub"),
        known("127.0.0.1:9001", "/o"),
        known("127.0.0.1:9000", "/v"),
    ];
    let mut caller = caller();
    caller.addresses.upstreams = upstreams.into();
    prefix.clone_into(&mut caller.prefix);
    caller
}

#[test]
fn an_address_leads_to_its_own_prefix_among_several() {
    for (prefix, name, value, expected) in [
        (
            "/hub",
            "location",
            "http://127.0.0.1:9000/x",
            "https://spanner.example.com/hub/x",
        ),
        (
            "/v",
            "location",
            "http://127.0.0.1:9000/x",
            "https://spanner.example.com/v/x",
        ),
        (
            "/hub",
            "location",
            "http://127.0.0.1:9001/x",
            "https://spanner.example.com/o/x",
        ),
        (
            "/hub",
            "link",
            "</x>; rel=\"a\", <http://127.0.0.1:9001/y>; rel=\"b\"",
            "</hub/x>; rel=\"a\", <https://spanner.example.com/o/y>; rel=\"b\"",
        ),
    ] {
        let name: HeaderName = name.parse().unwrap();
        let written = among_several(prefix).header(&name, value);
        assert_eq!(
            written.unwrap().as_deref(),
            Some(expected),
            "{prefix}: {value}"
        );
    }
}

#[test]
fn what_is_elsewhere_stays_as_it_is() {
    for text in [
        "http://127.0.0.1:9001/a",
        "http://127.0.0.1/a",
        "https://cdn.example.com/x?u=%2F%2F127.0.0.1",
        "/a//127.0.0.1:9000/b",
        "http://models.internal.example.com/v9",
        "http://models.internal:8443/v9",
        "no address: //",
        "http://",
        "",
    ] {
        assert!(
            matches!(caller().absolute(text), Ok(Cow::Borrowed(_))),
            "{text}"
        );
    }
}

#[test]
fn what_is_outside_a_base_path_has_no_counterpart() {
    for text in [
        "http://models.internal/x",
        "http://models.internal/v99/x",
        "http://models.internal",
    ] {
        assert_eq!(caller().absolute(text), Err(UnreachableAddress), "{text}");
    }
}

fn written(name: &str, value: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    let name: HeaderName = name.parse().unwrap();
    headers.insert(&name, value.parse().unwrap());
    caller().rewrite_headers(&mut headers).unwrap();
    headers
        .get(&name)
        .map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn headers_lead_back_below_the_prefix() {
    for (name, value, expected) in [
        ("location", "/o/n/resolve/x", Some("/hub/o/n/resolve/x")),
        ("location", "x", Some("x")),
        (
            "location",
            "http://127.0.0.1:9000/x",
            Some("https://spanner.example.com/hub/x"),
        ),
        (
            "location",
            "https://cdn.example.com/x",
            Some("https://cdn.example.com/x"),
        ),
        ("content-location", "/x", Some("/hub/x")),
        (
            "location",
            "https://spanner.example.com/x",
            Some("https://spanner.example.com/hub/x"),
        ),
        (
            "location",
            "https://spanner.example.com/hub/x",
            Some("https://spanner.example.com/hub/x"),
        ),
        (
            "link",
            "</x>; rel=\"a\", <y>; rel=\"b\"",
            Some("</hub/x>; rel=\"a\", <y>; rel=\"b\""),
        ),
        ("refresh", "0; url=/x", Some("0; url=/hub/x")),
        ("refresh", "0; URL='/x'", Some("0; URL='/hub/x'")),
        ("operation-location", "/x", Some("/hub/x")),
        (
            "x-xet-cas-url",
            "http://127.0.0.1:9000",
            Some("https://spanner.example.com/hub"),
        ),
        (
            "x-goog-upload-url",
            "http://127.0.0.1:9000/u",
            Some("https://spanner.example.com/hub/u"),
        ),
        ("x-path", "/x", Some("/x")),
        ("x-served-by", "127.0.0.1:9000", None),
        ("x-served-by", "127.0.0.1:90001", Some("127.0.0.1:90001")),
        ("alt-svc", "h3=\":443\"", None),
        (
            "set-cookie",
            "a=1; Domain=models.internal; Path=/x; Secure",
            Some("a=1; Path=/hub/x; Secure"),
        ),
        ("set-cookie", "a=1", Some("a=1")),
    ] {
        assert_eq!(written(name, value).as_deref(), expected, "{name}: {value}");
    }
}

#[test]
fn headers_that_are_not_ascii_lead_back_as_well() {
    let written = |value: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_bytes(value).unwrap());
        caller().rewrite_headers(&mut headers).unwrap();
        let value = headers.get("location");
        value.map(|value| value.as_bytes().to_owned())
    };
    for (value, expected) in [
        ("/é", "/hub/é"),
        (
            "http://127.0.0.1:9000/é",
            "https://spanner.example.com/hub/é",
        ),
        ("https://cdn.example.com/é", "https://cdn.example.com/é"),
    ] {
        let found = written(value.as_bytes());
        assert_eq!(found.as_deref(), Some(expected.as_bytes()), "{value}");
    }
    assert_eq!(written(b"http://127.0.0.1:9000/\xE9"), None);
    let elsewhere = b"https://cdn.example.com/\xE9";
    assert_eq!(written(elsewhere).as_deref(), Some(&elsewhere[..]));
}

#[test]
fn the_path_of_a_cookie_is_taken_in_whole_segments() {
    let mut caller = caller();
    caller.base = "/v9".to_owned();
    caller.prefix = String::new();
    for (path, expected) in [("/v9/x", "/x"), ("/v99", "/v99"), ("/v9", "/")] {
        let written = caller.cookie(&format!("a=1; Path={path}")).into_owned();
        assert_eq!(written, format!("a=1; Path={expected}"));
    }
}

#[test]
fn several_values_of_a_header_stay_several() {
    let mut headers = HeaderMap::new();
    for value in ["</a>; rel=\"next\"", "<https://other/b>; rel=\"prev\""] {
        headers.append(LINK, value.parse().unwrap());
    }
    caller().rewrite_headers(&mut headers).unwrap();
    let values: Vec<_> = headers.get_all(LINK).iter().collect();
    assert_eq!(
        values,
        ["</hub/a>; rel=\"next\"", "<https://other/b>; rel=\"prev\""]
    );
}

#[test]
fn without_a_host_of_the_caller_an_absolute_address_is_refused() {
    let caller = CallerAddresses {
        origin: None,
        ..caller()
    };
    assert_eq!(
        caller.absolute("http://127.0.0.1:9000/x"),
        Err(UnreachableAddress)
    );
    assert_eq!(
        caller.absolute("https://cdn.example.com/x").as_deref(),
        Ok("https://cdn.example.com/x")
    );
}

#[test]
fn a_reply_is_read_where_its_api_defines_addresses() {
    for (dialect, path, expected) in [
        (
            Dialect::Git,
            "/o/n.git/info/lfs/objects/batch",
            AddressForm::Batch,
        ),
        (Dialect::HuggingFace, "/api/models", AddressForm::Json),
        (
            Dialect::HuggingFaceCreate,
            "/api/repos/create",
            AddressForm::Json,
        ),
        (
            Dialect::HuggingFaceRouter,
            "/v1/images/generations",
            AddressForm::Json,
        ),
        (
            Dialect::HuggingFaceRouter,
            "/v1/chat/completions",
            AddressForm::Nothing,
        ),
        (
            Dialect::HuggingFace,
            "/o/n/resolve/main/config.json",
            AddressForm::Nothing,
        ),
        (
            Dialect::Mlflow,
            "/api/2.0/mlflow/runs/get",
            AddressForm::Json,
        ),
        (
            Dialect::Mlflow,
            "/api/2.0/mlflow-artifacts/artifacts/x",
            AddressForm::Nothing,
        ),
        (Dialect::OpenAi, "/v1/images/generations", AddressForm::Json),
        (
            Dialect::OpenAi,
            "/v1/chat/completions",
            AddressForm::Nothing,
        ),
        (Dialect::Anthropic, "/v1/messages", AddressForm::Nothing),
    ] {
        assert_eq!(AddressForm::of(Some(dialect), path), expected, "{path}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_refused() {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        "application/vnd.git-lfs+json; charset=utf-8"
            .parse()
            .unwrap(),
    );
    let read = |headers: &HeaderMap, method| {
        AddressForm::Batch.in_response(&method, StatusCode::OK, headers)
    };
    assert_eq!(read(&headers, Method::POST), Ok(AddressForm::Batch));
    headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(read(&headers, Method::POST), Err(UnreachableAddress));
    assert_eq!(read(&headers, Method::HEAD), Ok(AddressForm::Nothing));
    assert_eq!(
        AddressForm::Nothing.in_response(&Method::POST, StatusCode::OK, &headers),
        Ok(AddressForm::Nothing)
    );
}

fn batch(href: &str, header: &Value) -> Value {
    let text = json!({"transfer": "basic", "objects": [
        {"oid": "a", "size": 1, "actions": {"download": {"href": href, "header": header}}},
    ]});
    let written = lfs::rewritten_for_tests(&text.to_string(), &caller()).unwrap();
    written["objects"][0].clone()
}

#[test]
fn a_batch_names_no_address_past_the_guard() {
    let elsewhere = batch("https://s3.example.com/a?sig=1", &json!({}));
    assert_eq!(
        elsewhere["actions"]["download"]["href"],
        "https://s3.example.com/a?sig=1"
    );
    let own = batch("http://127.0.0.1:9000/o/n/lfs/a", &json!({}));
    assert_eq!(own["error"]["code"], 501);
    assert!(
        own["error"]["message"]
            .as_str()
            .unwrap()
            .contains("address of its own")
    );
    assert!(own.get("actions").is_none());
    for routed in [
        "http://127.0.0.1:9000/o/n/objects/aa",
        "https://spanner.example.com/hub/o/n/objects/aa",
    ] {
        let routed = batch(
            routed,
            &json!({"Authorization": "Basic upstream", "x": "1"}),
        );
        let download = &routed["actions"]["download"];
        assert_eq!(
            download["href"],
            "https://spanner.example.com/hub/o/n/objects/aa"
        );
        assert_eq!(download["header"], json!({"x": "1"}));
    }
    let parts = batch(
        "https://s3.example.com/a",
        &json!({"1": "http://127.0.0.1:9000/part/1"}),
    );
    assert_eq!(parts["error"]["code"], 501);
}

#[test]
fn a_batch_that_cannot_be_read_is_refused() {
    assert_eq!(
        lfs::rewritten_for_tests("{", &caller()),
        Err(UnreachableAddress)
    );
    let elsewhere = r#"{"message":"see http://models.internal/docs"}"#;
    assert_eq!(
        lfs::rewritten_for_tests(elsewhere, &caller()),
        Err(UnreachableAddress)
    );
}
