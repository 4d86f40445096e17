//! Puts a store that cannot be used aside and makes a new one for the same identity. What the identity has signed comes back from
//! its peers; until one has answered, nothing is signed here.

use std::io;
use std::path::{Path, PathBuf};

use super::{STORE_FILE, StartError, create_store, key, socket};
use crate::clock::rfc3339;
use crate::config::Config;
use crate::store::{Store, StoreError, StoreOrigin};
use crate::system_clock::now;

/// Puts the store of a folder aside, and makes a new one for its key. Returns where the old one stands now, or its log where the store
/// itself is gone; none where there was none. Key and settings stay.
///
/// # Errors
///
/// [`StartError::NotDamaged`] if the store reads well; what is wrong where it may be whole all the same; else why the key or settings do not, a daemon or another process
/// holds the store, or the disk refuses.
pub fn recover(folder: &Path) -> Result<Option<PathBuf>, StartError> {
    super::check_there(folder)?;
    Config::load(folder)?;
    let keypair = key::load(folder)?;
    let path = folder.join(STORE_FILE);
    if std::fs::symlink_metadata(&path).is_err() {
        let aside = put_aside(&path)?;
        create_store(folder, &keypair, StoreOrigin::Unconfirmed)?;
        return Ok(aside);
    }
    let checked = Store::open(&path)
        .and_then(|mut store| store.belongs_to(keypair.peer_id()).map(|()| store))
        .and_then(|store| store.load());
    match checked {
        Ok(_) => return Err(StartError::NotDamaged { path }),
        Err(StoreError::InUse) if socket::answers(folder) => {
            return Err(StartError::Running { folder: folder.to_owned() });
        }
        Err(StoreError::InUse) => return Err(StartError::InUse { path }),
        // A newer program or another user reads it, its disk comes back, and room is not made by moving it.
        Err(
            source @ (StoreError::TooNew { .. }
            | StoreError::NoRoom(_)
            | StoreError::Denied(_)
            | StoreError::NoTarget),
        ) => {
            return Err(StartError::Store { path, source });
        }
        Err(
            StoreError::Damaged(_)
            | StoreError::OtherNode { .. }
            | StoreError::Disk(_)
            | StoreError::Away
            | StoreError::Closed,
        ) => {}
    }
    let aside = put_aside(&path)?;
    create_store(folder, &keypair, StoreOrigin::Unconfirmed)?;
    Ok(aside)
}

/// Moves the files of a store that are there. Returns where the first of them stands now.
pub(super) fn put_aside(path: &Path) -> Result<Option<PathBuf>, StartError> {
    let aside = free_name(path);
    let mut first = None;
    for (file, target) in Store::files(path).into_iter().zip(Store::files(&aside)) {
        match std::fs::rename(&file, &target) {
            Ok(()) => drop(first.get_or_insert(target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StartError::System { what: format!("cannot move {}", file.display()), source });
            }
        }
    }
    Ok(first)
}

/// `store.redb.damaged-2026-11-29T10-15-00`, with a number behind it where that is taken.
fn free_name(path: &Path) -> PathBuf {
    let time: String = rfc3339(now().wall).chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
    let name = |number: usize| {
        let more = if number == 0 { String::new() } else { format!("-{number}") };
        path.with_file_name(format!("{STORE_FILE}.damaged-{time}{more}"))
    };
    let is_free = |path: &PathBuf| Store::files(path).iter().all(|p| std::fs::symlink_metadata(p).is_err());
    (0..).map(name).find(is_free).expect("the numbers do not end before the names of a folder")
}
