//! Constructors for the providers that have a preset.

use spanner_core::token::Preset;

use super::issuer::Issuer;

pub(super) const ENTRA: &str = "https://login.microsoftonline.com/{tid}/v2.0";
pub(super) const GOOGLE: &str = "https://accounts.google.com";
pub(super) const GITHUB_ACTIONS: &str = "https://token.actions.githubusercontent.com";
pub(super) const HUGGING_FACE: &str = "https://huggingface.co";

impl Issuer {
    /// An Okta custom authorization server, `https://acme.okta.com/oauth2/default`. The org
    /// authorization server (`https://acme.okta.com`) does not work: its access tokens are for
    /// Okta alone.
    pub fn okta(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Okta)
    }

    /// A tenant of Microsoft Entra ID, by its id, with v2 tokens. Subjects have the form
    /// `tenant/object`.
    pub fn entra(tenant: impl Into<String>) -> Self {
        Self::entra_tenants([tenant])
    }

    /// Several tenants of Microsoft Entra ID under one alias; see [`Issuer::tenants_of`].
    pub fn entra_tenants(tenants: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::tenants_of(ENTRA, "/tid", tenants).preset(Preset::Entra)
    }

    /// A tenant of Microsoft Entra ID whose application requests v1 tokens
    /// (`accessTokenAcceptedVersion` 1 or null).
    pub fn entra_v1(tenant: impl Into<String>) -> Self {
        const TEMPLATE: &str = "https://sts.windows.net/{tid}/";
        Self::tenants_of(TEMPLATE, "/tid", [tenant]).preset(Preset::Entra)
    }

    /// An Auth0 tenant, `https://acme.eu.auth0.com/` with the slash. The tenant chooses the
    /// claims of groups and roles: see [`Issuer::groups`] and [`Issuer::mapping`].
    pub fn auth0(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Auth0)
    }

    /// A Keycloak realm, `https://keycloak.example.com/realms/ml`.
    pub fn keycloak(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Keycloak)
    }

    /// Google's ID tokens. The audience is your OAuth client's id, or the audience that a
    /// service account requested.
    pub fn google() -> Self {
        Self::oidc(GOOGLE).preset(Preset::Google)
    }

    /// AWS IAM outbound identity federation. The issuer is specific to the account: see `aws iam
    /// get-outbound-web-identity-federation-info`.
    pub fn aws_iam(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::AwsIam)
    }

    /// The service accounts of an EKS cluster, by its OIDC issuer.
    pub fn aws_eks(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::AwsEks)
    }

    /// A Cognito user pool, `https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example`.
    /// The audience is the app client's id.
    pub fn aws_cognito(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::AwsCognito)
    }

    /// Jobs of GitHub Actions.
    ///
    /// # Security
    /// Every repository on GitHub can get a token for your audience. Grants must name subjects
    /// (`owner id/repository id`) or groups. [`Issuer::tenants`] with your owner's id excludes
    /// all others.
    pub fn github_actions() -> Self {
        Self::oidc(GITHUB_ACTIONS).preset(Preset::GithubActions)
    }

    /// Jobs of GitLab CI, by the address of the instance.
    ///
    /// # Security
    /// On `https://gitlab.com`, any user's jobs can get a token, as for
    /// [`Issuer::github_actions`].
    pub fn gitlab(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Gitlab)
    }

    /// The service accounts of a Kubernetes cluster, by its `--service-account-issuer`. Clusters
    /// seldom publish their keys: see [`Issuer::jwks_url`] and [`Issuer::static_jwks`].
    pub fn kubernetes(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Kubernetes)
    }

    /// JWT-SVIDs of a SPIFFE trust domain, `acme.example`. Set the address of its bundle with
    /// [`Issuer::jwks_url`].
    pub fn spiffe(trust_domain: impl AsRef<str>) -> Self {
        let name = trust_domain.as_ref();
        let name = name.strip_prefix("spiffe://").unwrap_or(name);
        Self::oidc(format!("spiffe://{name}")).preset(Preset::Spiffe)
    }

    /// Dex. The audience is the client's id.
    pub fn dex(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Dex)
    }

    /// A PingOne environment, `https://auth.pingone.eu/<environment>/as`.
    pub fn ping(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Ping)
    }

    /// OneLogin with API Authorization, `https://acme.onelogin.com/oidc/2`.
    pub fn onelogin(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Onelogin)
    }

    /// A Zitadel instance. Its applications must ask for JWT access tokens; opaque ones need
    /// introspection.
    pub fn zitadel(issuer: impl Into<String>) -> Self {
        Self::oidc(issuer).preset(Preset::Zitadel)
    }

    /// ID tokens of "Sign in with Hugging Face". The audience is your OAuth app's id.
    pub fn hugging_face() -> Self {
        Self::oidc(HUGGING_FACE).preset(Preset::HuggingFace)
    }
}
