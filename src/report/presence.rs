//! Presence in words: how each peer stands and why, whether it hears this node, and what others show of it.

use tombolo_transports::{Medium, PeerId};

use crate::clock::rfc3339;
use crate::core::reserved_document;
use crate::identity::did;
use crate::io::view;
use crate::layer::{DocumentName, LayerId};
use crate::presence::sighting::{self, FriendsVerdict, Sighting, name};
use crate::presence::{
    HalfHour, HearsUs, HearsUsProof, PeerPresence, PresenceChange, PresenceReason, PresenceState,
    SilenceCause,
};
use crate::report::NodeReport;
use crate::time::{Millis, Mono, Wall};

/// A state older than this shows nothing about who is heard now, unless its author is heard: a node in touch has sent its newest.
const SIGHTING_AGE_MAX: Millis = Millis::from_secs(3 * 60 * 60);

/// Pairs of nodes that are shown: 32 nodes that all hear each other.
const HEARING_MAX: usize = 1_024;

impl NodeReport<'_> {
    /// How a peer stands, with what it shows of this node and what others show of it; none: it was never heard.
    pub fn presence_of(&self, peer: &PeerId) -> Option<view::PresenceView> {
        let now = self.core.presence.presence(self.core.now(), peer)?;
        Some(view::PresenceView {
            hears_us: self.core.presence.hears_us(peer).map(|proved| self.hears_us_view(&proved)),
            friends: self.friends_verdict(peer).map(|verdict| self.friends_view(peer, &verdict)),
            half_hours: self
                .core
                .presence
                .half_hours(self.core.now(), peer)
                .map(|strip| strip.into_iter().map(HalfHour::letter).collect()),
            ..self.presence_at(&now, self.core.now())
        })
    }

    /// A change of presence, for watchers.
    pub fn presence_event(&self, change: &PresenceChange) -> view::PresenceEventView {
        view::PresenceEventView {
            peer: did(&change.peer),
            before: change.before.map(PresenceState::word),
            presence: self.presence_at(&change.now, self.core.now()),
        }
    }

    /// A conclusion as it was drawn at a moment, without what else is known of the peer.
    pub(super) fn presence_at(&self, it: &PeerPresence, drawn: Mono) -> view::PresenceView {
        let at = it.state.instant().map(|at| self.core.clock.wall_of(at));
        let (until, since) = match it.state {
            PresenceState::Here => (None, None),
            PresenceState::Quiet { .. } => (at, None),
            PresenceState::Overdue { .. } | PresenceState::LinkLost { .. } | PresenceState::Gone { .. } => {
                (None, at)
            }
        };
        view::PresenceView {
            state: it.state.word(),
            until,
            since,
            reason: reason_code(it.reason),
            cause: it.cause.map(cause_code),
            why: self.silence_reason(it, drawn),
            silent_s: it.silent_for.ms() / 1000,
            next_within_s: it.next_within.ms() / 1000,
            over: it.over.map(|over| self.heard_over_name(over.link, over.medium)),
            hears_us: None,
            friends: None,
            half_hours: None,
        }
    }

    fn heard_over_name(&self, link: tombolo_transports::LinkId, medium: Medium) -> String {
        let radio = self.broadcast.radios().find(|(id, _)| *id == link);
        radio.map_or_else(|| medium.to_string(), |(_, radio)| radio.spec().name.clone())
    }

    fn silence_reason(&self, it: &PeerPresence, drawn: Mono) -> String {
        let over = it.over.map_or("by any link", |over| by(over.medium));
        let heard = format!("last heard {} ago {over}", span(it.silent_for));
        let reason = match it.reason {
            PresenceReason::SessionUp => format!("its session {over} is up"),
            PresenceReason::JustHeard => format!("it was heard {over} moments ago"),
            PresenceReason::NextByAhead => format!("{heard}, and silence until then is normal"),
            PresenceReason::NextByMissed { within } => {
                format!("{heard}, and was to be heard again within {}", span(within))
            }
            PresenceReason::ThreeMissed { within } => {
                format!("{heard}, and was to be heard within {}: three times that have passed", span(within))
            }
            PresenceReason::SilentFor { limit } => {
                format!("{heard}, which is longer than {}", span(limit))
            }
        };
        match it.cause {
            None => reason,
            Some(SilenceCause::SessionClosed { at }) => {
                format!("{reason}; its session closed {} ago", span(drawn.since(at)))
            }
            Some(SilenceCause::OwnRadioDown { since }) => format!(
                "{reason}; this node's own radio is down since {}, and could not hear it",
                self.core.clock.wall_of(since)
            ),
            Some(SilenceCause::NotSinceStart) => {
                format!("{reason}; it was not heard since this node started")
            }
        }
    }

    fn hears_us_view(&self, proved: &HearsUs) -> view::HearsUsView {
        view::HearsUsView {
            at: self.core.clock.wall_of(proved.at),
            ago_s: self.core.now().since(proved.at).ms() / 1000,
            medium: proved.medium.to_string(),
            proof: match proved.proof {
                HearsUsProof::SignedState => "signed_state",
                HearsUsProof::Acknowledged => "acknowledged",
                HearsUsProof::Heartbeat => "heartbeat",
            },
        }
    }

    // ---- what states show ---------------------------------------------------------------------------------

    /// What an author's signed state shows of a peer, with the time of that state.
    pub fn sighting(&self, author: &PeerId, peer: &PeerId) -> Option<(Wall, Sighting)> {
        let salt = self.replica.federation().audience(author)?.salt();
        let (time, state) = self.replica.node_state(author)?;
        let code = state.heard.as_ref()?.get(&name(&salt, peer))?;
        Some((time, Sighting::from_code(*code)))
    }

    /// What a layer that has just been stored shows of this node: its author lists it as heard.
    pub fn hears_us_by_state(&self, id: &LayerId) -> Option<HearsUs> {
        let author = id.author;
        if id.document != reserved_document(author, DocumentName::STATE) || author == self.core.me {
            return None;
        }
        let (time, sighting) = self.sighting(&author, &self.core.me)?;
        let Sighting::Hears(medium) = sighting else { return None };
        let at = self.core.now() - self.core.reference().since(time);
        Some(HearsUs { at, medium, proof: HearsUsProof::SignedState })
    }

    /// What the states of other peers show of a peer, as one verdict. A state counts while its author is heard, or while
    /// it is recent.
    pub fn friends_verdict(&self, peer: &PeerId) -> Option<FriendsVerdict> {
        let reference = self.core.reference();
        let others = self.replica.federation().members().filter(|other| other.id != *peer);
        let sightings = others.filter_map(|other| {
            let (time, sighting) = self.sighting(&other.id, peer)?;
            let author = self.core.presence.presence(self.core.now(), &other.id);
            let is_there = author.is_some_and(|author| author.state.is_expected());
            (is_there || reference.since(time) <= SIGHTING_AGE_MAX).then_some(sighting)
        });
        FriendsVerdict::of(sightings)
    }

    /// Which node hears which: what this node receives, and what the signed states of its members show. A pair of which nothing is known
    /// is left out.
    pub fn hearing(&self) -> Vec<view::HearingView> {
        let (me, now) = (self.core.me, self.core.now());
        let members: Vec<PeerId> = self.replica.federation().members().map(|peer| peer.id).collect();
        let own = members.iter().filter_map(|peer| {
            let sighting = self.core.presence.sighting(now, peer, self.core.reference())?;
            Some(self.hearing_view(&me, peer, self.core.reference(), sighting))
        });
        // What a node hears that is itself missed is not known.
        let is_there = |author: &&PeerId| {
            let presence = self.core.presence.presence(now, author);
            presence.is_some_and(|presence| presence.state.is_expected())
        };
        let others = members.iter().filter(is_there).flat_map(|author| {
            let of = members.iter().chain([&me]).filter(move |of| *of != author);
            of.filter_map(|of| {
                let (time, sighting) = self.sighting(author, of)?;
                Some(self.hearing_view(author, of, time, sighting))
            })
        });
        own.chain(others).take(HEARING_MAX).collect()
    }

    fn hearing_view(&self, by: &PeerId, of: &PeerId, at: Wall, sighting: Sighting) -> view::HearingView {
        let (over, last_heard) = match sighting {
            Sighting::Hears(medium) => (Some(medium.to_string()), None),
            Sighting::Lost { heard } => (None, Some(rfc3339(heard))),
        };
        let name = |id: &PeerId| {
            if *id == self.core.me { self.core.settings.name.clone() } else { self.name_of(id) }
        };
        view::HearingView {
            by: name(by),
            by_did: did(by),
            of: name(of),
            of_did: did(of),
            over,
            last_heard,
            at: rfc3339(at),
        }
    }

    fn friends_view(&self, peer: &PeerId, verdict: &FriendsVerdict) -> view::FriendsView {
        let FriendsVerdict { friends, missing, last_heard, heard_over } = *verdict;
        let peer = self.name_of(peer);
        let noun = if friends == 1 { "friend" } else { "friends" };
        let text = match (last_heard, heard_over) {
            (Some(at), _) => {
                let verb = if missing == 1 { "has" } else { "have" };
                let silent = at_most(self.core.reference().since(at));
                format!("{missing} of {friends} {noun} {verb} not heard {peer} for {silent}")
            }
            (None, Some(medium)) => format!("{friends} of {friends} {noun} can hear {peer}, {}", by(medium)),
            (None, None) => unreachable!("each node that is counted hears the peer or has lost it"),
        };
        view::FriendsView {
            friends,
            missing,
            last_heard: last_heard.map(rfc3339),
            heard_over: heard_over.map(|medium| medium.to_string()),
            verdict: text,
        }
    }
}

