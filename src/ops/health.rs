//! Whether a running server does its work, as one that is asked for it says.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AdminContext, AdminReply};
use crate::clock;
use crate::intake::Intake;

/// What a server says of itself: why not, where something is not so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The committer answers, and every accept loop turns.
    pub live: Option<String>,
    pub lists: Option<String>,
    pub events: Option<String>,
}

/// Asks the accept loops of this process whether they turn.
#[derive(Clone)]
pub struct Loops(pub Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Loops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loops")
    }
}

pub(super) fn look(intake: &Intake, context: &AdminContext) -> AdminReply {
    let store = intake.store();
    let node = intake.node();
    // Nothing is changed, but the committer itself says so: it is neither stuck nor gone, and it refuses
    // once the journal has failed.
    let committer = store.apply(&[], clock::now(), true).err().map(|error| error.to_string());
    let live = committer.or_else(|| {
        let turn = context.loops.as_ref().is_none_or(|loops| (loops.0)());
        (!turn).then(|| "a listener does not accept connections any more".to_owned())
    });
    let or_live = |own: Option<String>| live.clone().or(own);
    let lists = or_live(store.ready().err().map(|error| error.to_string()));
    let lists = lists.or_else(|| node?.lists().err());
    let events = or_live(store.takes_events().err().map(|error| error.to_string()));
    let events = events.or_else(|| node?.events().err());
    AdminReply::Health(Health { live, lists, events })
}
