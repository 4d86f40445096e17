//! `identity.key`: the secret half of a node, in a file apart from the store, so that a copy of the store
//! is no copy of the identity.
//!
//! ```text
//! tombolo-key-1
//! identity 64 hex digits: the ed25519 seed (RFC 8032, section 5.1.5)
//! onion    64 hex digits: the ed25519 seed of the onion service
//! did      did:key:z6Mk…: the identity that the first seed makes
//! address  ….onion: the onion address that the second seed makes
//! ```
//!
//! The last two lines make a changed digit an error, not another identity or address; a file without them is read as well. The store has the identity
//! too, so a key and the store of another node do not start together.
//!
//! Lines that start with `#` are comments. The file is made once, never overwritten, with mode 0600, and
//! is refused when its mode lets other users read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use crate::identity::{Keypair, did};
use crate::plain_file;

/// The file's name in a node's folder.
pub const KEY_FILE: &str = "identity.key";
/// First line of the file: its format.
const FORMAT: &str = "tombolo-key-1";
/// Bytes of a key file that are read; a longer file is malformed.
const KEY_FILE_BYTES_MAX: u64 = 4_096;
const WARNING: &str =
    "# The secret of this node. Who has it is this node: never copy it to a second machine.";

/// Why a key file cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The folder has no key file.
    #[error("no node lives in {}", folder.display())]
    Missing {
        /// The folder without a key file.
        folder: PathBuf,
    },
    /// The folder has a key file already.
    #[error("{} exists already: an identity is never overwritten", path.display())]
    Exists {
        /// The path of the file.
        path: PathBuf,
    },
    /// Other users may read it.
    #[error("{} can be read by others (mode {mode:03o})", path.display())]
    Open {
        /// The path of the file.
        path: PathBuf,
        /// The permission bits of the file.
        mode: u32,
    },
    /// The file has not the format of a key file.
    #[error("{} is no key file: {why}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
}

/// Draws a new identity and writes it to `folder`, durably. An identity that is there stays.
///
/// # Errors
///
/// [`KeyFileError::Exists`] if there is one; else what the system refused.
pub fn create(folder: &Path) -> Result<Keypair, KeyFileError> {
    let path = folder.join(KEY_FILE);
    let (identity, onion) = (random_seed()?, random_seed()?);
    match write_new(folder, &path, &text_of(&identity, &onion)) {
        Ok(()) => Ok(Keypair::from_seeds(&identity, &onion)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(KeyFileError::Exists { path }),
        Err(source) => Err(KeyFileError::Io { path, source }),
    }
}

/// Whether an identity is there, readable or not.
pub fn exists(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join(KEY_FILE)).is_ok()
}

/// Reads the identity of `folder`.
///
/// # Errors
///
/// [`KeyFileError`] if there is none, other users may read it, or it is damaged.
pub fn load(folder: &Path) -> Result<Keypair, KeyFileError> {
    let path = folder.join(KEY_FILE);
    let opened = plain_file::open(&path, OpenOptions::new().read(true));
    let file = opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing { folder: folder.to_owned() },
        io::ErrorKind::InvalidInput => {
            KeyFileError::Malformed { path: path.clone(), why: "it is no regular file" }
        }
        _ => KeyFileError::Io { path: path.clone(), source },
    })?;
    check_mode(&file, &path)?;
    let mut text = Zeroizing::new(String::with_capacity(512));
    match file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => parse(&text).map_err(|why| KeyFileError::Malformed { path, why }),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            Err(KeyFileError::Malformed { path, why: "it is not text" })
        }
        Err(source) => Err(KeyFileError::Io { path, source }),
    }
}

fn text_of(identity: &[u8; 32], onion: &[u8; 32]) -> Zeroizing<String> {
    let keypair = Keypair::from_seeds(identity, onion);
    let (did, address) = (did(&keypair.peer_id()), keypair.onion());
    let (identity, onion) =
        (Zeroizing::new(HEXLOWER.encode(identity)), Zeroizing::new(HEXLOWER.encode(onion)));
    let names = format!("did {did}\naddress {address}\n");
    Zeroizing::new(format!("{FORMAT}\n{WARNING}\nidentity {}\nonion {}\n{names}", *identity, *onion))
}

