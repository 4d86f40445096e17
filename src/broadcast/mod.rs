//! Radios: one frame at a time, chosen when the device can take it. The station seals, fragments and counts airtime; the
//! broadcast engine knows what is due; here the two meet the replica.
//!
//! [`Broadcast`] owns one [`RadioLink`] per radio, and what all radios share (`SharedRadioState`): audience keys, pairwise channels,
//! the parts of split commits, provisional states. A method of `RadioLink` holds the radio and gets everything else in a
//! `RadioContext`; what it means for the other radios it leaves in `SharedRadioState::news`, which `Broadcast` hands out.
//!
//! Invariants: a record that a frame depends on is written in the same commit, before the frame; a layer goes out only on a
//! radio whose listeners may have it (`audience`); an unsigned state is never relayed and never a base.
//!
//! | file | what |
//! |---|---|
//! | `radio_link` | one radio and its timers |
//! | `audience` | which layers go over a radio, and who listens |
//! | `channels` | each audience, and each pair of peers, as stations and engines know it |
//! | `receive` | a frame from the air becomes messages |
//! | `keys` | audience keys, in the `keys` document |
//! | `schedule` | what goes out next: the station's own work and what is offered, in one list |
//! | `transmit` | an offer of the engine becomes a message, if the router allows it |
//! | `pacing` | at what pace states and documents leave |
//! | `long` | layers that take many frames: begun once, and resumed |
//! | `provisional` | states between two signatures |
//! | `split` | commits that do not fit a frame |
//! | `records`, `counts` | what is on disk; what is counted today |
//! | `join` | joining with nothing but radios and a code |
//! | `pair` | pairwise channels: keys for a node that missed their renewal |
//! | `forge` | frames that a hostile member can make up, for simulations |

mod audience;
mod channels;
pub(crate) mod counts;
#[cfg(feature = "test-support")]
mod forge;
mod join;
mod keys;
pub(crate) mod kinds;
mod long;
mod pacing;
mod pair;
mod provisional;
mod radio_link;
mod receive;
mod records;
mod schedule;
mod split;
mod transmit;

use crate::time::Mono;
use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_mesh::airtime::ledger::BootId;
#[cfg(feature = "test-support")]
use tombolo_mesh::frame::keys::BootEpoch;
use tombolo_mesh::frame::keys::{AudienceKey, Mode};
use tombolo_transports::radio::RadioDownReason;
use tombolo_transports::{LinkId, PeerId};

pub(crate) use audience::{goes_on_air, rank};
#[cfg(feature = "test-support")]
pub use forge::Forged;
pub use join::{Asks, JoinQuestion, JoinReceived};
pub(crate) use pacing::class_of;
pub use pair::PairReceived;
pub use pair::{KeyStates, PairMessage};
pub use provisional::Provisional;
pub use radio_link::RadioLink;
pub use receive::{Arrival, RadioMessage};
pub(crate) use transmit::account;

use radio_link::RadioStart;
use records::RadioRecords;

use crate::core::{Core, InputRejection};
use crate::federation::Audience;
use crate::io::{Alarm, Event, RadioSpec};
use crate::layer::{DocumentName, LayerId};
use crate::limits::RADIOS_MAX;
use crate::replica::Replica;
use crate::router::DWELL;
use crate::sync::broadcast::Input;
use crate::unicast::{LinkNews, Unicast};

/// All radios of a node.
#[derive(Debug)]
pub struct Broadcast {
    radios: BTreeMap<LinkId, RadioLink>,
    shared: SharedRadioState,
    /// Rights, keys or peers changed: channels have to be set again.
    is_stale: bool,
}

/// What all radios share.
#[derive(Debug)]
pub(crate) struct SharedRadioState {
    keys: keys::Keys,
    pairs: pair::Pairs,
    parts: split::SplitParts,
    /// States that their authors have not signed yet.
    provisional: BTreeMap<LayerId, Provisional>,
    records: RadioRecords,
    /// Distinguishes this run's monotonic clock from another's.
    boot: BootId,
    /// Days since 1970 by reference time: counters of the day start again with it.
    day: u32,
    /// Some radio sends in clear, so nothing in an update may be obscured.
    any_in_clear: bool,
    /// What one radio did that the others have to know of.
    news: Vec<RadioNews>,
}

/// What one radio did that concerns the others.
#[derive(Debug)]
enum RadioNews {
    /// An own layer is withheld until it is stored again.
    Withheld(LayerId),
    /// A layer's newest state goes out.
    Stored(LayerId),
}

/// The parts of a node that a received message is compared with.
#[derive(Clone, Copy, Debug)]
pub struct NodeParts<'a> {
    /// Identity, clocks and settings.
    pub core: &'a Core,
    /// Layers held and who may have them.
    pub replica: &'a Replica,
    /// Links to one peer each.
    pub unicast: &'a Unicast,
}

