//! Radios without a node: keys and their renewal, split commits, devices that come and go, what is withheld, and the order of
//! records and frames.

use crate::time::{Millis, Mono};
use std::collections::BTreeSet;

use tombolo_mesh::airtime::ledger::{Account, LedgerConfig, Priority};
use tombolo_mesh::airtime::region::Rules;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::{Header, Kind};
use tombolo_transports::Medium;
use tombolo_transports::radio::RadioDownReason;

use super::*;
use crate::core::side::{TestSide, link_caps, pair};
use crate::core::{InputRejection, reserved_document};
use crate::federation::TrustLevel;
use crate::io::Output;
use crate::layer::{KeyPath, LayerId};
use crate::replica::ApplyOutcome;
use crate::sync::broadcast::message::{FrontierEntry, FrontierMessage, Heartbeat};
use crate::sync::frontier::State;

const RADIO: LinkId = LinkId(3);

const NO_LIMITS: Rules =
    Rules { duty_permille: None, dwell: None, call_sign_every: None, clear_only: false, source: "none" };

fn radio() -> RadioSpec {
    RadioSpec {
        name: "radio".to_owned(),
        mode: Mode::Encrypted,
        frame_bytes_max: 231,
        frame_bytes_min: 0,
        call_sign: None,
        line: PhyRate::lora(Modulation::MESHCORE),
        ledger: LedgerConfig::new(Some(NO_LIMITS)),
        sign_every: 1,
        rules_text: "a test".to_owned(),
    }
}

/// A side with one radio.
struct OnAir {
    side: TestSide,
    unicast: Unicast,
    broadcast: Broadcast,
}

impl OnAir {
    fn of(side: TestSide) -> Self {
        OnAir::with(side, radio())
    }

    fn with(mut side: TestSide, radio: RadioSpec) -> Self {
        let unicast = Unicast::new(&mut side.core);
        let mut broadcast = Broadcast::new([7; 16]);
        broadcast.radio_up(&mut side.core, RADIO, radio);
        OnAir { side, unicast, broadcast }
    }

    fn drive(&mut self) {
        self.broadcast.drive(&mut self.side.core, &mut self.side.replica, &mut self.unicast);
    }

    /// Signs the key that a change of the audience needs. Returns its epoch.
    fn renew_key(&mut self, before: Option<&Audience>) -> u32 {
        let TestSide { core, replica, authoring } = &mut self.side;
        let value = self.broadcast.key_renewal(core, replica, before).expect("there is a reader");
        let document = core.own_document(DocumentName::KEYS);
        let stored = authoring.commit_snapshot(core, replica, &document, value).unwrap();
        self.broadcast.stored(core, replica, &self.unicast, &stored.id, None);
        self.broadcast.audience_key(core, replica, &core.me).unwrap().epoch
    }

    /// Takes a layer of `from` as over a link.
    fn takes(&mut self, from: &OnAir, id: &LayerId) {
        let message = from.side.supply(self.side.me(), id, from.side.replica.state(id));
        let outcome = self.side.receive(from.side.me(), message);
        assert!(matches!(outcome, ApplyOutcome::Stored(_)), "{outcome:?}");
        self.broadcast.rights_changed();
    }

    /// A heartbeat arrives that reports what is unknown here, and of other audiences the one of this alias.
    fn hears(&mut self, from: PeerId, alias: Option<[u8; 2]>) {
        let others = alias.into_iter().map(|alias| (alias, 7)).collect();
        let bytes = Heartbeat { next_by_s: 600, fingerprint: 7, others }.encode();
        let OnAir { side, unicast, broadcast } = self;
        let parts = NodeParts { core: &side.core, replica: &side.replica, unicast };
        broadcast.heartbeat_received(parts, RADIO, from, &bytes).expect("it decodes");
    }

    fn alias_of(&self, owner: &PeerId) -> [u8; 2] {
        self.broadcast.audience_key(&self.side.core, &self.side.replica, owner).unwrap().alias().0
    }

