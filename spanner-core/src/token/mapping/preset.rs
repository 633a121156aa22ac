//! The presets: mappings that Spanner includes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::claim_mapping::ClaimMapping;

/// Their text. Each was written from the provider's documentation and examples of its tokens.
const TEXT: &str = include_str!("../data/presets.toml");

static PRESETS: LazyLock<BTreeMap<String, ClaimMapping>> = LazyLock::new(read);

macro_rules! presets {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)*) => {
        /// A provider whose tokens Spanner can read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Preset { $($(#[$doc])* $name,)* }

        impl Preset {
            /// Every preset.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in configuration files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

presets! {
    /// Any provider of OpenID Connect or OAuth. Callers are people unless the token states
    /// otherwise.
    Oidc => "oidc",
    /// The JWT profile for access tokens (RFC 9068), strictly.
    Rfc9068 => "rfc9068",
    /// Okta's custom authorization servers. The organization's own server issues tokens for Okta
    /// only.
    Okta => "okta",
    /// Microsoft Entra ID, v1 and v2 tokens; subjects are `tenant/object`.
    Entra => "entra",
    /// Auth0. Name the claims of groups and roles, because they have your own namespace.
    Auth0 => "auth0",
    /// Keycloak. Groups need a mapper at the client, and usually the audience does too.
    Keycloak => "keycloak",
    /// Google's ID tokens, of people and of service accounts. Access tokens are opaque.
    Google => "google",
    /// AWS IAM outbound identity federation (`sts:GetWebIdentityToken`).
    AwsIam => "aws_iam",
    /// Service accounts of EKS (IRSA).
    AwsEks => "aws_eks",
    /// Cognito's access tokens; the audience is the client's id.
    AwsCognito => "aws_cognito",
    /// Jobs of GitHub Actions; subjects are `owner id/repository id`.
    GithubActions => "github_actions",
    /// Jobs of GitLab CI; subjects are `namespace id/project id`.
    Gitlab => "gitlab",
    /// Bound service account tokens of Kubernetes.
    Kubernetes => "kubernetes",
    /// JWT-SVIDs; the issuer is the trust domain, `spiffe://acme.example`.
    Spiffe => "spiffe",
    /// Dex, whose ID and access tokens are alike.
    Dex => "dex",
    /// PingOne.
    Ping => "ping",
    /// OneLogin with API Authorization.
    Onelogin => "onelogin",
    /// Zitadel with JWT access tokens. People and machines cannot be distinguished.
    Zitadel => "zitadel",
    /// Hugging Face's ID tokens, and answers of its `userinfo` endpoint.
    HuggingFace => "hugging_face",
    /// Answers of Hugging Face's `whoami-v2` about the holder of an `hf_…` token.
    HuggingFaceWhoami => "hugging_face_whoami",
}

impl Preset {
    /// The mapping.
    #[must_use]
    pub fn mapping(self) -> ClaimMapping {
        PRESETS.get(self.as_str()).cloned().unwrap_or_default()
    }
}

#[expect(
    clippy::expect_used,
    reason = "the presets are part of the program, and a test reads them"
)]
fn read() -> BTreeMap<String, ClaimMapping> {
    toml::from_str(TEXT).expect("the presets are valid")
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is not a preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no preset {word:?}; there are {}", Preset::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownPreset {
    word: String,
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    /// Hyphens are read as underscores.
    fn from_str(word: &str) -> Result<Self, UnknownPreset> {
        let plain = word.replace('-', "_");
        let found = Self::ALL.iter().find(|preset| preset.as_str() == plain);
        found.copied().ok_or_else(|| UnknownPreset {
            word: word.to_owned(),
        })
    }
}

impl ClaimMapping {
    /// The mapping of the OpenID Connect and OAuth standards, for providers without a preset.
    #[must_use]
    pub fn oidc() -> Self {
        Preset::Oidc.mapping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_whole() {
        for word in PRESETS.keys() {
            let known = Preset::ALL.iter().any(|preset| preset.as_str() == word);
            assert!(known, "add `{word}` of `presets.toml` to `presets!`");
        }
        for preset in Preset::ALL {
            assert!(
                PRESETS.contains_key(preset.as_str()),
                "add a table `[{preset}]` to `presets.toml`"
            );
            assert_eq!(preset.mapping().problems(), [], "{preset}");
            assert_eq!(preset.as_str().parse(), Ok(*preset));
        }
        assert!("keycloack".parse::<Preset>().is_err());
        assert_eq!("aws-iam".parse(), Ok(Preset::AwsIam));
    }
}