/// A silence that a state shows: it has the time of the last hearing in steps, so of a short one only the bound is known.
fn at_most(silent: Millis) -> String {
    match silent / sighting::UNIT {
        0..6 => format!("up to {}", span(silent)),
        _ => span(silent),
    }
}

fn reason_code(reason: PresenceReason) -> &'static str {
    match reason {
        PresenceReason::SessionUp => "session_up",
        PresenceReason::JustHeard => "just_heard",
        PresenceReason::NextByAhead => "next_by_ahead",
        PresenceReason::NextByMissed { .. } => "next_by_missed",
        PresenceReason::ThreeMissed { .. } => "three_missed",
        PresenceReason::SilentFor { .. } => "silent_for",
    }
}

fn cause_code(cause: SilenceCause) -> &'static str {
    match cause {
        SilenceCause::SessionClosed { .. } => "session_closed",
        SilenceCause::OwnRadioDown { .. } => "own_radio_down",
        SilenceCause::NotSinceStart => "not_since_start",
    }
}

/// `by radio`, `over LAN`, `through Tor`.
pub(super) fn by(medium: Medium) -> &'static str {
    match medium {
        Medium::Mesh => "by radio",
        Medium::Lan => "over LAN",
        Medium::Tor => "through Tor",
        Medium::Memory => "within this process",
    }
}

/// The same by the word of a medium.
pub(super) fn by_medium(word: &str) -> &'static str {
    let media = [Medium::Mesh, Medium::Lan, Medium::Tor, Medium::Memory];
    media.into_iter().find(|medium| medium.to_string() == word).map_or("over a link", by)
}

/// A length of time in its largest unit.
pub(super) fn span(length: Millis) -> String {
    match length.ms() / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state shows the last hearing in steps of ten minutes: a silence of two minutes may look like eleven, and is not shown so.
    #[test]
    fn a_silence_is_never_shown_as_longer_than_it_can_be() {
        for (seconds, words) in
            [(90, "up to 90 s"), (660, "up to 11 min"), (3_600, "60 min"), (90_000, "25 h")]
        {
            assert_eq!(at_most(Millis::from_secs(seconds)), words);
        }
    }
}