    /// Long messages of its own that have fragments to go, and those of others that it has a part of.
    fn long_messages(&self) -> (usize, usize) {
        let transfers = self.broadcast.radios[&RADIO].transfers();
        let own = transfers.iter().filter(|transfer| transfer.from.is_none()).count();
        (own, transfers.len() - own)
    }

    /// A frontier arrives that reports these states in an owner's audience.
    fn is_told(&mut self, owner: PeerId, from: PeerId, states: &[(LayerId, State)]) {
        let entries = states.iter().map(|(id, state)| FrontierEntry::short(&id.hash(), *state)).collect();
        let bytes = FrontierMessage { complete: true, entries }.encode();
        assert!(self.broadcast.frontier_received(&self.side.core, RADIO, owner, from, &bytes));
    }

    fn audience(&self) -> Audience {
        self.side.replica.federation().audience(&self.side.me()).unwrap().clone()
    }

    /// Drives the radio at every moment at which it has something to do, for so long. Returns the frames that left.
    fn frames(&mut self, ms: u64) -> Vec<Vec<u8>> {
        self.frames_between(0, ms)
    }

    fn frames_between(&mut self, from: u64, ms: u64) -> Vec<Vec<u8>> {
        let (mut at, mut frames) = (from, Vec::new());
        while at < ms {
            self.side.at(Millis::from_ms(at));
            self.drive();
            for output in self.side.outputs() {
                if let Output::Frame { link, bytes } = output {
                    frames.push(bytes);
                    self.broadcast.radio_ready(&mut self.side.core, link);
                }
            }
            let now = self.side.core.now();
            at += self.broadcast.next_timer(now).map_or(ms, |next| next.since(now).ms().max(1));
        }
        frames
    }
}

/// The owner of [`pair`] with a radio and a signed key, and the reader.
fn owner() -> (OnAir, TestSide, LayerId) {
    let (owner, reader, id) = pair();
    let mut station = OnAir::of(owner);
    station.renew_key(None);
    (station, reader, id)
}

/// The documents that decide about the rights of an owner's readers.
fn rights_of(owner: PeerId) -> [LayerId; 2] {
    [DocumentName::AUDIENCE, DocumentName::KEYS]
        .map(|name| LayerId { document: reserved_document(owner, name), author: owner })
}

// ---- keys ------------------------------------------------------------------------------------------------

#[test]
fn a_new_reader_gets_the_present_key_and_a_removed_one_renews_it() {
    let (mut station, reader, _) = owner();
    assert_eq!(station.renew_key(Some(&station.audience())), 1);
    let before = station.audience();
    station.side.trust(PeerId([9; 32]), TrustLevel::Trusted);
    station.side.sign_audience();
    assert_eq!(station.renew_key(Some(&before)), 1, "one more reader");
    let before = station.audience();
    station.side.remove(reader.me());
    station.side.sign_audience();
    assert_eq!(station.renew_key(Some(&before)), 2, "a reader has left");
}

#[test]
fn without_readers_there_is_no_key() {
    let mut side = TestSide::new(5);
    let broadcast = Broadcast::new([7; 16]);
    assert!(broadcast.key_renewal(&mut side.core, &side.replica, None).is_none());
}

