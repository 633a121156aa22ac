//! Names that cannot be wrong: each is checked once, where it enters.

use crate::text::is_displayable;
use std::fmt;
use std::sync::Arc;

/// Why a text is not a name. What and where, and never the text itself beyond what is
/// safe to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, where a name must be.
    #[error("a {what} must not be empty")]
    Empty {
        /// The kind of name, for instance `model name`.
        what: &'static str,
    },
    /// More bytes than the limit.
    #[error("a {what} has at most {limit} bytes, this one has {bytes}")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// The length found, in bytes.
        bytes: usize,
    },
    /// A character that the kind of name has no place for.
    #[error("a {what} must not contain {character:?} (at byte {at})")]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The character found.
        character: char,
        /// Its byte offset.
        at: usize,
    },
    /// A path-like part (between slashes) that is empty, `.` or `..`.
    #[error("a {what} must not have an empty, `.` or `..` part between its slashes")]
    Segment {
        /// The kind of name.
        what: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX_BYTES: usize = $limit;

            /// Checks a text and makes it a name; nothing is trimmed, folded or replaced.
            ///
            /// # Errors
            /// [`NameError`] when it is empty, too long, or has a character or part that
            /// this kind of name has no place for.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                bounded($what, text, $limit)?;
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// A model's name as its API spells it: `acme/sentiment`, `gpt-4o`, `llama3:8b`,
    /// `ft:base:org::id`.
    ///
    /// ASCII letters, digits and `- . _ : @ + = / ~`, at most 256 bytes, no empty, `.` or
    /// `..` part between slashes. One slash may stand in front: servers call a model that they
    /// read from `/models/x` by that path. Names are compared byte for byte; letters of other
    /// scripts are refused, since two of them can look alike.
    ModelName, "model name", 256, |text| {
        refuse_characters("model name", text, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '@' | '+' | '=' | '/' | '~')
        })?;
        let inner = text.strip_prefix('/').unwrap_or(text);
        if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(NameError::Segment { what: "model name" });
        }
        Ok(())
    }
}

name! {
    /// A revision of a model: a version number, a tag, a commit, `refs/pr/1`.
    ///
    /// Printable ASCII without spaces, at most 256 bytes.
    Revision, "revision", 256, |text| {
        refuse_characters("revision", text, |c| c.is_ascii_graphic())
    }
}

name! {
    /// An environment: `development`, `staging`, `production`, or whatever the
    /// organization calls them. The same model has its own access in each.
    ///
    /// Lower-case ASCII letters, digits, `-` and `_`, at most 64 bytes.
    Environment, "environment", 64, |text| {
        refuse_characters("environment", text, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
        })
    }
}

name! {
    /// The short name that an operator gives to an issuer, so that principals can be
    /// written as `group:corp/nlp`.
    ///
    /// Lower-case ASCII letters, digits and `- _ .`, at most 64 bytes.
    IssuerAlias, "issuer alias", 64, |text| {
        refuse_characters("issuer alias", text, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
        })
    }
}

name! {
    /// An issuer's identifier for a caller (`sub`), byte for byte.
    ///
    /// At most 255 bytes (OpenID Connect Core §2 allows 255 characters), no control
    /// character and none that changes the direction of text: a subject is shown to
    /// people who decide by what they read.
    SubjectId, "subject", 255, |text| refuse_characters("subject", text, is_displayable)
}

name! {
    /// A group's name as its issuer writes it, byte for byte.
    ///
    /// At most 256 bytes, no control or direction character.
    GroupName, "group name", 256, |text| refuse_characters("group name", text, is_displayable)
}

fn bounded(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        bytes if bytes > limit => Err(NameError::TooLong { what, limit, bytes }),
        _ => Ok(()),
    }
}

fn refuse_characters(
    what: &'static str,
    text: &str,
    accepted: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    match text.char_indices().find(|(_, c)| !accepted(*c)) {
        Some((at, character)) => Err(NameError::Character {
            what,
            character,
            at,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_names_that_model_apis_use() {
        for text in [
            "acme/sentiment",
            "gpt-4o",
            "llama3:8b",
            "ft:gpt-4o:org::id",
            "model@2026-01-01",
            "arn:aws:bedrock:us-east-1:123:provisioned-model/abc",
            "/models/llama",
            "~/models/llama",
        ] {
            assert_eq!(
                ModelName::new(text).map(|n| n.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn refuses_a_model_name_that_could_be_read_twice() {
        for text in [
            "",
            " acme",
            "a b",
            "a/../b",
            "a//b",
            "/",
            "//a",
            "/a/",
            "./a",
            "/../a",
            "C:\\models\\a",
            "a[0]",
            "a/",
            ".",
            "a\u{0}",
            "a%2Fb",
            "a\\b",
            "a,b",
            "ａcme",
            "a\u{200b}b",
            "*",
            "a?b",
            "a#b",
        ] {
            assert!(ModelName::new(text).is_err(), "{text:?}");
        }
        assert!(ModelName::new(&"a".repeat(257)).is_err());
        assert!(ModelName::new(&"a".repeat(256)).is_ok());
    }

    #[test]
    fn tells_what_is_wrong_with_a_name_and_where() {
        for (text, expected) in [
            ("C:\\m", "a model name must not contain '\\\\' (at byte 2)"),
            ("my model", "a model name must not contain ' ' (at byte 2)"),
            ("m[1]", "a model name must not contain '[' (at byte 1)"),
            (
                "a/../b",
                "a model name must not have an empty, `.` or `..` part between its slashes",
            ),
            ("", "a model name must not be empty"),
        ] {
            let error = ModelName::new(text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn refuses_a_subject_that_could_forge_what_is_shown() {
        for text in [
            "a\u{0}b",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{202e}b",
            "a\u{2028}b",
            "",
        ] {
            assert!(SubjectId::new(text).is_err(), "{text:?}");
        }
        assert!(SubjectId::new("josé").is_ok());
        assert_ne!(SubjectId::new("jose\u{301}"), SubjectId::new("josé"));
    }
}
