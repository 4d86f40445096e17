//! Presence: whether each peer is *here*, *quiet until* a time, *overdue*, its *link lost*, or *gone*.
//!
//! A peer names with its heartbeats by when it is to be heard next. [`PresenceBook`] keeps, per peer and link, when it was last
//! heard and that promise, and [`PresenceBook::presence`] concludes. Every message counts as a heartbeat. The best link
//! decides: a peer that is heard by radio is not lost because its session has closed. Time alone makes a state worse, step
//! by step, and each conclusion carries the rule that gave it and the age of what is known.
//!
//! Pure: no clock, no socket. `node`, `unicast` and `broadcast` report what happens; `report` shows it; a watch
//! reads [`PresenceBook::take_changes`]. What a node's signed state shows of its peers is in [`sighting`], the
//! last day of a peer in [`HearingStrip`].

pub mod sighting;
mod state;
mod strip;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::{LinkId, Medium, PeerId};

use crate::time::{Millis, Mono, Wall};
use sighting::Sighting;
pub use state::{
    HeardOver, HearsUs, HearsUsProof, PeerPresence, PresenceReason, PresenceState, SilenceCause,
};
pub use strip::{HALF_HOURS, HalfHour, HearingStrip};

/// A link is lost when so many "next by" have passed in silence.
pub const MISSED_MAX: u64 = 3;
/// A peer is gone when it was silent for so long on every link, and its link is lost.
pub const GONE_AFTER: Millis = Millis::from_secs(24 * 60 * 60);
/// A peer heard by radio is *here* for so long after a frame, then *quiet until* its "next by".
pub const HERE_AFTER_FRAME: Millis = Millis::from_secs(60);
/// The "next by" of a session before its first heartbeat names one.
pub const SESSION_NEXT_BY_FIRST: Millis = Millis::from_secs(60);
/// The "next by" of a radio before the first heartbeat, and of a peer that was heard before this node started.
pub const RADIO_NEXT_BY_FIRST: Millis = Millis::from_secs(20 * 60);
/// The longest "next by" that is believed.
pub const NEXT_BY_MAX: Millis = Millis::from_secs(24 * 60 * 60);
/// The shortest "next by" that is believed: a shorter one would make a peer overdue between two messages.
pub const NEXT_BY_MIN: Millis = Millis::from_secs(1);

/// What is known of every peer on every link. Peers that were never heard have no entry.
#[derive(Debug, Default)]
pub struct PresenceBook {
    peers: BTreeMap<PeerId, PeerContacts>,
    /// This node's radios that are down, and since when.
    radios_down: BTreeMap<LinkId, Mono>,
    /// Peers of which something has happened since the last [`take_changes`](Self::take_changes).
    touched: BTreeSet<PeerId>,
    /// When a state may change by time alone: at that time at the latest all peers are looked at.
    due: Option<Mono>,
}

#[derive(Debug, Default)]
struct PeerContacts {
    /// One a radio, one an open session, and at most one closed session of each medium.
    contacts: BTreeMap<LinkId, Contact>,
    /// What the disk knows from before the start.
    before: Option<Contact>,
    hears_us: Option<HearsUs>,
    /// The state that was last handed out as a change.
    shown: Option<PresenceState>,
    /// The last day in half hours.
    strip: HearingStrip,
}

/// What is known of a peer on one link.
#[derive(Clone, Copy, Debug)]
struct Contact {
    medium: Medium,
    heard_at: Mono,
    /// Silence before `heard_at`: of a peer that was heard before the clock that `Mono` counts.
    silent_before: Millis,
    next_within: Millis,
    session: SessionState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Up,
    Closed(Mono),
    /// A radio has no session.
    None,
}

/// A peer's state has become better or worse. *Here* and *quiet* count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The peer that this concerns.
    pub peer: PeerId,
    /// What it was; none: it is heard for the first time.
    pub before: Option<PresenceState>,
    /// What it is now, with the reason.
    pub now: PeerPresence,
}

impl PresenceBook {
    // ---- what happens ------------------------------------------------------------------------------------

