//! What a member can make up: for simulations of a hostile one.

use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::frame::{Counters, Header, Kind, seal};
use tombolo_transports::{LinkId, PeerId};

use crate::node::Node;

impl Node {
    /// A frame of this kind in another member's name, on that one's own channel, with any counter: whoever has the audience key can
    /// seal it. `None` where this node cannot.
    pub(crate) fn forge(
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
