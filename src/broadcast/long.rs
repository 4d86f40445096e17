//! Layers that do not fit one frame: begun once, and resumed. While one is on its way, what was written since waits: it is a
//! small delta once the first has arrived, and the same bytes again if it overtakes it. While another node sends fragments,
//! what this node would send in fragments waits too: most often it is the same.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_mesh::bulk::fragment::MessageId;
use tombolo_transports::PeerId;

use crate::broadcast::RadioLink;
use crate::broadcast::transmit::{LayerSupply, SendOutcome};
use crate::layer::{LayerHash, LayerId};
use crate::replica::Replica;
use crate::sync::broadcast::Input;
use crate::sync::frontier::State;
use crate::time::{Millis, Mono};

/// Layers whose transfer is remembered per radio; the station holds no more messages.
const LONG_MAX: usize = 16;
/// What waits for another message is looked at again after so many frames.
const LOOK_AGAIN_FRAMES: u64 = 8;
/// The longest time to wait for others' fragments: a transfer that never ends does not silence this node.
const YIELD: Millis = Millis::from_secs(60 * 60);

/// Layers on their way in fragments over one radio.
#[derive(Debug, Default)]
pub(super) struct LongTransfers {
    by_layer: BTreeMap<LayerHash, LongTransfer>,
    /// The whole layer that was last encoded for this radio.
    whole: Option<((LayerHash, State), Vec<u8>)>,
    /// Since when this node waits for others' fragments.
    yields_since: Option<Mono>,
}

/// A layer's state on its way in fragments.
#[derive(Clone, Debug)]
struct LongTransfer {
    owner: PeerId,
    state: State,
    /// The base that its listeners must hold; `None` where it is the whole layer.
    base: Option<State>,
    message: MessageId,
    /// The listeners that it was sent for; empty once they count as having it.
    targets: BTreeSet<PeerId>,
}

impl LongTransfers {
    /// A whole layer encoded for this radio. The last one is kept, since it may be looked at often until it leaves.
    pub(super) fn whole(
        &mut self,
        layer: LayerHash,
        state: State,
        encode: impl FnOnce() -> Vec<u8>,
    ) -> Vec<u8> {
        match &self.whole {
            Some((key, bytes)) if *key == (layer, state) => bytes.clone(),
            _ => {
                let bytes = encode();
                self.whole = Some(((layer, state), bytes.clone()));
                bytes
            }
        }
    }
}

impl RadioLink {
    /// What becomes of a supply that would take many frames, if that is not to begin it now.
    pub(super) fn resume(
        &mut self,
        now: Mono,
        replica: &mut Replica,
        id: &LayerId,
        supply: &LayerSupply,
        state: State,
    ) -> Option<SendOutcome> {
        let LayerSupply { owner, layer, targets, .. } = supply;
        let look_again = now + LOOK_AGAIN_FRAMES * self.engine.timing().frame;
        if self.station.is_quiet(now, owner) {
            self.long.yields_since = None;
        } else if *self.long.yields_since.get_or_insert(now) + YIELD > now {
            return Some(SendOutcome::Wait(look_again));
        }
        let long = self.long.by_layer.get_mut(layer)?;
        let is_under_way = self.station.is_under_way(now, long.message);
        let engine = &mut self.engine;
        let serves = |peer: &PeerId| long.base.is_none_or(|base| engine.may_have(owner, layer, peer, base));
        if long.state == state && targets.iter().all(serves) {
            if is_under_way || self.station.remind(now, long.message) {
                long.targets.extend(targets);
                engine.done(now, &supply.transmission());
                return Some(SendOutcome::Sent(None));
            }
            return None;
        }
        if is_under_way {
            // It stays a base, so that the delta from there can follow.
            replica.pin_base(id, long.state.sequence);
            return Some(SendOutcome::Wait(look_again));
        }
        // It is over and no listener asks for more. A listener that did not receive it shows that.
        let arrived = std::mem::take(&mut long.targets);
        for peer in &arrived {
            let input =
                Input::DeliveredElsewhere { owner: *owner, peer: *peer, layer: *layer, state: long.state };
            engine.handle_input(now, input);
        }
        targets.iter().any(|peer| arrived.contains(peer)).then_some(SendOutcome::Wait(now))
    }

    /// Ends the messages whose layers all listeners hold by now, however these came: who still asks for a fragment is answered that there
    /// is no more, which costs less than the fragment.
    pub(super) fn end_delivered(&mut self, now: Mono) {
        let RadioLink { long, engine, station, .. } = self;
        long.by_layer.retain(|layer, long| {
            let LongTransfer { owner, state, message, targets, .. } = long;
            let is_over = !targets.is_empty()
                && station.holds(*message)
                && engine.all_hold(now, owner, layer, *state, targets);
            if is_over {
                station.forget(*message);
            }
            !is_over
        });
    }

    /// A supply has begun to leave in fragments. What was begun before for the same listeners is out of date.
    pub(super) fn has_begun(&mut self, supply: &LayerSupply, state: State, message: MessageId) {
        let LayerSupply { owner, layer, base, targets, .. } = supply;
        let targets = targets.iter().copied().collect();
        let long = LongTransfer { owner: *owner, state, base: *base, message, targets };
        let before = self.long.by_layer.insert(*layer, long);
        if let Some(before) = before
            && before.message != message
            && (base.is_none() || *base == before.base)
        {
            self.station.forget(before.message);
        }
        if self.long.by_layer.len() > LONG_MAX {
            let station = &self.station;
            self.long.by_layer.retain(|_, long| station.holds(long.message));
        }
    }
}