    /// A peer was heard this long before the start, by a record on disk.
    pub fn heard_before_start(&mut self, now: Mono, peer: PeerId, ago: Millis) {
        self.peers.entry(peer).or_default().before = Some(Contact {
            medium: Medium::Mesh,
            heard_at: now,
            silent_before: ago,
            next_within: RADIO_NEXT_BY_FIRST,
            session: SessionState::None,
        });
        self.touch(now, peer);
    }

    /// A session with a peer is up; it has greeted.
    pub fn session_up(&mut self, now: Mono, peer: PeerId, over: HeardOver) {
        let known = self.peers.entry(peer).or_default();
        known.contacts.retain(|_, contact| contact.medium != over.medium || !contact.is_closed());
        let heard = Contact { session: SessionState::Up, ..Contact::first(now, over.medium) };
        known.strip.heard(now, heard.next_by());
        known.contacts.insert(over.link, heard);
        self.touch(now, peer);
    }

    /// A session has closed. Until its "next by" the peer may come back without having been missed.
    pub fn session_down(&mut self, now: Mono, peer: &PeerId, link: LinkId) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        let Some(contact) = known.contacts.get_mut(&link) else { return };
        if contact.session != SessionState::Up {
            return;
        }
        contact.session = SessionState::Closed(now);
        let (medium, heard_at) = (contact.medium, contact.heard_at);
        let is_older = |id: &LinkId, other: &Contact| {
            *id != link && other.medium == medium && other.is_closed() && other.heard_at <= heard_at
        };
        known.contacts.retain(|id, other| !is_older(id, other));
        self.touch(now, *peer);
    }

    /// Anything of a peer arrived over a link; a heartbeat names by when the next one follows.
    pub fn heard(&mut self, now: Mono, peer: PeerId, over: HeardOver, next_by: Option<Millis>) {
        let known = self.peers.entry(peer).or_default();
        let contact = known.contacts.entry(over.link).or_insert_with(|| Contact::first(now, over.medium));
        contact.heard_at = contact.heard_at.max(now);
        if let Some(next_by) = next_by {
            contact.next_within = next_by.clamp(NEXT_BY_MIN, NEXT_BY_MAX);
        }
        known.strip.heard(now, contact.next_by());
        self.touch(now, peer);
    }

    /// A peer has shown that it received something of this node.
    pub fn hears(&mut self, peer: PeerId, proved: HearsUs) {
        let known = &mut self.peers.entry(peer).or_default().hears_us;
        if known.is_none_or(|before| (before.at, before.proof) < (proved.at, proved.proof)) {
            *known = Some(proved);
        }
    }

    /// A radio of this node is up: it can hear again.
    pub fn radio_up(&mut self, radio: LinkId) {
        self.radios_down.remove(&radio);
    }

    /// A radio of this node is down: silence on it means nothing about a peer.
    pub fn radio_down(&mut self, now: Mono, radio: LinkId) {
        self.radios_down.entry(radio).or_insert(now);
    }

    /// Drops a peer that was removed.
    pub fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    // ---- what follows ------------------------------------------------------------------------------------

    /// How a peer stands, by the link that speaks best for it; none: it was never heard.
    pub fn presence(&self, now: Mono, peer: &PeerId) -> Option<PeerPresence> {
        self.peers.get(peer)?.best(now, &self.radios_down)
    }

    /// How a peer stands on one link.
    pub fn presence_on(&self, now: Mono, peer: &PeerId, link: LinkId) -> Option<PeerPresence> {
        let contact = self.peers.get(peer)?.contacts.get(&link)?;
        Some(contact.judge(now, Some(link), &self.radios_down))
    }

    /// The last day of a peer in half hours, the oldest first; none: it was never heard.
    pub fn half_hours(&self, now: Mono, peer: &PeerId) -> Option<[HalfHour; HALF_HOURS]> {
        self.peers.get(peer).map(|known| known.strip.half_hours(now))
    }

    /// When a peer last received something of this node, as far as it has shown that.
    pub fn hears_us(&self, peer: &PeerId) -> Option<HearsUs> {
        self.peers.get(peer)?.hears_us
    }

    /// What this node's state shows of a peer; none: it was not heard since the start, and is not known to be gone. Of several
    /// links that hear it the fastest is named, so that the word stays the same while each of them does.
    pub fn sighting(&self, now: Mono, peer: &PeerId, reference: Wall) -> Option<Sighting> {
        let known = self.peers.get(peer)?;
        let contacts = known.contacts.iter();
        let heard = contacts.filter(|(link, contact)| {
            let state = contact.judge(now, Some(**link), &self.radios_down).state;
            state.rank() < LOST.rank()
        });
        if let Some(medium) = heard.map(|(_, contact)| contact.medium).min_by_key(|medium| slowness(*medium))
        {
            return Some(Sighting::Hears(medium));
        }
        let lost = known.best(now, &self.radios_down)?;
        (lost.state.rank() >= LOST.rank()).then(|| Sighting::Lost { heard: reference - lost.silent_for })
    }

    /// How long ago a peer was last heard over a session that is up.
    pub fn heard_by_session(&self, now: Mono, peer: &PeerId) -> Option<Millis> {
        let contacts = self.peers.get(peer)?.contacts.values();
        let up = contacts.filter(|contact| contact.session == SessionState::Up);
        up.map(|contact| now.since(contact.heard_at)).min()
    }

    /// The peers that were ever heard.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.peers.keys().copied()
    }

    /// The peers whose state has become better or worse since the last call, each with its reason.
    pub fn take_changes(&mut self, now: Mono) -> Vec<PresenceChange> {
        let touched = std::mem::take(&mut self.touched);
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = self.next_change(now);
        }
        let mut changes = Vec::new();
        for (peer, known) in &mut self.peers {
            if !is_due && !touched.contains(peer) {
                continue;
            }
            let Some(present) = known.best(now, &self.radios_down) else { continue };
            let before = known.shown.replace(present.state);
            let word = |state: PresenceState| if state.is_expected() { 0 } else { state.rank() };
            if before.is_none_or(|before| word(before) != word(present.state)) {
                changes.push(PresenceChange { peer: *peer, before, now: present });
            }
        }
        changes
    }

    /// When [`take_changes`](Self::take_changes) is due at the latest: never after the next change.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.due
    }

    fn touch(&mut self, now: Mono, peer: PeerId) {
        self.touched.insert(peer);
        let contacts =
            self.peers.get(&peer).into_iter().flat_map(|known| known.contacts.values().chain(&known.before));
        let next = contacts.filter_map(|contact| contact.next_change(now)).min();
        self.due = self.due.into_iter().chain(next).min();
    }

    /// When the next state changes by time alone.
    pub fn next_change(&self, now: Mono) -> Option<Mono> {
        let contacts = self.peers.values().flat_map(|known| known.contacts.values().chain(&known.before));
        contacts.filter_map(|contact| contact.next_change(now)).min()
    }
}

