//! What the service behind learns of a caller: what the guard says, and nothing that the caller
//! says of itself.

use crate::stage::Stage;

/// UPS-01 to UPS-05, UPS-08, HTP-25, HTP-26, HTP-40.
#[tokio::test]
async fn the_service_sees_no_identity_or_credential_that_came_in() {
    let stage = Stage::start().await;
    let token = stage.token("alice");
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: models.test\r\nauthorization: Bearer {token}\r\nspanner-subject: admin\r\nSpanner-Subject: root\r\nX-Spanner-Subject: admin\r\nX_Spanner_Subject: admin\r\nx-spanner_subject: admin\r\nspanner_subject: admin\r\nspanner-decision: 1\r\nconnection: spanner-subject, keep-alive\r\nx-http-method-override: DELETE\r\nx-original-url: /v2\r\nx-rewrite-url: /v2\r\nx-forwarded-prefix: /x\r\nproxy-authorization: Basic eA==\r\n\r\n"
    );
    let answer = stage.exchange(request.as_bytes()).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let seen = stage.seen.lock().unwrap().clone();
    let [(target, headers)] = seen.as_slice() else {
        panic!("seen {seen:?}");
    };
    assert_eq!(target, "/v1/models");
    let left: Vec<&str> = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.replace('_', "-").contains("spanner") || name.starts_with("x-"))
        .collect();
    assert_eq!(left, Vec::<&str>::new());
    assert!(!headers.contains_key("authorization"));
    assert!(!headers.contains_key("proxy-authorization"));
}

/// UPS-03: what is no name of a header is no request.
#[tokio::test]
async fn a_header_with_a_name_that_is_nearly_one_is_no_request() {
    let stage = Stage::start().await;
    let token = stage.token("alice");
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: models.test\r\nauthorization: Bearer {token}\r\nspanner-subject\u{a0}: admin\r\n\r\n"
    );
    let answer = stage.exchange(request.as_bytes()).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert!(stage.seen.lock().unwrap().is_empty());
}
