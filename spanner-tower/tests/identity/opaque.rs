//! Opaque tokens and the issuers that are asked about them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawForm, State};
use axum::http::HeaderMap;
use axum::routing::post;
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use spanner_tower::bearer::{IssuerProblem, Revocation};
use spanner_tower::keys::FetchError;
use spanner_tower::opaque::{Answer, AskIssuer, ClientSecret};
use spanner_tower::{Bearer, BoxFuture, Introspection, Issuer, Peer};
use tokio::net::TcpListener;
use tokio::time::{advance, timeout};

use crate::{idp, now, send, token};

const TOKEN: &str = "opaque-0123456789abcdef";

/// What the server was asked: credentials and form.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// An introspection endpoint that gives one answer to everybody.
async fn server(status: u16, media_type: &str, headers: &str, body: String) -> (String, Asked) {
    let asked = Asked::default();
    let answer = (status, media_type.to_owned(), headers.to_owned(), body);
    let state = Arc::new((asked.clone(), answer));
    let app = Router::new()
        .route("/introspect", post(answer_all))
        .with_state(state);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

type Scripted = (Asked, (u16, String, String, String));

async fn answer_all(
    State(state): State<Arc<Scripted>>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Response<axum::body::Body> {
    let (asked, (status, media_type, header, body)) = &*state;
    let credentials = headers
        .get("authorization")
        .map(|it| it.to_str().unwrap().to_owned());
    let form = String::from_utf8(form.to_vec()).unwrap();
    asked
        .lock()
        .unwrap()
        .push((credentials.unwrap_or_default(), form));
    let mut response = Response::builder()
        .status(*status)
        .header("content-type", media_type);
    if let Some((name, value)) = header.split_once(": ") {
        response = response.header(name, value);
    }
    response.body(body.clone().into()).unwrap()
}

fn issuer(introspection: Introspection) -> Issuer {
    Issuer::oidc("https://id.example.com")
        .alias("corp")
        .audience("models")
        .introspection(introspection)
        .danger_allow_http_loopback()
}

fn bearer(url: &str) -> Bearer {
    let introspection = Introspection::at(url).client_secret_basic("the guard", "a:b%c");
    Bearer::builder()
        .issuer(issuer(introspection))
        .build()
        .unwrap()
}

fn claims(overlay: &Value) -> String {
    let mut claims = json!({
        "active": true, "sub": "alice", "aud": "models", "iss": "https://id.example.com",
        "iat": now().as_second(), "exp": now().as_second() + 600, "scope": "a b",
    });
    for (name, value) in overlay.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

#[tokio::test]
async fn every_answer_gets_its_due() {
    let json = "application/json";
    let outage = "introspection.unavailable";
    let long = json!({ "groups": ["x".repeat(300_000)] });
    let rows = [
        (200, json, "", claims(&json!({})), "user:corp/alice"),
        (
            200,
            "application/json; charset=utf-8",
            "",
            claims(&json!({ "iss": null })),
            "user:corp/alice",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "client_id": "alice" })),
            "service:corp/alice",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "exp": null })),
            "user:corp/alice",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "act": { "sub": "agent-7" } })),
            "agent:corp/agent-7 for user:corp/alice",
        ),
        (
            200,
            json,
            "",
            r#"{"active":false}"#.into(),
            "token.inactive",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "active": false })),
            "token.inactive",
        ),
        (200, json, "", claims(&json!({ "active": "true" })), outage),
        (200, json, "", claims(&json!({ "active": 1 })), outage),
        (200, json, "", claims(&json!({ "active": null })), outage),
        (
            200,
            json,
            "",
            r#"{"active":false,"active":true,"sub":"alice"}"#.into(),
            outage,
        ),
        (200, json, "", "[]".into(), outage),
        (200, json, "", "{".into(), outage),
        (200, json, "", String::new(), outage),
        (200, json, "", claims(&long), outage),
        (
            200,
            json,
            "content-encoding: gzip",
            claims(&json!({})),
            outage,
        ),
        (200, "text/html", "", claims(&json!({})), outage),
        (
            200,
            "application/token-introspection+jwt",
            "",
            "a.b.c".into(),
            outage,
        ),
        (201, json, "", claims(&json!({})), outage),
        (
            302,
            json,
            "location: http://127.0.0.1:1/",
            claims(&json!({})),
            outage,
        ),
        (400, json, "", claims(&json!({})), outage),
        (401, json, "", claims(&json!({})), outage),
        (403, json, "", claims(&json!({})), outage),
        (429, json, "retry-after: 7", claims(&json!({})), outage),
        (500, json, "", claims(&json!({})), outage),
        (
            200,
            json,
            "",
            claims(&json!({ "aud": "others" })),
            "token.aud",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "aud": null })),
            "token.missing_claim",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "iss": "https://other.example" })),
            "token.iss",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "sub": null })),
            "token.missing_claim",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "iat": null })),
            "token.missing_claim",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "exp": now().as_second() - 61 })),
            "token.expired",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "exp": "soon" })),
            "token.claim_type",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "nbf": now().as_second() + 61 })),
            "token.not_yet_valid",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "iat": now().as_second() - 2_592_001 })),
            "token.lifetime",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "cnf": { "jkt": "x" } })),
            "token.pop_required",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "token_type": "DPoP" })),
            "token.pop_required",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "nbf": -1 })),
            "token.claim_value",
        ),
        (
            200,
            json,
            "",
            claims(&json!({ "auth_time": now().as_second() + 61 })),
            "token.claim_value",
        ),
        (
            200,
            json,
            "",
            format!(
                r#"{{"sub":"bob",{}"#,
                &claims(&json!({})).replacen('{', "", 1)
            ),
            "token.duplicate_member",
        ),
    ];
    for (status, media_type, headers, body, due) in rows {
        let (url, asked) = server(status, media_type, headers, body.clone()).await;
        let found = send(&bearer(&url), TOKEN, now()).await;
        let shown: String = body.chars().take(200).collect();
        assert_eq!(found, due, "{status} {media_type} {headers} {shown}");
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}

