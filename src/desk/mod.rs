//! What nodes ask of each other besides documents: deploys, notices of revocation, JSON calls; and the alarms
//! that watches on other nodes raise.
//!
//! `commands` and `rpc` decide and remember; here their decisions meet trust, links, radios, the gate and the runner. A desk
//! borrows the parts that it works on for one input, and owns nothing.
//!
//! | file | what |
//! |---|---|
//! | `deploys` | offers the deploys of this node, takes those of others |
//! | `notices` | notices of revocation: published, judged, confirmed, offered |
//! | `calls` | JSON calls, both ways |
//! | `alarms` | readings of what is watched, and what follows from them |
//! | `deploy_calls` | deploys of this node that go by JSON call |
//! | `bundles` | files that are carried by hand: what a peer lacks, and the answer to its file |
//! | `reach` | how a peer is best reached, and a message by that way |
//! | `record` | what a desk leaves behind: writes for the next commit, events |
//!
//! Left out: signing documents, closing links, answering local requests that wait for a joiner. Where one of these has to
//! follow, the desk returns a value that asks for it ([`NoticeEffect`], [`CallStep`], [`CallEnd`]), and `node` acts on it.
//!
//! Invariant: a change of what is remembered is a write before the output that depends on it, so the gate commits it first.

mod alarms;
mod bundles;
mod calls;
mod deploy_calls;
mod deploys;
mod notices;
mod reach;
mod record;

use tombolo_transports::PeerId;

pub(crate) use alarms::AlarmDesk;
pub(crate) use bundles::BundleDesk;
pub(crate) use calls::{CallEnd, CallStep};
pub(crate) use notices::{NoticeEffect, NoticeReceipt, Suspensions};
pub(crate) use reach::CommandMessage;

use crate::broadcast::Broadcast;
use crate::commands::Commands;
use crate::core::Core;
use crate::membership::Membership;
use crate::replica::Replica;
use crate::rpc::Calls;
use crate::unicast::Unicast;
use crate::watches::Watches;

/// The commands and notices of a node, with the parts that they work on.
#[derive(Debug)]
pub(crate) struct CommandDesk<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) replica: &'a mut Replica,
    pub(crate) unicast: &'a mut Unicast,
    pub(crate) broadcast: &'a mut Broadcast,
    pub(crate) commands: &'a mut Commands,
}

/// The JSON calls of a node, with the parts that they work on. A call for an install becomes a command.
#[derive(Debug)]
pub(crate) struct CallDesk<'a> {
    pub(crate) commands: CommandDesk<'a>,
    pub(crate) membership: &'a mut Membership,
    pub(crate) calls: &'a mut Calls,
    pub(crate) watches: &'a mut Watches,
}

impl<'a> CallDesk<'a> {
    /// The watches of the node, with the parts that they read.
    pub(crate) fn alarms(self) -> AlarmDesk<'a> {
        let CommandDesk { core, replica, unicast, .. } = self.commands;
        AlarmDesk { core, replica, unicast, watches: self.watches }
    }

    /// Bundles, with the parts that they work on.
    pub(crate) fn bundles(self) -> BundleDesk<'a> {
        let CommandDesk { core, replica, unicast, .. } = self.commands;
        BundleDesk { core, replica, unicast }
    }
}

impl CommandDesk<'_> {
    /// Takes a message of a peer, from a session or a pairwise channel with it; hostile. A notice comes back as a receipt.
    pub(crate) fn received(&mut self, from: PeerId, message: &CommandMessage) -> Option<NoticeReceipt> {
        match message {
            CommandMessage::Command(bytes) => self.command_received(from, bytes),
            CommandMessage::Answer(bytes) => self.command_answered(from, bytes),
            CommandMessage::Notice(bytes) => return self.notice_received(bytes),
            CommandMessage::NoticeHeard(hash) => self.notice_heard(from, hash),
        }
        None
    }
}

#[cfg(test)]
mod tests;
