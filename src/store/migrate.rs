//! Versions of the store's format. Each later version adds one step here, and a test that opens a store of
//! the version before.

use redb::{Database, ReadableTable};

use crate::store::{StoreError, tables};

/// The format that this program writes.
pub(super) const FORMAT: u64 = 1;

/// Makes the tables of a new store; refuses one that a later version wrote.
pub(super) fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(tables::META)?;
        let found = meta.get("format")?.map(|bytes| bytes.value().try_into().map(u64::from_be_bytes));
        match found {
            None => {
                meta.insert("format", &FORMAT.to_be_bytes()[..])?;
            }
            Some(Ok(FORMAT)) => return Ok(()),
            Some(Ok(found)) => return Err(StoreError::TooNew { found, known: FORMAT }),
            Some(Err(_)) => return Err(StoreError::Damaged("format")),
        }
    }
    tables::create_all(&transaction)?;
    transaction.commit()?;
    Ok(())
}
