//! Writes that wait for a newer state of this node's own layer, which a peer shows and this disk does not have.

use crate::layer::DocumentId;
use crate::limits::OWN_STATE_WAIT;
use crate::node::Node;

impl Node {
    /// Whether writes to an own layer wait: a peer or a listener shows a newer state of it than is held.
    pub(super) fn awaits_own(&mut self, document: &DocumentId) -> bool {
        if self.replica.recovery().stopped().is_some() {
            return false;
        }
        if self.replica.recovery().is_unconfirmed() {
            return true;
        }
        let id = self.core.own_layer(document);
        let (layer, held) = (id.hash(), self.replica.state(&id));
        let by_link = self.unicast.newest_known(&layer) > held;
        let by_radio = self.broadcast.newer_own_wait(&document.owner, &layer, held);
        let wait = by_radio.into_iter().chain(by_link.then_some(OWN_STATE_WAIT)).max();
        wait.is_some_and(|wait| self.replica.recovery_mut().awaits(self.core.now(), layer, wait))
    }
}
