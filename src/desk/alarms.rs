//! Watches at work: readings of the parts become alarms in the own document `alarms`, and messages to the operator.
//!
//! in    a part has news, or time passes -> `look` -> readings -> `Watches::read` -> the own document, staged by `node`
//! out   the documents of all nodes -> `Watches::due_messages` -> record *taken* -> commit -> `Output::Notify`
//! back  `Input::Notified` -> record -> commit

use std::borrow::Cow;
use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::clock::TimeSource;
use crate::core::{Core, reserved_document};
use crate::identity::did;
use crate::io::{CommandError, Event, Output, Quota, Reply, StopReason, view};
use crate::layer::{Content, DocumentName, LayerId};
use crate::limits::FUTURE_BOUND;
use crate::presence::SilenceCause;
use crate::replica::Replica;
use crate::report::AlarmsReport;
use crate::store::StoreWrite;
use crate::time::{Millis, Mono};
use crate::unicast::Unicast;
use crate::watches::{
    AlarmBoard, AlarmMessageKey, AlarmSubject, DeliveryEnd, NodePrefix, ReadingTime, WatchKind, WatchReading,
    WatchRule, Watches,
};

/// How long after its "next by" a node is still waited for: what it sent at the last moment is on its way.
pub(crate) const SILENCE_GRACE: Millis = Millis::from_secs(2);
/// By how many per cent a disk has to be emptier than the watch allows before the alarm is over.
const DISK_MARGIN: u64 = 3;
/// Under which name the watches that commands have added are on disk.
pub(crate) const WATCHES_RECORD: &str = "watches";
/// Under which name the messages to the operator are on disk.
pub(crate) const MESSAGES_RECORD: &str = "messages";

/// The watches of a node, with the parts that they read.
#[derive(Debug)]
pub(crate) struct AlarmDesk<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) replica: &'a Replica,
    pub(crate) unicast: &'a Unicast,
    pub(crate) watches: &'a mut Watches,
}

