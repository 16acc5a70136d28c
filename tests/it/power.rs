//! A power cut: the server's disk is an image file, and what the file system has not written to
//! it by then is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::crash::{RESTLESS, assert_checked, segments, wait};
use super::harness::{Rollcall, have, skip, until};
use super::load::{Load, Random, Trial};

/// Bytes of its disk, most of them never written.
const IMAGE_BYTES: u64 = 1 << 30;

#[test]
fn nothing_acknowledged_is_lost_by_power_cuts() {
    let Some(mut disk) = Disk::new(IMAGE_BYTES) else { return };
    let trial = Trial::new("POWER_CUTS", 10);
    let mut random = Random::new(trial.seed);
    let mut load = Load::new(trial.seed, 4);
    let mut rebuilt = 0;
    let mut cuts = 0;
    let mut rollcall = Rollcall::up_in(&disk.mounted.join("data"), &RESTLESS);
    for round in 0..trial.rounds {
        // A new name each time: ext4 writes a file that replaces another at once.
        let witness = disk.mounted.join(format!("witness-{round}"));
        load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 900);
            rollcall.signal("STOP");
            until("every thread stands still", || frozen(rollcall.pid()).then_some(()));
            // Whether the cut is one: this is written, and not synced.
            fs::write(&witness, [7; 5000]).unwrap();
            disk.copy();
            rollcall.kill();
        });
        disk.cut();
        let witness = fs::metadata(witness);
        // A kernel that was slow to be copied may have written it after all.
        cuts += u32::from(witness.map_or(0, |witness| witness.len()) == 0);
        rollcall.start();
        load.compare(&rollcall);
        assert_checked(&rollcall);
        rebuilt = rollcall.log().matches("the index is built anew").count();
    }
    let status = rollcall.figures();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["checkpoint_sequence"].as_u64() > Some(0), "{status}");
    assert!(cuts > 0, "nothing was ever cut off");
    assert!(segments(&rollcall).len() >= trial.rounds, "{status}");
    assert!(load.acknowledged() > 10 * trial.rounds, "{} acknowledged", load.acknowledged());
    rollcall.kill();
    eprintln!(
        "{} power cuts ({cuts} with a witness), {} events and deletions acknowledged, 0 lost, index \
         rebuilt {rebuilt} times",
        trial.rounds,
        load.acknowledged()
    );
}

/// Whether no thread of a stopped process runs any more. One that waits for the disk is as good:
/// it does not come back to its program.
pub fn frozen(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let state = stat.rsplit_once(") ").unwrap().1;
        state.starts_with('T') || state.starts_with('D')
    })
}

/// An ext4 file system in an image file.
pub struct Disk {
    dir: tempfile::TempDir,
    pub mounted: PathBuf,
}

impl Disk {
    /// None where this cannot be done here. Nothing of it is kept for root.
    pub fn new(bytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root may mount a file system");
            return None;
        }
        if !["mkfs.ext4", "mount", "umount", "cp"].into_iter().all(have) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted = dir.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        let disk = Self { dir, mounted };
        fs::File::create(disk.image()).unwrap().set_len(bytes).unwrap();
        // Nothing is left to be initialised in the background, so that the disk can come to rest.
        let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        succeed(Command::new("mkfs.ext4").args(options).arg(disk.image()));
        let mounted = disk.mount();
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
            skip(&format!("the kernel does not let root mount an image: {why}"));
            return None;
        }
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn copied(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    fn mount(&self) -> Output {
        let mut command = Command::new("mount");
        command.args(["-t", "ext4", "-o", "loop"]).arg(self.image()).arg(&self.mounted);
        command.output().unwrap()
    }

    /// Copies the image as it is on the disk at one moment: again where something was written
    /// meanwhile. What the mounted file system holds in memory is not in it.
    pub fn copy(&self) {
        let device = device(&self.mounted);
        until("the disk rests while it is copied", || {
            let before = writes(&device)?;
            let mut copy = Command::new("cp");
            succeed(copy.arg("--sparse=always").arg(self.image()).arg(self.copied()));
            (writes(&device)? == before).then_some(())
        });
    }

    /// Goes on with the copy.
    pub fn cut(&mut self) {
        succeed(Command::new("umount").arg(&self.mounted));
        fs::rename(self.copied(), self.image()).unwrap();
        let mounted = self.mount();
        assert!(mounted.status.success(), "{mounted:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.mounted).output();
    }
}

/// The name of the loop device that is mounted there.
fn device(mounted: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let target = format!(" {} ", mounted.display());
    let line = mounts.lines().find(|line| line.contains(&target)).unwrap();
    line.split(' ').next().unwrap().strip_prefix("/dev/").unwrap().to_owned()
}

/// How often that device was written to; none while something is on its way to it.
fn writes(device: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
    let fields: Vec<u64> = stat.split_whitespace().map(|n| n.parse().unwrap()).collect();
    (fields[8] == 0).then_some(fields[4])
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