/// What a radio works with while it is driven: everything but the radios.
pub(crate) struct RadioContext<'a> {
    core: &'a mut Core,
    replica: &'a mut Replica,
    unicast: &'a mut Unicast,
    shared: &'a mut SharedRadioState,
}

impl Broadcast {
    /// A part without radios yet. `boot` distinguishes this machine's boot, or this run, from others.
    pub fn new(boot: [u8; 16]) -> Self {
        Broadcast {
            radios: BTreeMap::new(),
            shared: SharedRadioState {
                keys: keys::Keys::default(),
                pairs: pair::Pairs::default(),
                parts: split::SplitParts::default(),
                provisional: BTreeMap::new(),
                records: RadioRecords::default(),
                boot: BootId(boot),
                day: 0,
                any_in_clear: false,
                news: Vec::new(),
            },
            is_stale: false,
        }
    }

    /// Takes what is on disk. Radios that run go on; what they had wanted written is written again.
    pub fn load(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        self.shared.records = RadioRecords::load(meta);
        self.shared.keys.load(meta);
        self.is_stale = true;
        for radio in self.radios.values_mut() {
            radio.write_again = true;
        }
    }

    // ---- devices -----------------------------------------------------------------------------------------

    /// A radio's device is connected; the first time, the radio is new.
    pub fn radio_up(&mut self, core: &mut Core, link: LinkId, spec: RadioSpec) {
        core.presence.radio_up(link);
        if let Some(radio) = self.radios.get_mut(&link)
            && radio.spec == spec
        {
            radio.device.up = true;
            radio.device.ready = true;
            radio.device.fault = None;
            return;
        }
        // It has other settings now: it starts again with what is on disk.
        self.radios.remove(&link);
        if self.radios.len() >= RADIOS_MAX {
            return core.reject(InputRejection::TooManyRadios);
        }
        let kept = self.shared.records.of(&spec.name);
        let mut ledger = records::ledger(&kept, spec.ledger, self.shared.moment(core));
        ledger.start_day(self.shared.day);
        let radio = spec.name.clone();
        let start = RadioStart { link, spec, ledger, day: self.shared.day };
        match RadioLink::new(core, start, &kept) {
            Ok(started) => {
                self.radios.insert(link, started);
                self.is_stale = true;
            }
            Err(why) => core.event(Event::Alarm(Alarm::RadioUnusable { radio, why })),
        }
        core.clock.set_whole_seconds(!self.radios.is_empty());
        self.shared.any_in_clear = self.radios.values().any(|radio| radio.spec.mode == Mode::SignedClear);
    }

