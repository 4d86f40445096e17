//! Watches the folder of a running node: a node whose key or store is gone, or was replaced, would go on writing into files that no
//! path leads to.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::STORE_FILE;
use super::key::KEY_FILE;
use crate::system_clock::next_look;

/// How long after a look that finds a file missing the next one decides: an editor or a backup may replace the key file in a moment.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A file of the folder that a running node needs, and does not find any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Vanished {
    /// The path leads to no file.
    #[error("{} is gone", path.display())]
    Missing {
        /// The path of the file.
        path: PathBuf,
    },
    /// The path leads to another file than the one that is open.
    #[error("{} was replaced", path.display())]
    Replaced {
        /// The path of the file.
        path: PathBuf,
    },
}

/// What the folder of a node has at its start.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    key: PathBuf,
    store: PathBuf,
    /// Device and inode of the store.
    store_file: Option<(u64, u64)>,
}

impl FolderWatch {
    /// The store of the folder is open.
    pub(crate) fn new(folder: &Path) -> Self {
        let store = folder.join(STORE_FILE);
        let store_file = std::fs::metadata(&store).ok().map(|file| (file.dev(), file.ino()));
        FolderWatch { key: folder.join(KEY_FILE), store, store_file }
    }

    /// Waits until a file is gone or replaced.
    pub(crate) async fn vanished(&self) -> Vanished {
        loop {
            tokio::time::sleep_until(next_look()).await;
            if self.look().is_some() {
                tokio::time::sleep(LOOK_AGAIN).await;
                if let Some(vanished) = self.look() {
                    return vanished;
                }
            }
        }
    }

    fn look(&self) -> Option<Vanished> {
        let missing = |path: &Path| Vanished::Missing { path: path.to_owned() };
        let is_missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if std::fs::symlink_metadata(&self.key).is_err_and(is_missing) {
            return Some(missing(&self.key));
        }
        match std::fs::metadata(&self.store) {
            Ok(file) if self.store_file.is_some_and(|open| open != (file.dev(), file.ino())) => {
                Some(Vanished::Replaced { path: self.store.clone() })
            }
            // A disk that does not answer is no missing file.
            Ok(_) => None,
            Err(error) => is_missing(error).then(|| missing(&self.store)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_replaced_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (key, store) = (folder.path().join(KEY_FILE), folder.path().join(STORE_FILE));
        std::fs::write(&key, "k").unwrap();
        std::fs::write(&store, "s").unwrap();
        let watch = FolderWatch::new(folder.path());
        assert_eq!(watch.look(), None);
        let copy = folder.path().join("copy");
        std::fs::copy(&store, &copy).unwrap();
        std::fs::rename(&copy, &store).unwrap();
        assert_eq!(watch.look(), Some(Vanished::Replaced { path: store.clone() }));
        std::fs::remove_file(&store).unwrap();
        assert_eq!(watch.look(), Some(Vanished::Missing { path: store }));
        std::fs::remove_file(&key).unwrap();
        assert_eq!(watch.look(), Some(Vanished::Missing { path: key }));
    }
}
