//! Frames that a hostile member can make up: for simulations.

use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::frame::{Counters, Header, Kind, seal};
use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::Broadcast;
use crate::core::Core;
use crate::replica::Replica;

/// A frame that claims another member as its sender.
#[derive(Clone, Copy, Debug)]
pub struct Forged<'a> {
    /// The member whose name and channel it has.
    pub victim: PeerId,
    /// Kind of the frame.
    pub kind: u8,
    /// Counter of the frame.
    pub counter: u32,
    /// The payload to seal.
    pub bytes: &'a [u8],
}

impl Broadcast {
    /// A frame in another member's name, on its own channel, with any counter: a node that has the audience key can seal it.
    /// `None` where this node cannot.
    pub fn forge(
        &self,
        core: &Core,
        replica: &Replica,
        link: LinkId,
        forged: &Forged<'_>,
    ) -> Option<Vec<u8>> {
        let victim = &forged.victim;
        let epoch = self.radios.get(&link)?.station.epoch_of(victim)?;
        let key = self.shared.keys.key_of(core, replica, victim)?;
        let header = Header {
            kind: Kind::message(forged.kind)?,
            epoch_low: epoch.low(),
            alias: key.alias(),
            hint: key.hint(victim),
            counter_low: 0,
        };
        let counter = Counters::starting_at(forged.counter).take()?;
        Some(seal(&key.frame_key(Mode::Encrypted, victim, &epoch), header, counter, forged.bytes))
    }
}
