//! Radios: one frame at a time, chosen when the radio can take it. The station below seals, cuts and counts
//! airtime; the broadcast engine says what is due; here the two meet the layers.
//!
//! | file | what |
//! |---|---|
//! | `keys` | audience keys, in the `keys` document |
//! | `outbound` | a turn of the engine becomes a message, if the router and the airtime allow it |
//! | `long` | layers that take many frames: begun once, and gone on with |
//! | `inbound` | a message heard becomes layers, heartbeats, frontiers |
//! | `brief` | the brief of a document, by thresholds |
//! | `provisional` | states between two signatures |
//! | `split` | commits that do not fit a frame |
//! | `records`, `counts` | what is on disk; what is counted today |
//! | `views`, `table` | what people see: airtime and how far all is; the links |
//! | `join` | joining with nothing but radios and a code |
//! | `pair` | what two say to each other alone: keys, for who missed their renewal |
//! | `forge` | what a hostile member can make up, for simulations |

pub mod brief;
mod counts;
mod forge;
mod inbound;
mod join;
mod keys;
mod long;
mod outbound;
mod pair;
pub(in crate::node) mod provisional;
mod records;
mod split;
mod table;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_mesh::airtime::PhyRate;
use tombolo_mesh::airtime::ledger::{BootId, LedgerConfig};
use tombolo_mesh::frame::keys::{Alias, AudienceKey, BootEpoch, Identity, Mode};
use tombolo_mesh::station::{CallSign, Station, StationConfig};
use tombolo_transports::{LinkId, PeerId};

use crate::federation::{Audience, RadioUse};
use crate::layer::{DocumentName, LayerHash, LayerId, SignedHead};
use crate::limits::{RADIO_HEARTBEAT_MS, RADIO_HEARTBEAT_SHARE, RADIOS_MAX};
use crate::node::{Node, io};
use crate::random::Random;
use crate::store::Write;
use crate::sync::broadcast::{self, BroadcastEngine, LayerOffer, Timing};
use crate::sync::frontier::State;

/// What a radio is and may do. The driver knows the one, the operator the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioSpec {
    /// What people call it: its URL without secrets. Records on disk are kept under it.
    pub name: String,
    /// Sealed, or signed and in clear where the law asks for that.
    pub mode: Mode,
    /// The longest frame that the radio takes, 50 to 255 bytes.
    pub frame_bytes_max: usize,
    /// The shortest one, at most 15; 0 where any will do.
    pub frame_bytes_min: usize,
    /// The call sign, where the licence asks for one.
    pub call_sign: Option<CallSign>,
    /// How fast bytes leave.
    pub line: PhyRate,
    /// What the law and the operator allow.
    pub ledger: LedgerConfig,
    /// Of so many states of this node, one goes out signed; 1: each.
    pub sign_every: u32,
    /// The same in words.
    pub rules_text: String,
}

/// Kinds of messages in frames.
pub(super) mod kinds {
    use tombolo_mesh::frame::Kind;

    const fn message(number: u8) -> Kind {
        match Kind::message(number) {
            Some(kind) => kind,
            None => panic!("5 to 15 are kinds of messages"),
        }
    }

    /// Compact envelopes.
    pub(super) const UPDATE: Kind = message(5);
    /// A whole layer.
    pub(super) const WHOLE: Kind = message(6);
    /// A heartbeat.
    pub(super) const HEARTBEAT: Kind = message(7);
    /// A frontier.
    pub(super) const FRONTIER: Kind = message(8);
    /// A state that is not signed yet.
    pub(super) const PROVISIONAL: Kind = message(9);
    /// In a channel of two.
    pub(super) const PAIR: Kind = message(10);
}

/// A radio of this node.
#[derive(Debug)]
pub(super) struct Radio {
    spec: RadioSpec,
    station: Station,
    cell: BroadcastEngine,
    /// Whether the driver has its device.
    up: bool,
    /// Whether the device takes a frame now.
    ready: bool,
    /// After a frame of anybody each who has something to say waits its own while, or all would begin at once.
    quiet_until: u64,
    /// When what is due may leave, by the airtime.
    retry_at: Option<u64>,
    /// When the station is due.
    station_at: Option<u64>,
    /// The disk refused: what it should hold is written once more.
    write_again: bool,
    held_back: provisional::HeldBack,
    joins: join::Joins,
    pace: Timing,
    talks: pair::Talks,
    /// Layers on their way in fragments.
    long: BTreeMap<LayerHash, long::Long>,
    /// The whole layer that was made last for it.
    whole: Option<((LayerHash, State), Vec<u8>)>,
    /// Since when we let others go on with theirs.
    polite_since: Option<u64>,
    counts: counts::Counts,
}

