//! One file on disk per node (redb): what must survive power loss. A commit is durable when `commit`
//! returns; nothing is acknowledged or sent before.
//!
//! `tables.rs` shows every table on one page; `migrate.rs` the versions of the format. The rest of the node
//! works on memory and hands its changes here as a list of `Write`s, one commit per drained batch of inputs.

mod migrate;
mod records;
mod tables;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase};
use tombolo_transports::PeerId;

pub use records::{CalledState, CallsRecord, KeptState, Loaded, MapBase, StoredLayer};

use crate::federation::Peer;
use crate::federation::invite::{IncomingInvite, OutgoingInvite, TokenHash};
use crate::layer::{Entry, ForkEvidence, KeyPath, LayerId, Sequence, SignedHead};

/// The node's database of peers, invites, layers and small records.
pub struct Store {
    /// None after the disk refused, until it takes the file again.
    database: Option<Arc<Database>>,
    /// Opens the file again; a store in memory has none.
    opener: Option<Opener>,
}

type Opener = Arc<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The file is damaged: a record does not read back.
    #[error("the store is damaged ({0})")]
    Damaged(&'static str),
    /// The disk refused before, and has not taken the file again yet.
    #[error("the disk has not taken the store's file again: free some space; it is tried every few seconds")]
    Closed,
    /// The disk did not take it, or the file cannot be opened.
    #[error("the disk refused: {0}")]
    Disk(String),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
            other => StoreError::Disk(other.to_string()),
        }
    }
}

/// Opens or makes the file, readable by its owner only: all documents are in it.
fn open_private(path: &Path) -> Result<File, StoreError> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| StoreError::Disk(error.to_string()))?;
    #[cfg(unix)]
    {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(private).map_err(|error| StoreError::Disk(error.to_string()))?;
    }
    Ok(file)
}

/// One change of what is stored.
#[derive(Clone, Debug)]
pub enum StoreWrite {
    /// Puts the record of a peer.
    PutPeer(Peer),
    /// No longer a peer.
    RemovePeer(PeerId),
    /// An invite that this node gave out.
    PutOutgoing(OutgoingInvite),
    /// An invite that is over.
    RemoveOutgoing(TokenHash),
    /// An invite that this node redeemed.
    PutIncoming(IncomingInvite),
    /// A redeemed invite that came to nothing.
    RemoveIncoming(PeerId),
    /// A small named record.
    PutMeta(std::borrow::Cow<'static, str>, Vec<u8>),
    /// A new state of a layer.
    PutLayer(Box<LayerWrite>),
    /// Two states with one sequence.
    PutFork(Box<ForkEvidence>),
    /// The JSON calls of a sender that were accepted.
    PutCalls(CallsRecord),
    /// A sender whose calls no longer need to be known.
    RemoveCalls(PeerId),
    /// A state that came by call.
    PutCalledState(CalledState),
    /// The state of a peer that was removed.
    RemoveCalledState(PeerId),
}

/// A new state of a layer, as what changes on disk.
#[derive(Clone, Debug)]
pub struct LayerWrite {
    /// The head of the new state.
    pub signed: SignedHead,
    /// Of a snapshot: its new content, canonical CBOR.
    pub snapshot: Option<Vec<u8>>,
    /// Of a map: entries put and dropped, with the sequence at which this node saw them change.
    pub entries: Vec<(KeyPath, Option<Entry>)>,
    /// Of a snapshot: older states now kept as bases; each is written once.
    pub kept: Option<KeptState>,
    /// Of a snapshot: sequences of older states no longer kept.
    pub forgotten: Vec<Sequence>,
    /// Of a map: keys dropped long ago of which nothing needs to be known any more.
    pub forgotten_keys: Vec<KeyPath>,
    /// Of a map: the bases that a peer may name, newest last.
    pub bases: Vec<MapBase>,
    /// Whether it is a map of this node: then its states are remembered, to distinguish them from those of a restored copy.
    pub is_own_map: bool,
}

impl LayerWrite {
    /// The layer that is written.
    pub fn layer(&self) -> &LayerId {
        &self.signed.head.layer
    }
}

impl Store {
    /// Opens the store of a node, or makes a new one. The file is locked while it is open.
    ///
    /// # Errors
    ///
    /// An error where the file is locked, damaged, of another version, or cannot be opened.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let path = path.to_owned();
        Store::with_opener(Arc::new(move || {
            let file = redb::backends::FileBackend::new(open_private(&path)?)?;
            Ok(Database::builder().create_with_backend(file)?)
        }))
    }

    /// A store in memory, for simulations and tests.
    ///
    /// # Errors
    ///
    /// An error of the database.
    pub fn in_memory() -> Result<Store, StoreError> {
        let database = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new())?;
        migrate::prepare(&database)?;
        Ok(Store { database: Some(Arc::new(database)), opener: None })
    }

    fn with_opener(opener: Opener) -> Result<Store, StoreError> {
        let mut store = Store { database: None, opener: Some(opener) };
        store.heal()?;
        Ok(store)
    }

    /// Another handle to the same bytes of a store in memory: what a restart after a crash would find.
    pub fn reopen(&self) -> Store {
        Store { database: self.database.clone(), opener: self.opener.clone() }
    }

    /// Opens the file again after a disk error: the database trusts nothing that it had in memory then.
    ///
    /// # Errors
    ///
    /// An error where the file cannot be opened again.
    pub fn heal(&mut self) -> Result<(), StoreError> {
        let Some(opener) = &self.opener else { return Ok(()) };
        // The old handle goes first: it holds the lock.
        self.database = None;
        let database = opener()?;
        migrate::prepare(&database)?;
        self.database = Some(Arc::new(database));
        Ok(())
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_deref().ok_or(StoreError::Closed)
    }

    /// Makes all of these durable, or none.
    ///
    /// # Errors
    ///
    /// An error of the disk; nothing is stored then.
    pub fn commit(&self, writes: &[StoreWrite]) -> Result<(), StoreError> {
        let transaction = self.database()?.begin_write()?;
        for write in writes {
            tables::apply(&transaction, write)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Everything stored, read once at the start.
    ///
    /// # Errors
    ///
    /// An error of the disk, or a record that is damaged.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        tables::load(&self.database()?.begin_read()?)
    }

    /// The first 4 bytes of the root that a map of this node had at a sequence; none where that is not known (any
    /// more).
    ///
    /// # Errors
    ///
    /// An error of the disk.
    pub fn past_state(&self, layer: &LayerId, sequence: Sequence) -> Result<Option<[u8; 4]>, StoreError> {
        tables::past_state(&self.database()?.begin_read()?, layer, sequence)
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

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

#[cfg(test)]
pub(crate) mod tests;
