//! What the operator has set: which kinds of link go first or alone, for the node, a peer or a document; and the terms of each
//! kind of link. [`RoutePolicy::route`] finds what applies to one message; the words are those of `tombolo.toml` and `tombolo route`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tombolo_transports::{Medium, PeerId};

/// Settings of peers and documents that `tombolo route` keeps. One more is refused.
pub const ROUTES_MAX: usize = 1_000;
const DAY_MINUTES: u16 = 24 * 60;

/// Which links go first, or alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preference {
    /// The cheapest link that is in time.
    #[default]
    Auto,
    /// Mesh before LAN before Tor, whatever they cost.
    MeshFirst,
    /// LAN before Tor before mesh, whatever they cost.
    LanFirst,
    /// Tor before LAN before mesh, whatever they cost.
    TorFirst,
    /// Radios and nothing else.
    MeshOnly,
    /// The local network and nothing else.
    LanOnly,
    /// Tor and nothing else.
    TorOnly,
}

/// A word that is no [`Preference`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is auto, mesh-first, lan-first, tor-first, mesh-only, lan-only or tor-only")]
pub struct PreferenceError;

impl Preference {
    /// Every preference, the default first.
    pub const ALL: [Preference; 7] = [
        Preference::Auto,
        Preference::MeshFirst,
        Preference::LanFirst,
        Preference::TorFirst,
        Preference::MeshOnly,
        Preference::LanOnly,
        Preference::TorOnly,
    ];

    /// The word in settings, on the command line and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Preference::Auto => "auto",
            Preference::MeshFirst => "mesh-first",
            Preference::LanFirst => "lan-first",
            Preference::TorFirst => "tor-first",
            Preference::MeshOnly => "mesh-only",
            Preference::LanOnly => "lan-only",
            Preference::TorOnly => "tor-only",
        }
    }

    /// Whether a link of this medium may be used at all.
    pub fn allows(self, medium: Medium) -> bool {
        match self {
            Preference::Auto | Preference::MeshFirst | Preference::LanFirst | Preference::TorFirst => true,
            Preference::MeshOnly => medium == Medium::Mesh,
            Preference::LanOnly => matches!(medium, Medium::Lan | Medium::Memory),
            Preference::TorOnly => medium == Medium::Tor,
        }
    }

    /// The place of a medium in a strict order, from 0; all are equal without one.
    pub fn rank(self, medium: Medium) -> u8 {
        let order = match self {
            Preference::Auto | Preference::MeshOnly | Preference::LanOnly | Preference::TorOnly => return 0,
            Preference::MeshFirst => [Medium::Mesh, Medium::Lan, Medium::Tor],
            Preference::LanFirst => [Medium::Lan, Medium::Tor, Medium::Mesh],
            Preference::TorFirst => [Medium::Tor, Medium::Lan, Medium::Mesh],
        };
        let medium = if medium == Medium::Memory { Medium::Lan } else { medium };
        order.iter().position(|other| *other == medium).map_or(u8::MAX, |at| at as u8)
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Preference {
    type Err = PreferenceError;

    fn from_str(word: &str) -> Result<Self, PreferenceError> {
        Preference::ALL.into_iter().find(|preference| preference.word() == word).ok_or(PreferenceError)
    }
}

/// The hours of a day in UTC at which a link may be used, written `02:00-05:00`. They may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenHours {
    from_minute: u16,
    to_minute: u16,
}

/// A text that names no hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hours are written 02:00-05:00, in UTC, from one time of day to another")]
pub struct OpenHoursError;

impl OpenHours {
    /// Whether the link is open in this minute of the day.
    pub fn contains(self, minute: u16) -> bool {
        match self.from_minute < self.to_minute {
            true => (self.from_minute..self.to_minute).contains(&minute),
            false => minute >= self.from_minute || minute < self.to_minute,
        }
    }

    /// Minutes from this minute of the day to the next opening.
    pub fn opens_in(self, minute: u16) -> u16 {
        (self.from_minute + DAY_MINUTES - minute % DAY_MINUTES) % DAY_MINUTES
    }
}

