//! Tests of the directory on disk.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn disk(dir: &Path) -> Disk {
    Disk::writing(&dir.join("ledger")).unwrap().unwrap()
}

#[test]
fn creates_files_that_only_the_owner_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    drop(disk.create("one").unwrap());
    let mode = |name: &str| {
        let path = dir.path().join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("ledger"), 0o700);
    assert_eq!(mode("ledger/lock"), 0o600);
    assert_eq!(mode("ledger/one"), 0o600);
}

/// AUD-28.
#[test]
fn refuses_a_directory_that_others_could_redirect() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("open")).unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(at("target")).unwrap();
    symlink(at("target"), at("link")).unwrap();
    fs::write(at("file"), b"").unwrap();
    let device = Path::new("/dev/null");
    for path in [&*at("open"), &*at("link"), &*at("file"), device] {
        let refused = Disk::writing(path).map(drop).map_err(|fault| fault.kind());
        assert_eq!(
            refused,
            Err(io::ErrorKind::InvalidInput),
            "{}",
            path.display()
        );
    }
    assert!(Disk::writing(&at("target")).is_ok());
}

#[test]
fn refuses_a_second_writer_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let first = disk(dir.path());
    assert!(Disk::writing(&dir.path().join("ledger")).unwrap().is_none());
    drop(first);
    drop(disk(dir.path()));
}

#[test]
fn tampering_with_the_lock_admits_no_second_writer() {
    type Harm = fn(&Path) -> io::Result<()>;
    let rows: [(&str, Harm); 4] = [
        ("removed", |lock| fs::remove_file(lock)),
        ("renamed", |lock| {
            fs::rename(lock, lock.with_extension("old"))
        }),
        ("replaced", |lock| {
            fs::write(lock.with_extension("new"), b"")?;
            fs::rename(lock.with_extension("new"), lock)
        }),
        ("emptied", |lock| fs::write(lock, b"")),
    ];
    for (name, harm) in rows {
        let dir = tempfile::tempdir().unwrap();
        let first = disk(dir.path());
        harm(&dir.path().join("ledger/lock")).unwrap();
        let second = Disk::writing(&dir.path().join("ledger")).unwrap();
        assert!(second.is_none(), "{name}");
        drop(first);
        drop(disk(dir.path()));
    }
}

#[test]
fn writes_only_in_the_locked_directory() {
    type Harm = fn(&Path) -> io::Result<()>;
    let rows: [(&str, Harm); 3] = [
        ("renamed", |dir| fs::rename(dir, dir.with_extension("old"))),
        ("replaced", |dir| {
            fs::rename(dir, dir.with_extension("old"))?;
            fs::create_dir(dir)
        }),
        ("linked", |dir| {
            fs::rename(dir, dir.with_extension("old"))?;
            std::os::unix::fs::symlink(dir.with_extension("old"), dir)
        }),
    ];
    for (name, harm) in rows {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let disk = disk(dir.path());
        harm(&path).unwrap();
        assert!(disk.inspect().is_err(), "{name}");
        assert!(disk.create("one").is_err(), "{name}");
        assert!(disk.rename("lock", "other").is_err(), "{name}");
        assert!(disk.remove("lock").is_err(), "{name}");
        assert!(!path.join("one").exists(), "{name}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        fs::rename(path.with_extension("old"), &path).unwrap();
        assert!(disk.create("one").is_ok(), "{name}");
    }
}

/// The segments are moved into a directory without a lock.
#[test]
fn refuses_to_open_a_segment_that_another_writer_has_open() {
    let dir = tempfile::tempdir().unwrap();
    let first = disk(dir.path());
    let mut segment = first.create("00000000000000000000.seg").unwrap();
    segment.write(b"something").unwrap();
    fs::rename(dir.path().join("ledger"), dir.path().join("old")).unwrap();
    fs::create_dir(dir.path().join("ledger")).unwrap();
    let name = "00000000000000000000.seg";
    let (from, to) = (dir.path().join("old"), dir.path().join("ledger"));
    fs::rename(from.join(name), to.join(name)).unwrap();
    let second = disk(dir.path());
    let opened = second.open(name, 0).map(drop);
    assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(segment);
    assert!(second.open(name, 0).is_ok());
}

#[test]
fn detects_a_removed_or_truncated_file() {
    type Harm = fn(&Path) -> io::Result<()>;
    let rows: [(&str, Harm); 4] = [
        ("removed", |path| fs::remove_file(path)),
        ("renamed", |path| {
            fs::rename(path, path.with_extension("old"))
        }),
        ("replaced", |path| {
            fs::remove_file(path)?;
            fs::write(path, b"something")
        }),
        ("cut", |path| fs::write(path, b"")),
    ];
    for (name, harm) in rows {
        let dir = tempfile::tempdir().unwrap();
        let mut file = disk(dir.path()).create("one").unwrap();
        file.write(b"something").unwrap();
        file.sync().unwrap();
        harm(&dir.path().join("ledger/one")).unwrap();
        assert!(file.write(b"more").is_err(), "{name}");
        assert!(file.allocate(4096).is_err(), "{name}");
        assert!(file.sync().is_err(), "{name}");
    }
}

#[test]
fn opens_no_pipe_and_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let at = |name: &str| dir.path().join("ledger").join(name);
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe"))
        .status();
    assert!(made.unwrap().success());
    fs::write(dir.path().join("elsewhere"), b"text").unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for name in ["pipe", "link", "folder"] {
        assert!(disk.read(name, 0).is_err(), "{name}");
        assert!(disk.open(name, 0).is_err(), "{name}");
    }
    drop(disk);
    fs::remove_file(at("lock")).unwrap();
    fs::rename(at("pipe"), at("lock")).unwrap();
    assert!(Disk::writing(&dir.path().join("ledger")).is_err());
}
