//! The key log file: what `--keylog` writes.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use septa_core::noise::{KeyLog, TransportKeys};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Appends the keys of each connection to a file that only its owner can read.
pub(crate) struct KeyLogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl KeyLogFile {
    /// Opens or makes the file, and warns of what it will hold.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, Failure> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).and_then(|file| private(&file).map(|()| file)).map_err(|error| {
            Failure::new(
                format_args!("cannot open the key log {}: {error}", path.display()),
                "check the path and its permissions",
            )
        })?;
        warn(format_args!(
            "the keys of every connection go to {}; whoever reads it can read what they carry",
            path.display()
        ));
        Ok(Arc::new(Self { path: path.to_owned(), file: Mutex::new(file) }))
    }
}

/// The file may have been there before, open to others. What is no file, such as a terminal, keeps its mode.
#[cfg(unix)]
fn private(file: &File) -> std::io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

#[cfg(not(unix))]
fn private(_: &File) -> std::io::Result<()> {
    Ok(())
}

impl KeyLog for KeyLogFile {
    fn log(&self, keys: &TransportKeys) {
        let line = Zeroizing::new(format!("{keys}\n"));
        // One write for a line, so that several processes can share a file.
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        if let Err(error) = written {
            warn(format_args!("cannot write to the key log {}: {error}", self.path.display()));
        }
    }
}

fn warn(what: std::fmt::Arguments<'_>) {
    // Nobody may be there to read it; that is no reason to stop.
    let _ = writeln!(std::io::stderr().lock(), "septa: warning: {what}");
}
