//! From readings to alarms: each watched subject is well, or has an alarm, and takes some time to change between the two.
//!
//! ```text
//! Well --bad--> Raising --bad for `raise_after`--> Open --good--> Clearing --good for `clear_after`--> Well
//! ```
//!
//! A good reading ends `Raising`, a bad one ends `Clearing`; a reading that is not known changes nothing. Invariant: the
//! episodes of a subject only grow, so one episode is raised at most once, in any order and repetition of readings.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{AlarmReport, AlarmSubject, WatchKind};
use crate::time::{Millis, Mono, Wall};

/// By how much a peer's alarm may be older than the last good reading here, and still be about the same episode: readings of
/// two nodes are not simultaneous.
const JOIN_SLACK: Millis = Millis::from_secs(60);
/// How far a peer's episode may lie above the newest state that is held here. Beyond, it is not taken into account: numbers
/// that a peer makes up do not use up those of this node.
const EPISODES_AHEAD_MAX: u64 = 1 << 20;

/// How a subject is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchReading {
    /// Nothing is known now: what was known last still stands.
    Unknown,
    /// The subject is as the watch wants it.
    Good,
    /// It is as the watch does not allow it.
    Bad {
        /// The figure of the alarm, as in [`AlarmReport::figure`].
        figure: u64,
    },
}

/// What becomes of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// An alarm of the subject begins.
    Raised {
        /// The number of the episode.
        episode: u64,
        /// The figure of the alarm.
        figure: u64,
    },
    /// The alarm of an episode is over.
    Cleared {
        /// The number of the episode.
        episode: u64,
    },
}

/// An instant by both clocks: delays run on the monotonic one, times are shown by reference time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadingTime {
    /// The instant on the monotonic clock.
    pub mono: Mono,
    /// The instant by reference time.
    pub wall: Wall,
}

/// From what the number of a new episode follows.
#[derive(Clone, Debug, Default)]
pub struct EpisodeHints {
    /// The sequence of the newest state of the node that is held: nodes in step have the same.
    pub floor: u64,
    /// Reports about this subject by all nodes: episode, when raised, whether open.
    pub known: Vec<(u64, Wall, bool)>,
}

impl EpisodeHints {
    /// The number of the episode that begins now. An open one of a peer is joined, unless it began clearly before the last good
    /// reading here, or was raised here before.
    fn next(&self, good_at: Option<Wall>, last_own: u64) -> u64 {
        let is_present = |raised_at: Wall| good_at.is_none_or(|good_at| raised_at + JOIN_SLACK >= good_at);
        let is_plausible = |episode: u64| episode <= self.floor.saturating_add(EPISODES_AHEAD_MAX);
        let known = self.known.iter().filter(|(episode, _, _)| is_plausible(*episode));
        let joined = known
            .clone()
            .filter(|(episode, raised_at, open)| *open && *episode > last_own && is_present(*raised_at))
            .map(|(episode, _, _)| *episode)
            .min();
        let last_known = known.map(|(episode, _, _)| *episode).max().unwrap_or(0).max(last_own);
        joined.unwrap_or_else(|| self.floor.max(last_known.saturating_add(1)))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Well,
    Raising {
        since: Mono,
    },
    Open {
        episode: u64,
    },
    Clearing {
        episode: u64,
        since: Mono,
    },
}

/// The state of one subject.
#[derive(Clone, Copy, Debug, Default)]
struct Condition {
    phase: Phase,
    /// When it was last seen to be well.
    good_at: Option<Wall>,
    /// The last episode that this node raised.
    last_own: u64,
}

impl Condition {
    fn read(
        &mut self,
        kind: WatchKind,
        at: ReadingTime,
        reading: WatchReading,
        hints: &EpisodeHints,
    ) -> Option<Transition> {
        match reading {
            WatchReading::Unknown => None,
            WatchReading::Good => {
                let (phase, cleared) = self.after_good(kind, at);
                self.phase = phase;
                self.good_at = Some(at.wall);
                cleared.map(|episode| Transition::Cleared { episode })
            }
            WatchReading::Bad { figure } => {
                let since = match self.phase {
                    Phase::Well => at.mono,
                    Phase::Raising { since } => since,
                    Phase::Open { episode } | Phase::Clearing { episode, .. } => {
                        self.phase = Phase::Open { episode };
                        return None;
                    }
                };
                if at.mono.since(since) < raise_after(kind) {
                    self.phase = Phase::Raising { since };
                    return None;
                }
                let episode = hints.next(self.good_at, self.last_own);
                self.phase = Phase::Open { episode };
                self.last_own = episode;
                Some(Transition::Raised { episode, figure })
            }
        }
    }

