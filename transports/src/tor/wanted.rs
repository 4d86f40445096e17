//! Who may reach this node's onion service, and which services this node reaches with a key.

use super::client_auth::ClientKey;
use crate::address::{Address, OnionHost, PeerId};
use crate::session::JoinSecret;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_mesh::frame::keys::Identity;

/// Clients on the list of a service; tor takes no more (its descriptor has a limit).
pub(super) const CLIENTS_MAX: usize = 330;

/// The keys that tor is to have; compared with what it has when something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TorKeys {
    /// The public keys of the clients of this node's service, in order.
    pub(super) clients: Vec<[u8; 32]>,
    /// The keys by which this node reaches others' services.
    pub(super) keys: BTreeMap<OnionHost, ClientKey>,
}

/// The keys between this node and one peer.
#[derive(Clone, Debug)]
struct PeerKeys {
    /// By which the peer reaches this node; the public half.
    reaches_us: [u8; 32],
    /// By which this node reaches the peer.
    reaches_it: ClientKey,
}

/// From peers, invites and their addresses to the keys that tor is to have.
#[derive(Debug)]
pub(super) struct Clients {
    identity: Identity,
    /// Derived once for each peer.
    peers: BTreeMap<PeerId, PeerKeys>,
    invites: Vec<JoinSecret>,
    onions: BTreeMap<PeerId, BTreeSet<OnionHost>>,
    /// Inviters that this node asks to join.
    joining: BTreeMap<OnionHost, ClientKey>,
}

impl Clients {
    /// No peers and no invites.
    pub(super) fn new(identity: Identity) -> Self {
        let (peers, invites) = (BTreeMap::new(), Vec::new());
        Self { identity, peers, invites, onions: BTreeMap::new(), joining: BTreeMap::new() }
    }

    /// Replaces the list of peers.
    pub(super) fn set_peers(&mut self, peers: &BTreeSet<PeerId>) {
        self.peers.retain(|peer, _| peers.contains(peer));
        self.onions.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            // A key that is no point of the curve belongs to no peer; nothing is derived from it.
            if !self.peers.contains_key(peer)
                && let Some(keys) = self.keys_with(peer)
            {
                self.peers.insert(*peer, keys);
            }
        }
    }

    fn keys_with(&self, peer: &PeerId) -> Option<PeerKeys> {
        let me = self.identity.peer_id();
        Some(PeerKeys {
            reaches_us: ClientKey::of_peer(&self.identity, &me, peer)?.public(),
            reaches_it: ClientKey::of_peer(&self.identity, peer, &me)?,
        })
    }

    /// Replaces the list of open invites.
    pub(super) fn set_invites(&mut self, invites: &[JoinSecret]) {
        self.invites = invites.to_vec();
    }

    /// Adds the onion services among the addresses of a peer.
    pub(super) fn know(&mut self, peer: PeerId, addresses: &[Address]) {
        let hosts = addresses.iter().filter_map(onion_host);
        let known = self.onions.entry(peer).or_default();
        known.extend(hosts.take(crate::session::book::ADDRESSES_MAX));
    }

    /// A request to join is on its way to these addresses.
    pub(super) fn join(&mut self, addresses: &[Address], secret: &JoinSecret) {
        for host in addresses.iter().filter_map(onion_host) {
            self.joining.insert(host, ClientKey::of_invite(secret));
        }
    }

    /// The request has its answer, or failed.
    pub(super) fn joined(&mut self, addresses: &[Address]) {
        addresses.iter().filter_map(onion_host).for_each(|host| {
            self.joining.remove(&host);
        });
    }

    /// The keys that tor is to have now. Invites come first: there are few of them, and each has little time.
    pub(super) fn wanted(&self) -> TorKeys {
        let invited = self.invites.iter().map(|secret| ClientKey::of_invite(secret).public());
        let listed = self.peers.values().map(|keys| keys.reaches_us);
        let mut clients: Vec<_> = invited.chain(listed).take(CLIENTS_MAX).collect();
        clients.sort_unstable();
        let mut keys = BTreeMap::new();
        for (peer, hosts) in &self.onions {
            let key = self.peers.get(peer).map(|keys| &keys.reaches_it);
            keys.extend(hosts.iter().filter_map(|host| Some((*host, key?.clone()))));
        }
        keys.extend(self.joining.iter().map(|(host, key)| (*host, key.clone())));
        TorKeys { clients, keys }
    }
}

fn onion_host(address: &Address) -> Option<OnionHost> {
    match address {
        Address::Onion(onion) => Some(onion.host),
        Address::Socket(_) | Address::Memory(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::OnionAddress;

    fn onion(byte: u8) -> Address {
        Address::Onion(OnionAddress { host: OnionHost([byte; 32]), port: 8662 })
    }

    #[test]
    fn who_is_removed_has_no_key_any_more_and_a_burned_invite_neither() {
        let mut clients = Clients::new(Identity::from_seed(&[1; 32]));
        let peer = Identity::from_seed(&[2; 32]).peer_id();
        clients.know(peer, &[onion(5)]);
        assert_eq!(clients.wanted(), TorKeys::default(), "an address alone gives no right");
        clients.set_invites(&[JoinSecret([3; 32])]);
        assert_eq!(clients.wanted().clients, [ClientKey::of_invite(&JoinSecret([3; 32])).public()]);
        clients.set_invites(&[]);
        clients.set_peers(&[peer].into());
        clients.know(peer, &[onion(5)]);
        let wanted = clients.wanted();
        assert_eq!((wanted.clients.len(), wanted.keys.len()), (1, 1));
        clients.set_peers(&BTreeSet::new());
        assert_eq!(clients.wanted(), TorKeys::default());
    }

    #[test]
    fn a_joiner_reaches_its_inviter_with_the_key_of_the_code() {
        let mut clients = Clients::new(Identity::from_seed(&[1; 32]));
        clients.join(&[onion(5)], &JoinSecret([3; 32]));
        assert_eq!(clients.wanted().keys[&OnionHost([5; 32])], ClientKey::of_invite(&JoinSecret([3; 32])));
        clients.joined(&[onion(5)]);
        assert!(clients.wanted().keys.is_empty());
    }
}
