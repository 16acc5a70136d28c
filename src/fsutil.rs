//! Files, directories and disks: opening without following links, replacing a file whole, free space.
//!
//! Other users may be able to write to the directories that are used here: a data directory that
//! belongs to the service, a place for backups, a backup from elsewhere.
//!
//! Architecture invariant: no file in such a directory is opened by its name alone. A link is not
//! followed, a pipe or a device is not waited for, and a file that is written to has one name and the
//! right owner. So a user who can put a name there cannot make another user, above all root, read,
//! empty or wait for another file.
//!
//! The directory itself is what the operator has named: links that lead to it are followed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags, openat};
use rustix::io::Errno;

/// Flags for every file.
const CAREFUL: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Bytes of a file that has a few lines.
pub const SMALL_BYTES_MAX: u64 = 1 << 20;

/// Opens a file to be read.
pub fn open(path: &Path) -> io::Result<File> {
    regular(File::options().read(true).custom_flags(flags()).open(path), path)
}

/// Opens a file that the operator has named, to be read: links that lead to it are followed.
pub fn open_named(path: &Path) -> io::Result<File> {
    let careful = CAREFUL.difference(OFlags::NOFOLLOW).bits().cast_signed();
    regular(File::options().read(true).custom_flags(careful).open(path), path)
}

/// Opens what the operator has named, to be read to its end: a pipe too, such as a shell makes for
/// `<(…)`.
pub fn open_stream(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens a file to be written; it must have no other name.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    let opened = File::options().read(true).write(true).custom_flags(flags()).open(path);
    only_name(regular(opened, path)?)
}

/// Opens a file to be read and written, for its owner alone where it is made now; it must have no
/// other name.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    only_name(regular(options.custom_flags(flags()).open(path), path)?)
}

/// Makes a file, for its owner alone. There is none of that name yet, and no link.
pub fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file below a directory to be read; nothing on the way there is a link.
pub fn open_in(dir: &Path, name: &str) -> io::Result<File> {
    below(dir, name, OFlags::RDONLY)
}

/// Makes a file below a directory, for its owner alone; nothing on the way there is a link.
pub fn create_in(dir: &Path, name: &str) -> io::Result<File> {
    below(dir, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
}

fn below(dir: &Path, name: &str, how: OFlags) -> io::Result<File> {
    let way = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(rustix::fs::CWD, dir, way, Mode::empty())?;
    let path = dir.join(name);
    let mut parts = Path::new(name).components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the name leads elsewhere"));
        };
        let last = parts.peek().is_none();
        let flags = if last { how | CAREFUL } else { way | CAREFUL };
        at = openat(&at, part, flags, Mode::from_raw_mode(0o600)).map_err(|error| {
            // So does a link where a directory is expected.
            let link = error == Errno::NOTDIR && !last;
            explained(if link { Errno::LOOP.into() } else { error.into() }, &path)
        })?;
    }
    regular(Ok(File::from(at)), &path)
}

/// Opens a directory, and not what a link leads to.
pub fn open_dir(path: &Path) -> io::Result<File> {
    expect_dir(path)?;
    let flags = (CAREFUL | OFlags::DIRECTORY).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Reads a file of at most so many bytes.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    contents(open(path)?, bytes_max)
}

/// Reads a small file of text.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read(path, SMALL_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no text"))
}

/// All of an open file of at most so many bytes.
pub fn contents(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let much = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, much));
    }
    Ok(bytes)
}

/// Puts a file there whole or not at all, with these rights: it is written under another name, which
/// ends in `.new`, and is on disk when this returns. The bytes may depend on the new file's metadata.
pub fn replace(
    path: &Path,
    mode: u32,
    bytes: impl FnOnce(&fs::Metadata) -> Vec<u8>,
) -> io::Result<()> {
    let mut unfinished = path.file_name().map_or_else(OsString::new, OsString::from);
    unfinished.push(".new");
    let unfinished = path.with_file_name(unfinished);
    // A file that is there is removed and not opened: it may be another user's.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(&unfinished)?;
    file.write_all(&bytes(&file.metadata()?))?;
    if mode != 0o600 {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    }
    file.sync_all()?;
    rename(&unfinished, path)
}

