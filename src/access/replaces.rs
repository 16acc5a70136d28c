//! What a change of a setting takes for granted.
#![cfg_attr(not(test), expect(dead_code, reason = "changes that were seen are what calls it"))]

use ring::digest::{SHA256, digest};

/// The first half of the SHA-256 of a setting's JSON.
pub type RowDigest = [u8; 16];

/// What a setting must be for a change of it to count: else somebody else has changed it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    Anything,
    /// It was never made, or is removed. A token or a session that is removed is not made again.
    Nothing,
    Content(RowDigest),
}

impl Replaces {
    /// A setting with this JSON; empty where there is none.
    pub fn content(json: &[u8]) -> Self {
        Self::seen(row_digest(json))
    }

    /// A setting with this digest; none where there is none.
    pub fn seen(digest: Option<RowDigest>) -> Self {
        digest.map_or(Self::Nothing, Self::Content)
    }

    /// Whether what there is may be replaced.
    pub fn fits(self, current: Option<RowDigest>) -> bool {
        match self {
            Self::Anything => true,
            Self::Nothing => current.is_none(),
            Self::Content(digest) => current == Some(digest),
        }
    }
}

/// The digest of a setting's JSON; none of one that is removed.
pub fn row_digest(json: &[u8]) -> Option<RowDigest> {
    if json.is_empty() {
        return None;
    }
    digest(&SHA256, json).as_ref().first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_fits_what_it_has_seen_and_nothing_else() {
        let (one, other) = (row_digest(b"{\"a\":1}"), row_digest(b"{\"a\":2}"));
        for (replaces, fits) in [
            (Replaces::Anything, [true, true, true]),
            (Replaces::content(b""), [true, false, false]),
            (Replaces::content(b"{\"a\":1}"), [false, true, false]),
        ] {
            assert_eq!([None, one, other].map(|now| replaces.fits(now)), fits, "{replaces:?}");
        }
        assert_eq!(row_digest(b""), None);
    }
}
