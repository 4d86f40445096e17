//! Gives disk space back that the database no longer uses: its file never shrinks much by itself, so what was removed with a peer would
//! stand in free pages for ever.

use std::path::Path;
use std::sync::Arc;

use redb::Database;

use super::guard::guarded;
use super::{Store, StoreError};

/// A file of fewer bytes is left as it is.
const FILE_BYTES_MIN: u64 = 16 << 20;
/// Where at most one byte of so many is used, pages are moved.
const SPARSE: u64 = 2;

impl Store {
    /// Moves the pages of a large file that is mostly free to its front, and cuts it off behind them. Each step is a commit of the
    /// database, so an end in the middle loses nothing; where it fails, the file stays as large as it is.
    ///
    /// # Errors
    ///
    /// An error where the file cannot be opened again after it failed.
    pub(super) fn give_back_room(&mut self) -> Result<(), StoreError> {
        let (Some(path), None) = (self.path.clone(), &self.read_only) else { return Ok(()) };
        let Some(database) = self.database.as_mut().and_then(Arc::get_mut) else { return Ok(()) };
        match guarded(|| compact(database, &path)) {
            Ok(None) => Ok(()),
            Ok(Some((before, after))) => {
                tracing::info!(before, after, "the store gives back room on the disk");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the store cannot give back room on the disk");
                self.heal()
            }
        }
    }
}

/// Returns the length of the file before and after, where something was done.
fn compact(database: &mut Database, path: &Path) -> Result<Option<(u64, u64)>, StoreError> {
    let bytes = || std::fs::metadata(path).map(|file| file.len()).map_err(StoreError::of_io);
    let before = bytes()?;
    if before < FILE_BYTES_MIN {
        return Ok(None);
    }
    let asked = database.begin_write()?;
    let stats = asked.stats()?;
    asked.abort()?;
    if stats.allocated_pages() * stats.page_size() as u64 * SPARSE > before {
        return Ok(None);
    }
    database.compact()?;
    Ok(Some((before, bytes()?)))
}
