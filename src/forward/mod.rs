//! Passing hooks on: each accepted hook is sent to the targets of its account, until one of 2xx is the answer.
//!
//! The outbox of the store has the hooks (`store/outbox`); what is sent, and how far each target has got, is
//! known here by one task a target (`target.rs`). Attempts at a target that fails become few (`pace.rs`), and no
//! target waits for another. `attempt.rs` is one attempt.
//!
//! Architecture invariants:
//!
//! * A hook goes to targets of its own account alone. The account stands in the frame of the hook, and its sender
//!   was authenticated for it.
//! * A hook is sent at least once, and is done only by an answer of 2xx, or because its call was deleted.
//! * Hooks of one call are sent to a target in the order in which they came: the next one when the one before it
//!   is done or set aside.
//! * Nothing of this delays the answer to the sender: the hook is in the commit that the answer waits for anyway.
//! * What is stored of the progress of a target may be older than what was sent, and is never newer.
//! * Of several nodes one sends, and begins where the last one had stored that it was: one that hands over or ends in
//!   order stores all of it. Two that both send for a moment send some twice.

mod age;
mod attempt;
mod pace;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::Secret;
use crate::clock;
use crate::config::{Forward, ForwardTarget};
use crate::intake::Intake;
use crate::outbound::Client;
use crate::store::{Audience, Change, Store, StoreError, chain};
use crate::tls;

use age::Ages;
use attempt::Destination;
use target::Target;

/// How often the progress of targets is stored.
const STORED_EVERY: Duration = Duration::from_secs(1);
/// How long one who hands over to another node waits for what is under way, and how long until that is stored. The other
/// one begins 5 seconds after it was heard.
const HANDED_OVER: Duration = Duration::from_secs(2);

/// Why hooks cannot be passed on.
#[derive(Debug, thiserror::Error)]
#[error("forward.targets `{name}`: {why}")]
pub struct TargetError {
    name: String,
    why: String,
}

/// Everything that is needed to pass hooks on.
pub struct Forwarder {
    settings: Forward,
    client: Arc<Client>,
    destinations: Vec<Arc<Destination>>,
}

impl Forwarder {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(settings: &Forward) -> Result<Self, TargetError> {
        let client = client(settings)?;
        let destinations = settings.targets.0.iter().map(destination);
        let destinations = destinations.collect::<Result<_, _>>()?;
        Ok(Self { settings: settings.clone(), client: Arc::new(client), destinations })
    }

    /// Lets the store know which targets there are, before the first hook is accepted: what comes from then on
    /// is for them, also where the process is killed at once. Of several nodes the one that sends says so, and not here.
    ///
    /// # Errors
    /// It cannot be stored.
    pub fn open(&self, intake: &Intake) -> Result<(), StoreError> {
        match intake {
            Intake::Alone(store) => {
                let rows = self.configured(store);
                if rows.is_empty() {
                    Ok(())
                } else {
                    intake.apply(&rows, clock::now(), false).map(drop)
                }
            }
            Intake::Cluster(_) => Ok(()),
        }
    }

    /// Opens the targets that are configured, and closes all others. Returns what of that is to be stored.
    fn configured(&self, store: &Store) -> Vec<Change> {
        let targets = &self.settings.targets.0;
        store.set_forward_targets(
            targets.iter().map(|target| (target.name.clone(), audience(target))).collect(),
        );
        store.forward_rows(true)
    }

    /// Passes on until it is told to stop, for as long as this is for this process to do. What is under way when it is to
    /// stop may end within `drain`; what is cut off is sent again after the next start, or by another node.
    pub async fn run(self, intake: Intake, stopped: watch::Receiver<()>, drain: Duration) {
        let mut stopping = stopped.clone();
        loop {
            tokio::select! {
                _ = stopping.changed() => return,
                () = intake.until_mine(true) => {}
            }
            match self.send(&intake, &stopped, drain).await {
                End::Stops => return,
                End::HandsOver => tracing::info!("another node passes webhooks on"),
                End::BeginsAnew => {
                    tracing::info!("the log begins anew, and so does what is passed on");
                }
            }
        }
    }

