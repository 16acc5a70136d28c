//! The admin socket itself.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;

use super::super::harness::Rollcall;

fn frame(kind: u8, length: u32, content: &[u8]) -> Vec<u8> {
    [&[kind][..], &length.to_be_bytes(), content].concat()
}

#[test]
fn the_socket_is_its_owners_alone() {
    let rollcall = Rollcall::up(&[]);
    let socket = std::fs::metadata(rollcall.data().join("admin.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let dir = std::fs::metadata(rollcall.data()).unwrap();
    assert_eq!(dir.permissions().mode() & 0o777, 0o700);
}

#[test]
fn garbage_is_refused_and_the_server_goes_on() {
    let mut rollcall = Rollcall::up(&[]);
    let import = br#"{"Import":{"format":"ndjson","dry_run":false,"on_error":"Stop"}}"#;
    let import = frame(b'Q', u32::try_from(import.len()).unwrap(), import);
    let conversations: [(&str, Vec<u8>, Option<&str>); 9] = [
        ("nothing", vec![], None),
        ("noise", (0..=255).cycle().take(10_000).collect(), None),
        ("an unknown kind", frame(b'X', 1, b"x"), None),
        ("a length without end", frame(b'Q', u32::MAX, b"x"), None),
        ("half a frame", frame(b'Q', 100, b"{}"), None),
        ("no request first", frame(b'D', 1, b"x"), None),
        ("not JSON", frame(b'Q', 2, b"{]"), Some("does not understand")),
        ("a command of a later release", frame(b'Q', 8, br#""Repave""#), Some("another release")),
        (
            "a request where input should be",
            [&import[..], &frame(b'Q', 8, br#""Status""#)].concat(),
            Some("went away in the middle of its input"),
        ),
    ];
    for (what, bytes, answer) in conversations {
        let mut stream = UnixStream::connect(rollcall.data().join("admin.sock")).unwrap();
        // A server that has refused already does not read to the end.
        let _refused = stream.write_all(&bytes);
        let _refused = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let _reset = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        match answer {
            None => assert_eq!(said, "", "{what}"),
            Some(answer) => assert!(said.contains(answer), "{what}: {said}"),
        }
        assert!(rollcall.figures().contains("\"running\":true"), "{what}");
    }
    assert_eq!(rollcall.stop(), Some(0));
    assert!(!rollcall.log().contains("panic"), "{}", rollcall.log());
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_waiting() {
    let rollcall = Rollcall::up(&[]);
    let silent: Vec<UnixStream> =
        (0..8).map(|_| UnixStream::connect(rollcall.data().join("admin.sock")).unwrap()).collect();
    assert!(rollcall.status().starts_with("server           running"));
    drop(silent);
}
