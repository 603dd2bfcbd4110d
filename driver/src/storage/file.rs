//! A snapshot in a file.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use septa_core::node::Snapshot;
use serde::{Deserialize, Serialize};

use super::{
    Loaded, Storage, StorageError,
    disk::{Disk, OperatingSystem, private},
};

/// Longest file that is read or written, in bytes. A file that has grown by mistake, or by somebody else's
/// hand, must not take all memory of a node that starts.
pub const MAX_FILE_LEN: u64 = 256 * 1024 * 1024;

/// How many corrupt files are kept for people to look at. Something that corrupts the file again and again
/// must not fill the disk.
pub const MAX_SET_ASIDE: u32 = 8;

const VERSION: u32 = 1;

/// A [`Storage`] in one file, as JSON that people can read.
///
/// * Beside the file there may be others with the same name and an ending: `.lock`, which stays and means
///   nothing by itself; `.tmp`, what was being written when a process died, removed by the next
///   [`open`](FileStorage::open); and `.corrupt-1` to `.corrupt-8`, what could not be read.
/// * The file is locked as long as this exists. The lock is advisory, and the system drops it when the
///   process ends, however that happens.
/// * A snapshot is written to another file, which takes the name of the former once it is on the disk. At
///   any point there is one whole snapshot under that name. If the name is a symbolic link, the link is
///   replaced.
/// * On Unix only this user may read what is written (mode 0600).
pub struct FileStorage {
    path: PathBuf,
    disk: Box<dyn Disk>,
    // One store at a time: they share the temporary file.
    storing: Mutex<()>,
    // Locked until it is closed.
    _lock: File,
}

/// Which of the others this file is. Unknown fields are of no interest.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

#[derive(Serialize)]
struct Contents<'a> {
    version: u32,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
}

impl FileStorage {
    /// Locks the file, which need not exist, and removes what a killed process left half written. The
    /// directory must exist.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        Self::open_on(path.into(), Box::new(OperatingSystem))
    }

    pub(super) fn open_on(path: PathBuf, disk: Box<dyn Disk>) -> Result<Self, StorageError> {
        if path.file_name().is_none() || path.is_dir() {
            return Err(StorageError::NotAFile { path });
        }
        if !directory(&path).is_dir() {
            return Err(StorageError::NoDirectory { path });
        }
        let lock = lock(&path)?;
        let storage = Self { path, disk, storing: Mutex::new(()), _lock: lock };
        let temporary = storage.temporary();
        storage.disk.remove(&temporary).map_err(|error| StorageError::from_io(&temporary, &error))?;
        Ok(storage)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn temporary(&self) -> PathBuf {
        beside(&self.path, ".tmp")
    }

    /// All of the file, or nothing if it is not there. Its length is checked before memory is taken.
    fn read(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let failed = |error: io::Error| StorageError::from_io(&self.path, &error);
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(failed)?,
        };
        if !metadata.is_file() {
            return Err(StorageError::NotAFile { path: self.path.clone() });
        }
        let too_large = StorageError::TooLarge { path: self.path.clone(), limit: MAX_FILE_LEN };
        if metadata.len() > MAX_FILE_LEN {
            return Err(too_large);
        }
        let mut bytes = Vec::new();
        // Somebody may be appending to it.
        let mut capped = File::open(&self.path).map_err(failed)?.take(MAX_FILE_LEN.saturating_add(1));
        let len = capped.read_to_end(&mut bytes).map_err(failed)?;
        if u64::try_from(len).is_ok_and(|len| len <= MAX_FILE_LEN) { Ok(Some(bytes)) } else { Err(too_large) }
    }

    fn set_aside(&self) -> Result<PathBuf, StorageError> {
        let failed = |path: &Path, error: &io::Error| StorageError::from_io(path, error);
        let target = self.free_name();
        self.disk.rename(&self.path, &target).map_err(|error| failed(&self.path, &error))?;
        let directory = directory(&self.path);
        self.disk.sync_directory(directory).map_err(|error| failed(directory, &error))?;
        Ok(target)
    }

    /// The first name for a corrupt file that is free, or else that of the oldest one.
    fn free_name(&self) -> PathBuf {
        let names = || (1..=MAX_SET_ASIDE).map(|n| beside(&self.path, &format!(".corrupt-{n}")));
        let age = |path: &PathBuf| fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok();
        names()
            .find(|name| fs::symlink_metadata(name).is_err())
            .or_else(|| names().min_by_key(age))
            .unwrap_or_else(|| beside(&self.path, ".corrupt-1"))
    }

    /// On an error the temporary file may be left.
    fn replace(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let (temporary, directory) = (self.temporary(), directory(&self.path));
        let failed = |error: io::Error| StorageError::from_io(&self.path, &error);
        self.disk.remove(&temporary).map_err(failed)?;
        let mut file = self.disk.create(&temporary).map_err(failed)?;
        self.disk.write(&mut file, bytes).map_err(failed)?;
        // Before the name changes, or a power cut leaves the new name on an empty file.
        self.disk.sync(&file).map_err(failed)?;
        drop(file);
        self.disk.rename(&temporary, &self.path).map_err(failed)?;
        self.disk.sync_directory(directory).map_err(|error| StorageError::from_io(directory, &error))
    }
}

