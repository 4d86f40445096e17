//! One file that has settings and store of a node, and its key only where that was asked for: written beside a running node,
//! verified before it gets its name, and restored without an alarm.
//!
//! ```text
//! tombolo-backup-1 LF, then one byte: 0 plain, 1 sealed
//! sealed:  salt (16), then argon2id: memory in KiB, passes, lanes (u32 each), then the body in sealed pieces (`seal.rs`)
//! body:    length of the contents (u32), the contents (JSON), each file of them in order, BLAKE3 of all of the body before (32)
//! ```
//!
//! Numbers are big endian. A plain file never has a key: what has one is sealed under a passphrase.
//!
//! **The store is copied while its node may write.** The database writes no page in place that its last commit uses, so a copy is
//! whole unless two commits fell into it. Every page is compared with its checksum then, and a torn copy is made again.
//!
//! **A restored store is marked as unconfirmed.** The node may have signed more after the backup, so it signs nothing until a peer
//! has shown what it holds, and runs no command that was made until then. The count of commits beside the store (`store.seq`) begins with what the restored store has.

mod seal;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tombolo_transports::PeerId;

use super::key::{self, KEY_FILE, KeyFileError};
use super::{REVOCATION_FILE, STORE_FILE, StartError, socket};
use crate::clock::rfc3339;
use crate::config::{CONFIG_FILE, Config};
use crate::identity::did;
use crate::store::{Store, StoreError, StoreOrigin};
use crate::system_clock::now;
use seal::{OpenReader, Sealing, SealingWriter};

/// The first line of the file.
const MAGIC: &[u8; 17] = b"tombolo-backup-1\n";
/// Bytes of the contents; a longer list is none.
const CONTENTS_BYTES_MAX: u32 = 64 * 1024;
/// Files in one backup.
const FILES_MAX: usize = 8;
/// Bytes of a file that is not the store.
const SMALL_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The name of the catalogue beside the settings.
const CATALOGUE_FILE: &str = "catalogue.toml";
/// How often a copy of the store is made before the node counts as too busy.
const COPIES_MAX: usize = 40;
/// The pause between two copies.
const COPY_PAUSE: Duration = Duration::from_millis(50);
/// Bytes read or written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupContents {
    /// The name of the node.
    pub name: String,
    /// The identity of the node.
    pub did: String,
    /// When the backup was made, RFC 3339.
    pub made_at: String,
    /// The version of the program that made it.
    pub version: String,
    /// Whether the identity is in it.
    pub has_key: bool,
    /// Its files, in order.
    pub files: Vec<BackupFile>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name in the folder of the node.
    pub name: String,
    /// The length of the file, in bytes.
    pub bytes: u64,
}

