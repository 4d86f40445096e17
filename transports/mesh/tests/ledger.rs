//! The airtime ledger against a checker that sees every frame leave the antenna, in true time.

use proptest::prelude::*;
use tombolo_mesh::airtime::ledger::{
    Account, BootId, HOUR, Ledger, LedgerConfig, LedgerRecord, Moment, NeverLegal, Priority, SLACK, Verdict,
};
use tombolo_mesh::airtime::region::{Region, Rules, Usage};
use tombolo_mesh::time::{Millis, Mono, Wall};

const HOUR_MS: u64 = HOUR.ms();
const SLACK_MS: u64 = SLACK.ms();

const EU868_MHZ: [u32; 3] = [869_000_000, 868_100_000, 869_525_000];

fn at(hz: u32) -> Usage {
    Usage { frequency_hz: Some(hz), ..Usage::default() }
}

fn config(hz: u32) -> LedgerConfig {
    LedgerConfig::new(Some(Region::Eu868.rules(at(hz)).expect("a sub-band")))
}

/// What was on air: from, to, in microseconds of true time, and what for.
#[derive(Default)]
struct Checker(Vec<(u64, u64, Priority)>);

impl Checker {
    fn sent(&mut self, start_ms: u64, airtime_us: u64, priority: Priority) {
        self.0.push((start_ms * 1_000, start_ms * 1_000 + airtime_us, priority));
    }

    /// Microseconds that frames of a class took which began in this time, milliseconds.
    fn sent_between(&self, from_ms: u64, to_ms: u64, class: Priority) -> u64 {
        let within = |frame: &&(u64, u64, Priority)| {
            frame.2 == class && (from_ms * 1_000..to_ms * 1_000).contains(&frame.0)
        };
        self.0.iter().filter(within).map(|(from, to, _)| to - from).sum()
    }

    /// The most that any hour holds. Such an hour begins with a frame or ends with one.
    fn most_us_in_an_hour(&self, counts: impl Fn(Priority) -> bool) -> u64 {
        let hour_us = HOUR_MS * 1_000;
        let frames: Vec<_> = self.0.iter().filter(|frame| counts(frame.2)).collect();
        let hours = frames.iter().flat_map(|(from, to, _)| [*from, to.saturating_sub(hour_us)]);
        let held = |begin: u64| {
            frames
                .iter()
                .map(|(from, to, _)| (*to).min(begin + hour_us).saturating_sub((*from).max(begin)))
                .sum()
        };
        hours.map(held).max().unwrap_or(0)
    }
}

/// A machine whose true time, boot and wall clock are known to the test, with a disk.
struct Machine {
    true_ms: u64,
    booted_at_ms: u64,
    boot: u8,
    /// What the wall clock shows more than the truth, and whether it is called trusted.
    wall_error_ms: i64,
    trusted: bool,
    config: LedgerConfig,
    ledger: Ledger,
    disk: Option<LedgerRecord>,
    checker: Checker,
}

/// Where a machine loses power on the way of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    No,
    BeforeWrite,
    AfterWrite,
    BeforeSend,
    AfterSend,
}

impl Machine {
    fn new(config: LedgerConfig) -> Self {
        Machine {
            true_ms: 1_000_000_000,
            booted_at_ms: 1_000_000_000,
            boot: 0,
            wall_error_ms: 0,
            trusted: true,
            config,
            ledger: Ledger::new(config, Mono::ZERO),
            disk: None,
            checker: Checker::default(),
        }
    }

    fn moment(&self) -> Moment {
        let wall_ms = (self.true_ms as i64 + self.wall_error_ms).max(0) as u64;
        Moment {
            boot: BootId([self.boot; 16]),
            monotonic: Mono::from_ms(self.true_ms - self.booted_at_ms),
            trusted_wall: self.trusted.then_some(Wall::from_ms(wall_ms)),
        }
    }

