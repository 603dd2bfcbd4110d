//! Snapshots in files that break, vanish, grow and belong to others.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use septa_core::{
    PeerId,
    node::{BanPhase, BanReason, BanRecord, Book, BookLimits, Intent, Prefix, Provenance, WallTime},
    time::Instant,
};
use tempfile::TempDir;

use super::{
    disk::{Disk, OperatingSystem},
    *,
};

const WALL: WallTime = WallTime::from_secs(1_700_000_000);

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, n]).unwrap()
}

/// A snapshot of as many peers as asked for.
fn snapshot(peers: u8) -> Snapshot {
    let mut book = Book::new(BookLimits::default());
    for n in 0..peers {
        let addr = format!("/ip4/192.0.2.{n}/tcp/4001").parse().unwrap();
        book.add_addr(peer(n), &addr, Provenance::Manual, Instant::EPOCH).unwrap();
        book.set_metadata(&peer(n), "note", b"\xff\x00").unwrap();
        book.set_intent(&peer(n), Intent::Persistent).unwrap();
    }
    let ban = |subject, phase| BanRecord { subject, reason: BanReason::Score, offences: 2, saved: WALL, phase };
    let network: Prefix = "198.51.100.0/24".parse().unwrap();
    let bans = vec![
        ban(peer(200).into(), BanPhase::ForEver),
        ban(network.into(), BanPhase::Running { rest: Duration::from_secs(600) }),
    ];
    Snapshot { peers: book.snapshot(Instant::EPOCH, WALL), bans }
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.json");
    (directory, path)
}

