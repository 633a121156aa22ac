//! Tokens that are bound to a key or a certificate, and what thieves make of them.

use std::time::Duration;

use http::Request;
use http::request::Parts;
use serde_json::{Value, json};
use spanner_core::token::Algorithm;
use spanner_tower::bearer::IssuerProblem;
use spanner_tower::mock_idp::{MockHolder, MockIdp, MockProof};
use spanner_tower::{Authenticate, Bearer, PeerCertificate};
use tokio::time::advance;

use crate::{idp, now, token};

const URL: &str = "https://models.example.com/v1/embeddings";
const CERTIFICATE: &[u8] = b"a certificate in DER";

fn bearer(idp: &MockIdp) -> Bearer {
    let issuer = idp.issuer_config().audience("models");
    let builder = Bearer::builder().dpop("https://models.example.com");
    builder.issuer(issuer).build().unwrap()
}

fn request(authorization: &str, proofs: &[&str]) -> Parts {
    let mut request = Request::post("https://wrong.example/v1/embeddings?a=b")
        .header("host", "wrong.example")
        .header("authorization", authorization);
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    request.body(()).unwrap().into_parts().0
}

async fn outcome(bearer: &Bearer, mut parts: Parts) -> String {
    match bearer.authenticate(&mut parts, now()).await {
        Ok(accepted) => accepted.caller.to_string(),
        Err(error) => error.refusal.code().to_owned(),
    }
}

#[tokio::test]
async fn a_bound_token_is_good_with_a_proof_for_each_request() {
    let idp = idp("https://mock.test");
    for algorithm in [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
        Algorithm::Rs256,
    ] {
        let (bearer, holder) = (bearer(&idp), MockHolder::of(algorithm));
        let bound = token(&idp).sub("alice").bound_to(&holder).sign();
        for _ in 0..3 {
            let proof = holder.proof("POST", URL, &bound, now()).sign();
            let parts = request(&format!("DPoP {bound}"), &[&proof]);
            assert_eq!(
                outcome(&bearer, parts).await,
                "user:mock/alice",
                "{algorithm}"
            );
        }
        // The token is kept, and yet each request needs its own proof.
        assert_eq!(bearer.cached_tokens(), 1);
    }
}

