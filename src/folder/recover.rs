//! Puts a store that cannot be used aside and makes a new one for the same identity. What the identity has signed comes back from
//! its peers; until one has answered, nothing is signed here.

use std::path::{Path, PathBuf};

use super::{STORE_FILE, StartError, create_store, key, socket};
use crate::clock::rfc3339;
use crate::config::Config;
use crate::store::{Store, StoreError, StoreOrigin};
use crate::system_clock::now;

/// Puts the store of a folder aside, and makes a new one for its key. Returns where the old one stands now; none where there
/// was none. Key and settings stay.
///
/// # Errors
///
/// [`StartError::NotDamaged`] if the store reads well; else why the key or settings do not, a daemon or another process
/// holds the store, or the disk refuses.
pub fn recover(folder: &Path) -> Result<Option<PathBuf>, StartError> {
    super::check_there(folder)?;
    Config::load(folder)?;
    let keypair = key::load(folder)?;
    let path = folder.join(STORE_FILE);
    let failed = |what: &str| {
        let what = format!("cannot {what} {}", path.display());
        move |source| StartError::System { what, source }
    };
    if std::fs::symlink_metadata(&path).is_err() {
        create_store(folder, &keypair, StoreOrigin::Unconfirmed)?;
        return Ok(None);
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
        // A newer program reads it, and room is not made by moving it.
        Err(source @ (StoreError::TooNew { .. } | StoreError::NoRoom(_))) => {
            return Err(StartError::Store { path, source });
        }
        Err(
            StoreError::Damaged(_) | StoreError::OtherNode { .. } | StoreError::Disk(_) | StoreError::Closed,
        ) => {}
    }
    let aside = free_name(&path);
    for (file, target) in Store::files(&path).into_iter().zip(Store::files(&aside)) {
        super::unless_missing(std::fs::rename(&file, &target)).map_err(failed("move"))?;
    }
    create_store(folder, &keypair, StoreOrigin::Unconfirmed)?;
    Ok(Some(aside))
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
