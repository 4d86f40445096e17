//! `store.seq`: how many commits the store has had, in a file beside it.
//!
//! ```text
//! tombolo-commits-1 00000000000000000042 89abcdef01234567
//! ```
//!
//! The number of commits, 20 digits, and the first 8 bytes of the BLAKE3 hash of what stands before them. The store counts its
//! commits as well (table `commits`); after each, the number is written here. A store that shows fewer than this file has lost
//! commits that were acknowledged: the database goes back to the commit before if the last one does not read after a crash, and
//! the file alone does not show it.
//!
//! The line has one length and is written over in place, so it takes no new block, on a full disk too. It is not synced: a
//! process that is killed leaves it to the system all the same, and a power cut may leave an older number, which is no alarm.
//! So it costs no wait and, on flash, one page each time the system writes back what changed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FORMAT: &str = "tombolo-commits-1";
/// Bytes of the file: format, number, hash, two spaces, line break.
const LINE_BYTES: u64 = 17 + 1 + 20 + 1 + 16 + 1;

/// The file, opened when it is first written.
#[derive(Debug)]
pub(super) struct CommitWitness {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl CommitWitness {
    /// The witness of a store.
    pub(super) fn beside(store: &Path) -> Self {
        CommitWitness { path: path_beside(store), file: Mutex::new(None) }
    }

    /// The number of commits that were made; none where that is not known.
    pub(super) fn read(&self) -> Option<u64> {
        // One byte more shows a file that is too long.
        match crate::plain_file::read_text(&self.path, LINE_BYTES + 1) {
            Ok(text) => {
                let number = parse(&text);
                if number.is_none() {
                    tracing::warn!(path = %self.path.display(), "the count of commits does not read back");
                }
                number
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the count of commits is not read");
                None
            }
        }
    }

    /// Writes the number down. What fails leaves an older number, which is no alarm.
    pub(super) fn write(&self, commits: u64) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write_line(&mut file, &line(commits)) {
            tracing::debug!(path = %self.path.display(), %error, "the count of commits is not written");
            *file = None;
        }
    }

    fn write_line(&self, file: &mut Option<File>, line: &str) -> io::Result<()> {
        let file = match file {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false).mode(0o600);
                let opened = crate::plain_file::open(&self.path, &mut options)?;
                if opened.metadata()?.len() > LINE_BYTES {
                    opened.set_len(LINE_BYTES)?;
                }
                file.insert(opened)
            }
        };
        file.write_all_at(line.as_bytes(), 0)
    }
}

/// Where the witness of a store stands.
pub(super) fn path_beside(store: &Path) -> PathBuf {
    let name = store.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    store.with_file_name(format!("{}.seq", name.strip_suffix(".redb").unwrap_or(&name)))
}

fn line(commits: u64) -> String {
    let counted = format!("{FORMAT} {commits:020}");
    format!("{counted} {}\n", check(&counted))
}

fn check(counted: &str) -> String {
    let hash = blake3::hash(counted.as_bytes());
    let (first, _) = hash.as_bytes().split_at(8);
    data_encoding::HEXLOWER.encode(first)
}

fn parse(text: &str) -> Option<u64> {
    let (counted, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    let number = counted.strip_prefix(FORMAT)?.strip_prefix(' ')?;
    (sum == check(counted) && number.len() == 20).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reads_back_and_damage_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        let witness = CommitWitness::beside(&store);
        assert_eq!(witness.read(), None);
        for number in [0, 41, 42, u64::MAX] {
            witness.write(number);
            assert_eq!(CommitWitness::beside(&store).read(), Some(number));
        }
        let whole = std::fs::read(path_beside(&store)).unwrap();
        assert_eq!(whole.len() as u64, LINE_BYTES);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(path_beside(&store), &bytes).unwrap();
            assert_eq!(witness.read(), None, "byte {at}");
            std::fs::write(path_beside(&store), &whole[..at]).unwrap();
            assert_eq!(witness.read(), None, "cut at {at}");
        }
        // A damaged file is written over, not added to.
        std::fs::write(path_beside(&store), [&whole[..], b"more"].concat()).unwrap();
        let witness = CommitWitness::beside(&store);
        assert_eq!(witness.read(), None);
        witness.write(7);
        assert_eq!(witness.read(), Some(7));
    }
}
