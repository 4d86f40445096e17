//! Layers that do not fit a frame: begun once, and gone on with. While one is on its way, what was written since waits:
//! it is a small delta once the first has arrived, and the same bytes again if it overtakes it. While somebody else sends in
//! fragments, what we would send in fragments waits as well: most often it is the same.

use std::collections::BTreeSet;

use tombolo_mesh::bulk::fragment::MessageId;
use tombolo_transports::{LinkId, PeerId};

use crate::layer::LayerId;
use crate::node::Node;
use crate::node::radio::outbound::Chance;
use crate::sync::broadcast::{Input, Transmission};
use crate::sync::frontier::State;

/// Layers whose transfer is remembered per radio; the station holds no more messages.
const LONG_MAX: usize = 16;
/// What waits for another message is looked at again after so many frames.
const LOOK_AGAIN_FRAMES: u64 = 8;
/// But for no longer than this: who never ends does not keep others silent, milliseconds.
const POLITE_MS: u64 = 60 * 60 * 1000;

/// A layer's state on its way in fragments.
#[derive(Clone, Debug)]
pub(super) struct Long {
    state: State,
    /// What its listeners must hold; none where it is the whole.
    base: Option<State>,
    message: MessageId,
    /// For whom it was sent; none once they count as having it.
    targets: BTreeSet<PeerId>,
}

impl Node {
    /// What becomes of a supply that would take many frames, if that is not to begin it now.
    pub(super) fn go_on(
        &mut self,
        link: LinkId,
        id: &LayerId,
        turn: &Transmission,
        state: State,
    ) -> Option<Chance> {
        let Transmission::Supply { owner, layer, targets, .. } = turn else { return None };
        let now = self.now.mono_ms;
        let radio = self.radios.by_link.get_mut(&link)?;
        let look_again = now + LOOK_AGAIN_FRAMES * radio.pace.frame_ms;
        if radio.station.is_quiet(now, owner) {
            radio.polite_since = None;
        } else if *radio.polite_since.get_or_insert(now) + POLITE_MS > now {
            return Some(Chance::Wait(look_again));
        }
        let long = radio.long.get_mut(layer)?;
        let is_under_way = radio.station.is_under_way(now, long.message);
        let cell = &mut radio.cell;
        let serves = |peer: &PeerId| long.base.is_none_or(|base| cell.may_have(owner, layer, peer, base));
        if long.state == state && targets.iter().all(serves) {
            if is_under_way || radio.station.remind(now, long.message) {
                long.targets.extend(targets);
                cell.done(now, turn);
                return Some(Chance::Taken(None));
            }
            return None;
        }
        if is_under_way {
            // Kept, so that the delta from there can follow.
            self.holdings.keep_as_base(id, long.state.sequence);
            return Some(Chance::Wait(look_again));
        }
        // It is over and nobody asks for more. Who did not get it after all says so.
        let arrived = std::mem::take(&mut long.targets);
        for peer in &arrived {
            let input =
                Input::DeliveredElsewhere { owner: *owner, peer: *peer, layer: *layer, state: long.state };
            cell.handle_input(now, input);
        }
        targets.iter().any(|peer| arrived.contains(peer)).then_some(Chance::Wait(now))
    }

    /// A supply has begun to leave in fragments. What was begun before for the same listeners is out of date.
    pub(super) fn has_begun(&mut self, link: LinkId, turn: &Transmission, state: State, message: MessageId) {
        let Transmission::Supply { layer, base, targets, .. } = turn else { return };
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return };
        let long = Long { state, base: *base, message, targets: targets.iter().copied().collect() };
        let before = radio.long.insert(*layer, long);
        if let Some(before) = before
            && before.message != message
            && (base.is_none() || *base == before.base)
        {
            radio.station.forget(before.message);
        }
        if radio.long.len() > LONG_MAX {
            let station = &radio.station;
            radio.long.retain(|_, long| station.holds(long.message));
        }
    }
}
