//! Calls as they come: the caller receives each that is new or has changed.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{AdminContext, AdminReply, Emit, Failure, Item, Selection};
use crate::domain::{AccountSid, Call, Filter};
use crate::store::{FeedBudget, FeedPosition, Progress, Reach, Store, What};
use crate::wire::write_call;

/// What comes in so much time is read together.
const GATHER: Duration = Duration::from_millis(20);
/// How often a sign of life is sent, so that one who has gone away is noticed.
const SIGN_INTERVAL: Duration = Duration::from_secs(1);
/// What one look into the journal takes.
const PIECE: FeedBudget = FeedBudget { frames: 1000, read: 1 << 20, bytes: 1 << 20 };

/// Writes a line for each call that is new or has changed from now on, and ends after so many of them,
/// or with an error once the server stops. The first that is emitted is nothing: from then on no call is
/// missed.
pub(super) fn run(
    store: &Store,
    context: &AdminContext,
    selection: &Selection,
    limit: Option<u64>,
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let (filter, chosen) = (selection.filter()?, selection.chosen(store)?);
    let mut published = store.published();
    let begin = *published.borrow_and_update();
    let reach = match chosen.as_slice() {
        [account] => Reach::Account(*account),
        _ => Reach::Everybody,
    };
    let mut feed = store.feed(reach, FeedPosition::Changes(begin))?;
    let mut written = 0;
    let mut stopping = context.stopping.clone();
    let mut signed = Instant::now();
    emit(Item::Data(&[]))?;
    loop {
        let until = *published.borrow_and_update();
        while !feed.has_read(until) {
            let mut lines = Vec::new();
            for event in feed.next(store, until, PIECE)? {
                let What::Call(call) = event.what else { continue };
                if !is_meant(&call, &chosen, &filter) {
                    continue;
                }
                write_call(&mut lines, &call);
                lines.push(b'\n');
                written += 1;
                if limit == Some(written) {
                    break;
                }
            }
            // The caller ends it by closing the connection.
            let gone = !lines.is_empty() && emit(Item::Data(&lines)).is_err();
            if gone || limit == Some(written) {
                return Ok(AdminReply::Written(written));
            }
        }
        if stopping.as_ref().is_some_and(|stopping| stopping.has_changed().is_err()) {
            return Err(Failure::new("the server stops, and with it this list"));
        }
        if signed.elapsed() >= SIGN_INTERVAL {
            let what = "following".to_owned();
            if emit(Item::Progress(Progress::steps(what, written, None))).is_err() {
                return Ok(AdminReply::Written(written));
            }
            signed = Instant::now();
        }
        wait(&mut published, stopping.as_mut());
    }
}

/// Waits until something has come, the server stops, or a sign of life is due. The thread is one of a
/// server's own, which may block.
fn wait(published: &mut watch::Receiver<u64>, stopping: Option<&mut watch::Receiver<()>>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return std::thread::park_timeout(GATHER);
    };
    let stopped = async {
        match stopping {
            Some(stopping) => drop(stopping.changed().await),
            None => std::future::pending().await,
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = published.changed() => tokio::time::sleep(GATHER).await,
            () = stopped => {}
            () = tokio::time::sleep(SIGN_INTERVAL) => {}
        }
    });
}

fn is_meant(call: &Call, accounts: &[AccountSid], filter: &Filter) -> bool {
    (accounts.is_empty() || accounts.contains(&call.id.account)) && filter.matches(call)
}
