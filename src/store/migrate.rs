//! Versions of the store's format. Each later version adds one step here, and a test that opens a store of
//! the version before.

use redb::{Database, ReadableDatabase};
use tombolo_transports::PeerId;

use crate::commands::Recall;
use crate::store::wal::CommitMark;
use crate::store::{StoreError, StoreWrite, tables};

/// The format that this program writes.
pub const FORMAT: u64 = 1;
/// The record of the format, in the table `meta`: u64, big endian.
const FORMAT_RECORD: &str = "format";
/// The record of the identity that the store belongs to, in the table `meta`: 32 bytes.
const IDENTITY_RECORD: &str = "identity";
/// The record of a store's origin, in the table `meta`: one byte.
pub const ORIGIN_RECORD: &str = "origin";

/// The record of a step back, in the table `meta`: how many acknowledged commits the file lost, u64, big endian; 0 once that
/// is over.
pub const SETBACK_RECORD: &str = "setback";

/// The record of since when received commands are remembered, in the table `meta`: see [`Recall::to_record`].
pub const RECALL_RECORD: &str = "recall";

/// Where a new store comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOrigin {
    /// It was made with its identity, or a peer has answered since, or the operator states that the node is new: what the identity
    /// has signed is here, or is known to be gone.
    Known,
    /// It was made for an identity that existed before: the identity may have signed what is not here.
    Unconfirmed,
}

impl StoreOrigin {
    /// The record of the origin.
    pub fn to_record(self) -> Vec<u8> {
        vec![match self {
            StoreOrigin::Known => 0,
            StoreOrigin::Unconfirmed => 1,
        }]
    }

    /// What a store of this origin is marked with. One that may lack what the identity has signed may lack what it has taken.
    pub fn marks(self) -> Vec<StoreWrite> {
        let origin = StoreWrite::PutMeta(ORIGIN_RECORD.into(), self.to_record());
        let recall = StoreWrite::PutMeta(RECALL_RECORD.into(), Recall::Lost.to_record());
        match self {
            StoreOrigin::Known => vec![origin],
            StoreOrigin::Unconfirmed => vec![origin, recall],
        }
    }

    /// The origin that a record names. A store without one was made with its identity.
    pub fn of_record(record: Option<&Vec<u8>>) -> Self {
        match record.map(Vec::as_slice) {
            Some([1]) => StoreOrigin::Unconfirmed,
            Some(_) | None => StoreOrigin::Known,
        }
    }
}

/// What a new store begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Founding {
    /// The identity that it belongs to; none in memory.
    pub(super) owner: Option<PeerId>,
    pub(super) origin: StoreOrigin,
}

/// Makes the tables and first records of a new store.
pub(super) fn create(database: &Database, founding: &Founding) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    tables::create_all(&transaction)?;
    {
        let mut meta = transaction.open_table(tables::META)?;
        meta.insert(FORMAT_RECORD, &FORMAT.to_be_bytes()[..])?;
        meta.insert(ORIGIN_RECORD, founding.origin.to_record().as_slice())?;
        if founding.origin == StoreOrigin::Unconfirmed {
            meta.insert(RECALL_RECORD, Recall::Lost.to_record().as_slice())?;
        }
        if let Some(owner) = founding.owner {
            meta.insert(IDENTITY_RECORD, &owner.0[..])?;
        }
    }
    if let Some(owner) = founding.owner {
        // The log of another node, put beside a store that has no commit yet, does not follow.
        tables::put_last_commit(&transaction, CommitMark::founding(&owner))?;
    }
    transaction.commit()?;
    Ok(())
}

/// Checks that this program reads the store; refuses one that a later version wrote.
pub(super) fn check(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_read()?;
    match tables::meta(&transaction, FORMAT_RECORD)?.map(|bytes| bytes.try_into().map(u64::from_be_bytes)) {
        Some(Ok(FORMAT)) => Ok(()),
        Some(Ok(found)) => Err(StoreError::TooNew { found, known: FORMAT }),
        Some(Err(_)) | None => Err(StoreError::Damaged("it has no format")),
    }
}

/// The identity that a store belongs to; none in one of the time before that was recorded.
pub(super) fn owner(database: &Database) -> Result<Option<PeerId>, StoreError> {
    let record = tables::meta(&database.begin_read()?, IDENTITY_RECORD)?;
    let id = record.map(|bytes| bytes.try_into().map(PeerId)).transpose();
    id.map_err(|_| StoreError::Damaged("identity"))
}

/// The record of the identity.
pub(super) fn owner_record(owner: &PeerId) -> crate::store::StoreWrite {
    crate::store::StoreWrite::PutMeta(IDENTITY_RECORD.into(), owner.0.to_vec())
}
