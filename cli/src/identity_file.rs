//! Identity files: a libp2p private key (protobuf, as other implementations write it), readable by
//! its owner only.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

use septa_core::{Identity, Seed};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Largest identity file that is read; an Ed25519 key has 68 bytes.
const MAX_LEN: u64 = 4096;

/// Reads the identity in `file`.
pub(crate) fn load(file: &Path) -> Result<Identity, Failure> {
    let cannot = |error| {
        Failure::new(format_args!("cannot read {}: {error}", file.display()), "check the path and its permissions")
    };
    let len = fs::metadata(file).map_err(cannot)?.len();
    if len > MAX_LEN {
        return Err(Failure::new(
            format_args!("{} is too large for an identity file", file.display()),
            "make one with septa id new",
        ));
    }
    let encoded = Zeroizing::new(fs::read(file).map_err(cannot)?);
    Identity::from_protobuf(&encoded).map_err(|error| {
        Failure::new(format_args!("{} holds no usable identity: {error}", file.display()), "make one with septa id new")
    })
}

/// Writes a new identity to `file`, which must not exist.
pub(crate) fn create(file: &Path, seed: Seed) -> Result<Identity, Failure> {
    let identity = Identity::generate(seed);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(
            format_args!("{} exists already", file.display()),
            "choose another name; identities are never overwritten",
        ),
        _ => Failure::new(
            format_args!("cannot create {}: {error}", file.display()),
            "check the path and its permissions",
        ),
    })?;
    out.write_all(&identity.to_protobuf()).and_then(|()| out.sync_all()).map_err(|error| {
        // Half an identity is of no use to anybody.
        let _ = fs::remove_file(file);
        Failure::new(format_args!("cannot write {}: {error}", file.display()), "check the free space of the disk")
    })?;
    Ok(identity)
}
