//! A terminal of so many columns.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A command that runs on a terminal, and what it writes there.
pub struct OnTerminal {
    pub child: Child,
    screen: File,
}

/// Starts a command whose three streams are a terminal.
pub fn start(command: &mut Command, columns: u16) -> OnTerminal {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let inner: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&inner, size).unwrap();
    let stream = || inner.try_clone().unwrap();
    command.stdin(stream()).stdout(stream()).stderr(stream());
    let child = command.spawn().unwrap();
    // The command keeps its own copies, which would keep the terminal open.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    OnTerminal { child, screen: File::from(screen) }
}

impl OnTerminal {
    /// What it has written once it is there, to the end of a line that has this text.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        loop {
            let so_far = String::from_utf8_lossy(&seen).into_owned();
            if so_far.ends_with('\n') && so_far.contains(text) {
                return so_far.replace("\r\n", "\n");
            }
            self.screen.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e}: {so_far}"));
            seen.extend_from_slice(&byte);
        }
    }

    /// Waits for its end. Returns all that it has written, and its exit code.
    pub fn end(mut self) -> (String, Option<i32>) {
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        // Once nobody has it open any more, a terminal is read with an error.
        while let Ok(count @ 1..) = self.screen.read(&mut piece) {
            seen.extend_from_slice(&piece[..count]);
        }
        let code = self.child.wait().unwrap().code();
        (String::from_utf8(seen).unwrap().replace("\r\n", "\n"), code)
    }
}
