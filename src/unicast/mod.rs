//! Links to one peer each: which are up, what the sync engine wants sent over them, and the router's choice among them.
//!
//! [`Unicast`] owns the sync engine and the router. It receives news of the replica ([`Unicast::stored`], …), and
//! [`Unicast::drain`] sends what the engine wants: messages between engines first, then layers, those about rights first.
//! Radios are its sister room, `broadcast`; that room asks the router here for each listener.
//!
//! Invariant: nothing is sent to a peer that the audience of the layer's owner does not list.

mod boots;
mod dispatch;
mod hand;
mod hedges;
mod misread;
mod routes;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::{DownReason, LinkCaps, LinkId, LinkReport, PeerId};

use crate::core::{Core, InputRejection, reserved_document};
use crate::federation::Refusal;
use crate::io::{Alarm, Event, Output};
use crate::layer::{DocumentId, DocumentName, LayerHash, LayerId, Sequence, SignedHead};
use crate::limits::PARTS_BYTES_MAX;
use crate::presence::{HeardOver, HearsUs, HearsUsProof};
use crate::random::Random;
use crate::replica::{OwnStateClaim, Replica, Stored};
use crate::router::{Class, RadioScope, Request, RoutePolicy, RouteTime, Routed, Subject, TransportRouter};
use crate::sync::broadcast::LayerLag;
use crate::sync::frontier::{Frontier, NamedBuckets, State};
use crate::sync::message::{Message, PeerClock};
use crate::sync::transfer::TransferLane;
use crate::sync::{self, ConvergenceTimes, Engine};
use crate::time::{Millis, Mono};
use boots::Boots;
pub use dispatch::{Dispatch, Dispatched, LinkNews, SupplyRequest};
use hand::HandReceipts;
use hedges::Hedges;
use misread::Misread;

/// Bytes of layers supplied between two polls; what is beyond is asked for again.
const SUPPLY_BYTES_PER_TURN_MAX: usize = 4 * 1024 * 1024;

/// A link to a peer.
#[derive(Clone, Debug)]
pub struct UnicastLink {
    /// The peer at its far end.
    pub peer: PeerId,
    /// The properties that the router judges it by.
    pub caps: LinkCaps,
}

/// The links to one peer each.
#[derive(Debug)]
pub struct Unicast {
    links: BTreeMap<LinkId, UnicastLink>,
    engine: Engine,
    router: TransportRouter,
    boots: BTreeMap<PeerId, Boots>,
    hedges: Hedges,
    /// For the radios. Emptied in each turn.
    news: Vec<LinkNews>,
    supplied_bytes: usize,
    receipts: HandReceipts,
    misread: Misread,
}

impl Unicast {
    /// A part without links yet, and an engine that knows no layer.
    pub fn new(core: &mut Core) -> Self {
        Unicast {
            links: BTreeMap::new(),
            engine: Self::engine(core, Frontier::default()),
            router: TransportRouter::new(RoutePolicy::new(core.settings.routes.clone())),
            boots: BTreeMap::new(),
            hedges: Hedges::default(),
            news: Vec::new(),
            supplied_bytes: 0,
            receipts: HandReceipts::default(),
            misread: Misread::default(),
        }
    }

    fn engine(core: &mut Core, held: Frontier) -> Engine {
        Engine::new(held, core.settings.heartbeat, Random::new(&core.random.bytes()))
    }

    /// Starts the engine again with what the replica holds; links have to come up again.
    pub fn load(&mut self, core: &mut Core, replica: &Replica) {
        self.engine = Self::engine(core, replica.frontier());
        self.hedges = Hedges::default();
    }

    // ---- links -------------------------------------------------------------------------------------------

    /// The links that are up.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &UnicastLink)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// The peer and properties of a link that is up.
    pub fn link(&self, link: LinkId) -> Option<&UnicastLink> {
        self.links.get(&link)
    }

    /// Whether a link to a peer is up.
    pub fn has_link_to(&self, peer: &PeerId) -> bool {
        self.links.values().any(|link| link.peer == *peer)
    }

    /// The peers that a link leads to.
    pub fn connected_peers(&self) -> BTreeSet<PeerId> {
        self.links.values().map(|link| link.peer).collect()
    }