#[test]
fn the_previous_key_is_used_until_every_reader_was_received_under_the_present_one() {
    let (mut station, reader, _) = owner();
    let third = PeerId([9; 32]);
    let leaving = PeerId([8; 32]);
    for peer in [third, leaving] {
        station.side.trust(peer, TrustLevel::Trusted);
    }
    station.side.sign_audience();
    station.drive();
    let before = station.audience();
    station.side.remove(leaving);
    station.side.sign_audience();
    station.renew_key(Some(&before));
    station.drive();
    let me = station.side.me();
    let needs = |station: &OnAir, peer: PeerId| {
        station.broadcast.shared.keys.needs_previous(&station.side.replica, &me, &[peer])
    };
    assert!(needs(&station, reader.me()) && needs(&station, third));
    station.broadcast.reader_has_key(&station.side.replica, RADIO, reader.me());
    assert!(!needs(&station, reader.me()) && needs(&station, third));
    assert!(!needs(&station, leaving), "a removed reader is owed nothing");
    station.broadcast.reader_has_key(&station.side.replica, RADIO, third);
    assert!(!needs(&station, third) && station.broadcast.is_stale, "the previous key is no longer opened");
    station.drive();
    let key = station.broadcast.audience_key(&station.side.core, &station.side.replica, &me).unwrap();
    assert_eq!(station.broadcast.shared.keys.previous(&me, &key), None);
}

/// A reader was removed, and another was not heard since: on a radio in clear nothing waits for a key, and a frontier leaves.
#[test]
fn a_radio_in_clear_goes_on_after_a_key_was_renewed() {
    let (owner, reader, _) = pair();
    let mut station = OnAir::with(owner, RadioSpec { mode: Mode::SignedClear, ..radio() });
    station.renew_key(None);
    let leaving = PeerId([8; 32]);
    station.side.trust(leaving, TrustLevel::Trusted);
    station.side.sign_audience();
    station.drive();
    let before = station.audience();
    station.side.remove(leaving);
    station.side.sign_audience();
    station.renew_key(Some(&before));
    station.drive();
    let (me, from) = (station.side.me(), reader.me());
    assert!(station.broadcast.shared.keys.needs_previous(&station.side.replica, &me, &[from]));
    station.broadcast.reader_has_key(&station.side.replica, RADIO, from);
    assert!(station.broadcast.shared.keys.needs_previous(&station.side.replica, &me, &[from]), "no proof");
    let heartbeat = Heartbeat { next_by_s: 60, fingerprint: 7, others: Vec::new() };
    station.broadcast.input(&station.side.core, RADIO, Input::Heartbeat { from, heartbeat });
    let frames = station.frames(60_000);
    let refused = station.side.core.metrics.rejections();
    assert_eq!(refused.map(|(why, _)| why.label()).collect::<Vec<_>>(), Vec::<&str>::new());
    let is_frontier =
        |frame: &Vec<u8>| Header::decode(frame).is_some_and(|(header, _)| header.kind == kinds::FRONTIER);
    assert!(frames.iter().any(is_frontier), "{} frames", frames.len());
}

/// A relay that has an owner's new audience and not its new key yet: what was signed after the removal waits for that key.
#[test]
fn a_relay_sends_nothing_that_a_removed_reader_could_open() {
    let (mut station, reader, id) = owner();
    let owner = station.side.me();
    let leaving = TestSide::new(8).me();
    let mut relay = OnAir::of(reader);
    let [audience, keys] = rights_of(owner);
    let waits = |relay: &OnAir| relay.broadcast.radios[&RADIO].awaits_key(&relay.side.replica, &id);
    station.side.trust(leaving, TrustLevel::Trusted);
    station.side.sign_audience();
    station.renew_key(None);
    for id in [&audience, &keys] {
        relay.takes(&station, id);
    }
    // One reader less.
    let before = station.audience();
    station.side.remove(leaving);
    station.side.sign_audience();
    station.renew_key(Some(&before));
    relay.takes(&station, &audience);
    assert!(!waits(&relay), "what was signed before the removal was for the removed reader too");
    station.side.set(&id.document, &[("c", Some(3))]);
    relay.takes(&station, &id);
    assert!(waits(&relay), "the removed reader has the key");
    relay.takes(&station, &keys);
    assert!(!waits(&relay));
}

