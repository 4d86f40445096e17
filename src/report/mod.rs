//! Reports: how things stand, in the shapes that `--json` and `/v1` show. A report reads the parts of a node and never changes
//! them.
//!
//! [`Report`] borrows all parts. `status` has the node and its peers, `links` every link and radio with the reason why it is
//! used, `airtime` what radios sent and may send, `documents` what is held, `lag` how far a peer and this node are behind
//! each other. Counters become text here ([`crate::core::Rejection::label`]), and nowhere below.

mod airtime;
mod documents;
mod lag;
mod links;
mod status;

use tombolo_transports::PeerId;

pub(crate) use status::two_machines;

use crate::broadcast::Broadcast;
use crate::core::Core;
use crate::membership::Membership;
use crate::replica::Replica;
use crate::unicast::Unicast;

/// The parts of a node, to read.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Identity, clocks, counters.
    pub core: &'a Core,
    /// Documents and peers.
    pub replica: &'a Replica,
    /// Invites.
    pub membership: &'a Membership,
    /// Links to one peer each.
    pub wired: &'a Unicast,
    /// Radios.
    pub broadcast: &'a Broadcast,
}

impl Report<'_> {
    fn name_of(&self, peer: &PeerId) -> String {
        self.replica.name_of(self.core, peer)
    }
}
