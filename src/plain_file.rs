//! Opens files of a node's folder that have to be regular files. A pipe, a directory or a device in the place of one is an error,
//! not a wait: opening a pipe blocks until another process opens its other end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file.
///
/// # Errors
///
/// What the system refused; [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A device may act when it is opened, so it is looked at first; what is opened is looked at again.
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(no_plain_file()),
        Ok(_) | Err(_) => {}
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = options.custom_flags(flags.cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(no_plain_file()),
    }
}

/// Reads a regular file of text, at most so many bytes of it.
///
/// # Errors
///
/// As [`open`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    open(path, OpenOptions::new().read(true))?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

fn no_plain_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pipe has no writer: a plain `File::open` would wait for ever.
    #[test]
    fn a_pipe_a_folder_and_a_device_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for path in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read_text(path, 10).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "abcdef").unwrap();
        assert_eq!(read_text(&file, 3).unwrap(), "abc");
    }
}
