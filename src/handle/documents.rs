//! Handles to documents: [`MapHandle`], which many may write by key, and [`SnapshotHandle`], which its owner writes as a whole.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tombolo_delta::Value;

use super::{CallError, Changes, Tombolo};
use crate::layer::{KeyPath, Kind};
use crate::node::{Command, CommandError, Query, Reply, Write};
use crate::runtime::{AskError, NodeClient};

impl Tombolo {
    /// Makes a document whose keys many may write, or opens the own one of that name.
    ///
    /// # Errors
    ///
    /// [`CallError::OtherKind`] if a snapshot is called so; else why the node refuses, or that it has ended.
    pub async fn create_map(&self, name: &str) -> Result<MapHandle, CallError> {
        create(&self.client, name, Kind::Map).await?;
        Ok(self.map(name))
    }

    /// A map that is there, or that will come: `name`, or `peer/name` for a peer's.
    pub fn map(&self, name: &str) -> MapHandle {
        MapHandle { client: self.client.clone(), name: name.to_owned() }
    }

    /// A document of this node that is always one `T`, written as a whole; it is made where it is not there.
    ///
    /// # Errors
    ///
    /// [`CallError::OtherKind`] if a map is called so; else why the node refuses, or that it has ended.
    pub async fn create_snapshot<T>(&self, name: &str) -> Result<SnapshotHandle<T>, CallError> {
        create(&self.client, name, Kind::Snapshot).await?;
        Ok(self.snapshot(name))
    }

    /// A snapshot that is there, or that will come: `name`, or `peer/name` for a peer's.
    pub fn snapshot<T>(&self, name: &str) -> SnapshotHandle<T> {
        SnapshotHandle { document: self.map(name), content: PhantomData }
    }

    /// Sets one key, written `a/b/c`, to anything that serialises; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key or the value is not valid, or the node refuses or has ended.
    pub async fn set(
        &self,
        doc: &str,
        key: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        self.map(doc).set(key, value).await
    }

    /// Reads a document, or the value at a key.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key is not valid, or the node refuses or has ended.
    pub async fn get(&self, doc: &str, key: Option<&str>) -> Result<Value, CallError> {
        let key = key.map(KeyPath::parse).transpose()?;
        read(&self.client, doc, key).await
    }

    /// Deletes a key and all below it.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key is not valid, or the node refuses or has ended.
    pub async fn del(&self, doc: &str, key: &str) -> Result<(), CallError> {
        self.map(doc).del(key).await
    }
}

/// A document whose keys many may write; per key the last writer wins. A handle: cheap to clone, and usable from any task.
///
/// Keys are written `a/b/c`; a value that is an object is spread over keys.
#[derive(Clone)]
pub struct MapHandle {
    client: NodeClient,
    name: String,
}

