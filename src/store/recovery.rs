//! What it took to open a store, for the log.

use std::fmt;

/// What the opening of a store came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// There was nothing yet.
    pub is_new: bool,
    /// The last owner closed the store in order.
    pub was_clean: bool,
    /// Bytes of a commit that was cut off and is dropped.
    pub torn_bytes: Option<u64>,
    /// Frames of the journal that were read again, since the index did not have them.
    pub replayed: u64,
    /// Why the index is built anew.
    pub rebuild: Option<String>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self { is_new: true, .. } => "none, the store is new",
            Self { was_clean: true, .. } => "none, it was closed in order",
            _ => "it was not closed in order",
        })?;
        if let Some(bytes) = self.torn_bytes {
            write!(formatter, "; a commit that was cut off is dropped ({bytes} bytes)")?;
        }
        match (self.replayed, &self.rebuild) {
            (0, _) => {}
            (1, _) => formatter.write_str("; 1 record of the journal was read again")?,
            (n, _) => write!(formatter, "; {n} records of the journal were read again")?,
        }
        if let Some(reason) = &self.rebuild {
            write!(formatter, "; the index is built anew ({reason})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_says_what_was_repaired() {
        let clean = Recovery { was_clean: true, ..Recovery::default() };
        assert_eq!(clean.to_string(), "none, it was closed in order");
        assert_eq!(
            Recovery { is_new: true, ..clean.clone() }.to_string(),
            "none, the store is new"
        );
        let unclean = Recovery {
            torn_bytes: Some(17),
            replayed: 1,
            rebuild: Some("there is none".to_owned()),
            ..Recovery::default()
        };
        assert_eq!(
            unclean.to_string(),
            "it was not closed in order; a commit that was cut off is dropped (17 bytes); 1 record \
             of the journal was read again; the index is built anew (there is none)"
        );
        let replayed = Recovery { replayed: 2, ..Recovery::default() };
        assert!(replayed.to_string().ends_with("2 records of the journal were read again"));
    }
}
