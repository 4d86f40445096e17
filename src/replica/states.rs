//! What a new state of a layer takes, and what it replaces.

use crate::layer::{Content, Layer, MapContent, SignedHead};
use crate::limits::{LAYER_OVERHEAD_BYTES, OWNER_BYTES_MAX, OWNER_MEMORY_MAX};

/// What a layer takes, as quotas count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerSize {
    /// Bytes of its canonical CBOR: what the disk has of it.
    pub cbor: usize,
    /// Bytes in memory, about.
    pub memory: usize,
}

impl LayerSize {
    /// The size of a content, with what is kept beside each layer.
    pub fn of(content: &Content) -> Self {
        match content {
            Content::Snapshot(value) => Self::with_overhead(value.cbor_len(), value.memory_bytes()),
            Content::Map(map) => Self::of_map(map),
        }
    }

    /// The same of a map.
    pub fn of_map(map: &MapContent) -> Self {
        Self::with_overhead(map.size_bytes(), map.memory_bytes())
    }

    fn with_overhead(cbor: usize, memory: usize) -> Self {
        LayerSize { cbor: cbor + LAYER_OVERHEAD_BYTES, memory: memory + LAYER_OVERHEAD_BYTES }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        LayerSize { cbor: self.cbor + other.cbor, memory: self.memory + other.memory }
    }

    pub(super) fn less(self, other: Self) -> Self {
        let (cbor, memory) = (self.cbor.saturating_sub(other.cbor), self.memory.saturating_sub(other.memory));
        LayerSize { cbor, memory }
    }

    pub(super) fn fits(self) -> bool {
        self.cbor <= OWNER_BYTES_MAX && self.memory <= OWNER_MEMORY_MAX
    }
}

/// What a new state of a layer replaces.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The head of the state before.
    pub signed: SignedHead,
    /// Of a snapshot: its content before, canonical CBOR.
    pub content: Option<Vec<u8>>,
}

impl Replaced {
    /// The present state of a layer.
    pub fn of(layer: &Layer) -> Self {
        let content = match &layer.content {
            Content::Snapshot(value) => Some(value.to_cbor()),
            Content::Map(_) => None,
        };
        Replaced { signed: layer.signed.clone(), content }
    }

    /// The head of a map whose entries are changed in place.
    pub fn in_place(signed: SignedHead) -> Self {
        Replaced { signed, content: None }
    }
}
