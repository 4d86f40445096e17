//! The lines of a text, or the words of a long one, as a list: borrowed from the text, found by where they begin.

use crate::beside::Beside;
use crate::list::{Items, align, is_near_text};
use crate::op::{Edit, Insert, ListEdit};
use crate::{Value, steps};
use std::borrow::Cow;

/// So many bytes of text at least lie between two places that are kept: lines that begin between them are counted off.
const BYTES_A_PLACE: usize = 32;

/// A text cut at a separator.
pub(crate) struct TextLines<'t> {
    text: &'t str,
    separator: char,
    count: usize,
    /// Some of the lines: number and beginning. A line without a place begins fewer than [`BYTES_A_PLACE`] bytes behind one.
    places: Vec<(u32, u32)>,
}

impl<'t> TextLines<'t> {
    /// The separator is one byte long.
    pub(crate) fn of(text: &'t str, separator: char) -> TextLines<'t> {
        steps::bytes(text.len());
        let mut places = Vec::with_capacity(text.len() / BYTES_A_PLACE / 2);
        places.push((0, 0));
        let (mut count, mut kept) = (1, 0);
        for (at, _) in text.match_indices(separator) {
            if at + 1 - kept >= BYTES_A_PLACE {
                places.push((count as u32, at as u32 + 1));
                kept = at + 1;
            }
            count += 1;
        }
        places.shrink_to_fit();
        TextLines { text, separator, count, places }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn line(&self, at: usize) -> Option<&'t str> {
        steps::took(1);
        let behind = self.places.partition_point(|(line, _)| *line as usize <= at);
        let (line, start) = *self.places.get(behind.checked_sub(1)?)?;
        self.text.get(start as usize..)?.split(self.separator).nth(at - line as usize)
    }

    /// The edit that makes another text of this one.
    pub(crate) fn edit_to(&self, target: &TextLines<'_>) -> ListEdit {
        let plan = align(self, target);
        let new = |at: usize| Value::from(target.line(at).unwrap_or_default());
        let mut edit = ListEdit { removed: plan.removed, ..ListEdit::default() };
        for (at, from) in plan.inserted {
            let insert = from.map_or_else(|| Insert::New(new(at)), |from| Insert::Moved(from, Edit::Keep));
            edit.inserted.push((at, insert));
        }
        for (from, at) in plan.kept.iter().flat_map(|run| run.pairs()) {
            if self.line(from) != target.line(at) {
                edit.changed.push((from, Edit::Set(new(at))));
            }
        }
        // It stays while it is packed.
        edit.changed.shrink_to_fit();
        edit
    }

    /// The text that an edit makes of this one; none if it does not fit.
    pub(crate) fn edited(&self, edit: &ListEdit) -> Option<String> {
        let mut removed = edit.removed.iter().copied().peekable();
        let mut changed = edit.changed.iter().peekable();
        let mut inserted = edit.inserted.iter().peekable();
        let mut target =
            JoinedLines { text: String::with_capacity(self.text.len() + edit_bytes(edit)), lines: 0 };
        for at in 0..=self.len() {
            while let Some((_, insert)) = inserted.next_if(|(slot, _)| *slot == target.lines) {
                let line = match insert {
                    Insert::New(value) => value.as_text()?,
                    Insert::Moved(from, edit) => self.line_after(*from, edit)?,
                };
                target.push(line, self.separator);
            }
            if at == self.len() {
                break;
            }
            if removed.next_if_eq(&at).is_some() {
                continue;
            }
            let edit = changed.next_if(|(index, _)| *index == at).map_or(&Edit::Keep, |(_, edit)| edit);
            target.push(self.line_after(at, edit)?, self.separator);
        }
        let used = removed.next().is_none() && changed.next().is_none() && inserted.next().is_none();
        used.then_some(target.text)
    }

    fn line_after<'e>(&self, at: usize, edit: &'e Edit) -> Option<&'e str>
    where
        't: 'e,
    {
        match edit {
            Edit::Keep => self.line(at),
            Edit::Set(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// The bytes of all lines in an edit, with room for their separators.
fn edit_bytes(edit: &ListEdit) -> usize {
    let changed =
        edit.changed.iter().map(|(_, edit)| if let Edit::Set(line) = edit { Some(line) } else { None });
    let inserted =
        edit.inserted.iter().map(|(_, line)| if let Insert::New(line) = line { Some(line) } else { None });
    changed.chain(inserted).map(|line| line.and_then(Value::as_text).map_or(0, str::len) + 1).sum()
}

/// The text that lines make.
struct JoinedLines {
    text: String,
    lines: usize,
}

impl JoinedLines {
    fn push(&mut self, line: &str, separator: char) {
        if self.lines > 0 {
            self.text.push(separator);
        }
        self.text.push_str(line);
        self.lines += 1;
    }
}

impl Items for TextLines<'_> {
    type Identity = str;

    fn len(&self) -> usize {
        self.len()
    }

    fn identity(&self, at: usize) -> Option<&str> {
        self.line(at)
    }

    fn is_near(&self, at: usize, other: &Self, other_at: usize) -> bool {
        self.line(at).zip(other.line(other_at)).is_some_and(|(old, new)| is_near_text(old, new))
    }
}

/// The items of a list that changes: values, or lines that become values only when they are asked for.
#[derive(Clone, Copy)]
pub(crate) enum Listed<'b> {
    Values(&'b [Value]),
    Lines(&'b TextLines<'b>),
}

impl<'b> Listed<'b> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Listed::Values(values) => values.len(),
            Listed::Lines(lines) => lines.len(),
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<Cow<'b, Value>> {
        match self {
            Listed::Values(values) => values.get(at).map(Cow::Borrowed),
            Listed::Lines(lines) => lines.line(at).map(|line| Cow::Owned(Value::from(line))),
        }
    }
    /// An item as what a new one stands beside.
    pub(crate) fn beside(&self, at: usize) -> Beside<'b> {
        match self {
            Listed::Values(values) => Beside::value(values.get(at)),
            Listed::Lines(lines) => lines.line(at).map_or(Beside::Nothing, Beside::Line),
        }
    }
}
