//! One radio's whole link layer, sans-io.
//!
//! A [`Station`] turns messages into frames and frames into messages: it seals and opens them, cuts and joins the long ones,
//! asks for what is missing, announces its boot epoch, sends the call sign, and lets nothing out that the airtime ledger does
//! not allow. What a message means, who is in an audience and what is worth sending is decided above; sockets are below.
//!
//! # How to drive it
//!
//! - On each frame from the driver: [`receive`](Station::receive), then [`poll_received`](Station::poll_received) until it is
//!   empty (frames that waited for their sender's epoch).
//! - After each call: [`poll_record`](Station::poll_record) until it is empty; make each durable, then
//!   [`recorded`](Station::recorded).
//! - When the driver takes a frame, and at [`poll_timeout`](Station::poll_timeout): [`pass_time`](Station::pass_time), drain the
//!   records, then choose among [`candidates`](Station::candidates) and what is worth sending beside them.
//!   [`take`](Station::take) makes the frame of a candidate; a message that goes by [`send`](Station::send) becomes one. After
//!   [`TakenWork::NeedsRecord`] drain the records and take the same again.
//! - A station without a layer above that chooses: [`send`](Station::send), then [`transmit`](Station::transmit).
//!
//! Time is the caller's monotonic clock, randomness is [`StationConfig::seed`].
//!
//! # Bounds
//!
//! | what | at most | then |
//! |---|---|---|
//! | frames waiting to be sent | [`QUEUE_FRAMES_MAX`] | `send` is refused |
//! | long messages | [`SenderLimits`], [`MemoryLimits`] | refused; the least complete is dropped |
//! | frames kept until their sender's epoch is known | [`HELD_FRAMES_MAX`], [`HELD_FOR`] | the oldest goes |
//! | peers whose epoch is remembered | [`HEARD_MAX`] | those in no audience go |
//! | signatures tried for announcements whose header names no signer | [`SIGNATURES_AT_ONCE`] | only peers that the header names |
//! | audiences, members | [`CHANNELS_MAX`], [`MEMBERS_MAX`] | refused |

mod channels;
mod config;
mod epochs;
mod fit;
mod outbox;
mod random;
mod receive;
mod records;
mod rejection;
mod schedule;
mod shown;
mod transmit;

pub use channels::{CHANNELS_MAX, ChannelError, MEMBERS_MAX, WINDOW_RECORD_FRAMES, WindowRecord};
pub use config::{CALL_SIGN_BYTES_MAX, CallSign, StationConfig, StationError};
pub use epochs::{
    ANSWER_EVERY, ASK_EVERY, ASK_EVERY_MAX, ASK_TRIES_MAX, CORRECT_EVERY, FAILURES_MAX, HEARD_MAX,
    RENEW_EVERY, REPEAT_AFTER, REPEAT_FRAMES, REPEAT_QUIET, WANTED_MAX,
};
pub use fit::LONGER_AFTER;
pub use outbox::{METAS_MAX, QUEUE_FRAMES_MAX};
pub use receive::{HELD_FOR, HELD_FRAMES_MAX, SIGNATURES_AN_HOUR, SIGNATURES_AT_ONCE};
pub use records::{Record, StationRecords};
pub use rejection::{FrameRejection, Rejections};
pub use schedule::WorkCandidate;
pub use shown::BulkTransfer;
pub use transmit::{SIGN_AGAIN_ASKED_FRAMES, SIGN_AGAIN_FRAMES};

use crate::airtime::PhyRate;
use crate::airtime::ledger::{Account, HOUR, Ledger, Priority, Verdict};
use crate::bulk::fragment::{MemoryLimits, MessageId, OfferError, Sender, SenderLimits};
use crate::bulk::repair::Listener;
use crate::frame::announcement::EpochAnnouncements;
use crate::frame::keys::{AudienceKey, BootEpoch, Identity, Mode};
use crate::frame::{CLEAR_OVERHEAD_BYTES, Kind, OVERHEAD_BYTES};
use crate::peer::PeerId;
use crate::time::{Millis, Mono};
use channels::{ChannelKeys, Channels};
use epochs::{Epochs, OwnEpoch};
use fit::Fit;
use outbox::Outbox;
use random::StationRandom;
use receive::Inbound;
use records::Records;
use std::collections::BTreeSet;

