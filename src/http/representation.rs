//! The body of a list: which form it has, and how calls are written into it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::accept;
use super::answer_budget::AnswerPermit;
use super::gzip::{self, Gzip};
use super::request::ApiRequest;
use super::response::{JSON, Response};
use crate::domain::Position;
use crate::store::{Listed, Store, StoreError};
use crate::wire::{CsvStyle, csv_header, masked_call, write_call, write_csv};

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
/// What a browser calls the file that it saves.
const CSV_FILE: HeaderValue = HeaderValue::from_static("attachment; filename=\"calls.csv\"");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const NDJSON_FILE: HeaderValue = HeaderValue::from_static("attachment; filename=\"calls.ndjson\"");
/// Bytes of what compresses a body that is sent in pieces.
const GZIP_BYTES: usize = 384 * 1024;

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Representation {
    shape: ListLayout,
    gzip: bool,
    /// Numbers are shown without their middle digits.
    is_masked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListLayout {
    /// One array.
    Json,
    /// One object a line.
    Ndjson,
    /// A header and a row for each call (RFC 4180).
    Csv,
}

impl ListLayout {
    /// By its name in a query.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// CSV where the request wants it more than JSON (RFC 9110, section 12.5.1).
    fn wanted(headers: &HeaderMap) -> Self {
        let csv = accept::weights(headers, "text/csv");
        let json = accept::weights(headers, "application/json");
        let of = |weights: [Option<f32>; 3]| weights.into_iter().flatten().next().unwrap_or(0.0);
        // On a tie a client that names CSV alone means it.
        let alone = csv[0].is_some() && json[0].or(json[1]).is_none() && of(csv) > 0.0;
        let wanted = of(csv) > of(json) || alone && of(csv) >= of(json);
        if wanted { Self::Csv } else { Self::Json }
    }
}

impl Representation {
    /// What tells this form of a list from the others in its entity tag. Weak tags are the same
    /// with and without compression.
    pub fn suffix(self) -> &'static str {
        match (self.shape, self.is_masked) {
            (ListLayout::Json, false) => "",
            (ListLayout::Json, true) => "-masked",
            (ListLayout::Ndjson, false) => "-ndjson",
            (ListLayout::Ndjson, true) => "-ndjson-masked",
            (ListLayout::Csv, false) => "-csv",
            (ListLayout::Csv, true) => "-csv-masked",
        }
    }

    /// The same, for an answer of unknown size.
    pub fn plain(self) -> Self {
        Self { gzip: false, ..self }
    }

    /// Whether writing it takes long.
    pub fn is_slow(self) -> bool {
        self.gzip || self.is_masked || self.shape == ListLayout::Csv
    }

    /// Whether a part of it looks whole: only the end of the message tells that nothing is missing.
    pub fn needs_an_end(self) -> bool {
        self.shape != ListLayout::Json
    }

    /// 200 with this body.
    pub fn reply(self, body: Bytes) -> Response {
        let mut reply = Response::new(body.into());
        *reply.status_mut() = StatusCode::OK;
        self.describe(&mut reply);
        reply
    }

    /// Adds the headers that say how the body is to be read.
    pub fn describe(self, reply: &mut Response) {
        let headers = reply.headers_mut();
        match self.shape {
            ListLayout::Json => {
                headers.insert(CONTENT_TYPE, JSON);
            }
            ListLayout::Ndjson => {
                headers.insert(CONTENT_TYPE, NDJSON);
                headers.insert(CONTENT_DISPOSITION, NDJSON_FILE);
            }
            ListLayout::Csv => {
                headers.insert(CONTENT_TYPE, CSV);
                headers.insert(CONTENT_DISPOSITION, CSV_FILE);
            }
        }
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
}

/// Writes a body piece by piece.
pub(super) struct BodyWriter {
    form: Representation,
    gzip: Option<Gzip>,
    style: CsvStyle,
    begun: bool,
    /// A call has been written.
    filled: bool,
    /// Memory for what compresses it.
    permit: Option<AnswerPermit>,
}

impl BodyWriter {
    /// The form that the request asks for.
    pub fn for_request(
        request: &ApiRequest<'_>,
        layout: Option<ListLayout>,
        style: CsvStyle,
    ) -> Self {
        let headers = request.headers;
        let form = Representation {
            shape: layout.unwrap_or_else(|| ListLayout::wanted(headers)),
            gzip: gzip::accepted(headers),
            is_masked: request.is_masked(),
        };
        Self { form, gzip: None, style, begun: false, filled: false, permit: None }
    }

    /// More than one piece comes: compressed where there is memory for what does it.
    pub fn of_pieces(&mut self, permit: impl FnOnce(usize) -> Option<AnswerPermit>) {
        if self.form.gzip {
            self.permit = permit(GZIP_BYTES);
            self.form.gzip = self.permit.is_some();
        }
    }

    /// The form; after the first piece it is final.
    pub fn form(&self) -> Representation {
        self.form
    }

    /// The next piece with these calls; the last one ends the body.
    pub fn piece(
        &mut self,
        store: &Store,
        calls: Vec<(Position, Listed)>,
        last: bool,
    ) -> Result<Vec<u8>, StoreError> {
        let first = !self.begun;
        self.begun = true;
        let weight: usize = calls.iter().map(|(_, listed)| listed.weight() + 1).sum();
        let mut piece = Vec::with_capacity(weight + 512);
        let calls = if self.form.is_masked {
            let masked = |(position, listed)| {
                let call = masked_call(&*store.unpacked(listed)?);
                Ok((position, Listed::Call(Arc::new(call))))
            };
            calls.into_iter().map(masked).collect::<Result<_, StoreError>>()?
        } else {
            calls
        };
        match self.form.shape {
            ListLayout::Json => self.elements(&mut piece, &calls, first, last),
            ListLayout::Ndjson => {
                for (_, listed) in &calls {
                    element(&mut piece, listed);
                    piece.push(b'\n');
                }
            }
            ListLayout::Csv => {
                if first {
                    csv_header(&mut piece, &self.style);
                }
                for (_, listed) in calls {
                    write_csv(&mut piece, &*store.unpacked(listed)?, &self.style);
                }
            }
        }
        if !self.form.gzip {
            return Ok(piece);
        }
        if first && last {
            let compressed = gzip::whole(&piece);
            self.form.gzip = compressed.is_some();
            return Ok(compressed.unwrap_or(piece));
        }
        Ok(self.gzip.get_or_insert_with(Gzip::new).piece(&piece, last))
    }

    fn elements(
        &mut self,
        out: &mut Vec<u8>,
        calls: &[(Position, Listed)],
        first: bool,
        last: bool,
    ) {
        if first {
            out.push(b'[');
        }
        for (_, listed) in calls {
            if self.filled {
                out.push(b',');
            }
            self.filled = true;
            element(out, listed);
        }
        if last {
            out.push(b']');
        }
    }
}

/// Appends a call as one JSON object, which has no line end.
fn element(out: &mut Vec<u8>, listed: &Listed) {
    match listed {
        Listed::Call(call) => write_call(out, call),
        Listed::Row(row) => out.extend_from_slice(row.answer()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_sent_to_a_client_that_prefers_it_to_json() {
        for (accept, shape) in [
            ("text/csv", ListLayout::Csv),
            ("Text/CSV; charset=utf-8, */*;q=0.1", ListLayout::Csv),
            ("application/json;q=0.5, text/csv;q=0.6", ListLayout::Csv),
            ("application/json, text/csv", ListLayout::Json),
            ("text/csv;q=0", ListLayout::Json),
            ("text/csv;q=x", ListLayout::Json),
            ("application/xml", ListLayout::Json),
            ("*/*", ListLayout::Json),
            ("", ListLayout::Json),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT, accept.parse().unwrap());
            assert_eq!(ListLayout::wanted(&headers), shape, "{accept}");
        }
    }
}
