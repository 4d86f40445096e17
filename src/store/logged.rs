//! The commits that the log has and the database does not. The database takes those of a full part of the log in a thread of its own,
//! while the next ones go into another part: a commit waits for it only where two parts fill up meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::Database;

use crate::store::guard::guarded;
use crate::store::wal::{CommitMark, WriteAheadLog};
use crate::store::{StoreError, StoreWrite, tables};

/// Writes changes to the database, up to this commit.
pub(super) fn write<'a>(
    database: &Database,
    writes: impl IntoIterator<Item = &'a StoreWrite>,
    last: CommitMark,
) -> Result<(), StoreError> {
    guarded(|| {
        let transaction = database.begin_write()?;
        tables::apply(&transaction, writes.into_iter())?;
        tables::put_last_commit(&transaction, last)?;
        Ok(transaction.commit()?)
    })
}

/// The log, and what the database has not taken of it.
#[derive(Debug)]
pub(super) struct LoggedCommits {
    wal: WriteAheadLog,
    /// The changes of the commits that no one has handed to the database yet.
    writes: Vec<StoreWrite>,
    last: CommitMark,
    /// The last commit that the database has, and the last that it had one transaction before: its number.
    taken: u64,
    taken_before: u64,
    /// What the database takes now.
    handover: Option<Handover>,
    /// The database refused a handover. What comes after it can be handed over only once the log was read again.
    refused: Option<StoreError>,
}

/// Commits on their way to the database.
#[derive(Debug)]
struct Handover {
    last: CommitMark,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl LoggedCommits {
    /// Opens the log of a database that has taken all commits up to `last`, and had those up to `before` one transaction earlier. None
    /// where the disk has no room for it.
    pub(super) fn open(store: &Path, before: CommitMark, last: CommitMark) -> Option<Self> {
        let opened = WriteAheadLog::open(store, last).inspect_err(|error| {
            tracing::warn!(%error, "the store has no log: each commit takes longer");
        });
        opened.ok().map(|wal| LoggedCommits {
            wal,
            writes: Vec::new(),
            last,
            taken: last.number,
            taken_before: before.number,
            handover: None,
            refused: None,
        })
    }

    /// Puts a commit of these changes, so encoded, into the log, once the database was handed what fills a part of it. None where it
    /// is too large for the log.
    ///
    /// # Errors
    ///
    /// What the disk refused: this commit, or the last handover.
    pub(super) fn append(
        &mut self,
        database: &Arc<Database>,
        writes: &mut Vec<StoreWrite>,
        changes: &[u8],
    ) -> Result<Option<CommitMark>, StoreError> {
        self.end_handover(|thread| thread.is_finished())?;
        let (before, this) = (self.last, self.last.next(changes));
        let append = |log: &mut Self| log.wal.append(before, this, changes).map_err(StoreError::of_io);
        let mut fits = append(self)?;
        if !fits && !self.writes.is_empty() {
            self.hand_over(database)?;
            fits = append(self)?;
        }
        if !fits {
            return Ok(None);
        }
        self.last = this;
        self.writes.append(writes);
        Ok(Some(this))
    }

    /// Lets the database take what is logged, in a thread of its own.
    fn hand_over(&mut self, database: &Arc<Database>) -> Result<(), StoreError> {
        self.await_handover()?;
        let (writes, last) = (Arc::new(std::mem::take(&mut self.writes)), self.last);
        let (shared, moved) = (database.clone(), writes.clone());
        let builder = std::thread::Builder::new().name("store".to_owned());
        match builder.spawn(move || write(&shared, &*moved, last)) {
            Ok(thread) => self.handover = Some(Handover { last, thread }),
            // The system has no thread to spare.
            Err(_) => match write(database, &*writes, last) {
                Ok(()) => self.note_taken(last),
                Err(error) => return Err(self.refuse(error)),
            },
        }
        if !self.wal.begin_part(self.taken_before) {
            self.await_handover()?;
            let has_begun = self.wal.begin_part(self.taken_before);
            debug_assert!(has_begun, "the database has taken all other parts");
        }
        Ok(())
    }

    /// Waits until the database has taken what it was handed.
    ///
    /// # Errors
    ///
    /// Why it did not; the log has it.
    pub(super) fn await_handover(&mut self) -> Result<(), StoreError> {
        self.end_handover(|_| true)
    }

    fn end_handover(
        &mut self,
        is_to_end: impl FnOnce(&JoinHandle<Result<(), StoreError>>) -> bool,
    ) -> Result<(), StoreError> {
        if let Some(Handover { last, thread }) = self.handover.take_if(|handover| is_to_end(&handover.thread))
        {
            let taken = thread.join();
            match taken.unwrap_or(Err(StoreError::Damaged("its bytes make no sense to the database"))) {
                Ok(()) => self.note_taken(last),
                Err(error) => return Err(self.refuse(error)),
            }
        }
        self.refused.clone().map_or(Ok(()), Err)
    }

    fn refuse(&mut self, error: StoreError) -> StoreError {
        self.refused.insert(error).clone()
    }

    fn note_taken(&mut self, last: CommitMark) {
        (self.taken_before, self.taken) = (self.taken, last.number);
    }

    /// Whether the database has not taken all of it.
    pub(super) fn has_commits(&self) -> bool {
        !self.writes.is_empty() || self.handover.is_some()
    }

    /// Hands the database what is logged, and then these changes, in one transaction, and waits for it. No changes are no commit.
    ///
    /// # Errors
    ///
    /// What the disk refused.
    pub(super) fn write_through(
        &mut self,
        database: &Database,
        writes: &[StoreWrite],
    ) -> Result<CommitMark, StoreError> {
        self.await_handover()?;
        let last = if writes.is_empty() { self.last } else { self.last.next(&[]) };
        write(database, self.writes.iter().chain(writes), last)?;
        if !self.writes.is_empty() {
            self.writes.clear();
            let has_begun = self.wal.begin_part(self.taken);
            debug_assert!(has_begun, "the database has taken all other parts");
        }
        self.note_taken(last);
        self.last = last;
        Ok(last)
    }
}

impl Drop for LoggedCommits {
    fn drop(&mut self) {
        // The thread holds the database open.
        let _ = self.await_handover();
    }
}
