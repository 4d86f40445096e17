//! The path of a unix socket, however long it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Room for a path in a socket's address (`sun_path`, 104 bytes on some systems, 108 on others).
const SOCKET_PATH_BYTES_MAX: usize = 100;

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
