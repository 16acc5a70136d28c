//! Work that holds segments for long, such as a backup: what was replaced stays until it ends.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Work in hand that holds segments for long, by its name.
#[derive(Default)]
pub(super) struct Holders(Mutex<BTreeMap<&'static str, usize>>);

/// Segments are held for as long as it lives.
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

    /// What is in hand, in words: `a backup`, `2 checks`.
    pub fn in_words(&self) -> Vec<String> {
        let words = |(what, count): (&&str, &usize)| match count {
            1 => format!("a {what}"),
            _ => format!("{count} {what}s"),
        };
        self.0.lock().iter().map(words).collect()
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
