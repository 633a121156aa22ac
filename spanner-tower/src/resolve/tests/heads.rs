//! The grammar of targets, and what headers may say.

use http::Uri;

use super::*;

/// `None` where the path is well-formed, known or not.
fn check_path(path: &str, expected: Option<&RequestFault>) {
    let Ok(uri) = Uri::try_from(path) else {
        assert_eq!(
            expected,
            Some(&RequestFault::Path),
            "{path} is refused before"
        );
        return;
    };
    let mut parts = parts("GET /", &[]);
    parts.uri = uri;
    let found = match routes(surface::openai()).classify(&parts) {
        Err(Refusal::Request(fault)) => Some(fault),
        Err(_) | Ok(_) => None,
    };
    assert_eq!(found.as_ref(), expected, "{path}");
}

#[test]
fn refuses_paths_that_could_be_read_in_two_ways() {
    for path in [
        "//v1/models",
        "/v1//models",
        "/v1/models//a",
        "/v1/models/a//",
        "/v1/./models",
        "/v1/models/public/../secret",
        "/..",
        "/v1/models/.",
        "/v1/models/%2e%2e/x",
        "/v1/models/.%2e/x",
        "/v1/models/%2E.",
        "/v1/models/a%2F..%2Fb",
        "/v1/models/a%2f.%2Fb",
        "/v1/models/a%2F%2Fb",
        "/v1/models/a%2F",
        "/v1/models/%2F%2Fa",
        "/v1/models/a/%2Fb",
        "/v1/fine_tuning/%2Fjobs",
        "/v1/models/%2F",
        "/v1%2Fmodels",
        "/v1/responses/a%2Fb",
        "/v1\\models",
        "/v1/models/a%5cb",
        "/v1/models/a%5Cb",
        "/v1/models;x=1/m",
        "/v1/models/m;jsessionid=1",
        "/v1/models/m%3Bx",
        "/v1/models/a%00",
        "/v1/models/a%0a",
        "/v1/models/a%0D",
        "/v1/models/a%09",
        "/v1/models/a%7F",
        "/v1/models/%c0%ae%c0%ae/x",
        "/v1/models/%ff",
        "/v1/models/%C3",
        "/v1/models/%C0%AE%C0%AE",
        "/v1/models/%C2%85",
        "/v1/models/a%E2%80%A8b",
        "/v1/models/%C3x%A9",
        "/v1/models/é",
        "/v1/models/a\u{2215}b",
        "/v1/models/a\u{FF0F}b",
        "/v1/models/a\u{2028}",
        "/v1/%6dodels",
        "/v1/models/%63heap",
        "/v1/models/a%2Db",
        "/v1/models/a%252Fb",
        "/v1/models/a%25",
        "/v1/models/a%",
        "/v1/models/a%2",
        "/v1/models/a%zz",
        "/v1/models/a%+1",
        "/v1/models/a%3Fb",
        "/v1/models/a%23b",
        "/v1/models/a|b",
        "/v1/models/a{b}",
        "/v1/models/a\"b",
    ] {
        check_path(path, Some(&RequestFault::Path));
    }
}

#[test]
fn keeps_paths_that_can_be_read_in_one_way() {
    for path in [
        "/",
        "/v1/models",
        "/v1/models/",
        "/v1/models/...",
        "/v1/models/.hidden",
        "/v1/models/a..b",
        "/v1/models/a%2Fb",
        "/v1/models/%2Fmodels%2Fa",
        "/v1/models/a%2Fb.c",
        "/v1/models/a%3Ab",
        "/v1/models/a%20b",
        "/v1/models/ft:gpt-4o:org::id",
        "/v1/models/a@b+c=d~e",
        "/v1/models?a=../b//c%2e",
    ] {
        check_path(path, None);
    }
}

#[test]
fn a_target_and_its_host_must_agree() {
    let rows: &[(&str, &[&str], bool)] = &[
        ("/v1/models", &[], true),
        ("/v1/models", &["a.example"], true),
        ("/v1/models", &["a.example", "a.example"], false),
        ("/v1/models", &["a.example/?x="], false),
        ("/v1/models", &["user@a.example"], false),
        ("/v1/models", &["a.example, b.example"], false),
        ("http://a.example/v1/models", &["A.example"], true),
        ("http://a.example:80/v1/models", &["a.example:80"], true),
        ("http://a.example/v1/models", &["b.example"], false),
        ("http://a.example/v1/models", &["a.example:81"], false),
        ("http://a.example/v1/models", &[], true),
        ("http://user@a.example/v1/models", &[], false),
        ("a.example:80", &[], false),
        ("*", &[], false),
    ];
    for (uri, hosts, accepted) in rows {
        let headers: Vec<(&str, &str)> = hosts.iter().map(|host| ("host", *host)).collect();
        let parts = parts(&format!("GET {uri}"), &headers);
        let found = routes(surface::openai()).classify(&parts).map(|_| ());
        let expected = if *accepted {
            Ok(())
        } else {
            Err(fault(RequestFault::Target))
        };
        assert_eq!(found, expected, "{uri} {hosts:?}");
    }
}

