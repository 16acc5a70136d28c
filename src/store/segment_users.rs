//! Who reads segments for long, such as a backup: the files of replaced segments stay until it ends.
//! The segments themselves keep their files; this only says who is waited for.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Work in hand that reads segments for long, by its name.
#[derive(Default)]
pub(super) struct SegmentUsers(Mutex<BTreeMap<&'static str, usize>>);

/// The work goes on for as long as it lives.
pub struct SegmentUse<'a> {
    users: &'a SegmentUsers,
    what: &'static str,
}

impl SegmentUsers {
    /// Notes that this work begins, such as `a backup`.
    pub fn begin(&self, what: &'static str) -> SegmentUse<'_> {
        *self.0.lock().entry(what).or_default() += 1;
        SegmentUse { users: self, what }
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

impl Drop for SegmentUse<'_> {
    fn drop(&mut self) {
        let mut users = self.users.0.lock();
        if let Some(count) = users.get_mut(self.what) {
            *count -= 1;
        }
        users.retain(|_, count| *count > 0);
    }
}