    /// Takes a link in. Returns whether it is the first to its peer.
    pub fn put_link(&mut self, now: Mono, link: LinkId, peer: PeerId, caps: LinkCaps) -> bool {
        let is_first = !self.has_link_to(&peer);
        self.router.table.link_up(peer, link, caps.clone(), now);
        self.links.insert(link, UnicastLink { peer, caps });
        is_first
    }

    /// Takes a link out. Returns it, and whether it was the last to its peer.
    pub fn remove_link(&mut self, now: Mono, link: LinkId, why: DownReason) -> Option<(UnicastLink, bool)> {
        let removed = self.links.remove(&link)?;
        self.router.table.link_down(&removed.peer, link, why, now);
        self.hedges.link_down(link, now);
        let is_last = !self.has_link_to(&removed.peer);
        if !is_last {
            self.engine.handle_input(now, sync::Input::LinkLost { peer: removed.peer });
        }
        Some((removed, is_last))
    }

    /// Takes all links out, to put them in again.
    pub fn take_links(&mut self) -> BTreeMap<LinkId, UnicastLink> {
        std::mem::take(&mut self.links)
    }

    /// Puts links back that could not be put in again yet.
    pub fn restore_links(&mut self, links: BTreeMap<LinkId, UnicastLink>) {
        self.links = links;
    }

