//! The log as entries of the systemd journal, in its own protocol (`systemd.io/JOURNAL_NATIVE_PROTOCOL`):
//! a datagram an entry, a field for each value. The values stand in the message, too, since that is
//! what `journalctl` shows.

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::logs;

pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// How long an entry may wait for the journal before it is lost.
const WAIT: Duration = Duration::from_secs(1);

/// Bytes of an entry, beyond which its message alone is sent, and cut: a datagram has its limit.
const ENTRY_BYTES_MAX: usize = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Bytes of the name of a field.
const NAME_BYTES_MAX: usize = 64;

pub(super) struct SystemdJournal {
    socket: UnixDatagram,
}

impl SystemdJournal {
    /// An error where nothing listens.
    pub fn new() -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(SOCKET)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(WAIT))?;
        Ok(Self { socket })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SystemdJournal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut values = Values::default();
        attributes.record(&mut values);
        span.extensions_mut().insert(values);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(values) = span.extensions_mut().get_mut::<Values>() {
            record.record(values);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Values::default();
        event.record(&mut own);
        let mut values = own.named;
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            spans.push(span.name());
            if let Some(more) = span.extensions().get::<Values>() {
                values.extend(more.named.iter().cloned());
            }
        }
        let about = event.metadata();
        let message = message(&own.message, &values);
        let mut entry = JournalEntry::default();
        entry.put("PRIORITY", priority(*about.level()));
        entry.put("SYSLOG_IDENTIFIER", "rollcall");
        entry.put("MESSAGE", &message);
        entry.put("TARGET", about.target());
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        for span in spans {
            entry.put("SPAN_NAME", span);
        }
        for (name, value) in &values {
            entry.put(&field_name(name), value);
        }
        if entry.0.len() > ENTRY_BYTES_MAX {
            let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
            entry = JournalEntry::default();
            entry.put("PRIORITY", priority(*about.level()));
            entry.put("SYSLOG_IDENTIFIER", "rollcall");
            entry.put("MESSAGE", message.get(..end).unwrap_or_default());
            entry.put("TARGET", about.target());
        }
        // One that cannot be written is lost; all else goes on.
        let _lost = self.socket.send_to(&entry.0, SOCKET);
    }
}

/// The gravity as syslog counts it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// A line to read: what happened, and all values.
fn message(text: &str, values: &[(&'static str, String)]) -> String {
    let mut message = text.to_owned();
    for (name, value) in values {
        let plain = !value.is_empty()
            && !value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '='));
        // Writing to a string does not fail.
        let _infallible = if plain {
            write!(message, " {name}={value}")
        } else {
            write!(message, " {name}={value:?}")
        };
    }
    logs::plain(&message).into_owned()
}

/// The name of a value as a field of the journal: capitals, digits and underscores.
fn field_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut out = String::from("ROLLCALL_");
    out.extend(name.chars().map(plain));
    out.truncate(NAME_BYTES_MAX);
    out
}

/// What an event or a span says.
#[derive(Default)]
struct Values {
    message: String,
    named: Vec<(&'static str, String)>,
}

impl Values {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.named.push((field.name(), value));
        }
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// An entry as it is sent.
#[derive(Default)]
struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// A field: its name, the length of its value, and that.
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_all_values_and_stays_one_line() {
        let values = [
            ("calls", "7".to_owned()),
            ("reason", "it is gone".to_owned()),
            ("empty", String::new()),
            ("odd", "a\nb=\"c\"".to_owned()),
        ];
        assert_eq!(
            message("done", &values),
            "done calls=7 reason=\"it is gone\" empty=\"\" odd=\"a\\nb=\\\"c\\\"\""
        );
        assert_eq!(message("a\u{202e}\nb", &[]), "a\\u202e\\u000ab");
        assert_eq!(field_name("data_dir"), "ROLLCALL_DATA_DIR");
        assert_eq!(field_name(&"x.".repeat(90)).len(), NAME_BYTES_MAX);
    }
}
