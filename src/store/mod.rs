//! What must survive power loss: a database (redb) and, beside it, a log of the commits that it has not taken yet. A commit is
//! durable when `commit` returns; nothing is acknowledged or sent before.
//!
//! `tables.rs` shows every table on one page; `writes.rs` what one commit may change; `migrate.rs` the versions of the format; `wal.rs`
//! the log, `logged.rs` how the database takes it, `changes.rs` what a commit is in it. The rest of the node works on memory and hands
//! its changes here as a list of `Write`s, one commit per drained batch of inputs.
//!
//! Damage is an error, never a panic and never a silent loss: `file.rs` compares every page with its checksum before a node starts,
//! `guard.rs` catches what the database does with bytes that rot later, `witness.rs` counts commits outside the file. Where the
//! disk takes no writes, the file is read through `overlay.rs`.

mod blocks;
mod changes;
mod clearing;
mod file;
mod guard;
mod logged;
mod maps;
mod migrate;
mod overlay;
mod records;
mod room;
mod tables;
mod wal;
mod witness;
mod writes;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase};
use tombolo_transports::PeerId;

pub use migrate::{FORMAT, ORIGIN_RECORD, RECALL_RECORD, SETBACK_RECORD, StoreOrigin};
pub use records::{CalledState, CallsRecord, KeptState, Loaded, MapBase, StoredLayer};
pub use writes::{LayerWrite, StoreWrite};

use crate::commands::Recall;
use crate::layer::{LayerId, Sequence};
use guard::guarded;
use logged::LoggedCommits;
use migrate::Founding;
use wal::{CommitMark, WriteAheadLog};
use witness::CommitWitness;

/// The node's database of peers, invites, layers and small records.
pub struct Store {
    /// None after the disk refused, until it takes the file again.
    database: Option<Arc<Database>>,
    /// Opens the file again; a store in memory has none.
    opener: Option<Opener>,
    /// Why nothing can be written, while the file is open for reading only.
    read_only: Option<StoreError>,
    /// The count of commits beside the file; a store in memory has none.
    witness: Option<Arc<CommitWitness>>,
    /// Commits that were acknowledged and are not in the file any more, and of which it has no record yet.
    missing_commits: u64,
    /// Where the database stands, and the log beside it; a store in memory has none.
    path: Option<PathBuf>,
    /// The log; none in memory, and where the disk has no room for it: the database takes each commit then.
    log: Option<Mutex<LoggedCommits>>,
}

type Opener = Arc<dyn Fn() -> Result<Opened, StoreError> + Send + Sync>;

/// Entries of a commit that goes into the log: more go to the database at once, whose neighbours share pages then. So each slice of a
/// long write does: the log would write each entry once more, and hand the database ten slices in one step.
const ENTRIES_LOGGED_MAX: usize = 1_024;

/// A database that was opened.
struct Opened {
    database: Database,
    /// Why it was opened for reading only, if it was.
    read_only: Option<StoreError>,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the file open.
    #[error("another process has the store open")]
    InUse,
    /// Written by a later version.
    #[error("the store has format {found}, this program knows {known}: use a newer tombolo")]
    TooNew {
        /// The format of the file.
        found: u64,
        /// The format of this version.
        known: u64,
    },
    /// The file is damaged: a page or a record does not read back.
    #[error("the store is damaged ({0})")]
    Damaged(&'static str),
    /// The store is not there, and its log is.
    #[error("it is gone, and store.wal beside it has commits that go with it")]
    Away,
    /// This user may not read or write one of its files.
    #[error("this user may not read and write it ({0})")]
    Denied(String),
    /// The store is a link to a file that is not there.
    #[error("it is a link, and what it leads to is not there")]
    NoTarget,
    /// The store was made for another identity.
    #[error(
        "the store belongs to {}, the key is that of {}",
        crate::identity::did(store),
        crate::identity::did(key)
    )]
    OtherNode {
        /// The identity of the store.
        store: PeerId,
        /// The identity of the key.
        key: PeerId,
    },
    /// The disk refused before, and has not taken the file again yet.
    #[error("the disk has not taken the store's file again: free some space; it is tried every few seconds")]
    Closed,
    /// The disk is full, a limit of file sizes is reached, or the file system is read-only.
    #[error("the disk takes no writes: {0}")]
    NoRoom(String),
    /// The disk did not take it, or the file cannot be opened.
    #[error("the disk refused: {0}")]
    Disk(String),
}