/// A relay of an owner that has renewed its key, and the reader that has only the key before; the aliases of both keys.
fn relay_and_a_reader_behind() -> (OnAir, PeerId, PeerId, [[u8; 2]; 2]) {
    let (mut station, reader, _) = owner();
    let (owner, behind, leaving) = (station.side.me(), TestSide::new(9).me(), TestSide::new(8).me());
    let mut relay = OnAir::of(reader);
    relay.side.trust(behind, TrustLevel::Trusted);
    for peer in [behind, leaving] {
        station.side.trust(peer, TrustLevel::Trusted);
    }
    station.side.sign_audience();
    station.renew_key(None);
    rights_of(owner).iter().for_each(|id| relay.takes(&station, id));
    relay.drive();
    let before = relay.alias_of(&owner);
    let audience = station.audience();
    station.side.remove(leaving);
    station.side.sign_audience();
    station.renew_key(Some(&audience));
    rights_of(owner).iter().for_each(|id| relay.takes(&station, id));
    relay.drive();
    let present = relay.alias_of(&owner);
    (relay, owner, behind, [before, present])
}

/// The aliases that frontiers went out under.
fn frontiers(frames: &[Vec<u8>]) -> Vec<[u8; 2]> {
    let headers = frames.iter().filter_map(|frame| Header::decode(frame)).map(|(header, _)| header);
    headers.filter(|header| header.kind == kinds::FRONTIER).map(|header| header.alias.0).collect()
}

/// An owner, restarted since, opens nothing under its key before: what it asks is answered under the present one, also while another
/// reader is known to have only the old one.
#[test]
fn a_frontier_goes_out_under_a_key_of_those_that_wait_for_it() {
    let (mut relay, owner, behind, [before, present]) = relay_and_a_reader_behind();
    relay.hears(behind, Some(before));
    assert_eq!(frontiers(&relay.frames(60_000)), [before]);
    relay.hears(owner, None);
    assert_eq!(frontiers(&relay.frames_between(60_000, 120_000)), [present]);
    relay.hears(behind, Some(before));
    relay.hears(owner, None);
    let both = BTreeSet::from([before, present]);
    let sent = frontiers(&relay.frames_between(120_000, 180_000));
    assert_eq!((sent.len(), BTreeSet::from_iter(sent)), (2, both), "each has another key");
}

/// A relay that starts again after a renewal still has the key before it, for a reader that missed the renewal.
#[test]
fn the_key_before_a_renewal_outlives_a_restart() {
    let (mut relay, owner, behind, [before, present]) = relay_and_a_reader_behind();
    let key = relay.broadcast.audience_key(&relay.side.core, &relay.side.replica, &owner).unwrap();
    relay.drive();
    relay.side.outputs();
    let meta = relay.side.core.gate.load().unwrap().meta;
    let mut again = keys::Keys::default();
    again.load(&meta);
    assert_eq!(again.previous(&owner, &key).map(|key| key.alias().0), Some(before));
    assert_eq!(key.alias().0, present);
    let others = vec![(before, 7)];
    again.keys_named(behind, &Heartbeat { next_by_s: 600, fingerprint: 7, others });
    assert!(again.needs_previous(&relay.side.replica, &owner, &[behind]));
}

/// Who has only an old key, and then names that audience no more, is owed nothing under it.
#[test]
fn a_reader_that_left_is_not_behind_with_its_keys() {
    let (mut relay, owner, behind, [before, _]) = relay_and_a_reader_behind();
    let lacks_key =
        |relay: &OnAir| relay.broadcast.shared.keys.needs_previous(&relay.side.replica, &owner, &[behind]);
    relay.hears(behind, Some(before));
    assert!(lacks_key(&relay));
    relay.hears(behind, None);
    assert!(!lacks_key(&relay));
}

// ---- long messages ---------------------------------------------------------------------------------------

