//! `store.wal`: the commits since the database was last written, one record after the other.
//!
//! ```text
//! record   length u32 ‖ number u64 ‖ before 8 bytes ‖ check 8 bytes ‖ changes, so many bytes        (integers big endian)
//! ```
//!
//! `number` counts commits as the table `commits` does. `before` is the check of the commit before; of the first a hash of the
//! store's owner. `check` is the first 8 bytes of
//! the BLAKE3 hash of number, before and changes. `changes` is a CBOR array ([`super::changes`]).
//!
//! A commit is one record and one sync of it, where the database writes some ten pages. The file has three parts of 1 MiB. When one is
//! full, when the store is closed and when it is opened, the database takes what is logged in one transaction, with the number and
//! the check of the last in the same transaction ([`super::logged`]). The next records go into another part meanwhile: never into one with
//! a commit that the database took in its last transaction, or has not taken. A database that goes back by one transaction, as it does
//! where the last one does not read after a crash, so finds what it lacks.
//!
//! What counts are the records that follow the database's own last commit without a gap, each with the check of the one before; in
//! whichever part they stand. A record that a crash cut short was not acknowledged. One that rots ends the log early: the
//! count in `store.seq` then shows that commits are missing.
//!
//! The file has its full length from the beginning, so that a record needs no new block: neither for its place on a full disk nor
//! for the size of the file in what a sync writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tombolo_transports::PeerId;

/// Bytes of one part of the file. What it holds is written to the database in about ten milliseconds.
const PART_BYTES: usize = 1 << 20;
/// Parts: one is written, the database takes one, and it took one before.
const PARTS: usize = 3;
const FILE_BYTES: u64 = (PARTS * PART_BYTES) as u64;
/// Bytes of a record without its changes.
const HEADER_BYTES: usize = 4 + 8 + 8 + 8;

/// The first 8 bytes of the hash of a commit, by which the next one names it.
pub(super) type CommitCheck = [u8; 8];

/// A commit by its number and its check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommitMark {
    pub(super) number: u64,
    pub(super) check: CommitCheck,
}

impl CommitMark {
    /// What the first commit of a node's store follows: no other node's first one does.
    pub(super) fn founding(owner: &PeerId) -> CommitMark {
        let mut check = CommitCheck::default();
        blake3::Hasher::new().update(b"tombolo store of ").update(&owner.0).finalize_xof().fill(&mut check);
        CommitMark { number: 0, check }
    }

    /// The commit of these changes after this one.
    pub(super) fn next(self, changes: &[u8]) -> CommitMark {
        let number = self.number.saturating_add(1);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&number.to_be_bytes()).update(&self.check).update(changes);
        let mut check = CommitCheck::default();
        hasher.finalize_xof().fill(&mut check);
        CommitMark { number, check }
    }
}

/// The file, open for its next record.
#[derive(Debug)]
pub(super) struct WriteAheadLog {
    file: File,
    /// The part into which the next record goes.
    part: LogPart,
    /// Bytes of that part that are taken.
    taken: usize,
    others: Vec<LogPart>,
}

/// A part of the file.
#[derive(Clone, Copy, Debug)]
struct LogPart {
    /// Where it begins.
    at: usize,
    /// The number of its newest commit; 0 where it has none.
    newest: u64,
}

impl WriteAheadLog {
    /// Opens the log beside a store, or makes it, with its full length. The database has taken what is in it, up to this commit.
    pub(super) fn open(store: &Path, last: CommitMark) -> io::Result<Self> {
        let path = path_beside(store);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = crate::plain_file::open(&path, &mut options)?;
        let length = file.metadata()?.len();
        if length < FILE_BYTES {
            let zeros = vec![0; usize::try_from(FILE_BYTES - length).unwrap_or_default()];
            // The last room of a disk is for the database.
            file.write_all_at(&zeros, length).inspect_err(|_| drop(file.set_len(length)))?;
            file.sync_all()?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
        }
        let bytes = Self::read(store)?;
        // Later ones than the database's last are of another past.
        let newest = |at: usize| {
            let part = bytes.get(at..at + PART_BYTES).unwrap_or_default();
            records(part).map(|record| record.number).filter(|number| *number <= last.number).max()
        };
        let part = |at: usize| LogPart { at, newest: newest(at).unwrap_or_default() };
        let mut others: Vec<LogPart> = (0..PARTS).map(|n| part(n * PART_BYTES)).collect();
        others.sort_by_key(|part| part.newest);
        let part = others.remove(0);
        Ok(WriteAheadLog { file, part, taken: 0, others })
    }

