//! The journal's files, for somebody who copies them while the store runs.

use std::path::Path;
use std::sync::Arc;

use super::open::Store;
use crate::journal::Segment;

impl Store {
    /// The journal as it is now: everything that was acknowledged is in these segments, up to the
    /// length that each says. Its files stay for as long as somebody holds them.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.shared.segments.read().clone()
    }

    /// Where everything is.
    pub fn data_dir(&self) -> &Path {
        &self.shared.options.data_dir
    }
}
