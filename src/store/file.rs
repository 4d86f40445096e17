//! Opens the file of a store: checked page by page, locked, for writing where the disk takes writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use redb::Database;
use redb::backends::FileBackend;

use crate::store::guard::guarded;
use crate::store::migrate::{self, Founding};
use crate::store::overlay::Overlay;
use crate::store::{Opened, StoreError};

/// Pages that the database keeps in memory, bytes. The node holds all documents in its own memory and reads the file once, so the
/// system's cache serves the rest; the database's own default is a gigabyte.
const CACHE_BYTES: usize = 3 << 20;

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes the file of a new store, whole or not at all.
pub(super) fn create(path: &Path, founding: &Founding) -> Result<(), StoreError> {
    let new = path.with_extension("redb.new");
    let make = || -> io::Result<File> {
        // What a power cut left behind.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)
    };
    let file = make().map_err(StoreError::of_io)?;
    let made = guarded(|| {
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        migrate::create(&database, founding)?;
        Ok(database.close()?)
    });
    let settled = made.and_then(|()| {
        let settle = || -> io::Result<()> {
            // Never over a store that is there.
            if std::fs::symlink_metadata(path).is_ok() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            std::fs::rename(&new, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        settle().map_err(StoreError::of_io)
    });
    if settled.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    settled
}

/// Reads every page that the last commit uses and compares it with its checksum. Writes nothing: what the database would repair
/// stays in memory, so the file is the same afterwards.
pub(super) fn verify(path: &Path) -> Result<(), StoreError> {
    let overlay = overlay(path)?;
    guarded(|| {
        let mut database = builder().create_with_backend(overlay)?;
        match database.check_integrity()? {
            true => Ok(()),
            false => Err(StoreError::Damaged("a page does not have its checksum")),
        }
    })
}

/// Opens the file for writing; where the disk has no room or takes no writes, for reading only, with the reason.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    match open_for_writing(path) {
        Ok(database) => Ok(Opened { database, read_only: None }),
        Err(why @ StoreError::NoRoom(_)) => open_for_reading(path, why),
        Err(error) => Err(error),
    }
}

/// Opens the file for reading only, for this reason.
pub(super) fn open_for_reading(path: &Path, why: StoreError) -> Result<Opened, StoreError> {
    let overlay = overlay(path)?;
    let database = guarded(|| Ok(builder().create_with_backend(overlay)?))?;
    Ok(Opened { database, read_only: Some(why) })
}

fn open_for_writing(path: &Path) -> Result<Database, StoreError> {
    let file = open_file(path, true)?;
    // Readable by its owner only: all documents are in it.
    let private = std::fs::Permissions::from_mode(0o600);
    if file.metadata().map_err(StoreError::of_io)?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(private).map_err(StoreError::of_io)?;
    }
    guarded(|| Ok(builder().create_with_backend(FileBackend::new(file)?)?))
}

fn overlay(path: &Path) -> Result<Overlay, StoreError> {
    let overlay = match open_file(path, true) {
        Ok(file) => Overlay::new(file),
        Err(StoreError::NoRoom(_)) => Overlay::of_read_only(open_file(path, false)?),
        Err(error) => return Err(error),
    };
    overlay.map_err(StoreError::of_io)
}

fn open_file(path: &Path, write: bool) -> Result<File, StoreError> {
    let opened = crate::plain_file::open(path, OpenOptions::new().read(true).write(write));
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            StoreError::Damaged("it is no regular file")
        }
        io::ErrorKind::NotFound if path.is_symlink() => StoreError::NoTarget,
        _ => StoreError::of_io(error),
    })?;
    match file.metadata().map_err(StoreError::of_io)?.len() {
        // The database would make a new store of it.
        0 => Err(StoreError::Damaged("the file is empty")),
        _ => Ok(file),
    }
}
