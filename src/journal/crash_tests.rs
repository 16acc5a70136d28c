//! Every image that a crash may leave of a journal: whatever was acknowledged is in it, whole; nothing
//! that was refused is; and so it stays, whatever happens after that.
//!
//! The real journal works on a real directory, and is killed, fails and is opened again there; from
//! what it did the images are made (`disk_tests.rs`). Each is opened, goes on, and is cut off again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::disk::{self, DiskOp};
use super::disk_tests::{self as watched, EIO, ENOSPC, Fault, Random, Watch};
use super::*;
use crate::domain::Timestamp;

const SEGMENT_BYTES: u64 = 6000;
const KEYS: usize = 8;

/// A number of the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What the journal must hold.
#[derive(Clone, Default)]
struct Expected {
    /// It was opened once.
    begun: bool,
    /// By sequence number.
    certain: BTreeMap<u64, Rc<[u8]>>,
    /// One commit: all of it is there, or nothing.
    open: BTreeMap<u64, Rc<[u8]>>,
    /// What packing may have left out, since something later says more.
    dropped: BTreeSet<u64>,
}

impl Expected {
    /// Whether the open commit is there.
    fn check(&self, found: &[(u64, Vec<u8>)]) -> bool {
        let mut last = 0;
        for (seq, body) in found {
            assert!(*seq > last, "{seq} after {last}");
            last = *seq;
            let known = [&self.certain, &self.open]
                .iter()
                .any(|known| known.get(seq).is_some_and(|known| **known == **body));
            assert!(known, "{seq} is there with {}, and nobody wrote that", shown(body));
        }
        let seqs: BTreeSet<u64> = found.iter().map(|(seq, _)| *seq).collect();
        for (seq, body) in &self.certain {
            let there = seqs.contains(seq) || self.dropped.contains(seq);
            assert!(there, "{seq} is lost: {}", shown(body));
        }
        let open = self.open.keys().filter(|seq| seqs.contains(seq)).count();
        assert!(open == 0 || open == self.open.len(), "half of a commit is there: {seqs:?}");
        open > 0
    }

    /// Whether a later frame says more than this one.
    fn superseded(&self, frame: &Frame<'_>) -> bool {
        let later = self.certain.range(frame.seq + 1..);
        later.into_iter().any(|(_, body)| body.first() == frame.body.first())
    }
}

fn shown(body: &[u8]) -> String {
    format!("{} bytes of key {:?}, {:?}", body.len(), body.first(), body.get(1..9))
}

fn read(segments: &[Segment]) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
    let mut found = Vec::new();
    for segment in segments {
        let mut scanner = Scanner::new(segment)?;
        while let Some((_, frame)) = scanner.next_frame()? {
            found.push((frame.seq, frame.body.to_vec()));
        }
    }
    Ok(found)
}

/// A directory with a journal that is being used, and what is known of it at any moment.
struct Life<'a> {
    dir: &'a Path,
    random: &'a mut Random,
    expected: Expected,
    /// What was known from so many changes on.
    moments: Vec<(usize, Expected)>,
    bodies: &'a mut u64,
}

/// A directory, as it was watched, and what was known at each moment.
struct Past {
    watch: Watch,
    moments: Vec<(usize, Expected)>,
}

