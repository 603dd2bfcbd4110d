//! A process that stores without end is killed again and again; what it leaves is always a whole snapshot.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::SystemTime,
};

use septa_core::{
    PeerId,
    node::{Book, BookLimits, Provenance, Snapshot, WallTime},
    time::Instant,
};
use septa_driver::storage::{FileStorage, Loaded, Storage, StorageError};

/// Set for the process that is killed, to the file that it writes.
const WRITER: &str = "SEPTA_TEST_STORAGE_WRITER";
/// A multiple of the changes and lines that are waited for, so that each pair of them occurs.
const KILLS: usize = 30;
const PEERS: u16 = 400;

/// Every peer says which generation this is, so that a mixture would show.
fn snapshot(generation: u64) -> Snapshot {
    let mut book = Book::new(BookLimits::default());
    for n in 0..PEERS {
        let [high, low] = n.to_be_bytes();
        let peer = PeerId::from_bytes(&[0, 2, high, low]).unwrap();
        let addr = format!("/ip4/192.0.2.1/tcp/{n}").parse().unwrap();
        book.add_addr(peer, &addr, Provenance::Manual, Instant::EPOCH).unwrap();
        book.set_metadata(&peer, "generation", &generation.to_be_bytes()).unwrap();
    }
    Snapshot { peers: book.snapshot(Instant::EPOCH, WallTime::from_secs(0)), bans: Vec::new() }
}

fn generation(snapshot: &Snapshot) -> u64 {
    u64::from_be_bytes(snapshot.peers[0].metadata["generation"][..].try_into().unwrap())
}

fn write_until_killed(path: &Path) -> ! {
    let storage = FileStorage::open(path).unwrap();
    let Loaded::Snapshot(last) = storage.load().unwrap() else { panic!("nothing to begin with") };
    let mut generation = generation(&last);
    loop {
        generation += 1;
        storage.store(&snapshot(generation)).unwrap();
        println!("stored {generation}");
    }
}

fn start_writer(path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_writer_leaves_a_whole_snapshot", "--nocapture"])
        .env(WRITER, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What an onlooker sees of the files.
fn files(directory: &Path) -> Vec<(OsString, u64, SystemTime)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((entry.file_name(), metadata.len(), metadata.modified().unwrap()))
        })
        .collect();
    files.sort();
    files
}

/// Returns when a file came, went, grew or was replaced, so that the writer is in the midst of it.
fn wait_for_change(directory: &Path, writer: &mut Child) {
    let before = files(directory);
    while files(directory) == before {
        assert_eq!(writer.try_wait().unwrap(), None, "the writer writes until it is killed");
        thread::yield_now();
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_snapshot() {
    if let Some(path) = env::var_os(WRITER) {
        write_until_killed(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.json");
    FileStorage::open(&path).unwrap().store(&snapshot(0)).unwrap();
    for kill in 0..KILLS {
        let mut writer = start_writer(&path);
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut stored = lines.filter_map(|line| line.unwrap().strip_prefix("stored ")?.parse::<u64>().ok());
        let told = stored.nth(kill % 3).expect("the writer writes until it is killed");
        assert_eq!(FileStorage::open(&path).err(), Some(StorageError::Locked { path: path.clone() }));
        for _ in 0..kill % 5 {
            wait_for_change(directory.path(), &mut writer);
        }
        writer.kill().unwrap();
        writer.wait().unwrap();

        let storage = FileStorage::open(&path).expect("the lock ends with its process");
        let Loaded::Snapshot(left) = storage.load().unwrap() else { panic!("kill {kill} left no snapshot") };
        assert!(generation(&left) >= told, "what was stored is lost");
        assert_eq!(*left, snapshot(generation(&left)));
    }
}