/// `active` is said of every token that is not over, whatever it is for (RFC 7662 §2.2).
#[tokio::test]
async fn an_active_token_that_is_no_access_token_is_refused() {
    let rows = [
        (json!({ "token_type": "Bearer" }), "user:corp/alice"),
        (json!({ "token_type": "bearer" }), "user:corp/alice"),
        (json!({ "token_type": null }), "user:corp/alice"),
        (
            json!({ "token_use": "access_token", "token_type": "Bearer" }),
            "user:corp/alice",
        ),
        (json!({ "typ": "Bearer", "nonce": "n" }), "user:corp/alice"),
        (json!({ "token_type": "refresh_token" }), "token.typ"),
        (json!({ "token_type": "Refresh" }), "token.typ"),
        (json!({ "token_type": "id_token" }), "token.typ"),
        (json!({ "token_type": "N_A" }), "token.typ"),
        (
            json!({ "token_type": "Bearer", "token_use": "refresh_token" }),
            "token.typ",
        ),
        (json!({ "token_use": "id" }), "token.typ"),
        (json!({ "typ": "Refresh" }), "token.typ"),
        (json!({ "typ": "Offline" }), "token.typ"),
        (json!({ "typ": "ID" }), "token.typ"),
        (json!({ "typ": "refresh+jwt" }), "token.typ"),
        (json!({ "nonce": "n" }), "token.typ"),
        (
            json!({ "at_hash": "h", "token_type": "Bearer" }),
            "token.typ",
        ),
        (json!({ "c_hash": "h", "typ": "Bearer" }), "token.typ"),
        (json!({ "tokenName": "refresh_token" }), "token.typ"),
        (json!({ "token_type": 7 }), "token.claim_type"),
    ];
    for (overlay, due) in rows {
        let (url, _) = server(200, "application/json", "", claims(&overlay)).await;
        let found = send(&bearer(&url), TOKEN, now()).await;
        assert_eq!(found, due, "{overlay}");
    }
}

