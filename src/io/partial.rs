//! Answers about many keys: the node gathers what is shown, and who asked puts it together, so that nothing else waits for that.

use crate::io::{Reply, view};
use crate::merge::{ShownLeaves, version_of};

/// An answer that is not put together yet.
#[derive(Clone, Debug, PartialEq)]
pub enum PartialReply {
    /// The value of a document or below a key.
    Value(ShownLeaves),
    /// A document, to be shown with its version.
    Document(ShownLeaves),
    /// The list of documents; size and hash of those with leaves are not known yet.
    Documents(Vec<(view::DocumentView, Option<ShownLeaves>)>),
}

impl Reply {
    /// Puts an answer together that the node left in parts; another one is as it was.
    #[must_use]
    pub fn complete(self) -> Reply {
        match self {
            Reply::Partial(partial) => partial.complete(),
            reply => reply,
        }
    }
}

impl PartialReply {
    fn complete(self) -> Reply {
        match self {
            PartialReply::Value(leaves) => Reply::Value(leaves.value()),
            PartialReply::Document(leaves) => {
                let value = leaves.value();
                Reply::Document(view::VersionedView { version: version_of(&value), value })
            }
            PartialReply::Documents(rows) => {
                let complete = |(mut row, leaves): (view::DocumentView, Option<ShownLeaves>)| {
                    if let Some(leaves) = leaves {
                        row.measure(&leaves.value());
                    }
                    row
                };
                Reply::Documents(rows.into_iter().map(complete).collect())
            }
        }
    }
}

impl view::DocumentView {
    /// Takes size and hash of what the document reads.
    pub(crate) fn measure(&mut self, value: &tombolo_delta::Value) {
        let cbor = tombolo_delta::to_cbor(value);
        self.bytes = cbor.len();
        self.hash = blake3::hash(&cbor).to_hex().to_string();
    }
}
