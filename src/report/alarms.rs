//! Alarms and watches in words: for `tombolo alarms`, for messages to the operator, for `watch`.

use tombolo_transports::PeerId;

use crate::clock::rfc3339;
use crate::core::{Core, reserved_document};
use crate::federation::Right;
use crate::identity::did;
use crate::io::{Alarm, AlarmMessage, CommandError, view};
use crate::layer::{Content, DocumentName, LayerId};
use crate::replica::Replica;
use crate::report::NodeReport;
use crate::time::Wall;
use crate::watches::{
    AlarmBoard, AlarmId, AlarmReport, AlarmsDocument, FederatedAlarm, MessageProgress, NodePrefix,
    StoredWatch, WatchKind, WatchRule, Watches,
};

/// The parts that show alarms and watches, to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlarmsReport<'a> {
    pub(crate) core: &'a Core,
    pub(crate) replica: &'a Replica,
    pub(crate) watches: &'a Watches,
}

impl<'a> NodeReport<'a> {
    pub(super) fn of_alarms(&self) -> AlarmsReport<'a> {
        AlarmsReport { core: self.core, replica: self.replica, watches: self.watches }
    }

    /// The alarms that this node and the nodes that it trusts show, newest first.
    pub fn raised_alarms(&self) -> Vec<view::RaisedAlarmView> {
        let report = self.of_alarms();
        report.board().alarms().iter().map(|alarm| report.alarm_view(alarm)).collect()
    }

    /// What is watched here.
    pub fn watches(&self) -> Vec<view::WatchView> {
        self.of_alarms().watches()
    }

    /// The alarms of watches that stand, and that no operator has acknowledged.
    pub(super) fn standing_alarms(&self) -> Vec<Alarm> {
        let report = self.of_alarms();
        let board = report.board();
        let standing = board.alarms().iter().filter(|alarm| alarm.is_open() && alarm.acknowledged.is_empty());
        standing.map(|alarm| report.watched(alarm)).collect()
    }
}

