//! The parts of a node, borrowed: to read for a report, to work on for a desk.

use crate::desk::{CallDesk, CommandDesk};
use crate::node::Node;
use crate::report::NodeReport;

impl Node {
    /// A report on all parts, which it only reads.
    pub fn report(&self) -> NodeReport<'_> {
        NodeReport {
            core: &self.core,
            replica: &self.replica,
            membership: &self.membership,
            unicast: &self.unicast,
            broadcast: &self.broadcast,
            calls: &self.calls,
            commands: &self.commands,
            watches: &self.watches,
        }
    }

    /// JSON calls, and with them commands, notices and alarms. What has to follow from a call of it is returned.
    pub(super) fn desk(&mut self) -> CallDesk<'_> {
        let commands = CommandDesk {
            core: &mut self.core,
            replica: &mut self.replica,
            unicast: &mut self.unicast,
            broadcast: &mut self.broadcast,
            commands: &mut self.commands,
        };
        CallDesk {
            commands,
            membership: &mut self.membership,
            calls: &mut self.calls,
            watches: &mut self.watches,
        }
    }
}
