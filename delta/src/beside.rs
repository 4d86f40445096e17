//! What stands beside a new value and may predict it: nothing, a value, or a line of a text that is no value of its own.

use crate::Value;

/// A neighbour, borrowed from the base or from what came in before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beside<'v> {
    /// No value stands there.
    Nothing,
    /// A value of the tree.
    Value(&'v Value),
    /// A line, which counts as a text.
    Line(&'v str),
}

impl<'v> Beside<'v> {
    pub(crate) fn value(value: Option<&'v Value>) -> Beside<'v> {
        value.map_or(Beside::Nothing, Beside::Value)
    }

    pub(crate) fn as_value(self) -> Option<&'v Value> {
        match self {
            Beside::Value(value) => Some(value),
            Beside::Nothing | Beside::Line(_) => None,
        }
    }

    /// The text, or an empty one.
    pub(crate) fn text(self) -> &'v str {
        match self {
            Beside::Value(value) => value.as_text().unwrap_or_default(),
            Beside::Line(line) => line,
            Beside::Nothing => "",
        }
    }

    /// The kind by [`Value::kind`]; none where there is nothing.
    pub(crate) fn kind(self) -> Option<usize> {
        match self {
            Beside::Nothing => None,
            Beside::Value(value) => Some(value.kind()),
            Beside::Line(_) => Some(TEXT_KIND),
        }
    }
}

/// The kind of a text.
const TEXT_KIND: usize = 5;
