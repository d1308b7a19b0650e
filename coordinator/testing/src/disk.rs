//! A small disk for one test. A write that does not fit is written partially, page by page, as on other disks.

use std::path::PathBuf;
use std::process::Command;

use crate::files::Files;

pub struct Disk {
    directory: Files,
}

impl Disk {
    /// Mounts a disk of this size. Where the test may not mount, prints that it was skipped and returns `None`.
    pub fn of_kib(kib: u32) -> Option<Self> {
        let disk = Self { directory: Files::new() };
        std::fs::create_dir(disk.path()).expect("the directory is ours");
        let size = format!("size={kib}k,mode=0777");
        match disk.mount(&["-t", "tmpfs", "-o", &size, "tmpfs"]) {
            Ok(()) => Some(disk),
            Err(reason) => {
                println!("skipped: mounting a small disk needs root: {reason}");
                None
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    pub fn grow_to_kib(&self, kib: u32) {
        self.mount(&["-o", &format!("remount,size={kib}k")]).unwrap();
    }

    fn mount(&self, args: &[&str]) -> Result<(), String> {
        run(Command::new("mount").args(args).arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Processes of a failed test may still write there; a lazy unmount removes the disk once they end.
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
