//! What waits to be sent, and how fast what others provoke may leave.

use super::CallSign;
use crate::PeerId;
use crate::airtime::ledger::{Account, HOUR, Priority};
use crate::bulk::fragment::MessageId;
use crate::frame::Kind;
use crate::time::{Millis, Mono};
use std::collections::{BTreeMap, VecDeque};

/// Frames that wait to be sent; beyond, `send` is refused. Fragments wait in their messages.
pub const QUEUE_FRAMES_MAX: usize = 32;
/// Long messages whose priority and account are remembered, for repairs asked for later; beyond, the oldest counts as bulk.
pub const METAS_MAX: usize = 64;
/// NACKs take one part in so many of an hour's airtime, and as much once at the beginning: what is Control's alone.
const NACK_SHARE: u64 = 10;
/// As [`NACK_SHARE`], for announcements that are asked for and questions for them, which any peer can provoke: a third of upkeep's.
const PROVOKED_SHARE: u64 = 15;
/// A call sign goes this much before it must, at most a tenth of the interval: the frame before it takes its time.
const CALL_SIGN_EARLY: Millis = Millis::from_ms(30_000);

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) queues: BTreeMap<Priority, VecDeque<Item>>,
    /// The rest of an announcement that takes several frames.
    pub(super) announcement: VecDeque<Vec<u8>>,
    pub(super) metas: VecDeque<(MessageId, Meta)>,
    pub(super) call: LastCallSign,
    /// A peer that opens messages and never ends them, or asks for messages that never were, provokes them.
    pub(super) nacks: ProvokedBudget,
    /// A peer that asks for announcements, or uses a member's header, provokes these.
    pub(super) provoked: ProvokedBudget,
}

/// One frame to be.
#[derive(Debug)]
pub(super) enum Item {
    /// Sealed when its turn comes.
    Sealed { channel: PeerId, kind: Kind, payload: Vec<u8>, meta: Meta },
    /// As it is: a part of a handshake.
    Raw { frame: Vec<u8>, account: Account },
}

/// How a message is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) channel: PeerId,
    pub(super) priority: Priority,
    pub(super) account: Account,
    pub(super) under: Under,
}

/// Which key of its audience a message goes under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    /// The one that is present when its first frame is sealed.
    Present,
    /// The one of this epoch, while the audience has it: its listeners may have no other.
    Epoch(u32),
}

impl Under {
    pub(super) fn epoch(self) -> Option<u32> {
        match self {
            Under::Present => None,
            Under::Epoch(epoch) => Some(epoch),
        }
    }
}

/// When the call sign was heard last.
#[derive(Debug, Default)]
pub(super) struct LastCallSign {
    pub(super) sent_at: Option<Mono>,
    pub(super) traffic_since: bool,
}

impl LastCallSign {
    pub(super) fn due(&self, call_sign: &CallSign) -> Option<Mono> {
        let every = call_sign.every - CALL_SIGN_EARLY.min(call_sign.every / 10);
        self.sent_at.map(|sent| sent + every)
    }
}

/// Airtime of what others may provoke: an hour's share at once, and then as it grows back.
#[derive(Debug)]
pub(super) struct ProvokedBudget {
    /// The airtime of an hour that it may take.
    share: Millis,
    /// Until when the share, as it grows, pays for what was sent.
    paid_until: Mono,
}

impl ProvokedBudget {
    /// From when on the next may be sent.
    pub(super) fn free_at(&self) -> Mono {
        self.paid_until - HOUR
    }

    pub(super) fn spent(&mut self, now: Mono, airtime: Millis) {
        let earned_in = airtime * HOUR.ms() / self.share.ms();
        self.paid_until = self.paid_until.max(now) + earned_in;
    }
}

impl Outbox {
    /// With a ledger of so much an hour.
    pub(super) fn new(budget: Millis) -> Self {
        Outbox {
            queues: BTreeMap::new(),
            announcement: VecDeque::new(),
            metas: VecDeque::new(),
            call: LastCallSign::default(),
            nacks: ProvokedBudget {
                share: (budget / NACK_SHARE).max(Millis::from_ms(1)),
                paid_until: Mono::ZERO,
            },
            provoked: ProvokedBudget {
                share: (budget / PROVOKED_SHARE).max(Millis::from_ms(1)),
                paid_until: Mono::ZERO,
            },
        }
    }

    pub(super) fn frames(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    pub(super) fn has_nack(&self) -> bool {
        let control = self.queues.get(&Priority::Control).into_iter().flatten();
        control.into_iter().any(|item| matches!(item, Item::Sealed { kind: Kind::NACK, .. }))
    }

    pub(super) fn push(&mut self, priority: Priority, item: Item) {
        self.queues.entry(priority).or_default().push_back(item);
    }

    pub(super) fn meta(&self, message: MessageId) -> Option<&Meta> {
        self.metas.iter().find(|(id, _)| *id == message).map(|(_, meta)| meta)
    }

    /// One that is under way already and is offered once more goes on under the older of both keys, which all its listeners have.
    pub(super) fn remember(&mut self, message: MessageId, mut meta: Meta) {
        if let Some(known) = self.meta(message) {
            let older = known.under.epoch().into_iter().chain(meta.under.epoch()).min();
            meta.under = older.map_or(Under::Present, Under::Epoch);
        }
        self.metas.retain(|(id, _)| *id != message);
        if self.metas.len() >= METAS_MAX {
            self.metas.pop_front();
        }
        self.metas.push_back((message, meta));
    }

    pub(super) fn drop_channel(&mut self, owner: &PeerId) {
        for queue in self.queues.values_mut() {
            queue.retain(|item| !matches!(item, Item::Sealed { channel, .. } if channel == owner));
        }
        self.metas.retain(|(_, meta)| meta.channel != *owner);
    }

    /// An announcement of an epoch that is no more is not finished.
    pub(super) fn drop_announcement(&mut self) {
        self.announcement.clear();
    }
}
