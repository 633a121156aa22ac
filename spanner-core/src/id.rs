//! Identifiers of records and of promotions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identifier is a UUID such as `019a3c5e-0000-7000-8000-000000000000`: {0}")]
pub struct IdError(#[source] uuid::Error);

/// Defines a newtype of a UUID.
macro_rules! id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        ///
        /// Written as a hyphenated UUID in lower case (RFC 9562 §4).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The identifier with this value.
            #[must_use]
            pub const fn from_u128(value: u128) -> Self {
                Self(Uuid::from_u128(value))
            }

            /// The value.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self).map_err(IdError)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The identifier of a record: a UUIDv7, unique per request. `spanner-decision` in a
    /// response names it.
    RecordId
}

id! {
    /// The identifier of a promotion: a UUIDv7. Records of requests name the promotion under
    /// which their model was served.
    PromotionId
}

impl RecordId {
    /// No record: all bits are zero.
    pub const NIL: Self = Self::from_u128(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_written_as_it_is_read() {
        let text = "019a3c5e-0000-7000-8000-000000000001";
        let id: PromotionId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(format!("{id:?}"), text);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<PromotionId>(&format!("\"{text}\"")).unwrap(),
            id
        );
        assert_eq!(PromotionId::from_u128(id.as_u128()), id);
        let error = "7".parse::<RecordId>().unwrap_err();
        assert!(error.to_string().starts_with("an identifier is a UUID"));
    }
}