    /// Sends if the ledger lets it, and dies where `crash` demands it. Returns whether it is still alive.
    fn send(&mut self, airtime_us: u64, priority: Priority, late_ms: u64, crash: Crash) -> bool {
        let now = self.moment();
        if self.ledger.verdict(now.monotonic, airtime_us, priority) != Verdict::Now {
            return true;
        }
        if let Some(record) = self.ledger.record_needed(now, airtime_us) {
            if crash == Crash::BeforeWrite {
                return false;
            }
            let bytes = record.encode();
            self.disk = Some(LedgerRecord::decode(&bytes).expect("our own record"));
            if crash == Crash::AfterWrite {
                return false;
            }
            self.ledger.recorded(&record);
            assert_eq!(self.ledger.record_needed(now, airtime_us), None);
        }
        let charge = self.ledger.charge(now.monotonic, airtime_us, Account(1), priority);
        if crash == Crash::BeforeSend {
            return false;
        }
        // Now and then a radio reports that it is busy.
        if airtime_us.is_multiple_of(7) {
            let left_us = self.ledger.left_us(now.monotonic, priority);
            self.ledger.refund(charge);
            assert!(self.ledger.left_us(now.monotonic, priority) >= left_us + airtime_us);
            return true;
        }
        let start_ms = self.true_ms + late_ms;
        self.checker.sent(start_ms, airtime_us, priority);
        if crash == Crash::AfterSend {
            return false;
        }
        // One frame at a time: the radio reports when it is done.
        self.true_ms = start_ms + airtime_us.div_ceil(1_000);
        true
    }

    fn restart(&mut self, restart: &Restart) {
        if restart.orderly {
            let record = self.ledger.snapshot(self.moment());
            self.disk = Some(LedgerRecord::decode(&record.encode()).expect("our own record"));
        }
        self.true_ms += restart.down_ms;
        if restart.reboot {
            self.boot += 1;
            self.booted_at_ms = self.true_ms.saturating_sub(restart.uptime_ms);
            self.wall_error_ms = restart.wall_error_ms;
            // A clock that is called trusted is right within what a ledger allows for.
            self.trusted = restart.wall_error_ms.abs() <= 30_000 && restart.trusted;
        }
        self.ledger = match &self.disk {
            Some(record) => Ledger::restore(self.config, record, self.moment()),
            None => Ledger::new(self.config, self.moment().monotonic),
        };
    }
}