    /// Sends until it is told to stop, until another node does it, or until the log begins anew, and what is to be sent has
    /// other numbers.
    async fn send(&self, intake: &Intake, stopped: &watch::Receiver<()>, drain: Duration) -> End {
        let store = intake.store();
        let mut begins_anew = store.hooks_begin_anew();
        store.sends_hooks(true);
        if !matches!(intake, Intake::Alone(_)) {
            store_rows(intake, self.configured(store)).await;
        }
        let mut tasks = JoinSet::new();
        let (stop, stops) = watch::channel(());
        let ages = Arc::new(Ages::new(self.settings.max_age));
        let progress: std::collections::BTreeMap<_, _> =
            store.forward_targets().into_iter().collect();
        for (target, destination) in self.settings.targets.0.iter().zip(&self.destinations) {
            let Some(progress) = progress.get(&target.name).cloned() else { continue };
            let metrics = store.meter().forward.target(&target.name);
            metrics.change(|state| state.url = target.url.shown());
            let (name, client, ages) = (target.name.clone(), self.client.clone(), ages.clone());
            let (store, destination) = (store.clone(), destination.clone());
            let task =
                Target::new(name, &self.settings, store, client, destination, progress, ages);
            tasks.spawn(task.run(stops.clone()));
        }
        if !self.settings.targets.0.is_empty() && store.forward_paused() {
            tracing::warn!(
                "forwarding is paused: webhooks are kept and not passed on until `rollcall forward resume`"
            );
        }
        let mut stopping = stopped.clone();
        let ends = loop {
            tokio::select! {
                _ = stopping.changed() => break End::Stops,
                () = intake.until_mine(false) => break End::HandsOver,
                _ = begins_anew.changed() => break End::BeginsAnew,
                () = tokio::time::sleep(STORED_EVERY) => {}
            }
            store_progress(intake, false).await;
        };
        drop(stop);
        let longest = if ends == End::Stops { drain } else { drain.min(HANDED_OVER) };
        let ending = async { while tasks.join_next().await.is_some() {} };
        let _cut_off = tokio::time::timeout(longest, ending).await;
        tasks.shutdown().await;
        if ends == End::Stops {
            store_progress(intake, true).await;
            return ends;
        }
        // The next one goes on from there, and what this one would still send it sends, too.
        if tokio::time::timeout(HANDED_OVER, store_progress(intake, true)).await.is_err() {
            store.forward_unstored();
        }
        store.sends_hooks(false);
        for target in &self.settings.targets.0 {
            let metrics = store.meter().forward.target(&target.name);
            metrics.set_oldest(None);
            metrics.change(|state| (state.down_since, state.why) = (None, None));
        }
        ends
    }
}

/// Why nothing is sent any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stops,
    HandsOver,
    BeginsAnew,
}

/// Whether a target can be connected to with what the configuration names. Nothing is sent.
///
/// # Errors
/// Why not.
pub async fn reach(settings: &Forward, target: &ForwardTarget) -> Result<(), TargetError> {
    let client = client(settings)?;
    let _its_files_can_be_read = destination(target)?;
    let reached = client.reach(target.url.origin()).await;
    reached.map_err(|error| TargetError { name: target.name.clone(), why: error.to_string() })
}

/// Whether the files can be used that a configuration names for targets.
///
/// # Errors
/// The first one that cannot.
pub fn check_files(settings: &Forward) -> Result<(), TargetError> {
    Forwarder::new(settings).map(|_| ())
}

/// Has the journal say how far the targets have got.
async fn store_progress(intake: &Intake, all: bool) {
    store_rows(intake, intake.store().forward_rows(all)).await;
}

async fn store_rows(intake: &Intake, rows: Vec<Change>) {
    if rows.is_empty() {
        return;
    }
    // Of several nodes, none keeps what would be old by the time at which it is stored.
    if let Err(error) = intake.outcome_of(rows, clock::now()).await {
        intake.store().forward_unstored();
        if !matches!(error, StoreError::Busy | StoreError::Closing) {
            let error = chain(&error);
            tracing::warn!(
                error,
                "how far webhooks were passed on could not be stored; trying again"
            );
        }
    }
}

fn client(settings: &Forward) -> Result<Client, TargetError> {
    let ca = settings.ca.as_deref();
    let client = Client::new(ca, "forward.ca", settings.connect, settings.timeout);
    client.map_err(|error| TargetError { name: "*".to_owned(), why: chain(&error) })
}

fn destination(target: &ForwardTarget) -> Result<Arc<Destination>, TargetError> {
    let password = match &target.password_file {
        None => None,
        Some(path) => Some(Secret::new(tls::first_line(path).map_err(|why| {
            let why = format!("password_file {}: {why}", path.display());
            TargetError { name: target.name.clone(), why }
        })?)),
    };
    Ok(Arc::new(Destination::new(target, password.as_ref())))
}

fn audience(target: &ForwardTarget) -> Audience {
    Audience { account: target.account, applications: target.applications.clone() }
}
