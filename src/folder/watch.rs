//! Watches the folder of a running node: a node whose key, store or log is gone, or was replaced, would go on writing into files that no
//! path leads to.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::STORE_FILE;
use super::key::KEY_FILE;
use crate::store::Store;
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
    /// The store and its log.
    open: [OpenFile; 2],
}

/// A file that the node has open.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    /// Device and inode; none where it was not there, as a log for which the disk had no room.
    inode: Option<(u64, u64)>,
}

impl OpenFile {
    fn new(path: PathBuf) -> Self {
        let inode = std::fs::metadata(&path).ok().map(|file| (file.dev(), file.ino()));
        OpenFile { path, inode }
    }

    fn look(&self) -> Option<Vanished> {
        let open = self.inode?;
        let path = || self.path.clone();
        match std::fs::metadata(&self.path) {
            Ok(file) => (open != (file.dev(), file.ino())).then(|| Vanished::Replaced { path: path() }),
            // A disk that does not answer is no missing file.
            Err(error) => is_missing(&error).then(|| Vanished::Missing { path: path() }),
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

impl FolderWatch {
    /// The store of the folder is open.
    pub(crate) fn new(folder: &Path) -> Self {
        let [store, log, _] = Store::files(&folder.join(STORE_FILE));
        FolderWatch { key: folder.join(KEY_FILE), open: [OpenFile::new(store), OpenFile::new(log)] }
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
        if std::fs::symlink_metadata(&self.key).is_err_and(|error| is_missing(&error)) {
            return Some(Vanished::Missing { path: self.key.clone() });
        }
        self.open.iter().find_map(OpenFile::look)
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
        let log = folder.path().join("store.wal");
        std::fs::write(&log, "l").unwrap();
        let watch = FolderWatch::new(folder.path());
        assert_eq!(watch.look(), None);
        std::fs::remove_file(&log).unwrap();
        assert_eq!(watch.look(), Some(Vanished::Missing { path: log }));
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