fn parse(text: &str) -> Result<Keypair, &'static str> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    if lines.next() != Some(FORMAT) {
        return Err("its first line is not `tombolo-key-1`");
    }
    let identity =
        seed(lines.next(), "identity ").ok_or("its line `identity` is missing or not 64 hex digits")?;
    let onion = seed(lines.next(), "onion ").ok_or("its line `onion` is missing or not 64 hex digits")?;
    let keypair = Keypair::from_seeds(&identity, &onion);
    let (named, address, rest) = (lines.next(), lines.next(), lines.next());
    if rest.is_some() {
        return Err("it has more lines than it should");
    }
    match named.map(|line| line.strip_prefix("did ")) {
        None => return Ok(keypair),
        Some(None) => return Err("its line after `onion` is not `did`"),
        Some(Some(name)) if name.trim() == did(&keypair.peer_id()) => {}
        Some(Some(_)) => {
            return Err(
                "its line `did` names another identity than the line `identity` makes: a digit has changed",
            );
        }
    }
    match address.map(|line| line.strip_prefix("address ")) {
        None => Ok(keypair),
        Some(None) => Err("its line after `did` is not `address`"),
        Some(Some(address)) if address.trim() == keypair.onion() => Ok(keypair),
        Some(Some(_)) => {
            Err("its line `address` names another address than the line `onion` makes: a digit has changed")
        }
    }
}

fn seed(line: Option<&str>, label: &str) -> Option<Zeroizing<[u8; 32]>> {
    let hex = line?.strip_prefix(label)?.trim();
    let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

fn random_seed() -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(KeyFileError::Random)?;
    Ok(seed)
}

/// Writes a file that was not there, and returns when the file and its name are on the disk.
fn write_new(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is worse than none: the next `init` would refuse to touch it.
        let _ = std::fs::remove_file(path);
    }
    written?;
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn check_mode(file: &File, path: &Path) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(KeyFileError::Malformed { path: path.to_owned(), why: "it is no regular file" });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Open { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_mode(_file: &File, _path: &Path) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_identity_reads_back_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let made = create(folder.path()).unwrap();
        let read = load(folder.path()).unwrap();
        assert_eq!((made.peer_id(), made.onion()), (read.peer_id(), read.onion()));
        assert!(matches!(create(folder.path()), Err(KeyFileError::Exists { .. })));
        assert_eq!(load(folder.path()).unwrap().peer_id(), made.peer_id());
    }

    #[test]
    fn two_identities_differ_and_their_two_seeds_as_well() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (create(a.path()).unwrap(), create(b.path()).unwrap());
        assert_ne!(a.peer_id(), b.peer_id());
        assert_ne!(*a.identity_seed(), *a.onion_seed());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        create(folder.path()).unwrap();
        let path = folder.path().join(KEY_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(folder.path()), Err(KeyFileError::Open { mode: 0o640, .. })));
    }

    #[test]
    fn a_damaged_file_is_named_and_never_half_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(load(folder.path()), Err(KeyFileError::Missing { .. })));
        create(folder.path()).unwrap();
        let path = folder.path().join(KEY_FILE);
        let whole = std::fs::read(&path).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let [did, address] = ["did ", "address "].map(|label| text.find(label).unwrap());
        let is_whole_line =
            |end: usize| [did, address].into_iter().any(|line| end == line || end + 1 == line);
        for end in (0..whole.len() - 1).filter(|end| !is_whole_line(*end)) {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert!(matches!(load(folder.path()), Err(KeyFileError::Malformed { .. })), "cut at {end}");
        }
        // Of the time before the line `did`, and before the line `address`.
        for end in [did, address] {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert!(load(folder.path()).is_ok());
        }
        let digits = |label: &str| {
            let first = text.find(label).unwrap() + label.len();
            first..first + 64
        };
        for at in digits("identity ").chain(digits("\nonion ")) {
            let mut bytes = whole.clone();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            std::fs::write(&path, &bytes).unwrap();
            assert!(matches!(load(folder.path()), Err(KeyFileError::Malformed { .. })), "digit at {at}");
        }
        for junk in [&b"\xff\xfe"[..], &[b'a'; 100_000]] {
            std::fs::write(&path, junk).unwrap();
            assert!(matches!(load(folder.path()), Err(KeyFileError::Malformed { .. })));
        }
    }
}