    /// A radio's device is gone; it may come back.
    pub fn radio_down(&mut self, core: &mut Core, link: LinkId, why: RadioDownReason) {
        core.presence.radio_down(core.now(), link);
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.device.up = false;
            radio.device.ready = false;
            radio.device.fault = Some(why);
        }
    }

    /// The device takes another frame.
    pub fn radio_ready(&mut self, core: &mut Core, link: LinkId) {
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.device.ready = true;
            radio.back_off(core.now(), &mut core.random);
        }
    }

    /// Counters of the day start again if the day has changed.
    pub fn start_day(&mut self, core: &mut Core) {
        let day = core.clock.day();
        if std::mem::replace(&mut self.shared.day, day) == day {
            return;
        }
        core.metrics.start_day();
        for radio in self.radios.values_mut() {
            radio.station.ledger().start_day(day);
            radio.counts.today = counts::Today::default();
        }
    }

    /// When a radio is to be looked at again.
    pub fn next_timer(&self, now: Mono) -> Option<Mono> {
        self.radios.values().filter_map(|radio| radio.next_timer(now)).min()
    }

    /// Whether the node has no radio.
    pub fn is_empty(&self) -> bool {
        self.radios.is_empty()
    }

    /// The radios, for reports.
    pub(crate) fn radios(&self) -> impl Iterator<Item = (LinkId, &RadioLink)> {
        self.radios.iter().map(|(link, radio)| (*link, radio))
    }

    // ---- the walk out ------------------------------------------------------------------------------------

    /// Everything that radios want after an input: channels renewed, records written, frames chosen.
    pub fn drive(&mut self, core: &mut Core, replica: &mut Replica, unicast: &mut Unicast) {
        self.set_channels_if_stale(core, replica);
        self.take_link_news(core, replica, unicast);
        let links: Vec<LinkId> = self.radios.keys().copied().collect();
        for link in links {
            let Some(radio) = self.radios.get_mut(&link) else { continue };
            radio.report_to(unicast, core.now());
            radio.drive(&mut RadioContext { core, replica, unicast, shared: &mut self.shared });
            radio.due.station_at = radio.station.poll_timeout(core.now());
            self.hand_out_news(core, replica, unicast, link);
        }
    }

    /// What a link may not have delivered is no longer believed to be held by its peer. A peer without a link any more gets a heartbeat once
    /// the link was waited for: neither knows what the other holds by now.
    fn take_link_news(&mut self, core: &Core, replica: &Replica, unicast: &mut Unicast) {
        for news in unicast.take_news() {
            for radio in self.radios.values_mut() {
                let input = match news {
                    LinkNews::Undelivered { peer, layer, held } => {
                        let Some(id) = replica.layer_id(&layer) else { continue };
                        Input::Undelivered { owner: id.document.owner, peer, layer, held }
                    }
                    LinkNews::Gone(peer) => Input::LinkGone { peer, greet_at: core.now() + DWELL },
                    LinkNews::Back(peer) => Input::LinkBack { peer },
                };
                radio.input(core, input);
            }
        }
    }

    /// What one radio did reaches the others.
    fn hand_out_news(&mut self, core: &Core, replica: &mut Replica, unicast: &Unicast, origin: LinkId) {
        for news in std::mem::take(&mut self.shared.news) {
            for (_, radio) in self.radios.iter_mut().filter(|(link, _)| **link != origin) {
                match &news {
                    RadioNews::Withheld(id) => {
                        radio.input(core, Input::Withheld { owner: id.document.owner, layer: id.hash() });
                    }
                    RadioNews::Stored(id) => radio.stored(core, replica, unicast, id, None),
                }
            }
        }
    }

    /// A layer has a new state. `from` is the radio and the sender that brought it, if a radio did.
    pub fn stored(
        &mut self,
        core: &Core,
        replica: &mut Replica,
        unicast: &Unicast,
        id: &LayerId,
        from: Option<(LinkId, PeerId)>,
    ) {
        if self.radios.is_empty() || replica.recovery().withholds(&id.hash()) {
            return;
        }
        for (link, radio) in &mut self.radios {
            let sender = from.filter(|(by, _)| by == link).map(|(_, peer)| peer);
            radio.stored(core, replica, unicast, id, sender);
        }
        if id.document.name.as_str() == DocumentName::KEYS {
            self.is_stale = true;
        }
    }

    /// A signed state replaces a provisional one.
    pub fn drop_provisional(&mut self, id: &LayerId) {
        self.shared.provisional.remove(id);
    }

    /// A wired link has come: the peer at its far end gets the signed state there, so all rely on it.
    pub fn sign_deferred_states(&mut self, core: &Core, replica: &mut Replica, unicast: &Unicast) {
        let id = core.own_layer(&core.own_document(DocumentName::STATE));
        let behind: Vec<LinkId> =
            self.radios().filter(|(_, radio)| radio.unsigned.is_behind()).map(|(link, _)| link).collect();
        for link in behind {
            if let Some(radio) = self.radios.get_mut(&link) {
                radio.sign_next();
            }
            self.stored(core, replica, unicast, &id, None);
        }
    }

    // ---- keys and channels -------------------------------------------------------------------------------

    /// The key of an owner's audience, if this node has it.
    pub fn audience_key(&self, core: &Core, replica: &Replica, owner: &PeerId) -> Option<AudienceKey> {
        self.shared.keys.key_of(core, replica, owner)
    }

    /// Whether the own `keys` were signed under an older audience than the present one, or never.
    pub fn own_keys_are_behind(&self, replica: &Replica) -> bool {
        let federation = replica.federation();
        let me = federation.me();
        keys::audience_sealed_for(replica, &me) < federation.audience_sequence(&me)
    }

    /// The content of the own `keys` document that a change of the audience needs signed.
    pub fn key_renewal(
        &self,
        core: &mut Core,
        replica: &Replica,
        before: Option<&Audience>,
    ) -> Option<Value> {
        self.shared.keys.renewal(core, replica, before)
    }

    /// Rights, keys or peers changed: channels are set again before the next frame.
    pub fn rights_changed(&mut self) {
        self.is_stale = true;
    }
}

/// What simulations look at.
#[cfg(feature = "test-support")]
impl Broadcast {
    /// The boot epoch that a radio seals under.
    pub fn boot_epoch(&self, link: LinkId) -> Option<BootEpoch> {
        self.radios.get(&link).map(|radio| radio.station.epoch())
    }

    /// Bytes of fragmented messages that are not complete yet.
    pub fn bytes_held(&self) -> usize {
        self.radios.values().map(|radio| radio.station.assembler().held_bytes()).sum()
    }
}

#[cfg(test)]
mod tests;
