//! The snapshot document `alarms` of a node: what it reports, what its operator has acknowledged, and which messages it has
//! taken upon itself (`FORMAT.md`).

use std::collections::BTreeMap;

use tombolo_delta::Value;

use super::event::{AlarmId, AlarmReport, AlarmSubject};
use crate::time::{Millis, Wall};

/// Reports in one document. Beyond, the one that changed first goes, those that are over before those that are open.
pub const REPORTS_MAX: usize = 64;
/// Acknowledgements in one document, and messages. Beyond, the oldest goes.
pub const MARKS_MAX: usize = 128;
/// How long a report that is over stays in the document, so that a node that was away learns of it.
pub const REPORT_KEPT: Millis = Millis::from_secs(24 * 60 * 60);
/// How long an acknowledgement or a message is shown that belongs to no report any more.
const MARK_KEPT: Millis = Millis::from_secs(60 * 60);

/// Nodes that notify one operator: the first 4 bytes of the BLAKE3 hash, with the context `tombolo 1 operator`, of the name
/// that the operator gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorGroup(pub [u8; 4]);

impl OperatorGroup {
    /// The group with a name; `None` for an empty one: then a node notifies on its own.
    pub fn named(name: &str) -> Option<Self> {
        let mut group = [0; 4];
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 operator");
        hasher.update(name.as_bytes()).finalize_xof().fill(&mut group);
        (!name.is_empty()).then_some(OperatorGroup(group))
    }
}

/// How far a node is with the message of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageProgress {
    /// It has taken the message, and has not handed it over yet.
    Claimed,
    /// The message was handed over, or may have been.
    Done,
}

/// What one node shows to the others about alarms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmsDocument {
    /// The alarms that it has raised, by subject and episode.
    pub reports: Vec<AlarmReport>,
    /// The alarms that its operator has acknowledged, and when.
    pub acknowledged: BTreeMap<AlarmId, Wall>,
    /// The messages that it has taken, and when.
    pub messages: BTreeMap<AlarmId, (MessageProgress, Wall)>,
    /// The operator that it notifies, where several nodes notify the same one.
    pub group: Option<OperatorGroup>,
}

impl AlarmsDocument {
    /// Adds a report; one of the same episode is replaced.
    pub fn put(&mut self, report: AlarmReport) {
        let id = report.id();
        self.reports.retain(|other| other.id() != id);
        self.reports.push(report);
        while self.reports.len() > REPORTS_MAX {
            let first = self.reports.iter().enumerate();
            let first = first.min_by_key(|(_, report)| (report.is_open(), report.changed_at()));
            let Some((at, _)) = first else { break };
            self.reports.remove(at);
        }
        self.reports.sort_by(|a, b| (&a.subject, a.episode).cmp(&(&b.subject, b.episode)));
    }

    /// Marks the report of an episode as over. Returns it.
    pub fn clear(&mut self, subject: &AlarmSubject, episode: u64, at: Wall) -> Option<&AlarmReport> {
        let is_meant = |report: &&mut AlarmReport| report.subject == *subject && report.episode == episode;
        let report = self.reports.iter_mut().find(is_meant)?;
        report.cleared_at.get_or_insert(at.max(report.raised_at));
        Some(report)
    }

    /// Notes that the operator has acknowledged an alarm.
    pub fn acknowledge(&mut self, id: AlarmId, at: Wall) {
        self.acknowledged.entry(id).or_insert(at);
        drop_oldest(&mut self.acknowledged, |at| *at);
    }

    /// Notes how far this node is with a message; `None`: it does not hand it over after all.
    pub fn note_message(&mut self, id: AlarmId, progress: Option<MessageProgress>, at: Wall) {
        match progress {
            Some(progress) => drop(self.messages.insert(id, (progress, at))),
            None => drop(self.messages.remove(&id)),
        }
        drop_oldest(&mut self.messages, |(_, at)| *at);
    }

