//! The airtime ledger of one radio: what was sent, on whose account, and what may be sent now.
//!
//! **In no sliding hour does a radio send longer than its duty cycle, not by a single frame.** The sum is exact
//! over an hour and [`SLACK`] (a frame may wait in the radio after it was charged); to bound memory, frames that
//! lie close together are taken as one that ends with the last of them, so all rounding is against us.
//!
//! **Of that hour each class keeps a share that no other can spend** (`shares` has the figures and the reason): what a class has not
//! spent of it is there at once, whatever the others have sent.
//!
//! ```text
//! hour's budget B = duty cycle of an hour
//! | alarm | control | rights | command | upkeep | state | document | bulk |<------ pool, for all of them ------>|
//! ```
//!
//! The caller asks [`Ledger::verdict`] before each frame, then [`Ledger::record_needed`], makes the record it gets
//! durable, confirms it with [`Ledger::recorded`], and then [`Ledger::charge`]s and sends the frame. A record is
//! written ahead: it counts as spent a little more than was spent, so that one write covers many frames and a crash
//! at any moment leaves on disk at least what was sent. No clock here: times come in.

mod account;
mod record;
mod shares;
mod window;

use crate::airtime::region::Rules;
use crate::time::{Millis, Mono};
use account::Accounts;
use shares::{Limits, of, without};
use window::{HourWindow, total_us};

pub use account::{ACCOUNTS_MAX, Account, AccountUse, PriorityUse};
pub use record::{BootId, LedgerRecord, Moment, RECORD_BYTES_MAX, RecordError};
pub use window::SLICES_MAX;

/// One hour: the window that duty cycles are counted over.
pub const HOUR: Millis = Millis::from_ms(3_600_000);
/// How long a frame may wait in the radio or its queue after it was charged, without an hour being exceeded.
pub const SLACK: Millis = Millis::from_ms(30_000);
/// By how much a clock that is called trusted may be wrong, before a restart and after it together.
pub const CLOCK_ERROR: Millis = Millis::from_ms(60_000);
/// How long a frame stays in the sum after it ended.
const KEEP: Millis = Millis::from_ms(HOUR.ms() + SLACK.ms());

/// A record written ahead covers this share of the budget: about so many writes per hour of full use.
const AHEAD_SHARE: u64 = 32;
/// And at most this part of upkeep's.
const AHEAD_UPKEEP_SHARE: u64 = 6;

/// What a frame is for: the class of traffic that it is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// What a person has to learn of at once.
    Alarm,
    /// Acknowledgements, NACKs and frontiers.
    Control,
    /// Who may read and write: audiences, their keys, revocations.
    Rights,
    /// Joining, deploys and their answers.
    Command,
    /// Heartbeats, boot epochs, call sign: at most a fifth of the budget and 2 % of time.
    Upkeep,
    /// The newest state of nodes.
    State,
    /// Documents other than the newest state of a node, as long as a message of theirs fits one frame.
    Document,
    /// Long transfers, and repeated parts of them.
    Bulk,
}

/// How many classes there are.
pub const PRIORITIES: usize = 8;

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Priority; PRIORITIES] = [
        Priority::Alarm,
        Priority::Control,
        Priority::Rights,
        Priority::Command,
        Priority::Upkeep,
        Priority::State,
        Priority::Document,
        Priority::Bulk,
    ];

    /// The part of an hour's budget, per thousand, that no other class can spend; more where a frame takes more.
    pub fn share_permille(self) -> u64 {
        match self {
            Priority::Alarm | Priority::Rights | Priority::Command | Priority::Bulk => 40,
            Priority::Control | Priority::Upkeep => 60,
            Priority::State => 80,
            Priority::Document => 200,
        }
    }

    /// The name in reports and settings.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Alarm => "alarm",
            Priority::Control => "control",
            Priority::Rights => "rights",
            Priority::Command => "command",
            Priority::Upkeep => "upkeep",
            Priority::State => "state",
            Priority::Document => "document",
            Priority::Bulk => "bulk",
        }
    }
}

/// Whether a frame may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame may leave at once.
    Now,
    /// After so long, from the time that was asked about, if nothing else is sent meanwhile.
    Wait(Millis),
    /// However long one waits.
    Never {
        /// The rule that the frame breaks.
        why: NeverLegal,
    },
}