impl Storage for FileStorage {
    fn load(&self) -> Result<Loaded, StorageError> {
        let Some(bytes) = self.read()? else { return Ok(Loaded::Nothing) };
        match parse(&bytes) {
            Ok(snapshot) => Ok(Loaded::Snapshot(Box::new(snapshot))),
            Err(why) => Ok(Loaded::Corrupt { set_aside: self.set_aside()?, why }),
        }
    }

    fn store(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let bytes = self.encode(snapshot, MAX_FILE_LEN)?;
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&bytes).inspect_err(|_| {
            // It would only take room; if it stays, the next store or open tries again.
            let _ = self.disk.remove(&self.temporary());
        })
    }
}

impl FileStorage {
    /// Refuses what could not be read again. The limit is a parameter for tests.
    pub(super) fn encode(&self, snapshot: &Snapshot, limit: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Capped { bytes: Vec::new(), limit };
        let contents = Contents { version: VERSION, snapshot };
        serde_json::to_writer_pretty(&mut bytes, &contents)
            .map_err(io::Error::from)
            .and_then(|()| io::Write::write_all(&mut bytes, b"\n"))
            .map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => StorageError::TooLarge { path: self.path.clone(), limit },
                _ => StorageError::from_io(&self.path, &error),
            })?;
        Ok(bytes.bytes)
    }
}

/// A buffer that refuses to grow past a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: u64,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.bytes.len().saturating_add(bytes.len());
        if u64::try_from(len).is_ok_and(|len| len <= self.limit) {
            self.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::FileTooLarge.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The version first: a later one may look quite different.
fn parse(bytes: &[u8]) -> Result<Snapshot, String> {
    let header: Header = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if header.version != VERSION {
        return Err(format!("it has version {}, and this release reads version {VERSION} only", header.version));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Two nodes on one file would each undo what the other stores, bans included.
fn lock(path: &Path) -> Result<File, StorageError> {
    let lock_path = beside(path, ".lock");
    // Never truncated and never removed: a process that waits in `open` must find the same file.
    let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(&lock_path)
        .map_err(|error| StorageError::from_io(&lock_path, &error))?;
    // By its full name: newer releases of Rust have a method of the same name, and another error.
    match fs4::FileExt::try_lock(&lock) {
        Ok(()) => Ok(lock),
        Err(fs4::TryLockError::WouldBlock) => Err(StorageError::Locked { path: path.to_path_buf() }),
        Err(fs4::TryLockError::Error(error)) => Err(StorageError::from_io(&lock_path, &error)),
    }
}

/// The directory of a file; of a mere name it is the current one.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_os_string();
    name.push(ending);
    path.with_file_name(name)
}
