//! Radios: one frame at a time, chosen when the device can take it. The station seals, fragments and counts airtime; the
//! broadcast engine knows what is due; here the two meet the replica.
//!
//! [`Broadcast`] owns one [`RadioLink`] per radio, and what all radios share ([`Shared`]): audience keys, pairwise channels,
//! the parts of split commits, provisional states. A method of `RadioLink` holds the radio and gets everything else in a
//! [`RadioContext`]; what it means for the other radios it leaves in `Shared::news`, which `Broadcast` hands out.
//!
//! Invariants: a record that a frame depends on is written in the same commit, before the frame; a layer goes out only on a
//! radio whose listeners may have it (`audience`); an unsigned state is never relayed and never a base.
//!
//! | file | what |
//! |---|---|
//! | `radio_link` | one radio and its timers |
//! | `audience` | which layers go over a radio, and who listens |
//! | `keys` | audience keys, in the `keys` document |
//! | `transmit` | a candidate of the engine becomes a message, if the router and the airtime allow it |
//! | `long` | layers that take many frames: begun once, and resumed |
//! | `provisional` | states between two signatures |
//! | `split` | commits that do not fit a frame |
//! | `records`, `counts` | what is on disk; what is counted today |
//! | `join` | joining with nothing but radios and a code |
//! | `pair` | pairwise channels: keys for a node that missed their renewal |
//! | `forge` | frames that a hostile member can make up, for simulations |

mod audience;
pub(crate) mod counts;
#[cfg(feature = "test-support")]
mod forge;
mod join;
mod keys;
mod long;
mod pair;
mod provisional;
mod radio_link;
mod records;
mod split;
mod transmit;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;
use tombolo_mesh::airtime::ledger::BootId;
#[cfg(feature = "test-support")]
use tombolo_mesh::frame::keys::BootEpoch;
use tombolo_mesh::frame::keys::{Alias, AudienceKey, Mode};
use tombolo_mesh::frame::{Header, Kind as FrameKind};
use tombolo_mesh::station;
use tombolo_transports::{LinkId, PeerId};

pub(crate) use audience::{goes_on_air, rank};
#[cfg(feature = "test-support")]
pub use forge::Forged;
pub use join::{Asks, JoinQuestion, JoinReceived};
pub use provisional::Provisional;
pub use radio_link::RadioLink;
pub(crate) use transmit::account;

use crate::core::{Core, Rejection};
use crate::federation::Audience;
use crate::io::{Event, RadioSpec};
use crate::layer::{DocumentName, LayerHash, LayerId, Sequence, SignedHead};
use crate::limits::{OWN_STATE_WAIT, OWN_STATE_WAIT_ON_AIR_MAX, RADIOS_MAX};
use crate::replica::Replica;
use crate::store::StoreWrite;
use crate::sync::broadcast::message::Heartbeat;
use crate::sync::broadcast::{Input, LayerOffer};
use crate::sync::frontier::State;
use crate::time::Millis;
use crate::unicast::Unicast;

/// Kinds of messages in frames.
pub(crate) mod kinds {
    use tombolo_mesh::frame::Kind;

    const fn message(number: u8) -> Kind {
        match Kind::message(number) {
            Some(kind) => kind,
            None => panic!("5 to 15 are kinds of messages"),
        }
    }

    /// Compact envelopes.
    pub(crate) const UPDATE: Kind = message(5);
    /// A whole layer.
    pub(crate) const WHOLE: Kind = message(6);
    /// A heartbeat.
    pub(crate) const HEARTBEAT: Kind = message(7);
    /// A frontier.
    pub(crate) const FRONTIER: Kind = message(8);
    /// A state that is not signed yet.
    pub(crate) const PROVISIONAL: Kind = message(9);
    /// A message on a pairwise channel.
    pub(crate) const PAIR: Kind = message(10);
}

/// All radios of a node.
#[derive(Debug)]
pub struct Broadcast {
    radios: BTreeMap<LinkId, RadioLink>,
    shared: Shared,
    /// Rights, keys or peers changed: channels have to be set again.
    is_stale: bool,
}