/// From this state on a peer counts as lost in what other nodes are shown.
const LOST: PresenceState = PresenceState::LinkLost { since: Mono::ZERO };

/// The order in which links are named: the fastest first.
fn slowness(medium: Medium) -> u8 {
    match medium {
        Medium::Lan | Medium::Memory => 0,
        Medium::Tor => 1,
        Medium::Mesh => 2,
    }
}

impl PeerContacts {
    /// The link with the best state speaks for the peer, of several the one that heard it last. What the disk knows counts until
    /// the peer is heard.
    fn best(&self, now: Mono, radios_down: &BTreeMap<LinkId, Mono>) -> Option<PeerPresence> {
        let known = self.contacts.iter().map(|(link, contact)| contact.judge(now, Some(*link), radios_down));
        let best = known.min_by_key(|it| (it.state.rank(), it.silent_for));
        let best = best.map(|it| PeerPresence { cause: self.cause(now, &it), ..it });
        best.or_else(|| self.before.map(|contact| contact.judge(now, None, radios_down)))
    }

    /// What else explains a silence: this node's own radio, or the session that has closed since the peer was heard on the
    /// link that speaks for it.
    fn cause(&self, now: Mono, best: &PeerPresence) -> Option<SilenceCause> {
        if best.state == PresenceState::Here || matches!(best.cause, Some(SilenceCause::OwnRadioDown { .. }))
        {
            return best.cause;
        }
        let closed = self.contacts.values().filter_map(|contact| match contact.session {
            SessionState::Closed(at) => Some(at),
            SessionState::Up | SessionState::None => None,
        });
        let at = closed.max().filter(|at| now.since(*at) <= best.silent_for)?;
        Some(SilenceCause::SessionClosed { at })
    }
}

