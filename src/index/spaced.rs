//! Keys as they stand in sled: with a byte 00 after every three bytes.
//!
//! sled, going back from a page of its own to the one before it, looks for the page's first key, less by one
//! and then four bytes FF: with keys between the two it turns in circles, and panics. A sender
//! that makes up the sids of calls could have it do so; no key here has four bytes FF in a row.

/// The key in sled. Keys are in the same order as they are without.
pub(super) fn spaced(key: &[u8]) -> Vec<u8> {
    let mut spaced = Vec::with_capacity(key.len() + key.len() / 3);
    for bytes in key.chunks(3) {
        spaced.extend_from_slice(bytes);
        if bytes.len() == 3 {
            spaced.push(0);
        }
    }
    spaced
}

/// The key of one in sled; none where [`spaced`] made no such key.
pub(super) fn close(spaced: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(spaced.len());
    for bytes in spaced.chunks(4) {
        match bytes {
            [bytes @ .., 0] if bytes.len() == 3 => key.extend_from_slice(bytes),
            bytes if bytes.len() < 3 => key.extend_from_slice(bytes),
            _ => return None,
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0, 1, 0xfe, 0xff]), 0..14)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn spaced_keys_are_in_the_same_order_and_without_four_bytes_ff(a in key(), b in key()) {
            prop_assert_eq!(spaced(&a).cmp(&spaced(&b)), a.cmp(&b));
            prop_assert!(!spaced(&a).windows(4).any(|four| four == [0xff; 4]));
            prop_assert_eq!(close(&spaced(&a)), Some(a.clone()));
            // What was closed is one key alone.
            prop_assert!(close(&a).is_none_or(|key| spaced(&key) == a));
        }
    }
}