    /// The links to a peer.
    pub fn links_to(&self, peer: &PeerId) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.peer == *peer).map(|(id, _)| *id).collect()
    }

    // ---- what is measured --------------------------------------------------------------------------------

    /// A link reports what it has measured.
    pub fn measured(&mut self, core: &Core, link: LinkId, report: &LinkReport) {
        if let Some(of) = self.links.get(&link) {
            self.router.table.reported(&of.peer, link, report, core.now());
        }
    }

    /// Something was received over a link.
    pub fn heard(&mut self, core: &Core, link: LinkId) {
        if let Some(of) = self.links.get(&link) {
            self.router.table.heard(&of.peer, link, core.now());
        }
    }

    /// A frontier came over a link. One that answers a question, and so names whole buckets, measures the round trip.
    pub fn frontier_over(&mut self, core: &Core, link: LinkId, buckets: &NamedBuckets) {
        if let Some(of) = self.links.get(&link).filter(|_| !buckets.is_empty()) {
            self.router.table.answered(&of.peer, link, core.now());
        }
    }

    /// A peer was removed.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        self.router.forget_peer(peer);
    }

    // ---- news for the engine -----------------------------------------------------------------------------

    /// A first link to a peer is up.
    pub fn peer_up(&mut self, core: &Core, replica: &Replica, peer: PeerId) {
        let ours = replica.frontier_for(&peer);
        self.news.push(LinkNews::Back(peer));
        self.engine.handle_input(core.now(), sync::Input::PeerUp { peer, ours });
    }

    /// The last link to a peer is gone. What it has not shown as received since may have been lost with that link.
    pub fn peer_down(&mut self, core: &Core, peer: PeerId) {
        let unconfirmed = self.engine.unconfirmed(&peer);
        self.news.extend(unconfirmed.map(|(layer, held)| LinkNews::Undelivered { peer, layer, held }));
        self.news.push(LinkNews::Gone(peer));
        self.hedges.peer_down(&peer);
        self.misread.forget(&peer);
        self.engine.handle_input(core.now(), sync::Input::PeerDown { peer });
    }

    /// Rights changed: what was refused may be taken now.
    pub fn rights_changed(&mut self, core: &Core) {
        self.engine.handle_input(core.now(), sync::Input::RightsChanged);
    }

    /// Rights changed: this much is held, and each connected peer may see so much of it from now on.
    pub fn renew_frontiers(&mut self, core: &Core, replica: &Replica) {
        self.engine.handle_input(core.now(), sync::Input::Held { held: replica.frontier() });
        for peer in self.connected_peers() {
            let ours = replica.frontier_for(&peer);
            self.engine.handle_input(core.now(), sync::Input::Rights { peer, ours });
        }
    }

    /// A layer has a new state; `from` is the peer that sent it.
    pub fn stored(&mut self, core: &Core, replica: &Replica, stored: &Stored, from: Option<PeerId>) {
        let now = core.now();
        for layer in &stored.dropped {
            self.engine.handle_input(now, sync::Input::Dropped { layer: *layer });
        }
        let (layer, state) = (stored.id.hash(), stored.state);
        let mut readers = self.connected_peers();
        readers.retain(|peer| replica.may_receive(peer, &stored.id));
        self.engine.handle_input(now, sync::Input::Stored { layer, state, readers, from });
        if let Some(peer) = from {
            self.acknowledge(core, peer, &stored.id);
        }
    }

    /// A peer has sent a layer that is held now. The arrival of what is hedged is shown at once, or a second copy would follow.
    pub fn acknowledge(&mut self, core: &Core, peer: PeerId, id: &LayerId) {
        if class_of(id).is_hedged() {
            self.engine.handle_input(core.now(), sync::Input::Acknowledge { peer, layer: id.hash() });
        }
    }

    /// What radios have to know of links; it is returned once.
    pub fn take_news(&mut self) -> Vec<LinkNews> {
        std::mem::take(&mut self.news)
    }

    /// The link that has carried a layer to a peer and stayed silent, until its second copy was due.
    pub fn silent_link(&self, peer: &PeerId, layer: &LayerHash) -> Option<LinkId> {
        self.hedges.silent_link(peer, layer).filter(|_| self.engine.is_unconfirmed(peer, layer))
    }

    /// A message arrived on a link: its peer is present there, and a heartbeat shows by when it is heard next, and when it last
    /// received anything of this node.
    pub fn peer_heard(&self, core: &mut Core, link: LinkId, message: &Message) {
        let Some(UnicastLink { peer, caps }) = self.links.get(&link) else { return };
        let (now, over) = (core.now(), HeardOver { link, medium: caps.medium });
        let Message::Heartbeat { next_by_s, heard_s_ago, .. } = message else {
            return core.presence.heard(now, *peer, over, None);
        };
        core.presence.heard(now, *peer, over, Some(Millis::from_secs(u64::from(*next_by_s))));
        if let Some(ago) = heard_s_ago {
            let at = now - Millis::from_secs(u64::from(*ago));
            let proved = HearsUs { at, medium: over.medium, proof: HearsUsProof::Heartbeat };
            core.presence.hears(*peer, proved);
        }
    }

    /// A message of the engine's own kinds arrived.
    pub fn received(&mut self, core: &Core, peer: PeerId, message: Message) {
        self.engine.handle_input(core.now(), sync::Input::Received { peer, message });
    }

    /// A delta arrived whose base is not held here.
    pub fn base_missing(&mut self, core: &Core, peer: PeerId) {
        self.engine.handle_input(core.now(), sync::Input::BaseMissing { peer });
    }

    /// A layer that a peer sent was refused.
    pub fn refused(&mut self, core: &Core, peer: PeerId, signed: &SignedHead, refusal: Refusal) {
        let layer = signed.head.layer.hash();
        let input = match refusal {
            // The audience, or the owner's layer, is on its way, from this peer or another.
            Refusal::NoSuchDocument if signed.head.layer.document.owner == core.me => sync::Input::Refuse {
                peer,
                layer,
                sequence: signed.head.sequence,
                reason: refusal.code(),
                lasting: true,
            },
            Refusal::AudienceBehind | Refusal::NoSuchDocument => {
                sync::Input::TooEarly { peer, layer, state: State::of(signed) }
            }
            Refusal::OwnerNotTrusted
            | Refusal::ObservedOnly
            | Refusal::NotAWriter
            | Refusal::Ended
            | Refusal::Forgotten
            | Refusal::Quota => sync::Input::Refuse {
                peer,
                layer,
                sequence: signed.head.sequence,
                reason: refusal.code(),
                lasting: refusal != Refusal::Quota,
            },
        };
        self.engine.handle_input(core.now(), input);
    }

    /// Gives the engine the present time.
    pub fn timeout(&mut self, core: &Core) {
        self.engine.handle_input(core.now(), sync::Input::Timeout);
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        [self.engine.poll_timeout(), self.hedges.poll_timeout()].into_iter().flatten().min()
    }

    /// The newest state of a layer that any peer has shown.
    pub fn newest_known(&self, layer: &LayerHash) -> Option<State> {
        self.engine.newest_known(layer)
    }

    /// How far a connected peer and this node lag behind each other.
    pub fn lag(&self, peer: &PeerId) -> Option<sync::LinkLag> {
        self.engine.lag(peer)
    }

    /// The layers that were sent to a peer, and that it has not shown as received, with what it held before.
    pub fn unconfirmed(&self, peer: &PeerId) -> impl Iterator<Item = (LayerHash, Option<State>)> {
        self.engine.unconfirmed(peer)
    }

    /// The layers in which a connected peer and this node differ, as far as the peer has reported.
    pub fn layer_lags(&self, peer: &PeerId) -> Vec<LayerLag> {
        self.engine.layer_lags(peer)
    }

    /// How long differences with peers lasted that have ended since the start.
    pub fn converged(&self) -> ConvergenceTimes {
        self.engine.converged()
    }

    // ---- clocks of peers ---------------------------------------------------------------------------------

    /// A peer's heartbeat shows its clock, if that is set, with its boot and uptime. Where they show, for the first time in a
    /// while, that two machines run with the peer's key, that is an alarm.
    pub fn clock_received(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        peer: PeerId,
        clock: Option<PeerClock>,
    ) {
        let Some(clock) = clock else { return };
        if self.boots.entry(peer).or_default().received(clock.boot, clock.uptime, core.now()) {
            let name = replica.name_of(core, &peer);
            core.event(Event::Alarm(Alarm::TwoMachines { peer: name }));
        }
        // An observer reads what this node has; its clock decides nothing here.
        if replica.federation().level(&peer).may_write() {
            core.clock.clock_received(peer, clock);
        }
    }

    /// Peers whose key two machines run with.
    pub fn run_twice(&self, core: &Core) -> impl Iterator<Item = &PeerId> {
        let now = core.now();
        self.boots.iter().filter(move |(_, boots)| boots.is_twice(now)).map(|(peer, _)| peer)
    }

    // ---- sending -----------------------------------------------------------------------------------------

    /// The router, which chooses among links and radios.
    pub fn router(&self) -> &TransportRouter {
        &self.router
    }

    /// The same, to decide and count.
    pub fn router_mut(&mut self) -> &mut TransportRouter {
        &mut self.router
    }

    /// Asks the router for a link, and sends the message over it. A message that the router gives to a radio does not leave
    /// here.
    pub fn send(&mut self, core: &mut Core, dispatch: Dispatch<'_>, message: &Message) -> Dispatched {
        let bytes = message.encode();
        let Dispatch { peer, class, subject, confidential, radios, silent, over } = dispatch;
        let request = Request { confidential, silent, over, ..Request::new(class, bytes.len()) };
        let routed = self.router.route(peer, subject, request, radios, route_time(core));
        let Some(chosen) = routed.chosen else {
            core.reject_from(Some(peer), InputRejection::NoLinkMayCarry);
            return Dispatched::Stranded;
        };
        let Some(link) = self.links.get(&chosen) else {
            return Dispatched::ForRadio { radio: chosen, routed };
        };
        let length = bytes.len();
        core.metrics.sent_to(link.peer, link.caps.medium, length);
        if matches!(message, Message::Ask(_)) {
            self.router.table.asked(&peer, chosen, core.now());
        }
        core.gate.output(Output::Send { link: chosen, bytes });
        Dispatched::Sent { bytes: length, routed }
    }

    /// Sends the answer to a peer's question for parts of a large layer, if there is one, over the link that the peer has asked on.
    pub fn answer(&mut self, core: &mut Core, peer: PeerId, link: LinkId, answer: Option<Message>) {
        if let Some(message) = answer {
            let dispatch = Dispatch::new(peer, Class::Bulk, Subject::Parts);
            self.send(core, Dispatch { over: Some(link), ..dispatch }, &message);
        }
    }

    /// The links over which parts of large layers may come from these peers, each with the time that a full answer takes: the one that
    /// the router chooses, and those that it would choose but for time.
    fn lanes(&self, core: &Core, peers: &BTreeSet<PeerId>) -> Vec<TransferLane> {
        let request = Request::new(Class::Bulk, PARTS_BYTES_MAX);
        let mut lanes = Vec::new();
        for peer in peers {
            let decision =
                self.router.consider(peer, &Subject::Parts, request, RadioScope::None, route_time(core));
            lanes.extend(decision.lanes().map(|(link, arrives)| TransferLane { peer: *peer, link, arrives }));
        }
        lanes
    }

    /// Counts a message of a peer that is none, and answers with how many there were.
    pub fn not_understood(&mut self, core: &mut Core, peer: PeerId, bytes: &[u8]) {
        if let Some(answer) = self.misread.count(peer, bytes, core.now()) {
            self.send(core, Dispatch::new(peer, Class::Upkeep, Subject::Engine), &answer);
        }
    }

    /// Sends what the engine wants.
    pub fn drain(&mut self, core: &mut Core, replica: &mut Replica) {
        let engine = &self.engine;
        let due = self.hedges.take_due(core.now(), |peer, layer| engine.is_unconfirmed(peer, layer));
        let again = due.into_iter().map(|(peer, hedge)| {
            let (class, silent) = (class_of(&hedge.id), Some(hedge.link));
            SupplyRequest { peer, class, id: hedge.id, held: hedge.held, silent }
        });
        let mut supplies: Vec<SupplyRequest> = again.collect();
        while let Some(output) = self.engine.poll_output() {
            match output {
                sync::Output::Send { peer, message } => {
                    self.send(core, Dispatch::new(peer, Class::Upkeep, Subject::Engine), &message);
                }
                sync::Output::Heartbeat { peer, fingerprint, next_by_s } => {
                    let clock = core.clock.own_clock();
                    let heard = core.presence.heard_by_session(core.now(), &peer);
                    let heard_s_ago = heard.map(|ago| u32::try_from(ago.ms() / 1000).unwrap_or(u32::MAX));
                    let heartbeat = Message::Heartbeat { fingerprint, next_by_s, clock, heard_s_ago };
                    self.send(core, Dispatch::new(peer, Class::Upkeep, Subject::Engine), &heartbeat);
                }
                sync::Output::Supply { peer, layer, held } => {
                    if let Some(id) = replica.layer_id(&layer) {
                        let class = class_of(&id);
                        supplies.push(SupplyRequest { peer, class, id, held, silent: None });
                    }
                }
            }
        }
        let ahead: Vec<SupplyRequest> =
            supplies.iter().filter_map(|request| self.audience_ahead(replica, request)).collect();
        supplies.extend(ahead);
        // What lists the readers goes first, also before alarms: without it the rest is refused.
        supplies.sort_by_key(|request| (!request.is_audience(), request.class));
        for request in supplies {
            if self.supplied_bytes <= SUPPLY_BYTES_PER_TURN_MAX {
                self.supplied_bytes += self.supply(core, replica, &request);
            } else {
                // The peer asks again: it cannot make this node hold more than a turn's worth of messages.
                self.not_supplied(core, request.peer, &request.id, request.held);
            }
        }
        let sources = replica.transfer_sources();
        let lanes = if sources.is_empty() { Vec::new() } else { self.lanes(core, &sources) };
        for (TransferLane { peer, link, .. }, message) in replica.transfer_questions(core.now(), &lanes) {
            let dispatch = Dispatch::new(peer, Class::Bulk, Subject::Parts);
            self.send(core, Dispatch { over: Some(link), ..dispatch }, &message);
        }
    }

    /// The audience under which a layer was signed, where its reader has not shown it: the reader may not have asked for it yet.
    fn audience_ahead(&mut self, replica: &Replica, request: &SupplyRequest) -> Option<SupplyRequest> {
        let owner = request.id.document.owner;
        if request.is_audience() || request.peer == owner {
            return None;
        }
        let needed = replica.layer(&request.id)?.head().audience_sequence;
        let document = reserved_document(owner, DocumentName::AUDIENCE);
        let id = LayerId { document, author: owner };
        let held = self.engine.supply_ahead(&request.peer, id.hash(), needed)?;
        Some(SupplyRequest { class: class_of(&id), id, held, silent: None, ..request.clone() })
    }

    /// Sends a layer's newest state to one peer, unless the peer has to be asked first for an own state that is not known
    /// here. Returns the message's length.
    pub fn supply(&mut self, core: &mut Core, replica: &mut Replica, request: &SupplyRequest) -> usize {
        let SupplyRequest { peer, class, id, held, silent } = request;
        let (peer, class, held, silent) = (*peer, *class, *held, *silent);
        let claim = match id.author == core.me {
            true => replica.claim(core, peer, id, held),
            false => OwnStateClaim::No,
        };
        if claim == OwnStateClaim::Ask {
            let question = Message::Want(vec![(id.hash(), None)]);
            self.send(core, Dispatch::new(peer, Class::Document, Subject::Engine), &question);
        }
        if claim != OwnStateClaim::No {
            self.not_supplied(core, peer, id, held);
            return 0;
        }
        let Some(message) = replica.supply(&peer, id, held) else { return 0 };
        let sequence = replica.state(id).map_or(Sequence::NONE, |state| state.sequence);
        let dispatch = Dispatch {
            confidential: is_confidential(replica, &id.document),
            radios: RadioScope::Present,
            silent,
            ..Dispatch::new(peer, class, subject_of(id, sequence))
        };
        match (self.send(core, dispatch, &message), silent) {
            (Dispatched::Sent { bytes, routed }, None) => {
                if let Routed { chosen: Some(link), hedge_after: Some(wait), .. } = routed {
                    self.hedges.went_over(peer, id, link, held, core.now() + wait);
                }
                bytes
            }
            (Dispatched::Sent { bytes, .. }, Some(_)) => bytes,
            // The first copy may have arrived: the engine of links goes on as if it had.
            (Dispatched::ForRadio { .. }, Some(_)) => {
                self.news.push(LinkNews::Undelivered { peer, layer: id.hash(), held });
                0
            }
            (Dispatched::Stranded, Some(_)) => 0,
            (Dispatched::ForRadio { .. } | Dispatched::Stranded, None) => {
                self.not_supplied(core, peer, id, held);
                0
            }
        }
    }

    fn not_supplied(&mut self, core: &Core, peer: PeerId, id: &LayerId, held: Option<State>) {
        let layer = id.hash();
        self.engine.handle_input(core.now(), sync::Input::NotSupplied { peer, layer, held });
    }

    /// The outputs of this turn were committed: the next may supply as much again.
    pub fn end_turn(&mut self) {
        self.supplied_bytes = 0;
    }

    /// A link came up or went down, for watchers.
    pub fn link_event(core: &mut Core, link: &UnicastLink, up: bool) {
        let medium = link.caps.medium.to_string();
        let peer = crate::identity::did(&link.peer);
        core.event(Event::Link(crate::io::view::LinkEventView { peer, medium, up }));
    }
}

