//! Cursors: where a list goes on, for one scope, filter and order.

use data_encoding::BASE64URL_NOPAD;

use crate::domain::{
    AccountSid, AcrossPosition, Filter, Order, PartyPart, Position, Search, Typed,
};
use crate::store::Scope;

const VERSION: u8 = 1;

/// A cursor's text: `version 1 · position 24 · fingerprint 8`, in base64url. In a list of several accounts the
/// account follows the position, since two of them may have a call of one sid.
pub(super) fn write(scope: Scope, filter: &Filter, order: Order, after: AcrossPosition) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&after.position.to_bytes());
    if !matches!(scope, Scope::Account(_)) {
        bytes.extend_from_slice(&after.account.bytes());
    }
    bytes.extend_from_slice(&fingerprint(scope, filter, order));
    BASE64URL_NOPAD.encode(&bytes)
}

/// The position in a cursor; none where it is not one, or was made for another question.
pub(super) fn read(
    text: &str,
    scope: Scope,
    filter: &Filter,
    order: Order,
) -> Option<AcrossPosition> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (&[VERSION], rest) = bytes.split_first_chunk()? else { return None };
    let (position, rest) = rest.split_first_chunk()?;
    let (account, made_for) = match scope {
        Scope::Account(account) => (account, rest),
        Scope::ServiceProvider(_) | Scope::Everybody => {
            let (account, rest) = rest.split_first_chunk()?;
            (AccountSid::from_bytes(*account), rest)
        }
    };
    let position = Position::from_bytes(*position);
    let fits = *made_for == fingerprint(scope, filter, order);
    fits.then_some(AcrossPosition { position, account })
}