/// Renames within a directory; the new name is on disk when this returns.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Makes a directory for its owner alone; its parent is there.
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes a directory for its owner alone, and those above it, as far as they are missing.
pub fn create_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a directory for its owner alone, or takes the rights of all others away where it is there.
pub fn private_dir(path: &Path) -> io::Result<()> {
    match create_dir(path) {
        Ok(()) => sync_parent(path)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let dir = open_dir(path)?;
    let about = dir.metadata()?;
    // A volume may be given to the group that this process is in.
    let group = if shared_with_us(&about, 0) { 0 } else { 0o070 };
    if about.mode() & (0o007 | group) == 0 {
        return Ok(());
    }
    match dir.set_permissions(Permissions::from_mode(0o700)) {
        // It is another user's, who made it when the volume was that user's. The files in it are for
        // their owner alone all the same.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// The file system that a path is on.
#[derive(Debug, Clone, Copy)]
pub struct FileSystem {
    /// Bytes free to ordinary users.
    pub free_bytes: u64,
    pub size_bytes: u64,
    /// None where it does not count files.
    pub free_files: Option<u64>,
    pub read_only: bool,
}

pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let found = rustix::fs::statvfs(path)?;
    Ok(FileSystem {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        size_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_files: (found.f_files > 0).then_some(found.f_favail),
        read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// Bytes that the file system of a path has free for ordinary users.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    file_system(path).map(|disk| disk.free_bytes)
}

/// The disk has no space, or no more for this user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The names in this directory are on disk after this.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let directory = OFlags::DIRECTORY.bits().cast_signed();
    File::options().read(true).custom_flags(directory).open(dir)?.sync_all()
}

/// The name of this path is on disk after this, or gone from it.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent(path))
}

/// Whether this open file still has that name.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The directory that a path is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the system denied this user access to a file.
pub fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What is to be said of a path that a shell would have read otherwise; none where it may be meant so.
pub fn misread(path: &Path) -> Option<&'static str> {
    let text = path.as_os_str().as_encoded_bytes();
    let quoted =
        |quote: u8| text.len() > 1 && text.first() == Some(&quote) && text.last() == Some(&quote);
    if text == b"~" || text.starts_with(b"~/") {
        return Some(
            "`~` stands for no home directory here; write the whole path, or ./~ for that name",
        );
    }
    if text.starts_with(b"$") {
        return Some("variables are not replaced in paths here; write the whole path");
    }
    (quoted(b'"') || quoted(b'\'')).then_some("the quotes are part of the path; leave them out")
}

/// Whether a name is taken, by a link that leads nowhere too.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether this is a file, and not a link to one.
pub fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_file())
}

/// Whether this is a directory, and not a link to one.
pub fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}

/// Names that file systems, network disks and desktops put into every directory, or into the first of a
/// volume: a directory with these alone counts as empty, and often only root may remove them.
const NOT_CONTENT: [&str; 28] = [
    // Linux: what fsck has found, quotas, labels, and a journal that was made later.
    "lost+found",
    "aquota.user",
    "aquota.group",
    "quota.user",
    "quota.group",
    ".autorelabel",
    ".journal",
    // Earlier states that a volume keeps of itself.
    ".snapshot",
    ".snapshots",
    ".snap",
    ".zfs",
    "~snapshot",
    "#snapshot",
    "#recycle",
    "@eaDir",
    ".trashcan",
    ".glusterfs",
    // Desktops.
    ".Trash",
    ".Trashes",
    ".DS_Store",
    ".Spotlight-V100",
    ".fseventsd",
    ".TemporaryItems",
    ".directory",
    "Thumbs.db",
    "desktop.ini",
    "System Volume Information",
    "$RECYCLE.BIN",
];
/// What such names begin with: the trash of a user, what has been removed and is still open, and
/// what other systems keep beside a file.
const NOT_CONTENT_BEGINS: [&str; 4] = [".Trash-", ".nfs0", ".fuse_hidden", "._"];

/// Whether this is a name that a user chose, and not one that a machine keeps for itself.
pub fn is_content(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    !NOT_CONTENT.contains(&name) && !NOT_CONTENT_BEGINS.iter().any(|begin| name.starts_with(begin))
}

/// Whether there is anything in a directory, but for such names.
pub fn has_content(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        if is_content(&entry?.file_name()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An error where something is there and is no directory; a link to one is none.
pub fn expect_dir(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => Ok(()),
        Ok(about) => Err(strange(about.file_type(), "directory")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// An error where anything in a directory or below it is neither a file nor a directory.
pub fn expect_plain(dir: &Path) -> io::Result<()> {
    let mut dirs = vec![dir.to_owned()];
    expect_dir(dir)?;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => dirs.push(entry.path()),
                kind if kind.is_file() => {}
                kind => {
                    let name = entry.path();
                    let what = strange(kind, "file");
                    return Err(io::Error::new(what.kind(), format!("{}: {what}", name.display())));
                }
            }
        }
    }
    Ok(())
}

/// An error where a file belongs neither to this process nor to the owner of the directory it is in, nor
/// to a group that shares both: in a volume whose files a platform gives to a group, the user may be
/// another one at each start.
pub fn expect_owner(file: &File, dir: &Path) -> io::Result<()> {
    let (about, dir) = (file.metadata()?, fs::metadata(dir)?);
    let us = rustix::process::geteuid().as_raw();
    let shared = shared_with_us(&about, 0o060) && shared_with_us(&dir, 0o030);
    if about.uid() == us || about.uid() == dir.uid() || shared {
        return Ok(());
    }
    let foreign = format!("it belongs to user {}, and the directory does not", about.uid());
    Err(io::Error::new(ErrorKind::PermissionDenied, foreign))
}

/// Whether a file is given to a group with these rights, and this process is in it.
pub fn shared_with_us(about: &fs::Metadata, rights: u32) -> bool {
    let own = rustix::process::getegid().as_raw();
    let is_ours = || {
        let more = rustix::process::getgroups().unwrap_or_default();
        more.iter().any(|gid| gid.as_raw() == about.gid())
    };
    about.mode() & rights == rights && (own == about.gid() || is_ours())
}

fn flags() -> i32 {
    CAREFUL.bits().cast_signed()
}

fn regular(opened: io::Result<File>, path: &Path) -> io::Result<File> {
    let file = opened.map_err(|error| explained(error, path))?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(strange(kind, "file")) }
}