/// What the station itself sends (announcements, questions for them, call sign) is charged to this account.
pub const STATION_ACCOUNT: Account = Account(0);

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Owner of the audience.
    pub channel: PeerId,
    /// What it is: 5 to 15.
    pub kind: Kind,
    /// Up to 64 KiB.
    pub bytes: Vec<u8>,
    /// The priority that its airtime is charged to.
    pub priority: Priority,
    /// The account that its airtime is charged to.
    pub account: Account,
    /// Under the audience's key before the last renewal, for readers who do not have the new one yet.
    pub previous_key: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It fits into one frame, which is queued.
    Frame,
    /// It was cut into fragments, under this name.
    Fragments(MessageId),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendRefusal {
    /// Not an audience of ours, or we are not in it.
    #[error("no such audience")]
    NoChannel,
    /// There is no key before the last renewal.
    #[error("the audience has no previous key")]
    NoPreviousKey,
    /// The station's own kinds are its own.
    #[error("kind {0} is the station's own")]
    Kind(u8),
    /// [`QUEUE_FRAMES_MAX`] frames wait already.
    #[error("{QUEUE_FRAMES_MAX} frames are waiting")]
    Full,
    /// A handshake in clear mode would be obscured, and carries keys.
    #[error("no peer can join over a radio in clear mode")]
    ClearMode,
    /// Longer than a frame.
    #[error("a frame of {bytes} bytes; the radio takes {bytes_max}")]
    TooLong {
        /// Length of the message in bytes.
        bytes: usize,
        /// The most there can be.
        bytes_max: usize,
    },
    /// Shorter than the radio takes, and of a kind that is not filled up.
    #[error("a frame of {bytes} bytes; the radio takes none under {bytes_min}")]
    TooShort {
        /// Length of the frame in bytes.
        bytes: usize,
        /// The least there must be.
        bytes_min: usize,
    },
    /// As a long message.
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// The result of a call of [`Station::transmit`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped here was charged and never sent"]
pub enum Transmit {
    /// A frame for the driver, already charged to the ledger.
    Frame {
        /// The bytes to send.
        frame: Vec<u8>,
        /// The account and airtime of the charge.
        charge: FrameCharge,
    },
    /// A record must be durable before anything leaves: drain [`Station::poll_record`], then call again.
    NeedsRecord,
    /// Nothing is due, or nothing that is due may leave now. [`Station::poll_timeout`] returns when to call again.
    Idle,
}

/// What became of a candidate: the result of [`Station::take`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped here was charged and never sent"]
pub enum TakenWork {
    /// A frame for the driver, already charged to the ledger.
    Frame {
        /// The bytes to send.
        frame: Vec<u8>,
        /// The account and airtime of the charge.
        charge: FrameCharge,
    },
    /// A record must be durable before it leaves: drain [`Station::poll_record`], then take it again.
    NeedsRecord,
    /// The ledger does not let it out now.
    Barred,
    /// Its audience was left or its key is gone, and it is dropped: another may have come to its place in the list.
    Gone,
}

/// What a frame cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCharge {
    /// The account that was charged.
    pub account: Account,
    /// Time on air, microseconds.
    pub airtime_us: u64,
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reception {
    /// The member that sent it. `None` where no seal names one: calls, joins, announcements and their questions, frames that
    /// could not be opened, our own.
    pub from: Option<PeerId>,
    /// What it was, or why it had no effect.
    pub outcome: Result<Received, FrameRejection>,
}

impl Reception {
    fn unproved(outcome: Result<Received, FrameRejection>) -> Self {
        Reception { from: None, outcome }
    }
}

/// What a frame was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message. In encrypted mode *some member of the audience* sent it; in clear mode any sender may have.
    Message {
        /// Owner of the audience.
        channel: PeerId,
        /// The member that the header names.
        from: PeerId,
        /// What it is: 5 to 15.
        kind: Kind,
        /// The bytes of the message, as its sender gave them.
        bytes: Vec<u8>,
        /// It came under the key before the last renewal: its sender may not have the new one.
        under_previous_key: bool,
    },
    /// A peer has a new boot epoch; its record follows.
    Epoch {
        /// The peer that announced it.
        peer: PeerId,
        /// The epoch that was announced.
        epoch: BootEpoch,
    },
    /// An epoch of *ours*, signed by us, that is not this one and not older: we run from a restored backup, or a copy of us is
    /// running. We open one beyond it; the node above should alert its operator.
    OwnEpoch {
        /// The epoch that was heard in our name.
        theirs: BootEpoch,
    },
    /// A part of something longer.
    Part,
    /// A member lacks fragments, or has them no more.
    Nack,
    /// A peer asks for an announcement.
    Question,
    /// A frame of a handshake, for an `Initiator` or a `Responder`.
    Join(Vec<u8>),
    /// The call sign of the station that transmits.
    CallSign(String),
    /// This frame was received before.
    Duplicate,
    /// Our own frame, come back.
    Echo,
    /// The frame belongs to another audience.
    Foreign,
    /// Kept until its sender's boot epoch is known.
    Held,
}

