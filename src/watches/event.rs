//! What is watched for, and the names of alarms: one alarm has one id, whichever node raises it.

use std::fmt;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::time::Wall;

/// Bytes of an app's name in an alarm; a longer name is cut.
pub const APP_BYTES_MAX: usize = 64;
/// Bytes of a node's name in an alarm; a longer name is cut.
pub const NAME_BYTES_MAX: usize = 32;

/// What can be wrong with a node, or has become well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Nothing came from the node by the time that it had named.
    Silent,
    /// A node that was silent is heard again.
    Back,
    /// An app of the node does not run.
    AppStopped,
    /// An app of the node runs and is reported as unhealthy, or it flaps.
    AppUnhealthy,
    /// The node's disk is fuller than the watch allows.
    Disk,
    /// The node's clock is far from the time of the others.
    Clock,
    /// Two machines use the node's key.
    KeyTwice,
}

impl WatchKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [WatchKind; 7] = [
        WatchKind::Silent,
        WatchKind::Back,
        WatchKind::AppStopped,
        WatchKind::AppUnhealthy,
        WatchKind::Disk,
        WatchKind::Clock,
        WatchKind::KeyTwice,
    ];

    /// The number that travels.
    pub fn code(self) -> u8 {
        match self {
            WatchKind::Silent => 1,
            WatchKind::Back => 2,
            WatchKind::AppStopped => 3,
            WatchKind::AppUnhealthy => 4,
            WatchKind::Disk => 5,
            WatchKind::Clock => 6,
            WatchKind::KeyTwice => 7,
        }
    }

    /// The kind with a number; `None` for one that a later version may know.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| u64::from(kind.code()) == code)
    }

    /// A stable label for settings and programs.
    pub fn label(self) -> &'static str {
        match self {
            WatchKind::Silent => "silent",
            WatchKind::Back => "back",
            WatchKind::AppStopped => "app_stopped",
            WatchKind::AppUnhealthy => "app_unhealthy",
            WatchKind::Disk => "disk",
            WatchKind::Clock => "clock",
            WatchKind::KeyTwice => "key_twice",
        }
    }

    /// The kind with a label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

/// The first 16 bytes of an identity's public key: enough to recognise a peer, and half as long on air.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePrefix(pub [u8; 16]);

impl NodePrefix {
    /// The prefix of an identity.
    pub fn of(id: &PeerId) -> Self {
        let mut prefix = [0; 16];
        for (to, from) in prefix.iter_mut().zip(id.0) {
            *to = from;
        }
        NodePrefix(prefix)
    }
}

impl fmt::Debug for NodePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// What an alarm is about: one kind, one node, and for some kinds one of its apps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmSubject {
    /// The condition that the alarm is about.
    pub kind: WatchKind,
    /// The node with which it is wrong.
    pub node: NodePrefix,
    /// The app, for the kinds that are about one; else empty.
    pub app: String,
}

impl AlarmSubject {
    /// A subject that is a whole node.
    pub fn node(kind: WatchKind, id: &PeerId) -> Self {
        AlarmSubject { kind, node: NodePrefix::of(id), app: String::new() }
    }

    /// A subject that is one app of a node.
    pub fn app(kind: WatchKind, id: &PeerId, app: &str) -> Self {
        AlarmSubject { kind, node: NodePrefix::of(id), app: cut(app, APP_BYTES_MAX).to_owned() }
    }

    /// The id of one episode of this subject: BLAKE3 with the context `tombolo 1 alarm`, over kind, node, episode and app, cut
    /// to 8 bytes. Two nodes that see the same episode make the same id.
    pub fn id(&self, episode: u64) -> AlarmId {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 alarm");
        hasher.update(&[self.kind.code()]);
        hasher.update(&self.node.0);
        hasher.update(&episode.to_be_bytes());
        hasher.update(self.app.as_bytes());
        let mut id = [0; 8];
        hasher.finalize_xof().fill(&mut id);
        AlarmId(id)
    }
}

/// Names one episode of one subject, all over the federation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmId(pub [u8; 8]);

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One node's signed report of one episode: raised, and possibly over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmReport {
    /// What the alarm is about.
    pub subject: AlarmSubject,
    /// What the reporter calls the node.
    pub name: String,
    /// Which episode of the subject it is: a number that only grows.
    pub episode: u64,
    /// When the reporter raised it, by its reference time.
    pub raised_at: Wall,
    /// When it was over; `None` as long as it is not.
    pub cleared_at: Option<Wall>,
    /// A figure with the alarm: seconds since the epoch at which a silent node was heard last, per cent of a disk, seconds by
    /// which a clock is wrong; 0 for others.
    pub figure: u64,
}