/// RFC 6749 §2.3.1 and RFC 7662 §2.1, as a server sees them.
#[tokio::test]
async fn the_guard_says_who_it_is() {
    let form = format!("token={TOKEN}&token_type_hint=access_token");
    let basic = "Basic dGhlJTIwZ3VhcmQ6YSUzQWIlMjVj";
    type Authenticate = fn(Introspection) -> Introspection;
    let rows: [(Authenticate, &str, String); 3] = [
        (
            |it| it.client_secret_basic("the guard", "a:b%c"),
            basic,
            form.clone(),
        ),
        (
            |it| it.client_secret_post("the guard", "a&b"),
            "",
            format!("{form}&client_id=the+guard&client_secret=a%26b"),
        ),
        (
            |it| it.bearer("its-own-token"),
            "Bearer its-own-token",
            form.clone(),
        ),
    ];
    for (authenticate, credentials, form) in rows {
        let (url, asked) = server(200, "application/json", "", claims(&json!({}))).await;
        let issuer = issuer(authenticate(Introspection::at(url)));
        let shown = format!("{issuer:?}");
        for secret in ["a:b%c", "a&b", "its-own-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let bearer = Bearer::builder().issuer(issuer).build().unwrap();
        assert_eq!(send(&bearer, TOKEN, now()).await, "user:corp/alice");
        assert_eq!(*asked.lock().unwrap(), [(credentials.to_owned(), form)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_who_ask_at_once_ask_once() {
    let (url, asked) = server(200, "application/json", "", claims(&json!({}))).await;
    let bearer = bearer(&url);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let bearer = bearer.clone();
            tokio::spawn(async move { send(&bearer, TOKEN, now()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "user:corp/alice");
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

/// What can be no token goes nowhere.
#[tokio::test]
async fn nobody_is_asked_about_what_is_no_token() {
    let (url, asked) = server(200, "application/json", "", claims(&json!({}))).await;
    let bearer = bearer(&url);
    let long = "x".repeat(8_193);
    for text in [
        "short",
        "with\"quotes-and-enough",
        "a=b-0123456789abcdef",
        "{\"a\":\"0123456789\"}",
        &long,
    ] {
        assert_eq!(
            send(&bearer, text, now()).await,
            "token.malformed",
            "{text}"
        );
    }
    let own = idp("https://id.example.com");
    let signed = token(&own)
        .sub("alice")
        .claim("iss", "https://other.example")
        .sign();
    assert_eq!(send(&bearer, &signed, now()).await, "token.iss");
    assert_eq!(asked.lock().unwrap().len(), 0);
}

/// An issuer in the process, for what is about time.
#[derive(Clone, Default)]
struct Asks {
    asked: Arc<AtomicUsize>,
    script: Arc<Mutex<Script>>,
}

#[derive(Clone, Default)]
struct Script {
    inactive: bool,
    garbage_is_inactive: bool,
    outage: bool,
    retry_after: Option<Duration>,
    delay: Duration,
}

impl AskIssuer for Asks {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>> {
        let script = self.script.lock().unwrap().clone();
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(script.delay).await;
            let mut error = FetchError::new("an outage");
            error.retry_after = script.retry_after;
            let garbage = script.garbage_is_inactive && token.starts_with("garbage");
            match (script.outage, script.inactive || garbage) {
                (true, _) => Err(error),
                (false, true) => Ok(Answer::Inactive),
                (false, false) => {
                    let subject = token.rsplit('-').next().unwrap();
                    let claims = json!({ "sub": subject, "jti": subject });
                    Ok(Answer::Active(Bytes::from(self::claims(&claims))))
                }
            }
        })
    }
}

impl Asks {
    fn bearer(&self) -> Bearer {
        let none: [&str; 0] = [];
        let issuer = Issuer::oidc("https://id.example.com")
            .alias("corp")
            .audience("models")
            .opaque_tokens(self.clone(), none, Duration::from_secs(30));
        Bearer::builder().issuer(issuer).build().unwrap()
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn opaque(name: &str) -> String {
    format!("opaque-0123456789-{name}")
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_as_long_as_configured_and_no_longer() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    let alice = opaque("alice");
    for _ in 0..3 {
        assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
    }
    assert_eq!(asks.count(), 1);
    asks.set(|script| script.inactive = true);
    advance(Duration::from_secs(29)).await;
    assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
    advance(Duration::from_secs(1)).await;
    assert_eq!(send(&bearer, &alice, now()).await, "token.inactive");
    assert_eq!(asks.count(), 2);
    // Refused for five seconds without a question, then asked again.
    asks.set(|script| script.inactive = false);
    advance(Duration::from_secs(4)).await;
    assert_eq!(send(&bearer, &alice, now()).await, "token.inactive");
    assert_eq!(asks.count(), 2);
    advance(Duration::from_secs(1)).await;
    assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
}

#[tokio::test]
async fn times_and_revocations_are_looked_at_on_every_hit() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    let alice = opaque("alice");
    assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
    let late = now() + Duration::from_secs(661);
    assert_eq!(send(&bearer, &alice, late).await, "token.expired");
    let revocation = Revocation::Token {
        issuer: "corp".parse().unwrap(),
        id: "alice".into(),
        until: None,
    };
    bearer.revocations().revoke(revocation, now()).unwrap();
    assert_eq!(send(&bearer, &alice, now()).await, "token.revoked");
    assert_eq!(asks.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_503_and_costs_the_issuer_a_question_a_second() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    assert_eq!(
        send(&bearer, &opaque("alice"), now()).await,
        "user:corp/alice"
    );
    assert!(
        bearer.readiness()[0]
            .opaque
            .as_ref()
            .unwrap()
            .last_error
            .is_none()
    );
    asks.set(|script| script.outage = true);
    for at in 0..50 {
        let found = send(&bearer, &opaque(&format!("user{at}")), now()).await;
        assert_eq!(found, "introspection.unavailable");
    }
    assert_eq!(asks.count(), 2);
    // Who was answered before is served, for as long as the answer counts.
    assert_eq!(
        send(&bearer, &opaque("alice"), now()).await,
        "user:corp/alice"
    );
    let status = bearer.readiness()[0].opaque.clone().unwrap();
    assert_eq!(status.last_error.as_deref(), Some("an outage"));
    advance(Duration::from_secs(31)).await;
    assert_eq!(
        send(&bearer, &opaque("alice"), now()).await,
        "introspection.unavailable"
    );
    asks.set(|script| script.outage = false);
    advance(Duration::from_secs(1)).await;
    assert_eq!(
        send(&bearer, &opaque("alice"), now()).await,
        "user:corp/alice"
    );
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_asks_for_patience_gets_it() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    asks.set(|script| {
        script.outage = true;
        script.retry_after = Some(Duration::from_secs(20));
    });
    let (mut parts, ()) = http::Request::builder()
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(())
        .unwrap()
        .into_parts();
    let refused = spanner_tower::Authenticate::authenticate(&bearer, &mut parts, now()).await;
    let refused = refused.unwrap_err().refusal;
    assert_eq!(refused.notice().retry_after, Some(20));
    asks.set(|script| script.outage = false);
    advance(Duration::from_secs(19)).await;
    assert_eq!(
        send(&bearer, TOKEN, now()).await,
        "introspection.unavailable"
    );
    advance(Duration::from_secs(1)).await;
    assert!(send(&bearer, TOKEN, now()).await.starts_with("user:corp/"));
    assert_eq!(asks.count(), 2);
}

/// A thousand strangers wait for an issuer that hangs: 48 questions of 64, since 16 are kept
/// for tokens that were good before, and nobody else waits.
#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded_and_delays_nobody_elses_callers() {
    let (asks, well) = (Asks::default(), idp("https://well.example"));
    asks.set(|script| script.delay = Duration::from_secs(3_600));
    let none: [&str; 0] = [];
    let hanging = Issuer::oidc("https://id.example.com")
        .alias("corp")
        .audience("models")
        .opaque_tokens(asks.clone(), none, Duration::from_secs(30));
    let bearer = Bearer::builder()
        .issuer(hanging)
        .issuer(well.issuer_config().alias("well").audience("models"))
        .build()
        .unwrap();
    let calls: Vec<_> = (0..1_000)
        .map(|at| {
            let (bearer, token) = (bearer.clone(), opaque(&format!("user{at}")));
            tokio::spawn(async move { send(&bearer, &token, now()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let signed = token(&well).sub("eve").sign();
    let at_once = timeout(Duration::from_millis(1), send(&bearer, &signed, now()));
    assert_eq!(at_once.await.unwrap(), "user:well/eve");
    for call in calls {
        let found = timeout(Duration::from_secs(6), call).await.unwrap();
        assert_eq!(found.unwrap(), "introspection.unavailable");
    }
    assert_eq!(asks.count(), 48);
}

async fn send_from(bearer: &Bearer, peer: &str, token: &str) -> String {
    let request = http::Request::builder()
        .header("authorization", format!("Bearer {token}"))
        .extension(Peer(peer.parse().unwrap()));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    match spanner_tower::Authenticate::authenticate(bearer, &mut parts, now()).await {
        Ok(accepted) => accepted.caller.to_string(),
        Err(error) => error.refusal.code().to_owned(),
    }
}

fn failing(bearer: &Bearer) -> bool {
    bearer.readiness()[0].opaque.as_ref().unwrap().failing
}

/// Ninety connections from one network that send one made-up token after the other.
fn flood(bearer: &Bearer) -> Vec<tokio::task::JoinHandle<()>> {
    let stranger = async |bearer: Bearer, at: usize| {
        for count in 0.. {
            let token = format!("garbage-0123456789-{at}-{count}");
            send_from(&bearer, &format!("192.0.2.{at}"), &token).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let one = |at| {
        let bearer = bearer.clone();
        tokio::spawn(async move { stranger(bearer, at).await })
    };
    (0..90).map(one).collect()
}

/// Says that garbage is inactive, after half a second.
fn sluggish() -> Asks {
    let asks = Asks::default();
    asks.set(|script| {
        script.garbage_is_inactive = true;
        script.delay = Duration::from_millis(500);
    });
    asks
}

#[tokio::test(start_paused = true)]
async fn strangers_lock_out_neither_known_callers_nor_those_of_other_networks() {
    let asks = sluggish();
    let bearer = asks.bearer();
    let known = opaque("alice");
    assert_eq!(
        send_from(&bearer, "192.0.2.1", &known).await,
        "user:corp/alice"
    );
    advance(Duration::from_secs(31)).await;
    let before = asks.count();
    let flood = flood(&bearer);
    tokio::time::sleep(Duration::from_secs(6)).await;
    // 24 at once, half a second each.
    let questions = asks.count() - before;
    assert!((200..=24 * 13).contains(&questions), "{questions}");
    let soon = Duration::from_secs(1);
    // One of their own network, whose token was good before.
    let found = timeout(soon, send_from(&bearer, "192.0.2.1", &known)).await;
    assert_eq!(found.unwrap(), "user:corp/alice");
    // Others of other networks, whom nobody has seen.
    for at in 0..12 {
        let (peer, token) = (format!("198.51.{at}.1"), opaque(&format!("u{at}")));
        let found = timeout(soon, send_from(&bearer, &peer, &token)).await;
        assert_eq!(found.unwrap(), format!("user:corp/u{at}"));
    }
    // One of their own network, whom nobody has seen: waits in the line with them.
    let found = send_from(&bearer, "192.0.2.200", &opaque("dora")).await;
    assert_eq!(found, "user:corp/dora");
    for task in flood {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_displaces_nobodys_answer() {
    let asks = Asks::default();
    asks.set(|script| script.garbage_is_inactive = true);
    let bearer = asks.bearer();
    assert_eq!(
        send(&bearer, &opaque("alice"), now()).await,
        "user:corp/alice"
    );
    for at in 0..5_000 {
        let found = send(&bearer, &format!("garbage-0123456789-{at}"), now()).await;
        assert_eq!(found, "token.inactive");
    }
    let asked = asks.count();
    assert_eq!(
        send(&bearer, &opaque("alice"), now()).await,
        "user:corp/alice"
    );
    assert_eq!(asks.count(), asked);
    let status = bearer.readiness()[0].opaque.clone().unwrap();
    assert!(status.kept <= 2 * 4_096, "{}", status.kept);
}

/// One answer 429 does not close out those whose tokens were good before.
#[tokio::test(start_paused = true)]
async fn known_callers_survive_that_an_issuer_asks_for_patience() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    let alice = opaque("alice");
    assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
    advance(Duration::from_secs(31)).await;
    asks.set(|script| {
        script.outage = true;
        script.retry_after = Some(Duration::from_secs(20));
    });
    let unavailable = "introspection.unavailable";
    assert_eq!(send(&bearer, &opaque("stranger"), now()).await, unavailable);
    asks.set(|script| script.outage = false);
    assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
    assert!(!failing(&bearer), "known callers are served");
    // The issuer answers known callers, and yet strangers leave it alone as it asked.
    let asked = asks.count();
    advance(Duration::from_secs(19)).await;
    assert_eq!(send(&bearer, &opaque("stranger"), now()).await, unavailable);
    assert_eq!(asks.count(), asked);
    advance(Duration::from_secs(1)).await;
    let found = send(&bearer, &opaque("stranger"), now()).await;
    assert_eq!(found, "user:corp/stranger");
    // A known token that was revoked meanwhile is one no more.
    advance(Duration::from_secs(31)).await;
    asks.set(|script| script.inactive = true);
    assert_eq!(send(&bearer, &alice, now()).await, "token.inactive");
}

/// While that fails too, known callers ask once a second, however many there are.
#[tokio::test(start_paused = true)]
async fn known_callers_ask_an_issuer_that_fails_once_a_second() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    let name = |at: usize| opaque(&format!("u{at}"));
    for at in 0..20 {
        assert!(send(&bearer, &name(at), now()).await.starts_with("user:"));
    }
    advance(Duration::from_secs(31)).await;
    asks.set(|script| script.outage = true);
    let before = asks.count();
    for _ in 0..10 {
        for at in 0..20 {
            let found = send(&bearer, &name(at), now()).await;
            assert_eq!(found, "introspection.unavailable");
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(asks.count() - before, 10);
    assert!(failing(&bearer));
    asks.set(|script| script.outage = false);
    assert_eq!(send(&bearer, &name(0), now()).await, "user:corp/u0");
    assert!(!failing(&bearer));
}

/// An issuer that asks everybody for patience is asked once a second about known tokens, and
/// their last answers count a minute longer: not when it says otherwise, and not for ever.
#[tokio::test(start_paused = true)]
async fn known_callers_outlast_an_issuer_that_has_everybody_wait() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    let (alice, bob) = (opaque("alice"), opaque("bob"));
    assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
    assert_eq!(send(&bearer, &bob, now()).await, "user:corp/bob");
    advance(Duration::from_secs(30)).await;
    asks.set(|script| {
        script.outage = true;
        script.retry_after = Some(Duration::from_secs(20));
    });
    let before = asks.count();
    for _ in 0..59 {
        assert_eq!(send(&bearer, &alice, now()).await, "user:corp/alice");
        advance(Duration::from_secs(1)).await;
    }
    assert!(!failing(&bearer));
    assert_eq!(asks.count() - before, 59);
    // Revoked there, which is learned once it answers.
    asks.set(|script| (script.outage, script.inactive) = (false, true));
    assert_eq!(send(&bearer, &alice, now()).await, "token.inactive");
    asks.set(|script| script.outage = true);
    assert_eq!(send(&bearer, &alice, now()).await, "token.inactive");
    assert_eq!(send(&bearer, &bob, now()).await, "user:corp/bob");
    advance(Duration::from_secs(1)).await;
    let unavailable = "introspection.unavailable";
    assert_eq!(send(&bearer, &bob, now()).await, unavailable);
    advance(Duration::from_secs(5)).await;
    assert_eq!(send(&bearer, &alice, now()).await, unavailable);
}

/// What fails and is asked no more is not held against an issuer: nobody would ever ask again
/// where a service that is not ready gets no requests.
#[tokio::test(start_paused = true)]
async fn a_failure_is_forgotten_by_readiness() {
    let asks = Asks::default();
    let bearer = asks.bearer();
    asks.set(|script| script.outage = true);
    send(&bearer, &opaque("alice"), now()).await;
    assert!(failing(&bearer));
    advance(Duration::from_secs(30)).await;
    assert!(!failing(&bearer));
}

/// What each token gets of a scripted endpoint: a status.
async fn scripted() -> (String, Arc<Mutex<u16>>) {
    let status = Arc::new(Mutex::new(200_u16));
    let told = Arc::clone(&status);
    let answer = async move |RawForm(form): RawForm| {
        let form = String::from_utf8(form.to_vec()).unwrap();
        let status = match form.contains("token=odd") {
            true => 400,
            false => *told.lock().unwrap(),
        };
        let body = claims(&json!({ "jti": "j1" }));
        let answer = Response::builder().status(status);
        let answer = answer.header("content-type", "application/json");
        answer.body(axum::body::Body::from(body)).unwrap()
    };
    let app = Router::new().route("/introspect", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, status)
}

/// A token that an issuer chokes on closes out its own network for a moment, and nobody else.
#[tokio::test]
async fn a_token_that_an_issuer_chokes_on_is_its_senders_trouble() {
    let (url, _) = scripted().await;
    let bearer = bearer(&url);
    let unavailable = "introspection.unavailable";
    let odd = "odd-0123456789abcdef";
    assert_eq!(send_from(&bearer, "192.0.2.1", odd).await, unavailable);
    assert_eq!(send_from(&bearer, "192.0.2.2", TOKEN).await, unavailable);
    let other = send_from(&bearer, "198.51.100.1", TOKEN).await;
    assert_eq!(other, "user:corp/alice");
    assert!(!failing(&bearer));
}

#[tokio::test]
async fn an_answer_counts_through_an_outage_where_that_is_configured() {
    let (url, status) = scripted().await;
    let text = |through: &str| {
        format!(
            r#"[providers.corp]
            issuer = "https://id.example.com"
            audience = "models"
            jwks_url = "https://id.example.com/keys"
            introspection = {{ url = "{url}", client_id = "g", client_secret = "s", kept_for = "0s"{through} }}
            danger_allow_http_loopback = true"#
        )
    };
    let of = |through: &str| {
        let issuers = Issuer::from_toml(&text(through)).unwrap();
        Bearer::builder().issuers(issuers).build().unwrap()
    };
    let (strict, lenient) = (of(""), of(", kept_through_outage = \"2m\""));
    for bearer in [&strict, &lenient] {
        assert_eq!(send(bearer, TOKEN, now()).await, "user:corp/alice");
    }
    *status.lock().unwrap() = 503;
    let unavailable = "introspection.unavailable";
    assert_eq!(send(&strict, TOKEN, now()).await, unavailable);
    assert_eq!(send(&lenient, TOKEN, now()).await, "user:corp/alice");
    // Nobody else, not after its expiry, and not once it is revoked here.
    assert_eq!(send(&lenient, &opaque("bob"), now()).await, unavailable);
    let late = now() + Duration::from_secs(661);
    assert_eq!(send(&lenient, TOKEN, late).await, "token.expired");
    let revocation = Revocation::Token {
        issuer: "corp".parse().unwrap(),
        id: "j1".into(),
        until: None,
    };
    lenient.revocations().revoke(revocation, now()).unwrap();
    assert_eq!(send(&lenient, TOKEN, now()).await, "token.revoked");
}

#[tokio::test]
async fn a_secret_of_a_file_is_read_again() {
    let (url, asked) = server(200, "application/json", "", claims(&json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "one\n").unwrap();
    let secret = ClientSecret::file(&file).unwrap();
    let introspection = Introspection::at(url).client_secret_post("guard", secret);
    let bearer = Bearer::builder()
        .issuer(issuer(introspection.kept_for(Duration::ZERO)))
        .build()
        .unwrap();
    let sent = || asked.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(bearer.files(), std::slice::from_ref(&file));
    send(&bearer, TOKEN, now()).await;
    assert!(sent().ends_with("client_secret=one"), "{}", sent());
    std::fs::write(&file, "two").unwrap();
    let reloaded = bearer.reload_file(&file).await;
    assert_eq!(reloaded.len(), 1);
    assert_eq!(reloaded[0].result, Ok(true));
    send(&bearer, TOKEN, now()).await;
    assert!(sent().ends_with("client_secret=two"), "{}", sent());
    // What cannot be read leaves the one before in use, and names the file.
    std::fs::write(&file, "\n").unwrap();
    let problem = bearer.reload_file(&file).await[0]
        .result
        .clone()
        .unwrap_err();
    assert!(
        problem.contains("secret`: the client's secret is empty"),
        "{problem}"
    );
    send(&bearer, TOKEN, now()).await;
    assert!(sent().ends_with("client_secret=two"), "{}", sent());
}

/// CCH-08: who asked first goes away; the others are answered.
#[tokio::test(start_paused = true)]
async fn others_are_served_when_the_first_to_ask_leaves() {
    let asks = Asks::default();
    asks.set(|script| script.delay = Duration::from_secs(1));
    let bearer = asks.bearer();
    let call = || {
        let bearer = bearer.clone();
        tokio::spawn(async move { send(&bearer, &opaque("alice"), now()).await })
    };
    let first = call();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let others: Vec<_> = (0..10).map(|_| call()).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    first.abort();
    for other in others {
        assert_eq!(other.await.unwrap(), "user:corp/alice");
    }
    assert_eq!(asks.count(), 2);
}

#[tokio::test]
async fn a_token_goes_to_the_issuer_of_its_prefix_only() {
    let (one, two, rest) = (Asks::default(), Asks::default(), Asks::default());
    let issuer = |url: &str, asks: &Asks, prefixes: &[&str]| {
        Issuer::oidc(url).audience("models").opaque_tokens(
            asks.clone(),
            prefixes.to_vec(),
            Duration::from_secs(30),
        )
    };
    let bearer = Bearer::builder()
        .issuer(issuer("https://one.example", &one, &["one_"]))
        .issuer(issuer("https://two.example", &two, &["two_", "2_"]))
        .issuer(issuer("https://id.example.com", &rest, &[]))
        .build()
        .unwrap();
    for (token, due) in [
        ("one_0123456789-x", [1, 0, 0]),
        ("two_0123456789.a.b", [1, 1, 0]),
        ("2_0123456789abcd", [1, 2, 0]),
        ("else-0123456789-alice", [1, 2, 1]),
    ] {
        send(&bearer, token, now()).await;
        assert_eq!([one.count(), two.count(), rest.count()], due, "{token}");
    }
}

#[test]
fn what_could_be_two_issuers_tokens_is_not_built() {
    let issuer = |alias: &str, prefixes: &[&str]| {
        Issuer::oidc(format!("https://{alias}.example"))
            .alias(alias)
            .audience("models")
            .opaque_tokens(Asks::default(), prefixes.to_vec(), Duration::from_secs(30))
    };
    for (one, two, count) in [
        (&[][..], &[][..], 2),
        (&["a_"], &["a_"], 2),
        (&["a_"], &["a_b_"], 2),
        (&["a_", ""], &["b_"], 1),
        (&["a_"], &["b_"], 0),
        (&["a_"], &[], 0),
    ] {
        let built = Bearer::builder()
            .issuers([issuer("one", one), issuer("two", two)])
            .build();
        let problems = built.map_or_else(|error| error.problems().to_vec(), |_| Vec::new());
        assert_eq!(problems.len(), count, "{one:?} {two:?} {problems:?}");
        assert!(
            problems
                .iter()
                .all(|it| matches!(it, IssuerProblem::Prefix { .. }))
        );
    }
    let nobody = Issuer::oidc("https://id.example.com").audience("models");
    let built = Bearer::builder()
        .issuer(nobody.introspection(Introspection::discovered()))
        .build();
    let problems = built.map(|_| ()).unwrap_err().problems().to_vec();
    assert!(matches!(
        problems.as_slice(),
        [IssuerProblem::NoClient { .. }]
    ));
}

#[tokio::test]
async fn the_endpoint_is_discovered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (issuer_url, body) = (url.clone(), claims(&json!({ "iss": url })));
    let metadata = json!({
        "issuer": issuer_url,
        "jwks_uri": format!("{issuer_url}/keys"),
        "introspection_endpoint": format!("{issuer_url}/introspect"),
    });
    let app = Router::new()
        .route(
            "/.well-known/openid-configuration",
            axum::routing::get(async move || axum::Json(metadata)),
        )
        .route(
            "/introspect",
            post(async move || ([("content-type", "application/json")], body)),
        );
    tokio::spawn(async move { axum::serve(listener, app).await });
    let text = format!(
        r#"[providers.corp]
        issuer = "{url}"
        audience = "models"
        introspection = {{ client_id = "guard", client_secret = "s", kept_for = "10s" }}
        danger_allow_http_loopback = true"#
    );
    let issuers = Issuer::from_toml(&text).unwrap();
    let bearer = Bearer::builder().issuers(issuers).build().unwrap();
    assert_eq!(send(&bearer, TOKEN, now()).await, "user:corp/alice");
}

/// CCH-10: a source of the service's own that panics breaks one request and nothing else.
#[tokio::test]
async fn a_panic_while_asking_leaves_nothing_behind() {
    struct Panics(AtomicUsize);
    impl AskIssuer for Panics {
        fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Answer, FetchError>> {
            let first = self.0.fetch_add(1, Ordering::SeqCst) < 100;
            Box::pin(async move {
                assert!(!first, "on purpose");
                Ok(Answer::Active(Bytes::from(claims(&json!({})))))
            })
        }
    }
    let none: [&str; 0] = [];
    let issuer = Issuer::oidc("https://id.example.com")
        .alias("corp")
        .audience("models");
    let asks = Panics(AtomicUsize::new(0));
    let issuer = issuer.opaque_tokens(asks, none, Duration::from_secs(30));
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    for _ in 0..100 {
        let bearer = bearer.clone();
        let broken = tokio::spawn(async move { send(&bearer, TOKEN, now()).await });
        assert!(broken.await.is_err());
    }
    assert_eq!(send(&bearer, TOKEN, now()).await, "user:corp/alice");
}