/// One radio's link layer. See the module.
#[derive(Debug)]
pub struct Station {
    us: Identity,
    me: PeerId,
    mode: Mode,
    frame_bytes_max: usize,
    frame_bytes_min: usize,
    fit: Fit,
    call_sign: Option<CallSign>,
    line: PhyRate,
    random: StationRandom,
    ledger: Ledger,
    own: OwnEpoch,
    /// Numbers of our epoch that were heard from elsewhere: go beyond.
    beyond: Option<u32>,
    channels: Channels,
    epochs: Epochs,
    announcements: EpochAnnouncements,
    inbound: Inbound,
    listener: Listener,
    sender: Sender,
    outbox: Outbox,
    records: Records,
    rejections: Rejections,
}

impl Station {
    /// A station with no audience yet. Its own boot epoch is the first record.
    ///
    /// # Errors
    /// [`StationError`] where the configuration does not suit the radio or the band's rules.
    pub fn new(config: StationConfig, records: StationRecords, ledger: Ledger) -> Result<Self, StationError> {
        let StationConfig { frame_bytes_max, frame_bytes_min, .. } = config;
        let call_sign = config.check(ledger.rules())?;
        let mut random = StationRandom::new(&config.seed);
        let epoch = BootEpoch::after(records.own_epoch, random.bytes()).ok_or(StationError::EpochsUsedUp)?;
        let me = config.us.peer_id();
        let mut ledger = ledger;
        ledger.set_longest_frame(config.line.frame_us(frame_bytes_max));
        let frame_airtime = Millis::from_us_rounded_up(config.line.frame_us(frame_bytes_max));
        let mut channels = Channels::new(records.windows);
        if config.mode == Mode::SignedClear {
            // Only the counter distinguishes a restart from a repetition: it begins anywhere.
            channels.restart_counters(u32::from_be_bytes(random.bytes()) >> 1);
        }
        let outbox = Outbox::new(ledger.budget().unwrap_or(HOUR));
        let mut station = Station {
            me,
            us: config.us,
            mode: config.mode,
            frame_bytes_max,
            frame_bytes_min,
            fit: Fit::new(frame_bytes_max),
            call_sign,
            line: config.line,
            ledger,
            own: OwnEpoch::new(epoch),
            beyond: None,
            channels,
            epochs: Epochs::new(records.heard),
            announcements: EpochAnnouncements::default(),
            inbound: Inbound::default(),
            listener: Listener::new(
                MemoryLimits::default(),
                frame_airtime,
                u64::from_be_bytes(random.bytes()),
            ),
            sender: Sender::new(me, SenderLimits::default(), frame_airtime),
            outbox,
            records: Records::default(),
            rejections: Rejections::new(),
            random,
        };
        match station.mode {
            Mode::Encrypted => station.records.own = Some(epoch),
            // No key hangs on it.
            Mode::SignedClear => station.own.durable = true,
        }
        Ok(station)
    }

    /// Takes up an audience of encrypted mode, or changes it: its key, the one before the last renewal, and the members that we know,
    /// us included.
    ///
    /// # Errors
    /// [`ChannelError`]: too many audiences or members; nothing changes.
    pub fn set_channel(
        &mut self,
        owner: PeerId,
        key: AudienceKey,
        previous: Option<AudienceKey>,
        members: BTreeSet<PeerId>,
    ) -> Result<(), ChannelError> {
        self.set_members(owner, Some(ChannelKeys { current: key, previous }), members)
    }

    /// Takes up an audience of clear mode, or changes it.
    ///
    /// # Errors
    /// [`ChannelError`]: too many audiences or members; nothing changes.
    pub fn set_clear_channel(
        &mut self,
        owner: PeerId,
        members: BTreeSet<PeerId>,
    ) -> Result<(), ChannelError> {
        self.set_members(owner, None, members)
    }

    fn set_members(
        &mut self,
        owner: PeerId,
        keys: Option<ChannelKeys>,
        members: BTreeSet<PeerId>,
    ) -> Result<(), ChannelError> {
        let keys = keys.filter(|_| self.mode == Mode::Encrypted);
        self.channels.set(owner, keys, members)?;
        self.forget_keyless(&owner);
        self.forget_strangers();
        Ok(())
    }

    /// Sends our announcement again, for a new member that could not know whose it was when it heard it.
    pub fn announce(&mut self, now: Mono) {
        self.own.announce(now);
    }