impl fmt::Display for OpenHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", clock(self.from_minute), clock(self.to_minute))
    }
}

impl FromStr for OpenHours {
    type Err = OpenHoursError;

    fn from_str(text: &str) -> Result<Self, OpenHoursError> {
        let minute = |text: &str| -> Option<u16> {
            let (hours, minutes) = text.split_once(':')?;
            let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            let (hours, minutes) = match two_digits(hours) && two_digits(minutes) {
                true => (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?),
                false => return None,
            };
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        let (from, to) = text.split_once('-').ok_or(OpenHoursError)?;
        let (from_minute, to_minute) = minute(from).zip(minute(to)).ok_or(OpenHoursError)?;
        (from_minute != to_minute).then_some(OpenHours { from_minute, to_minute }).ok_or(OpenHoursError)
    }
}

impl Serialize for OpenHours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OpenHours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The operator's terms for one kind of link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkTerms {
    /// Bytes cost money: no bulk goes over it.
    pub metered: bool,
    /// What a megabyte costs, in any unit that the operator compares links by. A metered link costs at least 1.
    pub price: u32,
    /// It is used while no other link is in time.
    pub last_resort: bool,
    /// The hours at which it may be used; none: always.
    pub only: Option<OpenHours>,
}

/// What applies to one message: the setting of the node, and those of its peer and document where there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The setting of the node.
    pub node: Preference,
    /// The setting of the peer, which replaces the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Preference>,
    /// The setting of the document. It replaces the node's; of a peer's it replaces the order, and what the peer's forbids
    /// stays forbidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Preference>,
}

/// Whose setting a [`Preference`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetFor {
    /// The setting is the node's own.
    Node,
    /// The setting is for one peer.
    Peer,
    /// The setting is for one document.
    Document,
}

impl Route {
    /// The preference that orders the links, and whose it is.
    pub fn order(self) -> (Preference, SetFor) {
        match (self.document, self.peer) {
            (Some(preference), _) => (preference, SetFor::Document),
            (None, Some(preference)) => (preference, SetFor::Peer),
            (None, None) => (self.node, SetFor::Node),
        }
    }

    /// The setting that forbids a medium, if one does.
    pub fn forbids(self, medium: Medium) -> Option<(Preference, SetFor)> {
        let node = (self.peer.is_none() && self.document.is_none()).then_some((self.node, SetFor::Node));
        let peer = self.peer.map(|preference| (preference, SetFor::Peer));
        let document = self.document.map(|preference| (preference, SetFor::Document));
        [document, peer, node].into_iter().flatten().find(|(preference, _)| !preference.allows(medium))
    }
}

/// One set of settings: those of `tombolo.toml`, or those that `tombolo route` has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSettings {
    /// The setting of the node.
    pub node: Option<Preference>,
    /// The settings of peers.
    pub peers: BTreeMap<PeerId, Preference>,
    /// The settings of documents: by name, for one owner or for all.
    pub documents: BTreeMap<String, BTreeMap<Option<PeerId>, Preference>>,
    /// The terms of each kind of link.
    pub terms: BTreeMap<Medium, LinkTerms>,
    /// The terms of single radios, by name; they replace those of the mesh.
    pub radios: BTreeMap<String, LinkTerms>,
}

impl RouteSettings {
    fn document(&self, owner: &PeerId, name: &str) -> Option<Preference> {
        let of_name = self.documents.get(name)?;
        of_name.get(&Some(*owner)).or_else(|| of_name.get(&None)).copied()
    }

    fn len(&self) -> usize {
        let documents: usize = self.documents.values().map(BTreeMap::len).sum();
        self.peers.len() + documents + self.radios.len()
    }

