//! `GET /v1/Accounts/{AccountSid}/Calls`.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use warp::Reply as _;

use super::auth::{Deed, authorize};
use super::calls::blocking;
use super::cursor;
use super::query::ListQuery;
use super::reply::{Refusal, Reply, json};
use super::routes::Request;
use crate::domain::{AccountSid, Position};
use crate::store::{Page, Request as Question, Store};
use crate::wire::write_call;

/// Calls that are read at once, and written into one piece of a body.
const PIECE_CALLS: usize = 256;
/// Pieces that wait for a slow reader.
const PIECES_AHEAD: usize = 2;

pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// A bare array, newest first. With `limit` a page and where the next one is; without it all that
/// match, streamed.
pub(super) async fn list(request: &Request<'_>, account: &str) -> Result<Reply, Refusal> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Err(Refusal::method("GET, HEAD, POST"));
    }
    let account = authorize(request.context, request.headers, account, Deed::List)?;
    let query = ListQuery::parse(request.query, account)?;
    if *request.method == Method::HEAD {
        return Ok(json(StatusCode::OK, Bytes::new()));
    }
    let store = &request.context.store;
    let question =
        Question { account, filter: query.filter.clone(), order: query.order, after: query.after };
    match query.limit {
        Some(limit) => page(store, question, limit, request.query).await,
        None => everything(store, question).await,
    }
}

async fn page(
    store: &Arc<Store>,
    question: Question,
    limit: usize,
    query: &str,
) -> Result<Reply, Refusal> {
    let (account, filter, order) = (question.account, question.filter.clone(), question.order);
    // One more than wanted tells whether there is a next page.
    let found = blocking(store, move |store| store.page(&question, limit + 1)).await?;
    let mut calls = found.calls;
    let more = calls.len() > limit;
    calls.truncate(limit);
    let next = calls.last().filter(|_| more).map(|call| Position::of(call));
    let mut body = Vec::with_capacity(calls.len() * 640 + 2);
    body.push(b'[');
    for (n, call) in calls.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        write_call(&mut body, call);
    }
    body.push(b']');
    let mut reply = json(StatusCode::OK, body);
    if let Some(next) = next {
        let cursor = cursor::write(account, &filter, order, next);
        link(&mut reply, account, query, &cursor);
    }
    Ok(reply)
}

/// Where the next page is (RFC 8288).
fn link(reply: &mut Reply, account: AccountSid, query: &str, cursor: &str) {
    let query = ListQuery::next(query, cursor);
    let link = format!("</v1/Accounts/{account}/Calls?{query}>; rel=\"next\"");
    let headers = reply.headers_mut();
    for (name, value) in [(LINK, link.as_str()), (NEXT_CURSOR, cursor)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// All matches. The first piece is read before the answer begins, so that a store that cannot be
/// read says so; if it fails later, the connection is cut: a list that looks whole is whole.
async fn everything(store: &Arc<Store>, mut question: Question) -> Result<Reply, Refusal> {
    let (page, asked) = next_piece(store, question).await?;
    question = asked;
    let mut first = piece(&page, true);
    if page.next.is_none() {
        first.push(b']');
        return Ok(json(StatusCode::OK, first));
    }
    let (pieces, mut receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
    let store = store.clone();
    let mut wrote = !page.calls.is_empty();
    question.after = page.next;
    tokio::spawn(async move {
        if pieces.send(Ok(first.into())).await.is_err() {
            return;
        }
        loop {
            let (page, asked) = match next_piece(&store, question).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(?error, "a list was cut off in its middle");
                    let _gone = pieces.send(Err(io::Error::other("the list was cut off"))).await;
                    return;
                }
            };
            question = asked;
            question.after = page.next;
            let mut body = piece(&page, !wrote);
            if !wrote {
                // The bracket is out already.
                body.remove(0);
            }
            wrote |= !page.calls.is_empty();
            let last = page.next.is_none();
            if last {
                body.push(b']');
            }
            if pieces.send(Ok(body.into())).await.is_err() || last {
                return;
            }
        }
    });
    let body = stream::poll_fn(move |context| receiver.poll_recv(context));
    let mut reply = warp::reply::stream(body).into_response();
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    Ok(reply)
}

async fn next_piece(store: &Arc<Store>, question: Question) -> Result<(Page, Question), Refusal> {
    let read = move |store: &Store| {
        let page = store.page(&question, PIECE_CALLS)?;
        Ok((page, question))
    };
    Ok(blocking(store, read).await?)
}

/// Calls as a part of an array; the first part has its bracket.
fn piece(page: &Page, first: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(page.calls.len() * 640 + 2);
    if first {
        body.push(b'[');
    }
    for (n, call) in page.calls.iter().enumerate() {
        if n > 0 || !first {
            body.push(b',');
        }
        write_call(&mut body, call);
    }
    body
}