impl Life<'_> {
    /// What happens, until the power is cut.
    fn live(mut self, steps: usize, faulty: bool) -> Past {
        watched::begin(self.dir);
        self.note();
        let mut steps = steps;
        loop {
            if faulty && self.random.percent(40) {
                let fault = [
                    Fault::Error(EIO),
                    Fault::Error(ENOSPC),
                    Fault::Short(ENOSPC, self.random.below(100)),
                    Fault::Short(EIO, self.random.below(100)),
                    Fault::Dead,
                    Fault::Dead,
                ];
                let fault = fault[self.random.below(fault.len())];
                watched::fail(self.random.below(60), fault);
            }
            self.run(&mut steps);
            watched::repair();
            // What a process leaves that is killed is what the next one finds.
            if steps == 0 {
                break;
            }
        }
        Past { watch: watched::end(), moments: self.moments }
    }

    fn note(&mut self) {
        self.moments.push((watched::made(), self.expected.clone()));
    }

    /// One process, from its start to its end.
    fn run(&mut self, steps: &mut usize) {
        let opened = match open(self.dir, !self.expected.begun, SEGMENT_BYTES) {
            Ok(opened) => opened,
            Err(error) => {
                // Without a fault it opens.
                assert!(watched::repair(), "{error}");
                *steps = steps.saturating_sub(1);
                return;
            }
        };
        let found = read(&opened.segments).unwrap();
        let there = self.expected.check(&found);
        let settled = std::mem::take(&mut self.expected.open);
        if there {
            // It was shown, and must stay.
            self.expected.certain.extend(settled);
        }
        self.expected.begun = true;
        self.note();
        let (mut writer, mut segments) = (opened.writer, opened.segments);
        while *steps > 0 {
            *steps -= 1;
            match self.random.below(100) {
                0..70 => self.append(&mut writer),
                70..75 => drop(writer.begin_segment()),
                75..90 => self.pack(&mut segments),
                _ => return,
            }
            if writer.has_failed() {
                return;
            }
            match segments.last_mut() {
                Some(last) if last.first_seq == writer.segment().first_seq => {
                    *last = writer.segment().clone();
                }
                _ => segments.push(writer.segment().clone()),
            }
        }
    }

    fn append(&mut self, writer: &mut JournalWriter) {
        let mut batch = writer.batch();
        let mut new = BTreeMap::new();
        let alike = self.random.percent(50);
        for _ in 0..=self.random.below(4) {
            // Many of one length, so that one may stand in another's place.
            let length = if alike { 460 } else { self.random.below(3000) };
            *self.bodies += 1;
            let mut body = vec![u8::try_from(self.random.below(KEYS)).unwrap()];
            body.extend_from_slice(&self.bodies.to_le_bytes());
            body.resize(9 + length, body[1]);
            let at = Timestamp::from_millis(*self.bodies).unwrap();
            // Those of a log need a segment of a later version.
            let of_log = self.random.percent(10);
            let kind = if of_log { FrameKind::Applied } else { FrameKind::Record };
            let seq = batch.push(at, ChangeOrigin::Admin, kind, &body).unwrap();
            new.insert(seq, body.into());
        }
        self.expected.open = new;
        self.note();
        match writer.append(batch) {
            Ok(_) => {
                let new = std::mem::take(&mut self.expected.open);
                self.expected.certain.extend(new);
            }
            // "Nothing of this was stored."
            Err(_) if !writer.has_failed() => self.expected.open.clear(),
            Err(_) => {}
        }
        self.note();
    }

    /// Packs the oldest segments, or some after them, and removes what they were.
    fn pack(&mut self, segments: &mut Vec<Segment>) {
        let full = segments.len() - 1;
        if full == 0 {
            return;
        }
        let from = self.random.below(full);
        let to = from + 1 + self.random.below((full - from).min(4));
        let run: Vec<_> = segments[from..to].iter().cloned().map(Arc::new).collect();
        let stamp = PackedStamp { as_of: 0, erased_until: 0, at: Timestamp::default() };
        for segment in &run {
            let mut scanner = Scanner::new(segment).unwrap();
            while let Some((_, frame)) = scanner.next_frame().unwrap() {
                if self.expected.superseded(&frame) {
                    self.expected.dropped.insert(frame.seq);
                }
            }
        }
        self.note();
        let decision = |frame: &Frame<'_>| {
            let goes = self.expected.dropped.contains(&frame.seq);
            Ok::<_, JournalError>(if goes {
                FrameDecision::Superseded
            } else {
                FrameDecision::Keep
            })
        };
        let Ok(packed) = pack(&run, stamp, decision, || Ok(())) else { return };
        segments.splice(from..to, [packed]);
        for segment in run {
            // One that stays is removed by the next start.
            let _stays = disk::make(DiskOp::Remove(&segment.path));
        }
    }
}

impl Past {
    /// A directory that a power cut leaves, and what must be in it.
    fn cut(&self, to: &Path, random: &mut Random) -> Expected {
        let made = random.below(self.watch.len() + 1);
        let known = self.moments.partition_point(|(from, _)| *from <= made) - 1;
        for (name, bytes) in self.watch.image(made, random) {
            fs::write(to.join(name), bytes).unwrap();
        }
        self.moments[known].1.clone()
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_any_image_that_a_power_cut_may_leave() {
    let images = number("JOURNAL_IMAGES", 600);
    let seed = number("TRIAL_SEED", RandomState::new().hash_one(0));
    let mut random = Random(seed);
    let (mut opened, mut bodies, mut frames) = (0, 0, 0);
    while opened < images {
        let again = Random(random.0).0;
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let home = tempfile::tempdir().unwrap();
            let (expected, steps) = (Expected::default(), 2 + random.below(40));
            let first = Life {
                dir: home.path(),
                random: &mut random,
                expected,
                moments: Vec::new(),
                bodies: &mut bodies,
            };
            let faulty = steps % 2 == 0;
            let first = first.live(steps, faulty);
            for _ in 0..12 {
                let image = tempfile::tempdir().unwrap();
                let expected = first.cut(image.path(), &mut random);
                frames += expected.certain.len();
                let second = Life {
                    dir: image.path(),
                    random: &mut random,
                    expected,
                    moments: Vec::new(),
                    bodies: &mut bodies,
                };
                let second = second.live(4, faulty);
                opened += 1;
                for _ in 0..2 {
                    let image = tempfile::tempdir().unwrap();
                    let expected = second.cut(image.path(), &mut random);
                    let third = Life {
                        dir: image.path(),
                        random: &mut random,
                        expected,
                        moments: Vec::new(),
                        bodies: &mut bodies,
                    };
                    third.live(2, false);
                    opened += 1;
                }
            }
        }));
        if let Err(panic) = told {
            eprintln!(
                "again: TRIAL_SEED={again} JOURNAL_IMAGES=1, after {opened} images of {seed}"
            );
            std::panic::resume_unwind(panic);
        }
    }
    assert!(frames > 10 * usize::try_from(images / 3).unwrap(), "{frames}");
    eprintln!(
        "seed {seed}: {opened} images opened, {frames} frames certain in the first ones, 0 lost"
    );
}