#[derive(Clone, Debug)]
struct Restart {
    orderly: bool,
    reboot: bool,
    down_ms: u64,
    uptime_ms: u64,
    wall_error_ms: i64,
    trusted: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Send { airtime_us: u64, priority: Priority, late_ms: u64, crash: Crash, after: Restart },
    Restart(Restart),
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn restart() -> impl Strategy<Value = Restart> {
    let error = prop_oneof![-30_000i64..30_000, -40_000_000_000i64..40_000_000];
    (any::<bool>(), any::<bool>(), 0u64..600_000, 0u64..60_000, error, any::<bool>()).prop_map(
        |(orderly, reboot, down_ms, uptime_ms, wall_error_ms, trusted)| Restart {
            orderly,
            reboot,
            down_ms: if orderly { down_ms } else { down_ms / 100 },
            uptime_ms: uptime_ms.min(down_ms / 100),
            wall_error_ms,
            trusted,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let crash = prop_oneof![
        20 => Just(Crash::No),
        1 => prop::sample::select(vec![Crash::BeforeWrite, Crash::AfterWrite, Crash::BeforeSend, Crash::AfterSend]),
    ];
    prop_oneof![
        2 => (0u64..900_000).prop_map(Step::Pass),
        30 => (20_000u64..3_000_000, priority(), prop_oneof![Just(0), 0..=SLACK_MS], crash, restart()).prop_map(
            |(airtime_us, priority, late_ms, crash, after)| Step::Send { airtime_us, priority, late_ms, crash, after }
        ),
        1 => restart().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Random frames, priorities, delays in the radio, crashes at every step of a frame, restarts with clocks
    /// right, wrong and unknown.
    #[test]
    fn no_hour_holds_more_than_the_duty_cycle(band in 0usize..3, steps in prop::collection::vec(step(), 1..400)) {
        let config = config(EU868_MHZ[band]);
        let permille = u64::from(config.rules.unwrap().duty_permille.unwrap());
        let budget_us = HOUR_MS * permille;
        let mut machine = Machine::new(config);
        let mut has_restarted = false;
        for step in steps {
            match step {
                Step::Pass(ms) => machine.true_ms += ms,
                Step::Restart(restart) => {
                    has_restarted = true;
                    machine.restart(&restart);
                }
                Step::Send { airtime_us, priority, late_ms, crash, after } => {
                    let crashes = crash != Crash::No;
                    let alive = machine.send(airtime_us, priority, late_ms, crash);
                    if !alive {
                        has_restarted = true;
                        machine.restart(&Restart { orderly: false, ..after });
                    }
                    prop_assert!(alive || crashes);
                }
            }
        }
        let checker = &machine.checker;
        prop_assert!(checker.most_us_in_an_hour(|_| true) <= budget_us);
        // After a restart the ledger knows how much was sent, and not always which class sent it.
        for class in Priority::ALL.into_iter().filter(|_| !has_restarted) {
            let others_us = checker.most_us_in_an_hour(|priority| priority != class);
            let share_us = machine.ledger.share_us(class).unwrap();
            prop_assert!(others_us <= budget_us - share_us, "the share of {class:?} was used by others");
        }
        let upkeep_us = checker.most_us_in_an_hour(|priority| priority == Priority::Upkeep);
        prop_assert!(upkeep_us <= (budget_us / 5).min(HOUR_MS * 20));
    }

    /// Whatever the others have sent, what a class has not used of its share is there at once, for all of them together.
    #[test]
    fn every_share_is_always_there(
        band in 0usize..3,
        longest_us in 0u64..10_000_000,
        frames in prop::collection::vec((0u64..60_000, 20_000u64..2_000_000, priority()), 1..300),
    ) {
        let mut ledger = Ledger::new(config(EU868_MHZ[band]), Mono::ZERO);
        ledger.set_longest_frame(longest_us);
        let mut now_ms = 0;
        for (gap_ms, airtime_us, priority) in frames {
            now_ms += gap_ms;
            let now = Mono::from_ms(now_ms);
            let mut claims = ledger.clone();
            for of in ledger.by_priority(now) {
                let rest_us = ledger.share_us(of.priority).unwrap().saturating_sub(of.hour_us);
                prop_assert_eq!(claims.verdict(now, rest_us, of.priority), Verdict::Now, "{:?}", of);
                claims.charge(now, rest_us, Account(3), of.priority);
            }
            prop_assert!(claims.hour_us(now) <= ledger.budget().unwrap().ms() * 1_000);
            if ledger.verdict(now, airtime_us, priority) == Verdict::Now {
                ledger.charge(now, airtime_us, Account(2), priority);
                now_ms += airtime_us / 1_000;
            }
        }
    }

    /// "In 40 s" means in 40 s: not a millisecond earlier by the ledger's own sum, then for sure; and no more than
    /// the slack and 15 s of coalescing later than an exact sum over the hour would have it.
    #[test]
    fn the_wait_is_honest_and_hardly_longer_than_it_must_be(
        frames in prop::collection::vec((0u64..3_000, 1_000u64..400_000), 1..1500),
        airtime_us in 20_000u64..3_000_000,
    ) {
        let mut ledger = Ledger::new(config(868_100_000), Mono::ZERO);
        let mut sent: Vec<(u64, u64)> = Vec::new();
        let mut now_ms = 0;
        for (gap_ms, frame_us) in frames {
            now_ms += gap_ms;
            if ledger.verdict(Mono::from_ms(now_ms), frame_us, Priority::State) == Verdict::Now {
                ledger.charge(Mono::from_ms(now_ms), frame_us, Account(1), Priority::State);
                now_ms += frame_us.div_ceil(1_000);
                sent.push((now_ms, frame_us));
            }
        }
        let state_us = ledger.whole_us(Priority::State).unwrap();
        let exact = |at_ms: u64| {
            let held = sent.iter().filter(|(end_ms, _)| end_ms + HOUR_MS > at_ms);
            held.map(|(_, us)| us).sum::<u64>() + airtime_us <= state_us
        };
        let at_once = ledger.clone().verdict(Mono::from_ms(now_ms), airtime_us, Priority::State);
        let ms = match at_once {
            Verdict::Now => {
                prop_assert!(exact(now_ms));
                return Ok(());
            }
            Verdict::Wait(wait) => wait.ms(),
            Verdict::Never { why } => return Err(TestCaseError::fail(format!("{why}"))),
        };
        prop_assert_eq!(ledger.clone().leaves_in(Mono::from_ms(now_ms), airtime_us, Priority::State), Some(Millis::from_ms(ms)));
        prop_assert_ne!(ledger.clone().verdict(Mono::from_ms(now_ms + ms - 1), airtime_us, Priority::State), Verdict::Now);
        prop_assert_eq!(ledger.verdict(Mono::from_ms(now_ms + ms), airtime_us, Priority::State), Verdict::Now);
        let exact_ms = std::iter::once(now_ms).chain(sent.iter().map(|(end_ms, _)| end_ms + HOUR_MS)).find(|at| exact(*at));
        prop_assert!(now_ms + ms <= exact_ms.unwrap() + SLACK_MS + 15_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any mix of classes that always have work, some from the start and some later, asked in any order: in each hour from then on
    /// each of them gets its share, less the frame that no longer fitted; and what is left of the pool is no more than a frame of
    /// those that may have all of it.
    #[test]
    fn each_class_with_work_gets_its_share_of_any_hour(
        band in 1usize..3,
        begins in prop::collection::vec(prop::option::of(0u64..2 * HOUR_MS), Priority::ALL.len()),
        asked in prop::collection::vec((0usize..8, 1u64..12), 64),
    ) {
        const FRAME_US: u64 = 500_000;
        let config = config(EU868_MHZ[band]);
        let budget_us = HOUR_MS * u64::from(config.rules.unwrap().duty_permille.unwrap());
        let mut ledger = Ledger::new(config, Mono::ZERO);
        let mut checker = Checker::default();
        let (mut now_ms, mut asks) = (0, asked.iter().cycle());
        while now_ms < 4 * HOUR_MS {
            let (first, pause) = asks.next().unwrap();
            let now = Mono::from_ms(now_ms);
            let has_work = |at: &usize| begins[*at].is_some_and(|begin| begin <= now_ms);
            let order = (0..8).map(|n| (first + n) % 8).filter(has_work).map(|at| Priority::ALL[at]);
            let legal = |class: &Priority| ledger.verdict(now, FRAME_US, *class) == Verdict::Now;
            let next = order.clone().find(legal);
            match next {
                Some(class) => {
                    ledger.charge(now, FRAME_US, Account(1), class);
                    checker.sent(now_ms, FRAME_US, class);
                    now_ms += FRAME_US / 1_000;
                }
                None => now_ms += pause * 5_000,
            }
        }
        prop_assert!(checker.most_us_in_an_hour(|_| true) <= budget_us);
        // The slack of a frame in the radio, and the coarse steps of this test.
        let hour = HOUR_MS + SLACK_MS + 80_000;
        for (class, begin) in Priority::ALL.into_iter().zip(&begins) {
            let Some(begin) = begin else { continue };
            let share_us = ledger.share_us(class).unwrap();
            for from in (*begin..4 * HOUR_MS - hour).step_by(600_000) {
                let got_us = checker.sent_between(from, from + hour, class);
                prop_assert!(got_us + FRAME_US >= share_us, "{class:?} got {got_us} of {share_us} us from {from} ms on");
            }
        }
        // What is no class's share is used: alone, a class that may have all of the pool gets more than half of the budget.
        if begins.iter().filter(|begin| begin.is_some()).count() == 1
            && let Some(begin) = begins[Priority::Document as usize]
        {
            let got_us = checker.sent_between(begin, begin + hour, Priority::Document);
            prop_assert!(got_us + FRAME_US >= ledger.whole_us(Priority::Document).unwrap() && got_us > budget_us / 2);
        }
    }
}

#[test]
fn a_full_ledger_says_when_and_an_endless_frame_says_never() {
    let mut ledger = Ledger::new(config(868_100_000), Mono::ZERO);
    let mut now_ms = 0;
    while ledger.verdict(Mono::from_ms(now_ms), 2_000_000, Priority::State) == Verdict::Now {
        ledger.charge(Mono::from_ms(now_ms), 2_000_000, Account(1), Priority::State);
        now_ms += 2_000;
    }
    // 8 % are State's share, and three quarters of the 44 % of the pool; the first frame leaves the sum an hour after its end.
    assert_eq!(now_ms, 14_000);
    let wait = Verdict::Wait(Millis::from_ms(2_000 + HOUR_MS + SLACK_MS - now_ms));
    assert_eq!(ledger.verdict(Mono::from_ms(now_ms), 2_000_000, Priority::State), wait);
    assert_eq!(ledger.airtime_left(Mono::from_ms(now_ms)), Some(Millis::from_ms(760)));
    // What the others have is untouched, and a quarter of the pool with it for those that may have all of it.
    assert_eq!(ledger.left_us(Mono::from_ms(now_ms), Priority::Control), 2_160_000 + 760_000);
    assert_eq!(ledger.left_us(Mono::from_ms(now_ms), Priority::Document), 7_200_000 + 4_720_000);
    let never =
        |ledger: &mut Ledger, airtime_us, priority| match ledger.verdict(Mono::ZERO, airtime_us, priority) {
            Verdict::Never { why } => why,
            other => panic!("{other:?}"),
        };
    let why = never(&mut ledger, 36_000_001, Priority::Alarm);
    assert_eq!(
        why,
        NeverLegal::Budget {
            airtime: Millis::from_ms(36_001),
            budget: Millis::from_ms(17_280),
            priority: Priority::Alarm
        }
    );
    let why = never(&mut ledger, 7_200_001, Priority::Upkeep);
    assert!(why.to_string().contains("upkeep is 7200 ms"), "{why}");
    let mut nowhere = Ledger::new(LedgerConfig::new(None), Mono::ZERO);
    assert_eq!(never(&mut nowhere, 1, Priority::Control), NeverLegal::NoRegion);
    assert_eq!((nowhere.airtime_left(Mono::ZERO), nowhere.budget()), (Some(Millis::ZERO), None));
    let mut america = Ledger::new(
        LedgerConfig::new(Some(Region::Us915.rules(Usage { hopping: true, ..Usage::default() }).unwrap())),
        Mono::ZERO,
    );
    assert_eq!(america.verdict(Mono::ZERO, 400_000, Priority::Bulk), Verdict::Now);
    let why = never(&mut america, 400_001, Priority::Bulk);
    assert_eq!(why, NeverLegal::Dwell { airtime: Millis::from_ms(401), dwell: Millis::from_ms(400) });
}

#[test]
fn a_link_without_duty_cycle_counts_and_keeps_upkeep_to_two_percent() {
    let wired = Region::Wired.rules(Usage::default()).unwrap();
    let mut ledger = Ledger::new(LedgerConfig::new(Some(wired)), Mono::ZERO);
    let mut now_ms = 0;
    let mut upkeep_us = 0;
    while now_ms < HOUR_MS {
        if ledger.verdict(Mono::from_ms(now_ms), 500_000, Priority::Upkeep) == Verdict::Now {
            ledger.charge(Mono::from_ms(now_ms), 500_000, Account(1), Priority::Upkeep);
            upkeep_us += 500_000;
        }
        ledger.charge(Mono::from_ms(now_ms), 100_000, Account(2), Priority::Bulk);
        now_ms += 1_000;
    }
    assert_eq!(upkeep_us, 72_000_000);
    assert_eq!(ledger.airtime_left(Mono::from_ms(now_ms)), None);
    assert_eq!(ledger.hour_us(Mono::from_ms(now_ms)), 72_000_000 + 360_000_000);
    let soft = LedgerConfig { soft_cap_permille: 10, ..LedgerConfig::new(Some(wired)) };
    assert_eq!(Ledger::new(soft, Mono::ZERO).airtime_left(Mono::ZERO), Some(Millis::from_ms(14_760)));
}

#[test]
fn a_restart_remembers_by_the_clock_it_can_trust_and_else_expects_the_worst() {
    let moment = |boot, monotonic, trusted_wall| Moment { boot: BootId([boot; 16]), monotonic, trusted_wall };
    let config = config(868_100_000);
    let mut ledger = Ledger::new(config, Mono::ZERO);
    ledger.charge(Mono::ZERO, 32_000_000, Account(1), Priority::State);
    let known = ledger.snapshot(moment(1, Mono::from_ms(600_000), Some(Wall::from_ms(1_000_000_000))));
    let unknown = ledger.snapshot(moment(1, Mono::from_ms(600_000), None));
    let leaves = |record: &LedgerRecord, moment: Moment| {
        let mut ledger = Ledger::restore(config, record, moment);
        ledger.leaves_in(moment.monotonic, 2_000_000, Priority::State).unwrap()
    };
    let left_ms = 32_000 + HOUR_MS + SLACK_MS;
    // The same boot, ten minutes on: as if nothing had happened, whatever the wall clock shows.
    assert_eq!(
        leaves(&unknown, moment(1, Mono::from_ms(1_200_000), Some(Wall::from_ms(5)))),
        Millis::from_ms(left_ms - 1_200_000)
    );
    // Another boot, both clocks trusted: ten minutes less the clocks' error.
    assert_eq!(
        leaves(&known, moment(2, Mono::from_ms(7), Some(Wall::from_ms(1_000_600_000)))),
        Millis::from_ms(left_ms - 600_000 - 540_000)
    );
    // One clock not trusted, or gone backwards, or a boot id that lies: all of it as if just spent.
    let worst_ms = HOUR_MS + SLACK_MS;
    assert_eq!(leaves(&known, moment(2, Mono::from_ms(7), None)), Millis::from_ms(worst_ms));
    assert_eq!(
        leaves(&unknown, moment(2, Mono::from_ms(7), Some(Wall::from_ms(1_000_600_000)))),
        Millis::from_ms(worst_ms)
    );
    assert_eq!(
        leaves(&known, moment(2, Mono::from_ms(7), Some(Wall::from_ms(999_999_999)))),
        Millis::from_ms(worst_ms)
    );
    assert_eq!(
        leaves(&known, moment(1, Mono::from_ms(7), Some(Wall::from_ms(1_000_600_000)))),
        Millis::from_ms(worst_ms)
    );
    // No record that can be read: a full hour.
    assert_eq!(
        Ledger::after_loss(config, Mono::from_ms(7)).leaves_in(Mono::from_ms(7), 1, Priority::Control),
        Some(Millis::from_ms(worst_ms))
    );
}

#[test]
fn a_frame_that_the_radio_refused_is_as_if_it_had_not_been() {
    let mut ledger = Ledger::new(config(868_100_000), Mono::ZERO);
    ledger.charge(Mono::ZERO, 30_000_000, Account(1), Priority::State);
    let before = (
        ledger.by_account(),
        ledger.by_priority(Mono::from_ms(40_000)),
        ledger.left_us(Mono::from_ms(40_000), Priority::State),
    );
    let charge = ledger.charge(Mono::from_ms(40_000), 2_000_000, Account(1), Priority::State);
    assert_ne!(ledger.verdict(Mono::from_ms(40_000), 2_000_000, Priority::State), Verdict::Now);
    ledger.refund(charge);
    assert_eq!(
        before,
        (
            ledger.by_account(),
            ledger.by_priority(Mono::from_ms(40_000)),
            ledger.left_us(Mono::from_ms(40_000), Priority::State)
        )
    );
    // Too late it changes nothing.
    let charge = ledger.charge(Mono::from_ms(40_000), 2_000_000, Account(1), Priority::State);
    assert_eq!(ledger.hour_us(Mono::from_ms(40_000 + 2 * HOUR_MS)), 0);
    ledger.refund(charge);
    assert_eq!(
        ledger.by_priority(Mono::from_ms(40_000 + 2 * HOUR_MS))[Priority::State as usize].today_us,
        32_000_000
    );
    // No region any more: nothing goes out, and what went out is not forgotten.
    ledger.charge(Mono::from_ms(8_000_000), 1_000_000, Account(1), Priority::State);
    ledger.set_config(LedgerConfig::new(None));
    assert_eq!(
        (
            ledger.left_us(Mono::from_ms(8_000_000), Priority::Control),
            ledger.hour_us(Mono::from_ms(8_000_000))
        ),
        (0, 1_000_000)
    );
}

#[test]
fn one_write_covers_many_frames() {
    let mut ledger = Ledger::new(config(869_525_000), Mono::ZERO);
    let mut writes = 0;
    let mut frames = 0;
    for n in 0..400 {
        let now = Moment { boot: BootId([1; 16]), monotonic: Mono::from_ms(n * 5_000), trusted_wall: None };
        if ledger.verdict(now.monotonic, 80_000, Priority::State) != Verdict::Now {
            continue;
        }
        if let Some(record) = ledger.record_needed(now, 80_000) {
            // Nothing is covered by a record that is not durable yet.
            assert!(ledger.record_needed(now, 1).is_some());
            ledger.recorded(&record);
            assert!(ledger.record_needed(now, 1).is_some(), "an older record is not the newest");
            let newest = ledger.record_needed(now, 80_000).unwrap();
            ledger.recorded(&newest);
            writes += 1;
        }
        ledger.charge(now.monotonic, 80_000, Account(n % 3), Priority::State);
        frames += 1;
    }
    assert_eq!((frames, writes), (400, 3));
    let rows = ledger.by_account();
    assert_eq!(rows.iter().map(|row| row.today_us).collect::<Vec<_>>(), [10_720_000, 10_640_000, 10_640_000]);
    ledger.start_day(20_415);
    assert_eq!(ledger.by_account()[0].today_us, 0);
    let of_states =
        ledger.by_priority(Mono::from_ms(2_000_000)).into_iter().find(|of| of.priority == Priority::State);
    assert_eq!(of_states.unwrap().hour_us, 32_000_000);
}

#[test]
fn a_crash_on_a_radio_without_limits_leaves_room_for_upkeep() {
    let rules =
        Rules { duty_permille: None, dwell: None, call_sign_every: None, clear_only: false, source: "none" };
    let config = LedgerConfig::new(Some(rules));
    let at = |boot: u8, monotonic: u64| Moment {
        boot: BootId([boot; 16]),
        monotonic: Mono::from_ms(monotonic),
        trusted_wall: None,
    };
    let mut ledger = Ledger::new(config, Mono::ZERO);
    let record = ledger.record_needed(at(1, 0), 500_000).expect("nothing is covered yet");
    let mut restarted = Ledger::restore(config, &record, at(2, 0));
    assert_eq!(
        restarted.verdict(Mono::ZERO, 500_000, Priority::Upkeep),
        Verdict::Now,
        "{} us ahead",
        record.ahead_us()
    );
}

/// Each crash leaves behind a record that was written ahead. However many there are, no more counts as spent than there is.
#[test]
fn crash_after_crash_does_not_count_more_than_the_budget() {
    let rules = Region::Eu868.rules(at(868_100_000)).unwrap();
    let config = LedgerConfig::new(Some(rules));
    let at = |boot: u8| Moment { boot: BootId([boot; 16]), monotonic: Mono::ZERO, trusted_wall: None };
    let mut ledger = Ledger::new(config, Mono::ZERO);
    for boot in 0..100 {
        let verdict = ledger.verdict(Mono::ZERO, 40_000, Priority::Control);
        assert!(
            ledger.hour_us(Mono::ZERO) <= 36_000_000,
            "{} us after {boot} crashes",
            ledger.hour_us(Mono::ZERO)
        );
        if verdict != Verdict::Now {
            return;
        }
        let record = ledger.record_needed(at(boot), 40_000).expect("a crash covers nothing");
        ledger = Ledger::restore(config, &record, at(boot + 1));
    }
    panic!("{} us are counted after a hundred crashes", ledger.hour_us(Mono::ZERO));
}
