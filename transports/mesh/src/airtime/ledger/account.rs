//! Who the airtime was for: totals for today and for the last hour.

use crate::time::{Millis, Mono};
use std::collections::{BTreeMap, VecDeque};

use super::Priority;
use super::record::LedgerRecord;
use super::window::Spent;

/// Accounts with totals of their own; the airtime of any further one goes under [`Account::OTHERS`] until an
/// account has nothing for today and the last hour.
pub const ACCOUNTS_MAX: usize = 64;
/// The last hour is kept by the minute.
const MINUTE: Millis = Millis::from_ms(60_000);
/// Minutes that overlap an hour.
const MINUTES: u64 = 61;

/// The account that a frame is charged to; what the number means is the caller's (a peer, a document).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u64);

impl Account {
    /// All accounts for which there was no room.
    pub const OTHERS: Account = Account(u64::MAX);
}

/// Airtime of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountUse {
    /// The account that was charged.
    pub account: Account,
    /// Since the day began, microseconds.
    pub today_us: u64,
    /// In the last hour, to the minute, rounded up, microseconds.
    pub hour_us: u64,
}

/// Airtime of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityUse {
    /// The priority that was charged.
    pub priority: Priority,
    /// Since the day began, microseconds.
    pub today_us: u64,
    /// In the last hour, microseconds.
    pub hour_us: u64,
}

#[derive(Clone, Debug, Default)]
struct AccountTotals {
    today_us: u64,
    /// Minute and microseconds; at most [`MINUTES`].
    minutes: VecDeque<(u64, u64)>,
}

impl AccountTotals {
    fn expire(&mut self, minute: u64) {
        while self.minutes.front().is_some_and(|(then, _)| then.saturating_add(MINUTES) <= minute) {
            self.minutes.pop_front();
        }
    }

    fn hour_us(&self, minute: u64) -> u64 {
        let recent = self.minutes.iter().filter(|(then, _)| then.saturating_add(MINUTES) > minute);
        recent.fold(0, |sum, (_, us)| sum.saturating_add(*us))
    }
}

fn minute_of(now: Mono) -> u64 {
    now.since(Mono::ZERO) / MINUTE
}

/// Totals per account and per priority.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    day: u32,
    today: Spent,
    uses: BTreeMap<Account, AccountTotals>,
}

impl Accounts {
    pub(super) fn restore(&mut self, record: &LedgerRecord) {
        (self.day, self.today) = (record.day, record.today_us);
        for (account, today_us) in record.accounts.iter().take(ACCOUNTS_MAX + 1) {
            self.uses.insert(*account, AccountTotals { today_us: *today_us, minutes: VecDeque::new() });
        }
    }

    pub(super) fn start_day(&mut self, day: u32) {
        if day != self.day {
            (self.day, self.today) = (day, Spent::default());
            self.uses.values_mut().for_each(|of| of.today_us = 0);
        }
    }

    pub(super) fn charge(&mut self, now: Mono, airtime_us: u64, account: Account, priority: Priority) {
        if let Some(today) = self.today.get_mut(priority as usize) {
            *today = today.saturating_add(airtime_us);
        }
        let minute = minute_of(now);
        let of = self.entry(account, minute);
        of.expire(minute);
        of.today_us = of.today_us.saturating_add(airtime_us);
        match of.minutes.back_mut() {
            Some((then, us)) if *then == minute => *us = us.saturating_add(airtime_us),
            _ => of.minutes.push_back((minute, airtime_us)),
        }
    }

    pub(super) fn refund(&mut self, then: Mono, airtime_us: u64, account: Account, priority: Priority) {
        if let Some(today) = self.today.get_mut(priority as usize) {
            *today = today.saturating_sub(airtime_us);
        }
        let known = if self.uses.contains_key(&account) { account } else { Account::OTHERS };
        let Some(of) = self.uses.get_mut(&known) else { return };
        of.today_us = of.today_us.saturating_sub(airtime_us);
        if let Some((_, us)) = of.minutes.iter_mut().find(|(minute, _)| *minute == minute_of(then)) {
            *us = us.saturating_sub(airtime_us);
        }
    }

    fn entry(&mut self, account: Account, minute: u64) -> &mut AccountTotals {
        let room = |uses: &BTreeMap<Account, AccountTotals>| {
            uses.keys().filter(|a| **a != Account::OTHERS).count() < ACCOUNTS_MAX
        };
        if !self.uses.contains_key(&account) && !room(&self.uses) {
            self.uses.retain(|_, of| of.today_us > 0 || of.hour_us(minute) > 0);
        }
        let known = self.uses.contains_key(&account) || room(&self.uses);
        self.uses.entry(if known { account } else { Account::OTHERS }).or_default()
    }

    pub(super) fn by_account(&self, now: Mono) -> Vec<AccountUse> {
        let row = |(account, of): (&Account, &AccountTotals)| AccountUse {
            account: *account,
            today_us: of.today_us,
            hour_us: of.hour_us(minute_of(now)),
        };
        self.uses.iter().map(row).filter(|row| row.today_us > 0 || row.hour_us > 0).collect()
    }

    pub(super) fn by_priority(&self, hour: &Spent) -> Vec<PriorityUse> {
        let totals = Priority::ALL.into_iter().zip(self.today.iter().zip(hour));
        totals
            .map(|(priority, (today, hour))| PriorityUse { priority, today_us: *today, hour_us: *hour })
            .collect()
    }

    pub(super) fn day(&self) -> u32 {
        self.day
    }

    pub(super) fn today_us(&self) -> Spent {
        self.today
    }

    pub(super) fn today_by_account(&self) -> Vec<(Account, u64)> {
        self.uses
            .iter()
            .filter(|(_, of)| of.today_us > 0)
            .map(|(account, of)| (*account, of.today_us))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::total_us;
    use super::*;

    #[test]
    fn accounts_are_few_and_nothing_goes_uncounted() {
        let mut accounts = Accounts::default();
        for n in 0..1_000 {
            accounts.charge(Mono::from_ms(n * 100), 10, Account(n), Priority::State);
        }
        let rows = accounts.by_account(Mono::from_ms(100_000));
        assert_eq!(rows.len(), ACCOUNTS_MAX + 1);
        assert_eq!(rows.iter().map(|row| row.today_us).sum::<u64>(), 10_000);
        assert_eq!(rows.last().unwrap().account, Account::OTHERS);
        assert_eq!(total_us(&accounts.today_us()), 10_000);
    }

    #[test]
    fn a_day_ends_by_the_callers_calendar_and_an_hour_by_the_minute() {
        let mut accounts = Accounts::default();
        accounts.charge(Mono::from_ms(30_000), 7, Account(1), Priority::Bulk);
        accounts.charge(Mono::from_ms(3_600_000), 5, Account(1), Priority::Bulk);
        let row = |accounts: &Accounts, now| accounts.by_account(now).first().copied();
        assert_eq!(row(&accounts, Mono::from_ms(3_600_000)).unwrap().hour_us, 12);
        assert_eq!(row(&accounts, Mono::from_ms(3_660_000)).unwrap().hour_us, 5);
        accounts.start_day(1);
        assert_eq!(row(&accounts, Mono::from_ms(3_660_000)).unwrap().today_us, 0);
        assert_eq!(row(&accounts, Mono::from_ms(7_400_000)), None);
    }
}