impl AlarmsReport<'_> {
    /// The alarms of all documents that count here: those of trusted peers, and what this node is about to sign.
    pub(crate) fn board(&self) -> AlarmBoard {
        let me = self.core.me;
        let peers = self.replica.federation().peers().map(|peer| peer.id).filter(|id| *id != me);
        let documents: Vec<(PeerId, AlarmsDocument)> =
            peers.filter_map(|id| Some((id, self.document_of(&id)?))).collect();
        let others = documents.iter().map(|(id, document)| (*id, document));
        AlarmBoard::of(others.chain([(me, self.watches.own())]))
    }

    /// The document `alarms` of a node, if it counts here: that of a trusted one.
    pub(crate) fn document_of(&self, id: &PeerId) -> Option<AlarmsDocument> {
        let document = reserved_document(*id, DocumentName::ALARMS);
        if !self.replica.federation().grants(id, Right::RaiseAlarms) {
            return None;
        }
        match &self.replica.layer(&LayerId { document, author: *id })?.content {
            Content::Snapshot(value) => Some(AlarmsDocument::from_value(&value.get())),
            Content::Map(_) => None,
        }
    }

    /// The nodes that this node knows, itself among them.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = PeerId> {
        self.replica.federation().peers().map(|peer| peer.id).chain([self.core.me])
    }

    /// The node that a text names: a peer, or this node by its name or DID.
    pub(crate) fn node_named(&self, text: &str) -> Result<PeerId, CommandError> {
        let me = self.core.me;
        match text == did(&me) || (!text.is_empty() && text == self.core.settings.name) {
            true => Ok(me),
            false => self.replica.resolve_peer(text),
        }
    }

    pub(crate) fn names<'i>(&self, ids: impl IntoIterator<Item = &'i PeerId>) -> Vec<String> {
        ids.into_iter().map(|id| self.replica.name_of(self.core, id)).collect()
    }

    fn node_of(&self, prefix: NodePrefix) -> Option<PeerId> {
        self.nodes().find(|id| NodePrefix::of(id) == prefix)
    }

    /// What this node calls the node of an alarm; else what the reporter calls it.
    pub(crate) fn name_of_subject(&self, report: &AlarmReport) -> String {
        match self.node_of(report.subject.node) {
            Some(id) => self.replica.name_of(self.core, &id),
            None if report.name.is_empty() => format!("{:?}", report.subject.node),
            None => report.name.clone(),
        }
    }

    /// An alarm, as the facts of an event.
    pub(crate) fn watched(&self, alarm: &FederatedAlarm) -> Alarm {
        Alarm::Watched {
            subject: self.name_of_subject(&alarm.report),
            by: self.names(alarm.reporters.keys()),
            report: Box::new(alarm.report.clone()),
        }
    }

    // ---- alarms ------------------------------------------------------------------------------------------

    /// The alarm whose id a text begins.
    pub(crate) fn alarm_named(&self, text: &str) -> Result<FederatedAlarm, CommandError> {
        let text = text.to_ascii_lowercase();
        let board = self.board();
        let fits = |id: &AlarmId| !text.is_empty() && id.to_string().starts_with(&text);
        let mut found = board.alarms().iter().filter(|alarm| alarm.ids.iter().any(fits));
        match (found.next(), found.next()) {
            (Some(alarm), None) => Ok(alarm.clone()),
            _ => Err(CommandError::UnknownAlarm(text)),
        }
    }

    /// The alarm with an id, as it is shown.
    pub(crate) fn alarm_view_of(&self, id: &AlarmId) -> Result<view::RaisedAlarmView, CommandError> {
        let board = self.board();
        let alarm = board.alarm(id).ok_or_else(|| CommandError::UnknownAlarm(id.to_string()))?;
        Ok(self.alarm_view(alarm))
    }

    fn alarm_view(&self, alarm: &FederatedAlarm) -> view::RaisedAlarmView {
        let (report, me) = (&alarm.report, self.core.me);
        let name = self.name_of_subject(report);
        let messages = self.watches.messages().about(&alarm.ids);
        let others = alarm
            .messages
            .iter()
            .filter(|(node, (_, progress))| **node != me && *progress == MessageProgress::Done);
        view::RaisedAlarmView {
            id: alarm.id.to_string(),
            kind: report.subject.kind.label(),
            message: sentence(report, &name),
            subject: name,
            did: self.node_of(report.subject.node).map(|id| did(&id)),
            app: Some(report.subject.app.clone()).filter(|app| !app.is_empty()),
            open: alarm.is_open(),
            raised_at: rfc3339(report.raised_at),
            cleared_at: report.cleared_at.map(rfc3339),
            reported_by: self.names(alarm.reporters.keys()),
            acknowledged_by: self.names(alarm.acknowledged.keys()),
            messages: messages
                .map(|record| view::AlarmMessageView {
                    channel: record.key().channel.label(),
                    state: record.state().label(),
                    tries: record.tries(),
                    why: Some(record.why().to_owned()).filter(|why| !why.is_empty()),
                })
                .collect(),
            notified_by: self.names(others.map(|(node, _)| node)),
        }
    }

    /// The message that goes to the operator.
    pub(crate) fn message(&self, alarm: &FederatedAlarm) -> AlarmMessage {
        let report = &alarm.report;
        let subject = self.name_of_subject(report);
        let by = self.names(alarm.reporters.keys());
        let (priority, tag) = weight(report.subject.kind);
        let mut body = sentence(report, &subject);
        if let Some(cleared_at) = report.cleared_at.filter(|_| report.subject.kind != WatchKind::Back) {
            body += &format!("; over since {}", rfc3339(cleared_at));
        }
        body += &format!(". Reported by {}, {}.", by.join(", "), rfc3339(report.raised_at));
        AlarmMessage {
            id: alarm.id.to_string(),
            kind: report.subject.kind.label(),
            title: headline(report, &subject),
            body,
            subject,
            did: self.node_of(report.subject.node).map(|id| did(&id)),
            app: Some(report.subject.app.clone()).filter(|app| !app.is_empty()),
            priority,
            tag,
            raised_at: rfc3339(report.raised_at),
            reported_by: by,
        }
    }

    // ---- watches -----------------------------------------------------------------------------------------

    /// What is watched here.
    pub(crate) fn watches(&self) -> Vec<view::WatchView> {
        let configured = self.watches.configured().iter().enumerate();
        let configured =
            configured.map(|(n, rule)| self.watch_view(format!("c{}", n + 1), view::WATCH_OF_SETTINGS, rule));
        configured.chain(self.watches.added().iter().map(|watch| self.added_watch(watch))).collect()
    }

    /// One watch that a command has added.
    pub(crate) fn added_watch(&self, watch: &StoredWatch) -> view::WatchView {
        self.watch_view(watch.number.to_string(), view::WATCH_OF_COMMAND, &watch.rule)
    }

    fn watch_view(&self, id: String, source: &'static str, rule: &WatchRule) -> view::WatchView {
        let node = self.node_named(&rule.peer);
        view::WatchView {
            id,
            source,
            peer: node.as_ref().map_or_else(|_| rule.peer.clone(), |id| self.replica.name_of(self.core, id)),
            did: node.as_ref().ok().map(did),
            silent: rule.silent,
            back: rule.back,
            apps: rule.apps.clone(),
            disk_above: rule.disk_above,
            clock: rule.clock,
            key_twice: rule.key_twice,
            problem: node.err().map(|error| error.to_string()),
        }
    }
}

