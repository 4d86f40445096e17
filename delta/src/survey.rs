//! What the base alone shows of its own leaves: how likely each is to change, and in which steps.
//!
//! A survey lists the nodes of a tree in order, each with a [`NodeClass`] and a weight. Both ends make it of the same base,
//! so a change is encoded as a choice among nodes, the lively ones first. Key names are hints, no more: a wrong one
//! costs a few bits.

use crate::hint::{FieldKey, KeyHint};
use crate::predict::{Runner, Running};
use crate::value::Map;
use crate::{Value, steps};
use std::collections::BTreeMap;

/// What a node is, in a byte. The numbers are part of the format: the model has slots by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum NodeClass {
    /// A text that shows the signed time.
    Clock = 0,
    /// An integer that counts seconds since an event.
    Uptime = 1,
    /// A number with a floating point.
    Float = 2,
    /// An integer of many digits whose key suggests that it moves.
    LivelyLarge = 3,
    /// Another integer whose key suggests that it moves.
    LivelySmall = 4,
    /// An integer without a hint.
    Int = 5,
    /// An integer whose key suggests that it stays.
    Settled = 6,
    /// True or false, a boolean.
    Bool = 7,
    /// The absence of a value: null.
    Null = 8,
    /// A text under a key for versions.
    Version = 9,
    /// A text under a key for names.
    Name = 10,
    /// A text without a hint.
    Text = 11,
    /// An array, whatever its items.
    Array = 12,
    /// A map, whatever its members.
    Map = 13,
    /// A string of bytes.
    Bytes = 14,
}

/// One node of the base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SurveyNode {
    pub(crate) class: NodeClass,
    /// Whether it, or something in it, changes all the time.
    pub(crate) lively: bool,
    /// Its share of the changes among its siblings.
    pub(crate) weight: u32,
    /// The integer moves in steps of so many bits; 0 where it does not.
    pub(crate) page_bits: u8,
    /// Where the next sibling stands in the survey.
    end: u32,
}

/// The nodes of a tree, each before its children.
#[derive(Debug)]
pub(crate) struct Survey {
    nodes: Vec<SurveyNode>,
}

/// From here on an integer has many digits, and may come in pages.
const LARGE: i128 = 65_536;
/// Page sizes looked for, in bits.
const PAGE_BITS: [u8; 3] = [12, 10, 9];

impl Survey {
    pub(crate) fn of(value: &Value, running: &Running) -> Survey {
        let survey = Survey { nodes: Vec::with_capacity(128) };
        let mut surveyor = Surveyor { survey, running, hints: KeyHints::default() };
        let key = FieldKey::new("");
        let class = surveyor.class(&key, value);
        surveyor.visit(&key, value, class, 0);
        surveyor.survey
    }

    /// The node at a place, which was got from [`Survey::children`]; 0 is the root.
    pub(crate) fn node(&self, at: usize) -> SurveyNode {
        self.nodes.get(at).copied().unwrap_or(SurveyNode::leaf(NodeClass::Null, 0))
    }

    /// The places of a node's `count` children, in order.
    pub(crate) fn children(&self, at: usize, count: usize) -> Vec<u32> {
        let mut places = Vec::with_capacity(count);
        let mut child = at as u32 + 1;
        for _ in 0..count {
            places.push(child);
            child = self.node(child as usize).end;
        }
        places
    }
}

impl SurveyNode {
    fn leaf(class: NodeClass, page_bits: u8) -> SurveyNode {
        let weight = match class {
            NodeClass::Version => 30,
            class if class <= NodeClass::LivelySmall => 20,
            NodeClass::Int | NodeClass::Array => 4,
            NodeClass::Text => 3,
            NodeClass::Name => 1,
            _ => 2,
        };
        SurveyNode { class, lively: class <= NodeClass::LivelySmall, weight, page_bits, end: 0 }
    }
}

struct Surveyor<'a> {
    survey: Survey,
    running: &'a Running,
    hints: KeyHints<'a>,
}

