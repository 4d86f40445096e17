//! `control.sock` as a listener that lasts: a socket that is deleted under a running node is made again, and one that a full disk
//! had no room for is made when there is some.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{UnixListener, UnixStream};

use super::accept::AcceptSocket;
use crate::folder::socket::SOCKET_FILE;
use crate::folder::unless_missing;
use crate::socket_path::ShortPath;
use crate::system_clock::next_look;

/// The groups of this machine.
const GROUP_LIST: &str = "/etc/group";

/// A group whose members may use the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketGroup(u32);

impl SocketGroup {
    /// Finds a group by its name or number, in the list of this machine.
    pub(super) fn find(text: &str) -> io::Result<Self> {
        if let Ok(number) = text.parse() {
            return Ok(SocketGroup(number));
        }
        let list = std::fs::read_to_string(GROUP_LIST)?;
        SocketGroup::in_list(&list, text).ok_or_else(|| {
            let why = format!(
                "{GROUP_LIST} has no group `{text}`: `group` in section [socket] of tombolo.toml names it"
            );
            io::Error::new(io::ErrorKind::NotFound, why)
        })
    }

    fn in_list(list: &str, name: &str) -> Option<Self> {
        let mut rows = list.lines().map(|line| line.split(':'));
        let mut row = rows.find_map(|mut row| (row.next() == Some(name)).then_some(row))?;
        row.nth(1)?.parse().ok().map(SocketGroup)
    }

    /// The mode of a socket, and its group.
    fn open(group: Option<Self>, socket: &Path) -> io::Result<()> {
        let Some(SocketGroup(number)) = group else {
            return std::fs::set_permissions(socket, Permissions::from_mode(0o600));
        };
        chown(socket, None, Some(number))?;
        std::fs::set_permissions(socket, Permissions::from_mode(0o660))
    }

    /// Lets the group enter a folder, where it could not, so that it reaches the socket; it may not list it.
    fn open_folder(self, folder: &Path) -> io::Result<()> {
        let found = std::fs::metadata(folder)?;
        let mode = found.permissions().mode() & 0o7777;
        if found.gid() != self.0 {
            // What another group could do there is not for this one.
            chown(folder, None, Some(self.0))?;
            return std::fs::set_permissions(folder, Permissions::from_mode(mode & !0o070 | 0o010));
        }
        std::fs::set_permissions(folder, Permissions::from_mode(mode | 0o010))
    }
}

/// The socket of local programs.
pub(super) struct LastingSocket {
    path: PathBuf,
    group: Option<SocketGroup>,
    /// None as long as the disk has no room for it.
    listener: Mutex<Option<Arc<UnixListener>>>,
}

impl LastingSocket {
    /// Listens at a path. Where the disk takes no writes, it listens as soon as it does.
    pub(super) fn bind(path: PathBuf, group: Option<SocketGroup>) -> io::Result<Self> {
        use io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
        if let (Some(group), Some(folder)) = (group, path.parent()) {
            group.open_folder(folder)?;
        }
        let listener = match bind(&path, group) {
            Err(error) if matches!(error.kind(), StorageFull | ReadOnlyFilesystem) => {
                tracing::warn!(path = %path.display(), %error, "the socket of local programs is not made yet");
                None
            }
            bound => Some(Arc::new(bound?)),
        };
        Ok(LastingSocket { path, group, listener: Mutex::new(listener) })
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
        match bind(&self.path, self.group) {
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
            match tokio::time::timeout_at(next_look(), accepted).await {
                Ok(accepted) => return accepted.map(|(stream, _)| stream),
                Err(_) => self.look(listener.is_some()),
            }
        }
    }
}

/// Listens at `path`. The socket is made in a folder of mode 0700 and moved out of it with its own mode, so no other user
/// can open it at any time. A full disk may have no room for that folder: then it is made in place, if the node's own folder
/// is closed to others.
fn bind(path: &Path, group: Option<SocketGroup>) -> io::Result<UnixListener> {
    let closed = path.with_extension("new");
    let made = closed.join(SOCKET_FILE);
    // Files that a power cut left behind.
    unless_missing(std::fs::remove_file(&made))?;
    unless_missing(std::fs::remove_dir(&closed))?;
    match DirBuilder::new().mode(0o700).create(&closed) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull && is_closed_folder(path) => {
            return bind_in_place(path, group);
        }
        Err(error) => return Err(error),
    }
    let short = ShortPath::new(&made)?;
    let bound = UnixListener::bind(&short.path).and_then(|listener| {
        SocketGroup::open(group, &made)?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    });
    if bound.is_err() {
        unless_missing(std::fs::remove_file(&made))?;
    }
    std::fs::remove_dir(&closed)?;
    match bound {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && is_closed_folder(path) => {
            bind_in_place(path, group)
        }
        bound => bound,
    }
}

/// Whether no other user may enter the folder of `path`, but the group that may use the socket.
fn is_closed_folder(path: &Path) -> bool {
    let folder = path.parent().map(std::fs::metadata);
    folder.is_some_and(|folder| folder.is_ok_and(|folder| folder.permissions().mode() & 0o067 == 0))
}

fn bind_in_place(path: &Path, group: Option<SocketGroup>) -> io::Result<UnixListener> {
    unless_missing(std::fs::remove_file(path))?;
    let listener = UnixListener::bind(&ShortPath::new(path)?.path)?;
    SocketGroup::open(group, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name_or_number() {
        let list = "root:x:0:\nstaff:x:50:ada,grace\nodd\nworse:x:many:\n";
        assert_eq!(SocketGroup::in_list(list, "staff"), Some(SocketGroup(50)));
        for name in ["staf", "odd", "worse", "", "x"] {
            assert_eq!(SocketGroup::in_list(list, name), None, "{name}");
        }
        assert_eq!(SocketGroup::find("50").unwrap(), SocketGroup(50));
    }
}