/// What all radios share.
#[derive(Debug)]
pub(crate) struct Shared {
    keys: keys::Keys,
    pairs: pair::Pairs,
    parts: split::Parts,
    /// States that their authors have not signed yet.
    provisional: BTreeMap<LayerId, Provisional>,
    records: Records,
    /// Tells this run's monotonic clock from another's.
    boot: BootId,
    /// Days since 1970 by reference time: counters of the day start again with it.
    day: u32,
    /// Some radio sends in clear, so nothing in an update may be obscured.
    any_in_clear: bool,
    /// What one radio did that the others have to know of.
    news: Vec<News>,
}

/// What one radio did that concerns the others.
#[derive(Debug)]
enum News {
    /// An own layer is withheld until it is stored again.
    Withheld(LayerId),
    /// A layer's newest state goes out.
    Stored(LayerId),
}

/// What a radio works with while it is driven: everything but the radios.
pub(crate) struct RadioContext<'a> {
    core: &'a mut Core,
    replica: &'a mut Replica,
    wired: &'a mut Unicast,
    shared: &'a mut Shared,
}

/// What is on disk of radios, connected or not: by `radio/NAME/KEY`.
#[derive(Debug, Default)]
struct Records(BTreeMap<String, Vec<u8>>);

impl Records {
    fn of(&self, radio: &str) -> BTreeMap<String, Vec<u8>> {
        let prefix = format!("radio/{radio}/");
        let of_radio = self.0.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        of_radio.map(|(key, bytes)| (key.split_at(prefix.len()).1.to_owned(), bytes.clone())).collect()
    }

    fn write(&mut self, core: &mut Core, radio: &str, key: &str, bytes: Vec<u8>) {
        let name = format!("radio/{radio}/{key}");
        self.0.insert(name.clone(), bytes.clone());
        core.gate.write(StoreWrite::PutMeta(name.into(), bytes));
    }
}

/// A message that a radio received.
#[derive(Debug)]
pub struct RadioMessage {
    /// The radio.
    pub link: LinkId,
    /// The owner whose key sealed it, or the name of a pairwise channel.
    pub channel: PeerId,
    /// The sender.
    pub from: PeerId,
    /// Its kind.
    pub kind: FrameKind,
    /// Its content; hostile.
    pub bytes: Vec<u8>,
    /// Whether it was sealed under the key before the last renewal.
    pub under_previous_key: bool,
}

/// What a frame brought.
#[derive(Debug)]
pub enum Arrival {
    /// A message.
    Message(RadioMessage),
    /// A frame of the join handshake.
    Join(Vec<u8>),
}

