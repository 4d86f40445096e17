//! What the carriers of links go by: the peers to dial, and the invites that strangers may redeem.

use tombolo_transports::{Address, JoinSecret, PeerId};

use crate::federation::Peer;
use crate::federation::invite::join_secret;
use crate::federation::peer::Joined;
use crate::report::NodeReport;

impl NodeReport<'_> {
    /// The peers to accept and to dial, and their addresses: all but the untrusted.
    pub fn dialable_peers(&self) -> Vec<(PeerId, Vec<Address>)> {
        let peers = self.replica.federation().members();
        // An inviter that has not agreed yet would refuse a call as its peer.
        let addresses = |peer: &Peer| match peer.joined {
            Joined::Agreed => {
                let onion = peer.onion_address().filter(|onion| !peer.addresses.contains(onion));
                peer.addresses.iter().copied().chain(onion).collect()
            }
            Joined::Waiting { .. } => Vec::new(),
        };
        peers.map(|peer| (peer.id, addresses(peer))).collect()
    }

    /// Whether an invite is open: `tombolo-join/1` is answered only then.
    pub fn joining_open(&self) -> bool {
        self.membership.is_open(self.core.reference())
    }

    /// What this node shares with the holders of its open invites, one secret each.
    pub fn join_secrets(&self) -> Vec<JoinSecret> {
        self.membership.open_hashes(self.core.reference()).iter().map(join_secret).collect()
    }
}
