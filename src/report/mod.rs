//! Reports: how things stand, in the shapes that `--json` and `/v1` show. A report reads the parts of a node and never changes
//! them.
//!
//! [`NodeReport`] borrows all parts. `status` has the node and its peers, `links` every link and radio with the reason why it is
//! used, `airtime` what radios sent and may send, `documents` what is held, `lag` how far a peer and this node are behind
//! each other. Counters become text here ([`crate::core::InputRejection::label`]), and nowhere below.

mod airtime;
mod alarm;
mod documents;
mod lag;
mod links;
mod status;

use tombolo_transports::PeerId;

use crate::broadcast::Broadcast;
use crate::core::Core;
use crate::membership::Membership;
use crate::replica::Replica;
use crate::rpc::Calls;
use crate::unicast::Unicast;

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
}

impl NodeReport<'_> {
    fn name_of(&self, peer: &PeerId) -> String {
        self.replica.name_of(self.core, peer)
    }
}

#[cfg(test)]
mod tests;
