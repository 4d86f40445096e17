//! `control.sock` as a listener that lasts: a socket that is deleted under a running node is made again, and one that a full disk
//! had no room for is made when there is some.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::accept::AcceptSocket;
use crate::folder::socket::SOCKET_FILE;
use crate::folder::unless_missing;
use crate::socket_path::ShortPath;

/// How long no connection comes before the socket is looked at.
const SOCKET_LOOK: Duration = Duration::from_secs(2);

/// The socket of local programs.
pub(super) struct LastingSocket {
    path: PathBuf,
    /// None as long as the disk has no room for it.
    listener: Mutex<Option<Arc<UnixListener>>>,
}

impl LastingSocket {
    /// Listens at a path. Where the disk takes no writes, it listens as soon as it does.
    pub(super) fn bind(path: PathBuf) -> io::Result<Self> {
        use io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
        let listener = match bind(&path) {
            Err(error) if matches!(error.kind(), StorageFull | ReadOnlyFilesystem) => {
                tracing::warn!(path = %path.display(), %error, "the socket of local programs is not made yet");
                None
            }
            bound => Some(Arc::new(bound?)),
        };
        Ok(LastingSocket { path, listener: Mutex::new(listener) })
    }

    fn listener(&self) -> Option<Arc<UnixListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listens again where the socket is not there.
    fn look(&self, is_listening: bool) {
        let is_missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if is_listening && !std::fs::symlink_metadata(&self.path).is_err_and(is_missing) {
            return;
        }
        let path = self.path.display();
        match bind(&self.path) {
            Ok(again) => {
                tracing::warn!(%path, "the socket of local programs was missing: it is made again");
                *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(again));
            }
            Err(error) => {
                tracing::debug!(%path, %error, "the socket of local programs is not made again");
            }
        }
    }
}

impl AcceptSocket for LastingSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let listener = self.listener();
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            match tokio::time::timeout(SOCKET_LOOK, accepted).await {
                Ok(accepted) => return accepted.map(|(stream, _)| stream),
                Err(_) => self.look(listener.is_some()),
            }
        }
    }
}

/// Listens at `path`. The socket is made in a folder of mode 0700 and moved out of it with mode 0600, so no other user
/// can open it at any time. A full disk may have no room for that folder: then it is made in place, if the node's own folder
/// is closed to others.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let closed = path.with_extension("new");
    let made = closed.join(SOCKET_FILE);
    // Files that a power cut left behind.
    unless_missing(std::fs::remove_file(&made))?;
    unless_missing(std::fs::remove_dir(&closed))?;
    match DirBuilder::new().mode(0o700).create(&closed) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull && is_closed_folder(path) => {
            return bind_in_place(path);
        }
        Err(error) => return Err(error),
    }
    let short = ShortPath::new(&made)?;
    let bound = UnixListener::bind(&short.path).and_then(|listener| {
        std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    });
    if bound.is_err() {
        unless_missing(std::fs::remove_file(&made))?;
    }
    std::fs::remove_dir(&closed)?;
    match bound {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && is_closed_folder(path) => {
            bind_in_place(path)
        }
        bound => bound,
    }
}

/// Whether no other user may enter the folder of `path`.
fn is_closed_folder(path: &Path) -> bool {
    let folder = path.parent().map(std::fs::metadata);
    folder.is_some_and(|folder| folder.is_ok_and(|folder| folder.permissions().mode() & 0o077 == 0))
}

fn bind_in_place(path: &Path) -> io::Result<UnixListener> {
    unless_missing(std::fs::remove_file(path))?;
    let listener = UnixListener::bind(&ShortPath::new(path)?.path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