impl MapHandle {
    /// The name, as it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value at a key; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`CallError::Type`] if it is no `T`; else that the key is not valid, or why the node refuses.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CallError> {
        match read(&self.client, &self.name, Some(KeyPath::parse(key)?)).await {
            Ok(value) => tombolo_delta::from_value(&value).map(Some).map_err(CallError::Type),
            Err(error) => match error.refusal() {
                Some(CommandError::UnknownKey { .. } | CommandError::UnknownDocument(_)) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the document is not there, or the node refuses or has ended.
    pub async fn value(&self) -> Result<Value, CallError> {
        read(&self.client, &self.name, None).await
    }

    /// Sets one key; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key or the value is not valid, or the node refuses or has ended.
    pub async fn set(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), CallError> {
        let value = tombolo_delta::to_value(value)?;
        self.write(Write::Set { doc: self.name.clone(), key: KeyPath::parse(key)?, value }).await
    }

    /// Makes the whole document equal to a value: keys that are not in it are deleted. Where others write all
    /// the time, more than 5,000 keys are written in several commits: if this future is dropped before it is done, or the node ends, a
    /// part of them is.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the value is not valid, or the node refuses or has ended.
    pub async fn put(&self, value: &(impl Serialize + ?Sized)) -> Result<(), CallError> {
        let value = tombolo_delta::to_value(value)?;
        self.write(Write::Put { doc: self.name.clone(), value, whole: false }).await
    }

    /// Deletes a key and all below it.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key is not valid, or the node refuses or has ended.
    pub async fn del(&self, key: &str) -> Result<(), CallError> {
        self.write(Write::Del { doc: self.name.clone(), key: KeyPath::parse(key)? }).await
    }

    /// What changes from now on, by whichever author: each key with its old and its new value. What is there already counts as
    /// known; a document that comes later begins empty.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the node has ended.
    pub async fn watch(&self) -> Result<Changes, CallError> {
        Changes::of(self.client.clone(), self.name.clone()).await
    }

    async fn write(&self, write: Write) -> Result<(), CallError> {
        self.client.command(write).await?;
        Ok(())
    }
}

/// A document that its owner writes as a whole, read as one `T`. A handle: cheap to clone, and usable from any task.
pub struct SnapshotHandle<T> {
    document: MapHandle,
    content: PhantomData<fn() -> T>,
}

impl<T> Clone for SnapshotHandle<T> {
    fn clone(&self) -> Self {
        SnapshotHandle { document: self.document.clone(), content: PhantomData }
    }
}

impl<T> SnapshotHandle<T> {
    /// The name, as it was opened.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// What changes from now on, field by field.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the node has ended.
    pub async fn watch(&self) -> Result<Changes, CallError> {
        self.document.watch().await
    }
}

impl<T: DeserializeOwned> SnapshotHandle<T> {
    /// The newest state; `None` before there is one.
    ///
    /// # Errors
    ///
    /// [`CallError::Type`] if it is no `T`; else why the node refuses, or that it has ended.
    pub async fn get(&self) -> Result<Option<T>, CallError> {
        match self.document.value().await {
            Ok(Value::Null) => Ok(None),
            Ok(value) => match tombolo_delta::from_value(&value) {
                Ok(state) => Ok(Some(state)),
                // A new snapshot is an object without members.
                Err(_) if value == Value::Map(tombolo_delta::Map::new()) => Ok(None),
                Err(error) => Err(CallError::Type(error)),
            },
            Err(error) => match error.refusal() {
                Some(CommandError::UnknownDocument(_)) => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl<T: Serialize> SnapshotHandle<T> {
    /// Replaces the state; durable when it returns. Only what differs is sent.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the value is not valid, the document is a peer's, or the node has ended.
    pub async fn put(&self, state: &T) -> Result<(), CallError> {
        self.document.put(state).await
    }
}

async fn create(client: &NodeClient, name: &str, kind: Kind) -> Result<(), CallError> {
    let made = client.command(Write::Create { name: name.to_owned(), kind }).await;
    match made {
        Ok(_) => Ok(()),
        Err(AskError::Refused(CommandError::DocumentExists(_))) => check_kind(client, name, kind).await,
        Err(error) => Err(error.into()),
    }
}

/// An own document of that name is there: it has to be of that kind.
async fn check_kind(client: &NodeClient, name: &str, kind: Kind) -> Result<(), CallError> {
    let (Reply::Id(me), Reply::Documents(rows)) =
        (client.command(Query::Id).await?, client.command(Query::List).await?)
    else {
        return Err(CallError::Unexpected);
    };
    match rows.iter().find(|row| row.owner == me.did && row.name == name) {
        Some(row) if row.kind != kind => {
            let found = match row.kind {
                Kind::Map => "map",
                Kind::Snapshot => "snapshot",
            };
            Err(CallError::OtherKind { name: name.to_owned(), found })
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) async fn read(client: &NodeClient, doc: &str, key: Option<KeyPath>) -> Result<Value, CallError> {
    match client.command(Command::from(Query::Get { doc: doc.to_owned(), key })).await? {
        Reply::Value(value) => Ok(value),
        _ => Err(CallError::Unexpected),
    }
}