/// All radios, and who hears us how.
#[derive(Debug)]
pub(super) struct Radios {
    by_link: BTreeMap<LinkId, Radio>,
    /// Readers of our own documents that were heard under the present key, by its epoch.
    renewed: BTreeSet<(u32, PeerId)>,
    /// Owner and reader who was heard to have the key before that owner's last renewal, and not the new one.
    behind: BTreeSet<(PeerId, PeerId)>,
    /// What is on disk of radios, there or not: by name and key.
    meta: BTreeMap<String, Vec<u8>>,
    /// Audience keys as they were told on joining: until the `keys` document comes.
    told: BTreeMap<PeerId, AudienceKey>,
    /// The key last used per audience, and the one before its last renewal.
    seen: BTreeMap<PeerId, AudienceKey>,
    previous: BTreeMap<PeerId, AudienceKey>,
    /// The channels of two.
    pairs: pair::Pairs,
    /// What leads from part to part of commits that were split.
    steps: split::Steps,
    /// Tells this run's monotonic clock from another's.
    boot: BootId,
    /// Channels have to be set anew.
    stale: bool,
    /// Days since 1970 by the reference clock: what is counted by the day begins anew with it.
    day: u32,
}

/// After a frame the next one waits at random up to this part of a frame time.
const BACK_OFF_PART: u64 = 2;

/// Whose message is being handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearing {
    pub(super) link: LinkId,
    pub(super) channel: PeerId,
    pub(super) from: PeerId,
}

/// Ranks of layers on air, 0 first.
pub(super) fn rank(name: &DocumentName) -> u8 {
    match name.as_str() {
        DocumentName::KEYS | DocumentName::AUDIENCE => 0,
        DocumentName::STATE => 1,
        _ => 2,
    }
}

impl Radios {
    pub(super) fn new(boot: [u8; 16]) -> Self {
        Radios {
            by_link: BTreeMap::new(),
            steps: split::Steps::new(),
            renewed: BTreeSet::new(),
            behind: BTreeSet::new(),
            meta: BTreeMap::new(),
            told: BTreeMap::new(),
            seen: BTreeMap::new(),
            previous: BTreeMap::new(),
            pairs: pair::Pairs::default(),
            boot: BootId(boot),
            stale: false,
            day: 0,
        }
    }

    /// Takes what is on disk. Radios that run go on; what they had wanted written is written again.
    pub(super) fn load(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        let of_radios = |(key, _): &(&String, &Vec<u8>)| key.starts_with("radio/") || key.starts_with("key/");
        self.meta = meta.iter().filter(of_radios).map(|(key, bytes)| (key.clone(), bytes.clone())).collect();
        self.told = keys::told(&self.meta);
        self.stale = true;
        for radio in self.by_link.values_mut() {
            radio.write_again = true;
        }
    }

    /// The boot epoch that a radio seals under.
    pub(super) fn boot_epoch(&self, link: LinkId) -> Option<BootEpoch> {
        self.by_link.get(&link).map(|radio| radio.station.epoch())
    }

    /// Bytes of messages whose beginning was heard.
    pub(super) fn bytes_held(&self) -> usize {
        self.by_link.values().map(|radio| radio.station.assembler().held_bytes()).sum()
    }

    /// The broadcast engines of the radios that are there.
    pub(super) fn cells(&self) -> impl Iterator<Item = &BroadcastEngine> {
        self.by_link.values().filter(|radio| radio.up).map(|radio| &radio.cell)
    }

    /// The broadcast engine of one radio.
    pub(super) fn cell(&self, link: LinkId) -> Option<&BroadcastEngine> {
        self.by_link.get(&link).map(|radio| &radio.cell)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_link.is_empty()
    }