impl<'a> Surveyor<'a> {
    fn visit(&mut self, key: &FieldKey<'a>, value: &'a Value, class: NodeClass, page_bits: u8) -> SurveyNode {
        steps::took(1);
        let at = self.survey.nodes.len();
        let mut node = SurveyNode { end: at as u32 + 1, ..SurveyNode::leaf(class, page_bits) };
        self.survey.nodes.push(node);
        match value {
            Value::Array(items) => {
                for item in items {
                    let class = self.class(key, item);
                    node.gather(self.visit(key, item, class, 0));
                }
            }
            Value::Map(map) => self.visit_entries(map, &mut node),
            _ => return node,
        }
        node.end = self.survey.nodes.len() as u32;
        if let Some(place) = self.survey.nodes.get_mut(at) {
            *place = node;
        }
        node
    }

    fn visit_entries(&mut self, map: &'a Map, node: &mut SurveyNode) {
        let pages = Pages::of(map);
        for (key, value) in map.iter() {
            let name = key.name();
            let is_hinted = matches!(value, Value::Int(_) | Value::Text(_) | Value::Array(_));
            let key =
                if is_hinted { FieldKey::with_hint(name, self.hints.of(name)) } else { FieldKey::new(name) };
            let class = self.class(&key, value);
            let page_bits = if class == NodeClass::LivelyLarge { pages.bits(name) } else { 0 };
            node.gather(self.visit(&key, value, class, page_bits));
        }
    }

    fn class(&self, key: &FieldKey<'_>, value: &Value) -> NodeClass {
        match value {
            Value::Null => NodeClass::Null,
            Value::Bool(_) => NodeClass::Bool,
            Value::Float(_) => NodeClass::Float,
            Value::Bytes(_) => NodeClass::Bytes,
            Value::Array(_) => NodeClass::Array,
            Value::Map(_) => NodeClass::Map,
            Value::Int(int) => {
                let hint = key.hint();
                match self.running.runner(key, value) {
                    Some(Runner::Uptime(_)) => NodeClass::Uptime,
                    _ if hint.settled => NodeClass::Settled,
                    _ if hint.lively && int.get() >= LARGE => NodeClass::LivelyLarge,
                    _ if hint.lively => NodeClass::LivelySmall,
                    _ => NodeClass::Int,
                }
            }
            Value::Text(_) => {
                let hint = key.hint();
                match self.running.runner(key, value) {
                    Some(Runner::Clock(_)) => NodeClass::Clock,
                    _ if hint.version => NodeClass::Version,
                    _ if hint.name => NodeClass::Name,
                    _ => NodeClass::Text,
                }
            }
        }
    }
}

impl SurveyNode {
    fn gather(&mut self, child: SurveyNode) {
        self.weight = self.weight.saturating_add(child.weight);
        self.lively |= child.lively;
    }
}

/// The page size that all large integers of a map share whose keys begin with one word.
#[derive(Default)]
struct Pages<'a> {
    /// The least number of zero bits at the end, by first word.
    zeros: BTreeMap<&'a str, u32>,
}

impl<'a> Pages<'a> {
    fn of(map: &'a Map) -> Pages<'a> {
        let mut pages = Pages::default();
        for (key, value) in map.iter() {
            if let Value::Int(int) = value
                && int.get() > LARGE
            {
                let zeros = int.get().trailing_zeros();
                let least = pages.zeros.entry(first_word(key.name())).or_insert(zeros);
                *least = zeros.min(*least);
            }
        }
        pages
    }

    fn bits(&self, key: &str) -> u8 {
        let zeros = self.zeros.get(first_word(key)).copied().unwrap_or(0);
        PAGE_BITS.into_iter().find(|bits| u32::from(*bits) <= zeros).unwrap_or(0)
    }
}

fn first_word(key: &str) -> &str {
    key.split('_').next().unwrap_or(key)
}

/// Key hints that are already computed: records repeat their keys.
struct KeyHints<'a> {
    known: [(&'a str, KeyHint); 64],
}

impl Default for KeyHints<'_> {
    fn default() -> Self {
        KeyHints { known: [("", KeyHint::default()); 64] }
    }
}

impl<'a> KeyHints<'a> {
    fn of(&mut self, key: &'a str) -> KeyHint {
        let byte = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or(0));
        let bytes = key.as_bytes();
        let place = (bytes.len() * 11 + byte(bytes.first()) * 3 + byte(bytes.last())) % 64;
        let Some(known) = self.known.get_mut(place) else { return KeyHint::default() };
        if known.0 != key {
            *known = (key, KeyHint::of(key));
        }
        known.1
    }
}
