//! Sids of calls that are known by their Call-IDs alone.
//!
//! A CDR of a call that no application has taken names no call sid. Its call has one that is made of the account
//! and the Call-ID: a UUID of version 8 (RFC 9562, section 5.8), the beginning of a SHA-256 over both. So
//! the same CDR is the same call whenever it comes, and no sid of jambonz, which are of version 4, is one.

use ring::digest::{SHA256, digest};

use crate::domain::{AccountSid, Call, CallId, CallSid};

/// What the hash begins with, so that it is none of anything else.
const DOMAIN: &[u8] = b"rollcall call of a CDR";
/// The bytes of a UUID that have its version and its variant, in their upper bits.
const VERSION_AT: usize = 6;
const VARIANT_AT: usize = 8;
const VERSION: u8 = 0x80;
const VARIANT: u8 = 0x80;

/// The call of an account that has this Call-ID, where nothing says its sid.
pub fn derived(account: AccountSid, call_id: &str) -> CallId {
    let text = [DOMAIN, &account.bytes(), call_id.as_bytes()].concat();
    let hash = digest(&SHA256, &text);
    let mut bytes: [u8; 16] = hash.as_ref().first_chunk().copied().unwrap_or_default();
    if let Some(byte) = bytes.get_mut(VERSION_AT) {
        *byte = *byte & 0x0f | VERSION;
    }
    if let Some(byte) = bytes.get_mut(VARIANT_AT) {
        *byte = *byte & 0x3f | VARIANT;
    }
    CallId { account, sid: CallSid::from_bytes(bytes) }
}

/// Whether a sid may be a derived one. Others are told from it without a hash.
pub fn may_be_derived(sid: CallSid) -> bool {
    let bytes = sid.bytes();
    bytes.get(VERSION_AT).is_some_and(|byte| byte & 0xf0 == VERSION)
}

/// The Call-ID of which a call has its sid; none where its source said the sid.
pub fn derived_from(call: &Call) -> Option<String> {
    if !may_be_derived(call.id.sid) {
        return None;
    }
    let its_own = |call_id: &str| derived(call.id.account, call_id) == call.id;
    call.call_ids().find(|call_id| its_own(call_id)).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::samples::ACCOUNT;

    #[test]
    fn the_sid_of_a_call_id_is_a_uuid_of_its_own_and_never_changes() {
        let id = derived(ACCOUNT, "lab-in-2@203.0.113.9");
        // Frozen: journals hold it.
        assert_eq!(id.sid.to_string(), "a4cfaff6-c8f1-87cb-8413-231154bbc67c");
        assert!(may_be_derived(id.sid));
        assert_ne!(derived(ACCOUNT, "lab-in-3@203.0.113.9"), id);
        let other = AccountSid::from_bytes([7; 16]);
        assert_ne!(derived(other, "lab-in-2@203.0.113.9").sid, id.sid);
        assert!(!may_be_derived("9928be9f-df5e-4cbb-bb9e-f1feebe8023b".parse().unwrap()));
    }
}