#[tokio::test]
async fn every_fault_of_a_proof_refuses_it() {
    let idp = idp("https://mock.test");
    let (bearer, holder, thief) = (bearer(&idp), MockHolder::new(), MockHolder::new());
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let another = token(&idp)
        .sub("alice")
        .claim("jti", "2")
        .bound_to(&holder)
        .sign();
    let seconds = |seconds: i64| now().as_second() + seconds;
    let mut private = holder.jwk().clone();
    private["d"] = json!("AAAA");
    let symmetric = json!({"kty": "oct", "k": "AAAA"});
    let thumbprint = holder.jwk().clone();
    let good = || holder.proof("POST", URL, &bound, now());
    let rows: Vec<(&str, MockProof, bool)> = vec![
        ("the usual one", good(), true),
        (
            "letter case and default port",
            good().claim("htu", "HTTPS://Models.Example.com:443/v1/embeddings"),
            true,
        ),
        ("a query", good().claim("htu", format!("{URL}?x=y#z")), true),
        ("a kid", good().header("kid", "1"), true),
        (
            "a nonce that nobody asked for",
            good().claim("nonce", "n"),
            true,
        ),
        (
            "application/dpop+jwt",
            good().header("typ", "application/dpop+jwt"),
            true,
        ),
        ("90 seconds old", good().claim("iat", seconds(-90)), true),
        ("30 seconds ahead", good().claim("iat", seconds(30)), true),
        ("91 seconds old", good().claim("iat", seconds(-91)), false),
        ("31 seconds ahead", good().claim("iat", seconds(31)), false),
        ("no time", good().claim("iat", Value::Null), false),
        ("a time in words", good().claim("iat", "now"), false),
        ("no identifier", good().claim("jti", Value::Null), false),
        ("an empty identifier", good().claim("jti", ""), false),
        (
            "a long identifier",
            good().claim("jti", "x".repeat(257)),
            false,
        ),
        ("a number for an identifier", good().claim("jti", 7), false),
        ("no method", good().claim("htm", Value::Null), false),
        ("another method", good().claim("htm", "GET"), false),
        (
            "the method in small letters",
            good().claim("htm", "post"),
            false,
        ),
        ("no URL", good().claim("htu", Value::Null), false),
        (
            "another path",
            good().claim("htu", "https://models.example.com/v1/models"),
            false,
        ),
        (
            "another host",
            good().claim("htu", "https://wrong.example/v1/embeddings"),
            false,
        ),
        (
            "http",
            good().claim("htu", "http://models.example.com/v1/embeddings"),
            false,
        ),
        (
            "no hash of the token",
            good().claim("ath", Value::Null),
            false,
        ),
        (
            "another token's hash",
            holder.proof("POST", URL, &another, now()),
            false,
        ),
        ("no type", good().header("typ", Value::Null), false),
        ("another type", good().header("typ", "JWT"), false),
        ("no key", good().header("jwk", Value::Null), false),
        (
            "another key than signed",
            good().header("jwk", thief.jwk().clone()),
            false,
        ),
        ("a private key", good().header("jwk", private), false),
        ("a symmetric key", good().header("jwk", symmetric), false),
        ("a key that is text", good().header("jwk", "key"), false),
        ("another algorithm", good().header("alg", "ES384"), false),
        (
            "a symmetric algorithm",
            good().header("alg", "HS256"),
            false,
        ),
        ("no algorithm", good().header("alg", "none"), false),
        ("an extension", good().header("crit", json!(["x"])), false),
        (
            "a key elsewhere",
            good().header("jku", "https://evil.example/keys"),
            false,
        ),
        (
            "a key of the thief's",
            thief.proof("POST", URL, &bound, now()),
            false,
        ),
        (
            "a key of the thief's that says it is the holder's",
            thief
                .proof("POST", URL, &bound, now())
                .header("jwk", thumbprint),
            false,
        ),
    ];
    for (about, proof, accepted) in rows {
        let parts = request(&format!("DPoP {bound}"), &[&proof.sign()]);
        let due = if accepted {
            "user:mock/alice"
        } else {
            "token.pop_invalid"
        };
        assert_eq!(outcome(&bearer, parts).await, due, "{about}");
    }
    for text in ["", "x", "a.b.c", &bound] {
        let parts = request(&format!("DPoP {bound}"), &[text]);
        assert_eq!(outcome(&bearer, parts).await, "token.pop_invalid", "{text}");
    }
}