    /// Drops what no node needs any more: reports that were over long ago, marks whose alarm no document shows.
    pub fn expire(&mut self, now: Wall, is_shown: impl Fn(&AlarmId) -> bool) {
        self.reports.retain(|report| report.cleared_at.is_none_or(|at| now < at + REPORT_KEPT));
        let own: Vec<AlarmId> = self.reports.iter().map(AlarmReport::id).collect();
        let stays = |id: &AlarmId, at: Wall| is_shown(id) || own.contains(id) || now < at + MARK_KEPT;
        self.acknowledged.retain(|id, at| stays(id, *at));
        self.messages.retain(|id, (_, at)| stays(id, *at));
    }

    /// The content of the document; what is empty is left out.
    pub fn to_value(&self) -> Value {
        let seconds = |time: Wall| Value::from(time.ms() / 1000);
        let id = |id: &AlarmId| Value::Bytes(id.0.to_vec());
        let mut parts = Vec::new();
        if !self.reports.is_empty() {
            parts.push(("alarms", Value::Array(self.reports.iter().map(AlarmReport::to_value).collect())));
        }
        if !self.acknowledged.is_empty() {
            let acknowledged = self.acknowledged.iter();
            let acknowledged = acknowledged.map(|(of, at)| Value::Array(vec![id(of), seconds(*at)]));
            parts.push(("acks", Value::Array(acknowledged.collect())));
        }
        if !self.messages.is_empty() {
            let messages = self.messages.iter().map(|(of, (progress, at))| {
                let done = Value::from(u64::from(*progress == MessageProgress::Done));
                Value::Array(vec![id(of), done, seconds(*at)])
            });
            parts.push(("sent", Value::Array(messages.collect())));
        }
        if let Some(group) = self.group {
            parts.push(("to", Value::Bytes(group.0.to_vec())));
        }
        Value::map(parts)
    }

    /// Reads the document of any node. What is not valid in it, or beyond the limits, is left out: it is a peer's word, and the
    /// rest of it stands.
    pub fn from_value(value: &Value) -> Self {
        let items = |name: &str| value.get(name).and_then(Value::as_array).unwrap_or_default();
        let id = |value: &Value| Some(AlarmId(value.as_bytes()?.try_into().ok()?));
        let seconds = |value: &Value| Some(Wall::from_ms(value.as_u64()?.saturating_mul(1000)));
        let mut document = AlarmsDocument::default();
        for report in items("alarms").iter().take(REPORTS_MAX).filter_map(AlarmReport::from_value) {
            document.put(report);
        }
        let acknowledged = items("acks").iter().take(MARKS_MAX).filter_map(|item| match item.as_array()? {
            [of, at] => Some((id(of)?, seconds(at)?)),
            _ => None,
        });
        document.acknowledged = acknowledged.collect();
        let messages = items("sent").iter().take(MARKS_MAX).filter_map(|item| match item.as_array()? {
            [of, done, at] => {
                let progress = match done.as_u64()? {
                    0 => MessageProgress::Claimed,
                    _ => MessageProgress::Done,
                };
                Some((id(of)?, (progress, seconds(at)?)))
            }
            _ => None,
        });
        document.messages = messages.collect();
        let group = value.get("to").and_then(Value::as_bytes).and_then(|bytes| bytes.try_into().ok());
        document.group = group.map(OperatorGroup);
        document
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        *self == AlarmsDocument::default()
    }
}

