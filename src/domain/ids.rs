//! Identifiers: account, call, service provider and application.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Why a text is not a sid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in its hyphenated form (8-4-4-4-12 hexadecimal digits)")]
pub struct SidError;

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The sid with these 16 bytes, in network order.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, in network order.
            pub const fn bytes(self) -> [u8; 16] {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = SidError;

            /// Any version, either case, hyphenated only (RFC 9562, section 4).
            fn from_str(text: &str) -> Result<Self, SidError> {
                if text.len() != 36 {
                    return Err(SidError);
                }
                Uuid::try_parse(text).map(|uuid| Self(uuid.into_bytes())).map_err(|_| SidError)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = Uuid::encode_buffer();
                f.write_str(Uuid::from_bytes(self.0).hyphenated().encode_lower(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

sid! {
    /// The account that a call belongs to.
    AccountSid
}
sid! {
    /// One leg of a call.
    CallSid
}
sid! {
    /// A service provider: the owner of accounts.
    ServiceProviderSid
}
sid! {
    /// An application of jambonz: what handles calls.
    ApplicationSid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_any_version_in_either_case_and_only_the_hyphenated_form() {
        for good in [
            "9351f46a-678c-43f5-b8a6-d4eb58d131af",
            "9351F46A-678C-43F5-B8A6-D4EB58D131AF",
            "0190b8f0-1234-7abc-8def-0123456789ab",
        ] {
            let sid: AccountSid = good.parse().unwrap();
            assert_eq!(sid.to_string(), good.to_lowercase());
        }
        for bad in [
            "",
            "x",
            "9351f46a678c43f5b8a6d4eb58d131af",
            "{9351f46a-678c-43f5-b8a6-d4eb58d131af}",
            "9351f46a-678c-43f5-b8a6-d4eb58d131ag",
            "9351f46a-678c-43f5-b8a6-d4eb58d131a*",
        ] {
            assert_eq!(bad.parse::<AccountSid>(), Err(SidError), "{bad}");
        }
    }
}
