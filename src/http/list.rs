//! `GET /v1/Accounts/{AccountSid}/Calls`.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http::header::{HeaderName, HeaderValue, LINK, VARY};
use tokio::sync::mpsc;
use warp::Reply as _;

use super::auth::{Deed, Listener, authorize};
use super::calls::blocking;
use super::etag::Tag;
use super::form::{Form, Writer};
use super::query::ListQuery;
use super::reply::{Refusal, Reply};
use super::routes::Request;
use super::{Context, cursor};
use crate::clock;
use crate::domain::{AccountSid, Filter, Recent};
use crate::logs::masked;
use crate::store::{Reach, Request as Question, Store};

/// Calls that are read at once, and written into one piece of a body.
const PIECE_CALLS: usize = 128;
/// Rows that are looked at for one piece, which may stay empty: others get a turn.
const PIECE_ROWS: usize = 4096;
/// Calls of a page that is read where its request is: changing threads costs more than such a page.
const SHORT_PAGE_CALLS: usize = 1000;
/// Pieces that wait for a slow reader, beside the one that is being sent and the one that has been read.
const PIECES_AHEAD: usize = 1;

pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
pub(super) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// A bare array, newest first. With `limit` a page and where the next one is; without it all that
/// match, streamed.
pub(super) async fn list(request: &Request<'_>, account: &str) -> Result<Reply, Refusal> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Err(Refusal::method("GET, HEAD, POST"));
    }
    let context = request.context;
    let account = authorize(context, request.headers, account, Deed::List)?;
    let mut query = ListQuery::parse(request.query, account)?;
    query.filter.recent = recent(context, &query.filter);
    let writer = Writer::for_request(request.headers, std::mem::take(&mut query.style));
    // The window moves with the clock, and no change of the account tells of it.
    let tag =
        context.window.is_none().then(|| Tag::of(&context.store, account, writer.form().suffix()));
    if let Some(tag) = tag.as_ref().filter(|tag| tag.is_known(request.headers)) {
        return Ok(varying(tag.not_modified()));
    }
    let mut reply = if *request.method == Method::HEAD {
        writer.form().plain().reply(Bytes::new())
    } else {
        answer(
            Listener::new(request, Reach::Account(account)),
            account,
            query,
            writer,
            request.query,
        )
        .await?
    };
    if let Some(tag) = tag {
        tag.put(&mut reply);
    }
    Ok(varying(reply))
}

async fn answer(
    listener: Listener,
    account: AccountSid,
    query: ListQuery,
    writer: Writer,
    text: &str,
) -> Result<Reply, Refusal> {
    let context = &*listener.context.clone();
    let ListQuery { filter, order, limit, after, count, .. } = query;
    let question = Question { account, filter, order, after };
    let total = if count { Some(total(context, question.clone()).await?) } else { None };
    let mut reply = match limit {
        Some(limit) => page(context, question, limit, writer, text).await?,
        None => everything(listener, question, writer).await?,
    };
    if let Some(total) = total {
        reply.headers_mut().insert(TOTAL_COUNT, HeaderValue::from(total));
    }
    Ok(reply)
}

/// What the configuration leaves of the plain list.
fn recent(context: &Context, filter: &Filter) -> Option<Recent> {
    let window = context.window?;
    if filter.start.is_some() || filter.end.is_some() || filter.stale.is_some() {
        return None;
    }
    let ended_since = clock::now().minus_millis(window.ended_millis);
    let listed_since = ended_since.minus_millis(window.lifetime_millis);
    Some(Recent { ended_since, listed_since })
}

async fn total(context: &Context, question: Question) -> Result<u64, Refusal> {
    let rows = context.count_rows;
    let counted = blocking(&context.store, move |store| store.count(&question, rows)).await?;
    counted.ok_or_else(|| Refusal::too_many_rows("count", rows))
}

async fn page(
    context: &Context,
    question: Question,
    limit: usize,
    mut writer: Writer,
    query: &str,
) -> Result<Reply, Refusal> {
    let (account, filter, order) = (question.account, question.filter.clone(), question.order);
    let rows = context.page_rows;
    let short = limit <= SHORT_PAGE_CALLS && !writer.form().is_compressed() && question.is_direct();
    let mut read = move |store: &Store| {
        // One more than wanted tells whether there is a next page.
        let mut page = store.list(&question, limit + 1, rows)?;
        if page.calls.len() > limit {
            page.calls.truncate(limit);
            page.next = page.calls.last().map(|(position, _)| *position);
        }
        Ok((writer.piece(store, page.calls, true)?, writer.form(), page.next))
    };
    let (body, form, next) =
        if short { read(&context.store)? } else { blocking(&context.store, read).await? };
    let mut reply = form.reply(body);
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

/// The part of a list that is still to come.
struct Rest {
    question: Question,
    writer: Writer,
}

/// All matches. The first piece is read before the answer begins, so that a store that cannot be
/// read says so; if it fails later, or the token ends, the connection is cut: a list that looks
/// whole is whole.
async fn everything(
    listener: Listener,
    question: Question,
    writer: Writer,
) -> Result<Reply, Refusal> {
    let (first, form, rest) = next_piece(&listener, Rest { question, writer }).await?;
    let Some(mut rest) = rest else { return Ok(form.reply(first)) };
    let (pieces, mut receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
    tokio::spawn(async move {
        if pieces.send(Ok(first)).await.is_err() {
            return;
        }
        loop {
            let (body, _, left) = match next_piece(&listener, rest).await {
                Ok(found) => found,
                Err(error) => {
                    let error = format!("{error:?}");
                    tracing::warn!(error = &*masked(&error), "a list was cut off in its middle");
                    let _gone = pieces.send(Err(io::Error::other("the list was cut off"))).await;
                    return;
                }
            };
            if pieces.send(Ok(body)).await.is_err() {
                return;
            }
            match left {
                Some(left) => rest = left,
                None => return,
            }
        }
    });
    let body = stream::poll_fn(move |context| receiver.poll_recv(context));
    let mut reply = warp::reply::stream(body).into_response();
    form.describe(&mut reply);
    Ok(reply)
}

/// The next piece of a body, its form, and what is left.
async fn next_piece(
    listener: &Listener,
    rest: Rest,
) -> Result<(Bytes, Form, Option<Rest>), Refusal> {
    let turn = listener.context.turns.mine().await;
    let piece = blocking(&listener.context.store, move |store| {
        let Rest { mut question, mut writer } = rest;
        let page = store.list(&question, PIECE_CALLS, PIECE_ROWS)?;
        let last = page.next.is_none();
        let body = writer.piece(store, page.calls, last)?;
        question.after = page.next;
        let form = writer.form();
        Ok((body, form, (!last).then_some(Rest { question, writer })))
    });
    let piece = piece.await?;
    drop(turn);
    listener.still_may()?;
    Ok(piece)
}

/// The same path is answered in several forms.
fn varying(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    reply
}
