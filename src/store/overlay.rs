//! A store's file to which nothing is written: what the database writes stays in memory, above the file.
//!
//! Two uses: the pages of a file are checked without changing the evidence ([`super::file::verify`]), and a store is read where
//! the disk takes no writes ([`super::file::open`]). The node commits nothing to such a store, so the memory holds only what
//! the database itself writes when it opens a file: its header, and the pages of an allocator state that it rebuilds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

const PAGE_BYTES: usize = 4096;

/// The file below, and what was written above it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    locks: FileLocks,
    above: Mutex<Above>,
}

/// How the file is kept from other processes.
#[derive(Debug)]
enum FileLocks {
    /// As the database locks a file that it writes.
    Ranges(FileBackend),
    /// Not at all: the file is open for reading only, so that its file system takes no writes of another process either.
    NotNeeded,
}

#[derive(Debug)]
struct Above {
    length: u64,
    /// Below this the file shows through; after a cut, less than its length.
    file_length: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Overlay {
    /// Above a file that may be written by others unless it is locked.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let locks = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Self::with_locks(file, FileLocks::Ranges(locks))
    }

    /// Above a file that is open for reading only.
    pub(super) fn of_read_only(file: File) -> io::Result<Self> {
        Self::with_locks(file, FileLocks::NotNeeded)
    }

    fn with_locks(file: File, locks: FileLocks) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let above = Above { length, file_length: length, pages: BTreeMap::new() };
        Ok(Overlay { file, locks, above: Mutex::new(above) })
    }

    fn above(&self) -> MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` with what the file has from `offset`; zeros beyond its end.
    fn read_file(&self, above: &Above, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shown = above.file_length.saturating_sub(offset);
        let shown = usize::try_from(shown).unwrap_or(usize::MAX).min(out.len());
        let (head, tail) = out.split_at_mut(shown);
        self.file.read_exact_at(head, offset)?;
        tail.fill(0);
        Ok(())
    }

    /// The parts of a range, each within one page: its page, where in it, and how many bytes.
    fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
        let (mut at, mut left) = (offset, length);
        std::iter::from_fn(move || {
            let from = usize::try_from(at % PAGE_BYTES as u64).expect("a remainder of 4096 fits");
            let taken = left.min(PAGE_BYTES - from);
            let part = (at / PAGE_BYTES as u64, from, taken);
            at += taken as u64;
            left -= taken;
            (taken > 0).then_some(part)
        })
    }
}

fn past_the_end() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.above().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.above();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > above.length) {
            return Err(past_the_end());
        }
        let mut rest = out;
        for (page, from, taken) in Self::parts(offset, rest.len()) {
            let (part, after) = rest.split_at_mut(taken);
            match above.pages.get(&page).and_then(|bytes| bytes.get(from..from + taken)) {
                Some(bytes) => part.copy_from_slice(bytes),
                None => self.read_file(&above, page * PAGE_BYTES as u64 + from as u64, part)?,
            }
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut above = self.above();
        if length < above.length {
            // What lies beyond is gone, and reads as zeros where the length grows again.
            above.file_length = above.file_length.min(length);
            let last = length / PAGE_BYTES as u64;
            let cut = usize::try_from(length % PAGE_BYTES as u64).expect("a remainder of 4096 fits");
            above.pages.split_off(&(last + 1));
            if let Some(tail) = above.pages.get_mut(&last).and_then(|bytes| bytes.get_mut(cut..)) {
                tail.fill(0);
            }
        }
        above.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut above = self.above();
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > above.length) {
            return Err(past_the_end());
        }
        let mut rest = data;
        for (page, from, taken) in Self::parts(offset, data.len()) {
            if !above.pages.contains_key(&page) {
                let mut bytes = Box::new([0; PAGE_BYTES]);
                self.read_file(&above, page * PAGE_BYTES as u64, &mut bytes[..])?;
                above.pages.insert(page, bytes);
            }
            let (part, after) = rest.split_at(taken);
            let target = above.pages.get_mut(&page).and_then(|bytes| bytes.get_mut(from..from + taken));
            target.ok_or_else(past_the_end)?.copy_from_slice(part);
            rest = after;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.close(),
            FileLocks::NotNeeded => Ok(()),
        }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.try_lock_range(start, end),
            FileLocks::NotNeeded => Ok(true),
        }
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.try_lock_shared_range(start, end),
            FileLocks::NotNeeded => Ok(true),
        }
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.lock_range(start, end),
            FileLocks::NotNeeded => Ok(()),
        }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.lock_shared_range(start, end),
            FileLocks::NotNeeded => Ok(()),
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.unlock_range(start, end),
            FileLocks::NotNeeded => Ok(()),
        }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match &self.locks {
            FileLocks::Ranges(locks) => locks.query_lock_range(start, end),
            FileLocks::NotNeeded => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(bytes: &[u8]) -> (tempfile::NamedTempFile, Overlay) {
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(named.path(), bytes).unwrap();
        let overlay =
            Overlay::new(File::options().read(true).write(true).open(named.path()).unwrap()).unwrap();
        (named, overlay)
    }

    fn read(overlay: &Overlay, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![9; length];
        overlay.read(offset, &mut bytes).unwrap();
        bytes
    }

    /// Writes across page borders read back; the file below keeps its bytes.
    #[test]
    fn what_is_written_stays_above_the_file() {
        let below: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        let (named, overlay) = overlay(&below);
        let written: Vec<u8> = vec![255; 5_000];
        overlay.write(3_000, &written).unwrap();
        let mut expected = below.clone();
        expected[3_000..8_000].fill(255);
        assert_eq!(read(&overlay, 0, 10_000), expected);
        assert_eq!(read(&overlay, 7_990, 20), expected[7_990..8_010]);
        assert_eq!(std::fs::read(named.path()).unwrap(), below);
        assert!(overlay.read(9_999, &mut [0; 2]).is_err() && overlay.write(9_999, &[0; 2]).is_err());
    }

    /// A cut hides the file for good: grown again, the range reads as zeros, in and below the pages that were written.
    #[test]
    fn a_cut_range_is_zeros_when_it_grows_again() {
        let (_named, overlay) = overlay(&[7; 10_000]);
        overlay.write(0, &[8; 10]).unwrap();
        overlay.set_len(5).unwrap();
        overlay.set_len(12_000).unwrap();
        let mut expected = vec![0; 12_000];
        expected[..5].fill(8);
        assert_eq!(read(&overlay, 0, 12_000), expected);
    }
}
