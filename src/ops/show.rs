//! One call, by its sid or by a part of it.

use super::{AdminReply, Failure};
use crate::domain::{CallId, CallSid, counted};
use crate::store::{SidMatches, Store};
use crate::wire::write_export;

/// Characters of a sid that are enough to look for it.
const PART_CHARS_MIN: usize = 4;
/// Sids of a part that fits several that are shown.
const SHOWN_MAX: usize = 5;

/// The call with this sid, of whichever account.
pub(super) fn show(store: &Store, text: &str) -> Result<AdminReply, Failure> {
    let sid = sid(store, text)?;
    let mut found = Vec::new();
    let mut after = None;
    while let Some(account) = store.next_account(after)? {
        if let Some(call) = store.call(CallId { account, sid })? {
            let mut line = Vec::new();
            write_export(&mut line, &call);
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
        after = Some(account);
    }
    if found.is_empty() {
        return Err(Failure::new(format!("there is no call {sid}")));
    }
    Ok(AdminReply::Calls(found))
}

/// Whether a text is a whole sid.
pub fn is_whole(text: &str) -> bool {
    text.parse::<CallSid>().is_ok()
}

/// The whole bytes that a sid begins with whose text begins so.
fn leading(part: &str) -> Vec<u8> {
    let digits: Vec<u8> = part.chars().filter_map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let pairs =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
    pairs.take(16).collect()
}

fn sid(store: &Store, text: &str) -> Result<CallSid, Failure> {
    if let Ok(sid) = text.parse() {
        return Ok(sid);
    }
    let part = text.to_ascii_lowercase();
    let right = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if part.len() < PART_CHARS_MIN || part.len() > 36 || !part.bytes().all(right) {
        return Err(Failure::usage(format!(
            "{text:?} is no call sid: expected a UUID, or at least {PART_CHARS_MIN} characters of the \
             beginning or the end of one"
        )));
    }
    let plain = !part.contains('-');
    let written = |sid: CallSid| {
        let mut sid = sid.to_string();
        if plain {
            sid.retain(|c| c != '-');
        }
        sid
    };
    // Beginnings lie together in the index; for an end all sids are read.
    let begun = store.find_sids(&leading(&part), |sid| written(sid).starts_with(&part))?;
    let SidMatches { sids, more } = if begun.sids.is_empty() {
        store.find_sids(&[], |sid| written(sid).ends_with(&part))?
    } else {
        begun
    };
    match sids.as_slice() {
        [] => Err(Failure::new(format!("there is no call whose sid begins or ends with {text:?}"))),
        [sid] if !more => Ok(*sid),
        several => {
            let more_than = if more { "more than " } else { "" };
            let some: Vec<String> =
                several.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
            let and = if several.len() > SHOWN_MAX { ", …" } else { "" };
            Err(Failure::new(format!(
                "{more_than}{} have a sid that begins or ends with {text:?}; give more of it: {}{and}",
                counted(several.len(), "call"),
                some.join(", ")
            )))
        }
    }
}
