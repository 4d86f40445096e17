//! The packed form: a delta as the decisions that lead to it from its base, in one CBOR byte string.
//!
//! Encoding and decoding are one walk. A [`Packer`] goes through the base with the delta in its hand, or finds the
//! delta on the way: every function is given `Some` edit or `None`, and returns the edit. So both ends ask the same
//! questions in the same order, and what a chance depends on is known to both. FORMAT.md is this walk in words.
//!
//! The files below encode one thing each: [`map`] and [`list`] which parts change, [`number`] and [`text`] how a leaf
//! does, [`fresh`] a value without a past.

mod fresh;
mod list;
mod map;
mod number;
mod text;

use crate::beside::Beside;
use crate::codec::{read_bytes, write_bytes};
use crate::entropy::{Coder, RangeDecoder, RangeEncoder};
use crate::hint::FieldKey;
use crate::limits::{DEPTH_MAX, NEW_BYTES_MAX};
use crate::lines::Listed;
use crate::matching::TextModel;
use crate::op::{Delta, Edit, MapEdit};
use crate::predict::Running;
use crate::slots::{ROOT, ROOT_KEPT, RUNNING, SAME_KIND};
use crate::survey::{NodeClass, Survey, SurveyNode};
use crate::symbols::Symbols;
use crate::words::Vocabulary;
use crate::{Context, DecodeError, Value};

/// The delta as exactly one CBOR byte string: what [`decode`] needs, with the same base and context.
///
/// # Panics
///
/// If the delta was made for another base. One that came from [`diff`](crate::diff) or [`decode`] with this base and
/// context is always encoded; whether it is then accepted depends on [`limits`](crate::limits).
pub fn encode(base: &Value, delta: &Delta, context: &Context) -> Vec<u8> {
    let mut packer = Packer::new(RangeEncoder::new(), base, context);
    packer.delta(Some(delta)).expect("a delta fits the base it was made for");
    packer.finish()
}

/// The delta in exactly one CBOR byte string, without anything behind it.
///
/// The bytes may come from anyone: they are refused, or give a delta that brings at most
/// [`NEW_BYTES_MAX`](crate::limits::NEW_BYTES_MAX) of new content. Whether it is the right one shows when it was
/// applied, by the root of the outcome.
///
/// # Errors
///
/// An error where the bytes encode no delta of this base, or exceed the limits.
pub fn decode(base: &Value, bytes: &[u8], context: &Context) -> Result<Delta, DecodeError> {
    let packed = read_bytes(bytes)?.ok_or(DecodeError::NotBytes)?;
    let mut packer = Packer::new(RangeDecoder::new(packed), base, context);
    let delta = packer.delta(None)?;
    packer.symbols.coder.finish()?;
    Ok(delta)
}

/// The walk through a base.
pub(crate) struct Packer<'b, C> {
    pub(crate) symbols: Symbols<C>,
    base: &'b Value,
    context: &'b Context,
    running: Running,
    words: Vocabulary<'b>,
    /// Made when the first literal is due.
    text: Option<TextModel>,
    /// New content so far, in bytes.
    content: usize,
    depth: usize,
}

/// A node of the base, under its key.
#[derive(Clone, Copy)]
struct Site<'s> {
    key: &'s FieldKey<'s>,
    survey: &'s Survey,
    at: usize,
    /// Whether the node is an item of an array, or within one.
    in_record: bool,
}

impl Site<'_> {
    fn node(&self) -> SurveyNode {
        self.survey.node(self.at)
    }

    fn class(&self) -> NodeClass {
        self.node().class
    }
}

impl Packer<'_, RangeEncoder> {
    fn finish(self) -> Vec<u8> {
        let packed = self.symbols.coder.finish();
        let mut out = Vec::with_capacity(packed.len() + 3);
        write_bytes(&mut out, &packed);
        out
    }
}

