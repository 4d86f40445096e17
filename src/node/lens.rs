//! What the simulator checks inside a node.

use tombolo_mesh::frame::keys::BootEpoch;
use tombolo_transports::LinkId;

use crate::layer::SignedHead;
use crate::node::Node;

impl Node {
    /// The boot epoch that a radio seals under.
    #[doc(hidden)]
    pub fn boot_epoch(&self, link: LinkId) -> Option<BootEpoch> {
        self.radios.boot_epoch(link)
    }

    /// Bytes of messages that radios have heard the beginning of.
    #[doc(hidden)]
    pub fn radio_bytes_held(&self) -> usize {
        self.radios.bytes_held()
    }

    /// Every layer as it is held.
    #[doc(hidden)]
    pub fn layers_held(&self) -> impl Iterator<Item = &SignedHead> {
        self.holdings.layers().map(|layer| &layer.signed)
    }
}