/// Why no wait makes a frame legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeverLegal {
    /// No region was set.
    #[error("no region is set, so nothing may be sent")]
    NoRegion,
    /// Longer than one transmission may be.
    #[error(
        "{} ms on air; one transmission may take {} ms, so the radio needs a faster preset",
        airtime.ms(),
        dwell.ms()
    )]
    Dwell {
        /// What the frame takes, rounded up.
        airtime: Millis,
        /// The longest transmission that is allowed.
        dwell: Millis,
    },
    /// Longer than all that this priority has in an hour.
    #[error("{} ms on air; an hour's whole budget for {} is {} ms", airtime.ms(), priority.name(), budget.ms())]
    Budget {
        /// What the frame takes, rounded up.
        airtime: Millis,
        /// What may be sent in an hour.
        budget: Millis,
        /// The priority whose share is too small.
        priority: Priority,
    },
}

/// What a ledger goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// What the law allows; `None`: no region is set and nothing is sent.
    pub rules: Option<Rules>,
    /// What the operator allows, per thousand of time; the smaller of this and the law's counts.
    pub soft_cap_permille: u16,
    /// Upkeep's share of time at most, per thousand.
    pub upkeep_permille: u16,
}

impl LedgerConfig {
    /// What the rules allow, upkeep at most 2 % of time.
    pub const fn new(rules: Option<Rules>) -> Self {
        LedgerConfig { rules, soft_cap_permille: 1_000, upkeep_permille: 20 }
    }
}

/// A frame that was charged: the way to take it back where the radio then refused it.
#[derive(Debug, PartialEq, Eq)]
pub struct Charge {
    at: Mono,
    leaves_sum_at: Mono,
    airtime_us: u64,
    account: Account,
    priority: Priority,
}

/// What one radio has sent and may send. An instant that goes backwards is taken as
/// standing still.
#[derive(Clone, Debug)]
pub struct Ledger {
    config: LedgerConfig,
    /// What the radio's longest frame takes: a share holds one, where it can.
    longest_frame_us: u64,
    limits: Option<Limits>,
    now: Mono,
    /// When the last frame charged has left the antenna, if each left as soon as it could.
    busy_until: Mono,
    window: HourWindow,
    accounts: Accounts,
    /// What the durable record still covers, microseconds.
    covered_us: u64,
    /// The record that was handed out and is not durable yet: nothing is covered until it is.
    pending: Option<(u64, u64)>,
    serial: u64,
}

impl Ledger {
    /// The ledger of a radio that has never sent.
    pub fn new(config: LedgerConfig, now: Mono) -> Self {
        Ledger {
            config,
            longest_frame_us: 0,
            limits: Limits::new(&config, 0),
            now,
            busy_until: now,
            window: HourWindow::default(),
            accounts: Accounts::default(),
            covered_us: 0,
            pending: None,
            serial: 0,
        }
    }

    /// The ledger of a radio whose record was lost or unreadable: as if the last hour had been full.
    pub fn after_loss(config: LedgerConfig, now: Mono) -> Self {
        let mut ledger = Ledger::new(config, now);
        let budget_us = ledger.limits.map_or(0, |limits| limits.budget_us);
        ledger.count_as_just_spent(budget_us);
        ledger
    }

    /// The ledger after a restart.
    ///
    /// In the same boot monotonic time goes on. In another boot, where the wall clock was and is trusted, the time
    /// that passed is theirs less [`CLOCK_ERROR`]. Else all of the record's last hour counts as just spent.
    /// What the record was written ahead always does: it may have been spent until this moment.
    pub fn restore(config: LedgerConfig, record: &LedgerRecord, moment: Moment) -> Self {
        let now = moment.monotonic;
        let mut ledger = Ledger::new(config, now);
        let passed = record.passed(moment);
        for slice in &record.slices {
            let left = match passed {
                Some(passed) => slice.left - passed,
                None if slice.left > Millis::ZERO => slice.left.max(KEEP),
                None => Millis::ZERO,
            };
            if left > Millis::ZERO {
                ledger.window.push(now + left, slice.spent_us);
            }
        }
        ledger.count_as_just_spent(record.ahead_us);
        ledger.accounts.restore(record);
        ledger
    }

    /// Airtime of which only the sum is known. It counts as upkeep: that way it falls under every limit that it
    /// may have fallen under.
    fn count_as_just_spent(&mut self, airtime_us: u64) {
        if airtime_us > 0 {
            self.window.push(self.now + KEEP, of(Priority::Upkeep, airtime_us));
        }
    }

