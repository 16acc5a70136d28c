//! The journal's files, for somebody who copies them while the store runs; and who holds what was
//! replaced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::StoreError;
use super::open::Store;
use crate::fsutil;
use crate::journal::Segment;

/// Work in hand that holds segments for long, by its name.
#[derive(Default)]
pub(super) struct Holders(Mutex<BTreeMap<&'static str, usize>>);

/// Says that somebody holds segments, for as long as it lives.
pub struct Holding<'a> {
    holders: &'a Holders,
    what: &'static str,
}

impl Holders {
    /// Notes that this work begins, such as `a backup`.
    pub fn begin(&self, what: &'static str) -> Holding<'_> {
        *self.0.lock().entry(what).or_default() += 1;
        Holding { holders: self, what }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut holders = self.holders.0.lock();
        if let Some(count) = holders.get_mut(self.what) {
            *count -= 1;
        }
        holders.retain(|_, count| *count > 0);
    }
}

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

    /// Notes that somebody begins to hold segments for long.
    pub fn holding(&self, what: &'static str) -> Holding<'_> {
        self.shared.holders.begin(what)
    }

    /// Who holds segments for long, in words: `a backup`, `2 checks`.
    pub fn holders(&self) -> Vec<String> {
        let holders = self.shared.holders.0.lock();
        let told = |(what, count): (&&str, &usize)| match count {
            1 => format!("a {what}"),
            _ => format!("{count} {what}s"),
        };
        holders.iter().map(told).collect()
    }

    /// What has been replaced and is still there, until nobody reads it any more: files of the journal,
    /// and directories of indexes.
    pub fn replaced(&self) -> Result<Vec<PathBuf>, StoreError> {
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        let dir = self.data_dir();
        let mut found = Vec::new();
        // Files first, segments second: what is written meanwhile is not taken for a leftover.
        let mut there = names(&dir.join("journal")).map_err(failed)?;
        let segments = self.segments();
        there.retain(|file| {
            let file = Path::new(file);
            let ours = segments.iter().any(|segment| segment.path.file_name() == file.file_name());
            // What others have put there is nobody's to wait for.
            let is_segment = file.extension().is_some_and(|end| end == "log" || end == "zst");
            let is_content = fsutil::is_content(file.as_os_str());
            !ours && is_segment && is_content
        });
        found.extend(there.into_iter().map(|file| dir.join("journal").join(file)));
        let Ok(index) = self.shared.index() else { return Ok(found) };
        let number = |name: &Path| -> Option<u64> {
            name.file_name()?.to_str()?.strip_prefix("index-")?.parse().ok()
        };
        let Some(current) = number(index.dir()) else { return Ok(found) };
        let names = names(dir).map_err(failed)?;
        // One of a greater number is being built.
        let old =
            names.into_iter().filter(|name| number(Path::new(name)).is_some_and(|n| n < current));
        found.extend(old.map(|name| dir.join(name)));
        Ok(found)
    }
}

fn names(dir: &Path) -> std::io::Result<Vec<OsString>> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}