/// Why a backup was not made, read or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The node of the folder cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A file of that name is there.
    #[error("{} exists already", path.display())]
    Exists {
        /// The path of the file.
        path: PathBuf,
    },
    /// The folder has a node, or a part of one.
    #[error("{} exists already: a node is never overwritten", path.display())]
    Occupied {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// Neither the backup nor the folder has the key.
    #[error("this backup of {name} has no key, and the folder has none")]
    KeyMissing {
        /// The name of the node.
        name: String,
    },
    /// The key in the folder is that of another node.
    #[error("the backup is one of {backup}, the key in the folder is that of {key}")]
    OtherNode {
        /// The identity of the backup.
        backup: String,
        /// The identity of the key.
        key: String,
    },
    /// The store changed faster than it was copied.
    #[error("the store changes faster than it can be copied")]
    Busy,
    /// The file is sealed.
    #[error("this backup is encrypted")]
    NeedsPassphrase,
    /// Another passphrase sealed it, or its first bytes were changed.
    #[error("the passphrase does not open this backup")]
    Passphrase,
    /// The file is no backup.
    #[error("this file is no backup of tombolo")]
    NoBackup,
    /// A later version made the file.
    #[error("this backup needs what a later version knows: {0}")]
    TooNew(&'static str),
    /// The file is not what was written.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
}

impl BackupError {
    /// A stable label for programs.
    pub fn code(&self) -> &'static str {
        match self {
            BackupError::Start(_) => "start",
            BackupError::Exists { .. } => "exists",
            BackupError::Occupied { .. } => "already_initialised",
            BackupError::KeyMissing { .. } => "no_key",
            BackupError::OtherNode { .. } => "other_node",
            BackupError::Busy => "busy",
            BackupError::NeedsPassphrase | BackupError::Passphrase => "bad_passphrase",
            BackupError::NoBackup => "no_backup",
            BackupError::TooNew(_) => "too_new",
            BackupError::Damaged(_) => "backup_damaged",
            BackupError::Random(_) => "system",
            BackupError::Io { .. } => "file",
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

/// Writes a backup of the node in `folder`; with a passphrase it has the key as well, and is sealed. The node may run.
///
/// # Errors
///
/// [`BackupError::Exists`] if `file` is there; else why the node or its store does not read, or the disk refuses.
pub fn write(folder: &Path, file: &Path, passphrase: Option<&str>) -> Result<BackupContents, BackupError> {
    super::check_there(folder)?;
    let config = Config::load(folder).map_err(StartError::from)?;
    let identity = key::load(folder).map_err(StartError::from)?.peer_id();
    if std::fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists { path: file.to_owned() });
    }
    let copy = StoreCopy::of(folder, identity, file)?;
    let mut sources = vec![(CONFIG_FILE, folder.join(CONFIG_FILE)), (STORE_FILE, copy.path.clone())];
    let extra =
        [(CATALOGUE_FILE, true), (KEY_FILE, passphrase.is_some()), (REVOCATION_FILE, passphrase.is_some())];
    let extra = extra.into_iter().filter(|(_, is_wanted)| *is_wanted);
    sources.extend(extra.map(|(name, _)| (name, folder.join(name))).filter(|(_, path)| path.is_file()));
    let length = |path: &Path| -> Result<u64, BackupError> {
        Ok(std::fs::metadata(path).map_err(failed(path))?.len())
    };
    let files = sources
        .iter()
        .map(|(name, path)| Ok(BackupFile { name: (*name).to_owned(), bytes: length(path)? }))
        .collect::<Result<_, BackupError>>()?;
    let contents = BackupContents {
        name: config.name,
        did: did(&identity),
        made_at: rfc3339(now().wall),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        has_key: passphrase.is_some(),
        files,
    };
    let paths: Vec<PathBuf> = sources.into_iter().map(|(_, path)| path).collect();
    let unfinished = Unfinished::beside(file);
    write_file(&unfinished.0, &contents, &paths, passphrase).map_err(|error| match error {
        BackupError::Io { path, source } if path == unfinished.0 => failed(file)(source),
        other => other,
    })?;
    // What was written is read back before it counts.
    check(&unfinished.0, passphrase)?;
    std::fs::rename(&unfinished.0, file).map_err(failed(file))?;
    sync_folder_of(file)?;
    Ok(contents)
}

/// Reads a backup to its end, and returns what it has.
///
/// # Errors
///
/// [`BackupError::NeedsPassphrase`] if it is sealed and none is given; else what is wrong with it.
pub fn check(file: &Path, passphrase: Option<&str>) -> Result<BackupContents, BackupError> {
    read(file, passphrase, |_, body| io::copy(body, &mut io::sink()).map(|_| ()))
}

/// Makes the node of a backup in `folder`. Settings that are there stay; a store or another key that is there is not touched.
///
/// # Errors
///
/// [`BackupError::Occupied`] if a store is there; [`BackupError::KeyMissing`] if neither the backup nor the folder has the key;
/// else what is wrong with the file, or what the disk refused. Nothing is changed then.
pub fn restore(file: &Path, folder: &Path, passphrase: Option<&str>) -> Result<BackupContents, BackupError> {
    let contents = check(file, passphrase)?;
    if socket::answers(folder) {
        return Err(StartError::Running { folder: folder.to_owned() }.into());
    }
    may_restore(&contents, folder)?;
    super::make_folder(folder)?;
    let staged = Unpacked::in_folder(folder)?;
    read(file, passphrase, |part, body| {
        let mut options = OpenOptions::new();
        let mut out = options.write(true).create_new(true).mode(0o600).open(staged.0.join(&part.name))?;
        io::copy(body, &mut out)?;
        out.sync_all()
    })?;
    prepare(&staged.0, folder, &contents)?;
    // The key goes last: without it the folder has no node.
    let order = [CATALOGUE_FILE, REVOCATION_FILE, CONFIG_FILE, STORE_FILE, KEY_FILE];
    for name in order.into_iter().filter(|name| contents.files.iter().any(|part| part.name == *name)) {
        let target = folder.join(name);
        if name == STORE_FILE {
            // What stands beside a store that is gone is none of this one's.
            super::recover::put_aside(&target)?;
            for (from, to) in Store::files(&staged.0.join(STORE_FILE)).into_iter().zip(Store::files(&target))
            {
                super::unless_missing(std::fs::rename(&from, &to)).map_err(failed(&to))?;
            }
        } else if std::fs::symlink_metadata(&target).is_err() {
            std::fs::rename(staged.0.join(name), &target).map_err(failed(&target))?;
        }
    }
    sync_folder_of(&folder.join(STORE_FILE))?;
    Ok(contents)
}

/// Checks that nothing in the folder is in the way, and that the key is here or there.
fn may_restore(contents: &BackupContents, folder: &Path) -> Result<(), BackupError> {
    let store = folder.join(STORE_FILE);
    if std::fs::symlink_metadata(&store).is_ok() {
        return Err(BackupError::Occupied { path: store });
    }
    match key::load(folder) {
        Ok(keypair) if did(&keypair.peer_id()) == contents.did => Ok(()),
        Ok(keypair) => {
            Err(BackupError::OtherNode { backup: contents.did.clone(), key: did(&keypair.peer_id()) })
        }
        Err(KeyFileError::Missing { .. }) if contents.has_key => Ok(()),
        Err(KeyFileError::Missing { .. }) => Err(BackupError::KeyMissing { name: contents.name.clone() }),
        Err(error) => Err(StartError::from(error).into()),
    }
}

/// Checks what was unpacked as a start would, and marks the store as one that may lack what was signed later.
fn prepare(staged: &Path, folder: &Path, contents: &BackupContents) -> Result<(), BackupError> {
    Config::load(staged).map_err(StartError::from)?;
    let key_folder = if contents.has_key { staged } else { folder };
    let keypair = key::load(key_folder).map_err(StartError::from)?;
    if did(&keypair.peer_id()) != contents.did {
        return Err(BackupError::Damaged("its key is that of another node"));
    }
    let path = staged.join(STORE_FILE);
    let marked = Store::open(&path).and_then(|mut store| {
        store.belongs_to(keypair.peer_id())?;
        store.load()?;
        store.commit(StoreOrigin::Unconfirmed.marks())
    });
    marked.map_err(|source| StartError::Store { path, source }.into())
}

// ---- the file -------------------------------------------------------------------------------------------

fn write_file(
    path: &Path,
    contents: &BackupContents,
    sources: &[PathBuf],
    passphrase: Option<&str>,
) -> Result<(), BackupError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, opened);
    out.write_all(MAGIC).map_err(failed(path))?;
    let file = match passphrase {
        None => {
            out.write_all(&[0]).map_err(failed(path))?;
            let body = write_body(path, out, contents, sources)?;
            body.into_inner().map_err(|error| failed(path)(error.into_error()))?
        }
        Some(passphrase) => {
            let sealing = Sealing::draw()?;
            out.write_all(&[1]).and_then(|()| out.write_all(&sealing.to_bytes())).map_err(failed(path))?;
            let writer = SealingWriter::new(out, sealing.key(passphrase)?);
            let out = write_body(path, writer, contents, sources)?.finish().map_err(failed(path))?;
            out.into_inner().map_err(|error| failed(path)(error.into_error()))?
        }
    };
    file.sync_all().map_err(failed(path))
}

