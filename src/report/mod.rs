//! Reports: how things stand, in the shapes that `--json` and `/v1` show. A report reads the parts of a node and never changes
//! them.
//!
//! [`NodeReport`] borrows all parts. `status` has the node and its peers, `links` every link and radio with the reason why it is
//! used, `airtime` what radios sent and may send, `documents` what is held, `lag` how far a peer and this node are behind
//! each other, `deploys` what became of commands, `alarms` what watches found. Counters become text here ([`crate::core::InputRejection::label`]), and nowhere below.

mod airtime;
mod alarm;
mod alarms;
mod deploys;
mod dialling;
mod documents;
mod invites;
mod lag;
mod links;
mod log;
mod presence;
mod query;
mod rejection;
mod revocations;
mod routes;
mod status;
mod why;

use tombolo_transports::PeerId;

use crate::broadcast::Broadcast;
use crate::commands::Commands;
use crate::core::Core;
use crate::membership::Membership;
use crate::replica::Replica;
use crate::rpc::Calls;
use crate::unicast::Unicast;
use crate::watches::Watches;
pub(crate) use alarms::AlarmsReport;
pub use documents::{ConflictWalk, ListWalk};

/// The parts of a node, to read.
#[derive(Clone, Copy, Debug)]
pub struct NodeReport<'a> {
    /// Identity, clocks and counters of the node.
    pub core: &'a Core,
    /// Documents, peers and their rights.
    pub replica: &'a Replica,
    /// Invites and calls to inviters.
    pub membership: &'a Membership,
    /// Links to one peer each.
    pub unicast: &'a Unicast,
    /// The radios of the node.
    pub broadcast: &'a Broadcast,
    /// JSON calls, and the states that came by them.
    pub calls: &'a Calls,
    /// Commands sent and taken.
    pub commands: &'a Commands,
    /// What is watched, and the alarms that come of it.
    pub watches: &'a Watches,
}

/// The parts that show commands and notices of revocation, to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandReport<'a> {
    pub(crate) core: &'a Core,
    pub(crate) replica: &'a Replica,
    pub(crate) commands: &'a Commands,
}

impl<'a> NodeReport<'a> {
    fn of_commands(&self) -> CommandReport<'a> {
        CommandReport { core: self.core, replica: self.replica, commands: self.commands }
    }

    fn name_of(&self, peer: &PeerId) -> String {
        self.replica.name_of(self.core, peer)
    }
}

#[cfg(test)]
mod tests;
