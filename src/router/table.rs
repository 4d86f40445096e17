//! The links that lead to each peer, with what is known of them: [`LinkTable::question`] makes a question for the decision of it.
//!
//! A link that went down stays in its peer's list, so that an explanation shows it and its failures count when it comes back; of
//! each kind of carrier one is kept. A radio stands in the table once, and in the list of each peer that it receives.

use std::collections::BTreeMap;

use tombolo_transports::{DownReason, LinkCaps, LinkId, LinkReport, Medium, PeerId};

use crate::router::decision::DWELL;
use crate::router::facts::{LastLink, LinkCondition, LinkFacts, Request, RouteQuestion, RouteTime};
use crate::router::measure::{LinkHealth, air};
use crate::router::{Class, LinkTerms, RoutePolicy};
use crate::time::{Millis, Mono};

/// Links that one question names: more than a node has carriers. Those beyond are left out, the newest first.
pub const LINKS_CONSIDERED_MAX: usize = 16;

/// One way to a peer.
#[derive(Clone, Debug)]
pub struct PeerPath {
    /// The session's link, or the radio.
    pub link: LinkId,
    /// What its carrier is born with.
    pub caps: LinkCaps,
    /// What traffic has shown.
    pub health: LinkHealth,
}

/// A radio as it is now.
#[derive(Clone, Debug)]
struct RadioNow {
    /// The name by which the operator knows it.
    name: String,
    caps: LinkCaps,
    free_in: Option<Millis>,
}

/// Which radios a question names beside the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RadioScope<'a> {
    /// None: the message belongs to a session.
    None,
    /// These, whether the peer was received there or not.
    These(&'a [LinkId]),
    /// Those on which the peer is present.
    Present,
}

/// The links to all peers.
#[derive(Clone, Debug, Default)]
pub struct LinkTable {
    paths: BTreeMap<PeerId, Vec<PeerPath>>,
    radios: BTreeMap<LinkId, RadioNow>,
    /// Until when a peer counts as present on a radio.
    present: BTreeMap<(PeerId, LinkId), Mono>,
    last: BTreeMap<(PeerId, Class), LastLink>,
}

impl LinkTable {
    // ---- what links do -----------------------------------------------------------------------------------

    /// A link to a peer has come up.
    pub fn link_up(&mut self, peer: PeerId, link: LinkId, caps: LinkCaps, now: Mono) {
        let paths = self.paths.entry(peer).or_default();
        let same = paths.iter_mut().find(|path| {
            path.link == link || (path.caps.medium == caps.medium && path.health.down_since().is_some())
        });
        match same {
            Some(path) => {
                path.health.up(now);
                (path.link, path.caps) = (link, caps);
            }
            None => paths.push(PeerPath { link, caps, health: LinkHealth::new(now) }),
        }
    }

    /// A link to a peer is gone.
    pub fn link_down(&mut self, peer: &PeerId, link: LinkId, why: DownReason, now: Mono) {
        let Some(paths) = self.paths.get_mut(peer) else { return };
        let Some(at) = paths.iter().position(|path| path.link == link) else { return };
        let is_one_of_several = paths.iter().enumerate().any(|(other, path)| {
            other != at && paths.get(at).is_some_and(|this| this.caps.medium == path.caps.medium)
        });
        match paths.get_mut(at) {
            Some(path) if !is_one_of_several => path.health.down(why, now),
            Some(_) => drop(paths.remove(at)),
            None => {}
        }
    }

    /// A link reports what it has measured.
    pub fn reported(&mut self, peer: &PeerId, link: LinkId, report: &LinkReport, now: Mono) {
        self.health_mut(peer, link, |health| health.reported(report, now));
    }

    /// The peer has sent something over a link.
    pub fn heard(&mut self, peer: &PeerId, link: LinkId, now: Mono) {
        self.health_mut(peer, link, |health| health.heard(now));
    }

    /// A question was sent over a link whose answer comes at once.
    pub fn asked(&mut self, peer: &PeerId, link: LinkId, now: Mono) {
        self.health_mut(peer, link, |health| health.asked(now));
    }

    /// The answer to a question has come over a link.
    pub fn answered(&mut self, peer: &PeerId, link: LinkId, now: Mono) {
        self.health_mut(peer, link, |health| health.answered(now));
    }

    fn health_mut(&mut self, peer: &PeerId, link: LinkId, change: impl FnOnce(&mut LinkHealth)) {
        let paths = self.paths.get_mut(peer);
        if let Some(path) = paths.and_then(|paths| paths.iter_mut().find(|path| path.link == link)) {
            change(&mut path.health);
        }
    }

    // ---- radios ------------------------------------------------------------------------------------------

    /// A radio as it is now: its rate, its loss and the airtime that is left.
    pub fn radio(&mut self, link: LinkId, name: &str, caps: LinkCaps, free_in: Option<Millis>) {
        match self.radios.get_mut(&link).filter(|radio| radio.name == name) {
            Some(radio) => (radio.caps, radio.free_in) = (caps, free_in),
            None => drop(self.radios.insert(link, RadioNow { name: name.to_owned(), caps, free_in })),
        }
    }

