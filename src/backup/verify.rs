//! Reading a backup through, and nothing else.

use std::path::Path;

use super::error::BackupError;
use super::examine::examine;
use super::manifest::Manifest;
use super::read::{BackupSource, Identities, walk};
use crate::journal::Chain;
use crate::store::Progress;

/// A backup that is whole.
#[derive(Debug)]
pub struct Verified {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Segments of its journal.
    pub segments: u64,
    /// History is whole from this sequence number on; 0 for all of it.
    pub whole_from: u64,
}

/// Reads every byte of a backup, unpacks and checks every frame, and compares all with the manifest.
/// Memory is bounded, and nothing is written.
pub fn verify(
    source: &BackupSource,
    identities: &Identities,
    progress: &dyn Fn(Progress),
) -> Result<Verified, BackupError> {
    let path = source.name();
    let mut chain = Chain::default();
    let manifest = walk(source, identities, progress, &mut |name, _, file| {
        let examined = examine(path, name, None, file, &mut |_| Ok(()))?;
        if let Some(passed) = &examined.passed {
            let added = chain.add(passed);
            added.map_err(|reason| BackupError::damaged(path, name, 0, reason))?;
        }
        Ok(examined)
    })?;
    complete(path, &chain, &manifest)?;
    Ok(Verified { manifest, segments: chain.segments, whole_from: chain.whole_from })
}

/// Whether the journal of a backup ends as it should.
pub(super) fn complete(path: &Path, chain: &Chain, manifest: &Manifest) -> Result<(), BackupError> {
    let damaged = |reason: &str| BackupError::damaged(path, super::names::MANIFEST, 0, reason);
    chain.end().map_err(damaged)?;
    if (chain.frames, chain.last_seq) != (manifest.frames, manifest.sequence) {
        return Err(damaged("it has other figures than its files"));
    }
    Ok(())
}
