//! Who may do what with a file: the server, and other users.
//!
//! What counts is what the kernel would say, and not whose a file is: a volume may be root's and be
//! written to by a group (`fsGroup` of Kubernetes), or by a user that a platform has chosen, who is in
//! group 0. So nothing is advised that takes from the server what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::server::Peer;
use super::{Finding, process, shown};
use crate::store::chain;
use crate::{fsutil, users};

/// To read, to write and to enter or run, as in each digit of a mode.
pub(super) const READ: u32 = 0o4;
pub(super) const WRITE: u32 = 0o2;
pub(super) const ENTER: u32 = 0o1;

/// A user, as the kernel knows one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
}

/// Whose a file is, and what its mode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The last three digits.
    pub(super) mode: u32,
    pub(super) is_dir: bool,
}

impl Rights {
    pub(super) fn of(about: &Metadata) -> Self {
        let (uid, gid) = (about.uid(), about.gid());
        Self { uid, gid, mode: about.mode() & 0o777, is_dir: about.is_dir() }
    }
}

impl User {
    pub(super) fn of_this_process() -> Self {
        let more = rustix::process::getgroups().unwrap_or_default();
        let groups = std::iter::once(rustix::process::getegid()).chain(more);
        let groups = groups.map(rustix::process::Gid::as_raw).collect();
        Self { uid: rustix::process::geteuid().as_raw(), groups }
    }

    /// Whether the kernel would let this user do all of that.
    pub(super) fn may(&self, wanted: u32, rights: Rights) -> bool {
        let digit = if rights.uid == self.uid {
            rights.mode >> 6
        } else if self.groups.contains(&rights.gid) {
            rights.mode >> 3
        } else {
            rights.mode
        };
        self.uid == 0 || digit & wanted == wanted
    }

    /// Whether what is in a file, or the names in a directory, can be read or changed.
    fn may_use(&self, rights: Rights) -> bool {
        self.may(READ, rights) || self.may(WRITE, rights)
    }

    /// How to take a file from this stranger without taking it from this user.
    pub(super) fn keep_from(&self, stranger: &Stranger, path: &str, rights: Rights) -> String {
        let (whole, needed) =
            if rights.is_dir { ("700", READ | WRITE | ENTER) } else { ("600", READ | WRITE) };
        if self.uid == rights.uid {
            return format!("chmod {whole} {path}");
        }
        let closed = Rights { mode: rights.mode & 0o770, ..rights };
        if self.may(needed, closed) && !stranger.may_use(closed) {
            return format!("chmod o-rwx {path}");
        }
        format!("as root: chown {} {path} && chmod {whole} {path}", self.uid)
    }
}

/// A user who is not the server.
#[derive(Debug, Clone)]
pub(super) struct Stranger {
    pub(super) name: String,
    /// A member of a group of the server's own, which may be intended.
    pub(super) is_of_its_group: bool,
    user: User,
}

impl Stranger {
    pub(super) fn may_use(&self, rights: Rights) -> bool {
        self.user.may_use(rights)
    }

    pub(super) fn may_enter(&self, rights: Rights) -> bool {
        self.user.may(ENTER, rights)
    }
}

/// Users and their groups, as far as files say.
#[derive(Debug, Default)]
pub(super) struct UserTable {
    /// By name: the number, and all groups.
    users: BTreeMap<String, User>,
}

impl UserTable {
    /// Reads `etc/passwd` and `etc/group`. In a container there may be neither.
    pub(super) fn read(root: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        Self::parse(&text("etc/passwd"), &text("etc/group"))
    }