#[tokio::test]
async fn json_routes_take_json_in_utf_8_and_nothing_else() {
    use RequestFault::{Charset, ContentType, Encoding};
    type Headers = &'static [(&'static str, &'static str)];
    let rows: &[(Headers, Option<RequestFault>)] = &[
        (&[JSON], None),
        (&[("content-type", "Application/JSON")], None),
        (&[("content-type", "application/json;charset=UTF-8")], None),
        (
            &[("content-type", "application/json; charset=\"utf-8\"")],
            None,
        ),
        (&[("content-type", "application/vnd.acme+json; v=1")], None),
        (&[JSON, ("content-encoding", "identity")], None),
        (&[], Some(ContentType)),
        (&[JSON, JSON], Some(ContentType)),
        (&[("content-type", "text/plain")], Some(ContentType)),
        (
            &[("content-type", "application/x-ndjson")],
            Some(ContentType),
        ),
        (&[("content-type", "application/jsonx")], Some(ContentType)),
        (&[("content-type", "+json")], Some(ContentType)),
        (
            &[("content-type", "application/x-www-form-urlencoded")],
            Some(ContentType),
        ),
        (
            &[("content-type", "application/json; charset=utf-16")],
            Some(Charset),
        ),
        (
            &[(
                "content-type",
                "application/json; charset=utf-8; charset=utf-16",
            )],
            Some(Charset),
        ),
        (
            &[("content-type", "application/json; charset*=utf-16''x")],
            Some(Charset),
        ),
        (
            &[("content-type", "application/json; charset")],
            Some(Charset),
        ),
        (&[JSON, ("content-encoding", "gzip")], Some(Encoding)),
        (&[JSON, ("content-encoding", "br")], Some(Encoding)),
        (
            &[JSON, ("content-encoding", "identity, gzip")],
            Some(Encoding),
        ),
        (
            &[
                JSON,
                ("content-encoding", "identity"),
                ("content-encoding", "gzip"),
            ],
            Some(Encoding),
        ),
        (&[JSON, ("x-body-compressed", "1")], Some(Encoding)),
    ];
    for (headers, expected) in rows {
        let found = chat(br#"{"model":"a"}"#, headers).await.map(|_| ());
        assert_eq!(
            found,
            expected.clone().map_or(Ok(()), |f| Err(fault(f))),
            "{headers:?}"
        );
    }
}

#[test]
fn surfaces_that_say_different_things_about_one_path_do_not_go_together() {
    let other = |path: &str| {
        let text = format!(
            "dialect = \"problem\"\n[[routes]]\nmethod = \"GET\"\npath = \"{path}\"\naction = \"public\"\n"
        );
        Surface::from_toml("other", &text).unwrap()
    };
    let rows = [
        ("/v1/models", false),
        ("/v1/models/{x*}", false),
        ("/v1/responses/{x}", false),
        ("/v1/models/{x}/ready", true),
        ("/v2/models", true),
    ];
    for (path, accepted) in rows {
        let joined = Routes::new(vec![surface::openai(), other(path)]);
        assert_eq!(joined.is_ok(), accepted, "{path}");
    }
    assert!(Routes::new(vec![surface::openai(), surface::open_inference()]).is_ok());
}

#[test]
fn the_more_exact_of_two_routes_rules_whichever_comes_first() {
    let row = |path: &str, action: &str| {
        format!(
            "[[routes]]\nmethod = \"GET\"\npath = \"{path}\"\naction = \"{action}\"\nmodel = \"server\"\n"
        )
    };
    let rows = [
        row("/m/{x*}", "list"),
        row("/m/{x}/files", "download"),
        row("/m/all", "read"),
    ];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let text = order.map(|at| rows[at].clone()).concat();
        let surface = Surface::from_toml("x", &format!("dialect = \"problem\"\n{text}")).unwrap();
        let routes = routes(surface);
        let template = |path: &str| {
            routes
                .classify(&parts(&format!("GET {path}"), &[]))
                .unwrap()
                .template()
        };
        assert_eq!(&*template("/m/all"), "/m/all");
        assert_eq!(&*template("/m/a/files"), "/m/{x}/files");
        assert_eq!(&*template("/m/a/b/files"), "/m/{x*}");
    }
}
