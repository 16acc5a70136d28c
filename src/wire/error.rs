//! Why a text cannot be taken.

use std::fmt;

/// A field, the value that it has, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// The key, or empty where the whole text is meant.
    pub field: String,
    /// The value as sent, cut to a readable length; empty where there is none.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl WireError {
    /// The longest value that an error quotes, in characters.
    const QUOTE_MAX: usize = 80;

    pub(crate) fn new(field: &str, value: &str, expected: impl Into<String>) -> Self {
        let mut quoted: String = value.chars().take(Self::QUOTE_MAX).collect();
        if quoted.len() < value.len() {
            quoted.push('…');
        }
        Self { field: field.to_owned(), value: quoted, expected: expected.into() }
    }

    pub(crate) fn missing(field: &str, expected: impl Into<String>) -> Self {
        Self::new(field, "", expected)
    }
}

impl WireError {
    /// The longest sid that is quoted without its event, in characters.
    const SID_MAX: usize = 40;

    /// The same without what a caller's data may be in. Of values only wrong sids are quoted, and only
    /// where they look like one.
    pub fn without_data(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"\"-_{}".contains(&byte);
        let is_sid = matches!(self.field.as_str(), "account_sid" | "call_sid");
        let quotes = is_sid && self.value.len() <= Self::SID_MAX && self.value.bytes().all(plain);
        match (self.field.as_str(), self.value.as_str()) {
            (_, "") => self.to_string(),
            _ if quotes => self.to_string(),
            ("", _) => self.expected.clone(),
            (field, _) => format!("{field} is wrong: {}", self.expected),
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.field.as_str(), self.value.as_str()) {
            ("", "") => write!(f, "{}", self.expected),
            ("", value) => write!(f, "{value}: {}", self.expected),
            (field, "") => write!(f, "{field} is missing: {}", self.expected),
            (field, value) => write!(f, "{field} {value}: {}", self.expected),
        }
    }
}

impl std::error::Error for WireError {}