    /// What the law allows, as the ledger was configured.
    pub fn rules(&self) -> Option<&Rules> {
        self.config.rules.as_ref()
    }

    fn advance(&mut self, now: Mono) {
        self.now = self.now.max(now);
        self.window.expire(self.now);
    }

    /// Whether a frame of this time on air may leave now.
    pub fn verdict(&mut self, now: Mono, airtime_us: u64, priority: Priority) -> Verdict {
        self.advance(now);
        let limits = match self.never(airtime_us, priority) {
            Ok(limits) => limits,
            Err(why) => return Verdict::Never { why },
        };
        let free_at = self.window.when(|spent| limits.left_us(spent, priority) >= airtime_us);
        match free_at.since(self.now) {
            Millis::ZERO => Verdict::Now,
            // From the time asked about, also where it lies before a time already seen.
            wait => Verdict::Wait(wait + self.now.since(now)),
        }
    }

    fn never(&self, airtime_us: u64, priority: Priority) -> Result<Limits, NeverLegal> {
        let limits = self.limits.ok_or(NeverLegal::NoRegion)?;
        let airtime = Millis::from_us_rounded_up(airtime_us);
        if let Some(dwell) = limits.dwell.filter(|dwell| airtime_us > dwell.ms() * 1_000) {
            return Err(NeverLegal::Dwell { airtime, dwell });
        }
        let whole_us = limits.whole_us(priority);
        if airtime_us > whole_us {
            return Err(NeverLegal::Budget { airtime, budget: Millis::from_ms(whole_us / 1_000), priority });
        }
        Ok(limits)
    }

    /// All that a priority may have in an hour, microseconds; `None` where nothing may be sent.
    pub fn whole_us(&self, priority: Priority) -> Option<u64> {
        self.limits.map(|limits| limits.whole_us(priority))
    }

    /// After how long a frame may leave, nothing for now; `None` if never.
    pub fn leaves_in(&mut self, now: Mono, airtime_us: u64, priority: Priority) -> Option<Millis> {
        match self.verdict(now, airtime_us, priority) {
            Verdict::Now => Some(Millis::ZERO),
            Verdict::Wait(wait) => Some(wait),
            Verdict::Never { .. } => None,
        }
    }

    /// Counts a frame that goes out now. It is counted whatever the verdict was and whatever is durable: what was
    /// sent was sent.
    pub fn charge(&mut self, now: Mono, airtime_us: u64, account: Account, priority: Priority) -> Charge {
        self.advance(now);
        // A radio sends one frame after the other; no queue in it is longer than an hour.
        let ends_at = self.busy_until.max(self.now) + Millis::from_us_rounded_up(airtime_us);
        self.busy_until = ends_at.min(self.now + HOUR);
        let leaves_sum_at = self.busy_until + KEEP;
        self.window.push(leaves_sum_at, of(priority, airtime_us));
        self.accounts.charge(self.now, airtime_us, account, priority);
        self.covered_us = self.covered_us.saturating_sub(airtime_us);
        Charge { at: self.now, leaves_sum_at, airtime_us, account, priority }
    }

    /// Takes a frame back that certainly did not go out, because the radio reported that it did not take it. What
    /// is written down stays so; once the frame has left the sum, nothing is taken back.
    pub fn refund(&mut self, charge: Charge) {
        let Charge { at, leaves_sum_at, airtime_us, account, priority } = charge;
        if self.window.take_back(leaves_sum_at, of(priority, airtime_us)) {
            self.accounts.refund(at, airtime_us, account, priority);
        }
    }

    /// Goes by other rules from now on; what was sent was sent.
    pub fn set_config(&mut self, config: LedgerConfig) {
        (self.config, self.limits) = (config, Limits::new(&config, self.longest_frame_us));
    }

    /// No frame of this radio takes longer. A share that is shorter grows, so that a frame fits it.
    pub fn set_longest_frame(&mut self, airtime_us: u64) {
        self.longest_frame_us = airtime_us;
        self.limits = Limits::new(&self.config, airtime_us);
    }

    /// What no other class can spend of an hour, microseconds; `None` where nothing may be sent.
    pub fn share_us(&self, priority: Priority) -> Option<u64> {
        self.limits.map(|limits| limits.share_us(priority))
    }

