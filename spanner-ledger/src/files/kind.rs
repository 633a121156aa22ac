//! Detects file systems that are less durable than they seem.

use std::path::Path;

/// Why a file system's durability is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The file system's name.
    pub(crate) name: &'static str,
    /// The risk and its remedy.
    pub(crate) why: &'static str,
}

/// Why the durability of a directory's file system is in doubt, if it is.
#[cfg(target_os = "linux")]
pub(crate) fn doubt(dir: &Path) -> Option<Doubt> {
    let found = rustix::fs::statfs(dir).ok()?;
    // The width and sign of this number differ between platforms. Its lowest 32 bits do not.
    let bytes = found.f_type.to_le_bytes();
    let magic = u32::from_le_bytes(*bytes.first_chunk()?);
    of(magic)
}

#[cfg(not(target_os = "linux"))]
pub(crate) const fn doubt(_: &Path) -> Option<Doubt> {
    None
}

/// Looks up a file system by its magic number in `statfs(2)`.
#[cfg(target_os = "linux")]
fn of(magic: u32) -> Option<Doubt> {
    let kinds = [
        (0x0102_1994, "tmpfs", MEMORY),
        (0x8584_58f6, "ramfs", MEMORY),
        (0x794c_7630, "overlayfs", CONTAINER),
        (0x0000_6969, "nfs", ELSEWHERE),
        (0x0000_517b, "smb", ELSEWHERE),
        (0xfe53_4d42, "smb2", ELSEWHERE),
        (0xff53_4d42, "cifs", ELSEWHERE),
        (0x0102_1997, "9p", ELSEWHERE),
        (0x00c3_6400, "ceph", ELSEWHERE),
        (0x6573_5546, "fuse", ELSEWHERE),
    ];
    let found = kinds.into_iter().find(|(number, ..)| *number == magic);
    found.map(|(_, name, why)| Doubt { name, why })
}

#[cfg(target_os = "linux")]
const MEMORY: &str = "it is in memory: the ledger is lost when the machine loses power or restarts; name a directory on a disk";
#[cfg(target_os = "linux")]
const CONTAINER: &str =
    "it is a container's own layer: the ledger is lost with the container; mount a volume";
#[cfg(target_os = "linux")]
const ELSEWHERE: &str = "it is on a server, which decides how durable a sync is and whether a lock holds; name a directory on a local disk";

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// AUD-32.
    #[test]
    fn doubts_memory_container_and_network_file_systems() {
        assert_eq!(of(0xef53), None, "ext4");
        assert_eq!(of(0x5846_5342), None, "xfs");
        assert_eq!(of(0x0000_6969).map(|it| it.name), Some("nfs"));
        assert_eq!(of(0xff53_4d42).map(|it| it.why), Some(ELSEWHERE));
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(
                doubt(Path::new("/dev/shm")).map(|it| it.name),
                Some("tmpfs")
            );
        }
    }
}
