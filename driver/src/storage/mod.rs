//! What a node remembers between two runs.

mod disk;
mod file;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use septa_core::node::Snapshot;

pub use self::file::{FileStorage, MAX_FILE_LEN, MAX_SET_ASIDE};

/// Where a node keeps its [`Snapshot`].
///
/// Both calls block, and [`store`](Storage::store) waits for the disk: whoever owns an event loop calls them
/// outside of it, and stores what changed within a few seconds at once rather than each change. A store that
/// was begun either happens as a whole or not at all, even if the process is killed.
pub trait Storage: Send + Sync {
    /// Reads what was stored last.
    ///
    /// What cannot be read as a snapshot is no error but [`Loaded::Corrupt`]: a node can begin without it,
    /// and must say so, since bans may be lost with it.
    fn load(&self) -> Result<Loaded, StorageError>;

    /// Replaces what was stored. On an error the former snapshot is still there, unless it was the very last
    /// step that failed: then it is one of both.
    fn store(&self, snapshot: &Snapshot) -> Result<(), StorageError>;
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// Nothing was ever stored.
    Nothing,
    /// What was stored last.
    Snapshot(Box<Snapshot>),
    /// Something that is not a snapshot, or one of another version. It was moved, not deleted.
    Corrupt {
        /// Where it is now.
        set_aside: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The storage could not do it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process, or another part of this one, has the file open. Nothing was touched.
    #[error("{} is in use by another node: stop that one, or choose another file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The operating system does not allow it.
    #[error("no permission for {}: give this user write permission to the file and its directory", path.display())]
    PermissionDenied {
        /// The file or directory.
        path: PathBuf,
    },
    /// There is no room.
    #[error("no room for {}: free disk space or raise the quota", path.display())]
    DiskFull {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// The directory of the file does not exist.
    #[error("the directory of {} does not exist: create it first", path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// There is something else than a file, or the path names none.
    #[error("{} is not a file: choose another path", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The snapshot is larger than what is read or written. Nothing was read or written.
    #[error("{} would take more than {limit} bytes: move it away, or lower the limits of the address book", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// [`MAX_FILE_LEN`].
        limit: u64,
    },
    /// The runtime ended before anything was stored.
    #[error("the runtime ended before the snapshot was stored")]
    Interrupted,
    /// Something else went wrong.
    #[error("cannot use {}: {kind}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
}

impl StorageError {
    /// What a failed operation on `path` means to people.
    fn from_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::PermissionDenied { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::IsADirectory => Self::NotAFile { path },
            kind => Self::Io { path, kind },
        }
    }
}