/// Priority and tag of a message, in the words of ntfy: 3 is its default, 5 the highest.
fn weight(kind: WatchKind) -> (u8, &'static str) {
    match kind {
        WatchKind::Silent | WatchKind::KeyTwice => (5, "rotating_light"),
        WatchKind::AppStopped | WatchKind::AppUnhealthy | WatchKind::Disk | WatchKind::Clock => {
            (4, "warning")
        }
        WatchKind::Back => (3, "white_check_mark"),
    }
}

/// A few words: what is wrong with which node.
fn headline(report: &AlarmReport, name: &str) -> String {
    let app = &report.subject.app;
    match report.subject.kind {
        WatchKind::Silent => format!("{name} is silent"),
        WatchKind::Back => format!("{name} is back"),
        WatchKind::AppStopped => format!("{app} on {name} does not run"),
        WatchKind::AppUnhealthy => format!("{app} on {name} is unhealthy"),
        WatchKind::Disk => format!("the disk of {name} is {} % full", report.figure),
        WatchKind::Clock => format!("the clock of {name} is wrong"),
        WatchKind::KeyTwice => format!("two machines use the key of {name}"),
    }
}

/// The same with what is known of it.
pub(crate) fn sentence(report: &AlarmReport, name: &str) -> String {
    let words = headline(report, name);
    let at = || rfc3339(Wall::from_ms(report.figure.saturating_mul(1000)));
    match report.subject.kind {
        WatchKind::Silent if report.figure > 0 => {
            format!("{words}: it was heard last at {}, and has not kept its next time", at())
        }
        WatchKind::Silent => format!("{words}: it has not kept its next time"),
        WatchKind::Back => format!("{words}: it was silent since {}", at()),
        WatchKind::Clock if report.figure > 0 => format!("{words}, by {} s", report.figure),
        WatchKind::AppStopped
        | WatchKind::AppUnhealthy
        | WatchKind::Disk
        | WatchKind::Clock
        | WatchKind::KeyTwice => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watches::AlarmSubject;

    #[test]
    fn each_kind_has_a_sentence_that_begins_with_its_headline() {
        for kind in WatchKind::ALL {
            let report = AlarmReport {
                subject: AlarmSubject::app(kind, &PeerId([1; 32]), "web"),
                name: "hut".to_owned(),
                episode: 1,
                raised_at: Wall::from_ms(1_793_491_200_000),
                cleared_at: None,
                figure: 1_793_491_100,
            };
            let (headline, sentence) = (headline(&report, "hut"), sentence(&report, "hut"));
            assert!(sentence.starts_with(&headline) && headline.contains("hut"), "{sentence}");
            assert!((3..=5).contains(&weight(kind).0));
        }
    }
}
