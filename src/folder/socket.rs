//! `control.sock`: the socket of a running node, and whether a process listens on it.

use std::path::Path;

use crate::socket_path::ShortPath;

/// The daemon's socket in a node's folder.
pub const SOCKET_FILE: &str = "control.sock";

/// Whether a process accepts connections on the socket of a node's folder.
pub fn answers(folder: &Path) -> bool {
    ShortPath::new(&folder.join(SOCKET_FILE))
        .is_ok_and(|short| std::os::unix::net::UnixStream::connect(&short.path).is_ok())
}
