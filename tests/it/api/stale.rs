//! Calls whose last event is long ago.

use super::super::harness::{A1, Rollcall, event, sid, until};
use super::samples::now;
use super::{count, list, sids};

/// An event that happened so many seconds ago.
fn ago(n: u32, status: &str, seconds: i64) -> String {
    event(n, status).replace('}', &format!(",\"at\":{}}}", now() - seconds * 1000))
}

#[test]
fn a_call_without_events_becomes_stale_and_comes_back_with_the_next() {
    let mut rollcall =
        Rollcall::up(&["--calls-max-lifetime", "1m", "--calls-sweep-interval", "50ms"]);
    let events = [ago(1, "in-progress", 300), ago(2, "in-progress", 0), ago(3, "completed", 300)];
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    let shown = |rollcall: &Rollcall| rollcall.get(&rollcall.admin(), &path).json();
    let stale = until("the call is stale", || {
        let call = shown(&rollcall);
        (call["stale"] == true).then_some(call)
    });
    assert_eq!(stale["call_status"], "in-progress", "success is never invented");
    let look = |rollcall: &Rollcall| {
        assert_eq!(count(rollcall, A1), [1, 0]);
        assert_eq!(sids(&list(rollcall, "callStatus=in-progress")), [sid(2)]);
        assert_eq!(sids(&list(rollcall, "callStatus=in-progress&limit=5")), [sid(2)]);
        let whole = list(rollcall, "").json();
        let stale: Vec<_> = whole.as_array().unwrap().iter().map(|call| &call["stale"]).collect();
        assert_eq!(stale.iter().filter(|stale| !stale.is_null()).count(), 1, "{whole}");
        assert_eq!(sids(&list(rollcall, "direction=inbound")).len(), 3);
        assert_eq!(sids(&list(rollcall, "from=+15550000001")), [sid(1)]);
    };
    look(&rollcall);
    rollcall.kill();
    rollcall.start();
    look(&rollcall);
    // The next event, whatever it says.
    assert_eq!(rollcall.post_events(&ago(1, "ringing", 0)).status, 204);
    let call = shown(&rollcall);
    assert_eq!((call.get("stale"), &call["call_status"]), (None, &"in-progress".into()));
    assert_eq!(count(&rollcall, A1), [2, 0]);
    assert_eq!(sids(&list(&rollcall, "callStatus=in-progress")), [sid(2), sid(1)]);
    assert_eq!(rollcall.post_events(&ago(1, "completed", 0)).status, 204);
    assert_eq!(count(&rollcall, A1), [1, 0]);
}