/// The class of a layer's state.
pub fn class_of(id: &LayerId) -> Class {
    match id.document.name.as_str() {
        DocumentName::AUDIENCE | DocumentName::KEYS => Class::Rights,
        DocumentName::ALARMS => Class::Alarm,
        DocumentName::STATE => Class::State,
        _ => Class::Document,
    }
}

/// What a state of a layer is in the decisions about it.
pub fn subject_of(id: &LayerId, sequence: Sequence) -> Subject {
    Subject::Layer {
        owner: id.document.owner,
        name: id.document.name.as_str().to_owned(),
        author: id.author,
        sequence: sequence.get(),
    }
}

/// Whether outsiders must not read a document: its owner sets that in the audience, which is itself signed and in the open.
pub fn is_confidential(replica: &Replica, document: &DocumentId) -> bool {
    document.name.as_str() != DocumentName::AUDIENCE && replica.federation().policy(document).confidential
}

/// Now, by the clocks that a decision depends on.
pub fn route_time(core: &Core) -> RouteTime {
    let minute_of_day = core.reference().ms() / 60_000 % (24 * 60);
    RouteTime {
        mono: core.now(),
        minute_of_day: u16::try_from(minute_of_day).expect("a day has 1,440 minutes"),
    }
}

#[cfg(test)]
mod tests;
