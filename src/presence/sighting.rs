//! What a node's signed state shows of the peers that it hears: a few bytes a peer, so that no other node has to ask.
//!
//! ```text
//! "heard": {name: code, …}
//! name    3 bytes as base64url: BLAKE3, derive-key context "tombolo 1 sighting name", over the salt of the author's audience
//!         and the peer's identity
//! code    0 to 3    it hears the peer as promised, over radio, LAN, Tor, or within one process
//!         4 + n     it has lost the peer, and last heard it n times ten minutes after 2026-01-01T00:00Z
//! ```
//! A name is keyed as members are in the audience: a reader of the state recognises the peers that it knows itself, and learns
//! of others that there are so many. DIDs would show every reader which peers the author has, and are longer.
//!
//! A code changes only when a peer is lost or found, so the states between carry nothing: an age would be new in each of
//! them, and cost bytes on air for every peer.

use std::collections::BTreeMap;

use tombolo_transports::{Medium, PeerId};

use crate::time::{Millis, Wall};

/// The time from which codes count: 2026-01-01T00:00:00Z.
const EPOCH: Wall = Wall::from_ms(1_767_225_600_000);
/// The unit of the time of a last hearing.
pub const UNIT: Millis = Millis::from_secs(10 * 60);
/// Later times, which no clock shows, are taken for this one.
const UNITS_MAX: u64 = u32::MAX as u64;
/// The first code that stands for a time.
const FIRST_SINCE: u64 = 4;
/// Peers in one state. Beyond, those heard are left out first: what others ask for is which peers a node misses.
pub const SIGHTINGS_MAX: usize = 64;

/// What one node shows of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is heard as promised, over this kind of link.
    Hears(Medium),
    /// It is not heard any more.
    Lost {
        /// When it was last heard, in steps of ten minutes.
        heard: Wall,
    },
}

impl Sighting {
    /// The number in a state.
    pub fn code(self) -> u64 {
        match self {
            Sighting::Hears(Medium::Mesh) => 0,
            Sighting::Hears(Medium::Lan) => 1,
            Sighting::Hears(Medium::Tor) => 2,
            Sighting::Hears(Medium::Memory) => 3,
            Sighting::Lost { heard } => FIRST_SINCE + heard.since(EPOCH) / UNIT,
        }
    }

    /// The meaning of a number; every number has one.
    pub fn from_code(code: u64) -> Self {
        match code {
            0 => Sighting::Hears(Medium::Mesh),
            1 => Sighting::Hears(Medium::Lan),
            2 => Sighting::Hears(Medium::Tor),
            3 => Sighting::Hears(Medium::Memory),
            later => {
                let units = (later - FIRST_SINCE).min(UNITS_MAX);
                Sighting::Lost { heard: EPOCH + UNIT * units }
            }
        }
    }
}

/// The name of a peer in the states of an author whose audience has this salt.
pub fn name(salt: &[u8; 16], peer: &PeerId) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 sighting name");
    hasher.update(salt);
    hasher.update(&peer.0);
    let mut bytes = [0; 3];
    hasher.finalize_xof().fill(&mut bytes);
    data_encoding::BASE64URL_NOPAD.encode(&bytes)
}

/// The field of a state that shows this of these peers. Two peers of one name are left out.
pub fn field(
    salt: &[u8; 16],
    sightings: impl IntoIterator<Item = (PeerId, Sighting)>,
) -> BTreeMap<String, u64> {
    let mut named: Vec<(String, Sighting)> =
        sightings.into_iter().map(|(peer, sighting)| (name(salt, &peer), sighting)).collect();
    // Lost peers first, and then by name, so that the same peers make the same field.
    named.sort_by_key(|(name, sighting)| (matches!(sighting, Sighting::Hears(_)), name.clone()));
    let count = |wanted: &str| named.iter().filter(|(name, _)| name == wanted).count();
    let single: Vec<_> = named.iter().filter(|(name, _)| count(name) == 1).take(SIGHTINGS_MAX).collect();
    single.into_iter().map(|(name, sighting)| (name.clone(), sighting.code())).collect()
}

/// What several nodes show of one peer, as one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FriendsVerdict {
    /// The nodes that know the peer and show whether they hear it.
    pub friends: usize,
    /// Those of them that have lost it.
    pub missing: usize,
    /// When any of those that have lost it last heard it.
    pub last_heard: Option<Wall>,
    /// How one of the others hears it: over the fastest of their links.
    pub heard_over: Option<Medium>,
}

impl FriendsVerdict {
    /// The verdict over what each node shows; none if none shows anything.
    pub fn of(sightings: impl IntoIterator<Item = Sighting>) -> Option<Self> {
        let mut verdict = FriendsVerdict { friends: 0, missing: 0, last_heard: None, heard_over: None };
        for sighting in sightings {
            verdict.friends += 1;
            match sighting {
                Sighting::Hears(medium) => {
                    verdict.heard_over = verdict.heard_over.max(Some(medium));
                }
                Sighting::Lost { heard } => {
                    verdict.missing += 1;
                    verdict.last_heard = verdict.last_heard.max(Some(heard));
                }
            }
        }
        (verdict.friends > 0).then_some(verdict)
    }
}
