//! `control.sock`: the socket of a running node, and whether a process listens on it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The daemon's socket in a node's folder.
pub const SOCKET_FILE: &str = "control.sock";
/// Room for a path in a socket's address (`sun_path`, 104 bytes on some systems, 108 on others).
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Whether a process accepts connections on the socket of a node's folder.
pub fn answers(folder: &Path) -> bool {
    ShortPath::new(&folder.join(SOCKET_FILE))
        .is_ok_and(|short| std::os::unix::net::UnixStream::connect(&short.path).is_ok())
}

/// A path that fits a socket's address, and the open folder that keeps it valid.
pub(crate) struct ShortPath {
    pub(crate) path: PathBuf,
    _folder: Option<File>,
}

impl ShortPath {
    /// A long path is reached through its opened folder, where the system has `/proc`.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let whole = ShortPath { path: path.to_owned(), _folder: None };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(whole) };
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX || !Path::new("/proc/self/fd").exists() {
            return Ok(whole);
        }
        let folder = File::open(folder)?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(ShortPath { path: short, _folder: Some(folder) })
    }
}
