//! The alarms of the federation: the documents of all nodes laid over each other. Several reports of one event are one alarm.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

use super::condition::EpisodeHints;
use super::document::{AlarmsDocument, MessageProgress, OperatorGroup};
use super::event::{AlarmId, AlarmReport, AlarmSubject};
use crate::time::{Millis, Wall};

/// Reports of one subject by different nodes, raised within this time of each other, are about one event, though the nodes
/// were not in step when they raised them.
const ONE_EVENT: Millis = Millis::from_secs(10 * 60);

/// One alarm, as all nodes together show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedAlarm {
    /// The id that it goes by: that of its earliest episode.
    pub id: AlarmId,
    /// The ids under which nodes have reported it.
    pub ids: BTreeSet<AlarmId>,
    /// The first report of it.
    pub report: AlarmReport,
    /// The nodes that report it, and whether it stands for each.
    pub reporters: BTreeMap<PeerId, bool>,
    /// The nodes whose operators have acknowledged it, and when.
    pub acknowledged: BTreeMap<PeerId, Wall>,
    /// The nodes that have taken its message.
    pub messages: BTreeMap<PeerId, (Option<OperatorGroup>, MessageProgress)>,
}

impl FederatedAlarm {
    fn new(author: PeerId, report: &AlarmReport) -> Self {
        FederatedAlarm {
            id: report.id(),
            ids: BTreeSet::from([report.id()]),
            report: report.clone(),
            reporters: BTreeMap::from([(author, report.is_open())]),
            acknowledged: BTreeMap::new(),
            messages: BTreeMap::new(),
        }
    }

    /// Whether it stands for one reporter at least.
    pub fn is_open(&self) -> bool {
        self.reporters.values().any(|open| *open)
    }

    /// Whether another report is about the same event.
    fn is_about(&self, author: &PeerId, report: &AlarmReport) -> bool {
        let is_same = self.report.subject == report.subject;
        let is_near = report.raised_at.distance(self.report.raised_at) <= ONE_EVENT;
        // Of its own alarms a node knows that they are several.
        is_same && (self.ids.contains(&report.id()) || (is_near && !self.reporters.contains_key(author)))
    }

    fn add(&mut self, author: PeerId, report: &AlarmReport) {
        self.ids.insert(report.id());
        self.reporters.insert(author, report.is_open());
        if report.episode < self.report.episode {
            self.id = report.id();
        }
        let cleared = self.report.cleared_at.max(report.cleared_at);
        if report.raised_at < self.report.raised_at {
            self.report = report.clone();
        }
        self.report.cleared_at = if self.is_open() { None } else { cleared };
    }
}

/// All alarms that the documents held here show, newest first.
#[derive(Clone, Debug, Default)]
pub struct AlarmBoard {
    alarms: Vec<FederatedAlarm>,
    /// Every single report, for the numbers of new episodes.
    known: BTreeMap<AlarmSubject, Vec<(u64, Wall, bool)>>,
    /// The nodes that notify an operator together with others.
    groups: BTreeMap<PeerId, OperatorGroup>,
}