    /// Rights, keys or peers have changed.
    pub(super) fn rights_changed(&mut self) {
        self.stale = true;
    }

    pub(super) fn next_timer(&self, now: u64) -> Option<u64> {
        self.by_link.values().filter_map(|radio| radio.next_timer(now)).min()
    }
}

impl Radio {
    fn next_timer(&self, now: u64) -> Option<u64> {
        let station = self.station_at;
        if !self.up || !self.ready {
            // Nothing can go out before the device says so.
            return None;
        }
        // While something waits for airtime, what becomes due later may be allowed sooner.
        let due = match self.retry_at {
            Some(at) => self.cell.next_after(now).into_iter().chain([at]).min(),
            None => self.cell.poll_timeout(now),
        };
        let quiet = Some(self.quiet_until).filter(|until| *until > now);
        [station, due, quiet, self.joins.next_timer(), self.talks.next_timer()]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(now + 1).max(self.quiet_until))
    }

    /// A frame has left the air.
    fn back_off(&mut self, now: u64, random: &mut Random) {
        self.quiet_until = now + random.below(self.pace.frame_ms / BACK_OFF_PART + 1);
    }

    /// How long heartbeats and waits are, given how long a frame takes.
    fn pace(station: &Station) -> Timing {
        let short = station.airtime_us(34) / 1000;
        // Half duplex and a channel shared with others: a gap as long as the frame.
        let frame_ms = (2 * short).max(50);
        let heartbeat_ms = (station.airtime_us(18) / 1000 * RADIO_HEARTBEAT_SHARE).max(RADIO_HEARTBEAT_MS);
        Timing { frame_ms, heartbeat_ms }
    }
}

impl Node {
    /// A radio's device is there; the first time, the radio is new.
    pub(super) fn radio_up(&mut self, link: LinkId, spec: RadioSpec) {
        if let Some(radio) = self.radios.by_link.get_mut(&link)
            && radio.spec == spec
        {
            radio.up = true;
            radio.ready = true;
            return;
        }
        // Set otherwise now: it begins anew with what is on disk.
        self.radios.by_link.remove(&link);
        if self.radios.by_link.len() >= RADIOS_MAX {
            return self.counters.reject("too_many_radios");
        }
        let kept = self.radio_records(&spec.name);
        let config = StationConfig {
            us: Identity::from_seed(&self.keypair.identity_seed()),
            mode: spec.mode,
            frame_bytes_max: spec.frame_bytes_max,
            frame_bytes_min: spec.frame_bytes_min,
            call_sign: spec.call_sign.clone(),
            line: spec.line,
            seed: self.random.bytes(),
        };
        let today = kept.get(counts::RECORD);
        let today = today.map(|bytes| counts::Today::decode(bytes, self.radios.day)).unwrap_or_default();
        let mut ledger = records::ledger(&kept, spec.ledger, self.moment());
        ledger.start_day(self.radios.day);
        let station = match Station::new(config, records::station(&kept), ledger) {
            Ok(station) => station,
            Err(error) => {
                let message = format!("the radio {} cannot be used: {error}", spec.name);
                return self.event(io::Event::Alarm { message });
            }
        };
        let pace = Radio::pace(&station);
        let cell = BroadcastEngine::new(self.me, pace, self.now.mono_ms, Random::new(&self.random.bytes()));
        let radio = Radio {
            spec,
            station,
            cell,
            up: true,
            ready: true,
            quiet_until: 0,
            retry_at: None,
            station_at: None,
            write_again: false,
            held_back: provisional::HeldBack::default(),
            joins: join::Joins::default(),
            pace,
            talks: pair::Talks::default(),
            long: BTreeMap::new(),
            polite_since: None,
            whole: None,
            counts: counts::Counts::going_on(today),
        };
        self.radios.by_link.insert(link, radio);
        self.radios.stale = true;
    }