impl AlarmDesk<'_> {
    fn report(&self) -> AlarmsReport<'_> {
        AlarmsReport { core: self.core, replica: self.replica, watches: self.watches }
    }

    fn now(&self) -> ReadingTime {
        ReadingTime { mono: self.core.now(), wall: self.core.reference() }
    }

    /// Takes what is on disk.
    pub(crate) fn load(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        let own = self.report().document_of(&self.core.me).unwrap_or_default();
        let (added, messages) = (record_of(meta, WATCHES_RECORD), record_of(meta, MESSAGES_RECORD));
        let now = self.core.now();
        self.watches.load(added.unwrap_or_default(), messages.unwrap_or_default(), own, now);
        let board = self.report().board();
        self.watches.take_unseen(&board, now);
    }

    // ---- what a person asks for --------------------------------------------------------------------------

    /// Adds a watch of the operator, and keeps it on disk.
    pub(crate) fn watch_for(&mut self, rule: WatchRule) -> Result<Reply, CommandError> {
        let id = self.report().node_named(&rule.peer)?;
        let rule = WatchRule { peer: did(&id), ..rule }.checked()?;
        let (watch, record) = self.watches.add(rule).ok_or(CommandError::Limit(Quota::Watches))?;
        self.keep(WATCHES_RECORD, &record);
        Ok(Reply::Watches(vec![self.report().added_watch(&watch)]))
    }

    /// Removes a watch. Its alarms are over.
    pub(crate) fn unwatch(&mut self, id: &str) -> Result<Reply, CommandError> {
        if self
            .report()
            .watches()
            .iter()
            .any(|watch| watch.id == id && watch.source == view::WATCH_OF_SETTINGS)
        {
            return Err(CommandError::WatchInSettings(id.to_owned()));
        }
        let removed = id.parse().ok().and_then(|number| self.watches.remove(number));
        let (watch, record) = removed.ok_or_else(|| CommandError::UnknownWatch(id.to_owned()))?;
        self.keep(WATCHES_RECORD, &record);
        Ok(Reply::Watches(vec![self.report().added_watch(&watch)]))
    }

    /// Notes that the operator has seen an alarm: no node sends a message about it any more.
    pub(crate) fn acknowledge(&mut self, id: &str) -> Result<Reply, CommandError> {
        let alarm = self.report().alarm_named(id)?;
        let now = self.now().wall;
        self.watches.acknowledge(&alarm, now);
        self.report().alarm_view_of(&alarm.id).map(|view| Reply::Alarms(vec![view]))
    }

    // ---- a look ------------------------------------------------------------------------------------------

    /// Takes the readings of what is watched, and does what follows from them, where a look is due.
    pub(crate) fn look(&mut self) {
        let now = self.now();
        if !self.watches.is_due(now.mono) {
            return;
        }
        for (key, end) in self.watches.messages_mut().take_early() {
            self.watches.messages_mut().ended(&key, end, now.mono, now.wall);
        }
        let (readings, deadline) = self.readings();
        let board = self.report().board();
        let me = self.core.me;
        let (core, replica) = (&*self.core, self.replica);
        let name_of = |subject: &AlarmSubject| {
            let nodes = replica.federation().peers().map(|peer| peer.id).chain([core.me]);
            let meant = nodes.into_iter().find(|id| NodePrefix::of(id) == subject.node);
            meant.map(|id| replica.name_of(core, &id)).unwrap_or_default()
        };
        self.watches.read(now, &readings, &board, name_of);
        let board = self.report().board();
        for alarm in self.watches.take_unseen(&board, now.mono) {
            let alarm = self.report().watched(&alarm);
            self.core.event(Event::Alarm(alarm));
        }
        let rank = self.rank(&board);
        for key in self.watches.due_messages(&me, now, &board, rank, deadline) {
            match board.alarm(&key.alarm).map(|alarm| self.report().message(alarm)) {
                Some(message) => self.core.gate.output(Output::Notify { key, message: Box::new(message) }),
                None => {
                    let why = "no node shows the alarm any more".to_owned();
                    self.watches.messages_mut().ended(&key, DeliveryEnd::Refused { why }, now.mono, now.wall);
                }
            }
        }
        if let Some(records) = self.watches.take_changed_messages() {
            self.keep(MESSAGES_RECORD, &records);
        }
    }

    /// A try to hand over a message has ended.
    pub(crate) fn notified(&mut self, key: &AlarmMessageKey, end: DeliveryEnd) {
        let now = self.now();
        if let DeliveryEnd::NotYet { why } | DeliveryEnd::Refused { why } | DeliveryEnd::Unknown { why } =
            &end
        {
            tracing::warn!(alarm = %key.alarm, channel = key.channel.label(), why, "the operator was not notified");
        }
        self.watches.messages_mut().ended(key, end, now.mono, now.wall);
    }

    /// The content of the own document `alarms`, if it is not the one that is signed.
    pub(crate) fn document_due(&self) -> Option<Value> {
        let document = self.core.own_document(DocumentName::ALARMS);
        let own = self.watches.own();
        match self.replica.layer(&self.core.own_layer(&document)).map(|layer| &layer.content) {
            Some(Content::Snapshot(held)) => Some(own.to_value()).filter(|value| held != value),
            Some(Content::Map(_)) => None,
            None => (!own.is_empty()).then(|| own.to_value()),
        }
    }

    /// This node's place among those that notify its operator and can be reached.
    fn rank(&self, board: &AlarmBoard) -> usize {
        let is_reached = |peer: &PeerId| self.presence_of(peer).0 == WatchReading::Good;
        self.watches.own().group.map_or(0, |group| board.rank(&self.core.me, group, is_reached))
    }

    fn keep<T: serde::Serialize>(&mut self, name: &'static str, record: &T) {
        let mut bytes = Vec::new();
        ciborium::into_writer(record, &mut bytes)
            .expect("a record of texts and numbers is written to memory");
        self.core.gate.write(StoreWrite::PutMeta(name.into(), bytes));
    }

    // ---- readings ----------------------------------------------------------------------------------------

    /// How everything is that is watched, each with the sequence of the newest state of its node; and when silence is due next.
    fn readings(&self) -> (BTreeMap<AlarmSubject, (WatchReading, u64)>, Option<Mono>) {
        let (mut readings, mut deadline) = (BTreeMap::new(), None::<Mono>);
        for rule in self.watches.rules() {
            // A watch on a node that is not known yet waits for it.
            let Ok(id) = self.report().node_named(&rule.peer) else { continue };
            let floor = self.state_sequence(&id);
            let mut put = |subject, reading| {
                let before = readings.entry(subject).or_insert((reading, floor));
                // Of several watches on one subject the strictest counts.
                if matches!(reading, WatchReading::Bad { .. }) {
                    before.0 = reading;
                }
            };
            for kind in rule.kinds() {
                match kind {
                    WatchKind::Silent if id != self.core.me => {
                        let (reading, until) = self.presence_of(&id);
                        deadline = deadline.into_iter().chain(until).min();
                        put(AlarmSubject::node(kind, &id), reading);
                    }
                    WatchKind::Silent => {}
                    WatchKind::Back => put(AlarmSubject::node(kind, &id), WatchReading::Unknown),
                    WatchKind::AppStopped | WatchKind::AppUnhealthy => {
                        for app in &rule.apps {
                            put(AlarmSubject::app(kind, &id, app), self.app_reading(&id, kind, app));
                        }
                    }
                    WatchKind::Disk => {
                        let limit = rule.disk_above.unwrap_or(100);
                        put(AlarmSubject::node(kind, &id), self.disk_reading(&id, limit));
                    }
                    WatchKind::Clock => put(AlarmSubject::node(kind, &id), self.clock_reading(&id)),
                    WatchKind::KeyTwice => put(AlarmSubject::node(kind, &id), self.key_reading(&id)),
                }
            }
        }
        (readings, deadline)
    }

    /// Whether a peer keeps its times, and when that may change.
    fn presence_of(&self, peer: &PeerId) -> (WatchReading, Option<Mono>) {
        let now = self.core.now();
        let Some(presence) = self.core.presence.presence(now, peer) else {
            return (WatchReading::Unknown, None);
        };
        if presence.cause == Some(SilenceCause::NotSinceStart) {
            // It was heard before this node started: it gets some time to be heard again.
            let until = self.watches.started() + self.core.settings.heartbeat * 3 + Millis::from_secs(30);
            if now < until {
                return (WatchReading::Unknown, Some(until));
            }
        } else {
            let grace_left = (presence.next_within + SILENCE_GRACE) - presence.silent_for;
            if grace_left > Millis::ZERO {
                return (WatchReading::Good, Some(now + grace_left));
            }
        }
        let heard_at = self.replica.federation().peer(peer).and_then(|peer| peer.heard_at);
        (WatchReading::Bad { figure: heard_at.map_or(0, |at| at.ms() / 1000) }, None)
    }

    fn app_reading(&self, id: &PeerId, kind: WatchKind, app: &str) -> WatchReading {
        let apps = self.state_field(id, "apps");
        let Some(apps) = apps.as_deref().and_then(Value::as_array) else {
            return WatchReading::Unknown;
        };
        let is_meant = |entry: &&Value| entry.get("id").and_then(Value::as_text) == Some(app);
        let entry = apps.iter().find(is_meant);
        let field = |name: &str| entry.and_then(|entry| entry.get(name)).and_then(Value::as_text);
        let is_running = field("status") == Some("running");
        let is_bad = match kind == WatchKind::AppUnhealthy {
            // One that starts and stops all the time is of no use.
            true => {
                matches!((is_running, field("health")), (true, Some("unhealthy")) | (_, Some("flapping")))
            }
            false => !is_running,
        };
        if is_bad { WatchReading::Bad { figure: 0 } } else { WatchReading::Good }
    }

    fn disk_reading(&self, id: &PeerId, limit: u8) -> WatchReading {
        let bytes = |name: &str| self.state_field(id, name).and_then(|field| field.as_u64());
        let (Some(used), Some(total)) = (bytes("disk_used_bytes"), bytes("disk_total_bytes")) else {
            return WatchReading::Unknown;
        };
        let Some(percent) = (u128::from(used) * 100).checked_div(u128::from(total)) else {
            return WatchReading::Unknown;
        };
        let (figure, limit) = (u64::try_from(percent).unwrap_or(u64::MAX), u64::from(limit));
        match figure {
            _ if figure > limit => WatchReading::Bad { figure },
            _ if figure <= limit.saturating_sub(DISK_MARGIN) => WatchReading::Good,
            _ => WatchReading::Unknown,
        }
    }

    fn clock_reading(&self, id: &PeerId) -> WatchReading {
        if *id == self.core.me {
            return match self.core.clock.source() {
                TimeSource::Own => WatchReading::Good,
                TimeSource::Median | TimeSource::Peer | TimeSource::Logical => {
                    WatchReading::Bad { figure: 0 }
                }
            };
        }
        let ahead = self.core.clock.peers_ahead_ms().find(|(peer, _)| peer == id);
        match ahead.map(|(_, ms)| ms.unsigned_abs()) {
            None => WatchReading::Unknown,
            Some(ms) if ms > FUTURE_BOUND.ms() => WatchReading::Bad { figure: ms / 1000 },
            Some(_) => WatchReading::Good,
        }
    }

    fn key_reading(&self, id: &PeerId) -> WatchReading {
        let is_own = *id == self.core.me;
        let stopped = self.replica.recovery().stopped() == Some(StopReason::KeyUsedElsewhere);
        let twice = self.unicast.run_twice(self.core).any(|peer| peer == id);
        // A fork ends with the next sequence of its layer.
        let forked = self.replica.forks().iter().any(|fork| {
            let head = &fork.higher.head;
            let present = self.replica.layer(&head.layer).map(|layer| layer.head().sequence);
            head.layer.author == *id && present == Some(head.sequence)
        });
        if (is_own && stopped) || twice || forked {
            WatchReading::Bad { figure: 0 }
        } else {
            WatchReading::Good
        }
    }

    /// A field of a node's signed state, from the full one or its brief, whichever is later. What is provisional decides no
    /// alarm.
    fn state_field(&self, id: &PeerId, name: &str) -> Option<Cow<'_, Value>> {
        let documents = [DocumentName::STATE, "state.brief"].map(|name| reserved_document(*id, name));
        let layers = documents
            .into_iter()
            .filter_map(|document| self.replica.layer(&LayerId { document, author: *id }));
        let fields = layers.filter_map(|layer| match &layer.content {
            Content::Snapshot(value) => Some((layer.head().time, value.member(name)?)),
            Content::Map(_) => None,
        });
        fields.max_by_key(|(time, _)| *time).map(|(_, field)| field)
    }

    fn state_sequence(&self, id: &PeerId) -> u64 {
        let document = reserved_document(*id, DocumentName::STATE);
        let layer = self.replica.layer(&LayerId { document, author: *id });
        layer.map_or(0, |layer| layer.head().sequence.get())
    }
}

/// A record that [`AlarmDesk`] has put on disk; none where it does not read.
pub(crate) fn record_of<T: serde::de::DeserializeOwned>(
    meta: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Option<T> {
    let bytes = meta.get(name)?;
    let read = ciborium::from_reader(bytes.as_slice());
    read.inspect_err(|error| tracing::error!(name, %error, "a record of the store does not read back")).ok()
}
