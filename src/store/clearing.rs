//! What can be cleared without reading it: a store that is too large for the memory of its machine cannot be loaded.

use redb::{ReadTransaction, ReadableDatabase};
use tombolo_transports::PeerId;

use super::guard::guarded;
use super::{Store, StoreError, StoreWrite, records, tables};
use crate::federation::Peer;
use crate::layer::LayerId;

impl Store {
    /// The peers that stand in it.
    ///
    /// # Errors
    ///
    /// An error of the disk, or a record that is damaged.
    pub fn peers(&self) -> Result<Vec<Peer>, StoreError> {
        self.empty_log()?;
        let database = self.database()?;
        guarded(|| tables::peers(&database.begin_read()?))
    }

    /// Drops an owner's documents, but for what `me` has signed in them. Returns how many layers there were.
    ///
    /// # Errors
    ///
    /// An error of the disk; nothing is dropped then.
    pub fn clear_documents_of(&mut self, owner: &PeerId, me: &PeerId) -> Result<usize, StoreError> {
        self.empty_log()?;
        let layers = {
            let database = self.database()?;
            guarded(|| layers_of(&database.begin_read()?, owner))?
        };
        let gone = layers.into_iter().filter(|layer| layer.author != *me);
        let writes: Vec<StoreWrite> = gone.map(StoreWrite::RemoveLayer).collect();
        let count = writes.len();
        if count > 0 {
            self.commit(writes)?;
        }
        Ok(count)
    }
}

/// The names of the layers in an owner's documents: they begin with the owner.
fn layers_of(transaction: &ReadTransaction, owner: &PeerId) -> Result<Vec<LayerId>, StoreError> {
    let table = transaction.open_table(tables::LAYERS)?;
    let mut found = Vec::new();
    for item in table.range(&owner.0[..]..)? {
        let layer = records::read_name(item?.0.value())?;
        if layer.document.owner != *owner {
            break;
        }
        found.push(layer);
    }
    Ok(found)
}
