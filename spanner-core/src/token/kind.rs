//! The kind of a token by its own claims: an access token, or another one.
//!
//! No standard claim states the kind, and introspection reports refresh tokens as active too (RFC
//! 7662 §2.2). Issuers have their own ways:
//!
//! | claim | who | says of an access token |
//! |---|---|---|
//! | `token_type` | RFC 7662 §2.2 | `Bearer`, `DPoP` (RFC 6749 §7.1) |
//! | `token_use` | Cognito, Hydra | `access`, `access_token` |
//! | `typ` | Keycloak | `Bearer` |
//! | `tokenName`, `purpose`, `type` | ForgeRock, Curity, libraries | anything but another kind |

use crate::refusal::TokenFault;
use crate::token::json::{Json, Members};
use crate::token::media_type::plain_type;

/// Claims that always state the kind. Their value must be a name of access tokens.
const NAMING: &[&str] = &["token_type", "token_use", "typ"];

/// Claims that can have another meaning. Their value must not be the name of another kind of token.
const HINTING: &[&str] = &["purpose", "tokenName", "type"];

/// Names of access tokens, as lower-case letters and digits.
const ACCESS: &[&str] = &[
    "access",
    "accesstoken",
    "atjwt",
    "bearer",
    "dpop",
    "urnietfparamsoauthtokentypeaccesstoken",
];

/// Names of any token in JWT form.
const NEUTRAL: &[&str] = &["jwt", "urnietfparamsoauthtokentypejwt"];

/// Names of ID tokens.
const ID: &[&str] = &["id", "idtoken", "urnietfparamsoauthtokentypeidtoken"];

/// Names of other tokens, for claims that can have another meaning.
const OTHER: &[&str] = &[
    "idtoken",
    "logout",
    "logouttoken",
    "offline",
    "refresh",
    "refreshtoken",
];

/// The kinds that the claims of a token state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    access: bool,
    id: bool,
    other: bool,
    bound: bool,
}

impl Kind {
    pub(super) fn stated(claims: &Members) -> Result<Self, TokenFault> {
        let mut kind = Self::default();
        for name in NAMING {
            if let Some(word) = word(claims, name)? {
                let word = word.as_str();
                kind.bound |= word == "dpop";
                // `token_type` says how a token is sent (`Bearer`), also of a refresh token.
                kind.access |= ACCESS.contains(&word) && *name != "token_type";
                kind.id |= ID.contains(&word);
                kind.other |= ![ACCESS, NEUTRAL, ID].iter().any(|it| it.contains(&word));
            }
        }
        for name in HINTING {
            // A value that is not a string does not state the kind.
            let word = word(claims, name).ok().flatten();
            kind.other |= word.is_some_and(|word| OTHER.contains(&word.as_str()));
        }
        Ok(kind)
    }

    /// Checks that the token may be used as an access token.
    pub(super) fn check(self, accepts_id_tokens: bool) -> Result<(), TokenFault> {
        match self.other || (self.id && !accepts_id_tokens) {
            true => Err(TokenFault::Type),
            false => Ok(()),
        }
    }

    /// Whether a claim states that it is an access token.
    pub(super) const fn is_access_token(self) -> bool {
        self.access && !self.id
    }

    /// Whether a claim states that it is bound to a key.
    pub(super) const fn is_bound(self) -> bool {
        self.bound
    }
}

/// The letters and digits of a claim, so that `access_token`, `Access-Token` and
/// `application/at+jwt` need one spelling each.
fn word(claims: &Members, name: &str) -> Result<Option<String>, TokenFault> {
    let text = match claims.get(name) {
        None | Some(Json::Null) => return Ok(None),
        Some(value) => value.as_str().ok_or(TokenFault::ClaimType)?,
    };
    let text = plain_type(text);
    let plain = text.chars().filter(char::is_ascii_alphanumeric);
    Ok(Some(plain.map(|c| c.to_ascii_lowercase()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claims: &str, accepts_id_tokens: bool) -> Result<(), TokenFault> {
        let claims = Members::read(claims.as_bytes(), |_| true).unwrap();
        Kind::stated(&claims)?.check(accepts_id_tokens)
    }

    #[test]
    fn accepts_what_is_called_an_access_token_and_nothing_else() {
        for claims in [
            "{}",
            r#"{"token_type":"Bearer"}"#,
            r#"{"token_type":"bearer","token_use":"access_token"}"#,
            r#"{"token_type":"DPoP"}"#,
            r#"{"token_type":"access"}"#,
            r#"{"token_type":"urn:ietf:params:oauth:token-type:access_token"}"#,
            r#"{"token_type":null}"#,
            r#"{"token_use":"access"}"#,
            r#"{"typ":"Bearer"}"#,
            r#"{"typ":"application/at+jwt"}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"type":"user","purpose":"access_token","tokenName":"access_token"}"#,
            r#"{"type":7,"purpose":["refresh"]}"#,
        ] {
            assert_eq!(check(claims, false), Ok(()), "{claims}");
        }
        for claims in [
            r#"{"token_type":"refresh_token"}"#,
            r#"{"token_type":"Refresh"}"#,
            r#"{"token_type":"N_A"}"#,
            r#"{"token_type":"mac"}"#,
            r#"{"token_type":""}"#,
            r#"{"token_type":"urn:ietf:params:oauth:token-type:refresh_token"}"#,
            r#"{"token_type":"id_token"}"#,
            r#"{"token_type":"Bearer","token_use":"refresh_token"}"#,
            r#"{"token_use":"refresh"}"#,
            r#"{"token_use":"id"}"#,
            r#"{"token_use":"device_code"}"#,
            r#"{"typ":"Refresh"}"#,
            r#"{"typ":"Offline"}"#,
            r#"{"typ":"ID"}"#,
            r#"{"typ":"Logout"}"#,
            r#"{"typ":"dpop+jwt"}"#,
            r#"{"tokenName":"refresh_token"}"#,
            r#"{"purpose":"id_token"}"#,
            r#"{"type":"refresh"}"#,
        ] {
            assert_eq!(check(claims, false), Err(TokenFault::Type), "{claims}");
        }
        let typed = check(r#"{"token_use":["access"]}"#, false);
        assert_eq!(typed, Err(TokenFault::ClaimType));
    }

    #[test]
    fn id_tokens_count_where_a_provider_has_no_others() {
        for (claims, due) in [
            (r#"{"typ":"ID"}"#, Ok(())),
            (r#"{"token_use":"id"}"#, Ok(())),
            (r#"{"token_use":"refresh"}"#, Err(TokenFault::Type)),
        ] {
            assert_eq!(check(claims, true), due, "{claims}");
        }
    }
}