/// Writes the body, with a hash of it at its end.
fn write_body<W: Write>(
    here: &Path,
    out: W,
    contents: &BackupContents,
    sources: &[PathBuf],
) -> Result<W, BackupError> {
    let mut out = Hashed { inner: out, hasher: blake3::Hasher::new() };
    let json = serde_json::to_vec(contents).expect("the contents have text keys");
    let length = u32::try_from(json.len()).expect("eight names are short");
    out.write_all(&length.to_be_bytes()).and_then(|()| out.write_all(&json)).map_err(failed(here))?;
    for (source, part) in sources.iter().zip(&contents.files) {
        let mut file = File::open(source).map_err(failed(source))?;
        let copied = copy(&mut (&mut file).take(part.bytes), source, &mut out, here)?;
        if copied != part.bytes {
            let source_changed = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile");
            return Err(failed(source)(source_changed));
        }
    }
    let hash = *out.hasher.finalize().as_bytes();
    let mut inner = out.inner;
    inner.write_all(&hash).and_then(|()| inner.flush()).map_err(failed(here))?;
    Ok(inner)
}

/// Copies the bytes of a file; an error names the file that it is of.
fn copy(
    from: &mut impl Read,
    from_path: &Path,
    to: &mut impl Write,
    to_path: &Path,
) -> Result<u64, BackupError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut copied = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(from_path)(error)),
        };
        to.write_all(buffer.get(..count).unwrap_or_default()).map_err(failed(to_path))?;
        copied += count as u64;
    }
}