impl StoreError {
    /// A stable label for programs: the `error.code` of `/v1` and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Damaged(_) => "store_damaged",
            StoreError::OtherNode { .. } => "other_node",
            StoreError::NoRoom(_) => "disk_full",
            StoreError::Away => "store_away",
            StoreError::InUse
            | StoreError::TooNew { .. }
            | StoreError::Denied(_)
            | StoreError::NoTarget
            | StoreError::Closed
            | StoreError::Disk(_) => "store",
        }
    }

    /// The log beside a store cannot be read.
    fn of_log(store: &Path, error: io::Error) -> Self {
        match StoreError::of_io(error) {
            StoreError::Denied(why) => {
                StoreError::Denied(format!("{}: {why}", wal::path_beside(store).display()))
            }
            StoreError::Disk(why) => StoreError::Disk(format!(
                "{} beside it cannot be read ({why}): put the real one back, or move it away without its commits",
                wal::path_beside(store).display()
            )),
            other => other,
        }
    }

    /// What the system refused: no room, a file that ends too early, or anything else.
    fn of_io(error: io::Error) -> Self {
        use io::ErrorKind::{
            FileTooLarge, InvalidData, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
            UnexpectedEof,
        };
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem => {
                StoreError::NoRoom(error.to_string())
            }
            PermissionDenied => StoreError::Denied(error.to_string()),
            UnexpectedEof => StoreError::Damaged("the file ends too early"),
            InvalidData => StoreError::Damaged("the file is no store"),
            _ => StoreError::Disk(error.to_string()),
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        use redb::Error;
        let error = error.into();
        match error {
            Error::DatabaseAlreadyOpen => StoreError::InUse,
            Error::Io(error) => StoreError::of_io(error),
            Error::Corrupted(_) | Error::RepairAborted => {
                StoreError::Damaged("a page does not have its checksum")
            }
            Error::UpgradeRequired(_)
            | Error::TableTypeMismatch { .. }
            | Error::TableIsMultimap(_)
            | Error::TableIsNotMultimap(_)
            | Error::TypeDefinitionChanged { .. }
            | Error::TableDoesNotExist(_)
            | Error::LockPoisoned(_) => StoreError::Damaged("its tables are not those of a store"),
            other => StoreError::Disk(other.to_string()),
        }
    }
}

impl Store {
    /// Makes the store of an identity; one that is there stays, and so does the log of one that is not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Away`] where a log with commits is there; an error where a file is there already, or the disk takes no new one.
    pub fn create(path: &Path, owner: PeerId, origin: StoreOrigin) -> Result<(), StoreError> {
        // A new store would write over the commits of one that is only away.
        if std::fs::symlink_metadata(path).is_err() && Store::log_is_alone(path)? {
            return Err(StoreError::Away);
        }
        file::create(path, &Founding { owner: Some(owner), origin })?;
        CommitWitness::beside(path).write(0);
        Ok(())
    }

