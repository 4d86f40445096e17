//! Channels: for each audience that a radio serves, its key, its members and the layers that go out; and a channel with each
//! peer, for `pair`. They follow from rights, keys and peers, and are set again when one of these has changed.
//!
//! The keys come from `keys`, the members and layers from `audience`; the result goes to the station, which opens and seals
//! frames, and to the broadcast engine, which decides what is due.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_mesh::frame::keys::{Alias, AudienceKey, Mode};
use tombolo_transports::PeerId;

use crate::broadcast::audience::{layers_on_air, listeners_of, member_peers};
use crate::broadcast::keys::Keys;
use crate::broadcast::{Broadcast, RadioLink};
use crate::core::Core;
use crate::federation::Audience;
use crate::layer::LayerHash;
use crate::replica::Replica;
use crate::sync::broadcast::{Input, LayerOffer};

impl Broadcast {
    pub(super) fn set_channels_if_stale(&mut self, core: &Core, replica: &Replica) {
        if !self.radios.is_empty() && std::mem::take(&mut self.is_stale) {
            self.set_channels(core, replica);
        }
    }

    /// Gives each radio the audiences, their members, and what is held of their documents.
    fn set_channels(&mut self, core: &Core, replica: &Replica) {
        let me = core.me;
        let owners: BTreeSet<PeerId> = member_peers(replica.federation()).chain([me]).collect();
        let channels: Vec<ServedAudience> = owners
            .iter()
            .map(|owner| ServedAudience::of(&mut self.shared.keys, core, replica, owner))
            .collect();
        let peers: Vec<PeerId> = member_peers(replica.federation()).collect();
        let ended = self.shared.pairs.renew(&core.radio_identity(), &peers);
        for radio in self.radios.values_mut() {
            let is_clear = radio.spec.mode == Mode::SignedClear;
            let served: BTreeSet<PeerId> =
                channels.iter().filter(|c| c.is_served(is_clear, &me)).map(|c| c.owner).collect();
            let gone: Vec<PeerId> = radio.engine.owners().filter(|owner| !served.contains(owner)).collect();
            for owner in gone {
                radio.station.drop_channel(&owner);
                radio.engine.handle_input(core.now_ms(), Input::ChannelGone { owner });
            }
            for channel in &channels {
                radio.set_channel(core, channel, is_clear);
            }
            ended.iter().for_each(|name| radio.station.drop_channel(name));
            for (peer, channel) in self.shared.pairs.iter().filter(|_| !is_clear) {
                let both = BTreeSet::from([me, *peer]);
                if let Err(error) = radio.station.set_channel(channel.name, channel.key.clone(), None, both) {
                    tracing::debug!(%peer, %error, "no pairwise channel");
                }
            }
        }
    }
}

/// One audience, as radios serve it.
struct ServedAudience {
    owner: PeerId,
    /// The present key, and the one before the last renewal.
    keys: Option<(AudienceKey, Option<AudienceKey>)>,
    members: Vec<PeerId>,
    readers: usize,
    observes: bool,
    /// What goes out sealed, and what in clear.
    sealed: BTreeMap<LayerHash, LayerOffer>,
    clear: BTreeMap<LayerHash, LayerOffer>,
}

impl ServedAudience {
    fn of(keys: &mut Keys, core: &Core, replica: &Replica, owner: &PeerId) -> Self {
        let federation = replica.federation();
        let key = keys.key_of(core, replica, owner);
        ServedAudience {
            owner: *owner,
            keys: key.map(|key| {
                let previous = keys.previous(owner, &key);
                (key, previous)
            }),
            members: listeners_of(federation, owner),
            readers: federation.audience(owner).map_or(0, Audience::len),
            observes: federation.observes(owner),
            sealed: layers_on_air(replica, owner, true),
            clear: layers_on_air(replica, owner, false),
        }
    }

    fn is_served(&self, is_clear: bool, me: &PeerId) -> bool {
        if is_clear { !self.clear.is_empty() || self.owner == *me } else { self.keys.is_some() }
    }
}

impl RadioLink {
    fn set_channel(&mut self, core: &Core, channel: &ServedAudience, is_clear: bool) {
        let owner = channel.owner;
        let all: BTreeSet<PeerId> = channel.members.iter().copied().chain([core.me]).collect();
        let (outcome, aliases) = match (is_clear, &channel.keys) {
            (true, _) => (self.station.set_clear_channel(owner, all), vec![Alias::clear(&owner).0]),
            (false, None) => return,
            (false, Some((key, previous))) => {
                let aliases = [Some(key), previous.as_ref()].into_iter().flatten();
                let aliases = aliases.map(|key| key.alias().0).collect();
                (self.station.set_channel(owner, key.clone(), previous.clone(), all), aliases)
            }
        };
        if let Err(error) = outcome {
            return tracing::warn!(%owner, %error, "an audience is not served by radio");
        }
        let input = Input::Channel {
            owner,
            aliases,
            ours: if is_clear { channel.clear.clone() } else { channel.sealed.clone() },
            members: channel.members.clone(),
            readers: channel.readers,
            observes: channel.observes,
        };
        self.engine.handle_input(core.now_ms(), input);
    }
}
