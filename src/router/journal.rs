//! The last decisions, so that each can be explained later. Bounded: the oldest goes first. Equal decisions that follow each other
//! in one stream, about the same thing, are one entry with a count: an idle link's heartbeats do not push out everything else.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use tombolo_transports::{LinkId, PeerId};

use crate::router::Class;
use crate::router::decision::{Decision, LinkVerdict};
use crate::router::rules::Exclusion;

/// Decisions that are kept.
pub const DECISIONS_KEPT_MAX: usize = 1_000;

/// The number of a decision since the start, written `d17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(u64);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// A text that is no [`DecisionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a decision is the letter d and its number, like d17")]
pub struct DecisionIdError;

impl FromStr for DecisionId {
    type Err = DecisionIdError;

    fn from_str(text: &str) -> Result<Self, DecisionIdError> {
        let digits = text.strip_prefix('d').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).map(DecisionId).ok_or(DecisionIdError)
    }
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A state of a layer.
    Layer {
        /// The owner of the document.
        owner: PeerId,
        /// The name of the document.
        name: String,
        /// The author of the layer.
        author: PeerId,
        /// The sequence of the state.
        sequence: u64,
    },
    /// A command with this key, or its answer.
    Command([u8; 16]),
    /// A notice of revocation.
    Notice,
    /// Parts of a large layer, or a question for them.
    Parts,
    /// A message between sync engines.
    Engine,
}

impl Subject {
    /// The document that it is about: owner and name.
    pub fn document(&self) -> Option<(&PeerId, &str)> {
        match self {
            Subject::Layer { owner, name, .. } => Some((owner, name)),
            Subject::Command(_) | Subject::Notice | Subject::Parts | Subject::Engine => None,
        }
    }
}

/// A decision that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The number by which `why` finds it.
    pub id: DecisionId,
    /// The peer that the message was for.
    pub peer: PeerId,
    /// What the message was about.
    pub subject: Subject,
    /// How many equal ones it stands for. It is the newest of them.
    pub count: u64,
    /// The decision with all its reasons.
    pub decision: Decision,
}

/// The last decisions, at most a fixed number of them.
#[derive(Clone, Debug)]
pub struct Journal {
    entries: VecDeque<JournalEntry>,
    /// The newest of each stream.
    newest: BTreeMap<(PeerId, Class), DecisionId>,
    next: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Journal { entries: VecDeque::new(), newest: BTreeMap::new(), next: 1 }
    }
}

impl Journal {
    /// Keeps a decision. Returns its number.
    pub fn record(&mut self, peer: PeerId, subject: Subject, decision: Decision) -> DecisionId {
        let stream = (peer, decision.question.request.class);
        if let Some(id) = self.newest.get(&stream).copied()
            && let Some(entry) = self.entry_mut(id)
            && entry.subject == subject
            && is_equal(&entry.decision, &decision)
        {
            entry.count += 1;
            entry.decision = decision;
            return id;
        }
        if self.entries.len() >= DECISIONS_KEPT_MAX {
            self.entries.pop_front();
        }
        let id = DecisionId(self.next);
        self.next += 1;
        self.newest.insert(stream, id);
        self.entries.push_back(JournalEntry { id, peer, subject, count: 1, decision });
        id
    }

    fn entry_mut(&mut self, id: DecisionId) -> Option<&mut JournalEntry> {
        let first = self.entries.front()?.id;
        let at = usize::try_from(id.0.checked_sub(first.0)?).ok()?;
        self.entries.get_mut(at)
    }

    /// A decision by its number; `None` if it is no longer kept.
    pub fn get(&self, id: DecisionId) -> Option<&JournalEntry> {
        let first = self.entries.front()?.id;
        let at = usize::try_from(id.0.checked_sub(first.0)?).ok()?;
        self.entries.get(at)
    }

    /// The decisions that are kept, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &JournalEntry> {
        self.entries.iter().rev()
    }

    /// The newest decision of a class for a peer.
    pub fn newest_of(&self, peer: &PeerId, class: Class) -> Option<&JournalEntry> {
        self.get(*self.newest.get(&(*peer, class))?)
    }

    /// Drops what points to a peer that was removed. Its decisions stay until others push them out.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        self.newest.retain(|(of, _), _| of != peer);
    }
}

/// Whether two decisions have the same outcome for every link, though the figures may differ.
fn is_equal(one: &Decision, other: &Decision) -> bool {
    let same_rule = |a: Exclusion, b: Exclusion| std::mem::discriminant(&a) == std::mem::discriminant(&b);
    let same = |a: (LinkId, LinkVerdict), b: (LinkId, LinkVerdict)| {
        a.0 == b.0
            && match (a.1, b.1) {
                (LinkVerdict::Chosen { .. }, LinkVerdict::Chosen { .. }) => true,
                (LinkVerdict::Loses { by: a, .. }, LinkVerdict::Loses { by: b, .. }) => a == b,
                (LinkVerdict::Excluded { why: a }, LinkVerdict::Excluded { why: b }) => same_rule(a, b),
                (
                    LinkVerdict::Chosen { .. } | LinkVerdict::Loses { .. } | LinkVerdict::Excluded { .. },
                    LinkVerdict::Chosen { .. } | LinkVerdict::Loses { .. } | LinkVerdict::Excluded { .. },
                ) => false,
            }
    };
    one.judged.len() == other.judged.len()
        && one.question.route == other.question.route
        && one.judged.iter().zip(&other.judged).all(|(a, b)| same((a.link, a.verdict), (b.link, b.verdict)))
}
