//! What the simulator looks at inside a node: nobody else has a use for it.

use tombolo_mesh::frame::keys::BootEpoch;
use tombolo_transports::LinkId;

use crate::layer::SignedHead;
use crate::node::Node;

impl Node {
    /// The boot epoch that a radio seals under.
    pub(crate) fn boot_epoch(&self, link: LinkId) -> Option<BootEpoch> {
        self.radios.boot_epoch(link)
    }

    /// Bytes of messages that radios have heard the beginning of.
    pub(crate) fn radio_bytes_held(&self) -> usize {
        self.radios.bytes_held()
    }

    /// Every layer as it is held.
    pub(crate) fn layers_held(&self) -> impl Iterator<Item = &SignedHead> {
        self.holdings.layers().map(|layer| &layer.signed)
    }
}