    pub(super) fn radio_down(&mut self, link: LinkId, why: String) {
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            radio.up = false;
            radio.ready = false;
            radio.counts.trouble = Some(why);
        }
    }

    /// The device takes another frame.
    pub(super) fn radio_ready(&mut self, link: LinkId) {
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            radio.ready = true;
            radio.back_off(self.now.mono_ms, &mut self.random);
        }
    }

    /// Everything that radios want after an input: channels renewed, records written, frames chosen.
    pub(super) fn drive_radios(&mut self) {
        if self.radios.is_empty() {
            return;
        }
        if std::mem::take(&mut self.radios.stale) {
            self.set_channels();
        }
        let links: Vec<LinkId> = self.radios.by_link.keys().copied().collect();
        for link in links {
            self.drive_radio(link);
            let now = self.now.mono_ms;
            if let Some(radio) = self.radios.by_link.get_mut(&link) {
                radio.station_at = radio.station.poll_timeout(now);
            }
        }
    }

    /// Says to each radio which audiences there are, who is in them, and what we hold of their documents.
    fn set_channels(&mut self) {
        let owners: BTreeSet<PeerId> = self
            .federation
            .peers()
            .filter(|peer| peer.is_member())
            .map(|peer| peer.id)
            .chain([self.me])
            .collect();
        let mut channels = Vec::new();
        for owner in &owners {
            let keys = self.audience_key(owner).map(|key| (self.previous_key(owner, &key), key));
            channels.push((
                *owner,
                keys,
                self.members(owner),
                self.federation.audience(owner).map_or(0, Audience::len),
                self.on_air(owner, true),
                self.on_air(owner, false),
            ));
        }
        let (now, me) = (self.now.mono_ms, self.me);
        let us = Identity::from_seed(&self.keypair.identity_seed());
        let ended = self.radios.pairs.renew(&us, &self.pair_peers());
        for radio in self.radios.by_link.values_mut() {
            let is_clear = radio.spec.mode == Mode::SignedClear;
            let served = |owner: &PeerId| {
                channels.iter().any(|(of, keys, .., shown)| {
                    of == owner && if is_clear { !shown.is_empty() || *of == me } else { keys.is_some() }
                })
            };
            let gone: Vec<PeerId> = radio.cell.owners().filter(|owner| !served(owner)).collect();
            for owner in gone {
                radio.station.drop_channel(&owner);
                radio.cell.handle_input(now, broadcast::Input::ChannelGone { owner });
            }
            for (owner, keys, members, readers, sealed, shown) in &channels {
                let everybody: BTreeSet<PeerId> = members.iter().copied().chain([me]).collect();
                let (outcome, aliases) = match (is_clear, keys) {
                    (true, _) => {
                        (radio.station.set_clear_channel(*owner, everybody), vec![Alias::clear(owner).0])
                    }
                    (false, None) => continue,
                    (false, Some((previous, key))) => {
                        let aliases = [Some(key), previous.as_ref()].into_iter().flatten();
                        let aliases = aliases.map(|key| key.alias().0).collect();
                        (radio.station.set_channel(*owner, key.clone(), previous.clone(), everybody), aliases)
                    }
                };
                if let Err(error) = outcome {
                    tracing::warn!(%owner, %error, "an audience is not served by radio");
                    continue;
                }
                let ours = if is_clear { shown.clone() } else { sealed.clone() };
                let members = members.clone();
                let readers = *readers;
                let observes = self.federation.observes(owner);
                let owner = *owner;
                let input = broadcast::Input::Channel { owner, aliases, ours, members, readers, observes };
                radio.cell.handle_input(now, input);
            }
            ended.iter().for_each(|name| radio.station.drop_channel(name));
            for (peer, channel) in self.radios.pairs.iter().filter(|_| !is_clear) {
                let both = BTreeSet::from([me, *peer]);
                if let Err(error) = radio.station.set_channel(channel.name, channel.key.clone(), None, both) {
                    tracing::debug!(%peer, %error, "no channel of two");
                }
            }
        }
    }

    /// The members of an owner's audience that we know, without us.
    fn members(&self, owner: &PeerId) -> Vec<PeerId> {
        let known = self.federation.members();
        let audience = self.federation.audience(owner);
        let listed = |peer: &PeerId| peer == owner || audience.is_some_and(|a| a.lists(peer));
        known.map(|peer| peer.id).filter(listed).collect()
    }

    /// What we hold of an owner's documents, as far as it may go on air.
    fn on_air(&self, owner: &PeerId, sealed: bool) -> BTreeMap<LayerHash, LayerOffer> {
        let layers = self.holdings.layers().filter(|layer| layer.head().layer.document.owner == *owner);
        let goes = layers.filter(|layer| self.goes_on_air(&layer.signed, sealed));
        let goes = goes.filter(|layer| !self.recovery.withholds(&layer.head().layer.hash()));
        goes.map(|layer| {
            let id = &layer.head().layer;
            let state = State::of(&layer.signed);
            let mut bases = self.holdings.bases(id);
            bases.retain(|base| *base < state);
            (id.hash(), LayerOffer { state, bases, rank: rank(&id.document.name) })
        })
        .collect()
    }

    /// Whether readers on a radio may have a layer's present state; without a seal everybody has it.
    fn goes_on_air(&self, signed: &SignedHead, sealed: bool) -> bool {
        let head = &signed.head;
        let document = &head.layer.document;
        let class = self.federation.policy(document);
        let may_be_seen = match document.name.as_str() {
            _ if sealed => true,
            DocumentName::KEYS => false,
            // Whoever shows anything shows who may write it; by salted prints, without names.
            DocumentName::AUDIENCE => {
                self.federation.audience(&document.owner).is_some_and(Audience::shows_anything)
            }
            _ => !class.confidential,
        };
        let is_wanted = rank(&document.name) == 0 || class.radio == RadioUse::Full;
        if !may_be_seen || !is_wanted {
            return false;
        }
        let owner = &head.layer.document.owner;
        let knows_audience = rank(&head.layer.document.name) == 0
            || self.federation.audience_sequence(owner) >= head.audience_sequence;
        self.federation.participates(&head.layer.document)
            && self.federation.is_writer(owner, &head.layer.author)
            && knows_audience
    }

    /// A layer has a new state: the radios hear of it.
    pub(super) fn stored_on_air(&mut self, id: &LayerId) {
        if self.radios.is_empty() || self.recovery.withholds(&id.hash()) {
            return;
        }
        let Some(signed) = self.holdings.layer(id).map(|layer| layer.signed.clone()) else { return };
        let (sealed, shown) = (self.goes_on_air(&signed, true), self.goes_on_air(&signed, false));
        let (layer, state) = (id.hash(), State::of(&signed));
        let mut states = self.holdings.bases(id);
        states.retain(|base| *base < state);
        let links: Vec<LinkId> = self.radios.by_link.keys().copied().collect();
        for link in links {
            let is_clear = self.radios.by_link.get(&link).is_some_and(|r| r.spec.mode == Mode::SignedClear);
            if !(if is_clear { shown } else { sealed }) || self.holds_back(link, id) {
                continue;
            }
            let from = self.hearing.filter(|hearing| hearing.link == link).map(|hearing| hearing.from);
            let input = broadcast::Input::Stored {
                owner: id.document.owner,
                layer,
                state,
                bases: states.clone(),
                rank: rank(&id.document.name),
                from,
                ours: id.author == self.me,
            };
            self.tell_cell(link, input);
        }
        if id.document.name.as_str() == DocumentName::KEYS {
            self.radios.stale = true;
        }
    }

    /// Nothing more is said on air of a layer of ours, until it is stored again.
    pub(super) fn withhold_on_air(&mut self, id: &LayerId) {
        let links: Vec<LinkId> = self.radios.by_link.keys().copied().collect();
        for link in links {
            self.tell_cell(link, broadcast::Input::Withheld { owner: id.document.owner, layer: id.hash() });
        }
    }

    fn radio_records(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let prefix = format!("radio/{name}/");
        let ours = self.radios.meta.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let short = |key: &String| key.get(prefix.len()..).unwrap_or_default().to_owned();
        ours.map(|(key, bytes)| (short(key), bytes.clone())).collect()
    }

    fn write_radio_record(&mut self, radio: &str, key: &str, bytes: Vec<u8>) {
        let name = format!("radio/{radio}/{key}");
        self.radios.meta.insert(name.clone(), bytes.clone());
        self.writes.push(Write::PutMeta(name.into(), bytes));
    }

    fn send_frame(&mut self, link: LinkId, bytes: Vec<u8>) {
        self.output(io::Output::Frame { link, bytes });
    }
}