    pub(super) fn parse(passwd: &str, group: &str) -> Self {
        let mut users = BTreeMap::new();
        for line in passwd.lines() {
            let mut parts = line.split(':');
            let (Some(name), Some(uid), Some(gid)) = (parts.next(), parts.nth(1), parts.next())
            else {
                continue;
            };
            if let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) {
                users.insert(name.to_owned(), User { uid, groups: vec![gid] });
            }
        }
        for line in group.lines() {
            let mut parts = line.split(':').skip(2);
            let (Some(Ok(gid)), Some(members)) =
                (parts.next().map(str::parse::<u32>), parts.next())
            else {
                continue;
            };
            for member in members.split(',') {
                if let Some(user) = users.get_mut(member.trim()) {
                    user.groups.push(gid);
                }
            }
        }
        Self { users }
    }

    pub(super) fn named(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    fn numbered(&self, uid: u32) -> Option<&User> {
        self.users.values().find(|user| user.uid == uid)
    }

    /// Everybody but the server and root who may have rights to files of these groups.
    pub(super) fn strangers(&self, server: &User, gids: &BTreeSet<u32>) -> Vec<Stranger> {
        let nobody = |groups| User { uid: u32::MAX, groups };
        let stranger = |name, user| Stranger { name, is_of_its_group: false, user };
        let mut strangers = vec![stranger("others".to_owned(), nobody(Vec::new()))];
        for gid in gids {
            // The members of a group that is not the server's do not matter: others may join it.
            if !server.groups.contains(gid) && *gid != 0 && server.uid != 0 {
                strangers.push(stranger(format!("group {gid}"), nobody(vec![*gid])));
            }
        }
        let others = self.users.iter().filter(|(_, user)| ![0, server.uid].contains(&user.uid));
        strangers.extend(others.filter_map(|(name, user)| {
            let shared = user.groups.iter().find(|gid| gids.contains(gid))?;
            let is_of_its_group = server.groups.contains(shared);
            let name = format!("user {name} (in group {shared})");
            Some(Stranger { name, is_of_its_group, user: user.clone() })
        }));
        strangers
    }

    /// The user that the server is; where none runs, the one that it will be: the one who had the store
    /// last, or the owner of the data directory. That may be a platform, which gives the directory to a
    /// group and chooses a user anew each time: then it is the user who runs this, if they may use the
    /// directory.
    pub(super) fn server(&self, data_dir: &Path, peer: Option<Peer>) -> User {
        if let Some(Peer { pid, uid, gid }) = peer {
            let more = pid.and_then(process::groups).unwrap_or_default();
            return User { uid, groups: [vec![gid], more].concat() };
        }
        let us = User::of_this_process();
        let dir = fs::metadata(data_dir).ok();
        let lock = fs::symlink_metadata(data_dir.join("LOCK")).ok();
        let lock = lock.filter(|lock| lock.is_file() && lock.nlink() == 1);
        let may_open = lock.as_ref().is_none_or(|lock| us.may(READ | WRITE, Rights::of(lock)));
        if us.uid != 0
            && may_open
            && dir.as_ref().is_none_or(|dir| us.may(READ | WRITE | ENTER, Rights::of(dir)))
        {
            return us;
        }
        // Root's, with a store of root's in it, or closed, so that it cannot be seen whose that is.
        let is_roots = dir.as_ref().filter(|dir| dir.uid() == 0).is_some_and(|dir| {
            let closed = !us.may(READ | ENTER, Rights::of(dir));
            lock.as_ref().map_or(closed, |lock| lock.uid() == 0)
        });
        if us.uid != 0 && is_roots {
            return User { uid: 0, groups: vec![0] };
        }
        let lock = lock.filter(|lock| lock.uid() != 0);
        let owned = dir.as_ref().filter(|dir| dir.uid() != 0);
        let Some(about) = lock.as_ref().or(owned) else { return us };
        let known = self.numbered(about.uid()).map(|user| user.groups.clone());
        let mut groups = [vec![about.gid()], known.unwrap_or_default()].concat();
        // A user who has made a file in a directory that only its owner and a group may write to is in it.
        let by_group = |dir: &&Metadata| dir.uid() != about.uid() && dir.mode() & 0o032 == 0o030;
        groups.extend(dir.as_ref().filter(by_group).map(Metadata::gid));
        User { uid: about.uid(), groups }
    }
}

/// Says that this process cannot judge the server's files, where it is neither root nor the server's user
/// and may not read them.
pub(super) fn not_for_us(server: &User, data_dir: &Path) -> Option<Finding> {
    let us = User::of_this_process();
    if us.uid == 0 {
        return None;
    }
    let object = format!("data directory {}", shown(data_dir));
    let nothing = "so that neither it nor its disk, certificates, index and tokens were examined";
    let dir = match fs::metadata(data_dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let what = format!("a directory that leads there may not be entered, {nothing}");
            return Some(Finding::denied(object, &what, users::numbered("rollcall")));
        }
        Err(_) => return None,
    };
    if us.uid == server.uid {
        return None;
    }
    let owner = users::shown(server.uid);
    let what = if us.may(READ | WRITE | ENTER, Rights::of(&dir)) {
        format!("its files are of {owner}, {nothing}")
    } else {
        format!("it is of {owner}, who alone may look into it, {nothing}")
    };
    Some(Finding::denied(object, &what, Some(server.uid)))
}