    /// Opens the store of a node after every page of it was compared with its checksum. The file is locked while it is open. Where
    /// the disk takes no writes, the store can be read ([`read_only`](Self::read_only)).
    ///
    /// # Errors
    ///
    /// An error where the file is locked, damaged, of another version, or cannot be opened.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let path = path.to_owned();
        file::verify(&path)?;
        let witness = CommitWitness::beside(&path);
        let opened = path.clone();
        let mut store = Store::closed(Some(Arc::new(move || file::open(&opened))));
        (store.witness, store.path) = (Some(Arc::new(witness)), Some(path));
        store.heal()?;
        store.give_back_room()?;
        Ok(store)
    }

    /// Reads a store to its end, as a start of its node does, and closes it again.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(path: &Path) -> Result<Loaded, StoreError> {
        Store::open(path)?.load()
    }

    /// Whether a log with commits stands where there is no store: the store was moved away or deleted without it.
    ///
    /// # Errors
    ///
    /// An error where the log cannot be read.
    pub fn log_is_alone(path: &Path) -> Result<bool, StoreError> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let log = WriteAheadLog::read(path).map_err(|error| StoreError::of_log(path, error))?;
                Ok(wal::has_commits(&log))
            }
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// The files of a store, which are moved together.
    pub fn files(path: &Path) -> [PathBuf; 3] {
        [path.to_owned(), wal::path_beside(path), witness::path_beside(path)]
    }

    /// A store in memory, for simulations and tests.
    ///
    /// # Errors
    ///
    /// An error of the database.
    pub fn in_memory() -> Result<Store, StoreError> {
        let database = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new())?;
        migrate::create(&database, &Founding { owner: None, origin: StoreOrigin::Known })?;
        let mut store = Store::closed(None);
        store.database = Some(Arc::new(database));
        Ok(store)
    }

    fn closed(opener: Option<Opener>) -> Store {
        let (database, read_only, witness) = (None, None, None);
        Store { database, opener, read_only, witness, missing_commits: 0, path: None, log: None }
    }

    /// Another handle to the same bytes of a store in memory: what a restart after a crash would find.
    pub fn reopen(&self) -> Store {
        let mut store = Store::closed(self.opener.clone());
        store.database = self.database.clone();
        store.read_only = self.read_only.clone();
        store.witness = self.witness.clone();
        store
    }

    /// Opens the file again after a disk error: the database trusts nothing that it had in memory then.
    ///
    /// # Errors
    ///
    /// An error where the file cannot be opened again.
    pub fn heal(&mut self) -> Result<(), StoreError> {
        let Some(opener) = self.opener.clone() else { return Ok(()) };
        // The old handle goes first: it holds the lock.
        self.close();
        let opened = opener()?;
        let last = self.opened(opened).inspect_err(|_| self.close())?;
        let acknowledged = self.witness.as_ref().and_then(|witness| witness.read()).unwrap_or(last.number);
        self.missing_commits = self.missing_commits.max(acknowledged.saturating_sub(last.number));
        if self.missing_commits > 0 {
            tracing::error!(
                commits = self.missing_commits,
                "the store lost commits that the disk had confirmed"
            );
        }
        match (self.missing_commits, &self.read_only) {
            (0, _) | (_, Some(_)) => Ok(()),
            // The next commit writes the present number down, so what is missing is noted before.
            (missing, None) => {
                self.missing_commits = 0;
                let setback = missing.to_be_bytes().to_vec();
                self.commit(&[
                    StoreWrite::PutMeta(SETBACK_RECORD.into(), setback),
                    StoreWrite::PutMeta(RECALL_RECORD.into(), Recall::Lost.to_record()),
                ])
            }
        }
    }

    /// Takes a database that was opened, and gives it the commits that stand in the log. Returns the last commit.
    fn opened(&mut self, opened: Opened) -> Result<CommitMark, StoreError> {
        let begun = guarded(|| {
            migrate::check(&opened.database)?;
            tables::last_commit(&opened.database.begin_read()?)
        })?;
        self.database = Some(Arc::new(opened.database));
        self.read_only = opened.read_only;
        let Some(path) = self.path.clone() else { return Ok(begun) };
        let log = WriteAheadLog::read(&path).map_err(|error| StoreError::of_log(&path, error))?;
        let (mut writes, mut last) = (Vec::new(), begun);
        for commit in wal::commits_after(begun, &log) {
            writes.append(&mut changes::decode(commit)?);
            last = last.next(commit);
        }
        if last != begun {
            match self.write(&writes, last) {
                Err(why @ StoreError::NoRoom(_)) if self.read_only.is_none() => {
                    self.close();
                    let Opened { database, read_only } = file::open_for_reading(&path, why)?;
                    (self.database, self.read_only) = (Some(Arc::new(database)), read_only);
                    self.write(&writes, last)?;
                }
                written => written?,
            }
        }
        if self.read_only.is_none() {
            self.log = LoggedCommits::open(&path, begun, last).map(Mutex::new);
        }
        Ok(last)
    }

    /// Writes changes to the database, up to this commit.
    fn write<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a StoreWrite>,
        last: CommitMark,
    ) -> Result<(), StoreError> {
        logged::write(self.database()?, writes, last)
    }

    fn logged(&self) -> Option<MutexGuard<'_, LoggedCommits>> {
        self.log.as_ref().map(|log| log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a commit into the log. The database takes what is too large for the log at once.
    fn log_commit(&self, mut writes: Vec<StoreWrite>) -> Result<CommitMark, StoreError> {
        let entries = |write: &StoreWrite| {
            if let StoreWrite::PutLayer(layer) = write { layer.entries.len() } else { 0 }
        };
        let is_small = writes.iter().map(entries).sum::<usize>() <= ENTRIES_LOGGED_MAX;
        let logged = if is_small { self.logged() } else { None };
        let Some(mut logged) = logged else { return self.write_through(&writes) };
        let changes = changes::encode(&writes)?;
        let database = self.database.as_ref().ok_or(StoreError::Closed)?;
        match logged.append(database, &mut writes, &changes)? {
            Some(last) => Ok(last),
            None => logged.write_through(database, &writes),
        }
    }

    /// Hands the database what the log has, and then these changes, in one transaction. No changes are no commit.
    fn write_through(&self, writes: &[StoreWrite]) -> Result<CommitMark, StoreError> {
        let database = self.database()?;
        if let Some(mut logged) = self.logged() {
            return logged.write_through(database, writes);
        }
        debug_assert!(changes::read_back(writes), "each change is one that the log can keep");
        let last = guarded(|| tables::last_commit(&database.begin_read()?))?;
        let last = if writes.is_empty() { last } else { last.next(&[]) };
        self.write(writes, last).map(|()| last)
    }

    /// Hands the database what the log has.
    fn empty_log(&self) -> Result<(), StoreError> {
        let has_commits = self.logged().is_some_and(|logged| logged.has_commits());
        if has_commits { self.write_through(&[]).map(drop) } else { Ok(()) }
    }

    /// Lets go of the file. A database that met damage may fail once more.
    fn close(&mut self) {
        self.log = None;
        if let Some(database) = self.database.take() {
            let _ = guarded(|| {
                drop(database);
                Ok(())
            });
        }
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_deref().ok_or(StoreError::Closed)
    }

    /// Why nothing can be written now, while the store can be read.
    pub fn read_only(&self) -> Option<&StoreError> {
        self.read_only.as_ref()
    }

    /// Ties the store to the identity of its node, or checks that it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::OtherNode`] if it belongs to another.
    pub fn belongs_to(&mut self, key: PeerId) -> Result<(), StoreError> {
        let database = self.database()?;
        match guarded(|| migrate::owner(database))? {
            Some(store) if store == key => Ok(()),
            Some(store) => Err(StoreError::OtherNode { store, key }),
            // Of the time before; it is recorded as soon as the disk takes writes.
            None if self.read_only.is_some() => Ok(()),
            None => self.commit(&[migrate::owner_record(&key)]),
        }
    }

    /// Tries whether the disk takes writes, with a commit of nothing. Where it has no room, the store can be read, and the next
    /// commit tries again.
    ///
    /// # Errors
    ///
    /// Any other error of the disk.
    pub fn try_writing(&mut self) -> Result<(), StoreError> {
        match self.commit(Vec::new()) {
            Err(why @ StoreError::NoRoom(_)) => {
                self.heal()?;
                self.wait_for_room(why);
                Ok(())
            }
            tried => tried,
        }
    }

    /// The disk had no room for a commit: the store counts as open for reading only, until the next commit tries again.
    pub fn wait_for_room(&mut self, why: StoreError) {
        if self.opener.is_some() {
            self.read_only.get_or_insert(why);
        }
    }

    /// Makes all of these durable, or none.
    ///
    /// # Errors
    ///
    /// An error of the disk; nothing is stored then.
    pub fn commit(&mut self, writes: impl Into<Vec<StoreWrite>>) -> Result<(), StoreError> {
        let writes = writes.into();
        if self.read_only.is_some() {
            // There may be room by now. What is in memory is what is on disk, so only the handle changes.
            self.heal()?;
        }
        if let Some(why) = &self.read_only {
            return Err(why.clone());
        }
        self.database()?;
        // A commit of nothing is a question to the disk, which the log would answer from room that it has already.
        let last = match writes.is_empty() {
            true => self.write_through(&writes)?,
            false => self.log_commit(writes)?,
        };
        if let Some(witness) = &self.witness {
            witness.write(last.number);
        }
        Ok(())
    }

    /// Everything stored, read once at the start.
    ///
    /// # Errors
    ///
    /// An error of the disk, or a record that is damaged.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        self.empty_log()?;
        let database = self.database()?;
        let mut loaded = guarded(|| tables::load(&database.begin_read()?))?;
        if self.missing_commits > 0 {
            let missing = self.missing_commits.to_be_bytes().to_vec();
            loaded.meta.insert(SETBACK_RECORD.to_owned(), missing);
        }
        Ok(loaded)
    }

    /// The first 4 bytes of the root that a map of this node had at a sequence; none where that is not known (any
    /// more).
    ///
    /// # Errors
    ///
    /// An error of the disk.
    pub fn past_state(&self, layer: &LayerId, sequence: Sequence) -> Result<Option<[u8; 4]>, StoreError> {
        self.empty_log()?;
        let database = self.database()?;
        guarded(|| tables::past_state(&database.begin_read()?, layer, sequence))
    }

    /// Copies every record into another store: the copy of a disk, for simulations of restored backups.
    #[cfg(any(test, feature = "test-support"))]
    #[doc(hidden)]
    pub fn copy_into(&self, other: &Store) -> Result<(), StoreError> {
        let transaction = other.database()?.begin_write()?;
        tables::copy(&self.database()?.begin_read()?, &transaction)?;
        transaction.commit()?;
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.empty_log() {
            tracing::debug!(%error, "the log is kept for the next start");
        }
        self.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

#[cfg(test)]
pub(crate) mod tests;