/// Reads a backup: hands each file to `take` in order, then compares the hash.
fn read(
    path: &Path,
    passphrase: Option<&str>,
    take: impl FnMut(&BackupFile, &mut dyn Read) -> io::Result<()>,
) -> Result<BackupContents, BackupError> {
    let opened = crate::plain_file::open(path, OpenOptions::new().read(true)).map_err(failed(path))?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, opened);
    let mut head = [0; 18];
    file.read_exact(&mut head).map_err(|_| BackupError::NoBackup)?;
    if !head.starts_with(MAGIC) {
        let is_later = head.starts_with(b"tombolo-backup-");
        return Err(if is_later { BackupError::TooNew("its format") } else { BackupError::NoBackup });
    }
    match (head[17], passphrase) {
        (0, _) => read_body(path, file, take),
        (1, None) => Err(BackupError::NeedsPassphrase),
        (1, Some(passphrase)) => {
            let sealing = Sealing::read(&mut file)?;
            let key = sealing.key(passphrase)?;
            read_body(path, OpenReader::open(file, key)?, take)
        }
        _ => Err(BackupError::TooNew("how it is encrypted")),
    }
}

fn read_body(
    path: &Path,
    file: impl Read,
    mut take: impl FnMut(&BackupFile, &mut dyn Read) -> io::Result<()>,
) -> Result<BackupContents, BackupError> {
    let cut = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Damaged("it ends too early"),
        io::ErrorKind::InvalidData => BackupError::Damaged("a piece of it was changed"),
        _ => failed(path)(error),
    };
    let mut body = Hashed { inner: file, hasher: blake3::Hasher::new() };
    let mut length = [0; 4];
    body.read_exact(&mut length).map_err(cut)?;
    let length = u32::from_be_bytes(length);
    if length > CONTENTS_BYTES_MAX {
        return Err(BackupError::Damaged("its contents do not read"));
    }
    let mut json = vec![0; length as usize];
    body.read_exact(&mut json).map_err(cut)?;
    let contents: BackupContents =
        serde_json::from_slice(&json).map_err(|_| BackupError::Damaged("its contents do not read"))?;
    check_contents(&contents)?;
    for part in &contents.files {
        let mut limited = (&mut body).take(part.bytes);
        take(part, &mut limited).map_err(cut)?;
        if limited.limit() > 0 {
            return Err(BackupError::Damaged("it ends too early"));
        }
    }
    let counted = *body.hasher.finalize().as_bytes();
    let mut hash = [0; 32];
    body.inner.read_exact(&mut hash).map_err(cut)?;
    if hash != counted {
        return Err(BackupError::Damaged("its hash is another"));
    }
    match body.inner.read(&mut [0; 1]).map_err(cut)? {
        0 => Ok(contents),
        _ => Err(BackupError::Damaged("more follows after its end")),
    }
}

