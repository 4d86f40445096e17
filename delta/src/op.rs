//! [`Delta`]: how one state becomes another, as edits on the base's own tree.
//!
//! A delta holds new values, not differences: what is left out because the base determines it, and how a number or a text
//! is written as a difference from the old one, is the business of the packed form. Positions are indices into the
//! base's arrays and entries, so a delta means nothing without its base.

use crate::Value;
use crate::value::Key;

/// How a base becomes a target: made by [`diff`](crate::diff) or [`decode`](crate::decode), for one base and context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Whether the fields that run with the signed time move on where no edit speaks of them.
    pub(crate) running: bool,
    pub(crate) root: Edit,
}

/// What happens to one value of the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Nothing but what the context predicts.
    Keep,
    /// Another value stands in its place.
    Set(Value),
    /// An array's items change.
    List(ListEdit),
    /// A map's entries change.
    Map(MapEdit),
}

/// What happens to an array. Every list is sorted by its index and holds each index once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListEdit {
    /// Base indices of items that leave their place.
    pub(crate) removed: Vec<usize>,
    /// Base indices of items that stay in order, and what happens to them.
    pub(crate) changed: Vec<(usize, Edit)>,
    /// Target indices of items that come in.
    pub(crate) inserted: Vec<(usize, Insert)>,
}

/// Where an inserted item comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// The value is new.
    New(Value),
    /// It is one of the removed, by its base index, and may change on the way.
    Moved(usize, Edit),
}

/// What happens to a map. Every list is sorted and holds each index or key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapEdit {
    /// Base indices of entries that go.
    pub(crate) removed: Vec<usize>,
    /// Base indices of entries whose value changes.
    pub(crate) changed: Vec<(usize, Edit)>,
    /// Keys that come in.
    pub(crate) inserted: Vec<(Key, Rename)>,
}

/// Where the value under a new key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rename {
    /// The value is new.
    New(Value),
    /// It stood under a removed key, by its base index.
    From(usize),
}
