//! Texts of others on a terminal.

use super::super::harness::{A1, Rollcall, event, sid};

/// What would turn round the rest of a line, hide it, colour it, or end it.
const TRICKS: &str = "x\u{202e}y\u{2066}z\u{200f}\u{feff}\u{1b}[31m\u{9b}\u{2028}\u{e0041}";
const SHOWN: &str = "x\\u202ey\\u2066z\\u200f\\ufeff\\u001b[31m\\u009b\\u2028\\udb40\\udc41";

fn is_plain(text: &str) -> bool {
    let tricks = |c: char| c != '\n' && TRICKS.contains(c) && !c.is_ascii_graphic();
    !text.contains(tricks)
}

#[test]
fn what_a_terminal_would_obey_is_shown_and_programs_get_it_as_it_is() {
    let rollcall = Rollcall::up(&[]);
    let quoted = serde_json::Value::from(TRICKS).to_string();
    let event = event(1, "busy").replace("\"+15550000001\"", &quoted);
    let event = event.replacen('{', &format!("{{\"note\":{quoted},{quoted}:1,"), 1);
    assert_eq!(rollcall.post_events(&event).status, 204);
    for args in [&["list"][..], &["list", "--account", A1], &["show", &sid(1)]] {
        let shown = rollcall.ok(args);
        assert!(shown.contains(SHOWN) && is_plain(&shown), "{args:?}: {shown:?}");
    }
    let exported = rollcall.ok(&["export"]);
    let call: serde_json::Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!((&call["from"], &call["note"]), (&TRICKS.into(), &TRICKS.into()));
    let listed = rollcall.ok(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["from"], TRICKS);
    // Names that an admin gave, and what is said of a value that is refused.
    rollcall.ok(&["account", "set", A1, "--name", TRICKS]);
    rollcall.token(&["--admin", "--name", TRICKS]);
    for args in [&["account", "list"][..], &["token", "list"]] {
        let shown = rollcall.ok(args);
        assert!(shown.contains("x\\u202ey") && is_plain(&shown), "{args:?}: {shown:?}");
    }
    let wrong = event.replace("\"busy\"", &quoted);
    for args in [&["import", "-"][..], &["import", "-", "--json"]] {
        let refused = rollcall.run_with(args, wrong.as_bytes());
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("202e") && is_plain(&refused.stderr), "{refused:?}");
    }
    assert!(is_plain(&rollcall.log()), "{}", rollcall.log());
}