impl Contact {
    fn first(now: Mono, medium: Medium) -> Self {
        let (next_within, session) = match medium {
            Medium::Mesh => (RADIO_NEXT_BY_FIRST, SessionState::None),
            Medium::Lan | Medium::Tor | Medium::Memory => (SESSION_NEXT_BY_FIRST, SessionState::Closed(now)),
        };
        Contact { medium, heard_at: now, silent_before: Millis::ZERO, next_within, session }
    }

    fn is_closed(&self) -> bool {
        matches!(self.session, SessionState::Closed(_))
    }

    fn next_by(&self) -> Mono {
        self.heard_at + self.next_within
    }

    fn lost_at(&self) -> Mono {
        self.heard_at + self.next_within * MISSED_MAX
    }

    fn gone_at(&self) -> Mono {
        match self.silent_before {
            Millis::ZERO => self.lost_at().max(self.heard_at + GONE_AFTER),
            before if before >= GONE_AFTER => self.heard_at,
            before => self.lost_at().max(self.heard_at + (GONE_AFTER - before)),
        }
    }

    /// Until when it is *here*.
    fn here_until(&self) -> Mono {
        match self.session {
            SessionState::Up => self.next_by(),
            SessionState::Closed(_) => self.heard_at,
            SessionState::None if self.silent_before > Millis::ZERO => self.heard_at,
            SessionState::None => self.next_by().min(self.heard_at + HERE_AFTER_FRAME),
        }
    }

    fn next_change(&self, now: Mono) -> Option<Mono> {
        let times = [self.here_until(), self.next_by(), self.lost_at(), self.gone_at()];
        times.into_iter().filter(|at| *at > now && *at < Mono::NEVER).min()
    }

    fn judge(&self, now: Mono, link: Option<LinkId>, radios_down: &BTreeMap<LinkId, Mono>) -> PeerPresence {
        let within = self.next_within;
        let (state, reason) = if now >= self.gone_at() {
            (PresenceState::Gone { since: self.gone_at() }, PresenceReason::SilentFor { limit: GONE_AFTER })
        } else if now >= self.lost_at() {
            (PresenceState::LinkLost { since: self.lost_at() }, PresenceReason::ThreeMissed { within })
        } else if now >= self.next_by() {
            (PresenceState::Overdue { since: self.next_by() }, PresenceReason::NextByMissed { within })
        } else if now >= self.here_until() {
            (PresenceState::Quiet { until: self.next_by() }, PresenceReason::NextByAhead)
        } else if self.session == SessionState::Up {
            (PresenceState::Here, PresenceReason::SessionUp)
        } else {
            (PresenceState::Here, PresenceReason::JustHeard)
        };
        PeerPresence {
            state,
            reason,
            cause: self.cause(state, link, radios_down),
            over: link.map(|link| HeardOver { link, medium: self.medium }),
            silent_for: now.since(self.heard_at) + self.silent_before,
            next_within: within,
        }
    }

    fn cause(
        &self,
        state: PresenceState,
        link: Option<LinkId>,
        radios_down: &BTreeMap<LinkId, Mono>,
    ) -> Option<SilenceCause> {
        if state == PresenceState::Here {
            return None;
        }
        let Some(link) = link else { return Some(SilenceCause::NotSinceStart) };
        if let SessionState::Closed(at) = self.session {
            return Some(SilenceCause::SessionClosed { at });
        }
        radios_down.get(&link).map(|since| SilenceCause::OwnRadioDown { since: *since })
    }
}

#[cfg(test)]
mod tests;
