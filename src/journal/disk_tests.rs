//! A disk as tests see it: every change in its order, faults at any of them, and what a power cut at
//! any moment may leave.
//!
//! **What is legal.** A file's bytes are certain up to its last sync. Of what was written after that,
//! each sector or page may be there or not, whatever became of its neighbours; where the file has
//! grown it may have any length in between, and zeros where a sector never came. A name is certain
//! after the sync of its directory; of later creations, renames and removals any may be there. What
//! was not there at a sync that *failed* is not made certain by a later one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::disk::DiskOp;

/// No space left on device; input/output error.
pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;

/// Numbers that can be had again (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap()
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The change is not made.
    Error(i32),
    /// Part of the bytes is written first, so many of a hundred.
    Short(i32, usize),
    /// The process is dead: neither this change nor a later one is made.
    Dead,
}

/// A file, whatever its names.
type Node = usize;

#[derive(Debug, Clone)]
enum DiskOperation {
    Create(String, Node),
    Write(Node, u64, Vec<u8>),
    Cut(Node, u64),
    Sync(Node),
    SyncFailed(Node),
    Rename(String, String),
    Remove(String),
    SyncDir,
}

/// What has happened in a directory since somebody began to watch.
pub struct Watch {
    begun_with: Vec<(String, Vec<u8>)>,
    ops: Vec<DiskOperation>,
    nodes: HashMap<u64, Node>,
    count: usize,
    fault: Option<(usize, Fault)>,
    /// Changes that were asked for, made or not.
    asked: usize,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

fn with<T>(act: impl FnOnce(&mut Watch) -> T) -> Option<T> {
    WATCH.with_borrow_mut(|watch| watch.as_mut().map(act))
}

/// Watches what this thread does in a directory; all that is there is on disk.
pub fn begin(dir: &Path) {
    let mut watch = Watch {
        begun_with: Vec::new(),
        ops: Vec::new(),
        nodes: HashMap::new(),
        count: 0,
        fault: None,
        asked: 0,
    };
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let node = watch.count;
        watch.count += 1;
        watch.nodes.insert(entry.metadata().unwrap().ino(), node);
        watch.begun_with.push((name(&entry.path()), fs::read(entry.path()).unwrap()));
    }
    WATCH.set(Some(watch));
}

pub fn end() -> Watch {
    WATCH.take().unwrap()
}

/// How many changes were made so far.
pub fn made() -> usize {
    with(|watch| watch.ops.len()).unwrap()
}

/// The change after so many more fails.
pub fn fail(after: usize, fault: Fault) {
    with(|watch| watch.fault = Some((watch.asked + after, fault))).unwrap();
}

