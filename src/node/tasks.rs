//! Tasks without which a node is none: one that panics is the end of the process, as a thread of the store is.
//!
//! Else the node would go on and be nothing but more and more behind. What starts it again finds all that was acknowledged.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt as _;

use crate::store::Store;

/// Runs a task of a node to its end.
pub(super) async fn guarded(store: Arc<Store>, name: &'static str, task: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        store.task_died(name, said(&*panic));
    }
}

/// The same of work that has a thread of its own.
pub(super) fn guarded_thread(store: &Store, name: &'static str, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        store.task_died(name, said(&*panic));
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::Config;
    use crate::store::Lock;

    #[tokio::test]
    async fn a_task_that_panics_is_the_end_of_the_store_and_one_that_ends_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let config = Config { data_dir: dir.path().join(name), ..Config::default() };
            let lock = Lock::take(&config.data_dir, true).unwrap();
            Arc::new(Store::open(lock, config.store_options(), clock::now(), &|_| {}).unwrap())
        };
        let store = open("task");
        guarded(store.clone(), "log reader", async {}).await;
        store.lives().unwrap();
        guarded(store.clone(), "log reader", async { panic!("it was {}", "struck") }).await;
        let why = store.lives().unwrap_err().to_string();
        assert!(why.contains("the log reader panicked: it was struck"), "{why}");
        assert!(store.failed().borrow().is_some());
        let store = open("thread");
        guarded_thread(&store, "log reader", || {});
        store.lives().unwrap();
        guarded_thread(&store, "log reader", || panic!("struck"));
        assert!(store.ready().is_err());
    }
}