    /// The bytes of the log beside a store; none where there is no log.
    pub(super) fn read(store: &Path) -> io::Result<Vec<u8>> {
        use io::Read;
        let file = match crate::plain_file::open(&path_beside(store), OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes the record of a commit durable, after the one before it. Returns false where the rest of the part has no room for it.
    ///
    /// # Errors
    ///
    /// What the system refused; the record does not count then.
    pub(super) fn append(
        &mut self,
        before: CommitMark,
        this: CommitMark,
        changes: &[u8],
    ) -> io::Result<bool> {
        let record = record(before, this, changes);
        let taken = self.taken + record.len();
        if taken > PART_BYTES {
            return Ok(false);
        }
        let place = (self.part.at + self.taken) as u64;
        let written = self.file.write_all_at(&record, place).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // It was refused, so a later start must not find it.
            let _ = self.file.write_all_at(&[0; HEADER_BYTES], place);
        }
        written.map(|()| {
            self.taken = taken;
            self.part.newest = this.number;
            true
        })
    }

    /// Lets the next record begin the part with the oldest commits, if none of them is later than `not_needed`: the last commit that
    /// the database had before it took those that it took last. Returns whether it does.
    pub(super) fn begin_part(&mut self, not_needed: u64) -> bool {
        match self.others.iter_mut().min_by_key(|part| part.newest) {
            Some(oldest) if oldest.newest <= not_needed => {
                std::mem::swap(oldest, &mut self.part);
                self.taken = 0;
                true
            }
            Some(_) | None => false,
        }
    }
}

fn record(before: CommitMark, this: CommitMark, changes: &[u8]) -> Vec<u8> {
    // A record that would not fit a length does not fit the file either.
    let length = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &this.number.to_be_bytes(), &before.check, &this.check, changes].concat()
}

/// The changes of the commits that follow `last`, oldest first.
pub(super) fn commits_after(last: CommitMark, log: &[u8]) -> Vec<&[u8]> {
    let mut later: Vec<CommitRecord<'_>> = parts(log).flat_map(records).collect();
    later.sort_by_key(|record| record.number);
    let mut last = last;
    let mut commits = Vec::new();
    for record in later {
        // One that does not follow is of another past, which may have had the same numbers.
        let this = last.next(record.changes);
        if record.number == this.number && record.before == last.check {
            commits.push(record.changes);
            last = this;
        }
    }
    commits
}

/// Whether it has any commit.
pub(super) fn has_commits(log: &[u8]) -> bool {
    parts(log).any(|part| records(part).next().is_some())
}

fn parts(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.chunks(PART_BYTES)
}

/// A record whose check is right.
struct CommitRecord<'a> {
    number: u64,
    before: CommitCheck,
    changes: &'a [u8],
}

/// The records at the beginning of a part; what follows the first that is none is of the time before.
fn records(part: &[u8]) -> impl Iterator<Item = CommitRecord<'_>> {
    let mut rest = part;
    std::iter::from_fn(move || {
        let (record, after) = next_record(rest)?;
        rest = after;
        Some(record)
    })
}

fn next_record(bytes: &[u8]) -> Option<(CommitRecord<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (before, rest) = rest.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (changes, rest) = rest.split_at_checked(length)?;
    let (number, before) = (u64::from_be_bytes(*number), *before);
    let this = CommitMark { number: number.checked_sub(1)?, check: before }.next(changes);
    (this.check == *check).then_some((CommitRecord { number, before, changes }, rest))
}