/// An owner that has begun to send its reader a map in fragments, with its rights; the reader has the key.
fn long_map() -> (OnAir, OnAir, LayerId, Vec<Vec<u8>>) {
    let (mut station, reader, id) = owner();
    let mut reader = OnAir::of(reader);
    let (owner, from) = (station.side.me(), reader.side.me());
    let rights = rights_of(owner);
    reader.side.replica.state(&rights[0]).expect("`pair` has given it the audience");
    reader.takes(&station, &rights[1]);
    reader.drive();
    let names: Vec<String> = (0..60).map(|n| format!("key number {n}")).collect();
    let changes: Vec<(&str, Option<u64>)> = names.iter().map(|name| (name.as_str(), Some(7))).collect();
    station.side.set(&id.document, &changes);
    station.broadcast.rights_changed();
    station.drive();
    let held = rights.map(|id| (id.clone(), station.side.replica.state(&id).unwrap()));
    station.is_told(owner, from, &held);
    let mut frames = Vec::new();
    for at in (0..60_000).step_by(50) {
        frames.extend(station.frames_between(at, at + 50));
        if station.long_messages().0 > 0 {
            break;
        }
    }
    (station, reader, id, frames)
}

/// The rest of a long message does not leave once all that listen have its content, however that came to them.
#[test]
fn a_long_message_ends_when_all_hold_its_content() {
    let (mut station, reader, id, _) = long_map();
    assert_eq!(station.long_messages(), (1, 0));
    let (owner, peer, layer) = (station.side.me(), reader.side.me(), id.hash());
    let state = station.side.replica.state(&id).unwrap();
    let other = PeerId([9; 32]);
    for (to, left) in [(other, 1), (peer, 0)] {
        let delivered = Input::DeliveredElsewhere { owner, peer: to, layer, state };
        station.broadcast.input(&station.side.core, RADIO, delivered);
        assert_eq!(station.long_messages(), (left, 0));
    }
}

/// What is missing of a long message is not asked for once its sender reports nothing that is not held here.
#[test]
fn a_part_of_what_is_held_by_another_way_is_dropped() {
    let (mut station, mut reader, id, mut frames) = long_map();
    frames.extend(station.frames_between(1_000, 60_000));
    let is_fragment = |frame: &Vec<u8>| Header::decode(frame).unwrap().0.kind == Kind::FRAGMENT;
    let lost = frames.iter().rposition(is_fragment).unwrap();
    let before: Vec<_> = frames.iter().take(lost).filter(|frame| !is_fragment(frame)).collect();
    let first = frames.iter().find(|frame| is_fragment(frame));
    for frame in before.into_iter().chain(first) {
        reader.broadcast.receive(&mut reader.side.core, RADIO, frame);
    }
    assert_eq!(reader.long_messages(), (0, 1));
    let owner = station.side.me();
    let [audience, keys] = rights_of(owner);
    let all = [audience, keys, id.clone()].map(|id| (id.clone(), station.side.replica.state(&id).unwrap()));
    reader.side.at(Millis::from_secs(3_600));
    reader.is_told(owner, owner, &all);
    assert_eq!(reader.long_messages(), (0, 1), "it lacks the map");
    reader.takes(&station, &id);
    reader.drive();
    reader.is_told(owner, owner, &all);
    assert_eq!(reader.long_messages(), (0, 0));
}

// ---- split commits ---------------------------------------------------------------------------------------