/// A user who gives another user's file a name in here must not have it changed.
fn only_name(file: File) -> io::Result<File> {
    match file.metadata()?.nlink() {
        // Without any it was removed just now, which does no harm.
        0 | 1 => Ok(file),
        names => {
            let text = format!("it has {names} names (hard links), and is not written to");
            Err(io::Error::new(ErrorKind::PermissionDenied, text))
        }
    }
}

/// Says what stands there where the system only refuses to open it.
fn explained(error: io::Error, path: &Path) -> io::Error {
    let links = [Errno::LOOP, Errno::NXIO, Errno::ISDIR].map(Errno::raw_os_error);
    if !error.raw_os_error().is_some_and(|errno| links.contains(&errno)) {
        return error;
    }
    match fs::symlink_metadata(path) {
        Ok(about) if !about.is_file() => strange(about.file_type(), "file"),
        // On the way there.
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => io::Error::new(
            ErrorKind::InvalidInput,
            "a symbolic link leads there, and is not followed",
        ),
        _ => error,
    }
}

fn strange(kind: fs::FileType, expected: &str) -> io::Error {
    let what = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device"
    };
    let text = format!("it is {what}, and a {expected} of its own is expected");
    io::Error::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused<T: std::fmt::Debug>(result: io::Result<T>, what: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }

    fn pipe(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
    }

    #[test]
    fn a_link_is_not_followed_and_a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::write(place("theirs"), "secret").unwrap();
        symlink(place("theirs"), place("link")).unwrap();
        symlink(place("nothing"), place("nowhere")).unwrap();
        pipe(&place("pipe"));
        fs::create_dir(place("dir")).unwrap();
        for (name, what) in [
            ("link", "a symbolic link"),
            ("nowhere", "a symbolic link"),
            ("pipe", "a pipe"),
            ("dir", "a directory"),
        ] {
            refused(open(&place(name)), what);
            refused(open_to_write(&place(name)), what);
            refused(open_or_create(&place(name)), what);
            refused(open_in(dir.path(), name), what);
            assert_eq!(create(&place(name)).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(create_in(dir.path(), name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
        assert!(is_there(&place("nowhere")) && !place("nothing").exists());
        assert!(!is_file(&place("link")) && !is_dir(&place("link")) && is_dir(&place("dir")));
        assert_eq!(fs::read(place("theirs")).unwrap(), b"secret");
        assert_eq!(open(&place("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn no_part_of_the_way_below_a_directory_is_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::create_dir_all(place("root/real")).unwrap();
        fs::create_dir(place("elsewhere")).unwrap();
        fs::write(place("elsewhere/file"), "theirs").unwrap();
        fs::write(place("root/real/file"), "ours").unwrap();
        symlink(place("elsewhere"), place("root/linked")).unwrap();
        symlink(place("root"), place("named")).unwrap();
        let named = place("named");
        assert_eq!(contents(open_in(&named, "real/file").unwrap(), 9).unwrap(), b"ours");
        refused(open_in(&named, "linked/file"), "a symbolic link");
        refused(create_in(&named, "linked/new"), "a symbolic link");
        refused(open_in(&named, "../elsewhere/file"), "elsewhere");
        create_in(&named, "real/new").unwrap();
        assert!(!place("elsewhere/new").exists() && place("root/real/new").exists());
        refused(expect_dir(&place("root/linked")), "a symbolic link");
        refused(expect_plain(&place("root")), "linked: it is a symbolic link");
        expect_plain(&place("root/real")).unwrap();
        expect_dir(&place("none")).unwrap();
    }

    #[test]
    fn what_has_another_name_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::write(place("theirs"), "secret").unwrap();
        fs::hard_link(place("theirs"), place("LOCK")).unwrap();
        refused(open_or_create(&place("LOCK")), "2 names");
        refused(open_to_write(&place("LOCK")), "2 names");
        assert_eq!(contents(open(&place("LOCK")).unwrap(), 6).unwrap(), b"secret");
        refused(read(&place("LOCK"), 5), "more than 5 bytes");
    }

    #[test]
    fn a_replaced_file_writes_through_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::write(place("theirs"), "secret").unwrap();
        symlink(place("theirs"), place("FORMAT.new")).unwrap();
        symlink(place("theirs"), place("FORMAT")).unwrap();
        replace(&place("FORMAT"), 0o644, |_| b"ours".to_vec()).unwrap();
        assert_eq!(fs::read(place("theirs")).unwrap(), b"secret");
        assert_eq!(read_text(&place("FORMAT")).unwrap(), "ours");
        let mode = fs::metadata(place("FORMAT")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert!(!is_there(&place("FORMAT.new")));
    }
}
