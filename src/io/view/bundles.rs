//! Bundles: files with what peers lack, carried by hand.

use serde::Serialize;

/// A bundle that was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BundleView {
    /// The file in base64.
    pub bundle: String,
    /// Its length in bytes.
    pub bytes: usize,
    /// What is in it for each peer.
    pub peers: Vec<BundlePeerView>,
}

/// The part of a bundle for one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BundlePeerView {
    /// The name of the peer.
    pub peer: String,
    /// The DID of the peer.
    pub did: String,
    /// Layers that it lacks, as far as is known what it holds.
    pub layers: usize,
    /// Layers that the file had no room for: the next bundle has them, once this one's receipt was read.
    pub left_out: usize,
    /// Bytes of the part.
    pub bytes: usize,
}

/// What a bundle brought.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BundleReadView {
    /// The name of the peer that wrote it.
    pub from: String,
    /// The DID of the peer.
    pub did: String,
    /// How many layers the bundle brought.
    pub brought: usize,
    /// Layers that read differently now.
    pub changed: Vec<BundleChangeView>,
    /// The file to carry back, in base64: what this node holds now, and what the sender lacks.
    pub answer: String,
    /// Layers in that file.
    pub answer_layers: usize,
}

/// A layer that a bundle brought in another state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BundleChangeView {
    /// The DID of the document's owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The DID of the author.
    pub author: String,
    /// The sequence of the author's layer.
    pub sequence: u64,
}
