//! One call, two calls.

use std::fs;
use std::path::Path;

use super::super::harness::{A1, Rollcall, event, sid};

/// What the messages count.
const NOUNS: [&str; 18] = [
    "accounts",
    "calls",
    "changes",
    "connections",
    "days",
    "errors",
    "files",
    "findings",
    "frames",
    "networks",
    "records",
    "rows",
    "segments",
    "servers",
    "settings",
    "tokens",
    "values",
    "warnings",
];

#[test]
fn one_is_one() {
    let rollcall = Rollcall::up(&[]);
    let call = format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",\
         \"from\":\"+15551230001\",\"to\":\"+15550000000\",\"call_status\":\"completed\"}}",
        sid(1)
    );
    let imported = rollcall.run_with(&["import"], call.as_bytes());
    assert!(imported.stdout.starts_with("1 record: 1 new,"), "{imported:?}");
    let file = rollcall.dir.path().join("calls");
    let exported = rollcall.run(&["export", "-o", file.to_str().unwrap()]);
    assert!(exported.stderr.ends_with("1 call exported\n"), "{exported:?}");
    assert_eq!(rollcall.ok(&["check"]), "1 call compared: journal and index agree\n");
    assert!(rollcall.ok(&["rebuild"]).ends_with(" 1 call\n"));
    assert!(rollcall.ok(&["compact"]).contains("now, 1 call\n"));
    assert!(!rollcall.status().contains(" 1 segments"));
    let backup = rollcall.dir.path().join("backup");
    let made = rollcall.ok(&["backup", backup.to_str().unwrap()]);
    assert!(!made.contains("(1 files") && made.contains(" kB in "), "{made}");
    rollcall.token(&["--account", A1]);
    let removed = rollcall.ok(&["account", "remove", A1]);
    assert!(removed.contains("with 1 token;"), "{removed}");
    let purged = rollcall.run(&["purge", "--number", "+15551230001"]);
    assert!(purged.stdout.starts_with("1 call was deleted\n"), "{purged:?}");
    let expired = rollcall.ok(&["expire"]);
    assert!(expired.starts_with("0 calls were deleted\n"), "{expired}");
    let two = [event(2, "busy"), event(3, "busy")].join("\n");
    let imported = rollcall.run_with(&["import", "--dry-run"], two.as_bytes());
    assert!(imported.stdout.starts_with("2 records: 2 new,"), "{imported:?}");
}

#[test]
fn no_message_puts_a_plural_behind_a_number_that_may_be_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for room in ["cli", "ops", "doctor", "backup"] {
        for entry in fs::read_dir(src.join(room)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("mod tests {").next().unwrap();
            for noun in NOUNS {
                let plural = format!("}} {noun}");
                for (at, _) in text.match_indices(&plural) {
                    let line = text[..at].rsplit('\n').next().unwrap();
                    // A bound that is a constant is not one.
                    let bound = line.contains("_MAX}") || text[..=at].ends_with("_MAX}");
                    let bound = bound || text[..=at].ends_with("{most}");
                    // Several of one name are never one.
                    let bound = bound || text[at + plural.len()..].starts_with(" are called");
                    assert!(bound, "{}: {plural}", path.display());
                }
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} files were seen");
}