/// Eight bytes that differ with the question. Every text is led by its length, so that no two
/// questions are written alike.
fn fingerprint(scope: Scope, filter: &Filter, order: Order) -> [u8; 8] {
    // Without `..`: a new filter has to be written below, or be left out for a reason.
    let Filter {
        statuses,
        directions,
        from,
        to,
        from_prefix,
        to_prefix,
        parents,
        stale,
        start,
        end,
        // What is recent moves on from page to page.
        recent: _,
        search,
    } = filter;
    let Search {
        number,
        from_contains,
        to_contains,
        number_contains,
        call_id,
        sbc_callid,
        trace_id,
        application_sid,
        trunk,
        termination,
        sip_status,
        answered,
        duration_min,
        duration_max,
        q,
    } = search;
    let mut text = match scope {
        Scope::Account(account) => [&[0][..], &account.bytes()].concat(),
        Scope::ServiceProvider(provider) => [&[1][..], &provider.bytes()].concat(),
        Scope::Everybody => vec![2],
    };
    text.push(match order {
        Order::NewestFirst => 0,
        Order::OldestFirst => 1,
    });
    let mut list = |words: &mut dyn Iterator<Item = &str>| {
        let words: Vec<_> = words.collect();
        text.extend_from_slice(&words.len().to_be_bytes());
        for word in words {
            text.extend_from_slice(&word.len().to_be_bytes());
            text.extend_from_slice(word.as_bytes());
        }
    };
    list(&mut statuses.iter().map(|status| status.as_str()));
    list(&mut directions.iter().map(|direction| direction.as_str()));
    let of_search = [number, call_id, sbc_callid, trace_id, application_sid, trunk, termination];
    for texts in [from, to, from_prefix, to_prefix].into_iter().chain(of_search) {
        // A list by comma stands there as its parts, and as the one text that it may be, too: it is
        // the same question as its parts one by one.
        let parts: Vec<_> = texts.iter().filter(|text| !text.contains(',')).collect();
        let parts = if parts.is_empty() { texts.iter().collect() } else { parts };
        list(&mut parts.into_iter().map(String::as_str));
    }
    let parents: Vec<_> = parents.iter().map(ToString::to_string).collect();
    list(&mut parents.iter().map(String::as_str));
    for parts in [from_contains, to_contains, number_contains] {
        list(&mut parts.iter().map(PartyPart::as_str));
    }
    let statuses: Vec<_> = sip_status.iter().map(ToString::to_string).collect();
    list(&mut statuses.iter().map(String::as_str));
    for truth in [stale, answered] {
        list(&mut truth.iter().map(|truth| if *truth { "true" } else { "false" }));
    }
    for seconds in [duration_min, duration_max] {
        list(&mut seconds.map(|seconds| seconds.to_string()).iter().map(String::as_str));
    }
    list(&mut q.iter().map(Typed::as_str));
    for time in [start, end] {
        let millis = time.map_or(u64::MAX, crate::domain::Timestamp::millis);
        text.extend_from_slice(&millis.to_be_bytes());
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        CallSid, CallStatus, Direction, SEARCH_PARAMETERS, ServiceProviderSid, Timestamp,
    };

    /// One search for each parameter, of the same value where it may have that.
    fn searches() -> impl Iterator<Item = Search> {
        SEARCH_PARAMETERS.into_iter().map(|name| {
            let value = if name == "answered" { "true" } else { "123" };
            let mut search = Search::default();
            assert_eq!(search.read(name, value), Ok(true));
            search
        })
    }

    fn scopes() -> [Scope; 5] {
        [
            Scope::Account(AccountSid::from_bytes([1; 16])),
            Scope::Account(AccountSid::from_bytes([2; 16])),
            Scope::ServiceProvider(ServiceProviderSid::from_bytes([1; 16])),
            Scope::ServiceProvider(ServiceProviderSid::from_bytes([2; 16])),
            Scope::Everybody,
        ]
    }

    fn place(position: Position) -> AcrossPosition {
        AcrossPosition { position, account: AccountSid::from_bytes([1; 16]) }
    }

    #[test]
    fn each_part_of_a_search_is_a_question_of_its_own() {
        let of = |search| {
            let filter = Filter { search, ..Filter::default() };
            write(scopes()[0], &filter, Order::NewestFirst, place(Position::MIN))
        };
        let mut cursors: Vec<_> = searches().map(of).collect();
        cursors.push(of(Search::default()));
        let mut different = cursors.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), cursors.len());
    }

    #[test]
    fn a_cursor_of_several_accounts_tells_them_apart_and_serves_its_own_scope_alone() {
        let filter = Filter::default();
        for scope in scopes() {
            let own = matches!(scope, Scope::Account(_));
            for account in [1, 2, 0xff].map(|byte| AccountSid::from_bytes([byte; 16])) {
                let account = if let Scope::Account(account) = scope { account } else { account };
                let after = AcrossPosition { position: Position::MAX, account };
                let text = write(scope, &filter, Order::OldestFirst, after);
                assert_eq!(text.len(), if own { 44 } else { 66 });
                for other in scopes() {
                    let read = read(&text, other, &filter, Order::OldestFirst);
                    assert_eq!(read, Some(after).filter(|_| other == scope), "{scope:?} {other:?}");
                }
                for junk in ["", "x", "AAAA", &text[1..], &text[..60.min(text.len() - 1)]] {
                    assert_eq!(read(junk, scope, &filter, Order::OldestFirst), None, "{junk}");
                }
            }
        }
    }

    #[test]
    fn a_cursor_serves_its_own_question_alone() {
        let account = scopes()[0];
        let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let position = place(Position::new(at, CallSid::from_bytes([7; 16])));
        let filter = Filter {
            statuses: vec![CallStatus::Busy],
            from: vec!["1".to_owned()],
            ..Filter::default()
        };
        let text = write(account, &filter, Order::NewestFirst, position);
        let read = |filter: &Filter, order| read(&text, account, filter, order);
        assert_eq!(read(&filter, Order::NewestFirst), Some(position));
        assert_eq!(read(&filter, Order::OldestFirst), None);
        let others = [
            Filter::default(),
            Filter { directions: vec![Direction::Inbound], ..filter.clone() },
            Filter { start: Some(at), ..filter.clone() },
            Filter { end: Some(at), ..filter.clone() },
            Filter { from: Vec::new(), to: vec!["1".to_owned()], ..filter.clone() },
            Filter { from: Vec::new(), from_prefix: vec!["1".to_owned()], ..filter.clone() },
            Filter { from: Vec::new(), to_prefix: vec!["1".to_owned()], ..filter.clone() },
            Filter { parents: vec![CallSid::from_bytes([7; 16])], ..filter.clone() },
            Filter { stale: Some(false), ..filter.clone() },
        ]
        .into_iter()
        .chain(searches().map(|search| Filter { search, ..filter.clone() }));
        for other in others {
            assert_eq!(read(&other, Order::NewestFirst), None, "{other:?}");
        }
        // However a list of values was written.
        let from = |texts: &[&str]| Filter {
            from: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..filter.clone()
        };
        let text = write(account, &from(&["a", "a,b", "b"]), Order::NewestFirst, position);
        let read = |filter| super::read(&text, account, &filter, Order::NewestFirst);
        assert_eq!(read(from(&["a", "b"])), Some(position));
        assert_eq!(read(from(&["a", "b", "b,a"])), Some(position));
        assert_eq!(read(from(&["a"])), None);
        assert_eq!(read(from(&["a,b"])), None);
        let text = write(account, &filter, Order::NewestFirst, position);
        for junk in ["", "x", "AAAA", &text[1..], &format!("{text}AA")] {
            assert_eq!(super::read(junk, account, &filter, Order::NewestFirst), None, "{junk}");
        }
    }
}
