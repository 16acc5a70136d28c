//! Fuzzing of frames of the admin socket, and the commands in them.
#![expect(clippy::missing_panics_doc, reason = "a panic is what fuzzing looks for")]

use std::io::Read as _;

use super::frame::{AdminFrameKind, Input, read, write};
use crate::ops::AdminRequest;

/// A conversation: what is read is what was sent, in frames that end where they say. A command that
/// is understood is written so that it is understood again.
pub fn admin(data: &[u8]) {
    let (mut from, mut content, mut written) = (data, Vec::new(), Vec::new());
    while let Ok(Some(kind)) = read(&mut from, &mut content) {
        assert!(write(&mut written, kind, &content).is_ok());
        assert!(data.starts_with(&written));
        if kind == AdminFrameKind::Request {
            command(&content);
        }
    }
    command(data);
    let mut input = Vec::new();
    let whole = Input::new(data).read_to_end(&mut input).is_ok();
    assert!(input.len() < data.len().max(1));
    // What is read is the same in pieces of any size.
    let mut again = Vec::new();
    let ended = Input::new(OneByOne(data)).read_to_end(&mut again).is_ok();
    assert_eq!((whole, input), (ended, again));
}

fn command(json: &[u8]) {
    let Ok(request) = serde_json::from_slice::<AdminRequest>(json) else { return };
    let Ok(text) = serde_json::to_string(&request) else { return };
    let again = serde_json::from_str::<AdminRequest>(&text).map(|again| format!("{again:?}"));
    assert_eq!(again.ok(), Some(format!("{request:?}")));
}

/// A socket that gives one byte at a time.
struct OneByOne<'a>(&'a [u8]);

impl std::io::Read for OneByOne<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = out.len().min(1);
        self.0.read(out.get_mut(..most).unwrap_or_default())
    }
}
