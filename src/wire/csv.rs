//! Calls as CSV (RFC 4180): a header, then a row each, with CRLF after each.
//!
//! The columns are those of the Call object in its order, and `extra` with its further members as
//! one JSON object. An empty cell is an absent member. An export has two columns more, so that an
//! import of it makes the very same records.

use super::Zone;
use super::call::{write_further, write_merge};
use super::cell::write_cell;
use crate::domain::{Call, CallField};

/// The columns of a Call object.
pub(super) const COLUMNS: [&str; 20] = [
    "account_sid",
    "call_id",
    "call_sid",
    "call_status",
    "direction",
    "from",
    "service_url",
    "sip_status",
    "to",
    "application_sid",
    "caller_name",
    "duration",
    "originating_sip_trunk_name",
    "parent_call_sid",
    "attempted_at",
    "answered_at",
    "terminated_at",
    "stale",
    "time_unknown",
    "extra",
];
/// The columns that an export has besides: the place in lists, and the state of the merge as JSON.
pub(super) const EXPORT_COLUMNS: [&str; 2] = ["listed_at", "merge"];
/// UTF-8's byte order mark, by which spreadsheets recognise it, and guarded files are recognised.
pub(super) const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// How CSV is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvStyle {
    /// For spreadsheets: with a byte order mark, and with an apostrophe before each text that would
    /// be run as a formula. An import takes both away.
    pub spreadsheet: bool,
    /// The zone of all times.
    pub zone: Zone,
}

/// Appends the header of rows of [`write_csv`]. It stands once, before all rows.
pub fn csv_header(out: &mut Vec<u8>, style: &CsvStyle) {
    header(out, style, &[]);
}

/// Appends the header of rows of [`write_csv_export`].
pub fn csv_export_header(out: &mut Vec<u8>, style: &CsvStyle) {
    header(out, style, &EXPORT_COLUMNS);
}

/// Appends a row with the Call object of the API.
pub fn write_csv(out: &mut Vec<u8>, call: &Call, style: &CsvStyle) {
    let mut row = CsvRow { out, guarded: style.spreadsheet, begun: false };
    row.members(call, &style.zone);
    row.end();
}

/// Appends a row with all values of a call.
pub fn write_csv_export(out: &mut Vec<u8>, call: &Call, style: &CsvStyle) {
    let mut row = CsvRow { out, guarded: style.spreadsheet, begun: false };
    row.members(call, &style.zone);
    row.cell(&style.zone.show(call.listed_at));
    let mut merge = Vec::new();
    write_merge(&mut merge, call);
    row.cell(&String::from_utf8_lossy(&merge));
    row.end();
}

fn header(out: &mut Vec<u8>, style: &CsvStyle, more: &[&str]) {
    if style.spreadsheet {
        out.extend_from_slice(&BOM);
    }
    let mut row = CsvRow { out, guarded: style.spreadsheet, begun: false };
    for column in COLUMNS.iter().chain(more) {
        row.cell(column);
    }
    row.end();
}

struct CsvRow<'a> {
    out: &'a mut Vec<u8>,
    guarded: bool,
    begun: bool,
}

impl CsvRow<'_> {
    fn cell(&mut self, text: &str) {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(b',');
        }
        write_cell(self.out, text, self.guarded);
    }

    fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// The cells of [`COLUMNS`].
    fn members(&mut self, call: &Call, zone: &Zone) {
        let progress = &call.progress;
        let text = |name: CallField| call.text(name).unwrap_or_default();
        self.cell(&call.id.account.to_string());
        self.cell(text(CallField::CallId));
        self.cell(&call.id.sid.to_string());
        self.cell(progress.status.as_str());
        self.cell(&call.direction.value.to_string());
        self.cell(text(CallField::From));
        self.cell(text(CallField::ServiceUrl));
        self.cell(&progress.sip_status.to_string());
        self.cell(text(CallField::To));
        self.cell(text(CallField::ApplicationSid));
        self.cell(text(CallField::CallerName));
        self.cell(&call.duration().map(|seconds| seconds.to_string()).unwrap_or_default());
        self.cell(text(CallField::OriginatingSipTrunkName));
        self.cell(text(CallField::ParentCallSid));
        for at in [call.attempted_at(), call.answered_at(), call.terminated_at()] {
            self.cell(&at.map(|at| zone.show(at)).unwrap_or_default());
        }
        for holds in [call.stale, call.attempted_at().is_none()] {
            self.cell(if holds { "true" } else { "" });
        }
        let mut further = Vec::new();
        write_further(&mut further, call);
        if let Some(comma) = further.first_mut() {
            *comma = b'{';
            further.push(b'}');
        }
        self.cell(&String::from_utf8_lossy(&further));
    }
}
