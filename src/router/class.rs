//! What kind of message it is: when it should have arrived, and what it may use.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// What kind of message it is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Something a person has to know now.
    Alarm,
    /// A command to one peer, or its answer.
    Command,
    /// A change of an audience or its keys: ahead of the documents that depend on it.
    Rights,
    /// The state document of a node.
    State,
    /// A document that nodes share.
    Document,
    /// Parts of large layers.
    Bulk,
    /// Heartbeats, frontiers and wants of the sync engine.
    Upkeep,
}

/// An alarm is of use while a person can still act on it.
const ALARM: Millis = Millis::from_secs(10);
/// The sender of a command waits for its answer at a terminal.
const COMMAND: Millis = Millis::from_secs(30);
/// What a removed peer may still read or write grows until rights arrive.
const RIGHTS: Millis = Millis::from_secs(60);
/// By default the next state is published a minute later; two states late is one too many.
const STATE: Millis = Millis::from_secs(2 * 60);
/// A document is read by people, later; radio repairs a loss within this time.
const DOCUMENT: Millis = Millis::from_secs(10 * 60);
/// Parts of large layers have the day: they go where bytes are cheap.
const BULK: Millis = Millis::from_secs(24 * 60 * 60);
/// A heartbeat later than this counts as missed by its receiver.
const UPKEEP: Millis = Millis::from_secs(60);

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Class; 7] = [
        Class::Alarm,
        Class::Command,
        Class::Rights,
        Class::State,
        Class::Document,
        Class::Bulk,
        Class::Upkeep,
    ];

    /// How long after it was sent a message of this class should have arrived.
    pub const fn deadline(self) -> Millis {
        match self {
            Class::Alarm => ALARM,
            Class::Command => COMMAND,
            Class::Rights => RIGHTS,
            Class::State => STATE,
            Class::Document => DOCUMENT,
            Class::Bulk => BULK,
            Class::Upkeep => UPKEEP,
        }
    }

    /// Whether it takes the link on which it arrives first, whatever that costs, and waits for nothing.
    pub fn is_urgent(self) -> bool {
        match self {
            Class::Alarm => true,
            Class::Command | Class::Rights | Class::State | Class::Document | Class::Bulk | Class::Upkeep => {
                false
            }
        }
    }

    /// Whether it waits for a link that has just failed, in place of spending airtime at once.
    pub fn may_wait(self) -> bool {
        match self {
            Class::Alarm | Class::Command => false,
            Class::Rights | Class::State | Class::Document | Class::Bulk | Class::Upkeep => true,
        }
    }

    /// Whether a second link carries it as well when the first stays silent.
    pub fn is_hedged(self) -> bool {
        match self {
            Class::Alarm | Class::Command => true,
            Class::Rights | Class::State | Class::Document | Class::Bulk | Class::Upkeep => false,
        }
    }

    /// The word in explanations and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Class::Alarm => "alarm",
            Class::Command => "command",
            Class::Rights => "rights",
            Class::State => "state",
            Class::Document => "document",
            Class::Bulk => "bulk",
            Class::Upkeep => "upkeep",
        }
    }
}