fn loaded(path: &Path) -> Loaded {
    FileStorage::open(path).unwrap().load().unwrap()
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_stored_is_loaded() {
    let (directory, path) = directory();
    let storage: Box<dyn Storage> = Box::new(FileStorage::open(&path).unwrap());
    assert_eq!(storage.load(), Ok(Loaded::Nothing));
    for peers in [3, 0, 5] {
        storage.store(&snapshot(peers)).unwrap();
        assert_eq!(storage.load(), Ok(Loaded::Snapshot(Box::new(snapshot(peers)))));
    }
    drop(storage);
    assert_eq!(loaded(&path), Loaded::Snapshot(Box::new(snapshot(5))));
    assert_eq!(names(&directory), ["node.json", "node.json.lock"]);
}

#[test]
fn the_file_is_json_with_a_version_and_the_same_for_the_same_snapshot() {
    let (_directory, path) = directory();
    let storage = FileStorage::open(&path).unwrap();
    storage.store(&snapshot(2)).unwrap();
    let first = fs::read_to_string(&path).unwrap();
    assert!(first.starts_with("{\n  \"version\": 1,\n  \"peers\": [\n"), "{first}");
    assert!(first.contains("\"198.51.100.0/24\""), "{first}");
    assert!(first.ends_with("}\n"));
    storage.store(&snapshot(2)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
}

#[cfg(unix)]
#[test]
fn only_this_user_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = directory();
    fs::write(&path, "{\"version\":1,\"peers\":[]}").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let storage = FileStorage::open(&path).unwrap();
    storage.store(&snapshot(1)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_open_is_refused_until_the_first_is_gone() {
    let (_directory, path) = directory();
    let first = FileStorage::open(&path).unwrap();
    let refused = FileStorage::open(&path).err().unwrap();
    assert_eq!(refused, StorageError::Locked { path: path.clone() });
    assert!(refused.to_string().contains("in use by another node"), "{refused}");
    first.store(&snapshot(1)).unwrap();
    drop(first);
    assert_eq!(loaded(&path), Loaded::Snapshot(Box::new(snapshot(1))));
}

#[test]
fn a_file_cut_at_any_length_is_set_aside_and_reported() {
    let (_directory, path) = directory();
    FileStorage::open(&path).unwrap().store(&snapshot(1)).unwrap();
    let whole = fs::read(&path).unwrap();
    // The last byte is the end of the line, which means nothing.
    for len in 0..whole.len() - 1 {
        fs::write(&path, &whole[..len]).unwrap();
        let Loaded::Corrupt { set_aside, why } = loaded(&path) else { panic!("{len} bytes were taken for a whole") };
        assert!(!why.is_empty());
        assert_eq!(fs::read(&set_aside).unwrap(), &whole[..len]);
        assert_eq!(loaded(&path), Loaded::Nothing);
        fs::remove_file(set_aside).unwrap();
    }
}

#[test]
fn what_is_no_snapshot_is_set_aside_and_reported() {
    let (_directory, path) = directory();
    for (text, reason) in [
        ("", "EOF"),
        ("null", "invalid type"),
        ("\u{0}\u{0}\u{0}", "expected value"),
        ("{\"peers\":[]}", "missing field `version`"),
        ("{\"version\":2,\"peers\":[]}", "it has version 2, and this release reads version 1 only"),
        ("{\"version\":1}", "missing field `peers`"),
        ("{\"version\":1,\"peers\":[{\"peer\":\"me\",\"last_seen\":0}]}", "multihash"),
        ("{\"version\":1,\"peers\":[]} {}", "trailing characters"),
        ("{\"version\":1,\"peers\":[],\"bans\":[{}]}", "missing field"),
    ] {
        fs::write(&path, text).unwrap();
        let Loaded::Corrupt { set_aside, why } = loaded(&path) else { panic!("{text} was taken for a snapshot") };
        assert!(why.contains(reason), "{text}: {why}");
        assert_eq!(fs::read_to_string(&set_aside).unwrap(), text);
        fs::remove_file(set_aside).unwrap();
    }
}

#[test]
fn fields_of_later_releases_are_ignored() {
    let (_directory, path) = directory();
    fs::write(&path, "{\"later\":[{}],\"peers\":[],\"version\":1}").unwrap();
    assert_eq!(loaded(&path), Loaded::Snapshot(Box::default()));
}

#[test]
fn eight_corrupt_files_are_kept_and_the_oldest_makes_room() {
    let (directory, path) = directory();
    for n in 1..=MAX_SET_ASIDE {
        fs::write(&path, format!("corrupt {n}")).unwrap();
        let Loaded::Corrupt { set_aside, .. } = loaded(&path) else { panic!("not corrupt") };
        assert_eq!(set_aside, directory.path().join(format!("node.json.corrupt-{n}")));
        // The fifth is the oldest.
        let age = if n == 5 { 100 } else { n.into() };
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 - age);
        File::options().write(true).open(set_aside).unwrap().set_modified(modified).unwrap();
    }
    fs::write(&path, "one more").unwrap();
    let Loaded::Corrupt { set_aside, .. } = loaded(&path) else { panic!("not corrupt") };
    assert_eq!(set_aside, directory.path().join("node.json.corrupt-5"));
    assert_eq!(fs::read_to_string(set_aside).unwrap(), "one more");
    assert_eq!(names(&directory).len(), 1 + 8, "the lock and what was set aside");
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_read_and_stays() {
    let (_directory, path) = directory();
    // Sparse: it takes no room.
    File::create(&path).unwrap().set_len(MAX_FILE_LEN + 1).unwrap();
    let storage = FileStorage::open(&path).unwrap();
    assert_eq!(storage.load(), Err(StorageError::TooLarge { path: path.clone(), limit: MAX_FILE_LEN }));
    assert_eq!(fs::metadata(&path).unwrap().len(), MAX_FILE_LEN + 1);
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let (_directory, path) = directory();
    let storage = FileStorage::open(&path).unwrap();
    let whole = storage.encode(&snapshot(2), MAX_FILE_LEN).unwrap();
    let len = u64::try_from(whole.len()).unwrap();
    assert_eq!(storage.encode(&snapshot(2), len), Ok(whole));
    let limit = len - 1;
    assert_eq!(storage.encode(&snapshot(2), limit), Err(StorageError::TooLarge { path, limit }));
}

#[test]
fn a_path_that_cannot_be_a_file_says_what_to_do() {
    let (directory, path) = directory();
    let refused = |path: &Path| FileStorage::open(path).err().unwrap();
    let missing = directory.path().join("missing").join("node.json");
    assert_eq!(refused(&missing), StorageError::NoDirectory { path: missing.clone() });
    assert!(refused(&missing).to_string().contains("create it"));
    let itself = directory.path().to_path_buf();
    assert_eq!(refused(&itself), StorageError::NotAFile { path: itself.clone() });
    assert_eq!(refused(Path::new("/")), StorageError::NotAFile { path: "/".into() });
    let storage = FileStorage::open(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(storage.load(), Err(StorageError::NotAFile { path: path.clone() }));
}

/// A disk that fails, or with a machine that stops, at a chosen operation.
#[derive(Clone, Default)]
struct FailingDisk(Arc<Mutex<Failure>>);

#[derive(Default)]
struct Failure {
    done: Vec<&'static str>,
    /// The operation that fails, counted from zero, and how many bytes of a write still come through.
    at: Option<usize>,
    written: usize,
    /// What the system says. Without it the machine stops, and nothing later happens either.
    kind: Option<io::ErrorKind>,
}

impl FailingDisk {
    fn new(at: usize, written: usize, kind: Option<io::ErrorKind>) -> Self {
        Self(Arc::new(Mutex::new(Failure { done: Vec::new(), at: Some(at), written, kind })))
    }

    fn step(&self, name: &'static str) -> io::Result<()> {
        let mut failure = self.0.lock().unwrap();
        let (index, at) = (failure.done.len(), failure.at.unwrap_or(usize::MAX));
        failure.done.push(name);
        match failure.kind {
            Some(kind) if index == at => Err(kind.into()),
            None if index >= at => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step("create")?;
        OperatingSystem.create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let result = self.step("write");
        let written = if result.is_ok() { bytes.len() } else { self.0.lock().unwrap().written.min(bytes.len()) };
        OperatingSystem.write(file, &bytes[..written])?;
        result
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step("sync")?;
        OperatingSystem.sync(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename")?;
        OperatingSystem.rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step("sync directory")?;
        OperatingSystem.sync_directory(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove")?;
        OperatingSystem.remove(path)
    }
}

/// What opening and storing once does; the first `remove` belongs to opening.
const STEPS: [&str; 7] = ["remove", "remove", "create", "write", "sync", "rename", "sync directory"];

#[test]
fn a_snapshot_takes_its_name_only_once_it_is_on_the_disk() {
    let (_directory, path) = directory();
    let disk = FailingDisk::default();
    FileStorage::open_on(path, Box::new(disk.clone())).unwrap().store(&snapshot(1)).unwrap();
    assert_eq!(disk.0.lock().unwrap().done, STEPS);
}

#[test]
fn wherever_the_machine_stops_a_whole_snapshot_is_left() {
    let (old, new) = (snapshot(1), snapshot(2));
    let (directory, path) = directory();
    let len = FileStorage::open(&path).unwrap().encode(&new, MAX_FILE_LEN).unwrap().len();
    let stops = (1..STEPS.len()).filter(|at| STEPS[*at] != "write").map(|at| (at, 0));
    let torn_writes = (0..=len).step_by(101).map(|written| (3, written));
    for (at, written) in stops.chain(torn_writes) {
        FileStorage::open(&path).unwrap().store(&old).unwrap();
        let storage = FileStorage::open_on(path.clone(), Box::new(FailingDisk::new(at, written, None))).unwrap();
        assert!(storage.store(&new).is_err());
        drop(storage);
        let expected = if STEPS[at] == "sync directory" { &new } else { &old };
        assert_eq!(loaded(&path), Loaded::Snapshot(Box::new(expected.clone())), "stopped at {at}");
        assert_eq!(names(&directory), ["node.json", "node.json.lock"], "nothing half written is left");
    }
}

#[test]
fn a_failure_is_typed_leaves_the_former_snapshot_and_can_be_repeated() {
    let (old, new) = (snapshot(1), snapshot(2));
    let (directory, path) = directory();
    for (kind, expected) in [
        (io::ErrorKind::StorageFull, StorageError::DiskFull { path: path.clone() }),
        (io::ErrorKind::QuotaExceeded, StorageError::DiskFull { path: path.clone() }),
        (io::ErrorKind::PermissionDenied, StorageError::PermissionDenied { path: path.clone() }),
        (io::ErrorKind::ReadOnlyFilesystem, StorageError::PermissionDenied { path: path.clone() }),
        (io::ErrorKind::Other, StorageError::Io { path: path.clone(), kind: io::ErrorKind::Other }),
    ] {
        for at in 1..STEPS.len() - 1 {
            FileStorage::open(&path).unwrap().store(&old).unwrap();
            let disk = FailingDisk::new(at, 10, Some(kind));
            let storage = FileStorage::open_on(path.clone(), Box::new(disk)).unwrap();
            assert_eq!(storage.store(&new), Err(expected.clone()));
            assert_eq!(names(&directory), ["node.json", "node.json.lock"]);
            assert_eq!(storage.load(), Ok(Loaded::Snapshot(Box::new(old.clone()))));
            storage.store(&new).unwrap();
            assert_eq!(storage.load(), Ok(Loaded::Snapshot(Box::new(new.clone()))));
        }
        assert!(expected.to_string().contains("node.json"));
    }
}

#[test]
fn a_corrupt_file_that_cannot_be_moved_stays_and_is_an_error() {
    let (_directory, path) = directory();
    fs::write(&path, "corrupt").unwrap();
    let disk = FailingDisk::new(1, 0, Some(io::ErrorKind::PermissionDenied));
    let storage = FileStorage::open_on(path.clone(), Box::new(disk)).unwrap();
    assert_eq!(storage.load(), Err(StorageError::PermissionDenied { path: path.clone() }));
    assert_eq!(fs::read_to_string(&path).unwrap(), "corrupt");
}