#[tokio::test]
async fn a_bound_token_without_its_proof_is_a_stolen_one() {
    let idp = idp("https://mock.test");
    let (bearer, holder) = (bearer(&idp), MockHolder::new());
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let plain = token(&idp).sub("bob").sign();
    let both = token(&idp).sub("eve");
    let both = both
        .claim("cnf", json!({"jkt": holder.thumbprint(), "x5t#S256": "x"}))
        .sign();
    let proof = |token: &str| holder.proof("POST", URL, token, now()).sign();
    let (one, two) = (proof(&bound), proof(&bound));
    for (about, parts, due) in [
        (
            "as a bearer token",
            request(&format!("Bearer {bound}"), &[]),
            "token.pop_required",
        ),
        (
            "as a bearer token, with a proof",
            request(&format!("Bearer {bound}"), &[&one]),
            "token.pop_required",
        ),
        (
            "without a proof",
            request(&format!("DPoP {bound}"), &[]),
            "token.pop_required",
        ),
        (
            "with two proofs",
            request(&format!("DPoP {bound}"), &[&one, &two]),
            "auth.malformed",
        ),
        (
            "a plain token with a proof",
            request(&format!("DPoP {plain}"), &[&proof(&plain)]),
            "token.pop_invalid",
        ),
        (
            "a plain token without one",
            request(&format!("DPoP {plain}"), &[]),
            "token.pop_invalid",
        ),
        (
            "a plain token as what it is",
            request(&format!("Bearer {plain}"), &[]),
            "user:mock/bob",
        ),
        (
            "a second binding unproved",
            request(&format!("DPoP {both}"), &[&proof(&both)]),
            "token.pop_required",
        ),
        (
            "as it should be",
            request(&format!("DPoP {bound}"), &[&one]),
            "user:mock/alice",
        ),
    ] {
        assert_eq!(outcome(&bearer, parts).await, due, "{about}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_counts_once() {
    let idp = idp("https://mock.test");
    let (bearer, holder) = (bearer(&idp), MockHolder::new());
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let proof = holder.proof("POST", URL, &bound, now()).sign();
    let call = || request(&format!("DPoP {bound}"), &[&proof]);
    assert_eq!(outcome(&bearer, call()).await, "user:mock/alice");
    for seconds in [0, 1, 60, 119] {
        advance(Duration::from_secs(seconds)).await;
        assert_eq!(outcome(&bearer.clone(), call()).await, "token.pop_replayed");
    }
    // The same identifier of another holder is another proof.
    let other = MockHolder::new();
    let theirs = token(&idp).sub("bob").bound_to(&other).sign();
    let same = |holder: &MockHolder, token: &str| {
        holder
            .proof("POST", URL, token, now())
            .claim("jti", "same")
            .sign()
    };
    let (one, two) = (same(&holder, &bound), same(&other, &theirs));
    assert_eq!(
        outcome(&bearer, request(&format!("DPoP {bound}"), &[&one])).await,
        "user:mock/alice"
    );
    assert_eq!(
        outcome(&bearer, request(&format!("DPoP {theirs}"), &[&two])).await,
        "user:mock/bob"
    );
    // What is refused for another reason uses nothing up.
    let early = holder.proof("POST", URL, &bound, now());
    let wrong = request(&format!("DPoP {theirs}"), &[&early.clone().sign()]);
    assert_eq!(outcome(&bearer, wrong).await, "token.pop_invalid");
    let right = request(&format!("DPoP {bound}"), &[&early.sign()]);
    assert_eq!(outcome(&bearer, right).await, "user:mock/alice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_replay_at_once_one_is_served() {
    let idp = idp("https://mock.test");
    let (bearer, holder) = (bearer(&idp), MockHolder::new());
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let proof = holder.proof("POST", URL, &bound, now()).sign();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (bearer, parts) = (bearer.clone(), request(&format!("DPoP {bound}"), &[&proof]));
            tokio::spawn(async move { outcome(&bearer, parts).await })
        })
        .collect();
    let mut served = 0;
    for call in calls {
        match &*call.await.unwrap() {
            "user:mock/alice" => served += 1,
            other => assert_eq!(other, "token.pop_replayed"),
        }
    }
    assert_eq!(served, 1);
}

/// Without the service's own address no proof can be judged.
#[tokio::test]
async fn proofs_are_refused_where_they_are_not_configured() {
    let (idp, holder) = (idp("https://mock.test"), MockHolder::new());
    let issuer = idp.issuer_config().audience("models");
    let bearer = Bearer::builder().issuer(issuer).build().unwrap();
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let proof = holder.proof("POST", URL, &bound, now()).sign();
    let parts = request(&format!("DPoP {bound}"), &[&proof]);
    assert_eq!(outcome(&bearer, parts).await, "auth.unsupported_scheme");
    assert_eq!(bearer.proof_algorithms(), None);
    let built = Bearer::builder()
        .issuer(idp.issuer_config().audience("models"))
        .dpop("models.example.com")
        .build();
    let problems = built.map(|_| ()).unwrap_err().problems().to_vec();
    assert!(matches!(
        problems.as_slice(),
        [IssuerProblem::Origin { .. }]
    ));
}

#[tokio::test]
async fn a_certificate_is_the_connections_own() {
    let idp = idp("https://mock.test");
    let bearer = bearer(&idp);
    let bound = token(&idp)
        .sub("alice")
        .bound_to_certificate(CERTIFICATE)
        .sign();
    let with = |certificate: Option<&[u8]>| {
        // What a caller can write is not looked at.
        let mut parts = request(&format!("Bearer {bound}"), &[]);
        for name in ["x-forwarded-client-cert", "x-client-cert", "client-cert"] {
            parts
                .headers
                .insert(name, "YSBjZXJ0aWZpY2F0ZSBpbiBERVI=".parse().unwrap());
        }
        parts.extensions.extend(http::Extensions::new());
        if let Some(certificate) = certificate {
            parts
                .extensions
                .insert(PeerCertificate::of_der(certificate));
        }
        parts
    };
    for (certificate, due) in [
        (Some(CERTIFICATE), "user:mock/alice"),
        (None, "token.pop_required"),
        (Some(&b"another certificate"[..]), "token.pop_invalid"),
        (Some(CERTIFICATE), "user:mock/alice"),
    ] {
        assert_eq!(outcome(&bearer, with(certificate)).await, due);
    }
}

#[tokio::test]
async fn an_issuer_can_be_held_to_bound_tokens() {
    let (idp, holder) = (idp("https://mock.test"), MockHolder::new());
    let issuer = idp.issuer_config().audience("models").require_binding();
    let bearer = Bearer::builder()
        .issuer(issuer)
        .dpop("https://models.example.com");
    let bearer = bearer.build().unwrap();
    let plain = token(&idp).sub("alice").sign();
    let parts = request(&format!("Bearer {plain}"), &[]);
    assert_eq!(outcome(&bearer, parts).await, "token.pop_required");
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let proof = holder.proof("POST", URL, &bound, now()).sign();
    let parts = request(&format!("DPoP {bound}"), &[&proof]);
    assert_eq!(outcome(&bearer, parts).await, "user:mock/alice");

    let both = idp.issuer_config().audience("models").require_binding();
    let built = Bearer::builder()
        .issuer(both.danger_allow_unverified_binding())
        .build();
    assert!(built.is_err());
}

/// What a client is told (RFC 9449 §7.1), and what the service behind gets to see.
#[tokio::test]
async fn challenges_offer_proofs_and_nothing_of_them_goes_through() {
    use spanner_core::testing::{Fixed, MemorySink, Rules};
    use spanner_tower::{GuardLayer, RequestBody, surface};
    use tower::{Layer, ServiceExt, service_fn};

    type Body = http_body_util::Full<bytes::Bytes>;
    let (idp, holder) = (idp("https://mock.test"), MockHolder::new());
    let host = Fixed::at(crate::NOW);
    let guard = GuardLayer::builder(bearer(&idp), Rules::allow(|_| true), MemorySink::new())
        .environment("production".parse().unwrap())
        .surface(surface::openai())
        .host(host)
        .build()
        .unwrap();
    let service = guard.layer(service_fn(|request: Request<RequestBody<Body>>| {
        let seen = format!("{:?}", request.headers().keys().collect::<Vec<_>>());
        let response = http::Response::new(Body::from(seen));
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    }));
    let bound = token(&idp).sub("alice").bound_to(&holder).sign();
    let proof = || holder.proof("POST", URL, &bound, now());
    let algorithms = "algs=\"ES256 ES384 EdDSA Ed25519 PS256 PS384 PS512 RS256\"";
    for (authorization, proof, status, bearer, dpop) in [
        (format!("DPoP {bound}"), proof().sign(), 200, "", ""),
        (
            format!("DPoP {bound}"),
            proof().claim("htm", "GET").sign(),
            401,
            "error=\"invalid_token\"",
            "error=\"invalid_dpop_proof\"",
        ),
        (
            format!("Bearer {bound}"),
            String::new(),
            401,
            "error=\"invalid_token\"",
            "error=\"invalid_token\"",
        ),
        (
            "Basic YTpi".to_owned(),
            String::new(),
            401,
            "Bearer realm=\"spanner\"",
            "DPoP realm=\"spanner\"",
        ),
    ] {
        let mut request = Request::post("/v1/embeddings")
            .header("authorization", &authorization)
            .header("content-type", "application/json");
        if !proof.is_empty() {
            request = request.header("dpop", proof);
        }
        let body = Body::from(r#"{"model": "acme/sentiment", "input": "hello"}"#);
        let response = service
            .clone()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{authorization}");
        let challenges = response.headers().get_all("www-authenticate").iter();
        let challenges: Vec<_> = challenges
            .map(|it| it.to_str().unwrap().to_owned())
            .collect();
        if status == 200 {
            assert!(challenges.is_empty());
            let seen = http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap();
            let seen = String::from_utf8(seen.to_bytes().to_vec()).unwrap();
            assert!(
                !seen.contains("dpop") && !seen.contains("authorization"),
                "{seen}"
            );
            continue;
        }
        let [one, two] = &*challenges else {
            return assert_eq!(challenges.len(), 2, "{challenges:?}");
        };
        assert!(one.starts_with("Bearer ") && one.contains(bearer), "{one}");
        assert!(
            two.starts_with("DPoP ") && two.contains(dpop) && two.contains(algorithms),
            "{two}"
        );
    }
}