impl Broadcast {
    /// Without radios yet. `boot` tells this machine's boot, or this run, from others.
    pub fn new(boot: [u8; 16]) -> Self {
        Broadcast {
            radios: BTreeMap::new(),
            shared: Shared {
                keys: keys::Keys::default(),
                pairs: pair::Pairs::default(),
                parts: split::Parts::default(),
                provisional: BTreeMap::new(),
                records: Records::default(),
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
        let of_radios = meta.iter().filter(|(key, _)| key.starts_with("radio/"));
        self.shared.records = Records(of_radios.map(|(key, bytes)| (key.clone(), bytes.clone())).collect());
        self.shared.keys.load(meta);
        self.is_stale = true;
        for radio in self.radios.values_mut() {
            radio.write_again = true;
        }
    }

    // ---- devices -----------------------------------------------------------------------------------------

    /// A radio's device is connected; the first time, the radio is new.
    pub fn radio_up(&mut self, core: &mut Core, link: LinkId, spec: RadioSpec) {
        if let Some(radio) = self.radios.get_mut(&link)
            && radio.spec == spec
        {
            radio.device.up = true;
            radio.device.ready = true;
            return;
        }
        // It has other settings now: it starts again with what is on disk.
        self.radios.remove(&link);
        if self.radios.len() >= RADIOS_MAX {
            return core.metrics.reject(Rejection::TooManyRadios);
        }
        let kept = self.shared.records.of(&spec.name);
        let mut ledger = records::ledger(&kept, spec.ledger, self.shared.moment(core));
        ledger.start_day(self.shared.day);
        let name = spec.name.clone();
        match RadioLink::new(core, link, spec, &kept, ledger, self.shared.day) {
            Ok(radio) => {
                self.radios.insert(link, radio);
                self.is_stale = true;
            }
            Err(error) => {
                let message = format!("the radio {name} cannot be used: {error}");
                core.event(Event::Alarm { message });
            }
        }
        core.clock.set_whole_seconds(!self.radios.is_empty());
        self.shared.any_in_clear = self.radios.values().any(|radio| radio.spec.mode == Mode::SignedClear);
    }

    /// A radio's device is gone; it may come back.
    pub fn radio_down(&mut self, link: LinkId, why: String) {
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
            radio.back_off(core.now_ms(), &mut core.random);
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

    /// When a radio is to be looked at again, monotonic milliseconds.
    pub fn next_timer(&self, now: u64) -> Option<u64> {
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
    pub fn drive(&mut self, core: &mut Core, replica: &mut Replica, wired: &mut Unicast) {
        self.set_channels_if_stale(core, replica);
        let links: Vec<LinkId> = self.radios.keys().copied().collect();
        for link in links {
            let Some(radio) = self.radios.get_mut(&link) else { continue };
            radio.drive(&mut RadioContext { core, replica, wired, shared: &mut self.shared });
            radio.due.station_at = radio.station.poll_timeout(core.now_ms());
            self.hand_out_news(core, replica, wired, link);
        }
    }

    /// What one radio did reaches the others.
    fn hand_out_news(&mut self, core: &Core, replica: &mut Replica, wired: &Unicast, origin: LinkId) {
        for news in std::mem::take(&mut self.shared.news) {
            for (_, radio) in self.radios.iter_mut().filter(|(link, _)| **link != origin) {
                match &news {
                    News::Withheld(id) => {
                        radio.input(core, Input::Withheld { owner: id.document.owner, layer: id.hash() });
                    }
                    News::Stored(id) => radio.stored(core, replica, wired, id, None),
                }
            }
        }
    }

    /// A layer has a new state. `from` is the radio and the sender that brought it, if a radio did.
    pub fn stored(
        &mut self,
        core: &Core,
        replica: &mut Replica,
        wired: &Unicast,
        id: &LayerId,
        from: Option<(LinkId, PeerId)>,
    ) {
        if self.radios.is_empty() || replica.recovery().withholds(&id.hash()) {
            return;
        }
        for (link, radio) in &mut self.radios {
            let sender = from.filter(|(by, _)| by == link).map(|(_, peer)| peer);
            radio.stored(core, replica, wired, id, sender);
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
    pub fn sign_what_is_held_back(&mut self, core: &Core, replica: &mut Replica, wired: &Unicast) {
        let id = core.own_layer(&core.own_document(DocumentName::STATE));
        let behind: Vec<LinkId> =
            self.radios().filter(|(_, radio)| radio.unsigned.is_behind()).map(|(link, _)| link).collect();
        for link in behind {
            if let Some(radio) = self.radios.get_mut(&link) {
                radio.sign_next();
            }
            self.stored(core, replica, wired, &id, None);
        }
    }

    // ---- the walk in -------------------------------------------------------------------------------------

    /// Takes a frame from the air. Returns what it brought.
    pub fn receive(&mut self, core: &mut Core, link: LinkId, bytes: &[u8]) -> Vec<Arrival> {
        let now = core.now_ms();
        let Some(radio) = self.radios.get_mut(&link) else { return Vec::new() };
        radio.back_off(now, &mut core.random);
        let reception = radio.station.receive(now, bytes);
        radio.counts.received(bytes.len(), reception.from);
        let mut outcomes: Vec<station::Received> = reception.outcome.into_iter().collect();
        if outcomes.contains(&station::Received::Foreign) {
            radio.received_foreign(now, core.random.below(u64::MAX));
        }
        while let Some(later) = radio.station.poll_received() {
            outcomes.extend(later.outcome);
        }
        let opens = |outcome: &station::Received| {
            matches!(outcome, station::Received::Message { .. } | station::Received::Duplicate)
        };
        let is_read = outcomes.iter().any(opens);
        if !is_read
            && let Some((header, _)) = Header::decode(bytes)
            && header.kind == kinds::FRONTIER
        {
            // By a member that is no peer of this node.
            radio.input(core, Input::Asking { alias: header.alias.0 });
        }
        outcomes.into_iter().filter_map(|outcome| arrival(core, link, outcome)).collect()
    }

    /// Gives one radio's engine an input.
    pub fn input(&mut self, core: &Core, link: LinkId, input: Input) {
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.input(core, input);
        }
    }

    /// A peer was heard under an audience key: notes which keys it has, and that it is present.
    pub fn sender_heard(&mut self, core: &Core, link: LinkId, channel: PeerId, from: PeerId) {
        if channel == from
            && let Some(radio) = self.radios.get_mut(&link)
        {
            radio.talks.heard(core.now_ms(), from);
        }
    }

    /// A reader used the own present key: it has it.
    pub fn reader_has_key(&mut self, replica: &Replica, reader: PeerId) {
        // A removed peer sends under a key that is no longer opened.
        self.is_stale |= self.shared.keys.reader_has_key(replica, reader);
    }

    /// Whether a channel is a pairwise one.
    pub fn is_pairwise(&self, channel: &PeerId) -> bool {
        self.shared.pairs.is_pair(channel)
    }

    /// A heartbeat names the audiences that its sender relays, by the keys that it has.
    pub fn keys_named(&mut self, from: PeerId, heartbeat: &Heartbeat) {
        self.shared.keys.keys_named(from, heartbeat);
    }

    /// A delta arrived by radio whose base is not held here: the next frontier shows what is.
    pub fn base_missing(&mut self, core: &Core, link: LinkId, owner: PeerId) {
        self.input(core, link, Input::BaseMissing { owner });
    }

    /// A state that is held was received by radio: its sender has it, and so have all listeners.
    pub fn overheard(
        &mut self,
        core: &Core,
        replica: &Replica,
        link: LinkId,
        from: PeerId,
        signed: &SignedHead,
    ) {
        let id = &signed.head.layer;
        if replica.layer(id).is_some_and(|held| held.signed == *signed) {
            let (layer, state) = (id.hash(), State::of(signed));
            self.input(core, link, Input::Overheard { owner: id.document.owner, from, layer, state });
        }
    }

    /// A state that came by radio was refused, for a reason that lasts: it counts as held, or it would be sent again for ever.
    /// The sender gets no answer, since a frame costs more than that would save.
    pub fn declined(&mut self, core: &Core, link: LinkId, signed: &SignedHead) {
        let (owner, layer) = (signed.head.layer.document.owner, signed.head.layer.hash());
        self.input(core, link, Input::Declined { owner, layer, state: State::of(signed) });
    }

    /// A state that came over a link was refused: no radio asks for it.
    pub fn declined_everywhere(&mut self, core: &Core, signed: &SignedHead) {
        let links: Vec<LinkId> = self.radios.keys().copied().collect();
        for link in links {
            self.declined(core, link, signed);
        }
    }

    /// How long a write waits for a newer own state that a listener shows; `None` if none does. A frontier by radio has few
    /// bits of a sequence: only a higher one counts.
    pub fn newer_own_wait(&self, owner: &PeerId, layer: &LayerHash, held: Option<State>) -> Option<Millis> {
        let held = held.map_or(Sequence::NONE, |held| held.sequence);
        let up = self.radios.values().filter(|radio| radio.device.up);
        let shows = up.filter(|radio| radio.engine.shown(owner, layer).iter().any(|s| s.sequence > held));
        shows
            .map(|radio| (radio.engine.timing().frame * 64).clamp(OWN_STATE_WAIT, OWN_STATE_WAIT_ON_AIR_MAX))
            .max()
    }

    // ---- keys and channels -------------------------------------------------------------------------------

    /// The key of an owner's audience, if this node has it.
    pub fn audience_key(&self, core: &Core, replica: &Replica, owner: &PeerId) -> Option<AudienceKey> {
        self.shared.keys.key_of(core, replica, owner)
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

    fn set_channels_if_stale(&mut self, core: &Core, replica: &Replica) {
        if !self.radios.is_empty() && std::mem::take(&mut self.is_stale) {
            self.set_channels(core, replica);
        }
    }

    /// Gives each radio the audiences, their members, and what is held of their documents.
    fn set_channels(&mut self, core: &Core, replica: &Replica) {
        let me = core.me;
        let owners: BTreeSet<PeerId> = audience::member_peers(replica.federation()).chain([me]).collect();
        let channels: Vec<Channel> =
            owners.iter().map(|owner| Channel::of(&mut self.shared.keys, core, replica, owner)).collect();
        let peers: Vec<PeerId> = audience::member_peers(replica.federation()).collect();
        let ended = self.shared.pairs.renew(&core.radio_identity(), &peers);
        for radio in self.radios.values_mut() {
            let is_clear = radio.spec.mode == Mode::SignedClear;
            let served: BTreeSet<PeerId> =
                channels.iter().filter(|c| c.is_served(is_clear, &me)).map(|c| c.owner).collect();
            let gone: Vec<PeerId> = radio.engine.owners().filter(|owner| !served.contains(owner)).collect();
            for owner in gone {
                radio.station.drop_channel(&owner);
                radio.engine.handle_input(core.now(), Input::ChannelGone { owner });
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

/// One audience, as radios serve it.
struct Channel {
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

impl Channel {
    fn of(keys: &mut keys::Keys, core: &Core, replica: &Replica, owner: &PeerId) -> Self {
        let federation = replica.federation();
        let key = keys.key_of(core, replica, owner);
        Channel {
            owner: *owner,
            keys: key.map(|key| {
                let previous = keys.previous(owner, &key);
                (key, previous)
            }),
            members: audience::listeners_of(federation, owner),
            readers: federation.audience(owner).map_or(0, Audience::len),
            observes: federation.observes(owner),
            sealed: audience::layers_on_air(replica, owner, true),
            clear: audience::layers_on_air(replica, owner, false),
        }
    }

    fn is_served(&self, is_clear: bool, me: &PeerId) -> bool {
        if is_clear { !self.clear.is_empty() || self.owner == *me } else { self.keys.is_some() }
    }
}

impl RadioLink {
    fn set_channel(&mut self, core: &Core, channel: &Channel, is_clear: bool) {
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
        self.engine.handle_input(core.now(), input);
    }
}

/// What the node has to see of a frame's outcome; the rest is the station's own.
fn arrival(core: &mut Core, link: LinkId, outcome: station::Received) -> Option<Arrival> {
    match outcome {
        station::Received::Message { channel, from, kind, bytes, under_previous_key } => {
            Some(Arrival::Message(RadioMessage { link, channel, from, kind, bytes, under_previous_key }))
        }
        station::Received::Join(frame) => Some(Arrival::Join(frame)),
        station::Received::OwnEpoch { .. } => {
            let message =
                "a radio heard this node's own key from elsewhere: a restored backup, or a second machine \
                           with this key"
                    .to_owned();
            core.event(Event::Alarm { message });
            None
        }
        station::Received::Epoch { .. }
        | station::Received::Part
        | station::Received::Nack
        | station::Received::Question
        | station::Received::CallSign(_)
        | station::Received::Duplicate
        | station::Received::Echo
        | station::Received::Foreign
        | station::Received::Held => None,
    }
}