    /// Leaves an audience: what is half received or half sent in it is dropped.
    pub fn drop_channel(&mut self, owner: &PeerId) {
        self.channels.drop_channel(owner);
        self.listener.drop_channel(owner);
        self.drop_messages(owner);
        self.forget_strangers();
    }

    fn forget_strangers(&mut self) {
        let everybody = self.channels.everybody();
        self.epochs.keep(|peer| everybody.contains(peer));
    }

    /// The radio was set otherwise.
    pub fn set_line(&mut self, line: PhyRate) {
        self.line = line;
        let frame_airtime = Millis::from_us_rounded_up(line.frame_us(self.frame_bytes_max));
        self.listener.set_frame_airtime(frame_airtime);
        self.sender.set_frame_airtime(frame_airtime);
    }

    /// How fast bytes leave.
    pub fn line(&self) -> PhyRate {
        self.line
    }

    /// The longest frame that is sent now: as long as the radio takes, or shorter where long ones do not arrive.
    pub fn longest_frame_bytes(&self) -> usize {
        self.fit.frame_bytes()
    }

    /// What one frame carries of a message, now.
    pub fn payload_bytes_max(&self) -> usize {
        self.fit.frame_bytes() - self.overhead_bytes()
    }

    fn overhead_bytes(&self) -> usize {
        match self.mode {
            Mode::Encrypted => OVERHEAD_BYTES,
            Mode::SignedClear => CLEAR_OVERHEAD_BYTES,
        }
    }

    /// Time on air of one frame with so many bytes of payload, microseconds.
    pub fn airtime_us(&self, payload_bytes: usize) -> u64 {
        self.line.frame_us(self.padded_bytes(payload_bytes))
    }

    /// Length of the frame that carries so many bytes.
    fn padded_bytes(&self, payload_bytes: usize) -> usize {
        (payload_bytes + self.overhead_bytes()).max(self.frame_bytes_min)
    }

    /// The ledger's word on a frame with so many bytes of payload.
    pub fn verdict(&mut self, now: Mono, payload_bytes: usize, priority: Priority) -> Verdict {
        let airtime_us = self.airtime_us(payload_bytes);
        self.ledger.verdict(now, airtime_us, priority)
    }

    /// A copy of the ledger to read from: reading drops what is older than an hour, and the copy alone.
    pub fn ledger_view(&self) -> Ledger {
        self.ledger.clone()
    }

    /// The ledger, to show.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// What was refused, by reason.
    pub fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// Long messages on their way in: what is held, and the counters.
    pub fn assembler(&self) -> &crate::bulk::fragment::Assembler {
        self.listener.assembler()
    }

    /// The newest boot epoch that a peer has announced.
    pub fn epoch_of(&self, peer: &PeerId) -> Option<BootEpoch> {
        self.epochs.newest(peer).map(|announcement| announcement.epoch)
    }

    /// Our own boot epoch.
    pub fn epoch(&self) -> BootEpoch {
        self.own.epoch
    }

    /// The share of frames that this radio misses, in thousandths, as the counters received show. It decides how much parity
    /// goes along.
    pub fn loss_permille(&self) -> u16 {
        self.inbound.loss.permille()
    }

    /// What must be made durable, then [`recorded`](Self::recorded). Only the newest of each is kept.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop()
    }

    /// A record is durable.
    pub fn recorded(&mut self, record: &Record) {
        match record {
            Record::OwnEpoch(epoch) => self.own.durable |= *epoch == self.own.epoch,
            Record::Ledger(record) => self.ledger.recorded(record),
            Record::Heard(..) | Record::Window(_) => {}
        }
    }

    /// A new boot epoch, above `past`, under keys that are new.
    fn renew(&mut self, now: Mono, past: u32) {
        let past = past.max(self.own.epoch.number);
        // At the very last number there is none beyond: this one's salt is ours alone, and it stays.
        if let Some(epoch) = BootEpoch::after(Some(past), self.random.bytes()) {
            self.own = OwnEpoch::renewed(epoch, now);
            self.outbox.drop_announcement();
            self.channels.restart_counters(0);
            self.records.own = Some(epoch);
        }
        self.beyond = None;
    }

    /// A random wait of one to `frames` full frames, so that not all speak at once.
    fn random_wait(&mut self, frames: u64) -> Millis {
        let frame_airtime = Millis::from_us_rounded_up(self.line.frame_us(self.frame_bytes_max));
        frame_airtime + Millis::from_ms(self.random.below((frame_airtime * frames).ms()))
    }

    fn reject(&mut self, rejection: FrameRejection) {
        *self.rejections.entry(rejection).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