    /// The phase after a good reading, and the episode that it ends.
    fn after_good(&self, kind: WatchKind, at: ReadingTime) -> (Phase, Option<u64>) {
        let (episode, since) = match self.phase {
            Phase::Well | Phase::Raising { .. } => return (Phase::Well, None),
            Phase::Open { episode } => (episode, at.mono),
            Phase::Clearing { episode, since } => (episode, since),
        };
        match at.mono.since(since) < clear_after(kind) {
            true => (Phase::Clearing { episode, since }, None),
            false => (Phase::Well, Some(episode)),
        }
    }

    fn next_timer(&self, kind: WatchKind) -> Option<Mono> {
        match self.phase {
            Phase::Well | Phase::Open { .. } => None,
            Phase::Raising { since } => Some(since + raise_after(kind)),
            Phase::Clearing { since, .. } => Some(since + clear_after(kind)),
        }
    }

    fn open_episode(&self) -> Option<u64> {
        match self.phase {
            Phase::Well | Phase::Raising { .. } => None,
            Phase::Open { episode } | Phase::Clearing { episode, .. } => Some(episode),
        }
    }
}

/// The state of everything that is watched here.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    subjects: BTreeMap<AlarmSubject, Condition>,
}

impl Conditions {
    /// Starts again with what this node has reported: open alarms stand, and no episode is raised a second time.
    pub fn load<'a>(reports: impl IntoIterator<Item = &'a AlarmReport>) -> Self {
        let mut subjects: BTreeMap<AlarmSubject, Condition> = BTreeMap::new();
        for report in reports.into_iter().filter(|report| report.subject.kind != WatchKind::Back) {
            let condition = subjects.entry(report.subject.clone()).or_default();
            condition.last_own = condition.last_own.max(report.episode);
            if report.is_open() {
                condition.phase = Phase::Open { episode: report.episode };
            }
        }
        Conditions { subjects }
    }

    /// Takes a reading of a subject.
    pub fn read(
        &mut self,
        subject: &AlarmSubject,
        at: ReadingTime,
        reading: WatchReading,
        hints: &EpisodeHints,
    ) -> Option<Transition> {
        if reading == WatchReading::Unknown {
            return None;
        }
        let condition = self.subjects.entry(subject.clone()).or_default();
        condition.read(subject.kind, at, reading, hints)
    }

    /// Forgets the subjects that are watched no more. Returns those whose alarm was open, with its episode.
    pub fn keep_only(&mut self, watched: &BTreeSet<AlarmSubject>) -> Vec<(AlarmSubject, u64)> {
        let mut withdrawn = Vec::new();
        self.subjects.retain(|subject, condition| {
            let is_watched = watched.contains(subject);
            if let Some(episode) = condition.open_episode().filter(|_| !is_watched) {
                withdrawn.push((subject.clone(), episode));
            }
            is_watched
        });
        withdrawn
    }

    /// When a reading that goes on makes a difference.
    pub fn next_timer(&self) -> Option<Mono> {
        self.subjects.iter().filter_map(|(subject, condition)| condition.next_timer(subject.kind)).min()
    }
}

/// How long a subject has to be wrong before the alarm: what passes by itself is none.
fn raise_after(kind: WatchKind) -> Millis {
    match kind {
        // The deadline that the node named has its grace already.
        WatchKind::Silent | WatchKind::Back | WatchKind::Disk | WatchKind::KeyTwice => Millis::ZERO,
        // An app that is being replaced stops for a moment.
        WatchKind::AppStopped => Millis::from_secs(10),
        WatchKind::AppUnhealthy | WatchKind::Clock => Millis::from_secs(30),
    }
}