impl AlarmBoard {
    /// Lays the documents of nodes over each other.
    pub fn of<'a>(documents: impl IntoIterator<Item = (PeerId, &'a AlarmsDocument)>) -> Self {
        let documents: Vec<(PeerId, &AlarmsDocument)> = documents.into_iter().collect();
        let mut board = AlarmBoard::default();
        let mut reports: Vec<(PeerId, &AlarmReport)> = Vec::new();
        for (author, document) in &documents {
            reports.extend(document.reports.iter().map(|report| (*author, report)));
            board.groups.extend(document.group.map(|group| (*author, group)));
        }
        reports.sort_by(|(a, x), (b, y)| {
            (&x.subject, x.raised_at, x.episode, a).cmp(&(&y.subject, y.raised_at, y.episode, b))
        });
        for (author, report) in reports {
            let fact = (report.episode, report.raised_at, report.is_open());
            board.known.entry(report.subject.clone()).or_default().push(fact);
            match board.alarms.iter_mut().find(|alarm| alarm.is_about(&author, report)) {
                Some(alarm) => alarm.add(author, report),
                None => board.alarms.push(FederatedAlarm::new(author, report)),
            }
        }
        for alarm in &mut board.alarms {
            for (author, document) in &documents {
                let acknowledged = alarm.ids.iter().filter_map(|id| document.acknowledged.get(id)).min();
                alarm.acknowledged.extend(acknowledged.map(|at| (*author, *at)));
                let message = alarm.ids.iter().filter_map(|id| document.messages.get(id)).max();
                alarm.messages.extend(message.map(|(progress, _)| (*author, (document.group, *progress))));
            }
        }
        board.alarms.sort_by(|a, b| (b.report.raised_at, a.id).cmp(&(a.report.raised_at, b.id)));
        board
    }

    /// The alarms, newest first.
    pub fn alarms(&self) -> &[FederatedAlarm] {
        &self.alarms
    }

    /// The alarm that goes by an id, or was reported under it.
    pub fn alarm(&self, id: &AlarmId) -> Option<&FederatedAlarm> {
        self.alarms.iter().find(|alarm| alarm.ids.contains(id))
    }

    /// What the number of a new episode of a subject follows from.
    pub fn hints(&self, subject: &AlarmSubject, floor: u64) -> EpisodeHints {
        EpisodeHints { floor, known: self.known.get(subject).cloned().unwrap_or_default() }
    }

    /// The place of a node among those that notify the same operator and can be reached: 0 goes first.
    pub fn rank(&self, me: &PeerId, group: OperatorGroup, is_reached: impl Fn(&PeerId) -> bool) -> usize {
        let before = self.groups.range(..me).filter(|(_, of)| **of == group);
        before.filter(|(node, _)| is_reached(node)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watches::event::WatchKind;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);
    const C: PeerId = PeerId([3; 32]);

    fn report(episode: u64, raised_s: u64) -> AlarmReport {
        AlarmReport {
            subject: AlarmSubject::node(WatchKind::Silent, &PeerId([9; 32])),
            name: "hut".to_owned(),
            episode,
            raised_at: Wall::from_ms(raised_s * 1000),
            cleared_at: None,
            figure: 0,
        }
    }

    fn document(reports: &[AlarmReport]) -> AlarmsDocument {
        let mut document = AlarmsDocument::default();
        reports.iter().cloned().for_each(|report| document.put(report));
        document
    }

    #[test]
    fn several_reports_of_one_event_are_one_alarm() {
        let (a, b) = (document(&[report(4, 100)]), document(&[report(4, 105)]));
        let late = document(&[report(5, 400)]);
        let board = AlarmBoard::of([(A, &a), (B, &b), (C, &late)]);
        let [alarm] = board.alarms() else { panic!("{:?}", board.alarms()) };
        assert_eq!((alarm.id, alarm.reporters.len()), (report(4, 0).id(), 3));
        assert_eq!(alarm.report.raised_at, Wall::from_ms(100_000));
        assert_eq!(board.alarm(&report(5, 0).id()), Some(alarm));
    }

    #[test]
    fn a_second_silence_is_a_second_alarm_also_soon_after_the_first() {
        let mut first = report(4, 100);
        first.cleared_at = Some(Wall::from_ms(150_000));
        let (a, b) = (document(&[first.clone(), report(5, 200)]), document(&[first, report(5, 201)]));
        let board = AlarmBoard::of([(A, &a), (B, &b)]);
        let open: Vec<bool> = board.alarms().iter().map(FederatedAlarm::is_open).collect();
        assert_eq!(open, [true, false], "newest first");
        // Far apart, reports of different nodes are different events.
        let (a, b) = (document(&[report(4, 100)]), document(&[report(9, 5_000)]));
        assert_eq!(AlarmBoard::of([(A, &a), (B, &b)]).alarms().len(), 2);
    }

    #[test]
    fn an_alarm_stands_as_long_as_it_does_for_one_node() {
        let mut over = report(4, 100);
        over.cleared_at = Some(Wall::from_ms(150_000));
        let (a, b) = (document(&[over.clone()]), document(&[report(4, 101)]));
        let board = AlarmBoard::of([(A, &a), (B, &b)]);
        assert_eq!(board.alarms().iter().map(|alarm| alarm.report.cleared_at).collect::<Vec<_>>(), [None]);
        let b = document(&[over]);
        assert!(!AlarmBoard::of([(A, &a), (B, &b)]).alarms().iter().any(FederatedAlarm::is_open));
    }

    #[test]
    fn an_acknowledgement_under_any_of_its_ids_counts() {
        let (a, b) = (document(&[report(4, 100)]), document(&[report(5, 101)]));
        let mut c = AlarmsDocument::default();
        c.acknowledge(report(5, 0).id(), Wall::from_ms(7_000));
        let board = AlarmBoard::of([(A, &a), (B, &b), (C, &c)]);
        assert_eq!(board.alarms()[0].acknowledged, BTreeMap::from([(C, Wall::from_ms(7_000))]));
    }

    #[test]
    fn the_reached_nodes_of_one_operator_have_an_order() {
        let ada = OperatorGroup::named("ada").unwrap();
        let of =
            |name: &str| AlarmsDocument { group: OperatorGroup::named(name), ..AlarmsDocument::default() };
        let (a, b, c) = (of("ada"), of("grace"), of("ada"));
        let board = AlarmBoard::of([(A, &a), (B, &b), (C, &c)]);
        assert_eq!((board.rank(&A, ada, |_| true), board.rank(&C, ada, |_| true)), (0, 1));
        assert_eq!(board.rank(&C, ada, |node| *node != A), 0, "the first one is away");
    }
}