/// What cannot be looked at because of its rights: what is to be said of that as this user, who may not be
/// the server, or none where the server itself meets it.
pub(super) fn denied(
    object: &str,
    error: &(dyn std::error::Error + 'static),
    server: &User,
    data_dir: &Path,
) -> Option<Finding> {
    let us = User::of_this_process().uid;
    let owns = |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.uid() == us);
    // Before a first start it is a guess that this user is the server.
    let are_server =
        us == 0 || us == server.uid && (owns(&data_dir.join("LOCK")) || owns(data_dir));
    if !fsutil::is_denied(error) || are_server {
        return None;
    }
    let uid = Some(server.uid).filter(|uid| *uid != us);
    Some(Finding::denied(object, &chain(error), uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nrollcall:x:999:999::/:/no\n\
                          ann:x:1001:100::/:/no\nbob:x:1002:1002::/:/no\nstrange\n";
    const GROUP: &str = "root:x:0:\nrollcall:x:999:\nadm:x:4:ann,bob\nvolume:x:1000:rollcall\n";

    fn dir(uid: u32, gid: u32, mode: u32) -> Rights {
        Rights { uid, gid, mode, is_dir: true }
    }

    #[test]
    fn the_first_digit_that_concerns_a_user_decides() {
        let user = User { uid: 999, groups: vec![999, 1000] };
        for (rights, expected) in [
            (dir(999, 999, 0o700), true),
            (dir(0, 1000, 0o770), true),
            (dir(0, 1000, 0o750), false),
            (dir(0, 4, 0o770), false),
            (dir(0, 4, 0o777), true),
            // An owner without rights has none, even if others have.
            (dir(999, 999, 0o077), false),
            (dir(0, 999, 0o707), false),
        ] {
            assert_eq!(user.may(READ | WRITE | ENTER, rights), expected, "{rights:?}");
        }
        let root = User { uid: 0, groups: vec![] };
        assert!(root.may(READ | WRITE | ENTER, dir(999, 999, 0)));
    }

    #[test]
    fn strangers_are_everybody_and_members_of_the_groups_of_files() {
        let known = UserTable::parse(PASSWD, GROUP);
        let names = |server: &User, gids: &[u32]| {
            let strangers = known.strangers(server, &gids.iter().copied().collect());
            strangers.into_iter().map(|one| one.name).collect::<Vec<_>>()
        };
        let server = known.named("rollcall").unwrap().clone();
        assert_eq!(server.groups, [999, 1000]);
        assert_eq!(names(&server, &[999, 1000]), ["others"]);
        assert_eq!(
            names(&server, &[4, 100]),
            ["others", "group 4", "group 100", "user ann (in group 100)", "user bob (in group 4)"]
        );
        // A group of its own with another user in it.
        let server = User { uid: 999, groups: vec![4] };
        assert_eq!(
            names(&server, &[4]),
            ["others", "user ann (in group 4)", "user bob (in group 4)"]
        );
        assert_eq!(names(&User { uid: 1_000_650_000, groups: vec![0] }, &[0]), ["others"]);
    }

    #[test]
    fn no_advice_takes_from_the_server_what_it_has() {
        let server = User { uid: 1000, groups: vec![1000, 2000] };
        let known = UserTable::parse("ann:x:1001:2000::/:/no\n", "");
        let strangers = known.strangers(&server, &BTreeSet::from([2000]));
        let [others, ann] = &strangers[..] else { panic!("{strangers:?}") };
        for (rights, advice) in [
            (dir(1000, 1000, 0o755), "chmod 700 d"),
            (dir(0, 2000, 0o777), "chmod o-rwx d"),
            // By its group it could not write, and by nothing else, either.
            (dir(0, 2000, 0o757), "as root: chown 1000 d && chmod 700 d"),
            (dir(0, 0, 0o777), "as root: chown 1000 d && chmod 700 d"),
            (Rights { is_dir: false, ..dir(0, 2000, 0o666) }, "chmod o-rwx d"),
            (Rights { is_dir: false, ..dir(1000, 0, 0o644) }, "chmod 600 d"),
        ] {
            assert_eq!(server.keep_from(others, "d", rights), advice, "{rights:?}");
        }
        let chown = "as root: chown 1000 d && chmod 700 d";
        assert_eq!(server.keep_from(ann, "d", dir(0, 2000, 0o770)), chown);
    }
}
