//! What a station shows of its work: who was heard, what was charged, how far long messages are.

use super::Station;
use crate::airtime::ledger::{Account, Priority};
use crate::peer::PeerId;

/// A long message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkTransfer {
    /// Owner of the audience that it goes to.
    pub channel: PeerId,
    /// Who sends it; none: we do.
    pub from: Option<PeerId>,
    /// The account that its airtime is charged to, where we send it.
    pub account: Option<Account>,
    /// How urgent, where we send it.
    pub priority: Priority,
    /// Frames to go: of ours those that are queued, of others' the fewest that are enough.
    pub frames_to_go: usize,
    /// Frames of all: of ours with the parity that goes along.
    pub frames: usize,
    /// A listener asked for these once more.
    pub repair: bool,
    /// Time on air of what is to go, microseconds.
    pub airtime_us: u64,
}

impl Station {
    /// Long messages on their way, ours first. Ours that wait for nothing but a listener's word are not among them.
    pub fn transfers(&self) -> Vec<BulkTransfer> {
        let ours = self.sender.waiting().map(|waiting| {
            let meta = self.outbox.meta(waiting.message);
            let frame_us = self.airtime_us(waiting.payload_bytes);
            BulkTransfer {
                channel: waiting.channel,
                from: None,
                account: meta.map(|meta| meta.account),
                priority: meta.map_or(Priority::Bulk, |meta| meta.priority),
                frames_to_go: waiting.fragments,
                frames: waiting.fragments_first.max(waiting.fragments),
                repair: waiting.repair,
                airtime_us: frame_us.saturating_mul(waiting.fragments as u64),
            }
        });
        let theirs = self.listener.assembler().open().map(|open| {
            let to_go = open.fragments.saturating_sub(open.held);
            BulkTransfer {
                channel: open.source.channel,
                from: Some(open.source.sender),
                account: None,
                priority: Priority::Bulk,
                frames_to_go: to_go,
                frames: open.fragments,
                repair: false,
                airtime_us: self.airtime_us(open.payload_bytes).saturating_mul(to_go as u64),
            }
        });
        ours.chain(theirs).collect()
    }
}
