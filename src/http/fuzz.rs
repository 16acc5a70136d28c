//! Fuzzing of texts that clients send: none makes a parser panic, and what is accepted can be written
//! and read again.
#![expect(clippy::missing_panics_doc, reason = "a panic is what fuzzing looks for")]

use data_encoding::HEXLOWER;

use super::cursor;
use super::feed_position::{PositionCodec, PositionNumber};
use super::query::ListQuery;
use super::webhook::Signature;
use crate::domain::{
    AccountSid, AcrossPosition, CallSid, Filter, Order, Position, ServiceProviderSid, Timestamp,
};
use crate::store::{Reach, Scope};

const ACCOUNT: AccountSid = AccountSid::from_bytes([7; 16]);
const SCOPES: [Scope; 3] = [
    Scope::Account(ACCOUNT),
    Scope::ServiceProvider(ServiceProviderSid::from_bytes([8; 16])),
    Scope::Everybody,
];
const EPOCH: &str = "0a0b0c0d-0102-4304-8506-0708090a0b0c";
/// Far above any message; far below a request.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The query of a list: the next page of what was asked for asks for the same.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for scope in SCOPES {
        query_of(text, scope);
    }
}

fn query_of(text: &str, scope: Scope) {
    let parsed = match ListQuery::parse(text, scope) {
        Ok(parsed) => parsed,
        Err(error) => {
            let said = format!("{error:?}");
            assert!(said.len() <= MESSAGE_BYTES_MAX, "{said}");
            return;
        }
    };
    let position = Position::new(Timestamp::default(), CallSid::from_bytes([9; 16]));
    let after = AcrossPosition { position, account: ACCOUNT };
    let cursor = cursor::write(scope, &parsed.filter, parsed.order, after);
    let next = ListQuery::parse(&ListQuery::next(text, &cursor), scope);
    assert_eq!(next, Ok(ListQuery { after: Some(after), ..parsed }));
}

/// Cursors and positions of the feed: what is read is written so, and nothing else is read.
pub fn cursor(data: &[u8]) {
    if let Some((bytes, rest)) = data.split_first_chunk() {
        for scope in SCOPES {
            let position = Position::from_bytes(*bytes);
            made(AcrossPosition { position, account: ACCOUNT }, scope, rest);
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let filter = Filter::default();
        for scope in SCOPES {
            if let Some(after) = cursor::read(text, scope, &filter, order) {
                assert_eq!(cursor::write(scope, &filter, order, after), text);
            }
        }
    }
    for reach in [Reach::Account(ACCOUNT), Reach::Everybody] {
        for is_log in [false, true] {
            let positions = PositionCodec::new(EPOCH, is_log, reach, None);
            for text in [text.to_owned(), format!("{}-{text}", EPOCH.replace('-', ""))] {
                let Ok(given) = positions.read("after", &text) else { continue };
                let (seq, point) = match given.number {
                    PositionNumber::Sequence(seq) => (seq, None),
                    PositionNumber::Log(point) => (0, Some(point)),
                };
                let again = positions.write(given.at(seq), point);
                assert_eq!(again.map(|again| positions.read("after", &again)), Some(Ok(given)));
            }
        }
    }
}

/// A cursor of our own making; with one letter changed it leads nowhere, or to the place that it
/// then says.
fn made(after: AcrossPosition, scope: Scope, change: &[u8]) {
    let (filter, order) = (Filter::default(), Order::NewestFirst);
    let text = cursor::write(scope, &filter, order, after);
    for other in SCOPES {
        let expected = Some(after).filter(|_| other == scope);
        assert_eq!(cursor::read(&text, other, &filter, order), expected);
        assert_eq!(cursor::read(&text, other, &filter, Order::OldestFirst), None);
    }
    let &[place, letter, ..] = change else { return };
    let mut changed = text.into_bytes();
    let place = usize::from(place) % changed.len();
    if let Some(byte) = changed.get_mut(place) {
        *byte = letter;
    }
    let Ok(changed) = String::from_utf8(changed) else { return };
    if let Some(after) = cursor::read(&changed, scope, &filter, order) {
        assert_eq!(cursor::write(scope, &filter, order, after), changed);
    }
}

/// The header of a signature: what is taken can be written and is taken again.
pub fn signature(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(signature) = Signature::parse(text) else { return };
    assert!((1..=4).contains(&signature.digests.len()));
    assert_eq!(signature.time.parse(), Ok(signature.seconds));
    let digests: Vec<_> = signature.digests.iter().map(|digest| HEXLOWER.encode(digest)).collect();
    let again = format!("t={},v1={}", signature.time, digests.join(",v1="));
    assert_eq!(Signature::parse(&again).as_ref(), Some(&signature), "{again}");
}