/// How long a subject has to be well before the alarm is over.
fn clear_after(kind: WatchKind) -> Millis {
    match kind {
        WatchKind::Disk | WatchKind::Back => Millis::ZERO,
        // A link that flaps is one alarm.
        WatchKind::Silent => Millis::from_secs(20),
        WatchKind::AppStopped | WatchKind::AppUnhealthy => Millis::from_secs(30),
        WatchKind::Clock => Millis::from_secs(60),
        WatchKind::KeyTwice => Millis::from_secs(10 * 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tombolo_transports::PeerId;

    const BAD: WatchReading = WatchReading::Bad { figure: 1 };

    fn at(seconds: u64) -> ReadingTime {
        ReadingTime { mono: Mono::from_ms(seconds * 1000), wall: Wall::from_ms((1_000_000 + seconds) * 1000) }
    }

    fn subject(kind: WatchKind) -> AlarmSubject {
        AlarmSubject::node(kind, &PeerId([1; 32]))
    }

    fn hints(floor: u64) -> EpisodeHints {
        EpisodeHints { floor, known: Vec::new() }
    }

    /// A row: kind, readings with their second, and the transitions with theirs.
    #[test]
    fn each_kind_has_its_delays() {
        type Row = (WatchKind, Vec<(u64, WatchReading)>, Vec<(u64, char)>);
        let (good, unknown) = (WatchReading::Good, WatchReading::Unknown);
        let table: Vec<Row> = vec![
            (WatchKind::Silent, vec![(0, good), (5, BAD), (6, BAD), (9, good)], vec![(5, 'r')]),
            (WatchKind::Silent, vec![(0, BAD), (5, good), (24, good), (25, good)], vec![(0, 'r'), (25, 'c')]),
            (WatchKind::Silent, vec![(0, BAD), (5, good), (20, BAD), (26, good), (40, good)], vec![(0, 'r')]),
            (WatchKind::AppStopped, vec![(0, BAD), (9, BAD), (10, BAD)], vec![(10, 'r')]),
            (WatchKind::AppStopped, vec![(0, BAD), (5, good), (10, BAD), (15, BAD)], vec![]),
            (WatchKind::AppStopped, vec![(0, BAD), (5, unknown), (10, unknown), (11, BAD)], vec![(11, 'r')]),
            (WatchKind::Disk, vec![(0, BAD), (1, unknown), (2, BAD), (3, good)], vec![(0, 'r'), (3, 'c')]),
            (WatchKind::Clock, vec![(0, BAD), (30, BAD), (31, good), (91, good)], vec![(30, 'r'), (91, 'c')]),
            (
                WatchKind::KeyTwice,
                vec![(0, BAD), (1, good), (600, good), (601, good)],
                vec![(0, 'r'), (601, 'c')],
            ),
        ];
        for (kind, readings, expected) in table {
            let mut conditions = Conditions::default();
            let seen: Vec<(u64, char)> = readings
                .iter()
                .filter_map(|(second, reading)| {
                    match conditions.read(&subject(kind), at(*second), *reading, &hints(7))? {
                        Transition::Raised { .. } => Some((*second, 'r')),
                        Transition::Cleared { .. } => Some((*second, 'c')),
                    }
                })
                .collect();
            assert_eq!(seen, expected, "{kind:?} {readings:?}");
        }
    }

    fn episode_of(transition: Option<Transition>) -> u64 {
        match transition {
            Some(Transition::Raised { episode, .. }) => episode,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_open_episode_of_a_peer_is_joined_and_a_past_one_is_not() {
        let silent = subject(WatchKind::Silent);
        let known =
            |raised: u64, open: bool| EpisodeHints { floor: 3, known: vec![(9, at(raised).wall, open)] };
        let raised = |hints: &EpisodeHints, good: u64| {
            let mut conditions = Conditions::default();
            conditions.read(&silent, at(good), WatchReading::Good, hints);
            episode_of(conditions.read(&silent, at(1_000), BAD, hints))
        };
        assert_eq!(raised(&known(990, true), 980), 9, "the peer sees the same silence");
        assert_eq!(raised(&known(950, true), 980), 9, "clocks of two nodes differ a little");
        assert_eq!(raised(&known(500, true), 980), 10, "it was heard since: another episode");
        assert_eq!(raised(&known(990, false), 980), 10, "that episode is over");
    }

    #[test]
    fn after_a_restart_an_open_alarm_stands_and_is_not_raised_again() {
        let silent = subject(WatchKind::Silent);
        let mut conditions = Conditions::default();
        let episode = episode_of(conditions.read(&silent, at(0), BAD, &hints(5)));
        let mut report = AlarmReport {
            subject: silent.clone(),
            name: String::new(),
            episode,
            raised_at: at(0).wall,
            cleared_at: None,
            figure: 0,
        };
        let mut again = Conditions::load([&report]);
        assert_eq!(again.read(&silent, at(9), BAD, &hints(5)), None);
        report.cleared_at = Some(at(5).wall);
        let mut again = Conditions::load([&report]);
        assert_eq!(episode_of(again.read(&silent, at(9), BAD, &hints(5))), episode + 1);
    }

    #[test]
    fn a_subject_that_is_watched_no_more_withdraws_its_alarm() {
        let (silent, disk) = (subject(WatchKind::Silent), subject(WatchKind::Disk));
        let mut conditions = Conditions::default();
        for subject in [&silent, &disk] {
            conditions.read(subject, at(0), BAD, &hints(5));
        }
        assert_eq!(conditions.keep_only(&BTreeSet::from([disk])), [(silent, 5)]);
    }

    fn reading() -> impl Strategy<Value = WatchReading> {
        prop_oneof![
            Just(WatchReading::Unknown),
            Just(WatchReading::Good),
            (0..9_u64).prop_map(|figure| WatchReading::Bad { figure })
        ]
    }

    proptest! {
        /// Any order and repetition of readings, restarts in between, reports of peers: raised and cleared alternate, and no
        /// episode is raised twice.
        #[test]
        fn an_episode_is_raised_at_most_once(
            kind in 0..7_usize,
            steps in proptest::collection::vec((0..40_u64, reading(), 0..3_u32, 0..9_u64, any::<bool>(), any::<bool>()), 0..80),
        ) {
            let subject = subject(WatchKind::ALL[kind]);
            let (mut conditions, mut second) = (Conditions::default(), 0);
            let mut reports: Vec<AlarmReport> = Vec::new();
            for (wait, reading, repeated, other, open, restarts) in steps {
                second += wait;
                let known = vec![(other, at(second.saturating_sub(other)).wall, open)];
                let hints = EpisodeHints { floor: other / 2, known };
                if restarts && subject.kind != WatchKind::Back {
                    conditions = Conditions::load(&reports);
                }
                for _ in 0..=repeated {
                    let open = reports.last().is_some_and(AlarmReport::is_open);
                    match conditions.read(&subject, at(second), reading, &hints) {
                        None => {}
                        Some(Transition::Raised { episode, figure }) => {
                            prop_assert!(!open);
                            prop_assert!(reports.iter().all(|report| report.episode < episode));
                            let raised_at = at(second).wall;
                            let (subject, name) = (subject.clone(), String::new());
                            reports.push(AlarmReport { subject, name, episode, raised_at, cleared_at: None, figure });
                        }
                        Some(Transition::Cleared { episode }) => {
                            let last = reports.last_mut().unwrap();
                            prop_assert!(open && last.episode == episode);
                            last.cleared_at = Some(at(second).wall);
                        }
                    }
                }
            }
        }

        /// Two watchers in step, one of which reads everything several times, raise the same episodes.
        #[test]
        fn two_watchers_of_one_node_raise_the_same_episodes(
            steps in proptest::collection::vec((1..60_u64, reading(), 1..4_u32), 0..60),
        ) {
            let silent = subject(WatchKind::Silent);
            let (mut a, mut b, mut second) = (Conditions::default(), Conditions::default(), 0);
            for (wait, reading, repeated) in steps {
                second += wait;
                let hints = hints(second / 100);
                let of_a = a.read(&silent, at(second), reading, &hints);
                let of_b: Vec<_> =
                    (0..repeated).filter_map(|_| b.read(&silent, at(second), reading, &hints)).collect();
                prop_assert_eq!(of_a.into_iter().collect::<Vec<_>>(), of_b);
            }
        }
    }
}
