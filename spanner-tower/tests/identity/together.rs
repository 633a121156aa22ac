//! Several providers in one service.

use std::time::Duration;

use spanner_tower::bearer::IssuerProblem;
use spanner_tower::keys::KeyState;
use spanner_tower::{Bearer, Issuer};
use tokio::time::timeout;

use crate::{caller, idp, token, who};

/// Entra with two tenants, each with keys of its own, as static sets would not show.
#[tokio::test]
async fn tenants_of_one_provider_stay_apart() {
    const TEMPLATE: &str = "https://login.example.com/{tid}/v2.0";
    let (one, two) = (
        idp("https://login.example.com/t1/v2.0"),
        idp("https://login.example.com/t2/v2.0"),
    );
    let entra = |tenants: &[&str], keys: &spanner_tower::mock_idp::MockIdp| {
        Issuer::tenants_of(TEMPLATE, "/tid", tenants.to_vec())
            .alias("entra")
            .preset(spanner_core::token::Preset::Entra)
            .audience("models")
            .keys(keys.clone())
    };
    let person = |idp, tenant: &str| {
        token(idp)
            .claim("tid", tenant)
            .claim("oid", "o-1")
            .claim("idtyp", "user")
    };
    let bearer = Bearer::builder()
        .issuer(entra(&["t1"], &one))
        .build()
        .unwrap();
    assert_eq!(who(&bearer, person(&one, "t1")).await, "user:entra/t1/o-1");
    // Another tenant signs for itself; then for this one, with its own keys.
    assert_eq!(who(&bearer, person(&two, "t2")).await, "token.iss");
    let forged = person(&two, "t1").claim("iss", one.issuer());
    assert_eq!(who(&bearer, forged).await, "token.bad_signature");
    // The tenant's issuer, about somebody of another tenant.
    assert_eq!(who(&bearer, person(&one, "t2")).await, "token.iss");

    let both = Bearer::builder().issuer(entra(&["t1", "t2"], &one)).build();
    let readiness = both.unwrap().readiness();
    let urls: Vec<_> = readiness.iter().map(|it| &*it.url).collect();
    assert_eq!(urls, [one.issuer(), two.issuer()]);
    assert!(readiness.iter().all(|it| it.issuer.as_str() == "entra"));
}

#[test]
fn a_template_without_tenants_is_not_built() {
    let problems = |issuer: Issuer| {
        let built = Bearer::builder().issuer(issuer.audience("models")).build();
        built.map(|_| ()).unwrap_err().problems().to_vec()
    };
    let none: [&str; 0] = [];
    assert!(matches!(
        problems(Issuer::entra_tenants(none)).as_slice(),
        [IssuerProblem::NoTenant { .. }]
    ));
    for tenant in ["", "..", "t1/../t2", "t1?", "*", "t 1", "{tid}"] {
        let found = problems(Issuer::entra(tenant));
        assert!(
            matches!(found.as_slice(), [IssuerProblem::Tenant { .. }]),
            "{tenant}"
        );
    }
    for template in [
        "https://id.example.com",
        "https://{a}.example/{b}",
        "https://{}/",
    ] {
        let found = problems(Issuer::tenants_of(template, "/tid", ["t1"]).alias("x"));
        assert!(
            matches!(found.as_slice(), [IssuerProblem::Template { .. }]),
            "{template}"
        );
    }
    assert!(matches!(
        problems(Issuer::spiffe("acme.example")).as_slice(),
        [IssuerProblem::NoBundle { .. }]
    ));
}

#[tokio::test]
async fn the_same_subject_of_two_issuers_is_two_callers() {
    let (corp, partner) = (idp("https://corp.example"), idp("https://partner.example"));
    let accept = |idp: &spanner_tower::mock_idp::MockIdp, alias| {
        idp.issuer_config().alias(alias).audience("models")
    };
    let bearer = Bearer::builder()
        .issuers([accept(&corp, "corp"), accept(&partner, "partner")])
        .build()
        .unwrap();
    let alice = |idp| token(idp).sub("alice").groups(["nlp"]);
    let (one, other) = (
        caller(&bearer, alice(&corp)).await.unwrap(),
        caller(&bearer, alice(&partner)).await.unwrap(),
    );
    assert_ne!(one.subject(), other.subject());
    assert_eq!(one.to_string(), "user:corp/alice");
    assert_eq!(other.to_string(), "user:partner/alice");
    // Keys of one issuer verify nothing of the other.
    let forged = alice(&partner).claim("iss", corp.issuer());
    assert_eq!(who(&bearer, forged).await, "token.bad_signature");
}

/// One provider hangs for ever; callers of another are served meanwhile.
#[tokio::test(start_paused = true)]
async fn an_outage_of_one_provider_delays_nobody_elses_callers() {
    let (hanging, well) = (idp("https://hangs.example"), idp("https://well.example"));
    hanging.delay(Duration::from_secs(3_600));
    let bearer = Bearer::builder()
        .issuer(hanging.issuer_config().alias("hangs").audience("models"))
        .issuer(well.issuer_config().alias("well").audience("models"))
        .build()
        .unwrap();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (bearer, token) = (bearer.clone(), token(&hanging).sub("bob"));
            tokio::spawn(async move { who(&bearer, token).await })
        })
        .collect();
    for _ in 0..50 {
        let at_once = timeout(
            Duration::from_millis(1),
            who(&bearer, token(&well).sub("eve")),
        );
        assert_eq!(at_once.await.unwrap(), "user:well/eve");
    }
    for call in waiting {
        assert_eq!(call.await.unwrap(), "keys.unavailable");
    }
    let states: Vec<_> = bearer
        .readiness()
        .iter()
        .map(|it| (it.issuer.to_string(), it.is_ready()))
        .collect();
    assert_eq!(
        states,
        [("hangs".to_owned(), false), ("well".to_owned(), true)]
    );
    assert!(
        bearer
            .readiness()
            .iter()
            .any(|it| it.keys.as_ref().unwrap().state == KeyState::Fresh)
    );
}
