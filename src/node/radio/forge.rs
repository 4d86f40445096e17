//! For the simulator: what a hostile member can forge, and what it checks inside the radios.

use tombolo_mesh::frame::keys::{BootEpoch, Mode};
use tombolo_mesh::frame::{Counters, Header, Kind, seal};
use tombolo_transports::{LinkId, PeerId};

use super::Radios;
use crate::node::Node;

impl Radios {
    /// The boot epoch that a radio seals under.
    pub(in crate::node) fn boot_epoch(&self, link: LinkId) -> Option<BootEpoch> {
        self.by_link.get(&link).map(|radio| radio.station.epoch())
    }

    /// Bytes of the messages that are received in part.
    pub(in crate::node) fn bytes_held(&self) -> usize {
        self.by_link.values().map(|radio| radio.station.assembler().held_bytes()).sum()
    }
}

impl Node {
    /// A frame of this kind in another member's name, on that member's channel, with any counter: every holder of the audience
    /// key can seal it. `None` where this node cannot.
    #[doc(hidden)]
    pub fn forge(
        &self,
        link: LinkId,
        victim: &PeerId,
        kind: u8,
        counter: u32,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let epoch = self.radios.by_link.get(&link)?.station.epoch_of(victim)?;
        let key = self.audience_key(victim)?;
        let header = Header {
            kind: Kind::message(kind)?,
            epoch_low: epoch.low(),
            alias: key.alias(),
            hint: key.hint(victim),
            counter_low: 0,
        };
        let counter = Counters::starting_at(counter).take()?;
        Some(seal(&key.frame_key(Mode::Encrypted, victim, &epoch), header, counter, bytes))
    }
}