impl<'b, C: Coder> Packer<'b, C> {
    pub(crate) fn new(coder: C, base: &'b Value, context: &'b Context) -> Packer<'b, C> {
        Packer {
            symbols: Symbols::new(coder),
            base,
            context,
            running: Running::new(context, true),
            words: Vocabulary::default(),
            text: None,
            content: 0,
            depth: 0,
        }
    }

    /// The text model's mixer, which training carries on.
    #[cfg(feature = "train")]
    pub(crate) fn mixer(&mut self) -> &mut [i32] {
        self.text.get_or_insert_with(|| TextModel::new(self.base)).mixer()
    }

    pub(crate) fn delta(&mut self, given: Option<&Delta>) -> Result<Delta, DecodeError> {
        let running = self.symbols.bit(RUNNING, given.is_some_and(|delta| delta.running));
        self.running = Running::new(self.context, running);
        let survey = Survey::of(self.base, &self.running);
        let key = FieldKey::new("");
        let site = Site { key: &key, survey: &survey, at: 0, in_record: false };
        Ok(Delta { running, root: self.root(site, given.map(|delta| &delta.root))? })
    }

    fn root(&mut self, site: Site<'_>, given: Option<&Edit>) -> Result<Edit, DecodeError> {
        let base = self.base;
        let in_place = given.is_some_and(|edit| *edit == Edit::Keep || is_in_place(base, edit));
        if !self.symbols.bit(ROOT + base.kind(), in_place) {
            return self.set(site.key, Some(base), given);
        }
        if let Value::Map(map) = base {
            let nothing = MapEdit::default();
            let given = given.map(|edit| if let Edit::Map(edit) = edit { edit } else { &nothing });
            let edit = self.deeper(|packer| packer.map(site, map, given, true))?;
            let kept = edit.removed.is_empty() && edit.changed.is_empty() && edit.inserted.is_empty();
            return Ok(if kept { Edit::Keep } else { Edit::Map(edit) });
        }
        if self.symbols.bit(ROOT_KEPT, given == Some(&Edit::Keep)) {
            return Ok(Edit::Keep);
        }
        self.change_in_place(site, base, given)
    }

    /// What becomes of a value that changes.
    fn change(&mut self, site: Site<'_>, base: &Value, given: Option<&Edit>) -> Result<Edit, DecodeError> {
        self.symbols.coder.check()?;
        let in_place = given.is_some_and(|edit| is_in_place(base, edit));
        if self.symbols.bit(SAME_KIND + site.class() as usize, in_place) {
            self.change_in_place(site, base, given)
        } else {
            self.set(site.key, Some(base), given)
        }
    }

    fn change_in_place(
        &mut self,
        site: Site<'_>,
        base: &Value,
        given: Option<&Edit>,
    ) -> Result<Edit, DecodeError> {
        let new = if let Some(Edit::Set(new)) = given { Some(new) } else { None };
        let value = match base {
            Value::Null => Value::Null,
            Value::Bool(old) => Value::Bool(!old),
            Value::Int(old) => Value::Int(self.int(site.node(), *old, new.and_then(Value::as_int))?),
            Value::Float(old) => Value::Float(self.float(*old, new.and_then(Value::as_f64))?),
            Value::Bytes(old) => {
                Value::Bytes(self.spliced(site.key.name(), old, new.and_then(Value::as_bytes))?)
            }
            Value::Text(old) => Value::Text(self.changed_text(site, old, new.and_then(Value::as_text))?),
            Value::Array(old) => {
                let given = if let Some(Edit::List(edit)) = given { Some(edit) } else { None };
                return self.deeper(|packer| packer.list(site, Listed::Values(old), given)).map(Edit::List);
            }
            Value::Map(old) => {
                let given = if let Some(Edit::Map(edit)) = given { Some(edit) } else { None };
                return self.deeper(|packer| packer.map(site, old, given, false)).map(Edit::Map);
            }
        };
        Ok(Edit::Set(value))
    }

    /// A value in place of one that is no help but as a sibling.
    fn set(
        &mut self,
        key: &FieldKey<'_>,
        sibling: Option<&Value>,
        given: Option<&Edit>,
    ) -> Result<Edit, DecodeError> {
        let new = if let Some(Edit::Set(new)) = given { Some(new) } else { None };
        self.fresh(key, Beside::value(sibling), Beside::Nothing, new).map(Edit::Set)
    }

    fn deeper<T>(
        &mut self,
        walk: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        if !C::ENCODING && self.depth >= DEPTH_MAX {
            return Err(DecodeError::TooDeep { max: DEPTH_MAX });
        }
        self.depth += 1;
        let found = walk(self);
        self.depth -= 1;
        found
    }

    /// Counts new content before it is made. The encoder counts it too, since the text model goes by it.
    fn spend(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.content = self.content.saturating_add(bytes);
        if !C::ENCODING && self.content > NEW_BYTES_MAX {
            return Err(DecodeError::TooMuch { max: NEW_BYTES_MAX });
        }
        Ok(())
    }
}

/// Whether an edit starts from the old value rather than setting another one in its place.
fn is_in_place(base: &Value, edit: &Edit) -> bool {
    match edit {
        Edit::Keep => false,
        // A truth value changes in place to the other one; bytes from elsewhere may set it to what it was.
        Edit::Set(Value::Bool(new)) => *base == Value::Bool(!new),
        Edit::Set(new) => {
            base.kind() == new.kind() && !matches!(base, Value::Null | Value::Array(_) | Value::Map(_))
        }
        Edit::List(_) | Edit::Map(_) => true,
    }
}
