//! Which listeners of a radio get what they lack over another link. What such a listener and this node differ in is for that link to
//! find out and to mend: on air it costs a heartbeat, a frontier, and an answer without a use.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::time::{Millis, Mono};

/// How a listener gets what it lacks, where it is not by this radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherLink {
    /// Over a link that is there.
    Up,
    /// Over one that is lost, and waited for until then.
    Awaited(Mono),
}

/// The listeners that another link serves.
#[derive(Debug, Default)]
pub(super) struct ServedElsewhere(BTreeMap<PeerId, OtherLink>);

impl ServedElsewhere {
    /// Another link has delivered something to a listener that this radio would have sent.
    pub(super) fn delivered(&mut self, peer: PeerId) {
        self.0.insert(peer, OtherLink::Up);
    }

    /// This radio has sent something to a listener.
    pub(super) fn sent_here(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// No link leads to a peer any more; it is waited for until then.
    pub(super) fn link_gone(&mut self, peer: &PeerId, until: Mono) {
        if let Some(link) = self.0.get_mut(peer) {
            *link = OtherLink::Awaited(until);
        }
    }

    /// A link leads to a peer again. Returns whether it serves the peer.
    pub(super) fn link_back(&mut self, peer: &PeerId) -> bool {
        let link = self.0.get_mut(peer);
        link.map(|link| *link = OtherLink::Up).is_some()
    }

    /// Drops the peers that are listeners no more.
    pub(super) fn retain(&mut self, is_listener: impl Fn(&PeerId) -> bool) {
        self.0.retain(|peer, _| is_listener(peer));
    }

    /// Whether another link serves a peer, or is waited for.
    pub(super) fn contains(&self, now: Mono, peer: &PeerId) -> bool {
        match self.0.get(peer) {
            None => false,
            Some(OtherLink::Up) => true,
            Some(OtherLink::Awaited(until)) => now < *until,
        }
    }

    /// How long a question about what a peer holds is held back: until its link was waited for in vain, or for a heartbeat's interval
    /// while that link has the time to answer it.
    pub(super) fn holds_back(&self, now: Mono, peer: &PeerId, heartbeat: Millis) -> Millis {
        match self.0.get(peer) {
            None => Millis::ZERO,
            Some(OtherLink::Up) => heartbeat,
            Some(OtherLink::Awaited(until)) => until.since(now),
        }
    }
}
