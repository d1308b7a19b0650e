//! A small disk of the test's own. A write that does not fit is written as far as there is room, page by page, as on other disks.

use std::path::PathBuf;
use std::process::Command;

use super::files::Files;

pub(crate) struct Disk {
    place: Files,
}

impl Disk {
    /// `None` where a test may not mount anything, which is said.
    pub(crate) fn of_kib(kib: u32) -> Option<Self> {
        let disk = Self { place: Files::new() };
        std::fs::create_dir(disk.path()).expect("the directory is ours");
        let size = format!("size={kib}k,mode=0777");
        match disk.mount(&["-t", "tmpfs", "-o", &size, "tmpfs"]) {
            Ok(()) => Some(disk),
            Err(reason) => {
                println!("skipped: a small disk cannot be mounted, which root may: {reason}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    pub(crate) fn grow_to_kib(&self, kib: u32) {
        self.mount(&["-o", &format!("remount,size={kib}k")]).unwrap();
    }

    fn mount(&self, words: &[&str]) -> Result<(), String> {
        run(Command::new("mount").args(words).arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Processes of a test that failed may still write there; with them the disk is gone.
        let _ = run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.output().map_err(|problem| format!("{problem}: {:?}", command.get_program()))?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&ended.stderr).trim().to_owned())
    }
}