    /// Whether a radio of this name is up.
    pub fn has_radio(&self, name: &str) -> bool {
        self.radios.values().any(|radio| radio.name == name)
    }

    /// A radio's device is gone.
    pub fn radio_down(&mut self, link: LinkId) {
        self.radios.remove(&link);
        self.present.retain(|(_, radio), _| *radio != link);
    }

    /// A radio has received a peer, which counts as present until then.
    pub fn present(&mut self, peer: PeerId, radio: LinkId, until: Mono) {
        self.present.insert((peer, radio), until);
    }

    /// Drops what is known of a peer that was removed.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        self.paths.remove(peer);
        self.present.retain(|(of, _), _| of != peer);
        self.last.retain(|(of, _), _| of != peer);
    }

    // ---- reading -----------------------------------------------------------------------------------------

    /// The ways to a peer other than radios, also those that are down.
    pub fn paths(&self, peer: &PeerId) -> impl Iterator<Item = &PeerPath> {
        self.paths.get(peer).into_iter().flatten()
    }

    /// A radio as it is now; `None` while its device is down.
    pub fn radio_caps(&self, radio: LinkId) -> Option<&LinkCaps> {
        self.radios.get(&radio).map(|radio| &radio.caps)
    }

    /// The kind of carrier of a link or a radio.
    pub fn medium(&self, peer: &PeerId, link: LinkId) -> Option<Medium> {
        let path = self.paths(peer).find(|path| path.link == link).map(|path| path.caps.medium);
        path.or_else(|| self.radios.get(&link).map(|radio| radio.caps.medium))
    }

    /// The question over which link a message to a peer goes.
    pub fn question(
        &self,
        peer: &PeerId,
        request: Request,
        radios: RadioScope<'_>,
        policy: &RoutePolicy,
        document: Option<(&PeerId, &str)>,
        now: RouteTime,
    ) -> RouteQuestion {
        let mut links = Vec::with_capacity(4);
        links.extend(self.paths(peer).map(|path| link_facts(path, policy, now.mono)));
        let spared = self.spared(peer, now.mono);
        let mut add = |link: LinkId| {
            if let Some(radio) = self.radios.get(&link) {
                links.push(radio_facts(link, radio, policy, spared));
            }
        };
        match radios {
            RadioScope::None => {}
            RadioScope::These(these) => these.iter().copied().for_each(&mut add),
            RadioScope::Present => {
                let of_peer = self.present.range((*peer, LinkId(0))..=(*peer, LinkId(u64::MAX)));
                of_peer.filter(|(_, until)| **until > now.mono).for_each(|((_, link), _)| add(*link));
            }
        }
        links.truncate(LINKS_CONSIDERED_MAX);
        let route = policy.route(peer, document);
        let last = self.last.get(&(*peer, request.class)).copied();
        RouteQuestion { request, route, now, last, links }
    }

    /// A message of a class goes to a peer over a link. Returns whether another one had carried them until now.
    pub(super) fn carried(&mut self, peer: PeerId, class: Class, link: LinkId, now: Mono) -> bool {
        match self.last.get_mut(&(peer, class)) {
            Some(last) if last.link == link => false,
            Some(last) => {
                *last = LastLink { link, since: now };
                true
            }
            None => {
                self.last.insert((peer, class), LastLink { link, since: now });
                false
            }
        }
    }

    /// Whether radios to a peer are spared, since a link without airtime has just failed and no other one is up.
    fn spared(&self, peer: &PeerId, now: Mono) -> LinkCondition {
        let paths = || self.paths(peer).filter(|path| path.caps.airtime_us_per_byte == 0);
        if paths().any(|path| path.health.up_since().is_some()) {
            return LinkCondition::Steady;
        }
        let lost = paths().filter_map(|path| {
            let failed = path.health.failures().next_back()?;
            let is_last = path.health.down_since() == Some(failed.at);
            (is_last && failed.at + DWELL > now).then_some((failed.at + DWELL, path.caps.medium))
        });
        match lost.max() {
            Some((until, lost)) => LinkCondition::Spared { lost, until },
            None => LinkCondition::Steady,
        }
    }
}

fn link_facts(path: &PeerPath, policy: &RoutePolicy, now: Mono) -> LinkFacts {
    let PeerPath { link, caps, health } = path;
    facts(*link, caps, health.path(caps), None, policy.terms(caps.medium), health.condition(now))
}

fn radio_facts(link: LinkId, radio: &RadioNow, policy: &RoutePolicy, condition: LinkCondition) -> LinkFacts {
    let RadioNow { name, caps, free_in } = radio;
    let terms = policy.radio_terms(name);
    facts(link, caps, LinkHealth::new(Mono::ZERO).path(caps), *free_in, terms, condition)
}

fn facts(
    link: LinkId,
    caps: &LinkCaps,
    path: crate::router::facts::PathFacts,
    free_in: Option<Millis>,
    mut terms: LinkTerms,
    condition: LinkCondition,
) -> LinkFacts {
    terms.metered |= caps.metered;
    LinkFacts {
        link,
        medium: caps.medium,
        message_bytes_max: caps.message_bytes_max,
        confidential: caps.confidential,
        path,
        air: air(caps, free_in),
        terms,
        condition,
    }
}
