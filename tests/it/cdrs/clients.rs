//! The influx client of npm, in both versions that jambonz uses.

use std::fs;
use std::process::Command;

use super::super::clients::{installed, sources};
use super::super::harness::{A1, print};
use super::writer::{call, calls, taking};

#[test]
fn the_client_that_jambonz_uses_writes_cdrs() {
    let Some(clients) = installed() else { return };
    let program = clients.join("cdrs.cjs");
    fs::copy(sources().join("cdrs.cjs"), &program).unwrap();
    let modules =
        ["influx-5-9", "influx"].into_iter().flat_map(|name| [(name, false), (name, true)]);
    for (n, (module, tls)) in modules.enumerate() {
        let rollcall = taking(if tls { &["--cdrs-tls"] } else { &[] });
        let mut command = Command::new("node");
        command.arg(&program).arg(module).arg(rollcall.cdr_port.to_string());
        command.args([&n.to_string(), "25"]).args(tls.then(|| rollcall.ca()));
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(0), "{module}: {printed:?}");
        assert_eq!(calls(&rollcall, A1).len(), 25, "{module}");
        let one = call(&rollcall, A1, &format!("c0000000-0000-4000-8000-{:012x}", n + 1)).unwrap();
        for (key, value) in [
            ("to", "a \"quoted\", text\\"),
            ("trunk", "Carrier, \"A\" = 1"),
            ("call_status", "completed"),
            ("termination_reason", "caller hungup"),
        ] {
            assert_eq!(one[key], value, "{module}: {one}");
        }
        assert_eq!(one.get("service_provider_sid"), None, "{module}: {one}");
        assert_eq!(one["duration"], 4, "{module}");
    }
}
