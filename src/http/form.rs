//! The body of a list: which form it has, and how calls are written into it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::gzip::{self, Gzip};
use super::reply::{JSON, Reply};
use crate::domain::Call;
use crate::wire::write_call;

/// Bytes that a call takes, about.
const CALL_BYTES: usize = 640;

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    shape: Shape,
    gzip: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One array.
    Json,
}

impl Form {
    /// What tells this form of a list from the others in its entity tag. Weak tags are the same
    /// with and without compression.
    pub fn suffix(self) -> &'static str {
        match self.shape {
            Shape::Json => "",
        }
    }

    /// 200 with this body.
    pub fn reply(self, body: Bytes) -> Reply {
        let mut reply = Response::new(body.into());
        *reply.status_mut() = StatusCode::OK;
        self.describe(&mut reply);
        reply
    }

    /// Adds the headers that say how the body is to be read.
    pub fn describe(self, reply: &mut Reply) {
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
}

/// Writes a body piece by piece.
pub(super) struct Writer {
    form: Form,
    gzip: Option<Gzip>,
    begun: bool,
    /// A call has been written.
    filled: bool,
}

impl Writer {
    /// The form that the request asks for.
    pub fn for_request(headers: &HeaderMap) -> Self {
        let form = Form { shape: Shape::Json, gzip: gzip::accepted(headers) };
        Self { form, gzip: None, begun: false, filled: false }
    }

    /// The form; after the first piece it is final.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The next piece with these calls; the last one ends the body.
    pub fn piece(&mut self, calls: &[Arc<Call>], last: bool) -> Bytes {
        let first = !self.begun;
        self.begun = true;
        let mut piece = Vec::with_capacity(calls.len() * CALL_BYTES + 2);
        if first {
            piece.push(b'[');
        }
        for call in calls {
            if self.filled {
                piece.push(b',');
            }
            self.filled = true;
            write_call(&mut piece, call);
        }
        if last {
            piece.push(b']');
        }
        if !self.form.gzip {
            return piece.into();
        }
        if first && last {
            let compressed = gzip::whole(&piece);
            self.form.gzip = compressed.is_some();
            return compressed.unwrap_or(piece).into();
        }
        self.gzip.get_or_insert_with(Gzip::new).piece(&piece, last).into()
    }
}