/// Nothing fails any more. Says whether anything has.
pub fn repair() -> bool {
    with(|watch| watch.fault.take().is_some_and(|(at, _)| at < watch.asked)).unwrap()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Watch {
    fn node(&self, file: &File) -> Node {
        self.nodes[&file.metadata().unwrap().ino()]
    }

    fn due(&mut self) -> Option<Fault> {
        let (at, fault) = self.fault?;
        self.asked += 1;
        let now = self.asked - 1;
        (now == at || now > at && fault == Fault::Dead).then_some(fault)
    }

    fn before(&mut self, change: &DiskOp<'_>) -> io::Result<()> {
        let fault = self.due();
        let op = match *change {
            DiskOp::Write(file, at, bytes) => {
                let node = self.node(file);
                if let Some(Fault::Short(error, part)) = fault {
                    let some = &bytes[..bytes.len() * part / 100];
                    file.write_all_at(some, at).unwrap();
                    self.ops.push(DiskOperation::Write(node, at, some.to_vec()));
                    return Err(io::Error::from_raw_os_error(error));
                }
                DiskOperation::Write(node, at, bytes.to_vec())
            }
            DiskOp::Cut(file, length) => DiskOperation::Cut(self.node(file), length),
            DiskOp::Sync(file) if matches!(fault, Some(Fault::Error(_) | Fault::Short(..))) => {
                self.ops.push(DiskOperation::SyncFailed(self.node(file)));
                return Err(io::Error::from_raw_os_error(EIO));
            }
            DiskOp::Sync(file) => DiskOperation::Sync(self.node(file)),
            DiskOp::Rename(from, to) => DiskOperation::Rename(name(from), name(to)),
            DiskOp::Remove(path) => DiskOperation::Remove(name(path)),
            DiskOp::SyncDir(_) => DiskOperation::SyncDir,
        };
        match fault {
            None => self.ops.push(op),
            Some(Fault::Error(error) | Fault::Short(error, _)) => {
                return Err(io::Error::from_raw_os_error(error));
            }
            Some(Fault::Dead) => return Err(io::Error::from_raw_os_error(EIO)),
        }
        Ok(())
    }

    /// The changes that there were.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// A directory that a power cut after so many changes may leave.
    pub fn image(&self, made: usize, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
        let mut files: Vec<Content> = Vec::new();
        let mut names = BTreeMap::new();
        for (node, (name, bytes)) in self.begun_with.iter().enumerate() {
            files.push(Content::synced(bytes.clone()));
            names.insert(name.clone(), node);
        }
        let mut open = Vec::new();
        let mut seen = names.clone();
        for (at, op) in self.ops[..made].iter().enumerate() {
            match op {
                DiskOperation::Create(name, node) => {
                    if *node == files.len() {
                        files.push(Content::synced(Vec::new()));
                        open.push((name.clone(), Some(*node), at));
                        seen.insert(name.clone(), *node);
                    } else {
                        files[*node].change(Vec::clear);
                    }
                }
                DiskOperation::Write(node, place, bytes) => files[*node].write(*place, bytes),
                DiskOperation::Cut(node, length) => {
                    let length = usize::try_from(*length).unwrap();
                    files[*node].change(|bytes| bytes.resize(length, 0));
                }
                DiskOperation::Sync(node) => files[*node].sync(),
                DiskOperation::SyncFailed(node) => files[*node].lose(),
                DiskOperation::Rename(from, to) => {
                    let node = seen.remove(from).unwrap();
                    seen.insert(to.clone(), node);
                    // Of one rename both names are right, or neither.
                    open.push((to.clone(), Some(node), at));
                    open.push((from.clone(), None, at));
                }
                DiskOperation::Remove(name) => {
                    seen.remove(name).unwrap();
                    open.push((name.clone(), None, at));
                }
                DiskOperation::SyncDir => {
                    open.clear();
                    names = seen.clone();
                }
            }
        }
        self.settle(&mut names, open, random);
        names.into_iter().map(|(name, node)| (name, files[node].image(random))).collect()
    }

    /// What becomes of the names that were changed since the last sync: of the changes, some.
    fn settle(
        &self,
        names: &mut BTreeMap<String, Node>,
        open: Vec<(String, Option<Node>, usize)>,
        random: &mut Random,
    ) {
        // Most file systems keep their order; not all have to.
        let ordered = random.percent(50);
        let chance = [0, 30, 50, 70, 100][random.below(5)];
        let until = random.below(self.ops.len() + 1);
        let mut done = HashMap::new();
        for (name, node, at) in open {
            let there = if ordered { at < until } else { random.percent(chance) };
            if *done.entry(at).or_insert(there) {
                match node {
                    Some(node) => names.insert(name, node),
                    None => names.remove(&name),
                };
            }
        }
    }
}

/// What a file may hold.
struct Content {
    /// On disk for certain, and after each change since: of any two, where a sync has failed.
    versions: Vec<Vec<u8>>,
    now: Vec<Vec<u8>>,
    /// So many bytes are surely there.
    synced: usize,
}

impl Content {
    fn synced(bytes: Vec<u8>) -> Self {
        let synced = bytes.len();
        Self { versions: vec![bytes.clone()], now: vec![bytes], synced }
    }

    fn change(&mut self, change: impl Fn(&mut Vec<u8>)) {
        self.now.iter_mut().for_each(&change);
        self.versions.extend(self.now.iter().cloned());
        self.synced = self.now.iter().map(Vec::len).fold(self.synced, usize::min);
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.change(|file| {
            let length = file.len().max(at + bytes.len());
            file.resize(length, 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
        });
    }

    fn sync(&mut self) {
        self.versions.clone_from(&self.now);
        self.synced = self.now.iter().map(Vec::len).min().unwrap();
    }

    /// The pages are clean now, and were never written.
    fn lose(&mut self) {
        if self.now.len() < 4 {
            self.now.push(self.versions[0].clone());
        }
    }

    fn image(&self, random: &mut Random) -> Vec<u8> {
        let last = self.now[0].len();
        let mut length = self.versions[random.below(self.versions.len())].len();
        if random.percent(50) {
            length = last;
        } else if last > self.synced && random.percent(50) {
            // As much as was allocated, down to the byte.
            length = self.synced + random.below(last - self.synced + 1);
            if random.percent(50) {
                length = last.min(length.next_multiple_of(512));
            }
        }
        let unit = [512, 4096][random.below(2)];
        let chance = [0, 10, 50, 90, 100][random.below(5)];
        let mut image = Vec::with_capacity(length);
        while image.len() < length {
            let end = (image.len() + unit).min(length);
            let newest = random.percent(chance);
            let version = if newest { 0 } else { random.below(self.versions.len() + 1) };
            let bytes = match self.versions.get(version) {
                _ if newest => &self.now[0],
                None if image.len() >= self.synced => &Vec::new(),
                found => found.unwrap_or(&self.versions[0]),
            };
            let from = image.len().min(bytes.len());
            image.extend_from_slice(&bytes[from..end.min(bytes.len())]);
            image.resize(end, 0);
        }
        image
    }
}

pub(super) fn before(change: &DiskOp<'_>) -> io::Result<()> {
    with(|watch| watch.before(change)).unwrap_or(Ok(()))
}

/// A name that leads to the device that is always full stands for a disk that is.
pub fn creates(path: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|to| to == Path::new("/dev/full")) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let fault = with(Watch::due).flatten();
    match fault {
        None => Ok(()),
        Some(Fault::Error(error) | Fault::Short(error, _)) => {
            Err(io::Error::from_raw_os_error(error))
        }
        Some(Fault::Dead) => Err(io::Error::from_raw_os_error(EIO)),
    }
}

pub fn created(path: &Path, file: &File) {
    with(|watch| {
        let ino = file.metadata().unwrap().ino();
        // Inodes are given out again, but not while the name is there.
        let known = watch.nodes.get(&ino).copied().filter(|node| watch.names(&name(path), *node));
        let node = known.unwrap_or(watch.count);
        watch.count += usize::from(known.is_none());
        watch.nodes.insert(ino, node);
        watch.ops.push(DiskOperation::Create(name(path), node));
    });
}

impl Watch {
    /// Whether this is the name of that file now.
    fn names(&self, name: &str, node: Node) -> bool {
        let mut names: HashMap<&str, Node> = HashMap::new();
        for (node, (name, _)) in self.begun_with.iter().enumerate() {
            names.insert(name, node);
        }
        for op in &self.ops {
            match op {
                DiskOperation::Create(name, node) => drop(names.insert(name, *node)),
                DiskOperation::Rename(from, to) => {
                    let node = names.remove(from.as_str()).unwrap();
                    names.insert(to, node);
                }
                DiskOperation::Remove(name) => drop(names.remove(name.as_str())),
                _ => {}
            }
        }
        names.get(name) == Some(&node)
    }
}
