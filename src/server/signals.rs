//! Signals, and who has sent them.

use std::fmt;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::backend::Handle;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Origin, Process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// To end.
    Stop,
    /// To read certificates again, and to open the audit log anew.
    Reload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub order: SignalAction,
    /// Its name, and who has sent it.
    pub by: String,
}

/// The signals that the server answers, as long as this lives.
pub(super) struct Signals {
    received: UnboundedReceiver<Received>,
    handle: Handle,
}

impl Signals {
    /// From now on none of them ends the process by itself.
    pub fn new() -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let (send, received) = unbounded_channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for origin in &mut signals {
                if send.send(Received::from(origin)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { received, handle })
    }

    pub async fn next(&mut self) -> Received {
        match self.received.recv().await {
            Some(received) => received,
            // Its thread has ended, which only the end of this makes it do.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl From<Origin> for Received {
    fn from(origin: Origin) -> Self {
        let (order, name) = match origin.signal {
            SIGHUP => (SignalAction::Reload, "SIGHUP"),
            SIGINT => (SignalAction::Stop, "SIGINT"),
            _ => (SignalAction::Stop, "SIGTERM"),
        };
        let by = match origin.process {
            Some(process) => format!("{name} from {}", SignalSender(process)),
            // As for Ctrl-C, which the terminal sends.
            None => format!("{name} from the system"),
        };
        Self { order, by }
    }
}

/// The process that has sent a signal.
struct SignalSender(Process);

impl fmt::Display for SignalSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { pid, uid, .. } = self.0;
        if pid == 0 {
            // One that cannot be seen from here, as from within a container.
            return write!(formatter, "outside, uid {uid}");
        }
        write!(formatter, "pid {pid}, uid {uid}")?;
        // It may be gone, or hidden.
        match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => write!(formatter, " ({})", name.trim_end().escape_default()),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_signal_says_who_has_sent_it() {
        let mut signals = Signals::new().unwrap();
        let own = std::process::id();
        let sent = Command::new("kill").args(["-s", "HUP", &own.to_string()]).status().unwrap();
        assert!(sent.success());
        let Received { order, by } = signals.next().await;
        assert_eq!(order, SignalAction::Reload);
        let uid = rustix::process::getuid().as_raw();
        assert!(by.starts_with("SIGHUP from pid ") && by.contains(&format!("uid {uid}")), "{by}");
    }
}