    /// What a class could send in this hour if it had sent nothing itself, microseconds: by this it paces itself. 0 without a
    /// region.
    pub fn of_hour_us(&mut self, now: Mono, priority: Priority) -> u64 {
        self.advance(now);
        self.limits.map_or(0, |limits| limits.left_us(&without(self.window.spent(), priority), priority))
    }

    /// What a priority may still send now, microseconds; 0 without a region.
    pub fn left_us(&mut self, now: Mono, priority: Priority) -> u64 {
        self.advance(now);
        self.limits.map_or(0, |limits| limits.left_us(self.window.spent(), priority))
    }

    /// What is left of the hour for layers and documents, for the link's `LinkCaps`; `None` where neither
    /// law nor operator sets a limit.
    pub fn airtime_left(&mut self, now: Mono) -> Option<Millis> {
        let limited = self.limits.is_none_or(|limits| limits.by_law);
        limited.then(|| Millis::from_ms(self.left_us(now, Priority::State) / 1_000))
    }

    /// An hour's whole budget; `None` without a region.
    pub fn budget(&self) -> Option<Millis> {
        self.limits.map(|limits| Millis::from_ms(limits.budget_us / 1_000))
    }

    /// What was sent in the last hour, microseconds; what is not known to be older counts.
    pub fn hour_us(&mut self, now: Mono) -> u64 {
        self.advance(now);
        total_us(self.window.spent())
    }

    /// Another day has begun by whatever calendar the caller keeps: the day's totals start at zero. The same day again
    /// changes nothing.
    pub fn start_day(&mut self, day: u32) {
        self.accounts.start_day(day);
    }

    /// Today's and the last hour's airtime per account; beyond [`ACCOUNTS_MAX`] under [`Account::OTHERS`]. The
    /// hour is known to the minute, rounded up, and starts at zero with the process.
    pub fn by_account(&self) -> Vec<AccountUse> {
        self.accounts.by_account(self.now)
    }

    /// Today's and the last hour's airtime per priority.
    pub fn by_priority(&mut self, now: Mono) -> Vec<PriorityUse> {
        self.advance(now);
        self.accounts.by_priority(self.window.spent())
    }

    /// The record to make durable before a frame of this airtime may be charged; `None` if what is durable covers
    /// it. Where writing fails, ask again.
    pub fn record_needed(&mut self, moment: Moment, airtime_us: u64) -> Option<LedgerRecord> {
        if self.pending.is_none() && self.covered_us >= airtime_us {
            return None;
        }
        // After a crash it counts as upkeep, which must not be used up by it where there is no law to be short of.
        let share =
            |limits: Limits| (limits.budget_us / AHEAD_SHARE).min(limits.upkeep_us / AHEAD_UPKEEP_SHARE);
        // Never more than is left: however often it crashes, what it counts as spent is no more than the budget.
        self.advance(moment.monotonic);
        let spent_us = total_us(self.window.spent());
        let left_us = self.limits.map_or(0, |limits| limits.budget_us.saturating_sub(spent_us));
        let share_us = self.limits.map_or(0, share).min(left_us);
        let record = self.write_ahead(moment, airtime_us.max(share_us));
        self.pending = Some((record.serial, record.ahead_us));
        Some(record)
    }

    /// The record is durable: what it was written ahead may be charged. One that is not the newest handed out
    /// changes nothing.
    pub fn recorded(&mut self, record: &LedgerRecord) {
        if let Some((_, ahead_us)) = self.pending.take_if(|(serial, _)| *serial == record.serial) {
            self.covered_us = ahead_us;
        }
    }

    /// What was spent and nothing more, for an orderly end; it covers no further frame.
    pub fn snapshot(&mut self, moment: Moment) -> LedgerRecord {
        self.pending = None;
        self.write_ahead(moment, 0)
    }

    fn write_ahead(&mut self, moment: Moment, ahead_us: u64) -> LedgerRecord {
        self.advance(moment.monotonic);
        self.covered_us = 0;
        self.serial += 1;
        LedgerRecord {
            serial: self.serial,
            moment: Moment { monotonic: self.now, ..moment },
            ahead_us,
            slices: self.window.coarse(self.now),
            day: self.accounts.day(),
            today_us: self.accounts.today_us(),
            accounts: self.accounts.today_by_account(),
        }
    }
}