/// Only the files of a node, each once, and no key in a file that states it has none.
fn check_contents(contents: &BackupContents) -> Result<(), BackupError> {
    let known = [CONFIG_FILE, STORE_FILE, CATALOGUE_FILE, KEY_FILE, REVOCATION_FILE];
    let names: Vec<&str> = contents.files.iter().map(|part| part.name.as_str()).collect();
    let is_once = names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len();
    let is_known = names.len() <= FILES_MAX && names.iter().all(|name| known.contains(name));
    let is_short =
        contents.files.iter().all(|part| part.name == STORE_FILE || part.bytes <= SMALL_FILE_BYTES_MAX);
    let is_whole = [CONFIG_FILE, STORE_FILE].iter().all(|name| names.contains(name));
    let has_key = names.contains(&KEY_FILE);
    match is_once && is_known && is_short && is_whole && has_key == contents.has_key {
        true => Ok(()),
        false => Err(BackupError::Damaged("its contents are not those of a node")),
    }
}

/// Hashes the bytes that pass through it.
struct Hashed<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }
}

// ---- on the way -----------------------------------------------------------------------------------------

/// A whole copy of a store, beside the backup that it is for; removed when dropped. The disk of the node may be full, or take no writes.
struct StoreCopy {
    path: PathBuf,
}

impl StoreCopy {
    fn of(folder: &Path, identity: PeerId, file: &Path) -> Result<Self, BackupError> {
        let store = folder.join(STORE_FILE);
        let copy = StoreCopy { path: hidden_beside(file, STORE_FILE) };
        for _ in 0..COPIES_MAX {
            copy.remove();
            // The database comes last: what a commit moves there meanwhile from the log then stands in one of the two copies.
            for (from, to) in Store::files(&store).into_iter().zip(Store::files(&copy.path)).rev() {
                if from.extension().is_none_or(|kind| kind != "seq") {
                    copy_file(&from, &to, file)?;
                }
            }
            match copy.check(identity) {
                Ok(()) => return Ok(copy),
                Err(StoreError::Damaged(_)) => std::thread::sleep(COPY_PAUSE),
                Err(StoreError::NoRoom(why)) => return Err(failed(file)(io::Error::other(why))),
                Err(source) => return Err(StartError::Store { path: store, source }.into()),
            }
        }
        // A torn copy is the rule only under load; without it the store itself is damaged.
        match Store::check(&store) {
            Err(source @ StoreError::Damaged(_)) => Err(StartError::Store { path: store, source }.into()),
            Ok(_) | Err(_) => Err(BackupError::Busy),
        }
    }

    fn check(&self, identity: PeerId) -> Result<(), StoreError> {
        let mut store = Store::open(&self.path)?;
        store.belongs_to(identity)?;
        store.load()?;
        // What the log had is in the copy only where that takes writes.
        store.read_only().map_or(Ok(()), |why| Err(why.clone()))
    }

    fn remove(&self) {
        for path in Store::files(&self.path) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for StoreCopy {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The name of a file that stands beside the backup until that is written.
fn hidden_beside(file: &Path, kind: &str) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".{name}.{}.{kind}", std::process::id()))
}

/// Copies a file of the store that may be missing, for this backup.
fn copy_file(from: &Path, to: &Path, backup: &Path) -> Result<(), BackupError> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(from)(error)),
    };
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(to);
    copy(&mut source, from, &mut made.map_err(failed(backup))?, backup).map(drop)
}

/// A file that has not got its name yet, removed when dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(file: &Path) -> Self {
        Unfinished(hidden_beside(file, "new"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A folder in which the files of a backup are unpacked, removed when dropped.
struct Unpacked(PathBuf);

impl Unpacked {
    fn in_folder(folder: &Path) -> Result<Self, BackupError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = folder.join("restore.new");
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(error)),
            Ok(()) | Err(_) => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        Ok(Unpacked(path))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sync_folder_of(path: &Path) -> Result<(), BackupError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

#[cfg(test)]
mod tests;