#[test]
fn a_commit_is_cut_into_parts_that_have_all_its_keys_once() {
    let (mut station, _, id) = owner();
    let names: Vec<String> = (0..40).map(|n| format!("key number {n}")).collect();
    let changes: Vec<(&str, Option<u64>)> = names.iter().map(|name| (name.as_str(), Some(7))).collect();
    let edits = station.side.edits(&changes);
    let all: BTreeSet<KeyPath> = edits.keys().cloned().collect();
    let OnAir { side, broadcast, .. } = &station;
    let parts = broadcast.split_map(&side.core, &side.replica, &id.document, edits);
    assert!(parts.len() > 1);
    let keys: Vec<KeyPath> = parts.iter().flat_map(|part| part.keys().cloned()).collect();
    assert_eq!(keys.len(), all.len());
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn one_key_and_a_node_without_a_radio_make_one_part() {
    let (mut station, _, id) = owner();
    let one = station.side.edits(&[("a", Some(1))]);
    let OnAir { side, broadcast, .. } = &station;
    assert_eq!(broadcast.split_map(&side.core, &side.replica, &id.document, one).len(), 1);
    let names: Vec<String> = (0..40).map(|n| format!("key number {n}")).collect();
    let changes: Vec<(&str, Option<u64>)> = names.iter().map(|name| (name.as_str(), Some(7))).collect();
    let many = station.side.edits(&changes);
    let none = Broadcast::new([7; 16]);
    assert_eq!(none.split_map(&station.side.core, &station.side.replica, &id.document, many).len(), 1);
}

// ---- devices ---------------------------------------------------------------------------------------------

#[test]
fn a_radio_that_comes_back_goes_on_and_one_with_other_settings_starts_again() {
    let (mut station, _, _) = owner();
    assert!(!station.frames(60_000).is_empty(), "it sends");
    let sent = |station: &OnAir| station.broadcast.radios[&RADIO].counts.frames_sent;
    let before = sent(&station);
    station.broadcast.radio_down(&mut station.side.core, RADIO, RadioDownReason::Closed);
    assert_eq!(station.broadcast.radios[&RADIO].fault(), Some(RadioDownReason::Closed));
    assert_eq!(station.broadcast.next_timer(Mono::ZERO), None, "nothing is due without a device");
    station.broadcast.radio_up(&mut station.side.core, RADIO, radio());
    assert!(station.broadcast.radios[&RADIO].is_up());
    assert_eq!(sent(&station), before);
    let other = RadioSpec { sign_every: 4, ..radio() };
    station.broadcast.radio_up(&mut station.side.core, RADIO, other);
    assert_eq!(sent(&station), 0);
}

#[test]
fn more_radios_than_the_limit_are_refused_and_counted() {
    let (mut station, _, _) = owner();
    for n in 0..RADIOS_MAX as u64 {
        let spec = RadioSpec { name: format!("radio {n}"), ..radio() };
        station.broadcast.radio_up(&mut station.side.core, LinkId(100 + n), spec);
    }
    assert_eq!(station.broadcast.radios().count(), RADIOS_MAX);
    let rejections: Vec<_> = station.side.core.metrics.rejections().collect();
    assert_eq!(rejections, [(InputRejection::TooManyRadios, 1)]);
}

// ---- frames ----------------------------------------------------------------------------------------------

/// The device loses power after any frame: what the frame depends on must be readable by then.
#[test]
fn a_record_is_on_disk_before_the_frame_that_depends_on_it_leaves() {
    let (mut station, _, _) = owner();
    station.drive();
    let frame = |output: &Output| matches!(output, Output::Frame { .. });
    assert!(station.side.core.gate.pop().is_none(), "nothing leaves before the commit");
    let mut at = 0;
    let outputs = loop {
        let outputs = station.side.outputs();
        if outputs.iter().any(frame) || at > 600_000 {
            break outputs;
        }
        at += 1_000;
        station.side.at(Millis::from_ms(at));
        station.drive();
    };
    assert!(outputs.iter().any(frame));
    let meta = station.side.core.gate.load().unwrap().meta;
    let epoch = meta.get("radio/radio/epoch").expect("the boot epoch of the first frame");
    assert_eq!(epoch, &station.broadcast.radios[&RADIO].station.epoch().number.to_be_bytes());
    assert!(meta.contains_key("radio/radio/ledger"), "its airtime is charged durably");
}

/// One list: what the station has goes before what is offered, and what is offered after the announcement that it needs. Proved by
/// the kinds of the first frames, where all of it is due at once.
#[test]
fn work_of_the_station_goes_before_what_is_offered() {
    let (mut station, _, _) = owner();
    station.drive();
    let joins = vec![vec![Kind::JOIN.first_byte(0); 40]; 2];
    let radio = station.broadcast.radios.get_mut(&RADIO).unwrap();
    radio.station.send_join(joins, Priority::Control, Account(2)).unwrap();
    let (mut at, mut kinds) = (60_000, Vec::new());
    while kinds.len() < 4 && at < 120_000 {
        station.side.at(Millis::from_ms(at));
        station.drive();
        for output in station.side.outputs() {
            if let Output::Frame { bytes, .. } = output {
                kinds.push(Kind::of(bytes[0]));
                station.broadcast.radio_ready(&mut station.side.core, RADIO);
            }
        }
        at += 1_000;
    }
    assert_eq!(kinds, [Kind::JOIN, Kind::JOIN, Kind::OPEN, super::kinds::HEARTBEAT]);
}

#[test]
fn a_withheld_layer_is_not_offered_and_does_not_go_out() {
    let (mut station, _, id) = owner();
    let side = &mut station.side;
    let on_air = |side: &TestSide| audience::layers_on_air(&side.replica, &id.document.owner, true);
    assert!(on_air(side).contains_key(&id.hash()));
    side.set(&id.document, &[("b", Some(2))]);
    side.core.gate.commit(Default::default()).unwrap();
    // A listener shows another root at a sequence that this node has passed.
    let held = side.replica.state(&id).unwrap();
    let shown = State { root_prefix: [held.root_prefix[0] ^ 1, 0, 0, 0], ..held };
    assert!(side.replica.withhold(&side.core, &id, vec![shown]));
    assert!(!on_air(side).contains_key(&id.hash()));
    let OnAir { side, unicast, broadcast } = &mut station;
    broadcast.stored(&side.core, &mut side.replica, unicast, &id, None);
    broadcast.rights_changed();
    broadcast.drive(&mut side.core, &mut side.replica, unicast);
    let engine = &broadcast.radios[&RADIO].engine;
    assert_eq!(engine.state(&side.me(), &id.hash()), None, "the engine has nothing to offer");
}

/// An untrusted peer, or one that the audience does not list, is no listener.
#[test]
fn only_members_of_the_audience_listen() {
    let (mut station, reader, _) = owner();
    station.side.trust(PeerId([9; 32]), TrustLevel::Untrusted);
    let me = station.side.me();
    assert_eq!(audience::listeners_of(station.side.replica.federation(), &me), [reader.me()]);
    station.side.trust(reader.me(), TrustLevel::Untrusted);
    assert!(audience::listeners_of(station.side.replica.federation(), &me).is_empty());
}

/// A listener with a link of its own has the keys from there: the air is spared.
#[test]
fn a_reader_with_a_wired_link_is_sent_no_keys_by_radio() {
    let (mut station, reader, _) = owner();
    station.drive();
    let heartbeat = Heartbeat { next_by_s: 60, fingerprint: 0, others: Vec::new() };
    station.unicast.put_link(Mono::ZERO, LinkId(1), reader.me(), link_caps(Medium::Lan));
    let compare = |station: &mut OnAir| {
        let OnAir { side, unicast, broadcast } = station;
        let parts = NodeParts { core: &side.core, replica: &side.replica, unicast };
        broadcast.compare_keys(parts, RADIO, reader.me(), &heartbeat);
        broadcast.radios[&RADIO].exchange.waits()
    };
    assert!(!compare(&mut station));
    station.unicast.remove_link(Mono::ZERO, LinkId(1), tombolo_transports::DownReason::Closed);
    assert!(compare(&mut station), "it does not name the present key");
}

#[test]
fn bytes_that_are_no_pair_message_are_malformed() {
    let (mut station, reader, _) = owner();
    let OnAir { side, unicast, broadcast } = &mut station;
    let parts = NodeParts { core: &side.core, replica: &side.replica, unicast };
    for bytes in [&[][..], &[9, 1], &[1, 0xff], &[0, 1]] {
        let received = broadcast.pair_message_received(parts, RADIO, reader.me(), bytes);
        assert!(matches!(received, PairReceived::Malformed), "{bytes:?}");
    }
}
