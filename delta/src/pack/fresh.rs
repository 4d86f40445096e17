//! Values without a past: encoded with the help of a sibling, the value beside them in an array or map.

use super::Packer;
use super::text::Shape;
use crate::beside::Beside;
use crate::entropy::Coder;
use crate::hint::FieldKey;
use crate::slots::{
    CLOCK_KIND, KIND, LIST_LENGTH, MAP_LENGTH, MOMENT, NEW_BOOL, NEW_INT, NEW_TEXT_HOW, SAME_KEYS, SIGNED,
};
use crate::time::WrittenTime;
use crate::value::{Int, Map};
use crate::{DecodeError, Value};

/// The kind of no sibling.
const NO_SIBLING: usize = 8;

/// How a new text is encoded.
const BY_WORD: usize = 0;
const BY_LITERAL: usize = 1;
const BY_MOMENT: usize = 2;

/// A moment within so many milliseconds of the signed time is encoded as its distance from it: some 35 years.
const MOMENT_NEAR_MS: u64 = 1 << 40;

impl<C: Coder> Packer<'_, C> {
    /// A new value. `next` is the one that will stand behind it, where there is one.
    pub(super) fn fresh(
        &mut self,
        key: &FieldKey<'_>,
        sibling: Beside<'_>,
        next: Beside<'_>,
        new: Option<&Value>,
    ) -> Result<Value, DecodeError> {
        self.symbols.coder.check()?;
        let sibling_kind = sibling.kind().unwrap_or(NO_SIBLING);
        Ok(match self.symbols.tree(KIND + sibling_kind * 8, 3, new.map_or(0, Value::kind)) {
            0 => Value::Null,
            1 => {
                let slot = NEW_BOOL + sibling.as_value().and_then(Value::as_bool).map_or(2, usize::from);
                Value::Bool(self.symbols.bit(slot, new == Some(&Value::Bool(true))))
            }
            2 => Value::Int(
                self.new_int(sibling.as_value().and_then(Value::as_int), new.and_then(Value::as_int))?,
            ),
            3 => {
                let old = sibling.as_value().and_then(Value::as_f64).unwrap_or(0.0);
                Value::Float(self.float(old, new.and_then(Value::as_f64))?)
            }
            4 => {
                let guide = sibling.as_value().and_then(Value::as_bytes).unwrap_or(b"");
                Value::Bytes(self.literal(key.name(), [guide, b""], b"", new.and_then(Value::as_bytes))?)
            }
            5 => {
                let (sibling, next) = (sibling.text(), next.text());
                Value::Text(self.new_text(key, sibling, next, new.and_then(Value::as_text))?)
            }
            6 => Value::Array(self.deeper(|packer| packer.new_array(key, sibling.as_value(), new))?),
            _ => Value::Map(self.deeper(|packer| packer.new_map(sibling.as_value(), next.as_value(), new))?),
        })
    }

    fn new_int(&mut self, sibling: Option<Int>, new: Option<Int>) -> Result<Int, DecodeError> {
        match sibling {
            Some(sibling) => self.int_by(NEW_INT + SIGNED, sibling, new),
            None => self.int_by(NEW_INT, Int::from(0u64), new),
        }
    }

    fn new_text(
        &mut self,
        key: &FieldKey<'_>,
        sibling: &str,
        next: &str,
        new: Option<&str>,
    ) -> Result<String, DecodeError> {
        let shape: Shape = self.shape(key, sibling);
        let now = self.context.time_signed();
        let moment = new.and_then(WrittenTime::parse).filter(|m| m.time_ms.abs_diff(now) < MOMENT_NEAR_MS);
        let how = match new {
            Some(new) if self.words.under(key, self.base).rank(new).is_some() => BY_WORD,
            _ if moment.is_some() => BY_MOMENT,
            _ => BY_LITERAL,
        };
        let text = match self.symbols.tree(NEW_TEXT_HOW + shape as usize * 4, 2, how) {
            BY_WORD => self.word(key, shape, None, new)?,
            BY_MOMENT => self.new_moment(now, moment)?,
            _ => {
                let guides = [sibling.as_bytes(), next.as_bytes()];
                let text = self.literal(key.name(), guides, b"", new.map(str::as_bytes))?;
                String::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?
            }
        };
        self.words.under(key, self.base).add(&text);
        Ok(text)
    }

    fn new_moment(&mut self, now: i64, moment: Option<WrittenTime>) -> Result<String, DecodeError> {
        let fine = self.symbols.bit(CLOCK_KIND + 1, moment.is_some_and(|moment| moment.fine));
        let unit = WrittenTime::unit_ms(fine);
        let text =
            self.moment_by(MOMENT, WrittenTime { time_ms: now.div_euclid(unit) * unit, fine }, moment)?;
        self.spend(text.len())?;
        Ok(text)
    }

    fn new_array(
        &mut self,
        key: &FieldKey<'_>,
        sibling: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Vec<Value>, DecodeError> {
        let new = new.and_then(Value::as_array).unwrap_or(&[]);
        let count = self.symbols.count(LIST_LENGTH, new.len());
        self.spend(count)?;
        let first = sibling.and_then(Value::as_array).and_then(<[Value]>::first);
        let mut items: Vec<Value> = Vec::new();
        for at in 0..count {
            let item =
                self.fresh(key, Beside::value(items.last().or(first)), Beside::Nothing, new.get(at))?;
            items.push(item);
        }
        Ok(items)
    }

    fn new_map(
        &mut self,
        sibling: Option<&Value>,
        next: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Map, DecodeError> {
        let empty = Map::new();
        let new = new.and_then(Value::as_map).unwrap_or(&empty);
        let sibling = sibling.and_then(Value::as_map).unwrap_or(&empty);
        let next = next.and_then(Value::as_map).unwrap_or(&empty);
        let same_keys = sibling.len() == new.len() && sibling.iter().zip(new.iter()).all(|(a, b)| a.0 == b.0);
        let mut entries = Vec::new();
        if !sibling.is_empty() && self.symbols.bit(SAME_KEYS, same_keys) {
            self.spend(sibling.len())?;
            for (at, (key, beside)) in sibling.iter().enumerate() {
                self.spend(key.name().len())?;
                let given = new.entries().get(at).map(|(_, value)| value);
                let (name, next) = (FieldKey::new(key.name()), Beside::value(next.get_key(key)));
                entries.push((key.clone(), self.fresh(&name, Beside::Value(beside), next, given)?));
            }
        } else {
            let count = self.symbols.count(MAP_LENGTH, new.len());
            self.spend(count)?;
            for at in 0..count {
                let given = new.entries().get(at);
                let key = self.key("", given.map(|(key, _)| key))?;
                let (name, beside) = (FieldKey::new(key.name()), Beside::value(sibling.get_key(&key)));
                let value = self.fresh(&name, beside, Beside::Nothing, given.map(|(_, value)| value))?;
                entries.push((key, value));
            }
        }
        Map::from_sorted(entries).ok_or(DecodeError::KeyOrder)
    }
}
