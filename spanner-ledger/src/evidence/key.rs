//! The keys that sign and verify checkpoints.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Signer as _, StandardSigner, StandardVerifier, Verifier as _};

/// Signs a ledger's checkpoints: an Ed25519 key with the name of the ledger (its *origin*).
///
/// An attacker who has the key can sign a forged history, but cannot make it consistent with
/// checkpoints shipped before. Two ledgers must not share both origin and key.
#[derive(Clone)]
pub struct SigningKey {
    signer: StandardSigner,
    verifier: VerifierKey,
    text: String,
}

/// Verifies checkpoints; public. Its text, `<origin>+<id>+<key>`, is a `vkey` as specified by
/// C2SP [signed-note](https://c2sp.org/signed-note).
#[derive(Clone)]
pub struct VerifierKey {
    verifier: StandardVerifier,
    text: String,
}

/// Why a key was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The origin is empty or contains a space, a control character or a plus sign.
    #[error(
        "`{}` cannot be an origin: give a name such as `example.com/ledger`, without blanks and `+`",
        .given.escape_debug()
    )]
    Origin {
        /// The origin.
        given: String,
    },
    /// The text does not have the form `PRIVATE+KEY+<origin>+<id>+<key>`.
    #[error("this is no Ed25519 signing key of the form `PRIVATE+KEY+<origin>+<id>+<key>`")]
    Signing,
    /// The text does not have the form `<origin>+<id>+<key>`.
    #[error("this is no Ed25519 verifier key of the form `<origin>+<id>+<key>`")]
    Verifier,
    /// The operating system's random number generator failed.
    #[error("no random bytes: {reason}")]
    Random {
        /// The operating system's error.
        reason: String,
    },
}

impl SigningKey {
    /// Generates a key with the operating system's random number generator.
    ///
    /// # Errors
    /// [`KeyError`] if the origin is invalid or the random number generator fails.
    pub fn generate(origin: &str) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|fault| KeyError::Random {
            reason: fault.to_string(),
        })?;
        Self::of(origin, &seed)
    }

    /// Parses a key of the form `PRIVATE+KEY+<origin>+<id>+<key>`, as written by Go's `note`
    /// package and by a ledger in its file `key`.
    ///
    /// # Errors
    /// [`KeyError`] if the text has another form.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim_end();
        let mut parts = text.splitn(5, '+');
        let (Some("PRIVATE"), Some("KEY"), Some(origin), Some(_), Some(key)) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(KeyError::Signing);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Signing)?;
        let seed = match key.split_first() {
            Some((&ED25519, seed)) => seed.try_into().map_err(|_| KeyError::Signing)?,
            _ => return Err(KeyError::Signing),
        };
        let read = Self::of(origin, seed)?;
        if read.text == text {
            Ok(read)
        } else {
            Err(KeyError::Signing)
        }
    }

    /// The ledger's name in its checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.verifier.origin()
    }

    /// The public key that verifies its signatures.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The secret key in the format of the file `key`.
    pub(crate) fn secret_text(&self) -> &str {
        &self.text
    }

    pub(crate) const fn signer(&self) -> &StandardSigner {
        &self.signer
    }

    fn of(origin: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if !signed_note::is_key_name_valid(origin) || origin.chars().any(char::is_control) {
            let given = origin.to_owned();
            return Err(KeyError::Origin { given });
        }
        let public = ed25519_dalek::SigningKey::from_bytes(seed).verifying_key();
        let verifier: VerifierKey =
            signed_note::new_ed25519_verifier_key(origin, &public).parse()?;
        let id = verifier.verifier.key_id();
        let key: Vec<u8> = std::iter::once(ED25519).chain(*seed).collect();
        let text = format!("PRIVATE+KEY+{origin}+{id:08x}+{}", STANDARD.encode(key));
        let signer = StandardSigner::new(&text).map_err(|_| KeyError::Signing)?;
        debug_assert_eq!(signer.key_id(), id);
        Ok(Self {
            signer,
            verifier,
            text,
        })
    }
}

impl VerifierKey {
    /// Parses keys, one per line, in the format of the file `vkey`. Skips blank lines.
    ///
    /// # Errors
    /// The [`KeyError`] of the first invalid line.
    pub fn read_all(text: &str) -> Result<Vec<Self>, KeyError> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(str::parse).collect()
    }

    /// The name of the ledger whose checkpoints it verifies.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    pub(crate) fn verifier(&self) -> StandardVerifier {
        self.verifier.clone()
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let verifier = StandardVerifier::new(text).map_err(|_| KeyError::Verifier)?;
        let id = format!("+{:08x}+", verifier.key_id());
        if !text.contains(&id) || text.contains(char::is_control) {
            return Err(KeyError::Verifier);
        }
        Ok(Self {
            verifier,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for VerifierKey {}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({})", self.text)
    }
}

/// Omits the secret.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.verifier.text)
    }
}

/// The identifier of the signature type in the signed-note specification.
const ED25519: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of Go's `note` package documentation.
    const PETER: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn reads_a_key_that_another_program_made() {
        let key = SigningKey::from_text(PETER).unwrap();
        assert_eq!(key.origin(), "PeterNeumann");
        assert_eq!(
            key.verifier().to_string(),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
    }

    #[test]
    fn reads_its_own_text_and_shows_no_secret() {
        let key = SigningKey::generate("example.com/ledger").unwrap();
        let again = SigningKey::from_text(key.secret_text()).unwrap();
        assert_eq!(again.verifier(), key.verifier());
        // Base64 has a `+` of its own.
        let secret = key.secret_text().splitn(5, '+').nth(4).unwrap();
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn refuses_malformed_keys() {
        let rows = [
            "",
            "PRIVATE+KEY",
            "PRIVATE+KEY+a+c74f20a3+AYEK",
            "PRIVATE+KEY+Other+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
            "PRIVATE+KEY+PeterNeumann+c74f20a3+AoEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
        ];
        for row in rows {
            assert_eq!(
                SigningKey::from_text(row).err(),
                Some(KeyError::Signing),
                "{row}"
            );
        }
        for origin in ["", "a b", "a+b", "a\nb", "a\u{7}b"] {
            let refused = SigningKey::generate(origin).err();
            assert!(
                matches!(refused, Some(KeyError::Origin { .. })),
                "{origin:?}"
            );
        }
        assert_eq!("a+b".parse::<VerifierKey>(), Err(KeyError::Verifier));
    }
}
