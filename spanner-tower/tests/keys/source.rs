//! Further sources of keys.

use spanner_core::token::Algorithm;
use spanner_tower::keys::{HttpKeys, KeySource, StaticKeys};
use spanner_tower::mock_idp::MockIdp;
use spanner_tower::{Bearer, Issuer};

use crate::support::{code, idp, now, token};

#[tokio::test]
async fn keys_can_be_part_of_the_configuration() {
    let idp = idp();
    let issuer = Issuer::oidc(idp.issuer()).alias("mock").audience("models");
    let bearer = Bearer::builder()
        .issuer(issuer.static_jwks(idp.jwks()))
        .build()
        .unwrap();
    assert_eq!(code(&bearer, &token(&idp).sign()).await, "ok");
    assert_eq!(idp.fetch_count(), 0);
    assert!(StaticKeys::new(idp.jwks()).is_ok());
}

#[tokio::test]
async fn a_real_provider_is_discovered_over_http() {
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ] {
        let (idp, _serving) = MockIdp::serve(algorithm).await;
        idp.set_now(now());
        let issuer = Issuer::oidc(idp.issuer()).alias("mock").audience("models");
        let issuer = issuer.danger_allow_http_loopback();
        let bearer = Bearer::builder().issuer(issuer).build().unwrap();
        assert_eq!(
            code(&bearer, &token(&idp).sign()).await,
            "ok",
            "{algorithm}"
        );
        idp.rotate();
        assert_eq!(
            code(&bearer, &token(&idp).sign()).await,
            "ok",
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn an_address_without_a_provider_is_a_failed_fetch() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let keys = HttpKeys::at(&format!("https://127.0.0.1:{port}/keys")).unwrap();
    let error = keys.fetch(None).await.unwrap_err();
    assert!(error.reason.contains("cannot be fetched"), "{error}");
}

#[cfg(feature = "jwks-client-rs")]
#[tokio::test]
async fn jwks_client_rs_fetches_for_the_cache() {
    use jwks_client_rs::source::WebSource;
    use spanner_tower::keys::JwksClientRs;

    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let (idp, serving) = MockIdp::serve(algorithm).await;
        idp.set_now(now());
        let url = format!("{}/keys", idp.issuer()).parse().unwrap();
        let source = JwksClientRs::new(WebSource::builder().build(url).unwrap());
        let issuer = Issuer::oidc(idp.issuer()).alias("mock").audience("models");
        let issuer = issuer.danger_allow_http_loopback().keys(source);
        let bearer = Bearer::builder().issuer(issuer).build().unwrap();
        assert_eq!(
            code(&bearer, &token(&idp).sign()).await,
            "ok",
            "{algorithm}"
        );
        assert_eq!(idp.fetch_count(), 1);
        drop(serving);
    }
}