    /// Makes a change. Returns whether there was room for it.
    fn apply(&mut self, change: &RouteChange) -> bool {
        let is_full = self.len() >= ROUTES_MAX;
        match change {
            RouteChange::Node(preference) => self.node = *preference,
            RouteChange::Peer(peer, preference) => match preference {
                Some(_) if is_full && !self.peers.contains_key(peer) => return false,
                Some(preference) => drop(self.peers.insert(*peer, *preference)),
                None => drop(self.peers.remove(peer)),
            },
            RouteChange::Document { owner, name, preference } => {
                let is_known = self.documents.get(name).is_some_and(|of| of.contains_key(&Some(*owner)));
                match preference {
                    Some(_) if is_full && !is_known => return false,
                    Some(preference) => {
                        self.documents.entry(name.clone()).or_default().insert(Some(*owner), *preference);
                    }
                    None => {
                        if let Some(of_name) = self.documents.get_mut(name) {
                            of_name.remove(&Some(*owner));
                        }
                        self.documents.retain(|_, of| !of.is_empty());
                    }
                }
            }
            RouteChange::Terms(medium, terms) => match terms {
                Some(terms) => drop(self.terms.insert(*medium, *terms)),
                None => drop(self.terms.remove(medium)),
            },
            RouteChange::RadioTerms(radio, terms) => match terms {
                Some(_) if is_full && !self.radios.contains_key(radio) => return false,
                Some(terms) => drop(self.radios.insert(radio.clone(), *terms)),
                None => drop(self.radios.remove(radio)),
            },
        }
        true
    }
}

/// A change of the settings while the node runs; `None` goes back to what `tombolo.toml` has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// The setting of the node.
    Node(Option<Preference>),
    /// The setting of a peer.
    Peer(PeerId, Option<Preference>),
    /// The setting of a document.
    Document {
        /// The owner of the document.
        owner: PeerId,
        /// The name of the document.
        name: String,
        /// The preference to set from now on.
        preference: Option<Preference>,
    },
    /// The terms of a kind of link.
    Terms(Medium, Option<LinkTerms>),
    /// The terms of one radio, by name.
    RadioTerms(String, Option<LinkTerms>),
}

/// All that the operator has set. What was changed while running counts before what `tombolo.toml` has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePolicy {
    configured: RouteSettings,
    changed: RouteSettings,
}

impl RoutePolicy {
    /// The settings of the file, with nothing changed.
    pub fn new(configured: RouteSettings) -> Self {
        RoutePolicy { configured, changed: RouteSettings::default() }
    }

    /// What the file has.
    pub fn configured(&self) -> &RouteSettings {
        &self.configured
    }

    /// What was changed while running.
    pub fn changed(&self) -> &RouteSettings {
        &self.changed
    }

    /// Takes the changes that an earlier run had made.
    pub fn restore(&mut self, changed: RouteSettings) {
        self.changed = changed;
    }

    /// Makes a change. Returns whether there was room for it: [`ROUTES_MAX`].
    #[must_use]
    pub fn change(&mut self, change: &RouteChange) -> bool {
        self.changed.apply(change)
    }

    /// The order of links of the node, where none is set for a peer or a document.
    pub fn node(&self) -> Preference {
        [&self.changed, &self.configured].iter().find_map(|set| set.node).unwrap_or_default()
    }

    /// What applies to a message for a peer, about a document or none.
    pub fn route(&self, peer: &PeerId, document: Option<(&PeerId, &str)>) -> Route {
        let both = [&self.changed, &self.configured];
        Route {
            node: self.node(),
            peer: both.iter().find_map(|set| set.peers.get(peer).copied()),
            document: document
                .and_then(|(owner, name)| both.iter().find_map(|set| set.document(owner, name))),
        }
    }

    /// The terms of a kind of link.
    pub fn terms(&self, medium: Medium) -> LinkTerms {
        let set = [&self.changed, &self.configured].into_iter().find_map(|set| set.terms.get(&medium));
        set.copied().unwrap_or_default()
    }

    /// The terms of a radio: its own, else those of all radios.
    pub fn radio_terms(&self, radio: &str) -> LinkTerms {
        let set = [&self.changed, &self.configured].into_iter().find_map(|set| set.radios.get(radio));
        set.copied().unwrap_or_else(|| self.terms(Medium::Mesh))
    }
}
