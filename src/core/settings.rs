//! What an operator sets for a node; each default is safe.

use crate::time::Millis;
use std::collections::BTreeMap;

use tombolo_transports::OnionHost;

use crate::clock::ClockVouchers;
use crate::commands::CatalogueState;
use crate::limits::HEARTBEAT;
use crate::router::RouteSettings;
use crate::watches::AlarmSettings;

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The name that the node gives itself.
    pub name: String,
    /// Who vouches for the system clock when the node starts.
    pub clock_vouchers: ClockVouchers,
    /// Heartbeat on an idle link.
    pub heartbeat: Millis,
    /// Which links carry what: order, exclusion and terms, as the file has them.
    pub routes: RouteSettings,
    /// The operator's own onion service, in place of that of the node's key.
    pub onion: Option<OnionHost>,
    /// The fields of each document's brief, by document name.
    pub briefs: BTreeMap<String, BriefFields>,
    /// The machine's boot that `Now::mono` counts from, where it goes on when this process ends. Without it only
    /// the wall clock bounds the time between two runs.
    pub machine_boot: Option<[u8; 16]>,
    /// `package.install` by JSON call is taken without the signature over the whole call.
    pub rpc_legacy_install: bool,
    /// Whether the operator has set a command that installs apps for peers.
    pub deploys: bool,
    /// The apps that peers may have installed here, when the node starts.
    pub catalogue: CatalogueState,
    /// How long the node states of peers wait for the disk, so that those of many peers share one commit: a power cut then costs the newest,
    /// which the peers show again. None at all: they are written as they come.
    pub peer_states_wait: Millis,
    /// Bytes that the documents of all other owners may take in memory together.
    pub peers_memory_max: usize,
    /// What is watched, and how the operator is notified.
    pub alarms: AlarmSettings,
}

impl Default for NodeSettings {
    fn default() -> Self {
        NodeSettings {
            name: String::new(),
            clock_vouchers: ClockVouchers::default(),
            heartbeat: HEARTBEAT,
            routes: RouteSettings::default(),
            onion: None,
            briefs: BTreeMap::new(),
            machine_boot: None,
            rpc_legacy_install: false,
            deploys: false,
            catalogue: CatalogueState::Missing,
            peer_states_wait: Millis::ZERO,
            peers_memory_max: usize::MAX,
            alarms: AlarmSettings::default(),
        }
    }
}

/// How a field stands in a brief.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BriefField {
    /// Numbers are rounded to multiples of this; `None` leaves them as they are.
    pub round: Option<f64>,
    /// A number makes a new brief only when it has moved by at least this much; other values when they change at all.
    pub threshold: f64,
}

/// The fields of one document's brief; fields not named are left out.
pub type BriefFields = BTreeMap<String, BriefField>;