impl AlarmReport {
    /// The id of the episode.
    pub fn id(&self) -> AlarmId {
        self.subject.id(self.episode)
    }

    /// Whether the alarm stands. A return is over at once, and is news all the same.
    pub fn is_open(&self) -> bool {
        self.cleared_at.is_none()
    }

    /// The last change of the report.
    pub fn changed_at(&self) -> Wall {
        self.cleared_at.unwrap_or(self.raised_at)
    }

    /// `[kind, node, name, episode, raised, cleared, figure, app?]`, times in seconds.
    pub(super) fn to_value(&self) -> Value {
        let seconds = |time: Wall| Value::from(time.ms() / 1000);
        let mut items = vec![
            Value::from(u64::from(self.subject.kind.code())),
            Value::Bytes(self.subject.node.0.to_vec()),
            Value::from(cut(&self.name, NAME_BYTES_MAX)),
            Value::from(self.episode),
            seconds(self.raised_at),
            self.cleared_at.map_or(Value::Null, seconds),
            Value::from(self.figure),
        ];
        if !self.subject.app.is_empty() {
            items.push(Value::from(self.subject.app.as_str()));
        }
        Value::Array(items)
    }

    /// Reads a report; `None` for one that is not valid or of a kind that is not known here.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let (head, app) = match value.as_array()? {
            head @ [_, _, _, _, _, _, _] => (head, ""),
            [head @ .., app] if head.len() == 7 => (head, app.as_text()?),
            _ => return None,
        };
        let [kind, node, name, episode, raised, cleared, figure] = head else { return None };
        let seconds = |value: &Value| Some(Wall::from_ms(value.as_u64()?.saturating_mul(1000)));
        let name = name.as_text()?;
        if name.len() > NAME_BYTES_MAX || app.len() > APP_BYTES_MAX {
            return None;
        }
        Some(AlarmReport {
            subject: AlarmSubject {
                kind: WatchKind::from_code(kind.as_u64()?)?,
                node: NodePrefix(node.as_bytes()?.try_into().ok()?),
                app: app.to_owned(),
            },
            name: name.to_owned(),
            episode: episode.as_u64()?,
            raised_at: seconds(raised)?,
            cleared_at: if cleared.is_null() { None } else { Some(seconds(cleared)?) },
            figure: figure.as_u64()?,
        })
    }
}

/// The start of a text, at most so many bytes, never half a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(app: &str) -> AlarmReport {
        AlarmReport {
            subject: AlarmSubject::app(WatchKind::AppStopped, &PeerId([7; 32]), app),
            name: "hut".to_owned(),
            episode: 41,
            raised_at: Wall::from_ms(1_793_491_200_000),
            cleared_at: None,
            figure: 3,
        }
    }

    /// The id depends on kind, node, app and episode alone: not on the reporter, its clock or its name for the node.
    #[test]
    fn two_reporters_of_one_episode_make_one_id() {
        let (a, mut b) = (report("web"), report("web"));
        b.name = "the hut".to_owned();
        b.raised_at = Wall::from_ms(9_000);
        b.figure = 0;
        assert_eq!(a.id(), b.id());
        let mut others = [report("db"), report("web"), report("web"), report("web")];
        others[1].episode = 42;
        others[2].subject.kind = WatchKind::AppUnhealthy;
        others[3].subject.node = NodePrefix([8; 16]);
        assert!(others.iter().all(|other| other.id() != a.id()));
    }

    #[test]
    fn reports_read_back_and_foreign_ones_are_left_out() {
        let cleared = AlarmReport { cleared_at: Some(Wall::from_ms(5_000)), ..report("") };
        for shown in [report("web"), report(""), cleared] {
            assert_eq!(AlarmReport::from_value(&shown.to_value()), Some(shown));
        }
        let Value::Array(items) = report("web").to_value() else { panic!("a report is an array") };
        for at in 0..items.len() {
            let mut wrong = items.clone();
            wrong[at] = Value::from(1.5);
            assert_eq!(AlarmReport::from_value(&Value::Array(wrong)), None, "item {at}");
        }
        let mut later = items;
        later[0] = Value::from(200u64);
        assert_eq!(AlarmReport::from_value(&Value::Array(later)), None);
    }

    #[test]
    fn labels_and_numbers_name_one_kind_each() {
        for kind in WatchKind::ALL {
            assert_eq!(WatchKind::from_code(kind.code().into()), Some(kind));
            assert_eq!(WatchKind::from_label(kind.label()), Some(kind));
        }
        assert_eq!((WatchKind::from_code(0), WatchKind::from_label("x")), (None, None));
    }

    #[test]
    fn a_cut_never_parts_a_character() {
        assert_eq!(["äöü", "ab"].map(|text| cut(text, 3)), ["ä", "ab"]);
    }
}