/// Where the log of a store stands.
pub(super) fn path_beside(store: &Path) -> PathBuf {
    let name = store.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    store.with_file_name(format!("{}.wal", name.strip_suffix(".redb").unwrap_or(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(log: &mut WriteAheadLog, before: CommitMark, changes: &[u8]) -> bool {
        log.append(before, before.next(changes), changes).unwrap()
    }

    fn open(store: &Path) -> WriteAheadLog {
        WriteAheadLog::open(store, CommitMark { number: u64::MAX, ..CommitMark::default() }).unwrap()
    }

    /// A log with so many commits after `begun`, each of so many bytes.
    fn written(log: &mut WriteAheadLog, begun: CommitMark, commits: u8, bytes: usize) -> CommitMark {
        (0..commits).fold(begun, |last, n| {
            let changes = vec![n; bytes];
            assert!(append(log, last, &changes));
            last.next(&changes)
        })
    }

    #[test]
    fn commits_come_back_in_order_and_those_that_the_database_has_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let begun = CommitMark { number: 41, check: [7; 8] };
        let mut log = open(&store);
        let middle = written(&mut log, begun, 3, 100);
        let end = written(&mut log, middle, 2, 5);
        let bytes = WriteAheadLog::read(&store).unwrap();
        assert_eq!(bytes.len() as u64, FILE_BYTES);
        let of = |last| commits_after(last, &bytes).iter().map(|changes| changes.len()).collect::<Vec<_>>();
        assert_eq!(of(begun), [100, 100, 100, 5, 5]);
        assert_eq!(of(middle), [5, 5]);
        assert_eq!(of(end), [0; 0]);
        // Another past with the same number, and a gap.
        assert_eq!(of(CommitMark { check: [8; 8], ..begun }), [0; 0]);
        assert_eq!(of(CommitMark { number: 40, ..begun }), [0; 0]);
    }

    /// While the database takes one part, the next is written; and a database that goes back by one transaction finds what it lacks.
    #[test]
    fn the_part_that_was_taken_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let mut log = open(&store);
        // What the database had one transaction before its last, has, and takes now.
        let (mut before, mut taken, mut handed) = <(CommitMark, CommitMark, CommitMark)>::default();
        for round in 0..12u8 {
            let last = written(&mut log, handed, 3, 100 + usize::from(round));
            let lacking = commits_after(before, &WriteAheadLog::read(&store).unwrap()).len() as u64;
            assert_eq!(lacking, last.number - before.number, "round {round}");
            if round % 4 == 3 {
                // A start takes all that is there.
                (before, taken, handed) = (taken, last, last);
                log = WriteAheadLog::open(&store, last).unwrap();
                continue;
            }
            (before, taken, handed) = (taken, handed, last);
            let is_free = log.begin_part(before.number);
            // Right after a start two parts may have what came in its transaction: the database takes another before.
            assert!(is_free || (round > 3 && round % 4 == 0), "round {round}");
            if !is_free {
                (before, taken) = (taken, handed);
                assert!(log.begin_part(before.number), "round {round}");
            }
        }
    }

    /// The records of a past that the database has lost stand in one part, with the numbers that the present one uses again.
    #[test]
    fn another_past_does_not_hide_the_present_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let mut log = open(&store);
        written(&mut log, CommitMark { number: 44, check: [1; 8] }, 5, 30);
        let mut log = open(&store);
        let begun = CommitMark { number: 40, check: [2; 8] };
        written(&mut log, begun, 9, 20);
        let bytes = WriteAheadLog::read(&store).unwrap();
        assert_eq!(commits_after(begun, &bytes).len(), 9);
    }

    #[test]
    fn a_byte_that_rots_or_is_missing_ends_the_log_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let begun = CommitMark::default();
        let mut log = open(&store);
        written(&mut log, begun, 3, 20);
        let whole = WriteAheadLog::read(&store).unwrap();
        let record = HEADER_BYTES + 20;
        for at in 0..3 * record {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert_eq!(commits_after(begun, &bytes).len(), at / record, "byte {at}");
            assert_eq!(commits_after(begun, &whole[..at]).len(), at / record, "cut at {at}");
        }
        assert_eq!(commits_after(begun, &[0xff; 100]).len(), 0);
    }

    #[test]
    fn a_record_that_has_no_room_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let mut log = open(&store);
        let last = written(&mut log, CommitMark::default(), 1, 1000);
        let large = vec![1; PART_BYTES - 1_000];
        assert!(!append(&mut log, last, &large));
        assert!(append(&mut log, last, &[2]));
        assert!(log.begin_part(0));
        assert!(append(&mut log, last.next(&[2]), &large));
        assert_eq!(commits_after(last, &WriteAheadLog::read(&store).unwrap()), [&[2], &large[..]]);
    }

    /// The bytes of a record, as they stand on disk.
    #[test]
    fn a_record_has_these_bytes() {
        let begun = CommitMark { number: 1, check: [0xaa; 8] };
        let bytes = record(begun, begun.next(&[0x80]), &[0x80]);
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        let check = data_encoding::HEXLOWER.encode(&begun.next(&[0x80]).check);
        assert_eq!(hex, format!("000000010000000000000002aaaaaaaaaaaaaaaa{check}80"));
    }
}