fn drop_oldest<T>(marks: &mut BTreeMap<AlarmId, T>, at: impl Fn(&T) -> Wall) {
    while marks.len() > MARKS_MAX {
        let Some(oldest) = marks.iter().min_by_key(|(_, mark)| at(mark)).map(|(id, _)| *id) else { return };
        marks.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watches::event::WatchKind;
    use proptest::prelude::*;
    use tombolo_transports::PeerId;

    fn report(node: u8, episode: u64, raised_s: u64) -> AlarmReport {
        AlarmReport {
            subject: AlarmSubject::node(WatchKind::Silent, &PeerId([node; 32])),
            name: "hut".to_owned(),
            episode,
            raised_at: Wall::from_ms(raised_s * 1000),
            cleared_at: None,
            figure: 5,
        }
    }

    #[test]
    fn a_document_reads_back_and_an_empty_one_takes_one_byte() {
        let mut document = AlarmsDocument { group: OperatorGroup::named("ada"), ..AlarmsDocument::default() };
        document.put(report(1, 4, 100));
        document.put(report(2, 1, 90));
        document.clear(&report(2, 1, 90).subject, 1, Wall::from_ms(95_000));
        document.acknowledge(report(1, 4, 100).id(), Wall::from_ms(101_000));
        document.note_message(report(1, 4, 100).id(), Some(MessageProgress::Done), Wall::from_ms(102_000));
        document.note_message(report(2, 1, 90).id(), Some(MessageProgress::Claimed), Wall::from_ms(91_000));
        assert_eq!(AlarmsDocument::from_value(&document.to_value()), document);
        assert_eq!(tombolo_delta::to_cbor(&AlarmsDocument::default().to_value()).len(), 1);
        assert_eq!(OperatorGroup::named(""), None);
    }

    /// The first alarm of a node has to fit one frame of the smallest radio: 163 bytes, of which frame and signature take 80.
    #[test]
    fn the_first_alarm_of_a_node_fits_one_frame() {
        let mut document = AlarmsDocument::default();
        let mut first = report(1, 1_000_000, 1_793_491_200);
        first.figure = 1_793_491_100;
        document.put(first);
        let bytes = tombolo_delta::to_cbor(&document.to_value()).len();
        assert!(bytes <= 163 - 80, "{bytes} bytes");
    }

    #[test]
    fn what_is_over_goes_before_what_stands() {
        let mut document = AlarmsDocument::default();
        for n in 0..REPORTS_MAX as u64 {
            document.put(report(1, n + 1, n));
        }
        document.clear(&report(1, 0, 0).subject, 30, Wall::from_ms(1_000_000));
        document.put(report(2, 1, 2_000));
        assert_eq!(document.reports.len(), REPORTS_MAX);
        assert!(document.reports.iter().all(AlarmReport::is_open), "the one that was over has gone");
    }

    #[test]
    fn marks_outlive_their_alarm_by_an_hour() {
        let mut document = AlarmsDocument::default();
        let id = report(1, 4, 100).id();
        document.acknowledge(id, Wall::from_ms(0));
        document.expire(Wall::from_ms(3_599_000), |_| false);
        assert_eq!(document.acknowledged.len(), 1);
        document.expire(Wall::from_ms(9_999_000), |of| *of == id);
        assert_eq!(document.acknowledged.len(), 1, "its alarm is shown somewhere");
        document.expire(Wall::from_ms(9_999_000), |_| false);
        assert!(document.is_empty());
    }

    proptest! {
        /// Any document of a peer is read, within the limits and without a panic.
        #[test]
        fn any_content_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), kept in 0..300_usize) {
            let limits = tombolo_delta::Limits { bytes_max: 1_000, depth_max: 20, items_max: 1_000 };
            if let Ok(value) = tombolo_delta::from_cbor(&bytes, &limits) {
                AlarmsDocument::from_value(&value);
            }
            let report = report(1, 1, 1).to_value();
            let many: Vec<Value> = (0..kept).map(|n| {
                let Value::Array(mut items) = report.clone() else { unreachable!() };
                items[3] = Value::from(n as u64);
                Value::Array(items)
            }).collect();
            let document = AlarmsDocument::from_value(&Value::map([("alarms", Value::Array(many))]));
            prop_assert!(document.reports.len() <= REPORTS_MAX);
        }
    }
}
